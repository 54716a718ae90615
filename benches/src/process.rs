//! What the kernel says a process has used.
//!
//! Times have the resolution of the kernel's tick, 10 ms; a run takes at least some tenths of a second.

use std::path::Path;

use crate::error::BenchError;

/// Ticks of `/proc` in a second (`USER_HZ`, 100 on every Linux of these machines).
const TICKS: f64 = 100.0;

/// Processor seconds of this process and all its threads, ended ones too.
///
/// # Errors
/// [`BenchError::File`] where there is no `/proc`.
pub(crate) fn own_cpu_seconds() -> Result<f64, BenchError> {
    ticks(11).map(|ticks| ticks / TICKS)
}

/// Processor seconds of all children that have ended and were waited for.
///
/// # Errors
/// [`BenchError::File`] where there is no `/proc`.
pub(crate) fn children_cpu_seconds() -> Result<f64, BenchError> {
    ticks(13).map(|ticks| ticks / TICKS)
}

/// User and system time, which stand side by side behind the program's name.
fn ticks(user: usize) -> Result<f64, BenchError> {
    let path = Path::new("/proc/self/stat");
    let text = std::fs::read_to_string(path).map_err(BenchError::file(path))?;
    let (_, behind) = text.rsplit_once(')').unwrap_or_default();
    Ok(behind.split_whitespace().skip(user).take(2).filter_map(|field| field.parse::<f64>().ok()).sum())
}

/// The most memory a process has held, in MiB; `None` if it has ended or says nothing.
pub(crate) fn peak_rss_mib(process: &str) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// The machine in words: processor, cores, and how busy it is.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let model = model.trim_start_matches([' ', '\t', ':']).to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    format!("{model}, {cores} cores, load average {}", load.join(" "))
}
