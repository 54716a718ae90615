//! `row_number() over (partition by … order by …)` with a bound: the first rows of each group.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::WindowFunctionParams;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator, Window};

use super::Input;
use super::lower::Lowering;
use super::map::column_of;
use super::problem::Problem;
use super::pure::conjuncts;
use super::top::Ranking;

/// A filter over a numbering, taken apart.
pub(crate) struct Numbered<'f> {
    window: &'f Window,
    params: &'f WindowFunctionParams,
    /// The largest number that passes.
    bound: usize,
    /// Per column that the filter sees, the column of the window.
    columns: Vec<usize>,
}

/// A filter of this form; `None` if it is another.
pub(crate) fn numbered(filter: &Filter) -> Option<Numbered<'_>> {
    let mut input = filter.input.as_ref();
    let mut columns: Vec<usize> = (0..input.schema().fields().len()).collect();
    let window = loop {
        match input {
            LogicalPlan::SubqueryAlias(alias) => input = alias.input.as_ref(),
            // Columns that nobody reads are taken away in between.
            LogicalPlan::Projection(projection) => {
                let below = projection.input.schema();
                let places: Option<Vec<usize>> = columns.iter().map(|column| column_of(&projection.expr[*column], below)).collect();
                columns = places?;
                input = projection.input.as_ref();
            }
            LogicalPlan::Window(window) => break window,
            _ => return None,
        }
    };
    let [expr] = window.window_expr.as_slice() else { return None };
    let mut expr = expr;
    while let Expr::Alias(alias) = expr {
        expr = &alias.expr;
    }
    let Expr::WindowFunction(function) = expr else { return None };
    if function.fun.name() != "row_number" || function.params.order_by.is_empty() || function.params.filter.is_some() {
        return None;
    }
    let number = window.schema.fields().len() - 1;
    let seen = columns.iter().position(|column| *column == number)?;
    let bound = conjuncts(&filter.predicate).into_iter().filter_map(|part| bound(part, filter, seen)).min()?;
    Some(Numbered { window, params: &function.params, bound, columns })
}

impl Lowering<'_> {
    /// The steps of a filter of this form; `None` if it is another.
    pub(crate) fn numbered(&self, filter: &Filter) -> Result<Option<Input>, Problem> {
        let Some(Numbered { window, params, bound, columns }) = numbered(filter) else { return Ok(None) };
        let ranking = Ranking {
            input: &window.input,
            partition: &params.partition_by,
            order: &params.order_by,
            skip: 0,
            fetch: bound,
            numbered: true,
        };
        let node = self.ranked(&ranking, &window.schema)?;
        let node = self.rearrange(&node, &columns, filter.input.schema())?;
        self.filter(&node, &filter.predicate, filter.input.schema()).map(Some)
    }
}

/// The largest number that passes, if the part bounds it from above.
fn bound(part: &Expr, filter: &Filter, number: usize) -> Option<usize> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = part else { return None };
    let (column, op, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _)) => (column, *op, value),
        (Expr::Literal(value, _), Expr::Column(column)) => (column, op.swap()?, value),
        _ => return None,
    };
    if filter.input.schema().index_of_column(column).ok()? != number {
        return None;
    }
    let value = match value {
        ScalarValue::UInt64(Some(value)) => usize::try_from(*value).ok()?,
        ScalarValue::Int64(Some(value)) => usize::try_from(*value).ok()?,
        _ => return None,
    };
    match op {
        Operator::LtEq | Operator::Eq => Some(value),
        Operator::Lt => Some(value.saturating_sub(1)),
        _ => None,
    }
}
