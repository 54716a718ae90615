//! Runs the tests that stand in a pipeline file, with the very dataflow that a run has.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};

use ajatus_operators::relational::FAULT;
use ajatus_operators::{Resume, Told, split};
use ajatus_operators::row::{Cell, Row};
use ajatus_sql::diagnostic::Span;
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::plan::Input;
use ajatus_sql::record::{JsonReader, json_line};
use ajatus_sql::render::Models;
use ajatus_sql::script::{BadData, Case, CaseRow, CaseStep, Changelog, Column, Connector, Content, Direction, Mode, Table};
use tokio::runtime::Handle;

use super::decode::Payload;
use super::engine::{Built, Engine, Mesh, News};
use super::error::StreamError;
use super::models::{Backends, RunModels};

/// What became of one test.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The test's name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// What differs, if it failed: lines `- expected` and `+ got`.
    pub failure: Option<String>,
}

/// Runs every test of a file. With `kill`, the dataflow is thrown away after every epoch: after odd ones it is made anew from what was
/// fed, as a restart without a snapshot does; after even ones it goes on from what its operators knew, with another number of workers. The
/// results must be the same.
///
/// # Errors
/// [`StreamError`] when the dataflow cannot run at all.
pub fn test(pipeline: &Arc<Pipeline>, workers: usize, kill: bool, backends: &Backends, handle: &Handle) -> Result<Vec<Verdict>, StreamError> {
    let models = RunModels::open(None, &pipeline.script, backends.clone(), handle.clone())?;
    pipeline
        .script
        .cases
        .iter()
        .map(|case| {
            let mut bench = Bench::new(pipeline, workers.max(1), &models)?;
            let failure = bench.case(case, kill)?;
            Ok(Verdict { name: case.name.clone(), span: case.span, failure })
        })
        .collect()
}

/// The dataflow of one test.
struct Bench<'p> {
    pipeline: &'p Arc<Pipeline>,
    workers: usize,
    models: Arc<dyn Fn() -> Box<dyn Models> + Send + Sync>,
    /// What is looked at: name, steps.
    watched: Vec<(String, Input)>,
    sources: Vec<(Table, Vec<usize>)>,
    fed: Vec<(usize, Fed)>,
    running: Option<(Engine, Receiver<News>, Vec<Vec<Option<u64>>>)>,
    epoch: u64,
    state: BTreeMap<usize, BTreeMap<Row, isize>>,
}

/// One row as it was fed.
#[derive(Clone)]
struct Fed {
    document: Vec<u8>,
    diff: i64,
    sequence: u64,
}

impl<'p> Bench<'p> {
    fn new(pipeline: &'p Arc<Pipeline>, workers: usize, models: &RunModels) -> Result<Self, StreamError> {
        let models = Mutex::new(models.another());
        let models: Arc<dyn Fn() -> Box<dyn Models> + Send + Sync> =
            Arc::new(move || Box::new(models.lock().unwrap_or_else(PoisonError::into_inner).another()) as Box<dyn Models>);
        let views = pipeline.views.iter().map(|view| (view.name.clone(), Arc::clone(&view.planned.node)));
        let sinks = pipeline.outputs.iter().map(|output| (output.table.name.clone(), Arc::clone(&output.planned.node)));
        let required = pipeline.required();
        let sources = required.into_iter().filter_map(|(name, columns)| pipeline.table(&name).map(|table| (table.clone(), columns))).collect();
        let mut bench = Self {
            pipeline,
            workers,
            models,
            watched: views.chain(sinks).collect(),
            sources,
            fed: Vec::new(),
            running: None,
            epoch: 0,
            state: BTreeMap::new(),
        };
        bench.start(workers, None)?;
        Ok(bench)
    }

    fn start(&mut self, workers: usize, resume: Option<Vec<Resume>>) -> Result<(), StreamError> {
        let built = Built {
            depth: Arc::default(),
            pipeline: Arc::clone(self.pipeline),
            sources: self.sources.clone(),
            models: Arc::clone(&self.models),
            outputs: self.watched.iter().map(|(_, node)| Arc::clone(node)).collect(),
        };
        let (sender, closed) = channel();
        let engine = Engine::start(&Mesh::here(workers), Arc::new(built), sender, resume)?;
        let reached = vec![vec![Some(0); self.watched.len() + 1]; workers];
        self.running = Some((engine, closed, reached));
        Ok(())
    }

    /// Runs the steps; what differs, if something does.
    fn case(&mut self, case: &Case, kill: bool) -> Result<Option<String>, StreamError> {
        let mut sequence = 0;
        for step in &case.steps {
            match step {
                CaseStep::Given { table, rows, .. } => {
                    let Some(source) = self.sources.iter().position(|(known, _)| known.name == *table) else { continue };
                    for row in rows {
                        sequence += 1;
                        let document = serde_json::Value::Object(row.document.clone()).to_string().into_bytes();
                        let fed = Fed { document, diff: row.diff, sequence };
                        self.feed(source, &fed, self.epoch + 1)?;
                        self.fed.push((source, fed));
                    }
                }
                CaseStep::Close => {
                    self.close()?;
                    if kill && self.epoch % 2 == 1 {
                        self.running = None;
                        self.state.clear();
                        self.start(self.workers, None)?;
                        for (source, fed) in self.fed.clone() {
                            self.feed(source, &fed, self.epoch + 1)?;
                        }
                        self.close()?;
                    } else if kill {
                        // Half of the time one more than before, so that entries change their worker.
                        let workers = self.workers + usize::from(self.epoch % 4 == 0);
                        let shares = self.known(workers)?;
                        self.running = None;
                        self.start(workers, Some(shares))?;
                    }
                }
                CaseStep::Expect { name, rows, .. } => {
                    if let Some(failure) = self.differs(name, rows) {
                        return Ok(Some(failure));
                    }
                }
            }
        }
        Ok(None)
    }

    /// What the operators know at the last epoch, shared out.
    fn known(&mut self, workers: usize) -> Result<Vec<Resume>, StreamError> {
        let mut shares: Vec<Resume> = (0..workers).map(|_| Resume { base: self.epoch, ..Resume::default() }).collect();
        let Some((engine, news, reached)) = &mut self.running else { return Ok(shares) };
        engine.save(self.epoch)?;
        let mut missing = reached.len();
        while missing > 0 {
            match news.recv().map_err(|_| StreamError::Dataflow("it ended in the middle of a test".to_owned()))? {
                News::Kept { told: Told::Part { operator, bytes, .. }, .. } => {
                    let mut parts = vec![Vec::new(); workers];
                    if !split(&bytes, &mut parts) {
                        return Err(StreamError::Dataflow(format!("the entries of {operator} end within one")));
                    }
                    for (share, part) in shares.iter_mut().zip(parts) {
                        share.entries.entry(operator.clone()).or_default().extend(part);
                    }
                }
                News::Kept { told: Told::All { .. }, .. } => missing -= 1,
                News::Closed(_) | News::Stored { .. } | News::Lost { .. } => {}
            }
        }
        Ok(shares)
    }

    fn feed(&mut self, source: usize, fed: &Fed, epoch: u64) -> Result<(), StreamError> {
        let Some((engine, ..)) = &mut self.running else { return Ok(()) };
        let (table, columns) = &self.sources[source];
        let payload = match table.changelog {
            Changelog::Upsert => {
                let value = (fed.diff > 0).then(|| fed.document.clone());
                Payload::Log(vec![(0, fed.sequence, fed.document.clone(), value)])
            }
            _ if fed.diff > 0 => Payload::Lines { bytes: fed.document.clone(), offset: fed.sequence, header: None },
            // A row is taken back as it was read.
            _ => {
                let signed = match table.changelog {
                    Changelog::Signed { diff } => Some(table.columns[diff].name.clone()),
                    _ => None,
                };
                match JsonReader::new(table, columns, signed.as_deref()).row(&fed.document) {
                    Ok((row, diff)) => Payload::Rows(vec![(row, -diff)]),
                    Err(_) => Payload::Lines { bytes: fed.document.clone(), offset: fed.sequence, header: None },
                }
            }
        };
        engine.records(epoch, source, payload)
    }

    fn close(&mut self) -> Result<(), StreamError> {
        self.epoch += 1;
        let Some((engine, closed, reached)) = &mut self.running else { return Ok(()) };
        engine.close(self.epoch)?;
        while reached.iter().flatten().any(|frontier| frontier.is_some_and(|frontier| frontier <= self.epoch)) {
            let News::Closed(news) = closed.recv().map_err(|_| StreamError::Dataflow("it ended in the middle of a test".to_owned()))? else { continue };
            reached[news.worker] = news.frontiers;
            for (output, _, changes) in news.changes {
                let state = self.state.entry(output).or_default();
                for (row, diff) in changes {
                    *state.entry(row).or_default() += diff;
                }
                state.retain(|_, count| *count != 0);
            }
        }
        Ok(())
    }

    /// What a view or sink holds beside what it should hold.
    fn differs(&self, name: &str, expected: &[CaseRow]) -> Option<String> {
        // A sink that several inserts write holds what all of them give.
        let places: Vec<usize> = (0..self.watched.len()).filter(|place| self.watched[*place].0 == name).collect();
        let node = &self.watched[*places.first()?].1;
        let mut got: BTreeMap<Row, isize> = BTreeMap::new();
        for place in places {
            for (row, count) in self.state.get(&place).into_iter().flatten() {
                *got.entry(row.clone()).or_default() += count;
            }
        }
        let mut reader = JsonReader::new(&loose(node.names.clone(), node.types.clone()), &(0..node.types.len()).collect::<Vec<_>>(), None);
        let mut wanted: BTreeMap<Row, isize> = BTreeMap::new();
        let mut lines = Vec::new();
        for row in expected {
            match reader.row(serde_json::Value::Object(row.document.clone()).to_string().as_bytes()) {
                Ok((row, _)) => *wanted.entry(row).or_default() += 1,
                Err(error) => lines.push(format!("  the expected row {} is none of {name}: {error}", serde_json::Value::Object(row.document.clone()))),
            }
        }
        let mut each = |sign: char, rows: &BTreeMap<Row, isize>, others: &BTreeMap<Row, isize>| {
            for (row, count) in rows {
                let more = count - others.get(row).copied().unwrap_or_default();
                for _ in 0..more.max(0) {
                    lines.push(format!("  {sign} {}", json_line(row, &node.names, &node.types)));
                }
            }
        };
        each('-', &wanted, &got);
        each('+', &got, &wanted);
        if lines.is_empty() {
            return None;
        }
        for (fault, _) in self.state.get(&self.watched.len()).into_iter().flatten() {
            if let [Cell::Text(step), _, Cell::Text(message), ..] = fault.cells(&FAULT).as_slice() {
                lines.push(format!("  ! a row failed in {step}: {message}"));
            }
        }
        Some(format!("{name} (- expected, + got)\n{}", lines.join("\n")))
    }
}

/// A table with these columns, any of which may be null.
pub(crate) fn loose(names: Vec<String>, types: Vec<arrow::datatypes::DataType>) -> Table {
    let nowhere = Span::new(0, 0);
    let column = |(name, data_type): (String, arrow::datatypes::DataType)| Column { name, data_type, content: Content::Plain, nullable: true, span: nowhere };
    Table {
        name: String::new(),
        span: nowhere,
        name_span: nowhere,
        columns: names.into_iter().zip(types).map(column).collect(),
        primary_key: Vec::new(),
        connector: Connector::Memory,
        direction: Direction::Source,
        event_time: None,
        changelog: Changelog::Append,
        bad_data: BadData::DeadLetter,
        mode: Mode::AtLeastOnce,
    }
}
