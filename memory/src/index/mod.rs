//! The in-memory index: every user's own turns, ready to search; a cache of Postgres that follows `memory-changes`.
//!
//! Holds always: a search sees every change of an epoch the frontier has passed, and no turn of another user; losing the
//! cache loses nothing.
//! Not promised: that a user is resident (the least recently asked go when `max_bytes` is reached, and load again on their
//! next question); that a search sees nothing newer than the frontier.
//! After a crash: empty, and filled again user by user.

mod frontier;
mod resident;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ajatus_events::{Body, ChangeRecord, Checksum, Interaction, MemoryChange, MemoryOp, Receipt, UserId};
use tokio::sync::watch;

pub use frontier::{Behind, Frontiers};
use resident::{Change, Resident};

use crate::keys::{KeyError, KeyRing, Purpose, UserKey};
use crate::postgres::{Memory, Postgres, StoreError};
use crate::profile::AsOf;
use crate::retrieve::{Arena, Evidence, Found, Hit, PreparedQuery, SearchOptions};

pub use crate::postgres::PIPELINE;

/// How much the index may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexConfig {
    /// Bytes of all residents together, about. Default 1 GiB.
    pub max_bytes: usize,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self { max_bytes: 1 << 30 }
    }
}

/// Why the index could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The user could not be loaded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A change does not open or is not what it must be; it was left out.
    #[error("the change of memory {key} cannot be used: {reason}")]
    Change {
        /// Which.
        key: String,
        /// Why.
        reason: String,
    },
    /// The vector is not of the model the memories were embedded with.
    #[error("the question's vector has {got} components, but the memories' have {want}; is the embedding model another?")]
    Dimension {
        /// Components of the question's.
        got: usize,
        /// Components of the memories'.
        want: usize,
    },
}

/// Turns found, and the epoch they stand for at least.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchResult {
    /// Best first.
    pub hits: Vec<Hit>,
    /// Whether the memory is likely to hold an answer.
    pub confident: bool,
    /// Why.
    pub evidence: Evidence,
    /// Every change up to this epoch was seen.
    pub epoch: u64,
}

/// A user's turns as they were at an earlier epoch, without what was forgotten since; ready to be searched.
pub struct Past {
    arena: Arena,
    key: Option<Arc<UserKey>>,
    epoch: u64,
    dimension: Option<usize>,
}

impl Past {
    /// Resolves a question against the speakers of then.
    #[must_use]
    pub fn prepare(&self, question: &str) -> PreparedQuery {
        self.arena.prepare(question)
    }

    /// Ranks the turns of then; as [`Index::search`].
    ///
    /// # Errors
    /// [`IndexError::Dimension`] if the vector is of another model.
    pub fn search(&mut self, query: &PreparedQuery, vector: &[f32], options: &SearchOptions) -> Result<SearchResult, IndexError> {
        if let Some(want) = self.dimension.filter(|want| *want != vector.len() && !vector.is_empty()) {
            return Err(IndexError::Dimension { got: vector.len(), want });
        }
        let vector = self.key.as_ref().map_or_else(|| vector.to_vec(), |key| key.turned(vector.to_vec()));
        let Found { hits, confident, evidence } = self.arena.find(query, &vector, options);
        Ok(SearchResult { hits, confident, evidence, epoch: self.epoch })
    }
}

/// The index; see the module's comment.
pub struct Index {
    db: Postgres,
    keys: KeyRing,
    config: IndexConfig,
    residents: Mutex<HashMap<UserId, Arc<Resident>>>,
    clock: AtomicU64,
    frontier: watch::Sender<Frontiers>,
}

impl Index {
    /// An empty one.
    #[must_use]
    pub fn new(db: Postgres, keys: KeyRing, config: IndexConfig) -> Arc<Self> {
        Arc::new(Self {
            db,
            keys,
            config,
            residents: Mutex::default(),
            clock: AtomicU64::new(0),
            frontier: watch::Sender::new(Frontiers::default()),
        })
    }

    /// Brings one record of `memory-changes` in; in order per partition, twice does no harm.
    ///
    /// # Errors
    /// [`IndexError::Change`] for a record that cannot be used; the index is as before.
    pub async fn apply(&self, record: &ChangeRecord) -> Result<(), IndexError> {
        match record {
            ChangeRecord::Frontier(frontier) => {
                self.frontier.send_if_modified(|known| known.advance(frontier.epoch, frontier.partition, frontier.next_offset));
                Ok(())
            }
            ChangeRecord::Memory(change) => {
                let Some(resident) = self.resident(change.user_id) else { return Ok(()) };
                resident.apply(self.opened(change).await?);
                Ok(())
            }
        }
    }

    async fn opened(&self, change: &MemoryChange) -> Result<Change, IndexError> {
        let refuse = |reason: String| IndexError::Change { key: format!("{}/{}", change.user_id, change.id), reason };
        let (epoch, id) = (change.epoch, change.id);
        let MemoryOp::Upsert { conversation_id, session, position, role, occurred_at, body, vector, model: _ } = &change.op else {
            return Ok(Change { epoch, id, upsert: None });
        };
        let key = match self.keys.user(change.user_id).await {
            Ok(key) => key,
            // Forgotten since: nothing of it may be found again.
            Err(KeyError::Destroyed { .. }) => return Ok(Change { epoch, id, upsert: None }),
            Err(error) => return Err(refuse(error.to_string())),
        };
        let plain = key
            .open(Purpose::Messages, &Interaction::aad(change.user_id, id), body)
            .map_err(|error| refuse(error.to_string()))?;
        let body: Body = serde_json::from_slice(&plain).map_err(|error| refuse(error.to_string()))?;
        let bytes = key
            .open(Purpose::Vectors, &MemoryChange::vector_aad(change.user_id, id), vector)
            .map_err(|error| refuse(error.to_string()))?;
        let vector = vector_from_bytes(&bytes).ok_or_else(|| refuse("its vector is not one".to_owned()))?;
        let memory = Memory {
            id,
            user_id: change.user_id,
            conversation_id: *conversation_id,
            session: *session,
            position: *position,
            role: *role,
            occurred_at: *occurred_at,
            body,
            epoch,
        };
        Ok(Change { epoch, id, upsert: Some((memory, vector)) })
    }

    /// Says how far the views are, at start-up.
    pub fn set_frontier(&self, epoch: u64, positions: &[(u32, u64)]) {
        self.frontier.send_modify(|known| {
            for (partition, next) in positions {
                known.advance(epoch, *partition, *next);
            }
            known.epoch = known.epoch.max(epoch);
        });
    }

    /// How far the index is.
    #[must_use]
    pub fn frontier(&self) -> watch::Receiver<Frontiers> {
        self.frontier.subscribe()
    }

    /// Waits until a write is in, and returns the epoch that it is in by.
    ///
    /// # Errors
    /// [`Behind`] when the time is up; what was asked may still come.
    pub async fn wait_for(&self, receipt: &Receipt, limit: Duration) -> Result<u64, Behind> {
        let mut frontier = self.frontier.subscribe();
        let reached = tokio::time::timeout(limit, frontier.wait_for(|known| known.has(receipt))).await;
        match reached {
            Ok(Ok(known)) => Ok(known.epoch),
            _ => Err(self.frontier.borrow().behind(receipt)),
        }
    }

    /// Resolves a question against the user's own speakers; loads the user if need be.
    ///
    /// # Errors
    /// [`IndexError::Store`] if the user cannot be loaded.
    pub async fn prepare(&self, user: UserId, question: &str) -> Result<PreparedQuery, IndexError> {
        Ok(self.loaded(user).await?.prepare(question))
    }

    /// Ranks the user's turns. `vector` embeds [`PreparedQuery::dense_text`], by the memories' model.
    ///
    /// # Errors
    /// [`IndexError::Store`] if the user cannot be loaded, [`IndexError::Dimension`] if the vector is of another model.
    pub async fn search(&self, query: &PreparedQuery, vector: &[f32], options: &SearchOptions) -> Result<SearchResult, IndexError> {
        let epoch = self.frontier.borrow().epoch;
        let resident = self.loaded(query.user).await?;
        // Vectors rest in the user's own coordinates; a user who was forgotten has none.
        let vector = match self.keys.user(query.user).await {
            Ok(key) => key.turned(vector.to_vec()),
            Err(KeyError::Destroyed { .. }) => vector.to_vec(),
            Err(error) => return Err(StoreError::from(error).into()),
        };
        let (query, options) = (query.clone(), options.clone());
        let searched = tokio::task::spawn_blocking(move || resident.search(&query, &vector, &options)).await;
        let (Found { hits, confident, evidence }, seen) = searched.expect("a search does not panic")?;
        Ok(SearchResult { hits, confident, evidence, epoch: epoch.max(seen) })
    }

    /// The user's turns as they were; loaded for this alone, nothing is kept.
    ///
    /// # Errors
    /// [`IndexError::Store`] if they cannot be loaded.
    pub async fn past(&self, user: UserId, as_of: AsOf) -> Result<Past, IndexError> {
        let key = match self.keys.user(user).await {
            Ok(key) => Some(key),
            Err(KeyError::Destroyed { .. }) => None,
            Err(error) => return Err(StoreError::from(error).into()),
        };
        let (arena, epoch, dimension) = as_of.arena(&self.db, &self.keys, user).await?;
        Ok(Past { arena, key, epoch, dimension })
    }

    /// Every user that is held, with count and sum over its turns and the newest epoch that these may show.
    #[must_use]
    pub fn checksums(&self) -> Vec<(UserId, Checksum, u64)> {
        let residents: Vec<(UserId, Arc<Resident>)> = {
            let residents = self.residents.lock().unwrap_or_else(PoisonError::into_inner);
            residents.iter().map(|(user, resident)| (*user, Arc::clone(resident))).collect()
        };
        residents.into_iter().filter_map(|(user, resident)| resident.checksum().map(|(checksum, epoch)| (user, checksum, epoch))).collect()
    }

    /// Lets a user go; the next question loads it anew.
    pub fn evict(&self, user: UserId) {
        self.residents.lock().unwrap_or_else(PoisonError::into_inner).remove(&user);
    }

    fn resident(&self, user: UserId) -> Option<Arc<Resident>> {
        self.residents.lock().unwrap_or_else(PoisonError::into_inner).get(&user).cloned()
    }

    /// The user, loaded. While it loads, changes are kept aside and brought in after.
    async fn loaded(&self, user: UserId) -> Result<Arc<Resident>, IndexError> {
        let resident = {
            let mut residents = self.residents.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(residents.entry(user).or_insert_with(|| Resident::loading(user)))
        };
        resident.touch(self.clock.fetch_add(1, Ordering::Relaxed));
        let load = resident.load(|| self.db.load_user(&self.keys, user, PIPELINE)).await;
        match load {
            Ok(()) => {}
            // Forgotten: there is nothing to find.
            Err(StoreError::Key(error)) if matches!(*error, KeyError::Destroyed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.make_room(user);
        Ok(resident)
    }

    fn make_room(&self, keep: UserId) {
        let mut residents = self.residents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held: usize = residents.values().map(|resident| resident.bytes()).sum();
        while held > self.config.max_bytes {
            let oldest = residents.iter().filter(|(user, resident)| **user != keep && resident.is_ready()).min_by_key(|(_, resident)| resident.touched());
            let Some((user, bytes)) = oldest.map(|(user, resident)| (*user, resident.bytes())) else { break };
            residents.remove(&user);
            held -= bytes;
            metrics::counter!("index_evicted_total").increment(1);
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("index_bytes").set(held as f64);
    }
}

/// Little-endian `f32`s; `None` if the length is not a multiple of four or a component is not finite.
#[must_use]
pub fn vector_from_bytes(bytes: &[u8]) -> Option<Vec<f32>> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    let vector: Vec<f32> = chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
    (rest.is_empty() && vector.iter().all(|value| value.is_finite())).then_some(vector)
}

/// The inverse of [`vector_from_bytes`].
#[must_use]
pub fn vector_to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}
