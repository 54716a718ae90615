//! Keys as a condition.

use arrow::array::RecordBatch;
use lance::deps::datafusion::common::{Column, ScalarValue};
use lance::deps::datafusion::logical_expr::Expr;
use lance::deps::datafusion::prelude::lit;

/// A condition that holds for the rows that have one of these keys; `None` without keys. The batch has the key's columns alone.
pub(crate) fn matches(keys: &RecordBatch) -> Result<Option<Expr>, String> {
    let names: Vec<String> = keys.schema().fields().iter().map(|field| field.name().clone()).collect();
    let column = |name: &str| Expr::Column(Column::from_name(name));
    let value = |at: usize, row: usize| ScalarValue::try_from_array(keys.column(at), row).map_err(|error| error.to_string());
    if let [name] = names.as_slice() {
        let values = (0..keys.num_rows()).map(|row| value(0, row).map(lit)).collect::<Result<Vec<_>, _>>()?;
        return Ok((!values.is_empty()).then(|| column(name).in_list(values, false)));
    }
    let mut rows = Vec::with_capacity(keys.num_rows());
    for row in 0..keys.num_rows() {
        let mut all: Option<Expr> = None;
        for (at, name) in names.iter().enumerate() {
            let equal = column(name).eq(lit(value(at, row)?));
            all = Some(match all {
                Some(all) => all.and(equal),
                None => equal,
            });
        }
        rows.extend(all);
    }
    Ok(any(rows))
}

/// As a tree of little depth: the planner walks it by recursion.
fn any(mut conditions: Vec<Expr>) -> Option<Expr> {
    while conditions.len() > 1 {
        let mut half = Vec::with_capacity(conditions.len().div_ceil(2));
        let mut rest = conditions.into_iter();
        while let Some(left) = rest.next() {
            half.push(match rest.next() {
                Some(right) => left.or(right),
                None => left,
            });
        }
        conditions = half;
    }
    conditions.pop()
}
