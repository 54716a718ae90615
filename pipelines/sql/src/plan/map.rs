//! Filter and projection.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ajatus_operators::row::Weave;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::lower::Lowering;
use super::problem::{Problem, Why, refuse};
use super::pure::refuse_subqueries;
use super::{Input, Program, Step};
use crate::codec::{Decoder, kinds_of};

impl Lowering<'_> {
    /// A projection over a plan; a filter right below becomes part of it.
    pub(crate) fn project(&self, input: &LogicalPlan, exprs: &[Expr], out: &DFSchema) -> Result<Input, Problem> {
        if let LogicalPlan::Filter(filter) = input
            && super::window::numbered(filter).is_none()
        {
            let node = self.node(&filter.input)?;
            return self.map(&node, filter.input.schema(), Some(&filter.predicate), exprs, out);
        }
        let node = self.node(input)?;
        self.map(&node, input.schema(), None, exprs, out)
    }

    /// Keeps the rows of a step that satisfy a predicate; `schema` names the step's columns.
    pub(crate) fn filter(&self, node: &Input, predicate: &Expr, schema: &DFSchema) -> Result<Input, Problem> {
        let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        self.map(node, schema, Some(predicate), &columns, schema)
    }

    /// Filters and projects a step whose columns `schema` names.
    pub(crate) fn map(&self, node: &Input, schema: &DFSchema, predicate: Option<&Expr>, exprs: &[Expr], out: &DFSchema) -> Result<Input, Problem> {
        for expr in predicate.into_iter().chain(exprs) {
            refuse_subqueries(expr)?;
        }
        if let Some(called) = self.calls(node, schema, predicate, exprs, out)? {
            return Ok(called);
        }
        let parts: Vec<Option<usize>> = exprs.iter().map(|expr| column_of(expr, schema)).collect();
        // Columns only: move them, and let the step below do it where it can.
        if predicate.is_none() && parts.iter().all(Option::is_some) {
            let columns: Vec<usize> = parts.into_iter().flatten().collect();
            return self.rearrange(node, &columns, out);
        }
        let computed: Vec<&Expr> = exprs.iter().zip(&parts).filter(|(_, part)| part.is_none()).map(|(expr, _)| expr).collect();
        let mut used = BTreeSet::new();
        for expr in predicate.into_iter().chain(computed.iter().copied()) {
            for column in expr.column_refs() {
                used.insert(schema.index_of_column(column)?);
            }
        }
        let used: Vec<usize> = used.into_iter().collect();
        let fields = used.iter().map(|at| {
            let (qualifier, field) = schema.qualified_field(*at);
            (qualifier.cloned(), Arc::clone(field))
        });
        let narrow = DFSchema::new_with_metadata(fields.collect(), HashMap::new())?;
        let physical = |expr: &Expr| create_physical_expr(expr, &narrow, self.state.execution_props()).and_then(checked);
        let batch_schema: SchemaRef = Arc::new(narrow.as_arrow().clone());
        let physicals = computed.iter().map(|expr| physical(expr)).collect::<Result<Vec<_>, _>>()?;
        let mut computed_types = Vec::with_capacity(physicals.len());
        for (expr, physical) in computed.iter().zip(&physicals) {
            let data_type = physical.data_type(&batch_schema)?;
            if kinds_of([&data_type]).is_none() {
                return refuse(Why::Type, format!("`{expr}` of type {data_type}"), "cast it to a type with an exact order");
            }
            computed_types.push(data_type);
        }
        let mut next = 0..;
        let parts = parts.iter().map(|part| part.map_or_else(|| (1, next.next().unwrap_or_default()), |column| (0, column)));
        let computed_kinds = kinds_of(&computed_types).unwrap_or_default();
        let output = Weave::new(vec![node.kinds(), computed_kinds], parts.collect::<Vec<_>>());
        let mut words = Vec::new();
        if let Some(predicate) = predicate {
            words.push(format!("where {predicate}"));
        }
        if !computed.is_empty() {
            words.push(format!("compute {}", computed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
        }
        let program = Program {
            decoder: Decoder::new(&node.types, &used),
            schema: batch_schema,
            predicate: predicate.map(physical).transpose()?,
            computed: physicals,
            output,
            moves: None,
            text: words.join(" "),
        };
        self.make(Step::Map { input: Arc::clone(node), program: Arc::new(program) }, out)
    }

    /// Moves columns of a step.
    pub(crate) fn rearrange(&self, node: &Input, columns: &[usize], out: &DFSchema) -> Result<Input, Problem> {
        let same_names = out.fields().iter().map(|field| field.name()).eq(node.names.iter());
        if same_names && columns.iter().copied().eq(0..node.types.len()) {
            return Ok(Arc::clone(node));
        }
        match &node.step {
            // A source is read by column anyway, and nobody else has this one yet.
            Step::Source { table, columns: inner } => {
                let columns = columns.iter().map(|column| inner[*column]).collect();
                self.make(Step::Source { table: table.clone(), columns }, out)
            }
            _ => {
                let program = Program {
                    decoder: Decoder::new(&[], &[]),
                    schema: Arc::new(Schema::empty()),
                    predicate: None,
                    computed: Vec::new(),
                    output: Weave::new(vec![node.kinds(), Vec::new()], columns.iter().map(|column| (0, *column))),
                    moves: Some(columns.to_vec()),
                    text: "move".to_owned(),
                };
                self.make(Step::Map { input: Arc::clone(node), program: Arc::new(program) }, out)
            }
        }
    }
}

/// The same expression, in which a sum or product that does not fit its type is an error instead of another number.
fn checked(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let done = expr.transform_up(|inner| {
        let Some(binary) = inner.downcast_ref::<BinaryExpr>() else { return Ok(Transformed::no(inner)) };
        if !matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) {
            return Ok(Transformed::no(inner));
        }
        let strict = BinaryExpr::new(Arc::clone(binary.left()), *binary.op(), Arc::clone(binary.right())).with_fail_on_overflow(true);
        Ok(Transformed::yes(Arc::new(strict) as Arc<dyn PhysicalExpr>))
    })?;
    Ok(done.data)
}

/// The column that an expression is, if it is one.
pub(crate) fn column_of(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => column_of(&alias.expr, schema),
        Expr::Column(column) => schema.index_of_column(column).ok(),
        _ => None,
    }
}
