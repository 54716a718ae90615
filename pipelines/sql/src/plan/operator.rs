//! Operators of the platform as table functions: `select * from activity(turns)`.
//!
//! An operator is given whole tables or views of the file, by name; each must have the columns that the operator reads, found by name
//! and of the very type, whatever others it has. What an operator keeps and in which version stands beside it, and the version is part of
//! the plan's hash.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, Query, SetExpr, TableFactor, VisitMut as _, VisitorMut,
};

use super::lower::Lowering;
use super::problem::{Problem, Why};
use super::{Input, Step};
use crate::diagnostic::closest;
use crate::pipeline::sql_type;

/// One of the platform's own operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// Who spoke how much, first and last.
    Activity,
    /// What nodes earned in each epoch.
    Contribution,
    /// What is known of each user.
    Profile,
}

/// A table that an operator is given: what it is called, and its columns.
type Given = (&'static str, &'static [(&'static str, Form)]);

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Whole,
    Amount,
    Instant,
}

impl Form {
    fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Whole => DataType::Int64,
            Self::Amount => DataType::Decimal128(38, 0),
            Self::Instant => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }

    fn takes(self, data_type: &DataType) -> bool {
        match self {
            Self::Text => matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
            Self::Whole | Self::Amount => *data_type == self.data_type(),
            Self::Instant => matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _)),
        }
    }
}

use Form::{Amount, Instant, Text, Whole};

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 3] = [Self::Activity, Self::Contribution, Self::Profile];

    /// How it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Activity => "activity",
            Self::Contribution => "contribution",
            Self::Profile => "profile",
        }
    }

    /// Changes when it computes something else.
    #[must_use]
    pub fn version(self) -> u32 {
        match self {
            Self::Activity | Self::Contribution => 1,
            Self::Profile => ajatus_facts::profile::VERSION,
        }
    }

    /// For people: what it does.
    #[must_use]
    pub fn does(self) -> &'static str {
        match self {
            Self::Activity => "turns of each user by who spoke, and the first and the last",
            Self::Contribution => "score, reward weight and slashing of each node in each epoch, by the Proof-of-Contribution specification",
            Self::Profile => "what is known of each user: facts with what superseded them, interests by day, habits of writing, and what remembered turns were used; `body` is a JSON document, and so is `edit`",
        }
    }

    /// For people: what it keeps.
    #[must_use]
    pub fn keeps(self) -> &'static str {
        match self {
            Self::Activity => "the turns' times by user and hour, and the counts of each hour",
            Self::Contribution => "the decided work, presence and stake of each node by epoch, and their sums",
            Self::Profile => "claims and edits by user and person, topics by user and day, sums of habits by user and day, uses by turn",
        }
    }

    fn given(self) -> &'static [Given] {
        match self {
            Self::Activity => &[("turns", &[("user_id", Text), ("role", Text), ("occurred_at", Instant)])],
            Self::Contribution => &[
                ("work", &[("node", Text), ("epoch", Whole), ("verdict", Text), ("work", Whole), ("performance", Whole)]),
                ("presence", &[("node", Text), ("epoch", Whole), ("answered", Whole), ("expected", Whole)]),
                ("stakes", &[("node", Text), ("epoch", Whole), ("stake", Amount), ("matured", Amount)]),
            ],
            Self::Profile => &[
                ("claims", &[
                    ("user_id", Text), ("turn", Text), ("said_at", Instant), ("attribute", Text), ("about", Text), ("value", Text), ("polarity", Text),
                    ("confidence", Whole), ("valid_from", Instant), ("valid_to", Instant), ("span_start", Whole), ("span_end", Whole), ("rule", Text),
                    ("version", Text),
                ]),
                ("edits", &[("user_id", Text), ("id", Text), ("occurred_at", Instant), ("edit", Text)]),
                ("turns", &[("user_id", Text), ("id", Text), ("role", Text), ("occurred_at", Instant), ("text", Text), ("used", Text)]),
            ],
        }
    }

    fn columns(self) -> &'static [(&'static str, Form)] {
        match self {
            Self::Activity => &[
                ("user_id", Text),
                ("user_turns", Whole),
                ("assistant_turns", Whole),
                ("other_turns", Whole),
                ("first_at", Instant),
                ("last_at", Instant),
            ],
            Self::Contribution => &[
                ("node", Text),
                ("epoch", Whole),
                ("net", Whole),
                ("decided", Whole),
                ("uptime", Whole),
                ("score", Whole),
                ("weight", Amount),
                ("slash", Amount),
                ("stake_after", Amount),
                ("matured_after", Amount),
                ("smoothed", Whole),
            ],
            Self::Profile => &[("user_id", Text), ("kind", Text), ("entry", Text), ("body", Text)],
        }
    }

    fn schema(self) -> SchemaRef {
        Arc::new(Schema::new(self.columns().iter().map(|(name, form)| Field::new(*name, form.data_type(), false)).collect::<Vec<_>>()))
    }

    fn call(self) -> String {
        format!("{}({})", self.name(), self.given().iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))
    }
}

/// The reference of operators as markdown, for the docs.
#[must_use]
pub fn operator_reference() -> String {
    let list = |columns: &[(&str, Form)]| columns.iter().map(|(name, form)| format!("`{name} {}`", sql_type(&form.data_type()))).collect::<Vec<_>>().join(", ");
    let mut out = String::from("### Operators over tables\n\n| operator | tables it is given | columns it gives | keeps |\n|---|---|---|---|\n");
    for operator in Operator::ALL {
        let given: Vec<String> = operator.given().iter().map(|(name, columns)| format!("{name}: {}", list(columns))).collect();
        // Writing to a string cannot fail.
        writeln!(out, "| `{}`: {} | {} | {} | {} |", operator.call(), operator.does(), given.join("; "), list(operator.columns()), operator.keeps()).ok();
    }
    out
}

/// One use of an operator: which tables, each with the columns that are read, in the operator's order.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    operator: Operator,
    tables: Vec<(String, Vec<usize>, SchemaRef)>,
}

/// Uses of operators by the name under which a query reads the result.
pub(crate) type Operators = BTreeMap<String, Use>;

fn wrong<T>(why: Why, at: &Ident, what: String, hint: String) -> Result<T, Problem> {
    Err(Problem::Refused { why, what, hint, span: Some(at.span) })
}

/// Replaces each operator in a query by the name of its result; gives the results that are new, with their columns.
pub(crate) fn take_operators(query: &mut Query, tables: &BTreeMap<String, SchemaRef>, uses: &mut Operators) -> Result<Vec<(String, SchemaRef)>, Problem> {
    let mut finder = Finder { tables, uses, fresh: Vec::new(), problem: None };
    if query.visit(&mut finder).is_break()
        && let Some(problem) = finder.problem
    {
        return Err(problem);
    }
    Ok(finder.fresh)
}

struct Finder<'a> {
    tables: &'a BTreeMap<String, SchemaRef>,
    uses: &'a mut Operators,
    fresh: Vec<(String, SchemaRef)>,
    problem: Option<Problem>,
}

impl VisitorMut for Finder<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match self.replace(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(problem) => {
                self.problem = Some(problem);
                ControlFlow::Break(())
            }
        }
    }
}

impl Finder<'_> {
    fn replace(&mut self, factor: &mut TableFactor) -> Result<(), Problem> {
        let TableFactor::Table { name, alias, args: Some(args), .. } = factor else { return Ok(()) };
        let Some(called) = single(name) else { return Ok(()) };
        let word = folded(called);
        let Some(operator) = Operator::ALL.into_iter().find(|operator| operator.name() == word) else {
            let known = Operator::ALL.map(Operator::call).join(" and ");
            let hint = match closest(&word, Operator::ALL.map(Operator::name)) {
                Some(near) => format!("did you mean `{near}`? the operators are {known}"),
                None => format!("the operators are {known}; a series of numbers is `unnest(…)` or a recursive query"),
            };
            return wrong(Why::Function, called, format!("there is no operator {word:?}"), hint);
        };
        let given = operator.given();
        let named: Option<Vec<&Ident>> = args.args.iter().map(table_of).collect();
        let Some(named) = named.filter(|named| named.len() == given.len()) else {
            let hint = format!("write {}, each the name of a table or view of the file", operator.call());
            return wrong(Why::Operator, called, format!("{word}() takes {} and nothing else", count(given.len())), hint);
        };
        let mut tables = Vec::new();
        for ((role, columns), table) in given.iter().zip(named) {
            let name = folded(table);
            let Some(schema) = self.tables.get(&name) else {
                let hint = match closest(&name, self.tables.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "name a table or view of the file that stands before; a query goes into a view first".to_owned(),
                };
                return wrong(Why::Operator, table, format!("{word}() is given {name:?}, which is not a table or view"), hint);
            };
            let wanted = || columns.iter().map(|(name, form)| format!("{name} {}", sql_type(&form.data_type()))).collect::<Vec<_>>().join(", ");
            let mut places = Vec::new();
            for (column, form) in *columns {
                let Some((at, field)) = schema.column_with_name(column) else {
                    let hint = format!("{role} of {word}() has the columns {}; give others these names with `as` in a view", wanted());
                    return wrong(Why::Operator, table, format!("{name:?} has no column {column:?}, which {word}() reads"), hint);
                };
                if !form.takes(field.data_type()) {
                    let (is, must) = (sql_type(field.data_type()), sql_type(&form.data_type()));
                    let hint = format!("cast it in a view: cast({column} as {must}) as {column}");
                    return wrong(Why::Operator, table, format!("column {column:?} of {name:?} is {is}, but {word}() reads {must}"), hint);
                }
                places.push(at);
            }
            tables.push((name, places, Arc::clone(schema)));
        }
        let key = format!("{word}({})", tables.iter().map(|(name, _, _)| name.as_str()).collect::<Vec<_>>().join(", "));
        let seen_as = alias.as_ref().map_or(word, |alias| alias.name.value.clone());
        let columns = alias.as_ref().map(|alias| alias.columns.clone()).unwrap_or_default();
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let mut stand_in = super::session::parse_query(&format!("select 1 from {} as {}", quoted(&key), quoted(&seen_as)))?;
        if let SetExpr::Select(select) = stand_in.body.as_mut()
            && let Some(from) = select.from.pop()
        {
            *factor = from.relation;
        }
        if let TableFactor::Table { alias: Some(alias), .. } = factor {
            alias.columns = columns;
        }
        if self.uses.insert(key.clone(), Use { operator, tables }).is_none() {
            self.fresh.push((key, operator.schema()));
        }
        Ok(())
    }
}

fn count(tables: usize) -> String {
    if tables == 1 { "one table".to_owned() } else { format!("{tables} tables") }
}

fn single(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(name),
        _ => None,
    }
}

fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

fn table_of(argument: &FunctionArg) -> Option<&Ident> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(name))) => Some(name),
        _ => None,
    }
}

impl Lowering<'_> {
    /// The operator whose result a query reads under this name; `None` if it is a table.
    pub(crate) fn operator(&self, name: &str) -> Result<Option<Input>, Problem> {
        let Some(Use { operator, tables }) = self.operators.get(name) else { return Ok(None) };
        let mut inputs = Vec::with_capacity(tables.len());
        for (table, columns, schema) in tables {
            let schema = DFSchema::try_from(schema.project(columns).map_err(datafusion::error::DataFusionError::from)?)?;
            inputs.push(self.make(Step::Source { table: table.clone(), columns: columns.clone() }, &schema)?);
        }
        let schema = DFSchema::try_from(operator.schema().as_ref().clone())?;
        self.make(Step::Operator { operator: *operator, inputs }, &schema).map(Some)
    }
}
