//! One forgetting, step by step.

use std::collections::{BTreeMap, BTreeSet};

use ajatus_events::{InteractionId, InteractionKey, Receipt, UserId, topic};
use ajatus_kafka::{Erasure, Record, partition_for_user};
use ajatus_memory::forget::{Frontier, Scope, Signer, Statement, Witness, hash_of};
use ajatus_memory::index::PIPELINE;
use ajatus_memory::keys::KeyError;
use ajatus_memory::postgres::{DatabaseErasure, UserWitnesses};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::scan::Scanned;
use super::sweep::{self, Changes, Keyed};
use super::{ForgetError, ForgetParts, ForgetRequest, NotSettled, Step};

/// Tombstones of one acknowledgement.
pub(super) const BATCH: usize = 500;
/// Witnesses that a receipt holds at most; of more, evenly taken ones.
const WITNESSES: usize = 20_000;
/// Rounds for turns of an account that were being written while it went.
const ROUNDS: usize = 3;

/// What there was before anything went.
pub(super) struct Before {
    requested_at: DateTime<Utc>,
    rows: BTreeMap<String, u64>,
    sealed: UserWitnesses,
    changes: Changes,
    answers: Keyed,
}

/// A forgetting under way.
pub(super) struct Run<'a> {
    parts: &'a ForgetParts,
    user: UserId,
    request: &'a ForgetRequest,
    pub(super) account: bool,
    /// Of `interactions`, and of every topic that goes by user.
    partition: u32,
    scanned: Scanned,
    /// The turns that are meant.
    ids: BTreeSet<InteractionId>,
    counts: BTreeMap<String, u64>,
    witnesses: BTreeSet<Witness>,
    progress: &'a (dyn Fn(Step) + Send + Sync),
}

/// How files were rid of it.
pub(super) struct Erased {
    log: Erasure,
    database: DatabaseErasure,
}

/// Reads the user's turns; `texts` keeps the first words of those that are meant.
pub(super) async fn scan(parts: &ForgetParts, user: UserId, request: &ForgetRequest, texts: bool) -> Result<Scanned, ForgetError> {
    let mut matcher = request.scope.matcher()?;
    let key = match parts.keys.user(user).await {
        Ok(key) => Some(key),
        // An account that was being forgotten: everything is meant, and nothing needs to be opened.
        Err(KeyError::Destroyed { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    Scanned::read(&*parts.log, user, key.as_deref(), &mut matcher, request.with_answers, texts).await
}

/// The turns that are meant, if they are those that were seen.
pub(super) fn agreed(request: &ForgetRequest, scanned: &Scanned) -> Result<BTreeSet<InteractionId>, ForgetError> {
    let ids: BTreeSet<InteractionId> = scanned.meant().collect();
    match &request.seen {
        None if request.needs_look() => Err(ForgetError::Unseen { turns: ids.len() as u64, hash: hash_of(&ids) }),
        Some(seen) if *seen != hash_of(&ids) => Err(ForgetError::Changed),
        _ => Ok(ids),
    }
}

impl Before {
    pub(super) async fn look(parts: &ForgetParts, user: UserId, request: &ForgetRequest) -> Result<Self, ForgetError> {
        let requested_at = parts.clock.now();
        let rows = parts.db.user_rows(user).await?;
        if request.scope == (Scope::Account {}) && rows.get("accounts") == Some(&0) {
            return Err(ForgetError::NoAccount(user));
        }
        let (changes, answers) = (sweep::changes(&*parts.log, user).await?, sweep::answers(&*parts.log, user).await?);
        Ok(Self { requested_at, rows, sealed: parts.db.user_witnesses(user).await?, changes, answers })
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        parts: &'a ForgetParts,
        user: UserId,
        request: &'a ForgetRequest,
        scanned: Scanned,
        ids: BTreeSet<InteractionId>,
        progress: &'a (dyn Fn(Step) + Send + Sync),
    ) -> Result<Self, ForgetError> {
        let partition = partition_for_user(user, parts.log.partitions(topic::INTERACTIONS)?);
        let account = request.scope == Scope::Account {};
        Ok(Self { parts, user, request, account, partition, scanned, ids, counts: BTreeMap::new(), witnesses: BTreeSet::new(), progress })
    }

    /// Destroys the key, and ends every reply and session.
    pub(super) async fn silence(&self) -> Result<(), ForgetError> {
        if let Some(replier) = &self.parts.replier {
            replier.forget_all(self.user);
        }
        Ok(self.parts.keys.destroy(self.user).await?)
    }

    fn tell(&self, name: &'static str, done: u64, total: u64) {
        (self.progress)(Step { name, done, total });
    }

    /// Appends the tombstones, and waits until the views and the index have taken them in.
    pub(super) async fn out_of_the_views(&mut self) -> Result<(), ForgetError> {
        for round in 0..ROUNDS {
            let meant: Vec<InteractionId> = self.scanned.meant().collect();
            if round > 0 && meant.is_empty() {
                break;
            }
            self.tombstones(&meant).await?;
            *self.counts.entry("log/interactions tombstones".to_owned()).or_default() += meant.len() as u64;
            let below = self.parts.log.end_offset(topic::INTERACTIONS, self.partition).await?;
            self.tell("out of the views", 0, 1);
            self.settled(below).await?;
            self.tell("out of the views", 1, 1);
            if !self.account {
                break;
            }
            // What was being written while the key went.
            self.scanned.absorb(scan(self.parts, self.user, self.request, false).await?);
        }
        self.witnesses = self.scanned.witnesses(&self.ids);
        Ok(())
    }

    async fn tombstones(&self, ids: &[InteractionId]) -> Result<(), ForgetError> {
        let mut done = 0;
        for batch in ids.chunks(BATCH) {
            let record = |id: &InteractionId| Record { key: InteractionKey { user_id: self.user, id: *id }.to_string().into_bytes(), value: None };
            // Nothing is sealed anew meanwhile: it would come back.
            let _writing = self.parts.keys.writing().await;
            self.parts.log.append(topic::INTERACTIONS, self.partition, batch.iter().map(record).collect()).await?;
            if let Some(replier) = &self.parts.replier {
                batch.iter().for_each(|id| replier.forget(self.user, *id));
            }
            done += batch.len() as u64;
            self.tell("noted on the log", done, ids.len() as u64);
        }
        Ok(())
    }

    /// Waits until the views, and the index after them, are past an offset.
    async fn settled(&self, below: u64) -> Result<(), ForgetError> {
        let parts = self.parts;
        parts.keeper.settle(self.partition, below, parts.patience).await.map_err(unsettled)?;
        let Some(offset) = below.checked_sub(1) else { return Ok(()) };
        let last = Receipt { topic: topic::INTERACTIONS.to_owned(), partition: self.partition, offset };
        parts.index.wait_for(&last, parts.patience).await.map(drop).map_err(|behind| ForgetError::Late(behind.to_string()))
    }

    /// Takes what the pipeline does not keep: a conversation's name, an account's rows, copies that others keep.
    pub(super) async fn beside_the_views(&mut self) -> Result<(), ForgetError> {
        let (parts, user) = (self.parts, self.user);
        let gone = self.scanned.gone(&self.ids);
        self.counts.extend(parts.keeper.erase_copies(user, &gone, self.account).await.map_err(unsettled)?);
        match &self.request.scope {
            Scope::Conversation { id } => drop(parts.db.forget_conversation(user, *id).await?),
            Scope::Account {} => {
                // A key that was looked up in the moment of its end may have been kept.
                self.silence().await?;
                parts.db.forget_account(user).await?;
                let _writing = parts.keys.writing().await;
                sweep::forget_changes(&*parts.log, user).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Compacts the log, and has its files and the database's written anew.
    pub(super) async fn off_the_disk(&mut self) -> Result<Erased, ForgetError> {
        let parts = self.parts;
        self.tell("off the log", 0, 1);
        let letters = sweep::dead_letters(&*parts.log, self.user, self.account, &self.scanned, &self.ids, &mut self.witnesses).await?;
        self.counts.insert("log/dead-letters".to_owned(), letters.values().sum());
        self.counts.extend(sweep::compact(&parts.log, &parts.db, self.partition).await?);
        // Letters that an earlier try took out may lie in the files still.
        let letters = letters.keys().map(|partition| (topic::DEAD_LETTERS, *partition));
        let places: Vec<(&str, u32)> = sweep::TOPICS.into_iter().map(|topic| (topic, self.partition)).chain(letters).collect();
        let log = parts.log.erase(&places).await?;
        self.tell("off the log", 1, 1);
        self.tell("off the database", 0, 1);
        let database = parts.db.erase_files().await?;
        self.tell("off the database", 1, 1);
        Ok(Erased { log, database })
    }

    /// What was done, and what bears witness to it.
    pub(super) async fn statement(mut self, before: Before, erased: Erased) -> Result<(Statement, Vec<Witness>), ForgetError> {
        let (parts, user) = (self.parts, self.user);
        let left = parts.db.user_rows(user).await?;
        let went = |(table, had): (String, u64)| (format!("postgres/{table}"), had.saturating_sub(left.get(&table).copied().unwrap_or(0)));
        self.counts.extend(before.rows.into_iter().map(went));
        let held: BTreeSet<Witness> = parts.db.user_witnesses(user).await?.into_values().collect();
        self.witnesses.extend(before.sealed.into_values().filter(|witness| !held.contains(witness)));
        self.witnesses.extend(before.changes.gone(&self.ids, self.account));
        let answers = sweep::answers(&*parts.log, user).await?;
        self.counts.insert("log/model-answers".to_owned(), before.answers.keys_not_in(&answers));
        self.witnesses.extend(before.answers.gone_since(&answers));
        // A record that was appended twice has one nonce, and one of the two is there still.
        let live: BTreeSet<Witness> = self.scanned.live_witnesses(&self.ids).collect();
        self.witnesses.retain(|witness| !live.contains(witness));
        let total = self.witnesses.len();
        let witnesses: Vec<Witness> = self.witnesses.into_iter().step_by(total.div_ceil(WITNESSES).max(1)).collect();

        let (epoch, positions) = parts.db.positions(PIPELINE).await?;
        let mut not_reached = unreached();
        not_reached.extend(sweep::unreached_by(&erased.log));
        not_reached.extend(erased.database.refused.iter().cloned());
        not_reached.extend(parts.keeper.places());
        let files = [("log", serde_json::to_value(&erased.log)), ("database", serde_json::to_value(&erased.database))];
        let statement = Statement {
            version: Signer::VERSION,
            id: Uuid::now_v7(),
            user_id: user,
            scope: self.request.scope.name(),
            requested_at: before.requested_at,
            finished_at: parts.clock.now(),
            turns: self.ids.len() as u64,
            ids_hash: hash_of(&self.ids),
            frontier: Frontier { epoch, positions: positions.into_iter().collect() },
            counts: self.counts,
            files: files.into_iter().map(|(name, report)| (name.to_owned(), report.expect("a report is JSON"))).collect(),
            not_reached,
            witnesses: total as u64,
            witnesses_hash: hash_of(&witnesses),
        };
        Ok((statement, witnesses))
    }
}

fn unsettled(error: NotSettled) -> ForgetError {
    match error.late {
        true => ForgetError::Late(error.reason),
        false => ForgetError::Ended(error.reason),
    }
}

/// What no forgetting reaches.
fn unreached() -> Vec<String> {
    vec![
        "copies made before: backups, exports, training sets, what was sent to a model on another machine".to_owned(),
        "blocks of a disk that its file system has freed and not written over; encrypt the disk, or have it discard what is freed".to_owned(),
    ]
}
