//! Why a query cannot be kept up to date.

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::Span;

/// The family of a refusal; each has its own code in the diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// An answer that is not a function of the log.
    Impure,
    /// An order, or a limit without one, over a result that never ends.
    Unordered,
    /// A sum of floats, which does not retract exactly.
    FloatSum,
    /// Grouping sets, rollup, cube.
    GroupingSets,
    /// A window function that is not `row_number()` with a bound.
    WindowFunction,
    /// An aggregate that is not kept.
    Aggregate,
    /// A kind of plan that is not kept.
    Plan,
    /// A type that has no exact order and equality.
    Type,
    /// A join without an equality.
    CrossJoin,
    /// A recursion that is not of the supported form.
    Recursion,
    /// A subquery that could not be turned into a join.
    Subquery,
    /// A model that is not there or cannot do what is asked.
    Model,
    /// A table function that is not there.
    Function,
    /// A table that an operator cannot read.
    Operator,
}

impl Why {
    /// A refusal of this family as a sentence.
    #[must_use]
    pub fn sentence(self, what: &str) -> String {
        match self {
            // These say what is wrong; nothing of it could be kept.
            Self::Function | Self::Operator => what.to_owned(),
            _ => format!("{what} cannot be kept exactly"),
        }
    }
}

/// Why a query cannot be planned or kept.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The planner's own error: an unknown name, a wrong type.
    #[error(transparent)]
    Planner(#[from] DataFusionError),
    /// It could be answered once, but not kept.
    #[error("{}; {hint}", why.sentence(what))]
    Refused {
        /// The family.
        why: Why,
        /// What is refused.
        what: String,
        /// What to do instead.
        hint: String,
        /// Where, if known.
        span: Option<Span>,
    },
}

/// A refusal.
pub(crate) fn refuse<T>(why: Why, what: impl Into<String>, hint: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Refused { why, what: what.into(), hint: hint.into(), span: None })
}
