//! What a run says of itself in numbers (Prometheus, through the `metrics` crate); `docs/operations.md` lists the names.
//!
//! Holds always: what is counted is what this run did: epochs that an earlier run had made are replayed without being counted again.
//! Not promised: that a number is of this very moment: gauges follow a few times a second.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::config::Progress;

/// Messages that wait for the threads of the dataflow, one number for all of them, and rows that its steps hold.
#[derive(Debug, Default)]
pub(crate) struct Depth {
    waiting: AtomicUsize,
    held: Mutex<BTreeMap<String, Arc<AtomicI64>>>,
}

impl Depth {
    pub(crate) fn put(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number of the rows that a step holds, in all threads.
    pub(crate) fn held(&self, step: &str) -> Arc<AtomicI64> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.entry(step.to_owned()).or_default())
    }
}

/// Names the pipeline in every number.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    pipeline: String,
}

impl Meter {
    pub(crate) fn new(pipeline: &str) -> Self {
        Self { pipeline: pipeline.to_owned() }
    }

    /// Records that a source gave.
    pub(crate) fn read(&self, source: &str, records: u64) {
        metrics::counter!("pipeline_rows_in_total", "pipeline" => self.pipeline.clone(), "source" => source.to_owned()).increment(records);
    }

    /// Changes that a sink took.
    pub(crate) fn written(&self, sink: &str, changes: usize) {
        metrics::counter!("pipeline_rows_out_total", "pipeline" => self.pipeline.clone(), "sink" => sink.to_owned()).increment(changes as u64);
    }

    /// What a step refused.
    pub(crate) fn refused(&self, step: &str, code: &str, rows: isize) {
        let labels = [("pipeline", self.pipeline.clone()), ("step", step.to_owned()), ("code", code.to_owned())];
        metrics::counter!("pipeline_errors_total", &labels).increment(rows.unsigned_abs() as u64);
    }

    /// Rows that a step or a sink holds.
    pub(crate) fn held(&self, step: &str, rows: f64) {
        metrics::gauge!("pipeline_rows_held", "pipeline" => self.pipeline.clone(), "step" => step.to_owned()).set(rows);
    }

    /// How far it is.
    pub(crate) fn progress(&self, progress: &Progress, depth: &Depth) {
        let gauge = |name: &'static str, value: f64| metrics::gauge!(name, "pipeline" => self.pipeline.clone()).set(value);
        gauge("pipeline_epoch", progress.epoch as f64);
        gauge("pipeline_epoch_lag", progress.epochs_ahead as f64);
        gauge("pipeline_reader_lag_records", progress.lag as f64);
        for (step, rows) in depth.held.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.held(step, rows.load(Ordering::Relaxed) as f64);
        }
        gauge("pipeline_queue_depth", depth.waiting.load(Ordering::Relaxed) as f64);
        gauge("pipeline_dead_letters", progress.dead_letters as f64);
    }
}
