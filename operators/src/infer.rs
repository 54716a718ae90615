//! A batched call to a slow, impure service from a dataflow, without ever blocking the worker.
//!
//! One update out per update in, at the same time and weight. An answer is remembered while its request has live copies, so
//! a retraction retracts exactly what was asserted, even if the service would answer otherwise now.
//!
//! Batching: a batch leaves at once while fewer than `max_in_flight` are out; whatever comes meanwhile makes the next one.
//! An idle service thus answers without delay, and a busy one gets full batches; no clock is needed.
//!
//! Where a [`Vault`](crate::Vault) asks for what is known at an epoch, changes after it wait until the epoch's are answered.
//!
//! Keeps: the answer of every request with live copies, on the worker that the request hashes to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::mpsc::{Receiver, Sender, channel};

use differential_dataflow::{AsCollection, ExchangeData, Hashable, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator as _;
use timely::scheduling::SyncActivator;

use crate::keep::{Entries, Keep, Parts, put_int};

/// What the service says: an answer, or a reason why there is none (a value like any other; it becomes a dead letter).
pub type Answer<O> = Result<O, String>;

/// One batch on its way to the service.
#[derive(Debug)]
pub struct Job<D, O> {
    /// Requests, each once, in order of arrival.
    pub requests: Vec<D>,
    reply: Sender<Vec<(D, Answer<O>)>>,
    wake: SyncActivator,
}

impl<D, O> Job<D, O> {
    /// Gives the answers, one per request in order. A dataflow that is gone is no error of the service.
    pub fn answer(self, answers: Vec<Answer<O>>) {
        debug_assert_eq!(answers.len(), self.requests.len());
        let paired = self.requests.into_iter().zip(answers).collect();
        if self.reply.send(paired).is_ok() {
            // It only fails when the worker has ended, and then nobody waits.
            self.wake.activate().ok();
        }
    }
}

/// How the service is called.
pub struct Calls<Dispatch, Release> {
    /// Most requests of one batch.
    pub max_batch: usize,
    /// Most batches out at once.
    pub max_in_flight: usize,
    /// Takes a batch; must not block. The answers come through [`Job::answer`], from any thread.
    pub dispatch: Dispatch,
    /// Hears, when a time is complete, which requests have no live copy left, with the answers they had.
    pub release: Release,
}

/// How a request and its answer rest in a [`Vault`](crate::Vault).
pub struct Pack<D, O> {
    /// Writes them.
    pub write: fn(&D, &Answer<O>, &mut Vec<u8>),
    /// Reads them; `None` if the bytes are not what was written.
    pub read: fn(&mut Parts<'_>) -> Option<(D, Answer<O>)>,
}

impl<D, O> Clone for Pack<D, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D, O> Copy for Pack<D, O> {}

/// Capabilities held per time, each as long as an update of the time waits for its answer.
#[derive(Default)]
struct Held(BTreeMap<u64, (Capability<u64>, usize)>);

impl Held {
    fn give_back(&mut self, time: u64, updates: usize) {
        if let Some(entry) = self.0.get_mut(&time) {
            entry.1 -= updates;
            if entry.1 == 0 {
                self.0.remove(&time);
            }
        }
    }
}

/// Asks the service about every request and pairs its answer with the payload.
///
/// In: `(request, payload)`. Out: `(payload, answer)`. Equal requests are asked once while one of them is live.
pub fn infer<'scope, D, P, O, Dispatch, Release>(
    input: VecCollection<'scope, u64, (D, P), isize>,
    calls: Calls<Dispatch, Release>,
) -> VecCollection<'scope, u64, (P, Answer<O>), isize>
where
    D: ExchangeData + Hashable + Hash,
    P: ExchangeData,
    O: ExchangeData,
    Dispatch: FnMut(Job<D, O>) + 'static,
    Release: FnMut(u64, Vec<(D, Answer<O>)>) + 'static,
{
    let never = Pack { write: |_, _, _| {}, read: |_| None };
    infer_kept(input, calls, Keep::nowhere(), never)
}

/// As [`infer`], and a later run may take up what is known.
pub fn infer_kept<'scope, D, P, O, Dispatch, Release>(
    input: VecCollection<'scope, u64, (D, P), isize>,
    calls: Calls<Dispatch, Release>,
    keep: Keep,
    pack: Pack<D, O>,
) -> VecCollection<'scope, u64, (P, Answer<O>), isize>
where
    D: ExchangeData + Hashable + Hash,
    P: ExchangeData,
    O: ExchangeData,
    Dispatch: FnMut(Job<D, O>) + 'static,
    Release: FnMut(u64, Vec<(D, Answer<O>)>) + 'static,
{
    let scope = input.scope();
    let route = Exchange::new(|update: &((D, P), u64, isize)| update.0.0.hashed().into());
    let Calls { max_batch, max_in_flight, mut dispatch, mut release } = calls;
    input
        .inner
        .unary_frontier::<CapacityContainerBuilder<Vec<((P, Answer<O>), u64, isize)>>, _, _, _>(route, "Infer", move |default, info| {
            drop(default);
            keep.watch(scope.activator_for(info.address.clone()));
            let wake = scope.worker().sync_activator_for(info.address.to_vec());
            let (reply, answers): (Sender<Vec<(D, Answer<O>)>>, Receiver<_>) = channel();
            let mut held = Held::default();
            let mut waiting: HashMap<D, Vec<(P, u64, isize)>> = HashMap::new();
            let mut queue: VecDeque<D> = VecDeque::new();
            let mut known: HashMap<D, (Answer<O>, isize)> = HashMap::new();
            // Requests whose copies went to zero at a time; looked at again when the time is complete.
            let mut idle: BTreeMap<u64, Vec<D>> = BTreeMap::new();
            let mut in_flight = 0_usize;
            // Changes after an epoch that is asked for.
            let mut aside: Vec<((D, P), u64, isize)> = Vec::new();
            keep.load(|entry| {
                let (request, answer) = (pack.read)(entry)?;
                let copies = entry.int()?;
                known.insert(request, (answer, isize::try_from(copies).ok()?));
                Some(copies)
            });

            move |(input, frontier), output| {
                let mut ready: Vec<((P, Answer<O>), u64, isize)> = Vec::new();
                let mut came: Vec<((D, P), u64, isize)> = Vec::new();
                input.for_each(|capability, updates| {
                    let port = output.output_index();
                    for (update, time, diff) in updates.drain(..) {
                        if keep.holds(time) && !keep.shows() {
                            continue;
                        }
                        held.0.entry(time).or_insert_with(|| (capability.delayed(&time, port), 0)).1 += 1;
                        came.push((update, time, diff));
                    }
                });
                // Until the epoch is given, answers go on coming; then what was put aside is worked in.
                loop {
                    let asked = keep.asked();
                    for ((request, payload), time, diff) in came.drain(..) {
                        if asked.is_some_and(|epoch| time > epoch) {
                            aside.push(((request, payload), time, diff));
                            continue;
                        }
                        // Shown again at the base: these are counted already.
                        if keep.holds(time) && let Some((answer, _)) = known.get(&request) {
                            ready.push(((payload, answer.clone()), time, diff));
                            continue;
                        }
                        if let Some((answer, copies)) = known.get_mut(&request) {
                            *copies += diff;
                            ready.push(((payload, answer.clone()), time, diff));
                            if *copies == 0 {
                                idle.entry(time).or_default().push(request);
                            }
                        } else {
                            let list = waiting.entry(request.clone()).or_default();
                            if list.is_empty() {
                                queue.push_back(request);
                            }
                            list.push((payload, time, diff));
                        }
                    }
                    while let Ok(batch) = answers.try_recv() {
                        in_flight -= 1;
                        for (request, answer) in batch {
                            let list = waiting.remove(&request).unwrap_or_default();
                            let copies: isize = list.iter().map(|(_, _, diff)| *diff).sum();
                            let last = list.iter().map(|(_, time, _)| *time).max();
                            for (payload, time, diff) in list {
                                ready.push(((payload, answer.clone()), time, diff));
                            }
                            if let (0, Some(time)) = (copies, last) {
                                idle.entry(time).or_default().push(request.clone());
                            }
                            known.insert(request, (answer, copies));
                        }
                    }
                    ready.sort_by_key(|update| update.1);
                    let mut rest = ready.drain(..).peekable();
                    while let Some(first) = rest.next() {
                        let time = first.1;
                        let capability = held.0.get(&time).expect("held since the update came").0.clone();
                        let mut session = output.session(&capability);
                        let mut sent = 1;
                        session.give(first);
                        while let Some(next) = rest.next_if(|update| update.1 == time) {
                            session.give(next);
                            sent += 1;
                        }
                        drop(session);
                        held.give_back(time, sent);
                    }
                    drop(rest);
                    let through = |epoch: u64| !frontier.less_equal(&epoch) && held.0.first_key_value().is_none_or(|(time, _)| *time > epoch);
                    let Some(epoch) = asked.filter(|epoch| through(*epoch)) else { break };
                    keep.give(epoch, |entries| give(&known, pack, entries));
                    std::mem::swap(&mut came, &mut aside);
                }
                while let Some(entry) = idle.first_entry() {
                    // An update of this time that still comes, or still waits, may revive the request.
                    if frontier.less_equal(entry.key()) || held.0.contains_key(entry.key()) {
                        break;
                    }
                    let (time, requests) = entry.remove_entry();
                    let mut gone = Vec::new();
                    for request in requests {
                        if known.get(&request).is_some_and(|(_, copies)| *copies == 0)
                            && let Some((answer, _)) = known.remove(&request)
                        {
                            gone.push((request, answer));
                        }
                    }
                    if !gone.is_empty() {
                        release(time, gone);
                    }
                }
                if frontier.is_empty() && held.0.is_empty() {
                    keep.end(|entries| give(&known, pack, entries));
                }
                while in_flight < max_in_flight && !queue.is_empty() {
                    let take = queue.len().min(max_batch);
                    let requests = queue.drain(..take).collect();
                    in_flight += 1;
                    dispatch(Job { requests, reply: reply.clone(), wake: wake.clone() });
                }
            }
        })
        .as_collection()
}

/// Gives what is known of the requests that are in use.
fn give<D: Hashable, O>(known: &HashMap<D, (Answer<O>, isize)>, pack: Pack<D, O>, entries: &mut Entries<'_>) {
    for (request, (answer, copies)) in known.iter().filter(|(_, (_, copies))| *copies != 0) {
        entries.entry(request.hashed().into(), |out| {
            (pack.write)(request, answer, out);
            put_int(*copies as i64, out);
        });
    }
}
