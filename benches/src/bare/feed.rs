//! Reads a file of JSON lines row by row, and says where an epoch ends.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use timely::worker::Worker;

use crate::error::BenchError;

/// What the reader came upon.
pub(super) enum Fed<'line> {
    /// A line of this worker's share.
    Line(&'line [u8]),
    /// The epoch before this one has ended.
    Epoch(u64),
}

/// Reads a file. Of several workers, each reads the whole of it and takes the lines that are its own by turn.
///
/// Gives how many lines this worker took. At the end of an epoch the worker makes one step; it does not wait until the epoch is done.
///
/// # Errors
/// [`BenchError::File`] and [`BenchError::Row`].
pub(super) fn feed(
    worker: &mut Worker,
    path: &Path,
    epoch_rows: u64,
    mut take: impl FnMut(Fed<'_>) -> Result<(), serde_json::Error>,
) -> Result<u64, BenchError> {
    let file = std::fs::File::open(path).map_err(BenchError::file(path))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (index, peers) = (worker.index() as u64, worker.peers() as u64);
    let (mut line, mut seen, mut taken) = (Vec::new(), 0_u64, 0_u64);
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(BenchError::file(path))? == 0 {
            return Ok(taken);
        }
        if seen % peers == index {
            take(Fed::Line(&line)).map_err(|source| refused(path, seen + 1, source))?;
            taken += 1;
        }
        seen += 1;
        if seen.is_multiple_of(epoch_rows) {
            take(Fed::Epoch(seen / epoch_rows)).map_err(|source| refused(path, seen, source))?;
            worker.step();
        }
    }
}

fn refused(path: &Path, line: u64, source: serde_json::Error) -> BenchError {
    BenchError::Row { path: path.to_owned(), line, source }
}

/// Works until every dataflow is done.
pub(super) fn drain(worker: &mut Worker) {
    while worker.has_dataflows() {
        worker.step_or_park(None);
    }
}
