//! What is rewritten in a query before DataFusion sees it, so that files keep the spelling of Arroyo.
//!
//! - `embed(minilm, text)`: the model's name becomes a constant.
//! - `tumble(width)` and `hop(slide, width)`: the table's event time becomes their first argument.
//! - `hop(…)`: one row per window, by an `unnest` below the query.
//! - `with recursive r (a, b) as …`: the names are put on the first part, because DataFusion 54.1 does not know them inside of the second.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, JoinConstraint, JoinOperator, ObjectName,
    ObjectNamePart, Query, Select, SelectItem, SetExpr, SetOperator, SetQuantifier, TableFactor, TableWithJoins, Value, VisitMut as _, VisitorMut,
};

use super::functions::ModelTask;
use super::problem::{Problem, Why, refuse};

/// The column that holds a row's window below the query.
const WINDOW: &str = "__window";

/// Rewrites a query in place.
pub(crate) fn rewrite(query: &mut Query, event_times: &BTreeMap<String, String>) -> Result<(), Problem> {
    let mut rewriter = Rewriter { event_times, problem: None };
    if query.visit(&mut rewriter).is_break()
        && let Some(problem) = rewriter.problem
    {
        return Err(problem);
    }
    Ok(())
}

struct Rewriter<'a> {
    event_times: &'a BTreeMap<String, String>,
    problem: Option<Problem>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && name_of(function).is_some_and(|name| ModelTask::of_function(&name).is_some())
            && let Some(arguments) = arguments_mut(function)
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = arguments.first_mut()
            && let Expr::Identifier(name) = first
        {
            let folded = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
            *first = Expr::Value(Value::SingleQuotedString(folded).with_span(name.span));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Err(problem) = name_recursions(query).and_then(|()| self.body(query.body.as_mut())) {
            self.problem = Some(problem);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    /// The selects of a query's body, and what would have another meaning than SQL gives it (DataFusion 54.1).
    fn body(&self, body: &mut SetExpr) -> Result<(), Problem> {
        match body {
            SetExpr::Select(select) => {
                let joins = select.from.iter().flat_map(|from| &from.joins);
                for join in joins {
                    if let JoinOperator::Right(by) | JoinOperator::RightOuter(by) | JoinOperator::FullOuter(by) = &join.join_operator
                        && matches!(by, JoinConstraint::Using(_) | JoinConstraint::Natural)
                    {
                        return refuse(
                            Why::Plan,
                            "`using` or `natural` in a right or full join, whose shared column would be that of the left side alone",
                            "write `on l.a = r.a` and select coalesce(l.a, r.a)",
                        );
                    }
                }
                windows(select, self.event_times)
            }
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                let all = matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName);
                if all && matches!(op, SetOperator::Except | SetOperator::Intersect | SetOperator::Minus) {
                    return refuse(
                        Why::Plan,
                        format!("{op} all, which would not count the copies"),
                        "without `all` each row is there once; to count, number the copies with row_number() and join on the number",
                    );
                }
                self.body(left)?;
                self.body(right)
            }
            _ => Ok(()),
        }
    }
}

/// Puts the names of a recursive query's columns on its first part.
fn name_recursions(query: &mut Query) -> Result<(), Problem> {
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else { return Ok(()) };
    for cte in &mut with.cte_tables {
        let SetExpr::SetOperation { left, .. } = cte.query.body.as_mut() else { continue };
        if cte.alias.columns.is_empty() {
            continue;
        }
        // A column named like `t.a` could not be renamed from outside, so what is computed is named where it stands.
        if let SetExpr::Select(select) = left.as_mut()
            && matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty())
            && select.projection.len() == cte.alias.columns.len()
        {
            for (item, column) in select.projection.iter_mut().zip(&cte.alias.columns) {
                if let SelectItem::UnnamedExpr(expr) = item
                    && !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
                {
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: column.name.clone() };
                }
            }
        }
        let mut named = super::session::parse_query("select * from (select 1) as first_rows")?;
        if let SetExpr::Select(select) = named.body.as_mut()
            && let Some(TableFactor::Derived { subquery, alias: Some(alias), .. }) = select.from.first_mut().map(|from| &mut from.relation)
        {
            alias.columns = std::mem::take(&mut cte.alias.columns);
            std::mem::swap(subquery.body.as_mut(), left.as_mut());
        }
        **left = *named.body;
    }
    Ok(())
}

fn name_of(function: &Function) -> Option<String> {
    match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(name.value.to_lowercase()),
        _ => None,
    }
}

fn arguments_mut(function: &mut Function) -> Option<&mut Vec<FunctionArg>> {
    match &mut function.args {
        FunctionArguments::List(FunctionArgumentList { args, .. }) => Some(args),
        _ => None,
    }
}

fn ident(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// Completes and moves the window functions of one `select`.
fn windows(select: &mut Select, event_times: &BTreeMap<String, String>) -> Result<(), Problem> {
    // What was put below a query is complete, and must stay.
    if select.projection.iter().any(|item| matches!(item, SelectItem::ExprWithAlias { alias, .. } if alias.value == WINDOW)) {
        return Ok(());
    }
    let event_time = match select.from.as_slice() {
        [TableWithJoins { relation: TableFactor::Table { name, alias, .. }, joins }] if joins.is_empty() => {
            table_name(name).and_then(|table| event_times.get(&table)).map(|column| {
                let qualifier = alias.as_ref().map(|alias| alias.name.clone());
                match qualifier {
                    Some(qualifier) => Expr::CompoundIdentifier(vec![qualifier, ident(column)]),
                    None => Expr::Identifier(ident(column)),
                }
            })
        }
        _ => None,
    };
    let mut completer = Completer { event_time, hop: None, problem: None };
    let mut visited = ControlFlow::Continue(());
    for item in &mut select.projection {
        if visited.is_continue() {
            visited = item.visit(&mut completer);
        }
    }
    if visited.is_continue() {
        visited = select.group_by.visit(&mut completer);
    }
    if visited.is_continue()
        && let Some(having) = &mut select.having
        && having.visit(&mut completer).is_break()
    {
        visited = ControlFlow::Break(());
    }
    debug_assert_eq!(visited.is_break(), completer.problem.is_some());
    if let Some(problem) = completer.problem {
        return Err(problem);
    }
    let Some(hop) = completer.hop else { return Ok(()) };
    let [TableWithJoins { relation, joins }] = select.from.as_mut_slice() else {
        return refuse(Why::Plan, "hop() over several tables", "join them in a view first, and hop over the view");
    };
    if !joins.is_empty() {
        return refuse(Why::Plan, "hop() over a join", "join the tables in a view first, and hop over the view");
    }
    spread(relation, hop)
}

fn table_name(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }),
        _ => None,
    }
}

/// Puts the windows of a relation's rows below it, one row each.
fn spread(relation: &mut TableFactor, hop: Expr) -> Result<(), Problem> {
    let sql = format!("select *, unnest(hop(1, 2, 3)) as {WINDOW} from t");
    let mut query = super::session::parse_query(&sql)?;
    let alias = match relation {
        TableFactor::Table { name, alias, .. } => alias.as_ref().map(|alias| alias.name.clone()).or_else(|| match name.0.last() {
            Some(ObjectNamePart::Identifier(name)) => Some(name.clone()),
            _ => None,
        }),
        TableFactor::Derived { alias, .. } => alias.as_ref().map(|alias| alias.name.clone()),
        _ => None,
    };
    let Some(alias) = alias else { return refuse(Why::Plan, "hop() over this relation", "name it: `from (…) as rows`") };
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(()) };
    if let Some(SelectItem::ExprWithAlias { expr: Expr::Function(unnest), .. }) = select.projection.get_mut(1)
        && let Some(arguments) = arguments_mut(unnest)
    {
        *arguments = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(hop))];
    }
    if let Some(from) = select.from.first_mut() {
        std::mem::swap(&mut from.relation, relation);
    }
    let text = format!("select 1 from (select 1) as \"{}\"", alias.value.replace('"', "\"\""));
    let mut outer = super::session::parse_query(&text)?;
    let SetExpr::Select(outer) = outer.body.as_mut() else { return Ok(()) };
    if let Some(from) = outer.from.pop() {
        *relation = from.relation;
    }
    if let TableFactor::Derived { subquery, .. } = relation {
        **subquery = query;
    }
    Ok(())
}

/// Completes the arguments of window functions, and takes `hop` calls out.
struct Completer {
    event_time: Option<Expr>,
    hop: Option<Expr>,
    problem: Option<Problem>,
}

impl VisitorMut for Completer {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let (hop, wanted) = match name_of(function).as_deref() {
            Some("tumble") => (false, 2),
            Some("hop") => (true, 3),
            _ => return ControlFlow::Continue(()),
        };
        let event_time = self.event_time.clone();
        let Some(arguments) = arguments_mut(function) else { return ControlFlow::Continue(()) };
        if arguments.len() + 1 == wanted {
            let Some(time) = event_time else {
                let what = if hop { "hop(slide, width)" } else { "tumble(width)" };
                self.problem = refuse::<()>(
                    Why::Plan,
                    format!("{what} where no event time is known"),
                    "declare it on the table, event_time = 'column', or name it as the first argument",
                )
                .err();
                return ControlFlow::Break(());
            };
            arguments.insert(0, FunctionArg::Unnamed(FunctionArgExpr::Expr(time)));
        }
        if hop {
            let call = expr.clone();
            if self.hop.as_ref().is_some_and(|other| *other != call) {
                self.problem = refuse::<()>(Why::Plan, "two different hop() in one query", "put one of them into a view of its own").err();
                return ControlFlow::Break(());
            }
            self.hop = Some(call);
            *expr = Expr::Identifier(ident(WINDOW));
        }
        ControlFlow::Continue(())
    }
}
