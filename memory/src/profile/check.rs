//! The kept profile against one made from scratch.

use std::collections::BTreeMap;

use ajatus_events::UserId;
use ajatus_facts::profile::batch;

use super::past::{edited, turn};
use crate::keys::{KeyError, KeyRing, Purpose};
use crate::postgres::{PIPELINE, Postgres, ProfileKey, ProfileRow, Snapshot, StoreError};

/// How the rows of a user's profile differ from what turns and edits say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileCheck {
    /// Entries that it should hold.
    pub entries: u64,
    /// Entries that are missing.
    pub missing: u64,
    /// Entries that say something else, or cannot be opened.
    pub other: u64,
    /// Entries that should not be there.
    pub extra: u64,
    epoch: u64,
    now: Vec<ProfileRow>,
    gone: Vec<ProfileKey>,
}

impl ProfileCheck {
    /// Whether nothing differs.
    #[must_use]
    pub fn same(&self) -> bool {
        self.missing + self.other + self.extra == 0
    }

    /// Makes the rows right, if the views are still at the epoch that was looked at; whether they were: else look again.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn mend(self, db: &Postgres) -> Result<bool, StoreError> {
        db.mend_profiles(PIPELINE, self.epoch, self.now, self.gone).await
    }
}

/// Compares the rows of a user's profile with what the function that the pipeline runs makes of the same snapshot's turns and edits.
///
/// # Errors
/// As the pool's and the key ring's; [`StoreError::Key`] if a turn does not open.
pub async fn check(snapshot: &mut Snapshot, keys: &KeyRing, user: UserId) -> Result<ProfileCheck, StoreError> {
    let mut found = ProfileCheck { epoch: snapshot.epoch(), ..ProfileCheck::default() };
    let held = snapshot.profile(user).await?;
    let key = match keys.user(user).await {
        Ok(key) => key,
        // Forgotten: there is nothing to know.
        Err(KeyError::Destroyed { .. }) => {
            found.extra = held.len() as u64;
            found.gone = held.into_iter().map(|row| row.key).collect();
            return Ok(found);
        }
        Err(error) => return Err(error.into()),
    };
    let turns: Vec<_> = snapshot.turns(&key, user).await?.into_iter().map(turn).collect();
    let edits: Vec<_> = snapshot.edits(&key, user).await?.into_iter().map(edited).collect();
    let mut held: BTreeMap<ProfileKey, _> = held.into_iter().map(|row| (row.key.clone(), row)).collect();
    for document in batch(&turns, &edits) {
        found.entries += 1;
        let named = ProfileKey::of(&key, user, document.kind, &document.name);
        let right = match held.remove(&named) {
            None => {
                found.missing += 1;
                false
            }
            Some(row) => {
                let same = row.fingerprint == ProfileKey::fingerprint(&key, &document.body)
                    && key.open(Purpose::Memories, &named.aad(), &row.body).is_ok_and(|plain| plain == document.body.as_bytes());
                found.other += u64::from(!same);
                same
            }
        };
        if !right {
            found.now.push(ProfileRow::sealed(&key, user, document.kind, &document.name, &document.body));
        }
    }
    found.extra = held.len() as u64;
    found.gone = held.into_keys().collect();
    Ok(found)
}
