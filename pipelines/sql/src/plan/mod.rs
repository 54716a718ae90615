//! From queries to steps that can be kept up to date.
//!
//! DataFusion parses, resolves, coerces and optimises; what is left of its plan becomes a tree of [`Node`]s. Anything that is not
//! exact under retraction is refused here, before a dataflow exists.

mod facts;
mod functions;
mod group;
mod join;
mod lower;
mod map;
mod model;
mod operator;
mod problem;
mod pure;
mod recursion;
mod rewrite;
mod session;
mod top;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ajatus_operators::relational::{Grouping, JoinShape, Recursion, TopShape};
use ajatus_operators::row::{Kind, Row, Weave};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

pub use facts::function_reference;
pub(crate) use facts::version as facts_version;
pub use functions::{ModelShape, ModelTask};
pub use operator::{Operator, operator_reference};
pub use problem::{Problem, Why};
pub(crate) use recursion::reads;
pub use session::{MAX_ROUNDS, Planned, Planner};

use crate::codec::{Decoder, kinds_of};

/// A step that several others may read.
pub type Input = Arc<Node>;

/// One step and the shape of its rows.
#[derive(Debug)]
pub struct Node {
    /// Its number in the pipeline; also what its faults and metrics are named by.
    pub id: usize,
    /// What it does.
    pub step: Step,
    /// Its columns' types.
    pub types: Vec<DataType>,
    /// Which of them may be null.
    pub nullable: Vec<bool>,
    /// Their names.
    pub names: Vec<String>,
}

/// What a step does.
#[derive(Debug)]
pub enum Step {
    /// Rows of a table or a view.
    Source {
        /// Its name.
        table: String,
        /// Which of its columns.
        columns: Vec<usize>,
    },
    /// Rows that are always there.
    Values {
        /// The rows.
        rows: Vec<Row>,
    },
    /// Filter and projection.
    Map {
        /// Of what.
        input: Input,
        /// How.
        program: Arc<Program>,
    },
    /// One row per element of a list column.
    Unnest {
        /// Of what.
        input: Input,
        /// The list column.
        column: usize,
        /// Output columns: of the input (0) or the element (1).
        output: Weave,
        /// Whether a row with nothing in its list stays, with null.
        outer: bool,
    },
    /// `group by`.
    Group {
        /// Of what: the keys, then the aggregates' arguments.
        input: Input,
        /// How.
        grouping: Grouping,
        /// Without keys: the row over nothing.
        nothing: Option<Row>,
    },
    /// Each row once.
    Distinct {
        /// Of what.
        input: Input,
    },
    /// A join on equal keys.
    Join(Box<Match>),
    /// All rows of all inputs.
    Union {
        /// Of what.
        inputs: Vec<Input>,
    },
    /// The first rows in an order.
    Top {
        /// Of what.
        input: Input,
        /// Which.
        shape: TopShape,
    },
    /// Rows that follow from rows, round by round.
    Recursion {
        /// Its name in the query.
        name: String,
        /// Which recursion of the query it is.
        of: usize,
        /// The rows of the first round.
        base: Input,
        /// What follows from a round; reads [`Step::Round`] once, through steps that are linear in it.
        step: Input,
        /// How often.
        recursion: Recursion,
    },
    /// Inside of a recursion: the rows so far.
    Round {
        /// Of which recursion of the query.
        of: usize,
        /// Which of their columns.
        columns: Vec<usize>,
        /// How all of them are written.
        kinds: Vec<Kind>,
    },
    /// One of the platform's own operators over whole tables.
    Operator {
        /// Which.
        operator: Operator,
        /// Its tables, each with the columns that it reads, in its order.
        inputs: Vec<Input>,
    },
    /// A model's answer appended to each row.
    Infer {
        /// Of what.
        input: Input,
        /// Which model and which columns.
        call: Arc<Call>,
    },
}

/// Rows of a side that are kept, of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Pairs.
    Pairs,
    /// Left rows with a partner.
    LeftMatched,
    /// Left rows without one.
    LeftAlone,
    /// Right rows without one.
    RightAlone,
}

/// A join on equal key columns.
#[derive(Debug)]
pub struct Match {
    /// Its left input.
    pub left: Input,
    /// Its right input.
    pub right: Input,
    /// From a left row to key and rest.
    pub left_weave: Weave,
    /// From a right row to key and rest.
    pub right_weave: Weave,
    /// Left columns that make the key.
    pub left_keys: Vec<usize>,
    /// Right columns that make the key.
    pub right_keys: Vec<usize>,
    /// Kinds of key and rests.
    pub shape: JoinShape,
    /// Whether null equals null.
    pub nulls_match: bool,
    /// What it gives, each woven from key, left rest, right rest, and a key of nulls; what a row lacks is null.
    pub keep: Vec<(Keep, Weave)>,
}

/// A call of a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The model's name in the file.
    pub model: String,
    /// What is asked of it.
    pub task: ModelTask,
    /// Columns of the input that are sent.
    pub asked: Vec<usize>,
    /// Type of the answer.
    pub answer: DataType,
}

/// Filter and projection of batches of rows.
#[derive(Debug)]
pub struct Program {
    /// Decodes the columns that the expressions read, and those only.
    pub decoder: Decoder,
    /// Their schema.
    pub schema: SchemaRef,
    /// Rows that stay.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Columns that are computed.
    pub computed: Vec<Arc<dyn PhysicalExpr>>,
    /// Over the input row and the row of computed columns.
    pub output: Weave,
    /// Where nothing is computed or dropped: the columns that are moved.
    pub moves: Option<Vec<usize>>,
    /// For people: what it does.
    pub text: String,
}

impl Node {
    /// How its columns are written.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        kinds_of(&self.types).expect("the planner refuses types without rows")
    }

    /// Its inputs.
    #[must_use]
    pub fn inputs(&self) -> Vec<&Input> {
        match &self.step {
            Step::Source { .. } | Step::Values { .. } | Step::Round { .. } => Vec::new(),
            Step::Map { input, .. }
            | Step::Unnest { input, .. }
            | Step::Group { input, .. }
            | Step::Distinct { input }
            | Step::Top { input, .. }
            | Step::Infer { input, .. } => vec![input],
            Step::Join(matching) => vec![&matching.left, &matching.right],
            Step::Recursion { base, step, .. } => vec![base, step],
            Step::Union { inputs } | Step::Operator { inputs, .. } => inputs.iter().collect(),
        }
    }

    /// Calls `visit` with this step and every step below it, each once, inputs first.
    pub fn walk<'node>(&'node self, seen: &mut BTreeSet<usize>, visit: &mut impl FnMut(&'node Self)) {
        if !seen.insert(self.id) {
            return;
        }
        for input in self.inputs() {
            input.walk(seen, visit);
        }
        visit(self);
    }

    /// Columns that each table or view must deliver.
    #[must_use]
    pub fn required(&self) -> BTreeMap<String, BTreeSet<usize>> {
        let mut all = BTreeMap::<String, BTreeSet<usize>>::new();
        self.walk(&mut BTreeSet::new(), &mut |node| {
            if let Step::Source { table, columns } = &node.step {
                all.entry(table.clone()).or_default().extend(columns);
            }
        });
        all
    }

    /// A word for its step.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match &self.step {
            Step::Source { .. } => "source",
            Step::Values { .. } => "values",
            Step::Map { .. } => "map",
            Step::Unnest { .. } => "unnest",
            Step::Group { .. } => "group",
            Step::Distinct { .. } => "distinct",
            Step::Join(_) => "join",
            Step::Union { .. } => "union",
            Step::Top { .. } => "top",
            Step::Recursion { .. } => "recursion",
            Step::Round { .. } => "round",
            Step::Operator { operator, .. } => operator.name(),
            Step::Infer { .. } => "infer",
        }
    }

    /// How faults and metrics name it: `7-group`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}-{}", self.id, self.word())
    }
}
