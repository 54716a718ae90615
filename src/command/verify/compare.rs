//! What differs between the stores, at one epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ajatus_events::{Checksum, InteractionId, UserId, row_hash};
use ajatus_lance::{Memories, MemoryRow};
use ajatus_memory::index::PIPELINE;
use ajatus_memory::postgres::{Snapshot, StoreError};
use ajatus_memory::profile::{self, ProfileCheck};

use crate::exit::{Ended, Exit};
use crate::stack::{Stack, column_row};

/// Longest wait for the index.
const PATIENCE: Duration = Duration::from_secs(60);
/// Looks at a user who writes meanwhile.
const LOOKS: usize = 20;

/// What is compared.
pub(super) struct Scope {
    /// One user; else everybody.
    pub(super) user: Option<UserId>,
    /// Users whose rows are compared byte for byte.
    pub(super) sample: usize,
    /// These too.
    pub(super) also: BTreeSet<UserId>,
}

/// A user of whom a store holds other rows than Postgres.
pub(super) struct Differs {
    pub(super) user: UserId,
    pub(super) postgres: u64,
    pub(super) there: u64,
}

/// Everything that was found.
pub(super) struct Findings {
    pub(super) epoch: u64,
    pub(super) users: u64,
    pub(super) memories: u64,
    pub(super) lance: LanceFound,
    pub(super) index: IndexFound,
    pub(super) profiles: ProfilesFound,
}

#[derive(Default)]
pub(super) struct LanceFound {
    pub(super) kept: bool,
    pub(super) unusable: Option<String>,
    pub(super) rebuilt: Option<String>,
    pub(super) differ: Vec<Differs>,
    pub(super) sampled_users: u64,
    pub(super) sampled_rows: u64,
    /// Users whose sums agree and whose bytes do not.
    pub(super) contents: Vec<UserId>,
}

#[derive(Default)]
pub(super) struct IndexFound {
    pub(super) held: u64,
    pub(super) differ: Vec<Differs>,
    pub(super) moving: u64,
}

#[derive(Default)]
pub(super) struct ProfilesFound {
    pub(super) users: u64,
    pub(super) entries: u64,
    pub(super) differ: Vec<(UserId, ProfileCheck)>,
    pub(super) unreadable: Vec<(UserId, String)>,
}

impl Findings {
    /// Whether nothing differs.
    pub(super) fn same(&self) -> bool {
        let lance = self.lance.unusable.is_none() && self.lance.differ.is_empty() && self.lance.contents.is_empty();
        lance && self.index.differ.is_empty() && self.profiles.differ.is_empty() && self.profiles.unreadable.is_empty()
    }
}

/// Compares.
pub(super) async fn compare(stack: &Stack, scope: &Scope) -> anyhow::Result<Findings> {
    let mut lance = LanceFound::default();
    let mut opened = None;
    let mut snapshot = match stack.columns() {
        Some(columns) => {
            let mut writer = columns.writer().await?;
            let (snapshot, memories) = writer.exactly().await?;
            lance.kept = true;
            lance.rebuilt = writer.rebuilt().map(str::to_owned);
            opened = Some(memories);
            snapshot
        }
        None => stack.database().snapshot(PIPELINE).await?,
    };
    let sums = snapshot.checksums(scope.user).await?;
    if let Some(memories) = opened {
        let compared = match memories {
            Ok(memories) => columns(&mut lance, &memories, &mut snapshot, &sums, scope).await,
            Err(error) => Err(error),
        };
        match compared {
            Err(error) if error.downcast_ref::<StoreError>().is_some() => return Err(error),
            Err(error) => lance.unusable = Some(format!("{error:#}")),
            Ok(()) => {}
        }
    }
    let profiles = profiles(stack, &mut snapshot, scope.user).await?;
    let index = index(stack, &snapshot, &sums, scope.user).await?;
    let found = Findings {
        epoch: snapshot.epoch(),
        users: sums.len() as u64,
        memories: sums.values().map(|sum| sum.count).sum(),
        lance,
        index,
        profiles,
    };
    snapshot.close().await?;
    Ok(found)
}

fn unlike(user: UserId, ours: Checksum, theirs: Checksum) -> Option<Differs> {
    (ours != theirs).then_some(Differs { user, postgres: ours.count, there: theirs.count })
}

async fn columns(found: &mut LanceFound, memories: &Memories, snapshot: &mut Snapshot, sums: &BTreeMap<UserId, Checksum>, scope: &Scope) -> anyhow::Result<()> {
    let theirs = match scope.user {
        Some(user) => BTreeMap::from([(user, memories.checksum(user).await?)]),
        None => memories.checksums().await?,
    };
    let of = |sums: &BTreeMap<UserId, Checksum>, user: &UserId| sums.get(user).copied().unwrap_or_default();
    let users: BTreeSet<UserId> = sums.keys().chain(theirs.keys()).copied().collect();
    found.differ = users.iter().filter_map(|user| unlike(*user, of(sums, user), of(&theirs, user))).collect();
    // Which users changes with the epoch, so that in time everybody is looked at.
    let mut order: Vec<UserId> = sums.keys().copied().collect();
    order.sort_by_key(|user| row_hash(user.0.as_u128(), 0, snapshot.epoch()));
    let sample: BTreeSet<UserId> = order.into_iter().take(scope.sample).chain(scope.also.iter().copied()).collect();
    for user in sample {
        let ours = snapshot.memories(user).await?.into_iter().map(column_row);
        let mut theirs: BTreeMap<InteractionId, MemoryRow> = memories.user_rows(user).await?.into_iter().map(|row| (row.id, row)).collect();
        found.sampled_users += 1;
        let mut same = true;
        for row in ours {
            found.sampled_rows += 1;
            // Rows that are not there at all are in the sums.
            same &= theirs.remove(&row.id).is_none_or(|other| equal(&row, &other));
        }
        if !same {
            found.contents.push(user);
        }
    }
    Ok(())
}

/// Whether two rows are the same to the last bit.
fn equal(one: &MemoryRow, other: &MemoryRow) -> bool {
    let bits = |row: &MemoryRow| row.content.iter().flat_map(|content| &content.vector).map(|component| component.to_bits()).collect::<Vec<u32>>();
    one == other && bits(one) == bits(other)
}

async fn profiles(stack: &Stack, snapshot: &mut Snapshot, user: Option<UserId>) -> anyhow::Result<ProfilesFound> {
    let users = match user {
        Some(user) => BTreeSet::from([user]),
        None => snapshot.users().await?,
    };
    let mut found = ProfilesFound::default();
    for user in users {
        found.users += 1;
        match profile::check(snapshot, stack.keys(), user).await {
            Ok(check) => {
                found.entries += check.entries;
                if !check.same() {
                    found.differ.push((user, check));
                }
            }
            Err(error @ (StoreError::Key(_) | StoreError::Value(_))) => found.unreadable.push((user, format!("{:#}", anyhow::Error::from(error)))),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Waits until the index has everything of a snapshot.
async fn reached(stack: &Stack, snapshot: &Snapshot) -> anyhow::Result<()> {
    let mut frontier = stack.index().frontier();
    let has = |known: &ajatus_memory::index::Frontiers| snapshot.positions().iter().all(|(partition, next)| known.next_offsets.get(partition).copied().unwrap_or(0) >= *next);
    let late = |_| Ended::new(Exit::Unavailable, format!("the index is not at epoch {} after {} s; `ajatus doctor` says why", snapshot.epoch(), PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, frontier.wait_for(has)).await.map_err(late)??;
    Ok(())
}

async fn index(stack: &Stack, snapshot: &Snapshot, sums: &BTreeMap<UserId, Checksum>, only: Option<UserId>) -> anyhow::Result<IndexFound> {
    reached(stack, snapshot).await?;
    let mut found = IndexFound::default();
    for (user, theirs, epoch) in stack.index().checksums().into_iter().filter(|(user, ..)| only.is_none_or(|only| only == *user)) {
        found.held += 1;
        if epoch <= snapshot.epoch() {
            found.differ.extend(unlike(user, sums.get(&user).copied().unwrap_or_default(), theirs));
            continue;
        }
        // It has gone on meanwhile: this user is looked at again, alone.
        match settled(stack, user).await? {
            Some((ours, theirs)) => found.differ.extend(unlike(user, ours, theirs)),
            None => found.moving += 1,
        }
    }
    Ok(found)
}

/// Both sums of a user at one epoch; `None` if something comes all the time.
async fn settled(stack: &Stack, user: UserId) -> anyhow::Result<Option<(Checksum, Checksum)>> {
    for _ in 0..LOOKS {
        let mut snapshot = stack.database().snapshot(PIPELINE).await?;
        let ours = snapshot.checksums(Some(user)).await?.remove(&user).unwrap_or_default();
        reached(stack, &snapshot).await?;
        let held = stack.index().checksums().into_iter().find(|(held, ..)| *held == user);
        let epoch = snapshot.epoch();
        snapshot.close().await?;
        match held {
            Some((_, theirs, seen)) if seen <= epoch => return Ok(Some((ours, theirs))),
            Some(_) => {}
            // Let go meanwhile.
            None => return Ok(Some((ours, ours))),
        }
    }
    Ok(None)
}
