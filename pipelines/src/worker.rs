//! The dataflow's threads: fed by commands, heard by a channel, woken by unparking.

use std::sync::{Arc, Mutex, PoisonError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::Thread;
use std::time::Duration;

use ajatus_operators::{Calls, Job, emit};
use differential_dataflow::input::InputSession;
use timely::WorkerConfig;
use timely::worker::Worker;
use tokio::sync::mpsc::UnboundedSender;

use crate::memo::ToMemo;
use crate::plan::{Change, VectorBytes, companion};
use crate::turn::{Request, Row};

/// What the first worker is told.
pub(crate) enum Command {
    /// Rows of one time; nothing more of that time will come.
    Feed(u64, Vec<Row>),
    /// The end.
    Close,
}

/// What the dataflow says: changes of complete times, and the frontier.
pub(crate) struct Closed {
    pub(crate) changes: Vec<(u64, Vec<(Change, isize)>)>,
    /// Every time below is complete; `None`: all are.
    pub(crate) frontier: Option<u64>,
}

/// The running threads.
pub(crate) struct Workers {
    commands: Sender<Command>,
    first: Thread,
    ended: Arc<AtomicBool>,
    /// In a lock only because it may not be shared otherwise.
    guards: Mutex<Option<timely::communication::WorkerGuards<()>>>,
}

/// How the dataflow calls the model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batches {
    pub(crate) max_batch: usize,
    pub(crate) max_in_flight: usize,
}

impl Workers {
    /// Starts the threads. `closed` and `memo` are unbounded because a worker may not wait; what they hold is bounded by
    /// the epochs the feeder lets ahead and the batches in flight.
    pub(crate) fn start(
        threads: usize,
        batches: Batches,
        memo: UnboundedSender<ToMemo>,
        closed: UnboundedSender<Closed>,
    ) -> Result<Self, String> {
        let (commands, inbox) = channel();
        let (hello, greeted) = channel();
        let inbox = Mutex::new(Some((inbox, hello)));
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let config = timely::Config { communication: timely::CommunicationConfig::Process(threads), worker: WorkerConfig::default() };
        let guards = timely::execute(config, move |worker| {
            let mine = if worker.index() == 0 { inbox.lock().ok().and_then(|mut inbox| inbox.take()) } else { None };
            let inbox = mine.map(|(inbox, hello)| {
                hello.send(std::thread::current()).ok();
                inbox
            });
            run(worker, batches, memo.clone(), closed.clone(), inbox, &flag);
        })?;
        let first = greeted.recv_timeout(Duration::from_secs(30)).map_err(|_| "the dataflow's first worker did not start".to_owned())?;
        Ok(Self { commands, first, ended, guards: Mutex::new(Some(guards)) })
    }

    pub(crate) fn send(&self, command: Command) {
        // It only fails when the worker has ended, which `Closed` without a frontier has told already.
        self.commands.send(command).ok();
        self.first.unpark();
    }

    /// Ends the threads; blocks until they have.
    pub(crate) fn join(self) {
        self.close();
        if let Some(guards) = self.guards.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(guards.join());
        }
    }

    fn close(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.send(Command::Close);
    }
}

/// Dropped without [`Workers::join`], by a panic, the guards wait for the threads: they must be told to end before.
impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(
    worker: &mut Worker,
    batches: Batches,
    memo: UnboundedSender<ToMemo>,
    closed: UnboundedSender<Closed>,
    inbox: Option<Receiver<Command>>,
    ended: &AtomicBool,
) {
    let first = worker.index() == 0;
    let mut input: InputSession<u64, Row, isize> = InputSession::new();
    worker.dataflow(|scope| {
        let release = memo.clone();
        let calls = Calls {
            max_batch: batches.max_batch,
            max_in_flight: batches.max_in_flight,
            dispatch: move |job: Job<Request, VectorBytes>| {
                memo.send(ToMemo::Ask(job)).ok();
            },
            release: move |time, gone| {
                release.send(ToMemo::Release(time, gone)).ok();
            },
        };
        let changes = companion(input.to_collection(scope), calls);
        emit(changes, move |changes, frontier| {
            if first {
                closed.send(Closed { changes, frontier }).ok();
            }
        });
    });
    let Some(inbox) = inbox else {
        // Only the first worker feeds. Closed here and not while building: a session closed there never ends.
        input.close();
        while !ended.load(Ordering::SeqCst) {
            worker.step_or_park(Some(Duration::from_millis(5)));
        }
        drop_dataflows(worker);
        return;
    };
    loop {
        match inbox.try_recv() {
            Ok(Command::Feed(time, rows)) => {
                input.advance_to(time);
                for row in rows {
                    input.update(row, 1);
                }
                input.advance_to(time + 1);
                input.flush();
            }
            Ok(Command::Close) | Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                worker.step_or_park(Some(Duration::from_millis(100)));
            }
        }
        worker.step();
    }
    drop_dataflows(worker);
}

/// Without this, the thread would go on until every held capability is gone, that is until a model answers that is gone.
fn drop_dataflows(worker: &mut Worker) {
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

/// Makes a panic in a dataflow thread end the process: the others would wait for it for ever, and the next start goes on
/// where this one was. Call it once, first thing.
pub fn abort_on_worker_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        if std::thread::current().name().is_some_and(|name| name.starts_with("timely:")) {
            std::process::abort();
        }
    }));
}
