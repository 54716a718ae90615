//! Model calls inside expressions become steps of their own.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable as _};

use super::functions::ModelTask;
use super::lower::Lowering;
use super::map::column_of;
use super::problem::{Problem, Why, refuse};
use super::{Call, Input, Step};

/// A call without another call inside it.
fn innermost(expr: &Expr) -> Option<Expr> {
    let mut found = None;
    let looked = expr.apply(|inner| {
        if found.is_none()
            && let Expr::ScalarFunction(call) = inner
            && ModelTask::of_function(call.name()).is_some()
            && !call.args.iter().any(|argument| innermost(argument).is_some())
        {
            found = Some(inner.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    looked.ok().and(found)
}

impl Lowering<'_> {
    /// If there are model calls, the steps that make them and then do the rest; else `None`.
    pub(crate) fn calls(
        &self,
        node: &Input,
        schema: &DFSchema,
        predicate: Option<&Expr>,
        exprs: &[Expr],
        out: &DFSchema,
    ) -> Result<Option<Input>, Problem> {
        // Rows that a cheap predicate drops are never sent to a model.
        if let Some(predicate) = predicate
            && innermost(predicate).is_none()
            && exprs.iter().any(|expr| innermost(expr).is_some())
        {
            let kept = self.filter(node, predicate, schema)?;
            return self.calls(&kept, schema, None, exprs, out);
        }
        let Some(call) = predicate.into_iter().chain(exprs).find_map(innermost) else { return Ok(None) };
        let Expr::ScalarFunction(function) = &call else { return Ok(None) };
        let Some(task) = ModelTask::of_function(function.name()) else { return Ok(None) };
        let Some(Expr::Literal(ScalarValue::Utf8(Some(model)), _)) = function.args.first() else {
            return refuse(Why::Model, format!("`{call}`"), "the first argument is the name of a model");
        };
        if !self.models.contains_key(model) {
            return refuse(Why::Model, format!("the model {model:?}"), format!("`create model {model} with (…)` makes one"));
        }
        let (node, inner, asked) = self.asked(node, schema, &function.args[1..])?;
        let (_, answer) = call.to_field(schema)?;
        let answer_name = format!("answer {}", inner.fields().len());
        let mut fields: Vec<_> = inner.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
        fields.push((None, Arc::new(answer.as_ref().clone().with_name(&answer_name))));
        let wide = DFSchema::new_with_metadata(fields, HashMap::new())?;
        let step = Call { model: model.clone(), task, asked, answer: answer.data_type().clone() };
        let answered = self.make(Step::Infer { input: node, call: Arc::new(step) }, &wide)?;
        let replaced = |expr: &Expr| {
            expr.clone().transform_down(|inner| {
                Ok(if inner == call {
                    Transformed::yes(Expr::Column(Column::new_unqualified(answer_name.clone())))
                } else {
                    Transformed::no(inner)
                })
            })
        };
        let predicate = predicate.map(|predicate| replaced(predicate).map(|done| done.data)).transpose()?;
        let exprs = exprs.iter().map(|expr| replaced(expr).map(|done| done.data)).collect::<Result<Vec<_>, _>>()?;
        self.map(&answered, &wide, predicate.as_ref(), &exprs, out).map(Some)
    }

    /// What is sent, as columns: the text and, if there is one, the owner. Gives the step that has them, its schema, and where they are.
    fn asked(&self, node: &Input, schema: &DFSchema, sent: &[Expr]) -> Result<(Input, DFSchema, Vec<usize>), Problem> {
        let mut exprs: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        let mut fields: Vec<_> = schema.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
        let mut columns = Vec::with_capacity(sent.len());
        for expr in sent {
            columns.push(match column_of(expr, schema) {
                Some(column) => column,
                None => {
                    let (_, field) = expr.to_field(schema)?;
                    fields.push((None, Arc::new(field.as_ref().clone().with_name(format!("asked {}", fields.len())))));
                    exprs.push(expr.clone());
                    fields.len() - 1
                }
            });
        }
        if fields.len() == schema.fields().len() {
            return Ok((Arc::clone(node), schema.clone(), columns));
        }
        let wide = DFSchema::new_with_metadata(fields, HashMap::new())?;
        Ok((self.map(node, schema, None, &exprs, &wide)?, wide, columns))
    }
}
