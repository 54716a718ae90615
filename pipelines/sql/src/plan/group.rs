//! `group by`.

use std::collections::HashMap;
use std::sync::Arc;

use ajatus_operators::relational::{Aggregate as Kept, Grouping};
use ajatus_operators::row::{Kind, Row, SortColumn, Writer};
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::conditional_expressions::CaseBuilder;
use datafusion::logical_expr::expr::{AggregateFunctionParams, NullTreatment};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable as _, SortExpr, cast, lit};

use super::lower::Lowering;
use super::problem::{Problem, Why, refuse};
use super::{Input, Step};
use crate::codec::kind_of;

/// The columns that a group reads: its keys, then what its aggregates need, each once.
struct Columns<'a> {
    exprs: Vec<Expr>,
    keys: usize,
    schema: &'a DFSchema,
}

impl Columns<'_> {
    fn at(&mut self, expr: Expr) -> usize {
        let known = self.exprs.iter().skip(self.keys).position(|held| *held == expr);
        known.map_or_else(
            || {
                self.exprs.push(expr);
                self.exprs.len() - 1
            },
            |at| self.keys + at,
        )
    }

    fn order(&mut self, sorts: &[SortExpr]) -> Vec<SortColumn> {
        sorts.iter().map(|sort| SortColumn { column: self.at(sort.expr.clone()), descending: !sort.asc, nulls_first: sort.nulls_first }).collect()
    }

    fn data_type(&self, expr: &Expr) -> Result<DataType, Problem> {
        Ok(expr.get_type(self.schema)?)
    }
}

impl Lowering<'_> {
    pub(crate) fn group(&self, aggregate: &Aggregate) -> Result<Input, Problem> {
        let whole = aggregate.input.schema();
        if aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
            return refuse(Why::GroupingSets, "grouping sets, rollup or cube", "write one query a grouping and union them");
        }
        let mut columns = Columns { exprs: aggregate.group_expr.clone(), keys: aggregate.group_expr.len(), schema: whole };
        let mut kept = Vec::with_capacity(aggregate.aggr_expr.len());
        for (expr, field) in aggregate.aggr_expr.iter().zip(aggregate.schema.fields().iter().skip(columns.keys)) {
            let Expr::AggregateFunction(call) = expr.clone().unalias() else {
                return refuse(Why::Aggregate, format!("`{expr}`"), KEPT);
            };
            kept.push(one(call.func.name(), call.params, field.data_type(), expr, &mut columns)?);
        }
        let Columns { exprs, keys, .. } = columns;
        let fields = exprs.iter().enumerate().map(|(at, expr)| {
            let (_, field) = expr.to_field(whole.as_ref())?;
            Ok((None, Arc::new(field.as_ref().clone().with_name(format!("c{at}")))))
        });
        let inner = DFSchema::new_with_metadata(fields.collect::<Result<_, Problem>>()?, HashMap::new())?;
        let input = self.project(&aggregate.input, &exprs, &inner)?;
        if kept.is_empty() {
            return self.make(Step::Distinct { input }, &aggregate.schema);
        }
        let nothing = (keys == 0).then(|| over_nothing(&kept));
        let grouping = Grouping { kinds: input.kinds(), nullable: input.nullable.clone(), keys, aggregates: kept };
        self.make(Step::Group { input, grouping, nothing }, &aggregate.schema)
    }
}

const KEPT: &str = "count, sum, avg, min, max, bool_and, bool_or, array_agg, string_agg, first_value and last_value are kept";

/// One aggregate.
fn one(name: &str, params: AggregateFunctionParams, output: &DataType, expr: &Expr, columns: &mut Columns<'_>) -> Result<Kept, Problem> {
    let AggregateFunctionParams { mut args, distinct, filter, order_by, null_treatment } = params;
    let ordered = matches!(name, "array_agg" | "string_agg" | "first_value" | "last_value");
    if args.len() > if name == "string_agg" { 2 } else { 1 } {
        return refuse(Why::Aggregate, format!("`{expr}` with several arguments"), "give it one");
    }
    let separator = if name == "string_agg" { args.pop() } else { None };
    let Some(argument) = args.pop() else { return refuse(Why::Aggregate, format!("`{expr}`"), "give it an argument") };
    if let (None, "count", Expr::Literal(value, _), false) = (&filter, name, &argument, distinct)
        && !value.is_null()
    {
        return Ok(Kept::Count(None));
    }
    let integer = exact(name, &argument, columns, expr)?;
    let data_type = columns.data_type(&integer)?;
    let skip_nulls = null_treatment == Some(NullTreatment::IgnoreNulls);
    if ordered {
        if order_by.is_empty() && !distinct {
            return refuse(
                Why::Unordered,
                format!("`{expr}` without an order"),
                format!("give it one: {name}({argument} order by …), because rows arrive in any order"),
            );
        }
        let only = filter.as_ref().map(|filter| columns.at(filter.as_ref().clone()));
        let column = columns.at(argument.clone());
        let mut order = columns.order(&order_by);
        if order.is_empty() {
            order.push(SortColumn { column, descending: false, nulls_first: false });
        }
        return Ok(match name {
            "array_agg" => Kept::List { column, order, distinct, skip_nulls, only },
            "string_agg" => {
                if distinct || only.is_some() {
                    return refuse(Why::Aggregate, format!("`{expr}`"), "string_agg is kept without distinct and filter; select the distinct rows first");
                }
                let Some(Expr::Literal(ScalarValue::Utf8(Some(separator)), _)) = separator.map(|separator| separator.unalias()) else {
                    return refuse(Why::Aggregate, format!("`{expr}`"), "its separator must be a constant text");
                };
                Kept::Text { column, separator, order }
            }
            _ => Kept::End { column, order, last: name == "last_value", skip_nulls, only },
        });
    }
    let counted = match filter {
        Some(filter) => CaseBuilder::new(None, vec![*filter], vec![integer], None).end()?,
        None => integer,
    };
    if distinct && !matches!(name, "min" | "max" | "count" | "bool_and" | "bool_or") {
        return refuse(Why::Aggregate, format!("`{expr}`"), "aggregate the distinct values in a view of their own");
    }
    let column = columns.at(counted);
    Ok(match name {
        "count" if distinct => Kept::Distinct(column),
        "count" => Kept::Count(Some(column)),
        "sum" => match (kind_of(output), output) {
            (Some(kind), DataType::Decimal128(precision, _)) => Kept::Sum { column, output: kind, limit: 10_u128.pow(u32::from(*precision)) },
            (Some(kind @ (Kind::Int64 | Kind::UInt64)), _) => Kept::Sum { column, output: kind, limit: 0 },
            _ => return refuse(Why::Type, format!("`{expr}` of type {output}"), "sum integers or decimals"),
        },
        "avg" => match (&data_type, output) {
            (DataType::Decimal128(_, from), DataType::Decimal128(precision, to)) => Kept::MeanDecimal {
                column,
                scale: 10_i128.pow(u32::try_from(to - from).unwrap_or_default()),
                limit: 10_u128.pow(u32::from(*precision)),
            },
            (_, DataType::Float64) => Kept::Mean(column),
            _ => return refuse(Why::Type, format!("`{expr}` of type {output}"), "average integers or decimals"),
        },
        "min" => Kept::Min(column),
        "max" => Kept::Max(column),
        "bool_and" => Kept::All(column),
        "bool_or" => Kept::Any(column),
        other => return refuse(Why::Aggregate, format!("{other}()"), KEPT),
    })
}

/// The argument of a sum or an average as an exact number; any other argument as it is.
///
/// Coercion turns `avg(int)` into `avg(cast(int as double))`; the integers below are exact under retraction.
fn exact(name: &str, argument: &Expr, columns: &Columns<'_>, expr: &Expr) -> Result<Expr, Problem> {
    if !matches!(name, "sum" | "avg") {
        return Ok(argument.clone());
    }
    let mut inner = argument;
    while let Expr::Alias(alias) = inner {
        inner = &alias.expr;
    }
    if let ("avg", Expr::Cast(cast_expr)) = (name, inner) {
        let below = columns.data_type(&cast_expr.expr)?;
        if below.is_integer() {
            return Ok(cast(cast_expr.expr.as_ref().clone(), if below.is_unsigned_integer() { DataType::UInt64 } else { DataType::Int64 }));
        }
    }
    if let ("avg", Expr::Literal(value, _)) = (name, inner)
        && let ScalarValue::Float64(Some(number)) = value
        && number.fract() == 0.0
        && number.abs() < 9e15
    {
        return Ok(lit(*number as i64));
    }
    match columns.data_type(inner)? {
        DataType::Decimal128(..) => Ok(argument.clone()),
        data_type if data_type.is_integer() => Ok(argument.clone()),
        data_type if data_type.is_floating() => refuse(
            Why::FloatSum,
            format!("`{expr}` of floats"),
            format!("floats do not add up to the same in another order; fix the point: {name}(cast(… as decimal(38, 9)))"),
        ),
        data_type => refuse(Why::Type, format!("`{expr}` of {data_type}"), "sum integers or decimals"),
    }
}

/// The row of a group without keys over nothing.
fn over_nothing(kept: &[Kept]) -> Row {
    let mut out = Writer::new();
    for aggregate in kept {
        match aggregate {
            Kept::Count(_) | Kept::Distinct(_) => out.int64(0),
            _ => out.null(),
        }
    }
    out.finish()
}
