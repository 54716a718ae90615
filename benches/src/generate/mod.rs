//! The yardstick inputs, as JSON lines that follow from a seed alone.

mod changes;
mod users;
mod words;

use std::io::Write;
use std::path::{Path, PathBuf};

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use crate::arguments::Arguments;
use crate::error::BenchError;
use crate::nexmark;

/// The seed of every table in the README.
pub(crate) const SEED: u64 = 7;

/// Users that changes are about; the users' file names each of them.
pub(crate) const USERS: u32 = 50_000;

/// An input of the yardstick jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Words, some far more often than others.
    Words,
    /// Signed rows, a fifth of them withdrawals.
    Changes,
    /// The users that changes are about.
    Users,
}

impl Input {
    fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Changes => "changes",
            Self::Users => "users",
        }
    }

    fn write(self, rows: u64, seed: u64, out: &mut impl Write) -> std::io::Result<()> {
        let mut random = SmallRng::seed_from_u64(seed);
        match self {
            Self::Words => words::write(rows, &mut random, out),
            Self::Changes => changes::write(rows, &mut random, out),
            Self::Users => users::write(rows, out),
        }
    }
}

/// `generate WHAT --rows N --seed S --out FILE`.
pub(crate) fn command(mut arguments: Arguments) -> Result<(), BenchError> {
    let what = arguments.word("what to generate")?;
    let (seed, out) = (arguments.number("seed", SEED)?, arguments.needed_path("out")?);
    let input = match what.as_str() {
        "words" => Some(Input::Words),
        "changes" => Some(Input::Changes),
        "users" => Some(Input::Users),
        "nexmark" => None,
        other => return Err(BenchError::Usage(format!("{other:?} is not words, changes, users or nexmark"))),
    };
    let rows = arguments.number("rows", if input == Some(Input::Users) { u64::from(USERS) } else { 1_000_000 })?;
    arguments.finish()?;
    match input {
        Some(input) => whole(&out, |file| input.write(rows, seed, file)),
        None => nexmark::generate(rows, seed, &out),
    }
}

/// Makes an input in a folder unless it is there, and gives its path; the name says rows and seed.
///
/// # Errors
/// [`BenchError::File`].
pub(crate) fn cached(folder: &Path, input: Input, rows: u64, seed: u64) -> Result<PathBuf, BenchError> {
    let path = folder.join(format!("{}-{rows}-{seed}.jsonl", input.name()));
    if !path.is_file() {
        whole(&path, |file| input.write(rows, seed, file))?;
    }
    Ok(path)
}

/// Writes a file under another name and renames it when it is whole.
///
/// # Errors
/// [`BenchError::File`].
pub(crate) fn whole(
    path: &Path,
    write: impl FnOnce(&mut std::io::BufWriter<std::fs::File>) -> std::io::Result<()>,
) -> Result<(), BenchError> {
    let made = (|| {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let partial = path.with_extension("partial");
        let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(&partial)?);
        write(&mut file)?;
        file.flush()?;
        drop(file);
        std::fs::rename(&partial, path)
    })();
    made.map_err(BenchError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(input: Input, rows: u64, seed: u64) -> String {
        let mut out = Vec::new();
        input.write(rows, seed, &mut out).expect("memory takes every byte");
        String::from_utf8(out).expect("JSON lines are UTF-8")
    }

    #[test]
    fn says_the_same_for_the_same_seed_and_something_else_for_another() {
        for input in [Input::Words, Input::Changes] {
            assert_eq!(text(input, 500, 7), text(input, 500, 7));
            assert_ne!(text(input, 500, 7), text(input, 500, 8));
        }
    }

    #[test]
    fn withdraws_only_rows_that_are_there_and_about_a_fifth() {
        let mut live = std::collections::BTreeMap::new();
        let mut withdrawals = 0;
        for line in text(Input::Changes, 5_000, 7).lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("a row");
            let rest = (row["user"].clone(), row["item"].clone(), row["weight"].clone());
            match row["diff"].as_i64() {
                Some(1) => assert!(live.insert(row["id"].as_u64(), rest).is_none()),
                Some(-1) => {
                    withdrawals += 1;
                    assert_eq!(live.remove(&row["id"].as_u64()), Some(rest));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!((900..1_100).contains(&withdrawals), "{withdrawals}");
    }
}
