//! The signals: their names, their weights, and which of them a search uses.

use std::str::FromStr;

/// One thing that speaks for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// BM25 of the dated, named turn.
    LexicalTurn,
    /// BM25 of the turn with two neighbours on each side.
    LexicalWindow,
    /// Cosine of the turn and the question.
    DenseTurn,
    /// The same, the turn averaged with its nearest neighbours.
    DenseNear,
    /// The same, with three neighbours on each side.
    DenseWide,
    /// BM25 of the whole session.
    LexicalSession,
    /// BM25 of adjacent pairs of stems.
    Pairs,
    /// Idf mass of the question's stems that the window holds.
    Coverage,
    /// The question is about this turn's speaker.
    Speaker,
    /// The turn states rather than asks.
    Statement,
    /// The turn holds a word of time.
    Time,
    /// The same, if the question asks when.
    When,
    /// The turn holds a number, if the question asks for one.
    Number,
    /// The turn holds a name, if the question asks for one.
    Name,
    /// The turn before asked something like the question.
    Answer,
    /// The turn opens its session.
    First,
    /// The turn says much.
    Length,
    /// The session's date is the question's.
    Date,
    /// Cosine and BM25 of the turn again, if the question is about its speaker.
    Matched,
    /// Cosine and BM25 of the turn multiplied: both say so.
    Agreement,
    /// The turn names a thing of the kind that a question for several things asks for.
    Kind,
    /// The turn shares a rare name with one of the best turns.
    Hop,
}

/// Every signal with its name in `explain` and its weight. The first eighteen are fitted on conversations 1-5 of the
/// evaluation set, with nothing of 6-10, but for `dense_wide`, which is raised; it and the last four are round numbers
/// (docs/retrieval.md).
pub(super) const SIGNALS: [(Signal, &str, f32); 22] = [
    (Signal::LexicalTurn, "lexical_turn", 1.16),
    (Signal::LexicalWindow, "lexical_window", 1.38),
    (Signal::DenseTurn, "dense_turn", 1.24),
    (Signal::DenseNear, "dense_near", 0.93),
    (Signal::DenseWide, "dense_wide", 1.5),
    (Signal::LexicalSession, "lexical_session", 1.54),
    (Signal::Pairs, "pairs", 0.81),
    (Signal::Coverage, "coverage", 1.17),
    (Signal::Speaker, "speaker", 0.98),
    (Signal::Statement, "statement", 0.75),
    (Signal::Time, "time", 0.26),
    (Signal::When, "when", 1.13),
    (Signal::Number, "number", 1.27),
    (Signal::Name, "name", 1.08),
    (Signal::Answer, "answer", 1.50),
    (Signal::First, "first", 0.79),
    (Signal::Length, "length", 0.75),
    (Signal::Date, "date", 3.09),
    (Signal::Matched, "matched", 0.6),
    (Signal::Agreement, "agreement", 0.5),
    (Signal::Kind, "kind", 1.0),
    (Signal::Hop, "hop", 0.5),
];

impl Signal {
    /// Every signal, in the order of `explain`.
    pub fn all() -> impl Iterator<Item = Self> {
        SIGNALS.iter().map(|(signal, _, _)| *signal)
    }

    /// Its name in `explain` and in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        SIGNALS[self as usize].1
    }

    /// The signal of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        SIGNALS.iter().find(|(_, known, _)| *known == name).map(|(signal, _, _)| *signal)
    }

    pub(super) fn weight(self) -> f32 {
        SIGNALS[self as usize].2
    }
}

/// A name that no signal has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no signal {name:?}; there are {}", SIGNALS.map(|(_, name, _)| name).join(", "))]
pub struct UnknownSignal {
    /// The name.
    pub name: String,
}

/// A set of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals(u32);

impl Signals {
    /// Every signal.
    pub const ALL: Self = Self((1 << SIGNALS.len()) - 1);

    /// This set without one signal.
    #[must_use]
    pub fn without(self, signal: Signal) -> Self {
        Self(self.0 & !(1 << signal as u32))
    }

    /// Whether the set holds the signal.
    #[must_use]
    pub fn contains(self, signal: Signal) -> bool {
        self.0 & (1 << signal as u32) != 0
    }
}

/// Reads `dense_turn,date` as only these, `-hop,-date` as all but these.
impl FromStr for Signals {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        let signal = |name: &str| Signal::named(name).ok_or_else(|| UnknownSignal { name: name.to_owned() });
        // Only exclusions start from all.
        let mut signals = if names.iter().all(|name| name.starts_with('-')) { Self::ALL } else { Self(0) };
        for name in names {
            signals = match name.strip_prefix('-') {
                Some(without) => signals.without(signal(without)?),
                None => Self(signals.0 | 1 << signal(name)? as u32),
            };
        }
        Ok(signals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_every_signal_once_at_its_own_place() {
        for (at, (signal, name, _)) in SIGNALS.iter().enumerate() {
            assert_eq!(*signal as usize, at);
            assert_eq!(Signal::named(name), Some(*signal));
            assert_eq!(signal.name(), *name);
            assert!(Signals::ALL.contains(*signal) && !Signals::ALL.without(*signal).contains(*signal));
        }
        assert_eq!(Signal::all().count(), SIGNALS.len());
    }

    #[test]
    fn reads_sets_by_name_and_refuses_names_nobody_has() {
        assert_eq!("".parse(), Ok(Signals::ALL));
        assert_eq!("-date, -hop".parse(), Ok(Signals::ALL.without(Signal::Date).without(Signal::Hop)));
        let two: Signals = "dense_turn,date".parse().expect("two");
        assert_eq!(Signal::all().filter(|signal| two.contains(*signal)).collect::<Vec<_>>(), [Signal::DenseTurn, Signal::Date]);
        let refused = "dense_turn,-speling".parse::<Signals>().expect_err("refused");
        assert!(refused.to_string().contains("\"speling\"; there are lexical_turn, "), "{refused}");
    }
}
