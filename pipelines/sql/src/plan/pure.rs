//! Refuses what is not a function of the log.

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

use super::functions::ModelTask;
use super::problem::{Problem, Why, refuse};

/// A retraction computes its row again, so every function must give the same answer for ever. Models are the exception: the memo
/// keeps their first answer.
///
/// Must see the plan before the optimiser does: `now()` is a literal afterwards.
pub(crate) fn refuse_impure(plan: &LogicalPlan) -> Result<(), Problem> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                if let Expr::ScalarFunction(call) = inner
                    && call.func.signature().volatility != Volatility::Immutable
                    && ModelTask::of_function(call.name()).is_none()
                {
                    found.get_or_insert(call.name().to_owned());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    match found {
        Some(name) => refuse(
            Why::Impure,
            format!("{name}()"),
            "its answer changes by itself; put the value on the log as a column, or compare where the view is read",
        ),
        None => Ok(()),
    }
}

/// After the optimiser, no subquery may be left inside an expression.
pub(crate) fn refuse_subqueries(expr: &Expr) -> Result<(), Problem> {
    let left = expr.exists(|inner| {
        Ok(matches!(inner, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)))
    })?;
    if left {
        return refuse(Why::Subquery, format!("the subquery in `{expr}`"), "write it as a join");
    }
    Ok(())
}
