//! One run: reader, dataflow and sinks, from the ledger's state to the sources' end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::render::Models;
use ajatus_sql::script::{BadData, Table};

use super::cluster::Followers;
use super::collect::{Collector, Drafts, LETTERS, progress};
use super::config::{Counters, Progress, Report, RunConfig, RunParts};
use super::elsewhere::Elsewhere;
use super::engine::{Built, Engine, Mesh};
use super::error::StreamError;
use super::feed::{Feeder, Saving, Start};
use super::ledger::{Book, Ledger};
use super::meter::{Depth, Meter};
use super::models::RunModels;
use super::read::Reader;
use super::replay::{self, Replays, callers};
use super::sink::{Outside, Sink};
use super::snapshot::Snapshots;

/// Runs a pipeline; blocks until its sources end, `stop` is cancelled, or something fails. `tell` hears how far it is.
///
/// # Errors
/// [`StreamError`]. What was applied stays; the next run goes on from the ledger.
pub fn run(pipeline: Arc<Pipeline>, config: &RunConfig, parts: RunParts, tell: &mut dyn FnMut(&Progress)) -> Result<Report, StreamError> {
    let started = Instant::now();
    let cluster = config.cluster.as_ref().filter(|cluster| cluster.hosts.len() > 1);
    if let Some(cluster) = cluster.filter(|cluster| cluster.process > 0) {
        super::cluster::follow(&pipeline, config, &parts, cluster)?;
        return Ok(Report { seconds: started.elapsed().as_secs_f64(), ..Report::default() });
    }
    let elsewhere = Elsewhere::open(&pipeline, &parts)?;
    let mut sources: Vec<(Table, Vec<usize>)> = Vec::new();
    let mut readers: Vec<(String, Reader)> = Vec::new();
    for (name, columns) in pipeline.required() {
        let Some(table) = pipeline.table(&name) else { continue };
        let mut reader = Reader::open(table, &columns, &elsewhere, parts.keys.as_ref(), &parts.handle)?;
        if let Some(cluster) = cluster {
            reader.share(0, cluster.hosts.len());
        }
        readers.push((name, reader));
        sources.push((table.clone(), columns));
    }
    let (mut ledger, book) = match &config.state {
        Some(folder) => {
            let (ledger, book) = Ledger::open(folder, &pipeline.hash)?;
            (Some(ledger), book)
        }
        None => (None, Book::default()),
    };
    let outside = Outside {
        elsewhere,
        handle: parts.handle.clone(),
        print: Arc::clone(&parts.print),
        pipeline: config.name.clone(),
        ledger: ledger.as_ref().map_or_else(|| uuid::Uuid::now_v7().to_string(), Ledger::id),
        state: config.state.clone(),
    };
    for (_, reader) in &mut readers {
        reader.begin(config.state.as_deref(), &outside.ledger)?;
    }
    let mut sinks = pipeline.outputs.iter().map(|output| Sink::open(output, &outside)).collect::<Result<Vec<_>, _>>()?;
    let models = RunModels::open(config.state.as_deref(), &pipeline.script, parts.backends.clone(), parts.handle.clone())?;
    let models = Mutex::new(models);
    let (depth, meter) = (Arc::new(Depth::default()), Meter::new(&config.name));
    let built = Built {
        depth: Arc::clone(&depth),
        pipeline: Arc::clone(&pipeline),
        outputs: pipeline.outputs.iter().map(|output| Arc::clone(&output.planned.node)).collect(),
        sources,
        models: Arc::new(move || Box::new(models.lock().unwrap_or_else(PoisonError::into_inner).another()) as Box<dyn Models>),
    };
    let strict: Vec<String> =
        built.sources.iter().filter(|(table, _)| table.bad_data == BadData::Fail).map(|(table, _)| format!("source {}", table.name)).collect();
    let (closed_sender, closed) = channel();
    let workers = config.workers.max(1);
    // Everything that every remembering sink has is fed as one time, unless a snapshot has it.
    let mut applied = sinks.iter().map(Sink::applied).collect::<Result<Vec<_>, _>>()?;
    let snapshots = config.state.as_ref().map(|state| Snapshots::of(state, &pipeline.hash, &outside.ledger));
    let mut loaded = snapshots.as_ref().and_then(|snapshots| snapshots.newest(book.last(), &progress(&sinks, &applied)));
    if loaded.is_none() && book.base > 0 {
        return Err(StreamError::Unsupported {
            what: format!("the ledger begins after epoch {}, and there is no snapshot that can be read and that every sink has", book.base),
            hint: "give the run another folder with --state, and its tables another name: it begins anew".to_owned(),
        });
    }
    let mut dead_letters = BTreeMap::new();
    if let Some(loaded) = &mut loaded {
        // What a sink was not told of up to the snapshot held nothing for it.
        applied.iter_mut().flatten().for_each(|applied| *applied = loaded.epoch.max(*applied));
        for (output, sink) in pipeline.outputs.iter().zip(&mut sinks) {
            sink.resume(loaded.sink(&output.table.name));
        }
        dead_letters.extend(loaded.sink(LETTERS));
    }
    let everywhere = applied.iter().flatten().min().copied();
    let mesh = Mesh { threads: workers, process: 0, hosts: cluster.map(|cluster| cluster.hosts.clone()).unwrap_or_default() };
    let shares = loaded.as_mut().map(|loaded| loaded.shares(mesh.peers(), false)).transpose()?;
    let shares = shares.map(|shares| shares.into_iter().take(workers).collect());
    let from = loaded.as_ref().map(|loaded| loaded.epoch);
    let followers = cluster.map(|cluster| Followers::gather(cluster, &pipeline.hash, &outside.ledger, from, &closed_sender)).transpose()?;
    let engine = Engine::start(&mesh, Arc::new(built), closed_sender, shares)?;
    let start = loaded.map_or_else(Start::default, |loaded| Start { epoch: loaded.epoch, offsets: loaded.offsets });
    let minted_before = book.last();
    let replayed = book.last().saturating_sub(start.epoch);
    let base = everywhere.unwrap_or_else(|| book.last()).min(book.last());
    let busy = Arc::new(AtomicBool::new(false));
    let saving = Saving {
        on: snapshots.is_some() && (config.snapshot_epochs.is_some() || !config.snapshot_every.is_zero()),
        every: config.snapshot_every,
        epochs: config.snapshot_epochs,
        busy: Arc::clone(&busy),
        oldest: Arc::default(),
        begun: Instant::now(),
        last: start.epoch,
    };
    let oldest = Arc::clone(&saving.oldest);
    let (places, freed) = sync_channel(config.max_epochs_ahead.max(1));
    let (fed_sender, fed) = channel();
    let counters = Arc::new(Counters::default());
    let feeder = Feeder {
        engine,
        followers,
        replays: Replays::open(config.state.as_deref(), &outside.ledger)?,
        meter: meter.clone(),
        readers,
        epoch_rows: config.epoch_rows.max(1),
        bounded: config.bounded,
        places,
        fed: fed_sender,
        counters: Arc::clone(&counters),
        stop: parts.stop.clone(),
        handle: parts.handle.clone(),
        saving,
        backfill: config.backfill.clone(),
    };
    let total: u64 = feeder.readers.iter().map(|(_, reader)| reader.size()).sum();
    let feeding = std::thread::Builder::new()
        .name("pipeline-reader".to_owned())
        .spawn({
            let start = start.clone();
            move || feeder.run(ledger.as_mut(), &book, &start, base)
        })
        .map_err(|source| StreamError::Io { path: "a thread".to_owned(), source })?;
    let mut collector = Collector {
        sinks: &mut sinks,
        applied,
        waiting: BTreeMap::new(),
        reached: vec![vec![Some(0); pipeline.outputs.len() + 1]; workers],
        strict,
        dead_letters,
        letters: config.state.as_ref().map(|folder| folder.join("dead-letters.jsonl")),
        letters_changed: true,
        ledger: outside.ledger.clone(),
        names: pipeline.outputs.iter().map(|output| output.table.name.clone()).collect(),
        meter,
        depth,
        replayed: minted_before,
        replays: (config.state.as_ref().map(|folder| folder.join(replay::FILE)), 0),
        callers: callers(&pipeline),
        changes: 0,
        drafts: Drafts { snapshots, workers, peers: mesh.peers(), busy, oldest, draft: None, begun: Instant::now() },
    };
    let collected = collector.run(&closed, &fed, &freed, &counters, total, tell);
    if collected.is_err() {
        parts.stop.cancel();
    }
    drop((closed, freed));
    let last = feeding.join().map_err(|_| StreamError::Dataflow("the reader ended unexpectedly".to_owned()))?;
    collected?;
    let last = last?;
    collector.settle()?;
    collector.show()?;
    let (changes, dead_letters) = (collector.changes, collector.dead_letters);
    Ok(Report {
        rows: counters.rows.load(Ordering::SeqCst),
        changes,
        epochs: last,
        snapshot: start.epoch,
        replayed,
        dead_letters: dead_letters.values().map(|count| count.unsigned_abs() as u64).sum(),
        seconds: started.elapsed().as_secs_f64(),
    })
}
