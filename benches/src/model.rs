//! Does a model step keep its service busy?
//!
//! A service that takes `--service-ms` for a batch, however many rows it has up to `--batch`, and does one batch at a time, can answer
//! `batch / service` rows a second at most: its ceiling. The whole runtime runs over a file of rows with different texts: reader, ledger,
//! batches, memo with a sync for each batch, sink. The share is how near to the ceiling it comes, from the first batch to the last.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ajatus_inference::{Embedder, Embedding, InferenceError, ModelIdentity};
use ajatus_pipelines::stream::{Backend, Backends, RunConfig, RunParts, run};
use ajatus_sql::diagnostic::Source;
use ajatus_sql::pipeline::Pipeline;
use async_trait::async_trait;

use crate::arguments::Arguments;
use crate::error::BenchError;

/// Does one batch at a time, each in the same time.
struct Service {
    identity: ModelIdentity,
    time: Duration,
    one: tokio::sync::Mutex<()>,
    seen: Mutex<Seen>,
}

/// What the service was asked.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    batches: u32,
    rows: usize,
    first: Option<Instant>,
    last: Option<Instant>,
}

#[async_trait]
impl Embedder for Service {
    fn model(&self) -> &ModelIdentity {
        &self.identity
    }

    fn dimension(&self) -> usize {
        2
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Result<Embedding, InferenceError>>, InferenceError> {
        let _one = self.one.lock().await;
        let begun = Instant::now();
        // Timers wake late by up to a millisecond: a device does not.
        while begun.elapsed() < self.time {
            let left = self.time.saturating_sub(begun.elapsed());
            if left > Duration::from_millis(2) { tokio::time::sleep(left - Duration::from_millis(2)).await } else { tokio::task::yield_now().await }
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.batches += 1;
        seen.rows += texts.len();
        seen.first.get_or_insert(begun);
        seen.last = Some(Instant::now());
        Ok(texts.iter().map(|text| Ok(vec![1.0, f32::from(u16::try_from(text.len()).unwrap_or(u16::MAX))])).collect())
    }
}

/// `ajatus-benches model`.
pub(crate) fn command(mut arguments: Arguments) -> Result<(), BenchError> {
    let rows: u32 = arguments.number("rows", 12_800)?;
    let batch: u32 = arguments.number("batch", 64)?;
    let in_flight: u32 = arguments.number("in-flight", 2)?;
    let epoch_rows: usize = arguments.number("epoch-rows", 1_000)?;
    let service = Duration::from_millis(arguments.number("service-ms", 10)?);
    arguments.finish()?;
    let folder = tempfile::tempdir().map_err(BenchError::file(Path::new("a temporary folder")))?;
    let seen = measure(folder.path(), rows, batch, in_flight, epoch_rows, service)?;
    let span = seen.last.zip(seen.first).map_or(0.0, |(last, first)| last.duration_since(first).as_secs_f64());
    let rate = seen.rows as f64 / span.max(1e-9);
    let ceiling = f64::from(batch) / service.as_secs_f64();
    println!("rows  batches  mean batch  seconds  rows/s  ceiling  share");
    println!(
        "{:5} {:8} {:11.1} {:8.3} {:7.0} {:8.0} {:5.1}%",
        seen.rows,
        seen.batches,
        seen.rows as f64 / f64::from(seen.batches.max(1)),
        span,
        rate,
        ceiling,
        100.0 * rate / ceiling
    );
    Ok(())
}

fn measure(folder: &Path, rows: u32, batch: u32, in_flight: u32, epoch_rows: usize, time: Duration) -> Result<Seen, BenchError> {
    let failed = |why: String| BenchError::Contender { contender: "the model step".to_owned(), why };
    let lines: String = (0..rows).map(|id| format!("{{\"id\":{id},\"text\":\"text number {id}\"}}\n")).collect();
    std::fs::write(folder.join("rows.jsonl"), lines).map_err(BenchError::file(folder))?;
    let sql = format!(
        "create table rows (id bigint not null, text text) with (connector = 'file', type = 'source', path = 'rows.jsonl');
         create model slow with (task = 'embedding', provider = 'candle', name = 'slow', dimensions = 2, max_batch_rows = {batch}, max_in_flight = {in_flight});
         create table vectors (id bigint primary key, vector vector(2)) with (connector = 'file', type = 'sink', path = 'vectors.jsonl');
         insert into vectors select id, embed(slow, text) from rows;"
    );
    let mut pipeline = Pipeline::check(Source::new("model.sql", sql)).map_err(|found| failed(format!("{found:?}")))?;
    pipeline.settle(folder, &std::collections::BTreeMap::new()).map_err(failed)?;
    let service = Arc::new(Service {
        identity: ModelIdentity { name: "slow".to_owned(), weights: "0".repeat(16) },
        time,
        one: tokio::sync::Mutex::new(()),
        seen: Mutex::default(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(BenchError::file(Path::new("the runtime")))?;
    let parts = RunParts {
        log: None,
        db: None,
        columnar: None,
        keys: None,
        backends: Backends::from([("slow".to_owned(), Backend::Embedder(Arc::clone(&service) as Arc<dyn Embedder>))]),
        handle: runtime.handle().clone(),
        print: Arc::new(|_| {}),
        stop: tokio_util::sync::CancellationToken::new(),
    };
    let config = RunConfig { epoch_rows, state: Some(folder.join("state")), ..RunConfig::default() };
    let report = run(Arc::new(pipeline), &config, parts, &mut |_| {}).map_err(|error| failed(error.to_string()))?;
    let written = std::fs::read_to_string(folder.join("vectors.jsonl")).map_err(BenchError::file(folder))?.lines().count();
    let seen = *service.seen.lock().unwrap_or_else(PoisonError::into_inner);
    if written != rows as usize || seen.rows != rows as usize || report.dead_letters != 0 {
        return Err(failed(format!("{written} rows were written and {} asked for, of {rows}; {} dead letters", seen.rows, report.dead_letters)));
    }
    Ok(seen)
}
