//! The signals: their names, their weights, and which of them a search uses.

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
}

/// Every signal with its name in `explain` and its weight: fitted on conversations 1-5 of the evaluation set, with nothing
/// of 6-10; weights of 1 all over give the same ranking quality.
pub(super) const SIGNALS: [(Signal, &str, f32); 18] = [
    (Signal::LexicalTurn, "lexical_turn", 1.16),
    (Signal::LexicalWindow, "lexical_window", 1.38),
    (Signal::DenseTurn, "dense_turn", 1.24),
    (Signal::DenseNear, "dense_near", 0.93),
    (Signal::DenseWide, "dense_wide", 1.19),
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
];

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

/// How to search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchOptions {
    /// Turns wanted at most. Default 20.
    pub limit: usize,
    /// Return every signal's share of the score. Default false.
    pub explain: bool,
    /// Signals used. Default all.
    pub signals: Signals,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { limit: 20, explain: false, signals: Signals::ALL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_every_signal_once_at_its_own_place() {
        for (at, (signal, _, _)) in SIGNALS.iter().enumerate() {
            assert_eq!(*signal as usize, at);
            assert!(Signals::ALL.contains(*signal) && !Signals::ALL.without(*signal).contains(*signal));
        }
    }
}
