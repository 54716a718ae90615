//! `order by … limit`.

use std::collections::HashMap;
use std::sync::Arc;

use ajatus_operators::relational::TopShape;
use ajatus_operators::row::SortColumn;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan, Sort, SortExpr};

use super::lower::Lowering;
use super::map::column_of;
use super::problem::Problem;
use super::{Input, Step};

/// What a ranking is made of.
pub(crate) struct Ranking<'a> {
    pub(crate) input: &'a LogicalPlan,
    pub(crate) partition: &'a [Expr],
    pub(crate) order: &'a [SortExpr],
    pub(crate) skip: usize,
    pub(crate) fetch: usize,
    pub(crate) numbered: bool,
}

impl Lowering<'_> {
    pub(crate) fn top(&self, sort: &Sort, skip: usize, fetch: usize) -> Result<Input, Problem> {
        let ranking = Ranking { input: &sort.input, partition: &[], order: &sort.expr, skip, fetch, numbered: false };
        self.ranked(&ranking, sort.input.schema())
    }

    /// The first rows of each partition; `out` has the input's columns, and the number behind them if it is asked for.
    pub(crate) fn ranked(&self, ranking: &Ranking<'_>, out: &DFSchema) -> Result<Input, Problem> {
        let schema = ranking.input.schema();
        let visible = schema.fields().len();
        // The partition's columns first, then the input's own, then what the order computes.
        let mut exprs: Vec<Expr> = ranking.partition.to_vec();
        let keys = exprs.len();
        exprs.extend(schema.columns().into_iter().map(Expr::Column));
        let mut order = Vec::with_capacity(ranking.order.len());
        for sort in ranking.order {
            let column = match column_of(&sort.expr, schema) {
                Some(column) => keys + column,
                None => {
                    exprs.push(sort.expr.clone());
                    exprs.len() - 1
                }
            };
            order.push(SortColumn { column, descending: !sort.asc, nulls_first: sort.nulls_first });
        }
        let fields = exprs.iter().enumerate().map(|(at, expr)| {
            let (_, field) = expr.to_field(schema.as_ref())?;
            Ok((None, Arc::new(field.as_ref().clone().with_name(format!("c{at}")))))
        });
        let fields = fields.collect::<Result<Vec<_>, Problem>>()?;
        let wide = DFSchema::new_with_metadata(fields.clone(), HashMap::new())?;
        let input = self.project(ranking.input, &exprs, &wide)?;
        let shape =
            TopShape { kinds: input.kinds(), keys, order, skip: ranking.skip, fetch: ranking.fetch, numbered: ranking.numbered };
        let mut fields = fields;
        if ranking.numbered {
            let number = arrow::datatypes::Field::new("number", arrow::datatypes::DataType::UInt64, false);
            fields.push((None, Arc::new(number)));
        }
        let shown = DFSchema::new_with_metadata(fields, HashMap::new())?;
        let node = self.make(Step::Top { input, shape }, &shown)?;
        let mut columns: Vec<usize> = (keys..keys + visible).collect();
        if ranking.numbered {
            columns.push(node.types.len() - 1);
        }
        self.rearrange(&node, &columns, out)
    }
}
