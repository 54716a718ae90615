//! Compares a sink with what it should hold, and writes the difference.
//!
//! Holds always: the pipeline does not run meanwhile (its folder's lock is taken); a sink that is as it should be is not written. Not
//! promised: that a topic's or a table's other writers are noticed, who write while it is compared. After a crash: a sink that is repaired
//! or not, as a table in one transaction, a file by a rename, a topic record by record; the next repair does the rest.

use std::sync::Arc;

use ajatus_sql::pipeline::Pipeline;

use super::ask::ask;
use super::config::{RunConfig, RunParts};
use super::elsewhere::Elsewhere;
use super::error::StreamError;
use super::ledger::Ledger;
use super::sink::{Outside, Sink};

/// What was found in a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Repaired {
    /// As of this epoch.
    pub epoch: u64,
    /// Rows that it should hold.
    pub rows: u64,
    /// Rows that were missing or differed.
    pub missing: u64,
    /// Rows that should not have been there.
    pub extra: u64,
    /// Whether the difference was written.
    pub written: bool,
}

/// Compares a sink with what it should hold as of the last epoch, and writes the difference unless `dry`.
///
/// # Errors
/// [`StreamError::Locked`] while the pipeline runs; else as [`ask`], and what the sink says.
pub fn repair(pipeline: &Arc<Pipeline>, config: &RunConfig, parts: &RunParts, name: &str, dry: bool) -> Result<Repaired, StreamError> {
    let Some(output) = pipeline.outputs.iter().find(|output| output.table.name == name) else {
        let sinks: Vec<&str> = pipeline.outputs.iter().map(|output| output.table.name.as_str()).collect();
        return Err(StreamError::Unsupported { what: format!("{name:?} is no sink of the file"), hint: format!("it has {}", sinks.join(", ")) });
    };
    // Asked before the lock is taken, because taking it begins a new ledger where the plan is another.
    super::ask::window(pipeline, config, name)?;
    let state = config.state.as_deref().unwrap_or_else(|| std::path::Path::new("."));
    let (ledger, book) = Ledger::open(state, &pipeline.hash)?;
    let answer = ask(pipeline, config, parts, name, Some(book.last()))?;
    let outside = Outside {
        elsewhere: Elsewhere::open(pipeline, parts)?,
        handle: parts.handle.clone(),
        print: Arc::clone(&parts.print),
        pipeline: config.name.clone(),
        ledger: ledger.id(),
        state: config.state.clone(),
    };
    let mut sink = Sink::open(output, &outside)?;
    let (missing, extra) = sink.repair(answer.epoch, &answer.rows, dry)?;
    let rows = answer.rows.iter().map(|(_, count)| count.unsigned_abs() as u64).sum();
    Ok(Repaired { epoch: answer.epoch, rows, missing, extra, written: !dry && (missing > 0 || extra > 0) })
}

