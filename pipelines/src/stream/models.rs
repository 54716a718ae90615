//! Model calls of a run: batched, answered from the memo, recorded before they are used.
//!
//! The memo is a file of the run folder: one line per answer, `checksum document`. Holds always: the first recorded answer of (model,
//! input) is the answer, over restarts; an answer is synced before the dataflow sees it. After a crash: a last line that is cut
//! off was never used, and is dropped.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ajatus_inference::Embedder;
use ajatus_operators::row::{Kind, Row, Writer};
use ajatus_operators::{Answer, Calls, Job};
use ajatus_sql::plan::{Call, ModelTask, Node};
use ajatus_sql::render::{Dispatch, Models, Release};
use ajatus_sql::script::{Model, Script, Statement};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::StreamError;
use super::crash::{self, Point};

/// Models by the name that the file gives them.
pub type Embedders = BTreeMap<String, Arc<dyn Embedder>>;

/// Who answers model calls in a run.
pub(crate) struct RunModels {
    shared: Arc<Shared>,
}

struct Shared {
    embedders: Embedders,
    limits: BTreeMap<String, Model>,
    memo: Mutex<Memo>,
    handle: Handle,
}

struct Memo {
    known: HashMap<[u8; 16], Row>,
    file: Option<File>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    answer: Row,
}

/// What identifies an answer.
fn key(model: &str, request: &Row) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(model.as_bytes());
    hasher.update(&[0]);
    hasher.update(request.bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    key
}

impl RunModels {
    /// Opens the memo of a run folder; without a folder, answers are remembered while the run lasts.
    pub(crate) fn open(folder: Option<&Path>, script: &Script, embedders: Embedders, handle: Handle) -> Result<Self, StreamError> {
        Self::open_one_of(folder, 0, script, embedders, handle)
    }

    /// As [`RunModels::open`], for one of several processes: each writes a file of its own, and knows what all have written before.
    pub(crate) fn open_one_of(folder: Option<&Path>, process: usize, script: &Script, embedders: Embedders, handle: Handle) -> Result<Self, StreamError> {
        let limits: BTreeMap<String, Model> = script
            .statements
            .iter()
            .filter_map(|statement| if let Statement::Model(model) = statement { Some((model.name.clone(), model.clone())) } else { None })
            .collect();
        let mut memo = Memo { known: HashMap::new(), file: None };
        if let Some(folder) = folder.filter(|_| !limits.is_empty()) {
            memo.load(folder, process)?;
        }
        Ok(Self { shared: Arc::new(Shared { embedders, limits, memo: Mutex::new(memo), handle }) })
    }

    /// Answers from the memo of a run folder alone: nothing is asked and nothing is written.
    pub(crate) fn reading(folder: Option<&Path>, script: &Script, handle: Handle) -> Result<Self, StreamError> {
        let models = Self::open(None, script, Embedders::new(), handle)?;
        for path in folder.map(memos).transpose()?.unwrap_or_default() {
            let bytes = std::fs::read(&path).map_err(|source| StreamError::Io { path: path.display().to_string(), source })?;
            models.shared.memo.lock().unwrap_or_else(PoisonError::into_inner).learn(&bytes);
        }
        Ok(models)
    }

    /// One for another thread; all share the memo.
    pub(crate) fn another(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl Models for RunModels {
    fn calls(&self, step: &Node, call: &Call) -> Calls<Dispatch, Release> {
        let shared = Arc::clone(&self.shared);
        let limits = shared.limits.get(&call.model);
        let (max_batch, max_in_flight) = limits.map_or((256, 2), |model| (model.max_batch_rows, model.max_in_flight));
        let (model, task, label) = (call.model.clone(), call.task, step.label());
        Calls {
            max_batch,
            max_in_flight,
            dispatch: Box::new(move |job| {
                let (shared, model, label) = (Arc::clone(&shared), model.clone(), label.clone());
                // A blocking thread of the runtime: it syncs a file, and ends with its batch, which the dataflow waits for.
                let handle = shared.handle.clone();
                handle.spawn_blocking(move || shared.answer(&model, task, &label, job));
            }),
            release: Box::new(|_, _| {}),
        }
    }
}

impl Shared {
    fn answer(&self, model: &str, task: ModelTask, label: &str, job: Job<Row, Row>) {
        let clock = std::time::Instant::now();
        let mut answers: Vec<Option<Answer<Row>>> = {
            let memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
            job.requests.iter().map(|request| memo.known.get(&key(model, request)).cloned().map(Ok)).collect()
        };
        let open: Vec<usize> = (0..answers.len()).filter(|at| answers[*at].is_none()).collect();
        metrics::counter!("memo_hits_total", "step" => label.to_owned()).increment((answers.len() - open.len()) as u64);
        let asked = open.len();
        if asked > 0 {
            let fresh = self.ask(model, task, open.iter().map(|at| &job.requests[*at]));
            let good: Vec<(&Row, &Row)> =
                open.iter().zip(&fresh).filter_map(|(at, answer)| answer.as_ref().ok().map(|answer| (&job.requests[*at], answer))).collect();
            crash::point(Point::Answered);
            let recorded = self.memo.lock().unwrap_or_else(PoisonError::into_inner).record(model, &good);
            crash::point(Point::Recorded);
            for (at, answer) in open.into_iter().zip(fresh) {
                answers[at] = Some(match &recorded {
                    Ok(()) => answer,
                    Err(error) => Err(format!("its answer could not be recorded: {error}")),
                });
            }
            metrics::histogram!("pipeline_batch_rows", "step" => label.to_owned()).record(asked as f64);
            metrics::histogram!("pipeline_batch_seconds", "step" => label.to_owned()).record(clock.elapsed().as_secs_f64());
        }
        job.answer(answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err("no answer".to_owned()))).collect());
    }

    fn ask<'row>(&self, model: &str, task: ModelTask, requests: impl Iterator<Item = &'row Row>) -> Vec<Answer<Row>> {
        let texts: Vec<Option<String>> = requests
            .map(|request| match request.reader().cell(&Kind::Text) {
                ajatus_operators::row::Cell::Text(text) => Some(text.into_owned()),
                _ => None,
            })
            .collect();
        let Some(embedder) = self.embedders.get(model).filter(|_| task == ModelTask::Embedding) else {
            return texts.iter().map(|_| Err(format!("no backend is connected for {}({model}, …)", task.function()))).collect();
        };
        let asked: Vec<String> = texts.iter().flatten().cloned().collect();
        let answered = if asked.is_empty() { Ok(Vec::new()) } else { self.handle.block_on(embedder.embed(asked)) };
        let mut vectors = match answered {
            Ok(vectors) => vectors.into_iter(),
            Err(error) => return texts.iter().map(|_| Err(error.to_string())).collect(),
        };
        let mut writer = Writer::new();
        texts
            .into_iter()
            .map(|text| {
                if text.is_none() {
                    // Nothing was asked, so nothing is answered.
                    writer.null();
                    return Ok(writer.finish());
                }
                match vectors.next() {
                    Some(Ok(vector)) if vector.iter().all(|component| component.is_finite()) => {
                        writer.vector(vector);
                        Ok(writer.finish())
                    }
                    Some(Ok(_)) => Err("its vector holds a value that is not finite".to_owned()),
                    Some(Err(error)) => Err(error.to_string()),
                    None => Err("the model gave fewer answers than it was asked for".to_owned()),
                }
            })
            .collect()
    }
}

/// The files of a run folder's memo.
fn memos(folder: &Path) -> Result<Vec<PathBuf>, StreamError> {
    let io = |source: std::io::Error| StreamError::Io { path: folder.display().to_string(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_name().to_string_lossy().split('-').next() == Some("memo") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

impl Memo {
    fn load(&mut self, folder: &Path, process: usize) -> Result<(), StreamError> {
        let own = folder.join(if process == 0 { "memo".to_owned() } else { format!("memo-{process}") });
        for path in memos(folder)?.into_iter().filter(|path| *path != own) {
            let bytes = std::fs::read(&path).map_err(|source| StreamError::Io { path: path.display().to_string(), source })?;
            self.learn(&bytes);
        }
        let path = own.as_path();
        let io = |source: std::io::Error| StreamError::Io { path: path.display().to_string(), source };
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let good = self.learn(&bytes);
        file.set_len(good as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        self.file = Some(file);
        Ok(())
    }

    /// Takes in whole lines; how many bytes those take.
    fn learn(&mut self, bytes: &[u8]) -> usize {
        let mut good = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(line_read) = line.strip_suffix(b"\n").and_then(|text| serde_json::from_slice::<Line>(text).ok()) else { break };
            let Ok(hash) = blake3::Hash::from_hex(format!("{:0<64}", line_read.key)) else { break };
            let mut key = [0; 16];
            key.copy_from_slice(&hash.as_bytes()[..16]);
            self.known.entry(key).or_insert(line_read.answer);
            good += line.len();
        }
        good
    }

    fn record(&mut self, model: &str, answers: &[(&Row, &Row)]) -> std::io::Result<()> {
        let mut lines = Vec::new();
        for (request, answer) in answers {
            let key = key(model, request);
            let hex = key.iter().fold(String::new(), |mut hex, byte| {
                use std::fmt::Write as _;
                write!(hex, "{byte:02x}").ok();
                hex
            });
            serde_json::to_writer(&mut lines, &Line { key: hex, answer: (*answer).clone() })?;
            lines.push(b'\n');
        }
        if let Some(file) = &mut self.file {
            if !lines.is_empty() && crash::here(Point::MemoTorn) {
                file.write_all(&lines[..lines.len() / 2])?;
                crash::die();
            }
            file.write_all(&lines)?;
            file.sync_data()?;
        }
        for (request, answer) in answers {
            self.known.entry(key(model, request)).or_insert_with(|| (*answer).clone());
        }
        Ok(())
    }
}
