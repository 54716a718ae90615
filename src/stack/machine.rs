//! What the machine has.

use std::path::Path;

/// Resident memory of this process, MiB; `None` where there is no `/proc`.
pub(crate) fn resident_mib() -> Option<u64> {
    kib("/proc/self/status", "VmRSS:").map(|kib| kib / 1024)
}

/// The most memory that was resident at once, MiB.
pub(crate) fn peak_rss_mib() -> Option<u64> {
    kib("/proc/self/status", "VmHWM:").map(|kib| kib / 1024)
}

/// Processor time of this process so far, all threads, in seconds; to the hundredth, which is Linux's unit.
pub(crate) fn cpu_seconds() -> f64 {
    let ticks = || {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The program's name, in brackets, may hold spaces.
        let mut fields = text.rsplit(')').next()?.split_whitespace().skip(11);
        let user: u32 = fields.next()?.parse().ok()?;
        let system: u32 = fields.next()?.parse().ok()?;
        Some(f64::from(user) + f64::from(system))
    };
    ticks().unwrap_or_default() / 100.0
}

/// Memory that can still be taken, MiB.
pub(crate) fn available_mib() -> Option<u64> {
    kib("/proc/meminfo", "MemAvailable:").map(|kib| kib / 1024)
}

fn kib(file: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Space that this user may still take on the file system of `path`, MiB.
///
/// # Errors
/// The operating system's, e.g. that the path is missing.
pub(crate) fn free_mib(path: &Path) -> std::io::Result<u64> {
    use std::os::unix::ffi::OsStrExt as _;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `statvfs` writes the whole struct when it returns 0, and the name is a C string that outlives the call.
    #[expect(unsafe_code, reason = "the standard library has no call for free space")]
    let found = unsafe {
        let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
        if libc::statvfs(name.as_ptr(), found.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        found.assume_init()
    };
    Ok(found.f_bavail.saturating_mul(found.f_frsize) / (1 << 20))
}

/// The value below which `share` of the sorted values lie (nearest rank); 0 for no values.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rank")]
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_nearest_rank() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!((percentile(&values, 0.5), percentile(&values, 0.99), percentile(&values, 1.0)), (100.0, 198.0, 200.0));
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
