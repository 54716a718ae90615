//! `with recursive`: what is repeated, and whether it can be kept.
//!
//! Differential dataflow repeats a step over (time, round); what follows is exact under deletions if the step is linear in the recursive
//! relation. So the relation is read once, and everything between it and the step's result must be a projection, a filter, an `unnest`,
//! or the preserved side of a join with rows that do not change with the rounds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ajatus_operators::relational::Recursion;
use arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, TableReference};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, RecursiveQuery};

use super::lower::Lowering;
use super::problem::{Problem, Why, refuse};
use super::{Input, Keep, Node, Step};

/// The schema under which a query reads its recursions, numbered.
const PLACE: &str = "recursion";

/// The recursive queries of a query, each a query of its own to the optimiser.
///
/// Not for speed: DataFusion 54.1 takes unread columns out of a distinct recursion too, which makes rows equal that are not.
#[derive(Debug, Default)]
pub(crate) struct Recursions(Vec<RecursiveQuery>);

impl Recursions {
    /// Takes the recursive queries out of a plan and puts scans in their places. Equal ones become one.
    pub(crate) fn take_out(plan: LogicalPlan, known: &BTreeMap<String, Arc<Schema>>) -> Result<(Self, LogicalPlan), Problem> {
        let mut found: Vec<RecursiveQuery> = Vec::new();
        let plan = plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::RecursiveQuery(query) = node else { return Ok(Transformed::no(node)) };
            let at = found.iter().position(|other| *other == query).unwrap_or(found.len());
            let scan = scan(&query, at)?;
            if at == found.len() {
                found.push(query);
            }
            Ok(Transformed::yes(scan))
        })?;
        for query in &found {
            if known.contains_key(&query.name) {
                return recursive(format!("the recursive query {:?}, named like a table of the file,", query.name), "give it a name of its own");
            }
            if query.static_term.contains_outer_reference() || query.recursive_term.contains_outer_reference() {
                return recursive(format!("the recursive query {:?} inside of a correlated subquery", query.name), "put it into a view of its own, and join the view");
            }
        }
        Ok((Self(found), plan.data))
    }

    /// Each term optimised by itself.
    pub(crate) fn optimised(self, state: &SessionState) -> Result<Self, Problem> {
        let mut done = Vec::with_capacity(self.0.len());
        for query in self.0 {
            let static_term = Arc::new(state.optimize(&query.static_term)?);
            let recursive_term = Arc::new(state.optimize(&query.recursive_term)?);
            done.push(RecursiveQuery { static_term, recursive_term, ..query });
        }
        Ok(Self(done))
    }

    /// For people: the plans of the terms.
    pub(crate) fn text(&self) -> String {
        let one = |(at, query): (usize, &RecursiveQuery)| {
            let kind = if query.is_distinct { "union" } else { "union all" };
            format!("\n{PLACE}.{at} {} begins with\n{}\n{kind}\n{}", query.name, query.static_term.display_indent(), query.recursive_term.display_indent())
        };
        self.0.iter().enumerate().map(one).collect()
    }
}

/// What stands in the place of a recursive query: the same columns under the same names.
fn scan(query: &RecursiveQuery, at: usize) -> Result<LogicalPlan, DataFusionError> {
    let name = TableReference::partial(PLACE, at.to_string());
    let fields = query.schema.fields().iter().enumerate();
    let fields: Vec<Field> = fields.map(|(at, field)| Field::new(format!("c{at}"), field.data_type().clone(), field.is_nullable())).collect();
    let table = MemTable::try_new(Arc::new(Schema::new(fields)), vec![vec![]])?;
    let columns = query.schema.iter().enumerate().map(|(at, (qualifier, field))| {
        Expr::Column(Column::new(Some(name.clone()), format!("c{at}"))).alias_qualified(qualifier.cloned(), field.name())
    });
    LogicalPlanBuilder::scan(name.clone(), provider_as_source(Arc::new(table)), None)?.project(columns.collect::<Vec<_>>())?.build()
}

fn recursive<T>(what: impl Into<String>, hint: impl Into<String>) -> Result<T, Problem> {
    refuse(Why::Recursion, what, hint)
}

impl Lowering<'_> {
    /// The recursion or the round that a scan means; `None` if it is a table.
    pub(crate) fn recursion(&self, table: &TableReference) -> Result<Option<Input>, Problem> {
        if table.schema() == Some(PLACE) {
            let at: usize = table.table().parse().unwrap_or_default();
            if let Some(built) = self.repeated.borrow().get(&at) {
                return Ok(Some(Arc::clone(built)));
            }
            let built = self.repeat(at)?;
            self.repeated.borrow_mut().insert(at, Arc::clone(&built));
            return Ok(Some(built));
        }
        let open = self.open.borrow().iter().rev().find(|at| self.recursions.0[**at].name == table.table()).copied();
        let Some(of) = open else {
            if self.tables.contains_key(table.table()) || self.operators.contains_key(table.table()) {
                return Ok(None);
            }
            // DataFusion takes a query for recursive only if its `from` reads it.
            return recursive(
                format!("the recursive query {:?}, which reads itself in a subquery of a condition or a value,", table.table()),
                "read it in `from`, in a join on equal columns",
            );
        };
        let query = &self.recursions.0[of];
        let kinds = crate::codec::kinds_of(query.schema.fields().iter().map(|field| field.data_type())).unwrap_or_default();
        let round = Node {
            id: self.number(),
            types: query.schema.fields().iter().map(|field| field.data_type().clone()).collect(),
            // Whatever follows from a row may be null.
            nullable: vec![true; kinds.len()],
            names: query.schema.fields().iter().map(|field| field.name().clone()).collect(),
            step: Step::Round { of, columns: (0..kinds.len()).collect(), kinds },
        };
        round.writable()?;
        Ok(Some(Arc::new(round)))
    }

    fn repeat(&self, at: usize) -> Result<Input, Problem> {
        let query = &self.recursions.0[at];
        let base = self.node(&query.static_term)?;
        self.open.borrow_mut().push(at);
        let step = self.node(&query.recursive_term);
        self.open.borrow_mut().pop();
        let step = step?;
        let wanted: Vec<_> = query.schema.fields().iter().map(|field| field.data_type().clone()).collect();
        for part in [&base, &step] {
            if part.types != wanted {
                return refuse(Why::Type, format!("a recursion of {:?} and {wanted:?}", part.types), "cast the columns of both parts to one type");
            }
        }
        let name = query.name.as_str();
        match paths(&step, at, &mut HashMap::new()) {
            1 => {}
            0 => return recursive(format!("the recursive query {name:?}, whose second part does not depend on itself,"), "write a plain `union`"),
            _ => {
                return recursive(
                    format!("the recursive query {name:?}, which its second part reads more than once, or compares with itself,"),
                    "read it once, in a join on equal columns; write `not exists (…)` for `not in`; a path of double length is found by more steps too",
                );
            }
        }
        linear(&step, at, name, query.is_distinct)?;
        let recursion = Recursion { copies: !query.is_distinct, rounds: self.rounds };
        self.make(Step::Recursion { name: name.to_owned(), of: at, base, step, recursion }, &query.schema)
    }
}

/// In how many ways a step reads the rounds of a recursion.
fn paths(node: &Input, of: usize, known: &mut HashMap<usize, u32>) -> u32 {
    if let Some(count) = known.get(&node.id) {
        return *count;
    }
    let count = match &node.step {
        Step::Round { of: other, .. } => u32::from(*other == of),
        _ => node.inputs().into_iter().fold(0, |sum: u32, input| sum.saturating_add(paths(input, of, known))),
    };
    known.insert(node.id, count);
    count
}

/// Whether a step reads the rounds of a recursion.
pub(crate) fn reads(node: &Input, of: usize) -> bool {
    paths(node, of, &mut HashMap::new()) > 0
}

/// Refuses what is not linear between the rounds and the result of a step.
fn linear(node: &Input, of: usize, name: &str, distinct: bool) -> Result<(), Problem> {
    let over = |what: &str, hint: &str| recursive(format!("{what} over the recursive query {name:?}, inside of it,"), hint);
    match &node.step {
        Step::Round { .. } => Ok(()),
        Step::Map { input, .. } | Step::Unnest { input, .. } => linear(input, of, name, distinct),
        Step::Distinct { input } if distinct => linear(input, of, name, distinct),
        Step::Distinct { .. } => over("`distinct`", "write `union` for `union all`: it keeps each row once, over all rounds"),
        Step::Join(matching) => {
            let left = reads(&matching.left, of);
            for (keep, _) in &matching.keep {
                match (keep, left) {
                    (Keep::Pairs | Keep::LeftMatched | Keep::LeftAlone, true) | (Keep::Pairs | Keep::RightAlone, false) => {}
                    (Keep::LeftMatched, false) if distinct && matching.keep.len() == 1 => {}
                    (Keep::LeftMatched, false) => return over("`in` or `exists`", "write `union` for `union all`, or a join: each match would count"),
                    _ => {
                        return over(
                            "an outer join, `not in`, `not exists` or `except` that asks what is not in it",
                            "a row of a later round would take back what an earlier one gave; ask in a query over the finished recursion",
                        );
                    }
                }
            }
            linear(if left { &matching.left } else { &matching.right }, of, name, distinct)
        }
        Step::Union { .. } => over("a union", "put what does not read it into its first part, and the alternatives into one condition"),
        Step::Group { .. } => over("an aggregate", "a later round would change what an earlier one gave; aggregate the finished recursion"),
        Step::Top { .. } => over("a limit or a row number", "a later round would push out what an earlier one gave; take the first rows of the finished recursion"),
        Step::Infer { .. } => over("a model call", "call the model in a query over the finished recursion"),
        Step::Operator { .. } => over("an operator", "use it over the finished recursion"),
        Step::Recursion { .. } => over("another recursion", "make one recursion of both, with a column that says which"),
        Step::Source { .. } | Step::Values { .. } => Ok(()),
    }
}
