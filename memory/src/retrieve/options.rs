//! How to search, and what a search found.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::signals::Signals;
use crate::postgres::Memory;

/// What a time that the question names does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeUse {
    /// Nothing; also no `date` signal.
    Ignore,
    /// Turns of that time score higher.
    #[default]
    Prefer,
    /// Only turns of that time, or all if there is none.
    Only,
}

/// How to search. The default is what measures best (docs/retrieval.md).
#[derive(Clone, Debug, PartialEq)]
pub struct SearchOptions {
    /// Turns wanted at most. Default 20.
    pub limit: usize,
    /// Return every signal's share of the score. Default false.
    pub explain: bool,
    /// Signals used. Default all.
    pub signals: Signals,
    /// What a time in the question does. Default [`TimeUse::Prefer`].
    pub time: TimeUse,
    /// The present, which resolves "yesterday" and "last spring"; without it such words are only words. Default none.
    pub now: Option<DateTime<Utc>>,
    /// How much a turn loses for each better one of its session, 0 to 1: more sessions, fewer neighbours. Default 0.4 for a
    /// question that asks for several things, else 0.
    pub diversity: Option<f32>,
    /// Tokens of text and caption at most, at four characters each; a turn that does not fit is left out, the first never.
    /// Default no bound.
    pub token_budget: Option<usize>,
    /// Below this much evidence ([`Evidence::total`], 0 to 1) nothing is returned. Default 0, always something.
    pub min_score: f32,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            limit: 20,
            explain: false,
            signals: Signals::ALL,
            time: TimeUse::default(),
            now: None,
            diversity: None,
            token_budget: None,
            min_score: 0.0,
        }
    }
}

/// A turn found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The turn.
    pub memory: Arc<Memory>,
    /// Weighted sum of its signals; of the first also what put it first, less what diversity takes.
    pub score: f32,
    /// Every signal's share of the score, if the search was to explain; then `first_place` and `diversity`, if any.
    pub signals: Vec<(&'static str, f32)>,
}

/// How sure it is that the memory holds an answer, whatever ranks first: the scores of one question say nothing of another's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Largest cosine of a turn and the question; `None` if the search had no vector.
    pub cosine: Option<f32>,
    /// Largest share of the question's words, by rarity, that a turn and its neighbours hold; words that no turn holds count.
    pub coverage: f32,
    /// The two together, 0 to 1.
    pub total: f32,
}

/// Least evidence of a confident answer. Of questions with an answer in conversations 1-5, 95 % have more; of questions asked
/// of somebody else's memory, 40 % do (docs/retrieval.md).
const CONFIDENT: f32 = 0.36;
/// The same, when only words could be compared.
const CONFIDENT_BY_WORDS: f32 = 0.26;

impl Evidence {
    pub(super) fn new(cosine: Option<f32>, coverage: f32) -> Self {
        let total = cosine.map_or(coverage, |cosine| (cosine + 0.5 * coverage) / 1.5).clamp(0.0, 1.0);
        Self { cosine, coverage, total }
    }

    /// Whether an answer is likely there. Not promised: that it is one for the person asked about.
    #[must_use]
    pub fn confident(&self) -> bool {
        self.total >= if self.cosine.is_some() { CONFIDENT } else { CONFIDENT_BY_WORDS }
    }
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Best first.
    pub hits: Vec<Hit>,
    /// Whether the memory is likely to hold an answer.
    pub confident: bool,
    /// Why.
    pub evidence: Evidence,
}
