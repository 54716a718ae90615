//! The command line: words, `--name value`, `--name=value`, and the one switch `--json`.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::BenchError;

/// What stands on the command line and has not been asked for yet.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    words: VecDeque<String>,
    flags: BTreeMap<String, String>,
}

const SWITCHES: [&str; 1] = ["json"];

impl Arguments {
    /// Reads the command line without the program's name.
    ///
    /// # Errors
    /// [`BenchError::Usage`] on a flag that has no value or is given twice.
    pub(crate) fn read(mut given: impl Iterator<Item = String>) -> Result<Self, BenchError> {
        let mut arguments = Self::default();
        while let Some(word) = given.next() {
            let Some(flag) = word.strip_prefix("--") else {
                arguments.words.push_back(word);
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None if SWITCHES.contains(&flag) => (flag, Some(String::new())),
                None => (flag, given.next()),
            };
            let value = value.ok_or_else(|| BenchError::Usage(format!("--{name} needs a value")))?;
            if arguments.flags.insert(name.to_owned(), value).is_some() {
                return Err(BenchError::Usage(format!("--{name} is given twice")));
            }
        }
        Ok(arguments)
    }

    /// Takes the next word.
    ///
    /// # Errors
    /// [`BenchError::Usage`] if there is none; `what` says what is missing.
    pub(crate) fn word(&mut self, what: &str) -> Result<String, BenchError> {
        self.words.pop_front().ok_or_else(|| BenchError::Usage(format!("{what} is missing")))
    }

    /// Takes the next word if there is one.
    pub(crate) fn word_if_any(&mut self) -> Option<String> {
        self.words.pop_front()
    }

    /// Takes a text.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.flags.remove(name)
    }

    /// Takes a path, or gives the fallback.
    pub(crate) fn path(&mut self, name: &str, fallback: &str) -> PathBuf {
        PathBuf::from(self.text(name).unwrap_or_else(|| fallback.to_owned()))
    }

    /// Takes a path that must be given.
    ///
    /// # Errors
    /// [`BenchError::Usage`] if it is not.
    pub(crate) fn needed_path(&mut self, name: &str) -> Result<PathBuf, BenchError> {
        let given = self.text(name).ok_or_else(|| BenchError::Usage(format!("--{name} is missing")))?;
        Ok(PathBuf::from(given))
    }

    /// Takes a number, or gives the fallback.
    ///
    /// # Errors
    /// [`BenchError::Usage`] if the value is none.
    pub(crate) fn number<N: FromStr>(&mut self, name: &str, fallback: N) -> Result<N, BenchError> {
        let Some(text) = self.text(name) else { return Ok(fallback) };
        text.replace('_', "").parse().map_err(|_| BenchError::Usage(format!("--{name} {text} is not such a number")))
    }

    /// Takes names with commas between, or gives the fallback.
    pub(crate) fn names(&mut self, name: &str, fallback: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_else(|| fallback.to_owned());
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// Takes a switch.
    pub(crate) fn switch(&mut self, name: &str) -> bool {
        self.flags.remove(name).is_some()
    }

    /// Makes sure that everything was asked for.
    ///
    /// # Errors
    /// [`BenchError::Usage`] with what is left.
    pub(crate) fn finish(self) -> Result<(), BenchError> {
        if let Some(word) = self.words.front() {
            return Err(BenchError::Usage(format!("{word:?} means nothing here")));
        }
        match self.flags.keys().next() {
            Some(name) => Err(BenchError::Usage(format!("--{name} means nothing here"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, BenchError> {
        Arguments::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn takes_words_flags_and_switches_and_refuses_what_is_left() {
        let mut arguments = read("table --rows 1_000 --json --only=ours,bare --odd 1").expect("well formed");
        assert_eq!(arguments.word("a command").expect("a word"), "table");
        assert_eq!(arguments.number("rows", 5_u64).expect("a number"), 1_000);
        assert_eq!(arguments.names("only", ""), ["ours", "bare"]);
        assert!(arguments.switch("json"));
        assert!(arguments.finish().is_err());
        assert!(read("check --rows").is_err());
        assert!(read("check --rows 1 --rows 2").is_err());
    }
}
