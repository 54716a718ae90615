//! Several processes that run one pipeline: the first mints epochs and writes the sinks, every one reads its share of the partitions and
//! keeps its share of the rows.
//!
//! Rows travel between the processes as timely sends them; what to read, and what was put into a snapshot, travels over one connection from
//! each process to the first, a JSON document a line. All see one run folder, each with its own file of the memo.
//!
//! Holds always: an epoch's ranges are on the ledger before any process reads them; a process with another plan or another version of the
//! rows is not let in. Not promised: secrecy or authentication between the processes: their network is private. After a crash: a process
//! that loses another ends; started again, all go on from the newest snapshot, as many as there are then.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ajatus_operators::Told;
use ajatus_operators::row::ENCODING;
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::render::Models;
use ajatus_sql::script::Connector;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::config::{Cluster, RunConfig, RunParts};
use super::elsewhere::Elsewhere;
use super::engine::{Built, Engine, Mesh, News};
use super::error::StreamError;
use super::models::RunModels;
use super::read::Reader;
use super::snapshot::{Part, Snapshots};

/// How long a process waits for the others.
const PATIENCE: Duration = Duration::from_secs(60);

/// From a process to the first one.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Hello { process: usize, plan: String, encoding: u32 },
    Heard { epoch: u64 },
    Kept { epoch: u64, worker: usize, name: String, bytes: u64, hash: String },
    /// A thread's part of a snapshot could not be stored: there will be no such snapshot.
    Lost { epoch: u64, reason: String },
}

/// From the first one to the others.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Start { ledger: String, snapshot: Option<u64> },
    Read { epoch: u64, source: String, partition: u32, from: u64, to: u64 },
    Close { epoch: u64 },
    Save { epoch: u64 },
    End,
}

fn trouble(what: &str, error: impl std::fmt::Display) -> StreamError {
    StreamError::Cluster { reason: format!("{what}: {error}") }
}

fn send(stream: &mut TcpStream, message: &impl Serialize) -> Result<(), StreamError> {
    let mut line = serde_json::to_vec(message).expect("a message is JSON");
    line.push(b'\n');
    stream.write_all(&line).map_err(|error| trouble("a process cannot be told", error))
}

fn receive<M: DeserializeOwned>(lines: &mut BufReader<TcpStream>) -> Result<Option<M>, StreamError> {
    let mut line = String::new();
    match lines.read_line(&mut line) {
        Ok(0) => Ok(None),
        Ok(_) => serde_json::from_str(&line).map(Some).map_err(|error| trouble("a process says what is no message", error)),
        Err(error) => Err(trouble("a process is gone", error)),
    }
}

/// The other processes, as the first one sees them.
pub(crate) struct Followers {
    streams: Vec<TcpStream>,
    heard: Receiver<u64>,
    readers: Vec<JoinHandle<()>>,
    /// From now on a process that goes is none that was lost.
    over: Arc<AtomicBool>,
}

impl Followers {
    /// Waits until every other process has come, and tells it where to begin.
    pub(crate) fn gather(cluster: &Cluster, plan: &str, ledger: &str, snapshot: Option<u64>, news: &Sender<News>) -> Result<Self, StreamError> {
        let listener = TcpListener::bind(&cluster.control).map_err(|error| trouble(&format!("{} cannot be listened at", cluster.control), error))?;
        listener.set_nonblocking(true).map_err(|error| trouble("the control address", error))?;
        let until = Instant::now() + PATIENCE;
        let mut streams: Vec<Option<TcpStream>> = cluster.hosts.iter().map(|_| None).collect();
        let (told, heard) = channel();
        let mut readers = Vec::new();
        let over = Arc::new(AtomicBool::new(false));
        while streams.iter().skip(1).any(Option::is_none) {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < until => {
                    std::thread::park_timeout(Duration::from_millis(20));
                    continue;
                }
                Err(error) => {
                    let missing = streams.iter().enumerate().skip(1).filter(|(_, stream)| stream.is_none()).map(|(process, _)| process.to_string()).collect::<Vec<_>>();
                    return Err(trouble(&format!("process {} did not come within {} s", missing.join(", "), PATIENCE.as_secs()), error));
                }
            };
            stream.set_nonblocking(false).and_then(|()| stream.set_nodelay(true)).map_err(|error| trouble("a process", error))?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(|error| trouble("a process", error))?;
            let mut lines = BufReader::new(stream.try_clone().map_err(|error| trouble("a process", error))?);
            let Some(Report::Hello { process, plan: theirs, encoding }) = receive(&mut lines)? else { continue };
            if theirs != plan || encoding != ENCODING {
                return Err(trouble(&format!("process {process} runs another plan or version"), format!("plan {theirs}, here {plan}")));
            }
            let Some(place) = streams.get_mut(process).filter(|place| process > 0 && place.is_none()) else {
                return Err(trouble("two processes have one number, or one has a number beyond the hosts", process));
            };
            stream.set_read_timeout(None).map_err(|error| trouble("a process", error))?;
            let mut stream = stream;
            send(&mut stream, &Order::Start { ledger: ledger.to_owned(), snapshot })?;
            *place = Some(stream);
            let (told, news, over) = (told.clone(), news.clone(), Arc::clone(&over));
            let reader = std::thread::Builder::new().name(format!("pipeline-process-{process}")).spawn(move || {
                loop {
                    let sent = match receive(&mut lines) {
                        Ok(Some(Report::Heard { epoch })) => told.send(epoch).is_ok(),
                        Ok(Some(Report::Kept { epoch, worker, name, bytes, hash })) => news.send(News::Stored { epoch, worker, file: (name, (bytes, hash)) }).is_ok(),
                        Ok(Some(Report::Lost { epoch, reason })) => news.send(News::Lost { epoch, reason: format!("process {process}: {reason}") }).is_ok(),
                        Ok(Some(Report::Hello { .. }) | None) | Err(_) => {
                            // Its rows are gone with it, and whoever waits for it here would wait for ever.
                            if !over.load(Ordering::SeqCst) {
                                give_up(&trouble(&format!("process {process} is gone"), "its own message says why"));
                            }
                            false
                        }
                    };
                    if !sent {
                        return;
                    }
                }
            });
            readers.push(reader.map_err(|source| StreamError::Io { path: "a thread".to_owned(), source })?);
        }
        Ok(Self { streams: streams.into_iter().flatten().collect(), heard, readers, over })
    }

    /// Has a process read a range.
    pub(crate) fn read(&mut self, process: usize, epoch: u64, source: &str, partition: u32, from: u64, to: u64) -> Result<(), StreamError> {
        send(&mut self.streams[process - 1], &Order::Read { epoch, source: source.to_owned(), partition, from, to })
    }

    /// Ends an epoch everywhere.
    pub(crate) fn close(&mut self, epoch: u64) -> Result<(), StreamError> {
        self.streams.iter_mut().try_for_each(|stream| send(stream, &Order::Close { epoch }))
    }

    /// Asks every operator everywhere; returns when every thread has heard it.
    pub(crate) fn save(&mut self, epoch: u64) -> Result<(), StreamError> {
        self.streams.iter_mut().try_for_each(|stream| send(stream, &Order::Save { epoch }))?;
        for _ in 0..self.streams.len() {
            self.heard.recv().map_err(|error| trouble("a process is gone", error))?;
        }
        Ok(())
    }

    /// Nothing more will come.
    pub(crate) fn end(&mut self) -> Result<(), StreamError> {
        self.over.store(true, Ordering::SeqCst);
        self.streams.iter_mut().try_for_each(|stream| send(stream, &Order::End))
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        for stream in &self.streams {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
    }
}

/// Connects to the first process, which may not be there yet.
fn connect(cluster: &Cluster) -> Result<TcpStream, StreamError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(&cluster.control) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > until => return Err(trouble(&format!("the first process does not answer at {}", cluster.control), error)),
            Err(_) => std::thread::park_timeout(Duration::from_millis(50)),
        }
    }
}

/// Runs the share of a process that is not the first; blocks until the first one says that it is over.
pub(crate) fn follow(pipeline: &Arc<Pipeline>, config: &RunConfig, parts: &RunParts, cluster: &Cluster) -> Result<(), StreamError> {
    let state = config.state.as_deref().ok_or_else(|| trouble("a process of several", "it needs the run folder of the others (--state)"))?;
    let mut stream = connect(cluster)?;
    stream.set_nodelay(true).map_err(|error| trouble("the first process", error))?;
    send(&mut stream, &Report::Hello { process: cluster.process, plan: pipeline.hash.clone(), encoding: ENCODING })?;
    let mut orders = BufReader::new(stream.try_clone().map_err(|error| trouble("the first process", error))?);
    let Some(Order::Start { ledger, snapshot }) = receive(&mut orders)? else {
        return Err(trouble("the first process", "it did not let this one in; its own message says why"));
    };
    let elsewhere = Elsewhere::open(pipeline, parts)?;
    let mut sources = Vec::new();
    let mut readers: Vec<(String, Reader)> = Vec::new();
    for (name, columns) in pipeline.required() {
        let Some(table) = pipeline.table(&name) else { continue };
        // Files and copies of tables are read where they lie: by the first process.
        if matches!(table.connector, Connector::Kafka { .. }) {
            readers.push((name, Reader::open(table, &columns, &elsewhere, parts.keys.as_ref(), &parts.handle)?));
        }
        sources.push((table.clone(), columns));
    }
    let models = Mutex::new(RunModels::open_one_of(Some(state), cluster.process, &pipeline.script, parts.backends.clone(), parts.handle.clone())?);
    let places: Vec<String> = sources.iter().map(|(table, _)| table.name.clone()).collect();
    let built = Built {
        depth: Arc::default(),
        pipeline: Arc::clone(pipeline),
        outputs: pipeline.outputs.iter().map(|output| Arc::clone(&output.planned.node)).collect(),
        sources,
        models: Arc::new(move || Box::new(models.lock().unwrap_or_else(PoisonError::into_inner).another()) as Box<dyn Models>),
    };
    let snapshots = Snapshots::of(state, &pipeline.hash, &ledger);
    let mesh = Mesh { threads: config.workers.max(1), process: cluster.process, hosts: cluster.hosts.clone() };
    let first = mesh.process * mesh.threads;
    let shares = match snapshot {
        None => None,
        Some(epoch) => {
            let mut loaded = snapshots.exactly(epoch)?;
            Some(loaded.shares(mesh.peers(), false)?.into_iter().skip(first).take(mesh.threads).collect())
        }
    };
    let (sender, news) = channel();
    let mut engine = Engine::start(&mesh, Arc::new(built), sender, shares)?;
    let reports = stream.try_clone().map_err(|error| trouble("the first process", error))?;
    let keeping = std::thread::Builder::new().name("pipeline-keeper".to_owned()).spawn(move || keep(&news, &snapshots, reports));
    let keeping = keeping.map_err(|source| StreamError::Io { path: "a thread".to_owned(), source })?;
    // Whoever waits for what this process holds would wait for ever.
    if let Err(error) = obey(&mut orders, &mut stream, &mut engine, &places, &mut readers) {
        give_up(&error);
    }
    drop(engine);
    keeping.join().map_err(|_| StreamError::Dataflow("the keeper ended unexpectedly".to_owned()))
}

/// Ends this process at once, with its reason: the threads of all processes hold each other's rows, and none can end alone.
fn give_up(error: &StreamError) -> ! {
    tracing::error!(%error, "this process of the pipeline ends, and so do the others; started again, all go on from the newest snapshot");
    std::process::abort()
}

/// Does what the first process says, until it says that it is over.
fn obey(
    orders: &mut BufReader<TcpStream>,
    stream: &mut TcpStream,
    engine: &mut Engine,
    places: &[String],
    readers: &mut [(String, Reader)],
) -> Result<(), StreamError> {
    loop {
        match receive(orders)? {
            Some(Order::Read { epoch, source, partition, from, to }) => {
                let place = places.iter().position(|name| *name == source);
                let reader = readers.iter_mut().find(|(name, _)| *name == source);
                let (Some(place), Some((_, reader))) = (place, reader) else { return Err(trouble("the first process names a source", source)) };
                reader.again(partition, from, to, &mut |payload| engine.records(epoch, place, payload))?;
            }
            Some(Order::Close { epoch }) => engine.close(epoch)?,
            Some(Order::Save { epoch }) => {
                engine.save(epoch)?;
                send(stream, &Report::Heard { epoch })?;
            }
            Some(Order::End) => return Ok(()),
            Some(Order::Start { .. }) | None => return Err(trouble("the first process", "it is gone")),
        }
    }
}

/// Writes what the threads of this process know, and tells the first one of each file, or that there will be none.
fn keep(news: &Receiver<News>, snapshots: &Snapshots, mut reports: TcpStream) {
    // Per thread and epoch; none where the file could not be written.
    let mut open: Vec<(usize, u64, Option<Part>)> = Vec::new();
    while let Ok(news) = news.recv() {
        let News::Kept { worker, told } = news else { continue };
        let (Told::Part { epoch, .. } | Told::All { epoch }) = &told;
        let epoch = *epoch;
        let at = open.iter().position(|(held, at, _)| (*held, *at) == (worker, epoch)).unwrap_or_else(|| {
            open.push((worker, epoch, None));
            let part = snapshots.part(epoch, worker).map_err(|error| lost(&mut reports, epoch, &error)).ok();
            open.last_mut().expect("one was pushed").2 = part;
            open.len() - 1
        });
        match told {
            Told::Part { operator, bytes, .. } => {
                let written = open[at].2.as_mut().map(|part| part.write(&operator, &bytes));
                if let Some(Err(error)) = written {
                    open[at].2 = None;
                    lost(&mut reports, epoch, &error);
                }
            }
            Told::All { .. } => {
                let Some(part) = open.swap_remove(at).2 else { continue };
                match part.finish() {
                    Ok((name, (bytes, hash))) => {
                        if send(&mut reports, &Report::Kept { epoch, worker, name, bytes, hash }).is_err() {
                            // The first one is through, and this snapshot is none.
                            return;
                        }
                    }
                    Err(error) => lost(&mut reports, epoch, &error),
                }
            }
        }
    }
}

/// Tells the first process that a snapshot will not be whole. If it is gone, it needs not be told.
fn lost(reports: &mut TcpStream, epoch: u64, error: &StreamError) {
    tracing::warn!(%error, epoch, "a part of a snapshot could not be stored");
    send(reports, &Report::Lost { epoch, reason: error.to_string() }).ok();
}
