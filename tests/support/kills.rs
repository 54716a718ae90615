//! Runs that are killed, wherever they are, until one may end.

use std::path::Path;
use std::process::Stdio;

use rand::{Rng as _, SeedableRng as _};

use super::Ajatus;

/// How a run is killed.
pub struct Kills {
    /// Starts.
    pub times: u32,
    /// By how many bytes the ledger grows before a kill, at least and at most.
    pub bytes: std::ops::Range<u64>,
    /// Of the random numbers.
    pub seed: u64,
    /// So many of the starts must have been killed, or the test shows nothing.
    pub least: u32,
}

/// Starts `args` again and again, and kills each start with SIGKILL when the ledger has grown by a random number of bytes: a random number of
/// epochs later, wherever it is then.
pub fn killed(ajatus: &Ajatus, args: &[&str], ledger: &Path, kills: Kills) {
    let size = || std::fs::metadata(ledger).map_or(0, |found| found.len());
    let mut random = rand::rngs::SmallRng::seed_from_u64(kills.seed);
    let mut killed = 0;
    for _ in 0..kills.times {
        let mut child = ajatus.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        let until = size() + random.random_range(kills.bytes.clone());
        while size() < until && matches!(child.try_wait(), Ok(None)) {
            std::thread::yield_now();
        }
        if matches!(child.try_wait(), Ok(None)) {
            child.kill().expect("SIGKILL");
            killed += 1;
        }
        child.wait().expect("it ended");
    }
    assert!(killed >= kills.least, "{killed} runs were killed: give it more to do");
}
