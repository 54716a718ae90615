//! Which topics there are: `topics.toml`.

use std::path::Path;

use ajatus_events::topic;
use serde::Deserialize;

use crate::log::LogError;

/// How a topic forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cleanup {
    /// The last record of each key is kept, tombstones go.
    Compact,
    /// Old records go.
    Delete,
}

/// One topic's settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its name: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Partitions, 1 to 1,000.
    pub partitions: u32,
    /// How it forgets.
    pub cleanup: Cleanup,
    /// Days kept, for [`Cleanup::Delete`]; `None`: for ever.
    #[serde(default)]
    pub retention_days: Option<u32>,
}

impl Topic {
    /// The refusal to drop partitions; `at` is where the log is.
    pub(crate) fn would_lose_partitions(&self, has: u32, at: &str) -> LogError {
        LogError::Corrupt {
            reason: format!(
                "topic {:?} has {has} partitions in {at}, but topics.toml says {}; partitions cannot be taken away",
                self.name, self.partitions
            ),
        }
    }

    /// The refusal to move keys away from what they replace; `at` is where the log is.
    pub(crate) fn would_move_keys(&self, has: u32, at: &str) -> LogError {
        LogError::Corrupt {
            reason: format!(
                "topic {:?} has {has} partitions in {at}, but topics.toml says {}; it holds records and is compacted by key, \
                 so another number would part keys from what they replace; change it only while the topic is empty",
                self.name, self.partitions
            ),
        }
    }
}

/// All topics.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// Largest record, key and value together. Default 2 MiB.
    #[serde(default = "default_max_record_bytes")]
    pub max_record_bytes: usize,
    #[serde(rename = "topic")]
    topics: Vec<Topic>,
}

fn default_max_record_bytes() -> usize {
    2 << 20
}

impl Topics {
    /// The topics this program comes with.
    #[must_use]
    pub fn built_in() -> Self {
        Self::parse(include_str!("../topics.toml")).expect("the file in the repository is checked by a test")
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] with the place and what is wrong there.
    pub fn load(path: &Path) -> Result<Self, LogError> {
        let text = std::fs::read_to_string(path).map_err(|error| LogError::Corrupt { reason: format!("{}: {error}", path.display()) })?;
        Self::parse(&text).map_err(|reason| LogError::Corrupt { reason: format!("{}: {reason}", path.display()) })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let topics: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut seen = std::collections::BTreeSet::new();
        for topic in &topics.topics {
            let sound = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
            if topic.name.is_empty() || topic.name.len() > 200 || !topic.name.chars().all(sound) {
                return Err(format!("topic name {:?} may hold only letters, digits, '.', '_' and '-'", topic.name));
            }
            if !(1..=1_000).contains(&topic.partitions) {
                return Err(format!("topic {:?} has {} partitions, but 1 to 1,000 are possible", topic.name, topic.partitions));
            }
            if topic.cleanup == Cleanup::Compact && topic.retention_days.is_some() {
                return Err(format!("topic {:?} is compacted, so its retention_days would do nothing; leave it out", topic.name));
            }
            if !seen.insert(&topic.name) {
                return Err(format!("topic {:?} stands there twice", topic.name));
            }
        }
        if !(1 << 10..=64 << 20).contains(&topics.max_record_bytes) {
            return Err(format!("max_record_bytes is {}, but 1 KiB to 64 MiB are possible", topics.max_record_bytes));
        }
        // One user's records lie on the same partition of all three.
        let of_users = [topic::INTERACTIONS, topic::MODEL_ANSWERS, topic::MEMORY_CHANGES];
        let counts: Vec<u32> = of_users.iter().filter_map(|name| topics.get(name)).map(|topic| topic.partitions).collect();
        if counts.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(format!("topics {} have {counts:?} partitions, but must have as many each", of_users.join(", ")));
        }
        Ok(topics)
    }

    /// Topics as they were found on a cluster that is not ours.
    pub(crate) fn found(partitions: impl IntoIterator<Item = (String, u32)>) -> Self {
        let topics = partitions.into_iter().map(|(name, partitions)| Topic { name, partitions, cleanup: Cleanup::Delete, retention_days: None });
        Self { max_record_bytes: default_max_record_bytes(), topics: topics.collect() }
    }

    /// A topic by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter()
    }

    /// Partitions of a topic.
    pub(crate) fn partitions(&self, name: &str) -> Result<u32, LogError> {
        let found = self.get(name).map(|topic| topic.partitions);
        found.ok_or_else(|| LogError::UnknownPartition { topic: name.to_owned(), partition: 0 })
    }

    /// Refuses a partition that is not there, or a record that is too large.
    pub(crate) fn check(&self, name: &str, partition: u32, records: &[crate::Record]) -> Result<(), LogError> {
        if partition >= self.partitions(name)? {
            return Err(LogError::UnknownPartition { topic: name.to_owned(), partition });
        }
        for record in records {
            let size_bytes = record.key.len() + record.value.as_ref().map_or(0, Vec::len);
            if size_bytes > self.max_record_bytes {
                return Err(LogError::TooLarge { topic: name.to_owned(), size_bytes, limit_bytes: self.max_record_bytes });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_file_names_every_topic_of_ours() {
        let topics = Topics::built_in();
        for name in [topic::INTERACTIONS, topic::MODEL_ANSWERS, topic::MEMORY_CHANGES, topic::DEAD_LETTERS] {
            assert!(topics.get(name).is_some(), "{name} is missing");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know_and_says_where() {
        let base = "[[topic]]\nname = \"a\"\npartitions = 1\ncleanup = \"compact\"\n";
        assert!(Topics::parse(base).is_ok());
        for (text, word) in [
            (format!("{base}retention = 3\n"), "retention"),
            (base.replace("compact", "shrink"), "shrink"),
            (base.replace("= 1", "= 0"), "partitions"),
            (format!("{base}retention_days = 3\n"), "retention_days"),
            (format!("{}{}", base.replace("\"a\"", "\"interactions\""), base.replace("\"a\"", "\"memory-changes\"").replace("= 1", "= 2")), "[1, 2]"),
            (base.replace("\"a\"", "\"a b\""), "a b"),
            (format!("{base}{base}"), "twice"),
            ("max_record_bytes = 3\n".to_owned() + base, "max_record_bytes"),
            ("][".to_owned(), "1"),
        ] {
            let refused = Topics::parse(&text).expect_err(&text);
            assert!(refused.contains(word), "{refused:?} does not name {word:?}");
        }
    }
}
