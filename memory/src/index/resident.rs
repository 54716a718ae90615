//! One user in the index: loading, then ready.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ajatus_events::{Checksum, InteractionId, UserId};
use tokio::sync::OnceCell;

use super::IndexError;
use crate::postgres::{Memory, StoreError, UserSnapshot};
use crate::retrieve::{Arena, Found, PreparedQuery, SearchOptions};

/// One change, opened.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) epoch: u64,
    pub(super) id: InteractionId,
    pub(super) upsert: Option<(Memory, Vec<f32>)>,
}

/// One user.
#[derive(Debug)]
pub(super) struct Resident {
    state: Mutex<State>,
    once: OnceCell<()>,
    touched: AtomicU64,
}

#[derive(Debug)]
struct State {
    arena: Arena,
    /// Changes of epochs below this are in.
    epoch: u64,
    dimension: Option<usize>,
    /// Changes that came while it loads; `None` once ready.
    aside: Option<Vec<Change>>,
}

impl Resident {
    pub(super) fn loading(user: UserId) -> Arc<Self> {
        let state = State { arena: Arena::new(user), epoch: 0, dimension: None, aside: Some(Vec::new()) };
        Arc::new(Self { state: Mutex::new(state), once: OnceCell::new(), touched: AtomicU64::new(0) })
    }

    /// Loads once, whoever asks; a failed load is tried again by the next.
    pub(super) async fn load<F>(&self, snapshot: impl FnOnce() -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<UserSnapshot, StoreError>>,
    {
        self.once
            .get_or_try_init(|| async {
                let snapshot = snapshot().await?;
                let mut state = self.lock();
                state.epoch = snapshot.epoch;
                for (memory, vector) in snapshot.memories {
                    state.put(memory, &vector);
                }
                for change in state.aside.take().unwrap_or_default() {
                    state.apply(change);
                }
                Ok(())
            })
            .await
            .copied()
    }

    pub(super) fn apply(&self, change: Change) {
        let mut state = self.lock();
        match state.aside.as_mut() {
            Some(aside) => aside.push(change),
            None => state.apply(change),
        }
    }

    pub(super) fn prepare(&self, question: &str) -> PreparedQuery {
        self.lock().arena.prepare(question)
    }

    /// What was found, and the newest epoch it may show. Without a vector words alone decide.
    pub(super) fn search(&self, query: &PreparedQuery, vector: &[f32], options: &SearchOptions) -> Result<(Found, u64), IndexError> {
        let mut state = self.lock();
        match state.dimension {
            Some(want) if want != vector.len() && !vector.is_empty() => Err(IndexError::Dimension { got: vector.len(), want }),
            _ => Ok((state.arena.find(query, vector, options), state.epoch)),
        }
    }

    /// Count and sum over what is held, and the newest epoch that it may show; `None` while it loads.
    pub(super) fn checksum(&self) -> Option<(Checksum, u64)> {
        let state = self.lock();
        state.aside.is_none().then(|| (state.arena.checksum(), state.epoch))
    }

    pub(super) fn bytes(&self) -> usize {
        self.lock().arena.bytes()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.once.initialized()
    }

    pub(super) fn touch(&self, now: u64) {
        self.touched.store(now, Ordering::Relaxed);
    }

    pub(super) fn touched(&self) -> u64 {
        self.touched.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self, change: Change) {
        // An older epoch sent again must not undo a newer one.
        if change.epoch < self.epoch {
            return;
        }
        self.epoch = change.epoch;
        match change.upsert {
            Some((memory, vector)) => self.put(memory, &vector),
            None => self.arena.remove(change.id),
        }
    }

    fn put(&mut self, memory: Memory, vector: &[f32]) {
        self.dimension = Some(vector.len());
        self.arena.upsert(memory, vector);
    }
}
