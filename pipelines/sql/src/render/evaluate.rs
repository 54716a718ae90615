//! Runs DataFusion's vectorised expressions over batches of rows.

use std::sync::Arc;

use ajatus_operators::relational::{Update, fault};
use ajatus_operators::row::{Row, Writer};
use arrow::array::cast::AsArray as _;
use arrow::array::{Array as _, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use datafusion::error::DataFusionError;

use crate::codec::encode;
use crate::plan::{Node, Program};
use crate::record::json_line;

/// One program with its buffers.
pub(crate) struct Evaluator {
    program: Arc<Program>,
    step: String,
    /// Names and types of the rows that come in, for the letters of those that fail.
    names: Vec<String>,
    types: Vec<DataType>,
    writer: Writer,
}

impl Evaluator {
    pub(crate) fn new(program: Arc<Program>, step: String, input: &Node) -> Self {
        Self { program, step, names: input.names.clone(), types: input.types.clone(), writer: Writer::new() }
    }

    /// Evaluates a batch; if that fails, row by row, so that one bad row does not take its neighbours with it.
    pub(crate) fn run<T: Clone>(&mut self, updates: &[Update<T>], good: &mut Vec<Update<T>>, bad: &mut Vec<Update<T>>) {
        let before = good.len();
        if self.batch(updates, good).is_ok() {
            return;
        }
        good.truncate(before);
        for update in updates {
            let before = good.len();
            if let Err(error) = self.batch(std::slice::from_ref(update), good) {
                good.truncate(before);
                let (code, message) = explain(&error);
                let cause = json_line(&update.0, &self.names, &self.types);
                bad.push((fault(&self.step, code, &message, "", cause.as_bytes(), &mut self.writer), update.1.clone(), update.2));
            }
        }
    }

    fn batch<T: Clone>(&mut self, updates: &[Update<T>], out: &mut Vec<Update<T>>) -> Result<(), DataFusionError> {
        let program = &self.program;
        let columns = program.decoder.decode(updates.iter().map(|update| &update.0))?;
        let options = RecordBatchOptions::new().with_row_count(Some(updates.len()));
        let mut batch = RecordBatch::try_new_with_options(Arc::clone(&program.schema), columns, &options)?;
        let mut mask = None;
        if let Some(predicate) = &program.predicate {
            let answer = predicate.evaluate(&batch)?.into_array(updates.len())?;
            let keep = answer.as_boolean().clone();
            if !program.computed.is_empty() {
                batch = filter_record_batch(&batch, &keep)?;
            }
            mask = Some(keep);
        }
        let computed = if program.computed.is_empty() {
            Vec::new()
        } else {
            let values = program.computed.iter().map(|expr| expr.evaluate(&batch)?.into_array(batch.num_rows()));
            encode(&values.collect::<Result<Vec<_>, _>>()?, batch.num_rows())?
        };
        let nothing = Row::default();
        let mut computed = computed.iter();
        for (at, (row, time, diff)) in updates.iter().enumerate() {
            if mask.as_ref().is_none_or(|mask| mask.is_valid(at) && mask.value(at)) {
                let extra = computed.next().unwrap_or(&nothing);
                out.push((program.output.make(&[row, extra], &mut self.writer), time.clone(), *diff));
            }
        }
        Ok(())
    }
}

/// A code that stays, and what the engine said.
fn explain(error: &DataFusionError) -> (&'static str, String) {
    let root = error.find_root();
    let message = root.strip_backtrace();
    let lower = message.to_lowercase();
    let code = if lower.contains("divide by zero") {
        "expression.divide_by_zero"
    } else if lower.contains("overflow") || lower.contains("out of range") {
        "expression.overflow"
    } else if lower.contains("cast") || lower.contains("parse") {
        "expression.cast"
    } else {
        "expression.failed"
    };
    (code, message)
}
