//! The profile and the turns as they were at an earlier epoch.

use ajatus_events::{Role, UserId};
use ajatus_facts::profile::{Edit, Turn, batch};
use chrono::{DateTime, Utc};

use super::{Profile, View, assembled};
use crate::keys::KeyRing;
use crate::postgres::{HeldEdit, Memory, PIPELINE, Postgres, ProfileDocument, ProfileKey, StoreError};
use crate::retrieve::Arena;

/// A point of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Everything up to this epoch.
    Epoch(u64),
    /// Everything that was on the ledger at this time.
    Time(DateTime<Utc>),
}

/// A text that is neither an epoch nor a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an epoch (a number) nor a time (RFC 3339, such as 2026-03-01T08:00:00Z)")]
pub struct NotAPoint(pub String);

impl std::str::FromStr for AsOf {
    type Err = NotAPoint;

    fn from_str(text: &str) -> Result<Self, NotAPoint> {
        let time = || DateTime::parse_from_rfc3339(text).map(|time| Self::Time(time.to_utc()));
        text.parse().map(Self::Epoch).or_else(|_| time()).map_err(|_| NotAPoint(text.chars().take(100).collect()))
    }
}

impl AsOf {
    /// The epoch it names; 0 for a time before all epochs.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn epoch(self, db: &Postgres) -> Result<u64, StoreError> {
        match self {
            Self::Epoch(epoch) => Ok(epoch),
            Self::Time(at) => Ok(db.epoch_at(PIPELINE, at).await?.unwrap_or(0)),
        }
    }

    /// The profile as it was: made anew of the turns and edits that were there and have not been forgotten since.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn profile(self, db: &Postgres, keys: &KeyRing, user: UserId, view: View) -> Result<Profile, StoreError> {
        let epoch = self.epoch(db).await?;
        let held = db.load_user(keys, user, PIPELINE).await?;
        let epoch = epoch.min(held.epoch);
        let turns: Vec<Turn> = held.memories.into_iter().map(|(memory, _)| memory).filter(|memory| memory.epoch <= epoch).map(turn).collect();
        let edits = db.profile_edits(keys, user).await?;
        let edits: Vec<Edit> = edits.into_iter().filter(|edit| edit.epoch <= epoch).map(edited).collect();
        if turns.is_empty() && edits.is_empty() {
            return Ok(Profile { epoch, ..Profile::default() });
        }
        let key = keys.user(user).await?;
        let documents = batch(&turns, &edits).into_iter().map(|document| ProfileDocument {
            key: ProfileKey::of(&key, user, document.kind, &document.name),
            body: document.body,
            epoch,
        });
        assembled(epoch, documents.collect(), view)
    }

    /// The turns as they were, ready to be searched, the epoch, and the components of their vectors, if there are any.
    ///
    /// # Errors
    /// As the pool's and the key ring's.
    pub async fn arena(self, db: &Postgres, keys: &KeyRing, user: UserId) -> Result<(Arena, u64, Option<usize>), StoreError> {
        let epoch = self.epoch(db).await?;
        let held = db.load_user(keys, user, PIPELINE).await?;
        let (mut arena, mut dimension) = (Arena::new(user), None);
        for (memory, vector) in held.memories {
            if memory.epoch <= epoch {
                dimension = Some(vector.len());
                arena.upsert(memory, &vector);
            }
        }
        Ok((arena, epoch.min(held.epoch), dimension))
    }
}

/// A memory as the profile's rules read it.
pub(super) fn turn(memory: Memory) -> Turn {
    Turn {
        id: memory.id.to_string(),
        by_user: memory.role == Role::User,
        at_us: memory.occurred_at.timestamp_micros(),
        text: memory.body.text,
        used: memory.body.used.iter().map(ToString::to_string).collect(),
    }
}

/// A user's change as the profile's rules read it.
pub(super) fn edited(edit: HeldEdit) -> Edit {
    Edit { at_us: edit.occurred_at.timestamp_micros(), id: edit.id.to_string(), edit: edit.edit }
}
