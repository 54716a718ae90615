//! What a view or a sink holds as of an epoch, without touching the run that keeps it.
//!
//! From a snapshot and the epochs after it where every row of the answer is kept by some step; else by reading the sources again from the
//! beginning. Holds always: the answer is what a batch over the epoch's offsets gives; nothing is written. Not promised: speed, where the
//! sources are read again. After a crash: nothing is left.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};

use ajatus_operators::row::Row;
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::plan::{Input, Keep, Step};
use ajatus_sql::render::Models;
use ajatus_sql::script::Changelog;
use arrow::datatypes::DataType;

use super::config::{RunConfig, RunParts};
use super::elsewhere::Elsewhere;
use super::engine::{Built, Engine, Mesh, News};
use super::error::StreamError;
use super::ledger::{Book, Ledger};
use super::models::RunModels;
use super::read::Reader;
use super::replay::{self, Replays};
use super::sink::consolidated;
use super::snapshot::Snapshots;

/// The rows of a view or a sink.
#[derive(Clone, Debug)]
pub struct Answer {
    /// As of the end of this epoch.
    pub epoch: u64,
    /// Its columns.
    pub names: Vec<String>,
    /// Their types.
    pub types: Vec<DataType>,
    /// Rows in order, with how often each is there.
    pub rows: Vec<(Row, isize)>,
    /// The epoch of the snapshot it was computed from; 0: from the beginning of the sources.
    pub snapshot: u64,
}

/// The epochs that `ask` can answer for: the first and the last.
///
/// # Errors
/// [`StreamError`] if the ledger cannot be read, or belongs to another plan.
pub fn window(pipeline: &Pipeline, config: &RunConfig, name: &str) -> Result<(u64, u64), StreamError> {
    let (book, node, snapshots) = asked(pipeline, config, name)?;
    let first = if book.base == 0 {
        0
    } else if kept(pipeline, &node) {
        snapshots.list().first().map_or(book.last(), |oldest| oldest.epoch)
    } else {
        book.last() + 1
    };
    Ok((first, book.last()))
}

fn asked(pipeline: &Pipeline, config: &RunConfig, name: &str) -> Result<(Book, Input, Snapshots), StreamError> {
    let unsupported = |what: String, hint: &str| StreamError::Unsupported { what, hint: hint.to_owned() };
    let state = config.state.as_ref().ok_or_else(|| unsupported("a question without a run folder".to_owned(), "name one with --state"))?;
    let views = pipeline.views.iter().map(|view| (&view.name, &view.planned.node));
    let sinks = pipeline.outputs.iter().map(|output| (&output.table.name, &output.planned.node));
    let Some((_, node)) = views.chain(sinks).find(|(known, _)| *known == name) else {
        let known: Vec<&str> = pipeline.views.iter().map(|view| view.name.as_str()).chain(pipeline.outputs.iter().map(|output| output.table.name.as_str())).collect();
        return Err(unsupported(format!("{name:?} is neither a view nor a sink of the file"), &format!("it has {}", known.join(", "))));
    };
    let book = Ledger::read(state)?.ok_or_else(|| unsupported(format!("{} holds no ledger", state.display()), "run the pipeline first"))?;
    if book.plan != pipeline.hash {
        return Err(unsupported(format!("the file has changed since it ran (plan {}, now {})", book.plan, pipeline.hash), "run it, and it is made anew; or ask with the file as it was"));
    }
    let snapshots = Snapshots::of(state, &book.plan, &book.id);
    Ok((book, Arc::clone(node), snapshots))
}

/// Whether some step keeps every row that a step gives: then a snapshot has it.
fn kept(pipeline: &Pipeline, node: &Input) -> bool {
    match &node.step {
        Step::Source { table, .. } => match pipeline.views.iter().find(|view| view.name == *table) {
            Some(view) => kept(pipeline, &view.planned.node),
            None => pipeline.table(table).is_some_and(|table| table.changelog == Changelog::Upsert),
        },
        // What goes into a recursion and an operator is remembered, and gives its result again.
        Step::Values { .. } | Step::Group { .. } | Step::Distinct { .. } | Step::Top { .. } | Step::Recursion { .. } | Step::Round { .. } | Step::Operator { .. } => true,
        // Rows whose key has a null pass a join by, and are kept by nobody.
        Step::Join(_) => !passes_by(node) || node.inputs().iter().all(|input| kept(pipeline, input)),
        Step::Union { .. } | Step::Map { .. } | Step::Unnest { .. } | Step::Infer { .. } => node.inputs().iter().all(|input| kept(pipeline, input)),
    }
}

/// Whether rows of an outer join's side can have a null in its key.
fn passes_by(node: &Input) -> bool {
    let Step::Join(matching) = &node.step else { return false };
    let nullable = |side: &Input, keys: &[usize]| keys.iter().any(|key| side.nullable[*key]);
    let shows = |wanted: Keep| matching.keep.iter().any(|(keep, _)| *keep == wanted);
    let left = shows(Keep::LeftAlone) && nullable(&matching.left, &matching.left_keys);
    let right = shows(Keep::RightAlone) && nullable(&matching.right, &matching.right_keys);
    !matching.nulls_match && (left || right)
}

/// What `name` holds at the end of an epoch; of the last one, if none is named.
///
/// # Errors
/// [`StreamError`]: the name or the epoch is none, the file has changed since it ran, a source has lost what it had.
pub fn ask(pipeline: &Arc<Pipeline>, config: &RunConfig, parts: &RunParts, name: &str, epoch: Option<u64>) -> Result<Answer, StreamError> {
    let (book, node, snapshots) = asked(pipeline, config, name)?;
    let (first, last) = window(pipeline, config, name)?;
    let epoch = epoch.unwrap_or(last);
    if !(first..=last).contains(&epoch) {
        return Err(StreamError::Unsupported {
            what: format!("epoch {epoch} of {name:?} cannot be asked for"),
            hint: if first > last {
                format!("no step keeps all its rows, and the ledger has dropped its first {} epochs; give it a primary key with changelog = 'upsert', or a group", book.base)
            } else {
                format!("epochs {first} to {last} can")
            },
        });
    }
    let mut loaded = if kept(pipeline, &node) { snapshots.newest(epoch, &std::collections::BTreeMap::new()) } else { None };
    if loaded.is_none() && book.base > 0 {
        return Err(StreamError::Damaged { path: "the snapshots".to_owned(), reason: format!("none of an epoch up to {epoch} can be read, and the ledger begins after epoch {}", book.base) });
    }
    let snapshot = loaded.as_ref().map_or(0, |loaded| loaded.epoch);
    let mut answer = Answer { epoch, names: node.names.clone(), types: node.types.clone(), rows: Vec::new(), snapshot };
    let mut sources = Vec::new();
    let mut readers = Vec::new();
    let elsewhere = Elsewhere::open(pipeline, parts)?;
    let replays = Replays::open(config.state.as_deref(), &book.id)?;
    for (name, columns) in pipeline.required() {
        let Some(table) = pipeline.table(&name) else { continue };
        let mut reader = Reader::open(table, &columns, &elsewhere, parts.keys.as_ref(), &parts.handle)?;
        reader.begin(config.state.as_deref(), &book.id)?;
        readers.push((name, reader));
        sources.push((table.clone(), columns));
    }
    let models = Mutex::new(RunModels::reading(config.state.as_deref(), &pipeline.script, parts.handle.clone())?);
    let built = Built {
        depth: Arc::default(),
        pipeline: Arc::clone(pipeline),
        outputs: vec![node],
        sources,
        models: Arc::new(move || Box::new(models.lock().unwrap_or_else(PoisonError::into_inner).another()) as Box<dyn Models>),
    };
    let workers = config.workers.max(1);
    let shares = loaded.as_mut().map(|loaded| loaded.shares(workers, true)).transpose()?;
    let (sender, news) = channel();
    let mut engine = Engine::start(&Mesh::here(workers), Arc::new(built), sender, shares)?;
    let feeding = std::thread::scope(|scope| {
        let fed = scope.spawn(|| -> Result<(), StreamError> {
            for row in book.minted.iter().filter(|row| row.epoch > snapshot && row.epoch <= epoch) {
                for (source, (name, reader)) in readers.iter_mut().enumerate() {
                    for (partition, (from, to)) in row.ranges.get(name).into_iter().flatten() {
                        if *partition == replay::PARTITION {
                            engine.records(epoch, source, replays.again(name, *from, *to, reader.header())?)?;
                            continue;
                        }
                        reader.again(*partition, *from, *to, &mut |payload| engine.records(epoch, source, payload))?;
                    }
                }
            }
            engine.close(epoch)?;
            drop(engine);
            Ok(())
        });
        while let Ok(news) = news.recv() {
            if let News::Closed(closed) = news {
                let changes = closed.changes.into_iter().filter(|(output, ..)| *output == 0).flat_map(|(_, _, changes)| changes);
                answer.rows.extend(changes);
            }
        }
        fed.join().map_err(|_| StreamError::Dataflow("the reader ended unexpectedly".to_owned()))?
    });
    feeding?;
    answer.rows = consolidated(std::mem::take(&mut answer.rows));
    answer.rows.sort_unstable();
    Ok(answer)
}
