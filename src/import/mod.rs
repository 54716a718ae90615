//! Conversations from files: what each format's turns are in our words.
//!
//! Holds always: a turn's id depends only on its owner, its conversation and its own name at the source, so importing
//! twice writes the same keys; a bad turn is reported with its line and leaves the others alone.
//! Not promised: that a file is read without holding it in memory (an export of 1 GB needs about 2 GB).

mod chatgpt;
mod claude;
mod jsonl;
mod locomo;
mod pack;
mod place;
mod telegram;
mod whatsapp;

use std::path::Path;

use ajatus_events::Role;
use chrono::{DateTime, FixedOffset, Utc};

pub(crate) use locomo::{Question, questions};

use crate::cli::{DateOrder, Format};
use crate::exit::{Ended, Exit};

/// One turn as read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn {
    /// Name of its conversation at the source.
    pub(crate) conversation: String,
    /// Its own name at the source, unique inside the conversation.
    pub(crate) turn: String,
    /// Session, from 0 or 1 as the source counts.
    pub(crate) session: u32,
    /// Order inside the conversation.
    pub(crate) position: u32,
    /// Who speaks, when the format says so.
    pub(crate) role: Option<Role>,
    /// The speaker's name, when there is one.
    pub(crate) speaker: Option<String>,
    /// When it was said.
    pub(crate) occurred_at: DateTime<Utc>,
    /// The words.
    pub(crate) text: String,
    /// What a shared picture shows.
    pub(crate) caption: Option<String>,
}

/// A conversation's title at the source, if it has one of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Titled {
    /// Name of the conversation at the source.
    pub(crate) conversation: String,
    /// What to call it.
    pub(crate) title: String,
}

/// What could not be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rejected {
    /// Line of the file, from 1.
    pub(crate) line: usize,
    /// Stable code, e.g. `import.malformed_line`.
    pub(crate) code: &'static str,
    /// What is wrong and what would be right.
    pub(crate) message: String,
    /// The bytes themselves.
    pub(crate) raw: Vec<u8>,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Contents {
    /// Turns in the order of the file.
    pub(crate) turns: Vec<Turn>,
    /// Titles of conversations.
    pub(crate) titles: Vec<Titled>,
    /// What could not be read.
    pub(crate) rejected: Vec<Rejected>,
}

/// Longest text of a turn, bytes: a record of the log takes 2 MiB and sealing adds a third.
const TEXT_LIMIT_BYTES: usize = 1 << 20;

/// Silence that begins a new session, seconds.
const SESSION_GAP_S: i64 = 6 * 3600;

/// Counts sessions of a conversation that has none of its own: a silence of six hours begins another.
#[derive(Default)]
struct Sittings {
    number: u32,
    before: Option<DateTime<Utc>>,
}

impl Sittings {
    /// The session of a turn that was said `at` a moment, after the ones asked about before.
    fn of(&mut self, at: DateTime<Utc>) -> u32 {
        if self.before.is_some_and(|before| (at - before).num_seconds() > SESSION_GAP_S) {
            self.number += 1;
        }
        self.before = Some(at);
        self.number
    }
}

/// What a file does not say of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clues {
    /// What comes first in a date, where both readings are possible.
    pub(crate) date_order: Option<DateOrder>,
    /// The zone of times that have none.
    pub(crate) zone: FixedOffset,
}

/// Reads a file, or an archive with one in it.
///
/// # Errors
/// [`Exit::Unusable`] when the file is missing or is not of the format at all (then nothing of it can be imported).
pub(crate) fn read(path: &Path, format: Format, clues: Clues) -> anyhow::Result<Contents> {
    let bytes = std::fs::read(path)
        .map_err(|error| Ended::new(Exit::Unusable, format!("{} cannot be read: {error}", path.display())))?;
    let mut contents = Contents::default();
    let (wanted, called): (fn(&str) -> bool, _) = match format {
        Format::Locomo | Format::Jsonl => (|_| true, "file"),
        Format::Chatgpt | Format::Claude => (|name| name.starts_with("conversations") && name.ends_with(".json"), "conversations.json"),
        Format::Telegram => (|name| name == "result.json", "result.json"),
        Format::Whatsapp => (|name| name.ends_with(".txt"), "text of a chat"),
    };
    for (name, bytes) in pack::files(path, bytes, wanted, called)? {
        let read = match format {
            Format::Locomo => locomo::read(path, &bytes)?,
            Format::Jsonl => jsonl::read(&bytes),
            Format::Chatgpt => chatgpt::read(path, &bytes)?,
            Format::Claude => claude::read(path, &bytes)?,
            Format::Telegram => telegram::read(path, &bytes, clues.zone)?,
            Format::Whatsapp => whatsapp::read(path, &name, &bytes, clues.date_order, clues.zone)?,
        };
        contents.turns.extend(read.turns);
        contents.titles.extend(read.titles);
        contents.rejected.extend(read.rejected);
    }
    refuse_overlong(&mut contents);
    refuse_repeated(&mut contents);
    Ok(contents)
}

fn refuse_overlong(contents: &mut Contents) {
    let rejected = &mut contents.rejected;
    contents.turns.retain(|turn| {
        let size = turn.text.len() + turn.caption.as_ref().map_or(0, String::len);
        if size <= TEXT_LIMIT_BYTES {
            return true;
        }
        rejected.push(Rejected {
            line: 0,
            code: "import.too_long",
            message: format!(
                "turn {} of {} holds {size} bytes of text, but {TEXT_LIMIT_BYTES} are taken at most; split it",
                turn.turn, turn.conversation
            ),
            raw: turn.text.as_bytes().iter().copied().take(TEXT_LIMIT_BYTES).collect(),
        });
        false
    });
}

/// Two turns of one name in one conversation would overwrite each other: the first stays, the others are reported.
fn refuse_repeated(contents: &mut Contents) {
    let mut seen = std::collections::HashSet::new();
    let rejected = &mut contents.rejected;
    contents.turns.retain(|turn| {
        if seen.insert((turn.conversation.clone(), turn.turn.clone())) {
            return true;
        }
        rejected.push(Rejected {
            line: 0,
            code: "import.repeated_turn",
            message: format!(
                "turn {} stands twice in conversation {}; the first is kept, give the other a name of its own",
                turn.turn, turn.conversation
            ),
            raw: turn.text.as_bytes().to_vec(),
        });
        false
    });
}

/// The whole file is not what it was said to be.
fn unusable(path: &Path, line: usize, what: &str) -> anyhow::Error {
    Ended::new(Exit::Unusable, format!("{}:{line}: {what}; nothing was imported", path.display()))
}
