//! The dataflow's threads: each decodes its share of the records, keeps its share of the rows, and says what changed.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::Duration;

use ajatus_operators::{Resume, Told, Vault, emit_among, emit_here};
use ajatus_operators::relational::{Rows, fault, latest};
use ajatus_operators::row::{Row, Writer};
use ajatus_sql::codec::kinds_of;
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::plan::Input;
use ajatus_sql::render::{Feed, Models, Render};
use ajatus_sql::script::{Changelog, Table};
use differential_dataflow::input::InputSession;
use timely::worker::Worker;

use super::crash::{self, Point};
use super::decode::{Decoder, Payload};
use super::error::StreamError;
use super::meter::Depth;

/// What the threads are told.
pub(crate) enum Work {
    /// Records of a source, at an epoch.
    Records {
        epoch: u64,
        source: usize,
        payload: Payload,
    },
    /// Nothing more of this epoch, or of any before it, will come.
    Close(u64),
    /// What every operator knows at this epoch is asked for; the answer says that the thread has heard it.
    Save(u64, Sender<()>),
    /// The end, whatever is not answered yet.
    Abandon,
}

/// What a thread says.
pub(crate) enum News {
    /// What has changed, and how far it is.
    Closed(Closed),
    /// What its operators know.
    Kept { worker: usize, told: Told },
    /// A thread of another process has put what its operators know into a file: name, length, hash.
    Stored { epoch: u64, worker: usize, file: (String, (u64, String)) },
    /// A thread of another process could not.
    Lost { epoch: u64, reason: String },
}

/// How far a thread is: changes per output (the last output holds the faults), and how far it is.
pub(crate) struct Closed {
    pub(crate) worker: usize,
    /// `(output, epoch, changes)`.
    pub(crate) changes: Vec<(usize, u64, Vec<(Row, isize)>)>,
    /// Per output: every epoch below is complete (`None`: all).
    pub(crate) frontiers: Vec<Option<u64>>,
}

/// Who hears what the threads say; they may not wait for it.
pub(crate) trait Hear: Clone + Send + Sync + 'static {
    /// Takes it. One that is gone needs nothing any more.
    fn hear(&self, news: News);
}

impl Hear for Sender<News> {
    fn hear(&self, news: News) {
        self.send(news).ok();
    }
}

/// One that asks for no snapshots.
impl Hear for tokio::sync::mpsc::UnboundedSender<Closed> {
    fn hear(&self, news: News) {
        if let News::Closed(closed) = news {
            self.send(closed).ok();
        }
    }
}

/// The running threads.
pub(crate) struct Engine {
    inboxes: Vec<(SyncSender<Work>, Thread)>,
    guards: Option<timely::communication::WorkerGuards<()>>,
    next: usize,
    abandon: bool,
    depth: Arc<Depth>,
}

/// What is built in each thread.
pub(crate) struct Built {
    pub(crate) pipeline: Arc<Pipeline>,
    /// Sources in the order of their numbers, with the columns that are read.
    pub(crate) sources: Vec<(Table, Vec<usize>)>,
    pub(crate) models: Arc<dyn Fn() -> Box<dyn Models> + Send + Sync>,
    /// What is taken out, in the order of the outputs' numbers.
    pub(crate) outputs: Vec<Input>,
    /// Counts what waits for the threads, and what they hold.
    pub(crate) depth: Arc<Depth>,
}

/// Where the threads are.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    /// Threads of each process.
    pub(crate) threads: usize,
    /// Which process this is; the first one takes what changes.
    pub(crate) process: usize,
    /// The address of each process; one: no network.
    pub(crate) hosts: Vec<String>,
}

impl Mesh {
    /// All threads in this process.
    pub(crate) fn here(threads: usize) -> Self {
        Self { threads: threads.max(1), process: 0, hosts: Vec::new() }
    }

    /// Threads of all processes.
    pub(crate) fn peers(&self) -> usize {
        self.threads * self.hosts.len().max(1)
    }

    fn config(&self) -> timely::Config {
        if self.hosts.len() < 2 {
            return timely::Config::process(self.threads);
        }
        timely::Config {
            communication: timely::CommunicationConfig::Cluster {
                threads: self.threads,
                process: self.process,
                addresses: self.hosts.clone(),
                report: false,
                zerocopy: false,
            },
            worker: timely::WorkerConfig::default(),
        }
    }
}

/// Records that may wait for a thread; more wait with the reader.
const QUEUE: usize = 64;

impl Engine {
    /// Starts the threads of this process, from nothing or each from its share of a snapshot. With other processes it waits for them.
    pub(crate) fn start(mesh: &Mesh, built: Arc<Built>, news: impl Hear, resume: Option<Vec<Resume>>) -> Result<Self, StreamError> {
        let depth = Arc::clone(&built.depth);
        let threads = mesh.threads;
        let first = mesh.process * threads;
        let writers = (mesh.hosts.len() > 1).then_some(threads as u64);
        let shares = Mutex::new(resume.map(|shares| shares.into_iter().map(Some).collect::<Vec<_>>()));
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| std::sync::mpsc::sync_channel(QUEUE)).unzip();
        let receivers = Mutex::new(receivers.into_iter().map(Some).collect::<Vec<_>>());
        let (hello, greeted) = channel();
        let hello = Mutex::new(hello);
        let guards = timely::execute(mesh.config(), move |worker| {
            let index = worker.index() - first;
            let inbox = receivers.lock().ok().and_then(|mut all| all[index].take());
            if let Ok(hello) = hello.lock() {
                hello.send((index, std::thread::current())).ok();
            }
            if let Some(inbox) = inbox {
                let share = shares.lock().ok().and_then(|mut shares| shares.as_mut().and_then(|shares| shares[index].take()));
                run(worker, &built, &inbox, &news, share, writers);
            }
        })
        .map_err(StreamError::Dataflow)?;
        let mut threads_by_index = BTreeMap::new();
        for _ in 0..threads {
            let (index, thread) = greeted
                .recv_timeout(Duration::from_secs(30))
                .map_err(|error: RecvTimeoutError| StreamError::Dataflow(format!("a worker did not start: {error}")))?;
            threads_by_index.insert(index, thread);
        }
        let inboxes = senders.into_iter().zip(threads_by_index.into_values()).collect();
        Ok(Self { inboxes, guards: Some(guards), next: 0, abandon: false, depth })
    }

    /// From now on, dropping it does not wait for answers of models: what was fed and is not through is fed again by the next start.
    pub(crate) fn abandon_when_dropped(&mut self) {
        self.abandon = true;
    }

    /// Gives records to the next thread in turn.
    pub(crate) fn records(&mut self, epoch: u64, source: usize, payload: Payload) -> Result<(), StreamError> {
        self.next = (self.next + 1) % self.inboxes.len();
        self.send(self.next, Work::Records { epoch, source, payload })
    }

    /// Ends an epoch.
    pub(crate) fn close(&mut self, epoch: u64) -> Result<(), StreamError> {
        (0..self.inboxes.len()).try_for_each(|worker| self.send(worker, Work::Close(epoch)))
    }

    /// Asks every operator for what it knows at an epoch that is not closed yet, or is the last one fed. Returns when every thread has
    /// heard it: only then may anything after the epoch be fed.
    pub(crate) fn save(&mut self, epoch: u64) -> Result<(), StreamError> {
        let (heard, hearing) = channel();
        for worker in 0..self.inboxes.len() {
            self.send(worker, Work::Save(epoch, heard.clone()))?;
        }
        drop(heard);
        for _ in 0..self.inboxes.len() {
            hearing.recv().map_err(|_| StreamError::Dataflow("a worker has ended".to_owned()))?;
        }
        Ok(())
    }

    fn send(&self, worker: usize, work: Work) -> Result<(), StreamError> {
        let (inbox, thread) = &self.inboxes[worker];
        self.depth.put();
        inbox.send(work).map_err(|_| StreamError::Dataflow("a worker has ended".to_owned()))?;
        thread.unpark();
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.abandon {
            // A thread that has ended needs not be told.
            (0..self.inboxes.len()).for_each(|worker| self.send(worker, Work::Abandon).unwrap_or_default());
        }
        // Without senders the threads end by themselves, and the guards wait for that.
        for (inbox, thread) in self.inboxes.drain(..) {
            drop(inbox);
            thread.unpark();
        }
        if let Some(guards) = self.guards.take() {
            drop(guards.join());
        }
    }
}

fn run(worker: &mut Worker, built: &Built, inbox: &Receiver<Work>, news: &impl Hear, resume: Option<Resume>, writers: Option<u64>) {
    let index = worker.index();
    let kept = news.clone();
    let vault = Vault::new(resume, Box::new(move |told| kept.hear(News::Kept { worker: index, told })));
    let mut inputs: Vec<InputSession<u64, Row, isize>> = built.sources.iter().map(|_| InputSession::new()).collect();
    let mut bad: InputSession<u64, Row, isize> = InputSession::new();
    let models = (built.models)();
    build(worker, built, &mut inputs, &mut bad, models.as_ref(), news, &vault, writers);
    let mut decoders: Vec<Decoder> = built.sources.iter().map(|(table, columns)| Decoder::new(table, columns)).collect();
    let mut writer = Writer::new();
    loop {
        let work = inbox.try_recv();
        if work.is_ok() {
            built.depth.taken();
        }
        match work {
            Ok(Work::Records { epoch, source, payload }) => {
                if crash::here(Point::Worker) {
                    panic!("a worker was told to");
                }
                let input = &mut inputs[source];
                if *input.time() < epoch {
                    input.advance_to(epoch);
                }
                if *bad.time() < epoch {
                    bad.advance_to(epoch);
                }
                let name = &built.sources[source].0.name;
                decoders[source].decode(payload, |row, diff| input.update(row, diff), |refused| {
                    let row = fault(&format!("source {name}"), &refused.code, &refused.message, &refused.origin, &refused.raw, &mut writer);
                    bad.update(row, refused.diff);
                });
            }
            Ok(Work::Close(epoch)) => {
                for input in inputs.iter_mut().chain([&mut bad]) {
                    input.advance_to(epoch + 1);
                    input.flush();
                }
                worker.step();
            }
            Ok(Work::Save(epoch, heard)) => {
                vault.due(epoch);
                heard.send(()).ok();
            }
            Ok(Work::Abandon) => {
                // Else the thread would go on until every held capability is gone, that is until a model answers that is gone.
                for dataflow in worker.installed_dataflows() {
                    worker.drop_dataflow(dataflow);
                }
                break;
            }
            Err(std::sync::mpsc::TryRecvError::Empty) => {
                worker.step_or_park(Some(Duration::from_millis(50)));
            }
            Err(std::sync::mpsc::TryRecvError::Disconnected) => break,
        }
    }
    vault.close();
    drop(inputs);
    drop(bad);
    while worker.has_dataflows() {
        worker.step_or_park(Some(Duration::from_millis(10)));
    }
}

fn build(
    worker: &mut Worker,
    built: &Built,
    inputs: &mut [InputSession<u64, Row, isize>],
    bad: &mut InputSession<u64, Row, isize>,
    models: &dyn Models,
    news: &impl Hear,
    vault: &Vault,
    writers: Option<u64>,
) {
    let index = worker.index();
    // What is in the state already has left already, unless everything is shown again.
    let gone = vault.base().filter(|_| !vault.shows());
    worker.dataflow(|scope| {
        let depth = Arc::clone(&built.depth);
        let held = move |label: &str| depth.held(label);
        let mut render = Render::new(scope, models).keeping(vault.clone()).counting(&held);
        for (input, (table, columns)) in inputs.iter_mut().zip(&built.sources) {
            let rows = input.to_collection(scope);
            let mut given = feed(rows, table, columns, vault);
            if table.changelog == Changelog::Upsert {
                let place = format!("source {}", table.name);
                given.rows = render.counted(given.rows, &place);
                render.held_before(&place, &place);
            }
            render.feed(&table.name, given);
        }
        for view in &built.pipeline.views {
            let rows = render.node(&view.planned.node);
            let kinds = view.planned.node.kinds();
            render.feed(&view.name, Feed { rows, columns: (0..kinds.len()).collect(), kinds });
        }
        let mut outputs: Vec<Rows<'_>> = built.outputs.iter().map(|output| render.node(output)).collect();
        let faults = bad.to_collection(scope);
        outputs.push(match render.faults() {
            Some(more) => faults.concat(more),
            None => faults,
        });
        let count = outputs.len();
        let state = std::rc::Rc::new(std::cell::RefCell::new(vec![Some(0_u64); count]));
        for (output, rows) in outputs.into_iter().enumerate() {
            let (news, state) = (news.clone(), std::rc::Rc::clone(&state));
            let closed = move |changes: Vec<(u64, Vec<(Row, isize)>)>, frontier| {
                state.borrow_mut()[output] = frontier;
                let changes = changes.into_iter().filter(|(time, _)| gone.is_none_or(|gone| *time > gone));
                let changes = changes.map(|(time, changes)| (output, time, changes)).collect();
                news.hear(News::Closed(Closed { worker: index, changes, frontiers: state.borrow().clone() }));
            };
            match writers {
                Some(writers) => emit_among(rows, writers, closed),
                None => emit_here(rows, closed),
            };
        }
    });
}

/// A source's rows as its changelog means them.
fn feed<'scope>(rows: Rows<'scope>, table: &Table, columns: &[usize], vault: &Vault) -> Feed<'scope> {
    let types = |columns: &[usize]| kinds_of(columns.iter().map(|column| &table.columns[*column].data_type)).expect("a table's types have rows");
    match table.changelog {
        Changelog::Append | Changelog::Signed { .. } => Feed { rows, columns: columns.to_vec(), kinds: types(columns) },
        Changelog::Upsert => {
            // Records are key, sequence, whether they live, and the rest; rows come out as key and rest.
            let rest: Vec<usize> = columns.iter().copied().filter(|column| !table.primary_key.contains(column)).collect();
            let order: Vec<usize> = table.primary_key.iter().chain(&rest).copied().collect();
            let mut kinds = types(&table.primary_key);
            kinds.push(ajatus_operators::row::Kind::UInt64);
            kinds.push(ajatus_operators::row::Kind::Bool);
            kinds.extend(types(&rest));
            let rows = latest(rows, kinds, table.primary_key.len(), vault.place(&format!("source {}", table.name)));
            Feed { rows, columns: order.clone(), kinds: types(&order) }
        }
    }
}
