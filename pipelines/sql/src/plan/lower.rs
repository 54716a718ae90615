//! From DataFusion's optimised plan to steps.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ajatus_operators::row::Weave;
use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Distinct, Expr, FetchType, Filter, Limit, LogicalPlan, SkipType, Unnest};

use super::functions::ModelShape;
use super::operator::Operators;
use super::problem::{Problem, Why, refuse};
use super::recursion::Recursions;
use super::{Input, Node, Step};
use crate::codec::encode;

/// One query on its way down.
pub(crate) struct Lowering<'a> {
    pub(crate) state: &'a SessionState,
    pub(crate) models: &'a BTreeMap<String, ModelShape>,
    pub(crate) next: &'a Cell<usize>,
    /// Whether there is a `distinct on`, which the optimiser makes a sorted group of; over the result the order says nothing that a
    /// multiset keeps.
    pub(crate) chosen: bool,
    /// Recursive queries, taken out of the plan.
    pub(crate) recursions: &'a Recursions,
    /// Rounds of each at most.
    pub(crate) rounds: u64,
    /// Those that are built.
    pub(crate) repeated: RefCell<HashMap<usize, Input>>,
    /// Those whose step is being built, outermost first.
    pub(crate) open: RefCell<Vec<usize>>,
    /// The tables and views of the file.
    pub(crate) tables: &'a BTreeMap<String, SchemaRef>,
    /// Operators over tables, by the name under which the query reads each.
    pub(crate) operators: &'a Operators,
}

impl Lowering<'_> {
    /// A number that no other step has.
    pub(crate) fn number(&self) -> usize {
        let id = self.next.get();
        self.next.set(id + 1);
        id
    }

    /// A step with the columns of `schema`.
    pub(crate) fn make(&self, step: Step, schema: &DFSchema) -> Result<Input, Problem> {
        let node = Node {
            id: self.number(),
            step,
            types: schema.fields().iter().map(|field| field.data_type().clone()).collect(),
            nullable: schema.fields().iter().map(|field| field.is_nullable()).collect(),
            names: schema.fields().iter().map(|field| field.name().clone()).collect(),
        };
        node.writable()?;
        Ok(Arc::new(node))
    }

    pub(crate) fn node(&self, plan: &LogicalPlan) -> Result<Input, Problem> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let all = || (0..scan.source.schema().fields().len()).collect();
                let columns = scan.projection.clone().unwrap_or_else(all);
                let source = match self.recursion(&scan.table_name)?.map_or_else(|| self.operator(scan.table_name.table()), |node| Ok(Some(node)))? {
                    Some(node) => self.rearrange(&node, &columns, &scan.projected_schema)?,
                    None => self.make(Step::Source { table: scan.table_name.table().to_owned(), columns }, &scan.projected_schema)?,
                };
                if scan.fetch.is_some() {
                    return unordered("a limit without an order");
                }
                scan.filters.iter().try_fold(source, |node, filter| self.filter(&node, filter, &scan.projected_schema))
            }
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input),
            LogicalPlan::Projection(projection) => self.project(&projection.input, &projection.expr, &projection.schema),
            LogicalPlan::Filter(filter) => self.filtered(filter),
            LogicalPlan::Aggregate(aggregate) => self.group(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => {
                let mut inputs = Vec::with_capacity(union.inputs.len());
                for input in &union.inputs {
                    let node = self.node(input)?;
                    let wanted: Vec<_> = union.schema.fields().iter().map(|field| field.data_type().clone()).collect();
                    if node.types != wanted {
                        return refuse(Why::Type, format!("a union of {:?} and {wanted:?}", node.types), "cast the branches to one type");
                    }
                    inputs.push(node);
                }
                self.make(Step::Union { inputs }, &union.schema)
            }
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let schema = Arc::clone(input.schema());
                self.make(Step::Distinct { input: self.node(input)? }, &schema)
            }
            LogicalPlan::Sort(sort) => match sort.fetch {
                Some(fetch) => self.top(sort, 0, fetch),
                None if self.chosen && matches!(sort.input.as_ref(), LogicalPlan::Aggregate(_)) => self.node(&sort.input),
                None => unordered("an order without a limit"),
            },
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Window(_) => refuse(
                Why::WindowFunction,
                "a window function",
                "only row_number() over (partition by … order by …) with an outer `where number <= n` is kept; or group by the key",
            ),
            LogicalPlan::Values(values) => {
                let rows = values.values.iter().map(|row| self.constant_row(row, &values.schema)).collect::<Result<Vec<_>, _>>()?;
                self.make(Step::Values { rows }, &values.schema)
            }
            LogicalPlan::EmptyRelation(empty) => {
                let rows = if empty.produce_one_row { vec![ajatus_operators::row::Row::default()] } else { Vec::new() };
                self.make(Step::Values { rows }, &empty.schema)
            }
            other => {
                let text = other.display().to_string();
                refuse(Why::Plan, text.split(':').next().unwrap_or("this step").to_owned(), "no operator keeps it; see docs/pipelines.md for what is kept")
            }
        }
    }

    /// The row of constant expressions, as `values` has them.
    fn constant_row(&self, exprs: &[Expr], schema: &DFSchema) -> Result<ajatus_operators::row::Row, Problem> {
        let nothing = DFSchema::empty();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
        let batch = arrow::array::RecordBatch::try_new_with_options(Arc::new(arrow::datatypes::Schema::empty()), Vec::new(), &options)
            .map_err(datafusion::error::DataFusionError::from)?;
        let mut columns = Vec::with_capacity(exprs.len());
        for (expr, field) in exprs.iter().zip(schema.fields()) {
            let physical = datafusion::physical_expr::create_physical_expr(expr, &nothing, self.state.execution_props())?;
            let array = physical.evaluate(&batch)?.into_array(1)?;
            columns.push(arrow::compute::cast(&array, field.data_type()).map_err(datafusion::error::DataFusionError::from)?);
        }
        let mut rows = encode(&columns, 1).map_err(datafusion::error::DataFusionError::from)?;
        Ok(rows.pop().unwrap_or_default())
    }

    fn filtered(&self, filter: &Filter) -> Result<Input, Problem> {
        if let Some(node) = self.numbered(filter)? {
            return Ok(node);
        }
        let node = self.node(&filter.input)?;
        self.filter(&node, &filter.predicate, filter.input.schema())
    }

    fn limit(&self, limit: &Limit) -> Result<Input, Problem> {
        let SkipType::Literal(skip) = limit.get_skip_type()? else { return unordered("a computed offset") };
        let FetchType::Literal(fetch) = limit.get_fetch_type()? else { return unordered("a computed limit") };
        let mut input = limit.input.as_ref();
        while let LogicalPlan::SubqueryAlias(alias) = input {
            input = alias.input.as_ref();
        }
        match input {
            LogicalPlan::Sort(sort) => {
                let bound = sort.fetch.unwrap_or(usize::MAX);
                let fetch = fetch.unwrap_or(usize::MAX).min(bound.saturating_sub(skip));
                self.top(sort, skip, fetch)
            }
            // The order stands below a projection that moves columns.
            LogicalPlan::Projection(projection) if matches!(projection.input.as_ref(), LogicalPlan::Sort(_)) => {
                let inner = Limit { input: Arc::clone(&projection.input), ..limit.clone() };
                self.project(&LogicalPlan::Limit(inner), &projection.expr, &projection.schema)
            }
            _ => unordered("a limit without an order"),
        }
    }

    fn unnest(&self, unnest: &Unnest) -> Result<Input, Problem> {
        let input = self.node(&unnest.input)?;
        let [(column, list)] = unnest.list_type_columns.as_slice() else {
            return refuse(Why::Plan, "unnest of several lists at once, or of a struct", "unnest one list, and name a struct's fields");
        };
        if list.depth != 1 || !unnest.struct_type_columns.is_empty() {
            return refuse(Why::Plan, "unnest of a list of lists at once", "unnest one level in a view of its own");
        }
        let kinds = input.kinds();
        let ajatus_operators::row::Kind::List(element) = kinds[*column].clone() else {
            return refuse(Why::Type, format!("unnest of {}", input.types[*column]), "cast it to a list");
        };
        let parts = unnest.dependency_indices.iter().map(|source| if source == column { (1, 0) } else { (0, *source) });
        let output = Weave::new(vec![kinds, vec![*element]], parts.collect::<Vec<_>>());
        self.make(Step::Unnest { input, column: *column, output, outer: unnest.options.preserve_nulls }, &unnest.schema)
    }
}

fn unordered<T>(what: &str) -> Result<T, Problem> {
    refuse(Why::Unordered, what, "give `order by` and `limit` together, or sort where the view is read")
}
