//! Which turns are to be forgotten.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ajatus_events::{Body, ConversationId, InteractionId};
use chrono::{DateTime, Utc};
use rust_stemmers::{Algorithm, Stemmer};
use serde::{Deserialize, Serialize};

/// Ids and words of one request at most.
const MOST: [usize; 2] = [10_000, 20];
/// Characters of a topic at most.
const LONGEST: usize = 300;

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Scope {
    /// One turn.
    Turn {
        /// Which.
        id: InteractionId,
    },
    /// A conversation, its name included.
    Conversation {
        /// Which.
        id: ConversationId,
    },
    /// What was said from one instant to before another.
    Range {
        /// From.
        from: DateTime<Utc>,
        /// To before.
        to: DateTime<Utc>,
    },
    /// Turns that hold all of these words, in any form of theirs.
    Topic {
        /// The words.
        words: String,
    },
    /// These turns.
    Ids {
        /// Which.
        ids: Vec<InteractionId>,
    },
    /// Nothing that is still there: only what edits have replaced, and what was forgotten before, leaves the disk.
    Replaced {},
    /// The account: every turn, the key, the login.
    Account {},
}

/// What a receipt says of a scope: never the words of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScopeName {
    /// One turn.
    Turn {
        /// Which.
        id: InteractionId,
    },
    /// A conversation.
    Conversation {
        /// Which.
        id: ConversationId,
    },
    /// A time.
    Range {
        /// From.
        from: DateTime<Utc>,
        /// To before.
        to: DateTime<Utc>,
    },
    /// A topic.
    Topic {
        /// Of so many words.
        words: usize,
    },
    /// A list.
    Ids {
        /// Of so many ids.
        ids: usize,
    },
    /// What was replaced before.
    Replaced {},
    /// The account.
    Account {},
}

/// Why a scope means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// The range is empty.
    #[error("the range ends at {to}, which is not after its beginning, {from}")]
    EmptyRange {
        /// Beginning.
        from: DateTime<Utc>,
        /// End.
        to: DateTime<Utc>,
    },
    /// A topic without a word would be everything.
    #[error("the topic holds no word; say at least one")]
    NoWord,
    /// Too much for one request.
    #[error("{what} has {got}, but {most} are taken at most")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How much it has.
        got: usize,
        /// How much it may have.
        most: usize,
    },
    /// A list without ids would do nothing.
    #[error("the list holds no id")]
    NoId,
}

impl Scope {
    /// What a receipt says of it.
    #[must_use]
    pub fn name(&self) -> ScopeName {
        match self {
            Self::Turn { id } => ScopeName::Turn { id: *id },
            Self::Conversation { id } => ScopeName::Conversation { id: *id },
            Self::Range { from, to } => ScopeName::Range { from: *from, to: *to },
            Self::Topic { words } => ScopeName::Topic { words: words_of(words).count() },
            Self::Ids { ids } => ScopeName::Ids { ids: ids.iter().collect::<BTreeSet<_>>().len() },
            Self::Replaced {} => ScopeName::Replaced {},
            Self::Account {} => ScopeName::Account {},
        }
    }

    /// Checks it, and makes it ready to be asked.
    ///
    /// # Errors
    /// [`ScopeError`].
    pub fn matcher(&self) -> Result<Matcher, ScopeError> {
        Ok(match self {
            Self::Turn { id } => Matcher::Ids(HashSet::from([*id])),
            Self::Ids { ids } if ids.is_empty() => return Err(ScopeError::NoId),
            Self::Ids { ids } if ids.len() > MOST[0] => return Err(ScopeError::TooLarge { what: "the list", got: ids.len(), most: MOST[0] }),
            Self::Ids { ids } => Matcher::Ids(ids.iter().copied().collect()),
            Self::Conversation { id } => Matcher::Conversation(*id),
            Self::Range { from, to } if from >= to => return Err(ScopeError::EmptyRange { from: *from, to: *to }),
            Self::Range { from, to } => Matcher::Range(*from, *to),
            Self::Topic { words } => Matcher::Topic(Words::new(words)?),
            Self::Replaced {} => Matcher::Nothing,
            Self::Account {} => Matcher::Everything,
        })
    }
}

/// Says of a turn whether it is meant.
#[derive(Debug)]
pub enum Matcher {
    /// These.
    Ids(HashSet<InteractionId>),
    /// Those of a conversation.
    Conversation(ConversationId),
    /// Those of a time.
    Range(DateTime<Utc>, DateTime<Utc>),
    /// Those that hold words.
    Topic(Words),
    /// None.
    Nothing,
    /// All.
    Everything,
}

impl Matcher {
    /// Whether it must see what was said.
    #[must_use]
    pub fn reads(&self) -> bool {
        matches!(self, Self::Topic(_))
    }

    /// Whether a turn is meant; `body` is needed where it [reads](Self::reads).
    pub fn matches(&mut self, id: InteractionId, conversation: ConversationId, at: DateTime<Utc>, body: Option<&Body>) -> bool {
        match self {
            Self::Ids(ids) => ids.contains(&id),
            Self::Conversation(wanted) => *wanted == conversation,
            Self::Range(from, to) => *from <= at && at < *to,
            Self::Topic(words) => body.is_some_and(|body| words.are_in(body)),
            Self::Nothing => false,
            Self::Everything => true,
        }
    }
}

/// Words of a topic: a text holds one if it holds the word itself, or one with its stem, English or Finnish.
pub struct Words {
    wanted: Vec<Forms>,
    stemmers: [Stemmer; 2],
    /// Of words met before.
    known: BTreeMap<String, Forms>,
}

/// A word and its stems.
#[derive(Clone)]
struct Forms([String; 3]);

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A topic is personal.
        f.debug_struct("Words").field("words", &self.wanted.len()).finish_non_exhaustive()
    }
}

fn words_of(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().into_iter()
}

impl Words {
    /// Takes the words of a topic.
    ///
    /// # Errors
    /// [`ScopeError::NoWord`] and [`ScopeError::TooLarge`].
    pub fn new(topic: &str) -> Result<Self, ScopeError> {
        let (characters, count) = (topic.chars().count(), words_of(topic).count());
        if characters > LONGEST {
            return Err(ScopeError::TooLarge { what: "the topic's text", got: characters, most: LONGEST });
        }
        if count > MOST[1] {
            return Err(ScopeError::TooLarge { what: "the topic's list of words", got: count, most: MOST[1] });
        }
        if count == 0 {
            return Err(ScopeError::NoWord);
        }
        let mut words = Self { wanted: Vec::new(), stemmers: [Stemmer::create(Algorithm::English), Stemmer::create(Algorithm::Finnish)], known: BTreeMap::new() };
        words.wanted = words_of(topic).map(|word| words.forms(&word)).collect();
        Ok(words)
    }

    fn forms(&mut self, word: &str) -> Forms {
        if let Some(forms) = self.known.get(word) {
            return forms.clone();
        }
        let stem = |at: usize| self.stemmers[at].stem(word).into_owned();
        let forms = Forms([word.to_owned(), stem(0), stem(1)]);
        // Bounded: a text's words repeat, an archive's do not for ever.
        if self.known.len() > 50_000 {
            self.known.clear();
        }
        self.known.insert(word.to_owned(), forms.clone());
        forms
    }

    /// Whether a turn holds all of them, in its text, its picture's caption, its speaker's name, or a change of the profile.
    pub fn are_in(&mut self, body: &Body) -> bool {
        let mut parts = vec![body.text.as_str()];
        parts.extend(body.speaker.as_deref());
        parts.extend(body.caption.as_deref());
        if let Some(edit) = &body.edit {
            parts.extend([edit.attribute.as_str(), edit.about.as_str()]);
            parts.extend(edit.value.as_deref());
            parts.extend(edit.instead.as_deref());
        }
        let there: Vec<Forms> = parts.into_iter().flat_map(words_of).map(|word| self.forms(&word)).collect();
        let same = |a: &Forms, b: &Forms| (0..3).any(|at| a.0[at] == b.0[at]);
        self.wanted.iter().all(|wanted| there.iter().any(|found| same(wanted, found)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(topic: &str, text: &str) -> bool {
        Words::new(topic).expect("a topic").are_in(&Body { text: text.to_owned(), ..Body::default() })
    }

    #[test]
    fn finds_every_form_of_all_its_words_and_no_other() {
        assert!(holds("divorce", "We are DIVORCED now."));
        assert!(holds("sister wedding", "The weddings of my sisters"));
        assert!(!holds("sister wedding", "My sister called."));
        assert!(holds("kissa", "Kissani nukkuu saunassa"), "a Finnish form");
        assert!(holds("Tampereella", "Asun Tampereella."));
        assert!(!holds("cat", "The category is closed."));
    }

    #[test]
    fn refuses_what_means_nothing_or_too_much() {
        let refused = |scope: Scope| scope.matcher().expect_err("refused");
        let at = DateTime::<Utc>::UNIX_EPOCH;
        assert!(matches!(refused(Scope::Range { from: at, to: at }), ScopeError::EmptyRange { .. }));
        assert_eq!(refused(Scope::Topic { words: " .,! ".to_owned() }), ScopeError::NoWord);
        assert!(matches!(refused(Scope::Topic { words: "x ".repeat(100) }), ScopeError::TooLarge { got: 100, .. }));
        assert_eq!(refused(Scope::Ids { ids: Vec::new() }), ScopeError::NoId);
        assert!(serde_json::from_str::<Scope>(r#"{"kind":"turn","id":"no id"}"#).is_err());
        assert!(serde_json::from_str::<Scope>(r#"{"kind":"everything"}"#).is_err());
    }

    #[test]
    fn a_receipt_does_not_hold_the_words() {
        let told = serde_json::to_string(&Scope::Topic { words: "my divorce".to_owned() }.name()).expect("JSON");
        assert_eq!(told, r#"{"kind":"topic","words":2}"#);
    }
}
