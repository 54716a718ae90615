//! The table as aligned text, or as JSON lines.

use super::contender::Engine;
use super::{ALL, Entry, Outcome};

const HEAD: [&str; 10] =
    ["job", "epoch", "engine", "cpu s min", "median", "x bare", "rows/cpu s", "rows/s", "peak MiB", "changes"];

/// The least and the middle of some figures.
struct Spread {
    least: f64,
    middle: f64,
    most: f64,
}

fn spread(figures: impl Iterator<Item = f64>) -> Spread {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
    let last = sorted.len().saturating_sub(1);
    Spread { least: at(0), middle: f64::midpoint(at(last / 2), at(last.div_ceil(2))), most: at(last) }
}

/// An epoch in words.
pub(super) fn epoch(rows: u64) -> String {
    if rows == ALL { "all".to_owned() } else { rows.to_string() }
}

/// The least processor seconds of bare differential at the same job.
fn floor(entries: &[Entry], entry: &Entry) -> Option<f64> {
    let same = |other: &&Entry| other.engine == Engine::Bare && other.job == entry.job && other.epoch_rows == entry.epoch_rows;
    match &entries.iter().find(same)?.outcome {
        Outcome::Ran(ended) if !ended.is_empty() => Some(spread(ended.iter().map(|one| one.cpu_seconds)).least),
        _ => None,
    }
}

/// Prints one JSON object a contender and job.
pub(super) fn lines(entries: &[Entry]) {
    for entry in entries {
        let (job, engine, epoch) = (entry.job.name(), entry.engine.name(), epoch(entry.epoch_rows));
        let mut line = serde_json::json!({ "job": job, "epoch": epoch, "engine": engine });
        match &entry.outcome {
            Outcome::NotRun(reason) => line["not_run"] = reason.as_str().into(),
            Outcome::Failed(error) => line["failed"] = error.to_string().into(),
            Outcome::Ran(ended) => {
                let (cpu, wall) =
                    (spread(ended.iter().map(|one| one.cpu_seconds)), spread(ended.iter().map(|one| one.wall_seconds)));
                line["runs"] = ended.len().into();
                line["cpu_seconds"] = serde_json::json!({ "min": cpu.least, "median": cpu.middle, "max": cpu.most });
                line["wall_seconds"] = serde_json::json!({ "min": wall.least, "median": wall.middle, "max": wall.most });
                line["cpu_over_bare"] = floor(entries, entry).map(|floor| cpu.least / floor).into();
                if let Some(one) = ended.last() {
                    line["rows"] = one.rows.into();
                    line["rows_per_second"] = (one.rows as f64 / wall.least).into();
                    line["peak_rss_mib"] = spread(ended.iter().map(|one| one.peak_rss_mib)).most.into();
                    line["changes"] = one.changes.into();
                    line["live_rows"] = one.live_rows.into();
                    line["checksum"] = one.checksum.as_str().into();
                }
            }
        }
        println!("{line}");
    }
}

/// Prints the table; ratios and rates are of the least figures, which noise has touched least.
pub(super) fn table(entries: &[Entry]) {
    let mut cells: Vec<Vec<String>> = vec![HEAD.iter().map(|head| (*head).to_owned()).collect()];
    for entry in entries {
        let mut line = vec![entry.job.name().to_owned(), epoch(entry.epoch_rows), entry.engine.name().to_owned()];
        match &entry.outcome {
            Outcome::NotRun(reason) => line.push(format!("not run: {reason}")),
            Outcome::Failed(_) => line.push("failed, see below".to_owned()),
            Outcome::Ran(ended) => {
                let cpu = spread(ended.iter().map(|one| one.cpu_seconds));
                let wall = spread(ended.iter().map(|one| one.wall_seconds));
                let (rows, changes) = ended.last().map_or((0, 0), |one| (one.rows, one.changes));
                line.push(format!("{:.2}", cpu.least));
                line.push(format!("{:.2}", cpu.middle));
                line.push(floor(entries, entry).map_or("-".to_owned(), |floor| format!("{:.2}", cpu.least / floor)));
                line.push(format!("{:.0}", rows as f64 / cpu.least));
                line.push(format!("{:.0}", rows as f64 / wall.least));
                line.push(format!("{:.0}", spread(ended.iter().map(|one| one.peak_rss_mib)).most));
                line.push(changes.to_string());
            }
        }
        cells.push(line);
    }
    aligned(&cells);
    println!();
    let mut told = Vec::new();
    for entry in entries {
        if let (Outcome::Ran(ended), false) = (&entry.outcome, told.contains(&entry.job))
            && let Some(one) = ended.first()
        {
            told.push(entry.job);
            println!("{}: {} rows, checksum {}", entry.job.name(), one.live_rows, one.checksum);
        }
    }
}

/// Prints cells under one another: the first three columns to the left, figures to the right; a line that ends early is a remark.
pub(crate) fn aligned(cells: &[Vec<String>]) {
    let whole = cells.first().map_or(0, Vec::len);
    let wide = |column: usize| {
        cells.iter().filter(|line| line.len() == whole).map(|line| line[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..whole).map(wide).collect();
    for line in cells {
        let padded = line.iter().zip(widths.iter().copied()).enumerate().map(|(at, (cell, width))| match (at, line.len() == whole) {
            (0..3, _) => format!("{cell:<width$}"),
            (_, true) => format!("{cell:>width$}"),
            (_, false) => cell.clone(),
        });
        println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_least_and_the_middle() {
        let found = spread([3.0, 1.0, 2.0].into_iter());
        assert!((found.least, found.middle, found.most) == (1.0, 2.0, 3.0));
        assert!((spread([1.0, 2.0].into_iter()).middle - 1.5).abs() < 1e-12);
        assert!(spread(std::iter::empty()).middle == 0.0);
    }
}
