//! What the cluster's engine does not run of a query, found before it is sent.
//!
//! The engine there knows three kinds of rows: such as are only added, such as belong to a window and are final when it closes, and
//! changing ones (groups without a window). It does not group or join changing rows, and orders nothing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Function, FunctionArguments, GroupByExpr, Ident, JoinOperator, ObjectNamePart, Query, Select, SelectItem, SetExpr, SetOperator, SetQuantifier, Spanned,
    TableFactor, TableWithJoins, Visit as _, Visitor,
};

use crate::diagnostic::{Code, Diagnostic, Source, Span};
use crate::plan::ModelTask;

/// What rows are like there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    /// They are corrected later.
    pub(super) changing: bool,
    /// They belong to a window of time.
    windowed: bool,
}

/// A walk over one query.
pub(super) struct Walk<'a> {
    source: &'a Source,
    /// Views that are known so far; a name that is not among them is a table.
    known: BTreeMap<String, Rows>,
    /// Where the query stands, for what has no place of its own.
    whole: Span,
    errors: &'a mut Vec<Diagnostic>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(source: &'a Source, known: &BTreeMap<String, Rows>, whole: Span, errors: &'a mut Vec<Diagnostic>) -> Self {
        Self { source, known: known.clone(), whole, errors }
    }

    /// What the rows of a query are like.
    pub(super) fn query(&mut self, query: &Query) -> Rows {
        let outside = self.known.clone();
        if let Some(with) = &query.with {
            if with.recursive {
                self.refuse(query.span(), "a recursive query", "run this file here");
            }
            for table in &with.cte_tables {
                let rows = self.query(&table.query);
                self.known.insert(folded(&table.alias.name), rows);
            }
        }
        if query.order_by.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
            self.refuse(query.span(), "the first rows in an order", "write all rows to a topic, and take the first ones where they are read");
        }
        let rows = self.body(&query.body);
        self.known = outside;
        rows
    }

    fn body(&mut self, body: &SetExpr) -> Rows {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, left, right } => {
                let (left, right) = (self.body(left), self.body(right));
                let distinct = !matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName);
                Rows { changing: left.changing || right.changing || distinct, windowed: left.windowed && right.windowed }
            }
            SetExpr::SetOperation { op, .. } => {
                self.refuse(body.span(), &format!("`{}`", op.to_string().to_lowercase()), "run this file here");
                Rows::default()
            }
            other => {
                self.refuse(other.span(), "a query that reads no table", "put the rows on a topic");
                Rows::default()
            }
        }
    }

    fn select(&mut self, select: &Select) -> Rows {
        let mut rows = Rows::default();
        if select.from.len() > 1 {
            self.refuse(select.from[1].span(), "a list of tables", "write `join … on …`");
        }
        for from in &select.from {
            rows = self.from(from);
        }
        let found = self.calls(select);
        if found.over && !rows.windowed && !found.window {
            self.refuse(select.span(), "a window function over rows of no time window", "run this file here");
        }
        let groups = match &select.group_by {
            GroupByExpr::All(_) => true,
            GroupByExpr::Expressions(keys, _) => !keys.is_empty(),
        };
        let distinct = match &select.distinct {
            Some(Distinct::On(_)) => {
                self.refuse(select.span(), "`distinct on`", "run this file here");
                true
            }
            Some(Distinct::Distinct) => true,
            _ => false,
        };
        if !(groups || found.aggregate || distinct) {
            return rows;
        }
        if rows.changing {
            self.refuse(select.span(), "a group over rows that change", "group by a window of time first, or group once");
        }
        let windowed = rows.windowed || found.window;
        Rows { changing: !windowed, windowed }
    }

    fn from(&mut self, from: &TableWithJoins) -> Rows {
        let mut rows = self.relation(&from.relation);
        let mut changing = rows.changing.then(|| from.relation.span());
        for join in &from.joins {
            let right = self.relation(&join.relation);
            changing = changing.or_else(|| right.changing.then(|| join.relation.span()));
            let inner = matches!(join.join_operator, JoinOperator::Join(_) | JoinOperator::Inner(_));
            let both = rows.windowed && right.windowed;
            if rows.windowed != right.windowed {
                self.refuse(join.relation.span(), "a join of rows that belong to a window with rows that do not", "run this file here");
            } else if !inner && !both {
                self.refuse(join.relation.span(), "an outer join of rows that belong to no window", "write an inner join, or group both sides by the same window of time");
            }
            rows = Rows { changing: false, windowed: both };
        }
        if let Some(span) = changing.filter(|_| !from.joins.is_empty()) {
            self.refuse(span, "a join with rows that change", "group them by a window of time, or run this file here");
        }
        rows
    }

    fn relation(&mut self, relation: &TableFactor) -> Rows {
        match relation {
            TableFactor::Table { args: Some(_), .. } => {
                self.refuse(relation.span(), "an operator of this platform in the place of a table", "run this file here");
                Rows::default()
            }
            TableFactor::Table { name, .. } => match name.0.as_slice() {
                [ObjectNamePart::Identifier(name)] => self.known.get(&folded(name)).copied().unwrap_or_default(),
                _ => Rows::default(),
            },
            TableFactor::Derived { subquery, .. } => self.query(subquery),
            TableFactor::NestedJoin { table_with_joins, .. } => self.from(table_with_joins),
            other => {
                self.refuse(other.span(), "a function in the place of a table", "run this file here");
                Rows::default()
            }
        }
    }

    /// Looks at every expression of a select, but not into the queries that it reads from.
    fn calls(&mut self, select: &Select) -> Calls {
        let mut calls = Calls::default();
        let mut visit = |expr: &Expr| {
            let _never_broken = expr.visit(&mut calls);
        };
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => visit(expr),
                _ => {}
            }
        }
        if let GroupByExpr::Expressions(keys, _) = &select.group_by {
            keys.iter().for_each(&mut visit);
        }
        select.selection.iter().chain(&select.having).chain(&select.qualify).for_each(&mut visit);
        for (name, what, hint) in std::mem::take(&mut calls.refused) {
            let span = self.source.span_of(name).unwrap_or(self.whole);
            self.errors.push(Diagnostic::new(Code::PortableFunction, what).at(span).hint(hint));
        }
        for query in std::mem::take(&mut calls.queries) {
            self.refuse(query, "a query inside of an expression", "write it as a join");
        }
        calls
    }

    fn refuse(&mut self, span: datafusion::sql::sqlparser::tokenizer::Span, what: &str, hint: &str) {
        let span = self.source.span_of(span).unwrap_or(self.whole);
        self.errors.push(Diagnostic::new(Code::PortableQuery, format!("{what} is not run by the cluster")).at(span).hint(hint));
    }
}

/// A name as the planner sees it.
fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

type Refused = (datafusion::sql::sqlparser::tokenizer::Span, String, &'static str);

/// Which functions an expression calls.
#[derive(Default)]
struct Calls {
    aggregate: bool,
    /// `tumble` or `hop`.
    window: bool,
    /// A function with `over`.
    over: bool,
    refused: Vec<Refused>,
    queries: Vec<datafusion::sql::sqlparser::tokenizer::Span>,
}

const AGGREGATES: [&str; 11] =
    ["count", "sum", "avg", "min", "max", "bool_and", "bool_or", "array_agg", "string_agg", "first_value", "last_value"];

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => self.call(function),
            Expr::Exists { subquery, .. } | Expr::InSubquery { subquery, .. } => self.queries.push(subquery.span()),
            Expr::Subquery(query) => self.queries.push(query.span()),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Calls {
    fn call(&mut self, function: &Function) {
        let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return };
        let word = name.value.to_lowercase();
        let count = match &function.args {
            FunctionArguments::List(list) => list.args.len(),
            _ => 0,
        };
        if function.over.is_some() {
            self.over = true;
        } else if AGGREGATES.contains(&word.as_str()) {
            self.aggregate = true;
        }
        match (word.as_str(), count) {
            ("tumble", 1) | ("hop", 2) => self.window = true,
            ("tumble", _) | ("hop", _) => {
                self.window = true;
                let message = format!("{word}() over an instant that it names is not known to the cluster");
                self.refused.push((name.span, message, "declare the instant as event_time of the table, and leave the first argument out"));
            }
            ("facts" | "grounded_facts", _) => {
                self.refused.push((name.span, format!("{word}() is the platform's own, the cluster does not have it"), "run this file here"));
            }
            _ if ModelTask::of_function(&word).is_some() => {
                self.refused.push((name.span, format!("{word}() asks a model, which the cluster cannot"), "run this file here"));
            }
            _ => {}
        }
    }
}
