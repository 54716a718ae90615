//! The dataflow's threads: each decodes its share of the records, keeps its share of the rows, and says what changed.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::Duration;

use ajatus_operators::emit_here;
use ajatus_operators::relational::{Rows, fault, latest};
use ajatus_operators::row::{Row, Writer};
use ajatus_sql::codec::kinds_of;
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::plan::Input;
use ajatus_sql::render::{Feed, Models, Render};
use ajatus_sql::script::{Changelog, Table};
use differential_dataflow::input::InputSession;
use timely::worker::Worker;

use super::StreamError;
use super::decode::{Decoder, Payload};
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
}

/// What a thread says: changes per output (the last output holds the faults), and how far it is.
pub(crate) struct Closed {
    pub(crate) worker: usize,
    /// `(output, epoch, changes)`.
    pub(crate) changes: Vec<(usize, u64, Vec<(Row, isize)>)>,
    /// Per output: every epoch below is complete (`None`: all).
    pub(crate) frontiers: Vec<Option<u64>>,
}

/// The running threads.
pub(crate) struct Engine {
    inboxes: Vec<(SyncSender<Work>, Thread)>,
    guards: Option<timely::communication::WorkerGuards<()>>,
    next: usize,
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

/// Records that may wait for a thread; more wait with the reader.
const QUEUE: usize = 64;

impl Engine {
    /// Starts the threads.
    pub(crate) fn start(threads: usize, built: Arc<Built>, closed: Sender<Closed>) -> Result<Self, StreamError> {
        let depth = Arc::clone(&built.depth);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| std::sync::mpsc::sync_channel(QUEUE)).unzip();
        let receivers = Mutex::new(receivers.into_iter().map(Some).collect::<Vec<_>>());
        let (hello, greeted) = channel();
        let hello = Mutex::new(hello);
        let guards = timely::execute(timely::Config::process(threads), move |worker| {
            let index = worker.index();
            let inbox = receivers.lock().ok().and_then(|mut all| all[index].take());
            if let Ok(hello) = hello.lock() {
                hello.send((index, std::thread::current())).ok();
            }
            if let Some(inbox) = inbox {
                run(worker, &built, &inbox, closed.clone());
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
        Ok(Self { inboxes, guards: Some(guards), next: 0, depth })
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

fn run(worker: &mut Worker, built: &Built, inbox: &Receiver<Work>, closed: Sender<Closed>) {
    let mut inputs: Vec<InputSession<u64, Row, isize>> = built.sources.iter().map(|_| InputSession::new()).collect();
    let mut bad: InputSession<u64, Row, isize> = InputSession::new();
    let models = (built.models)();
    build(worker, built, &mut inputs, &mut bad, models.as_ref(), closed);
    let mut decoders: Vec<Decoder> = built.sources.iter().map(|(table, columns)| Decoder::new(table, columns)).collect();
    let mut writer = Writer::new();
    loop {
        let work = inbox.try_recv();
        if work.is_ok() {
            built.depth.taken();
        }
        match work {
            Ok(Work::Records { epoch, source, payload }) => {
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
            Err(std::sync::mpsc::TryRecvError::Empty) => {
                worker.step_or_park(Some(Duration::from_millis(50)));
            }
            Err(std::sync::mpsc::TryRecvError::Disconnected) => break,
        }
    }
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
    closed: Sender<Closed>,
) {
    let index = worker.index();
    worker.dataflow(|scope| {
        let depth = Arc::clone(&built.depth);
        let held = move |label: &str| depth.held(label);
        let mut render = Render::new(scope, models).counting(&held);
        for (input, (table, columns)) in inputs.iter_mut().zip(&built.sources) {
            let rows = input.to_collection(scope);
            let mut given = feed(rows, table, columns);
            if table.changelog == Changelog::Upsert {
                given.rows = render.counted(given.rows, &format!("source {}", table.name));
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
            let (closed, state) = (closed.clone(), std::rc::Rc::clone(&state));
            emit_here(rows, move |changes, frontier| {
                state.borrow_mut()[output] = frontier;
                let changes = changes.into_iter().map(|(time, changes)| (output, time, changes)).collect();
                // It only fails when the run is over.
                closed.send(Closed { worker: index, changes, frontiers: state.borrow().clone() }).ok();
            });
        }
    });
}

/// A source's rows as its changelog means them.
fn feed<'scope>(rows: Rows<'scope>, table: &Table, columns: &[usize]) -> Feed<'scope> {
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
            let rows = latest(rows, kinds, table.primary_key.len());
            Feed { rows, columns: order.clone(), kinds: types(&order) }
        }
    }
}
