//! The numbered points of the commit order, at each of which a test ends the process with SIGKILL.
//!
//! In the order in which an epoch passes them. A run that is not told to die somewhere passes a point by reading one number.

use std::sync::atomic::{AtomicU32, Ordering};

/// A point of the commit order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Point {
    /// Records were read; the ledger does not know.
    Read = 1,
    /// Half of the ledger's line is written.
    LedgerTorn = 2,
    /// The ledger names the epoch; nothing is fed.
    Minted = 3,
    /// Some of the epoch's records are fed.
    Fed = 4,
    /// The epoch is closed; no sink has it.
    Closed = 5,
    /// A model has answered; the answer is not recorded.
    Answered = 6,
    /// Half of the memo's line is written.
    MemoTorn = 7,
    /// The answer is recorded; the dataflow has not got it.
    Recorded = 8,
    /// The epoch is through the dataflow; no sink has it.
    Through = 9,
    /// A sink has the epoch, the next one has not.
    BetweenSinks = 10,
    /// A database has the rows in a transaction that is not committed.
    Transaction = 11,
    /// A sink has the epoch; what it was told is not noted.
    Untold = 12,
    /// Every sink has the epoch.
    Applied = 13,
    /// A file is written beside its place.
    FileBeside = 14,
    /// A file is in its place.
    FileRenamed = 15,
    /// Within the parts of a snapshot.
    SnapshotPart = 16,
    /// All parts of a snapshot are there, no manifest.
    SnapshotParts = 17,
    /// The manifest is written beside its place.
    SnapshotManifest = 18,
    /// The snapshot counts; older ones are still there.
    SnapshotDone = 19,
    /// A shorter ledger is written beside its place.
    LedgerShortened = 20,
    /// A thread of the dataflow panics, which ends the process too.
    Worker = 21,
}

/// Points, from 1 to this.
pub const POINTS: u32 = 21;

static WHERE: AtomicU32 = AtomicU32::new(0);
static LEFT: AtomicU32 = AtomicU32::new(0);

/// Has the process die at its `time`th passing of a point.
pub fn die_at(point: u32, time: u32) {
    LEFT.store(time.max(1), Ordering::SeqCst);
    WHERE.store(point, Ordering::SeqCst);
}

/// Whether the process dies at this passing of the point; asks and counts.
pub(crate) fn here(point: Point) -> bool {
    WHERE.load(Ordering::Relaxed) == point as u32 && LEFT.fetch_sub(1, Ordering::SeqCst) == 1
}

/// Passes a point.
pub(crate) fn point(point: Point) {
    if here(point) {
        die();
    }
}

/// Ends the process as SIGKILL does: nothing is flushed, nobody is told.
pub(crate) fn die() -> ! {
    #[expect(unsafe_code, reason = "raise sends a signal to the calling process and touches no memory")]
    unsafe {
        libc::raise(libc::SIGKILL);
    }
    std::process::abort()
}
