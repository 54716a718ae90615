//! Refuses what is not a function of the log.

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable as _, LogicalPlan, Operator, Volatility};

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

/// Refuses subqueries that DataFusion 54.1 would turn into joins with another meaning. Must see the plan before the optimiser does.
///
/// - `x in (select …)` inside a larger condition becomes a mark that is false where SQL says unknown; it differs where a null can be on
///   either side.
/// - `exists (select count(*) …)` with a correlation: the aggregate has a row even over nothing, so it is always true; the join says
///   otherwise.
pub(crate) fn refuse_changed_subqueries(plan: &LogicalPlan) -> Result<(), Problem> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        let whole: Vec<&Expr> = if let LogicalPlan::Filter(filter) = node { conjuncts(&filter.predicate) } else { Vec::new() };
        node.apply_expressions(|expr| {
            let parts = if whole.is_empty() { vec![expr] } else { conjuncts(expr) };
            for part in parts {
                let negated = matches!(part, Expr::InSubquery(_)) || matches!(part, Expr::Not(inner) if matches!(inner.as_ref(), Expr::InSubquery(_)));
                let kept = !whole.is_empty() && (negated || only_asked(part));
                part.apply(|inner| {
                    if let Expr::InSubquery(member) = inner
                        && !kept
                        && may_be_null(member, node)
                    {
                        found.get_or_insert((
                            format!("`in (select …)` inside a larger condition, where a null can be on either side: `{}`", shortened(inner)),
                            "give it a `where` of its own, in a view below; or take the nulls out on both sides",
                        ));
                    }
                    if let Expr::Exists(exists) = inner
                        && counts_over_nothing(&exists.subquery.subquery)
                    {
                        found.get_or_insert((
                            "`exists` over an aggregate without `group by`, which always has a row".to_owned(),
                            "leave the condition out, or ask for the rows themselves",
                        ));
                    }
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    match found {
        Some((what, hint)) => refuse(Why::Subquery, what, hint),
        None => Ok(()),
    }
}

/// Refuses the mean of different whole numbers, which DataFusion makes a mean of floats over a group of its own. Must see the plan before
/// the optimiser does.
pub(crate) fn refuse_distinct_means(plan: &LogicalPlan) -> Result<(), Problem> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            for expr in &aggregate.aggr_expr {
                let Expr::AggregateFunction(call) = expr.clone().unalias() else { continue };
                let Some(mut argument) = call.params.args.first() else { continue };
                while let Expr::Cast(inner) = argument {
                    argument = &inner.expr;
                }
                if call.func.name() == "avg" && call.params.distinct && argument.get_type(aggregate.input.schema().as_ref())?.is_integer() {
                    found.get_or_insert((expr.to_string(), argument.to_string()));
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match found {
        Some((what, argument)) => refuse(
            Why::Aggregate,
            format!("`{what}` of whole numbers"),
            format!("take the distinct values first: select avg({argument}) from (select distinct {argument} from …); with groups, distinct over their keys too"),
        ),
        None => Ok(()),
    }
}

/// Whether every `in (select …)` inside is only asked whether it is true: then unknown and false are one.
fn only_asked(expr: &Expr) -> bool {
    match expr {
        Expr::InSubquery(member) => !member.negated,
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => only_asked(left) && only_asked(right),
        other => !other.exists(|inner| Ok(matches!(inner, Expr::InSubquery(_)))).unwrap_or(true),
    }
}

fn shortened(expr: &Expr) -> String {
    expr.to_string().lines().next().unwrap_or_default().chars().take(60).collect()
}

fn may_be_null(member: &InSubquery, node: &LogicalPlan) -> bool {
    let left = node.inputs().first().is_none_or(|input| member.expr.nullable(input.schema().as_ref()).unwrap_or(true));
    left || member.subquery.subquery.schema().fields().iter().any(|field| field.is_nullable())
}

fn counts_over_nothing(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => counts_over_nothing(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => counts_over_nothing(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

/// The parts of a condition that must all hold.
pub(crate) fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => [conjuncts(left), conjuncts(right)].concat(),
        other => vec![other],
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
