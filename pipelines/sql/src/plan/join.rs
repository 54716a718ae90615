//! Joins: equal keys in one operator, everything else composed of it.

use std::collections::HashMap;
use std::sync::Arc;

use ajatus_operators::relational::JoinShape;
use ajatus_operators::row::{Kind, Weave};
use datafusion::common::{DFSchema, NullEquality};
use datafusion::logical_expr::{Expr, ExprSchemable as _, Join, JoinType, LogicalPlan, lit};

use super::lower::Lowering;
use super::map::column_of;
use super::problem::{Problem, Why, refuse};
use super::{Input, Keep, Match, Step};

/// One side: its step, how many of its columns the query sees (key expressions stand behind them), its key columns.
struct Side {
    node: Input,
    visible: usize,
    keys: Vec<usize>,
}

impl Side {
    /// Columns that are not in the key, and where each column is then: in the key, or in the rest.
    fn split(&self) -> (Vec<usize>, Vec<Result<usize, usize>>) {
        let rest: Vec<usize> = (0..self.visible).filter(|column| !self.keys.contains(column)).collect();
        let places = (0..self.visible)
            .map(|column| match self.keys.iter().position(|key| *key == column) {
                Some(at) => Ok(at),
                None => Err(rest.iter().position(|held| *held == column).unwrap_or_default()),
            })
            .collect();
        (rest, places)
    }

    fn pick(kinds: &[Kind], columns: &[usize]) -> Vec<Kind> {
        columns.iter().map(|column| kinds[*column].clone()).collect()
    }
}

/// Which rows a composed join shows, and of which sides.
#[derive(Clone, Copy)]
enum Show {
    /// Left columns, then right columns.
    Both,
    /// Left columns.
    Left,
}

impl Lowering<'_> {
    pub(crate) fn join(&self, join: &Join) -> Result<Input, Problem> {
        if join.on.is_empty() && join.left.max_rows() != Some(1) && join.right.max_rows() != Some(1) {
            return refuse(Why::CrossJoin, "a join without an equality", "name equal columns in `on`; every pair of two tables that grow is too much to keep");
        }
        // What looks at the right side's rows is the same, seen from the left.
        let swapped = match join.join_type {
            JoinType::RightSemi => Some(JoinType::LeftSemi),
            JoinType::RightAnti => Some(JoinType::LeftAnti),
            JoinType::RightMark => Some(JoinType::LeftMark),
            _ => None,
        };
        if let Some(join_type) = swapped {
            let turned = Join {
                left: Arc::clone(&join.right),
                right: Arc::clone(&join.left),
                on: join.on.iter().map(|(left, right)| (right.clone(), left.clone())).collect(),
                join_type,
                ..join.clone()
            };
            return self.join(&turned);
        }
        let left = self.side(&join.left, join.on.iter().map(|on| &on.0))?;
        let right = self.side(&join.right, join.on.iter().map(|on| &on.1))?;
        let nulls_match = join.null_equality == NullEquality::NullEqualsNull;
        if join.null_aware {
            return self.not_in(join, left, &right);
        }
        if join.join_type == JoinType::LeftMark {
            return self.mark(join, &left, &right, nulls_match);
        }
        let Some(filter) = &join.filter else {
            let keeps: &[Keep] = match join.join_type {
                JoinType::Inner => &[Keep::Pairs],
                JoinType::Left => &[Keep::Pairs, Keep::LeftAlone],
                JoinType::Right => &[Keep::Pairs, Keep::RightAlone],
                JoinType::Full => &[Keep::Pairs, Keep::LeftAlone, Keep::RightAlone],
                JoinType::LeftSemi => &[Keep::LeftMatched],
                _ => &[Keep::LeftAlone],
            };
            let show = if matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti) { Show::Left } else { Show::Both };
            return self.matched(&left, &right, nulls_match, keeps, show, &join.schema);
        };
        // With a residual filter, a row has a partner if some pair of it passes.
        let both = both_sides(&join.left, &join.right)?;
        let pairs = self.matched(&left, &right, nulls_match, &[Keep::Pairs], Show::Both, &both)?;
        let passed = self.filter(&pairs, filter, &both)?;
        let matched_rows = |from: usize, width: usize, schema: &DFSchema| -> Result<Input, Problem> {
            let columns: Vec<usize> = (from..from + width).collect();
            let rows = self.rearrange(&passed, &columns, schema)?;
            self.make(Step::Distinct { input: rows }, schema)
        };
        let whole = |side: &Side| Side { node: Arc::clone(&side.node), visible: side.visible, keys: (0..side.visible).collect() };
        let left_rows = || -> Result<Side, Problem> {
            let node = matched_rows(0, left.visible, join.left.schema())?;
            Ok(Side { keys: (0..left.visible).collect(), visible: left.visible, node })
        };
        let mut parts = Vec::new();
        match join.join_type {
            JoinType::Inner => return self.renamed(&passed, &join.schema),
            JoinType::LeftSemi => return self.matched(&whole(&left), &left_rows()?, true, &[Keep::LeftMatched], Show::Left, &join.schema),
            JoinType::LeftAnti => return self.matched(&whole(&left), &left_rows()?, true, &[Keep::LeftAlone], Show::Left, &join.schema),
            _ => parts.push(self.renamed(&passed, &join.schema)?),
        }
        if matches!(join.join_type, JoinType::Left | JoinType::Full) {
            let alone = self.matched(&whole(&left), &left_rows()?, true, &[Keep::LeftAlone], Show::Left, join.left.schema())?;
            parts.push(self.padded(&alone, join.left.schema(), None, Some(join.right.schema()), &join.schema)?);
        }
        if matches!(join.join_type, JoinType::Right | JoinType::Full) {
            let node = matched_rows(left.visible, right.visible, join.right.schema())?;
            let rows = Side { keys: (0..right.visible).collect(), visible: right.visible, node };
            let alone = self.matched(&whole(&right), &rows, true, &[Keep::LeftAlone], Show::Left, join.right.schema())?;
            parts.push(self.padded(&alone, join.right.schema(), Some(join.left.schema()), None, &join.schema)?);
        }
        self.make(Step::Union { inputs: parts }, &join.schema)
    }

    /// A side with its key expressions as columns, behind its own where they are not columns yet.
    fn side<'e>(&self, input: &LogicalPlan, keys: impl Iterator<Item = &'e Expr>) -> Result<Side, Problem> {
        let schema = input.schema();
        let visible = schema.fields().len();
        let mut exprs: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        let mut fields: Vec<_> = schema.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
        let mut at = Vec::new();
        for key in keys {
            at.push(match column_of(key, schema) {
                Some(column) => column,
                None => {
                    let (_, field) = key.to_field(schema.as_ref())?;
                    fields.push((None, Arc::new(field.as_ref().clone().with_name(format!("key {}", exprs.len())))));
                    exprs.push(key.clone());
                    exprs.len() - 1
                }
            });
        }
        let node = self.node(input)?;
        if exprs.len() == visible {
            return Ok(Side { node, visible, keys: at });
        }
        let out = DFSchema::new_with_metadata(fields, HashMap::new())?;
        Ok(Side { node: self.map(&node, schema, None, &exprs, &out)?, visible, keys: at })
    }

    /// A join on the sides' keys.
    fn matched(&self, left: &Side, right: &Side, nulls_match: bool, keeps: &[Keep], show: Show, schema: &DFSchema) -> Result<Input, Problem> {
        let (left_kinds, right_kinds) = (left.node.kinds(), right.node.kinds());
        let key = Side::pick(&left_kinds, &left.keys);
        if key != Side::pick(&right_kinds, &right.keys) {
            return refuse(Why::Type, "a join of keys of different types", "cast both sides to one type");
        }
        let (left_rest, left_places) = left.split();
        let (right_rest, right_places) = right.split();
        let shape = JoinShape { key, left: Side::pick(&left_kinds, &left_rest), right: Side::pick(&right_kinds, &right_rest) };
        let sources = vec![shape.key.clone(), shape.left.clone(), shape.right.clone(), shape.key.clone()];
        let weave = |keep: Keep| {
            // A side that has no row shows nulls, also where its key would stand.
            let left_key = if keep == Keep::RightAlone { 3 } else { 0 };
            let right_key = if keep == Keep::LeftAlone { 3 } else { 0 };
            let mut parts: Vec<(usize, usize)> = left_places.iter().map(|place| place.map_or_else(|rest| (1, rest), |at| (left_key, at))).collect();
            if let Show::Both = show {
                parts.extend(right_places.iter().map(|place| place.map_or_else(|rest| (2, rest), |at| (right_key, at))));
            }
            Weave::new(sources.clone(), parts)
        };
        let chain = |keys: &[usize], rest: &[usize]| keys.iter().chain(rest).copied().collect::<Vec<_>>();
        let matching = Match {
            left_weave: Weave::pick(&left_kinds, &chain(&left.keys, &left_rest)),
            right_weave: Weave::pick(&right_kinds, &chain(&right.keys, &right_rest)),
            left: Arc::clone(&left.node),
            right: Arc::clone(&right.node),
            left_keys: left.keys.clone(),
            right_keys: right.keys.clone(),
            shape,
            nulls_match,
            keep: keeps.iter().map(|keep| (*keep, weave(*keep))).collect(),
        };
        self.make(Step::Join(Box::new(matching)), schema)
    }

    /// `x not in (select …)`: no row if the list has a null; a null is in no list but the empty one.
    fn not_in(&self, join: &Join, left: Side, right: &Side) -> Result<Input, Problem> {
        if join.join_type != JoinType::LeftAnti || join.filter.is_some() || left.keys.len() != 1 {
            return refuse(Why::Subquery, "`not in` over several columns or with a correlation", "write it as `not exists (…)`");
        }
        let schema = join.left.schema();
        let alone = self.matched(&left, right, false, &[Keep::LeftAlone], Show::Left, schema)?;
        let (left_key, right_key) = (left.keys[0], right.keys[0]);
        let (left_null, right_null) = (left.node.nullable[left_key], right.node.nullable[right_key]);
        let unit = DFSchema::empty();
        let flag = |node: &Input| -> Result<Side, Problem> {
            let node = self.make(Step::Distinct { input: self.rearrange(node, &[], &unit)? }, &unit)?;
            Ok(Side { node, visible: 0, keys: Vec::new() })
        };
        let unkeyed = |node: &Input| Side { node: Arc::clone(node), visible: left.visible, keys: Vec::new() };
        let mut rows = alone;
        if right_null {
            let visible = self.visible(right, join.right.schema())?;
            let nulls = self.filter(&visible, &join.on[0].1.clone().is_null(), join.right.schema())?;
            rows = self.matched(&unkeyed(&rows), &flag(&nulls)?, true, &[Keep::LeftAlone], Show::Left, schema)?;
        }
        if left_null {
            let key = &join.on[0].0;
            let known = self.filter(&rows, &key.clone().is_not_null(), schema)?;
            let unknown = self.filter(&rows, &key.clone().is_null(), schema)?;
            let unknown = self.matched(&unkeyed(&unknown), &flag(&right.node)?, true, &[Keep::LeftAlone], Show::Left, schema)?;
            rows = self.make(Step::Union { inputs: vec![known, unknown] }, schema)?;
        }
        self.renamed(&rows, &join.schema)
    }

    /// Each left row with whether it has a partner.
    fn mark(&self, join: &Join, left: &Side, right: &Side, nulls_match: bool) -> Result<Input, Problem> {
        let schema = join.left.schema();
        let (left_side, right_side, nulls) = match &join.filter {
            None => (Side { node: Arc::clone(&left.node), visible: left.visible, keys: left.keys.clone() }, None, nulls_match),
            Some(filter) => {
                let both = both_sides(&join.left, &join.right)?;
                let pairs = self.matched(left, right, nulls_match, &[Keep::Pairs], Show::Both, &both)?;
                let passed = self.filter(&pairs, filter, &both)?;
                let rows = self.rearrange(&passed, &(0..left.visible).collect::<Vec<_>>(), schema)?;
                let node = self.make(Step::Distinct { input: rows }, schema)?;
                let whole = Side { node: Arc::clone(&left.node), visible: left.visible, keys: (0..left.visible).collect() };
                (whole, Some(Side { node, visible: left.visible, keys: (0..left.visible).collect() }), true)
            }
        };
        let right_side = right_side.as_ref().unwrap_or(right);
        let mut parts = Vec::new();
        for (keep, marked) in [(Keep::LeftMatched, true), (Keep::LeftAlone, false)] {
            let rows = self.matched(&left_side, right_side, nulls, &[keep], Show::Left, schema)?;
            let mut exprs: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
            exprs.push(lit(marked));
            parts.push(self.map(&rows, schema, None, &exprs, &join.schema)?);
        }
        self.make(Step::Union { inputs: parts }, &join.schema)
    }

    /// Rows of one side with nulls for the other.
    fn padded(&self, rows: &Input, schema: &DFSchema, before: Option<&DFSchema>, after: Option<&DFSchema>, out: &DFSchema) -> Result<Input, Problem> {
        let nulls = |side: &DFSchema| -> Result<Vec<Expr>, Problem> {
            side.fields().iter().map(|field| Ok(lit(datafusion::common::ScalarValue::try_new_null(field.data_type())?))).collect()
        };
        let mut exprs = before.map(nulls).transpose()?.unwrap_or_default();
        exprs.extend(schema.columns().into_iter().map(Expr::Column));
        exprs.extend(after.map(nulls).transpose()?.unwrap_or_default());
        self.map(rows, schema, None, &exprs, out)
    }

    /// The columns that the query sees of a side.
    fn visible(&self, side: &Side, schema: &DFSchema) -> Result<Input, Problem> {
        self.rearrange(&side.node, &(0..side.visible).collect::<Vec<_>>(), schema)
    }

    /// The same columns under the names of a schema.
    fn renamed(&self, node: &Input, schema: &DFSchema) -> Result<Input, Problem> {
        self.rearrange(node, &(0..node.types.len()).collect::<Vec<_>>(), schema)
    }
}

/// The columns of both sides, as a residual filter sees them.
fn both_sides(left: &LogicalPlan, right: &LogicalPlan) -> Result<DFSchema, Problem> {
    let fields = left.schema().iter().chain(right.schema().iter()).map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)));
    Ok(DFSchema::new_with_metadata(fields.collect(), HashMap::new())?)
}
