//! The one writer of the columnar copy: opens it, brings changes in, tidies up, mends, erases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ajatus_events::{InteractionId, InteractionKey, UserId};
use ajatus_lance::{At, Erasure, LanceError, Memories, MemoriesDataset, MemoriesSpec, MemoryContent, MemoryRow};
use ajatus_memory::index::PIPELINE;
use ajatus_memory::postgres::{KeptMemory, Snapshot};
use futures::stream;

use super::ColumnsParts;
use super::changes::{Changes, Positions, noted, positions_of};
use crate::exit::{Ended, Exit};

/// Rows of a commit, about.
pub(super) const BATCH: usize = 1_000;
/// Rows of one epoch that are brought in at once; of more, so many at a time.
const MOST: usize = 8_192;
/// Rows that are read from Postgres at once.
const PAGE: u32 = 2_000;
/// Longest wait until an epoch's changes are on the log.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The writer.
pub(crate) struct Writer {
    parts: ColumnsParts,
    open: Option<Open>,
    rebuilt: Option<String>,
}

struct Open {
    dataset: MemoriesDataset,
    changes: Changes,
    /// Where a restart would read on.
    committed: Positions,
    /// Something came since it was last tidied up.
    touched: bool,
}

/// A row as Lance holds it.
pub(crate) fn row(kept: KeptMemory) -> MemoryRow {
    let KeptMemory { row, epoch } = kept;
    let content = MemoryContent {
        conversation_id: row.conversation_id,
        session: row.session,
        position: row.position,
        role: row.role,
        occurred_at: row.occurred_at,
        model: row.model,
        body: row.body,
        vector: row.vector,
    };
    MemoryRow { id: row.key.id, user_id: row.key.user_id, epoch, content: Some(content) }
}

impl Writer {
    pub(super) fn new(parts: ColumnsParts) -> Self {
        Self { parts, open: None, rebuilt: None }
    }

    /// Lets the dataset go; the next use opens it again.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Why it was made anew since the start, the last time.
    pub(crate) fn rebuilt(&self) -> Option<&str> {
        self.rebuilt.as_deref()
    }

    /// Whether it is worth to wait for more: something is there, but no batch.
    pub(super) async fn gathering(&mut self) -> anyhow::Result<bool> {
        let open = self.ready().await?;
        open.changes.look().await?;
        Ok(open.changes.waiting() < BATCH as u64)
    }

    /// Brings in all that is on the log, whole epochs.
    pub(super) async fn catch_up(&mut self) -> anyhow::Result<()> {
        self.ready().await?;
        let last = self.parts.db.relayed(PIPELINE).await?;
        self.bring(last).await?;
        let (open, care) = (self.open.as_mut().expect("it is open"), &self.parts.care);
        if open.dataset.fragments() > care.fragments {
            tidy(open, care, false).await?;
        }
        Ok(())
    }

    /// Tidies up if something came since the last time, and compares the sums of all users with Postgres; who differs is made anew.
    pub(super) async fn tend(&mut self) -> anyhow::Result<()> {
        let open = self.ready().await?;
        if !open.touched {
            return Ok(());
        }
        let (open, care) = (self.open.as_mut().expect("it is open"), &self.parts.care);
        tidy(open, care, true).await?;
        open.touched = false;
        let (mut snapshot, memories) = self.exactly().await?;
        let (theirs, ours) = (memories?.checksums().await?, snapshot.checksums(None).await?);
        let users: BTreeSet<UserId> = theirs.keys().chain(ours.keys()).copied().collect();
        for user in users.into_iter().filter(|user| theirs.get(user) != ours.get(user)) {
            tracing::error!(%user, "the memories in Lance are not those in Postgres and are made anew");
            metrics::counter!("lance_mended_users_total").increment(1);
            self.mend(user).await?;
        }
        Ok(())
    }

    /// Postgres and Lance at exactly the same epoch. What is wrong with Lance, if it cannot be read, stays as it is.
    pub(crate) async fn exactly(&mut self) -> anyhow::Result<(Snapshot, anyhow::Result<Memories>)> {
        // Postgres is always ahead of what is in Lance, and stays where it is in this snapshot.
        let opened = self.ready().await.map(drop);
        let snapshot = self.parts.db.snapshot(PIPELINE).await?;
        if let Err(error) = opened {
            return Ok((snapshot, Err(error)));
        }
        self.relayed(snapshot.epoch()).await?;
        if let Err(error) = self.bring(snapshot.epoch()).await {
            return Ok((snapshot, Err(error)));
        }
        // As it lies on the disk, not as it is remembered.
        let memories = Memories::open(&self.parts.path, &At::Newest).await;
        Ok((snapshot, memories.map_err(anyhow::Error::from)))
    }

    /// Where it is, in words; it is brought up to now.
    pub(crate) async fn report(&mut self) -> anyhow::Result<String> {
        let (snapshot, memories) = self.exactly().await?;
        let memories = memories?;
        let rows: u64 = memories.checksums().await?.values().map(|sum| sum.count).sum();
        Ok(format!("epoch {}, version {}, {rows} memories", snapshot.epoch(), memories.version()))
    }

    /// Makes one user's rows anew from Postgres.
    pub(crate) async fn mend(&mut self, user: UserId) -> anyhow::Result<()> {
        self.ready().await?;
        let mut snapshot = self.parts.db.snapshot(PIPELINE).await?;
        self.relayed(snapshot.epoch()).await?;
        self.bring(snapshot.epoch()).await?;
        let rows: Vec<MemoryRow> = snapshot.memories(user).await?.into_iter().map(row).filter(|row| fits(row, self.parts.dimension)).collect();
        let open = self.open.as_mut().expect("it is open");
        open.touched = true;
        open.dataset.replace(user, &rows).await?;
        snapshot.close().await?;
        Ok(())
    }

    /// Makes all of it anew from Postgres.
    pub(crate) async fn rebuild(&mut self, why: &str) -> anyhow::Result<()> {
        self.open = None;
        let spec = self.spec().await?;
        self.open = Some(self.made_anew(spec, why).await?);
        Ok(())
    }

    /// Erases turns of a user, or everything of the user, from every version; says what went.
    pub(crate) async fn erase(&mut self, user: UserId, turns: &[InteractionId], account: bool) -> anyhow::Result<BTreeMap<String, u64>> {
        self.ready().await?;
        // The deletions are in the views; here they come in too, so that nothing brings a turn back.
        let (progress, _) = self.parts.db.positions(PIPELINE).await?;
        self.relayed(progress).await?;
        self.bring(progress).await?;
        let what = if account { Erasure::User(user) } else { Erasure::Memories(user, turns.to_vec()) };
        let open = self.open.as_mut().expect("it is open");
        let erased = match open.dataset.erase(&what).await {
            Ok(erased) => erased,
            Err(error) => {
                // Opened again the next time, and made anew if it cannot be used: then nothing is in it that Postgres has not got.
                self.open = None;
                return Err(error.into());
            }
        };
        let mut went = BTreeMap::from([("lance/versions".to_owned(), erased.versions_removed)]);
        if account {
            went.insert("lance/rows".to_owned(), erased.rows);
        } else {
            went.insert("lance/turns".to_owned(), turns.len() as u64);
        }
        Ok(went)
    }

    /// Opens it, if it is not open; makes it anew if it cannot be used.
    async fn ready(&mut self) -> anyhow::Result<&mut Open> {
        if self.open.is_none() {
            self.open = Some(self.opened().await?);
        }
        Ok(self.open.as_mut().expect("just opened"))
    }

    async fn spec(&self) -> anyhow::Result<MemoriesSpec> {
        let source = self.parts.db.lineage(PIPELINE).await?;
        Ok(MemoriesSpec { path: self.parts.path.clone(), dimension: self.parts.dimension, source })
    }

    async fn opened(&mut self) -> anyhow::Result<Open> {
        let spec = self.spec().await?;
        let (progress, _) = self.parts.db.positions(PIPELINE).await?;
        if let Some(folder) = spec.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let dataset = match MemoriesDataset::open(spec.clone()).await {
            Ok(dataset) => dataset,
            Err(error @ (LanceError::Broken { .. } | LanceError::Schema { .. } | LanceError::Missing { .. } | LanceError::Foreign { .. })) => {
                return self.made_anew(spec, &error.to_string()).await;
            }
            Err(error) => return Err(error.into()),
        };
        if dataset.epoch() > progress {
            return self.made_anew(spec, "it is ahead of the database").await;
        }
        if dataset.epoch() == 0 && progress > 0 {
            return self.made_anew(spec, "there was none of this database and plan").await;
        }
        // Every file is looked into once: a truncated one is found here and not when somebody reads.
        if let Err(error) = dataset.memories().checksums().await {
            drop(dataset);
            return self.made_anew(spec, &error.to_string()).await;
        }
        let positions = positions_of(dataset.note());
        let changes = self.changes(positions.as_ref(), dataset.epoch()).await?;
        Ok(Open { committed: changes.positions(), dataset, changes, touched: false })
    }

    async fn changes(&self, positions: Option<&Positions>, since: u64) -> anyhow::Result<Changes> {
        let (log, keys) = (Arc::clone(&self.parts.log), self.parts.keys.clone());
        Ok(Changes::from(log, keys, self.parts.dimension, positions, since).await?)
    }

    async fn made_anew(&mut self, spec: MemoriesSpec, why: &str) -> anyhow::Result<Open> {
        // What is on the log by now is in the snapshot: records come after their epoch's transaction.
        let ends = self.changes(None, 0).await?.ends();
        let snapshot = self.parts.db.snapshot(PIPELINE).await?;
        let (epoch, dimension) = (snapshot.epoch(), self.parts.dimension);
        let pages = stream::try_unfold((snapshot, None), move |(mut snapshot, after): (Snapshot, Option<InteractionKey>)| async move {
            let page = snapshot.page(after, PAGE).await?;
            let Some(last) = page.last().map(|kept| kept.row.key) else {
                snapshot.close().await?;
                return Ok::<_, anyhow::Error>(None);
            };
            let rows: Vec<MemoryRow> = page.into_iter().map(row).filter(|row| fits(row, dimension)).collect();
            Ok(Some((rows, (snapshot, Some(last)))))
        });
        let dataset = MemoriesDataset::rebuild_from::<anyhow::Error>(spec, pages, epoch, noted(&ends)).await?;
        tracing::info!(epoch, why, "the memories in Lance were made anew from Postgres");
        self.rebuilt = Some(why.to_owned());
        let changes = self.changes(Some(&ends), epoch).await?;
        Ok(Open { dataset, changes, committed: ends, touched: true })
    }

    /// Waits until everything up to an epoch is on the log.
    async fn relayed(&self, epoch: u64) -> anyhow::Result<()> {
        let there = async {
            while self.parts.db.relayed(PIPELINE).await? < epoch {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        let late = |_| Ended::new(Exit::Unavailable, format!("the changes up to epoch {epoch} are not on the log after {} s; `ajatus doctor` says why", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, there).await.map_err(late)?
    }

    /// Brings in the changes up to an epoch, all of which are on the log. After a failure the next call begins again from what is in.
    async fn bring(&mut self, last: u64) -> anyhow::Result<()> {
        let open = self.open.as_mut().expect("it is open");
        let brought = brought(open, last).await;
        if brought.is_err() {
            let (committed, since) = (open.committed.clone(), open.dataset.epoch());
            open.dataset.set_note(noted(&committed));
            let changes = self.changes(Some(&committed), since).await?;
            self.open.as_mut().expect("it is open").changes = changes;
        }
        brought
    }
}

async fn brought(open: &mut Open, last: u64) -> anyhow::Result<()> {
    open.changes.look().await?;
    let mut rows: Vec<MemoryRow> = Vec::new();
    loop {
        let before = (rows.len() >= BATCH).then(|| open.changes.positions());
        let Some(row) = open.changes.next(last).await? else { break };
        let reached = rows.last().map_or(row.epoch, |row| row.epoch);
        if let Some(before) = before.filter(|_| rows.len() >= MOST || row.epoch != reached) {
            open.commit(&rows, reached, before).await?;
            rows.clear();
        }
        rows.push(row);
    }
    let positions = open.changes.positions();
    open.commit(&rows, last, positions).await
}

impl Open {
    async fn commit(&mut self, rows: &[MemoryRow], epoch: u64, positions: Positions) -> anyhow::Result<()> {
        self.dataset.set_note(noted(&positions));
        let merged = self.dataset.apply(rows, epoch, || ()).await?;
        self.touched |= merged.inserted + merged.updated > 0;
        metrics::counter!("lance_rows_total").increment(merged.inserted + merged.updated);
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("lance_epoch").set(self.dataset.epoch() as f64);
        self.committed = positions;
        Ok(())
    }
}

async fn tidy(open: &mut Open, care: &ajatus_lance::Care, always: bool) -> anyhow::Result<()> {
    let safe = open.dataset.epoch();
    if let Some(cared) = open.dataset.maintain(care, safe, always).await? {
        let (before, after) = cared.fragments;
        tracing::info!(tag = cared.tag, fragments.before = before, fragments.after = after, versions.removed = cared.versions_removed, "the memories in Lance were tidied up");
    }
    Ok(())
}

/// Whether a row's vector is of the dataset's model; one that is not is about to be made anew by the pipeline.
fn fits(row: &MemoryRow, dimension: usize) -> bool {
    row.content.as_ref().is_none_or(|content| content.vector.len() == dimension)
}
