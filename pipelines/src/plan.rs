//! The dataflow of the companion: interactions to memories and activity.
//!
//! `interactions` -> upsert by key -> embed -> memories; and beside it -> activity per user.

use std::sync::Arc;

use ajatus_events::{InteractionKey, Role, UserId};
use ajatus_operators::{Activity, Answer, Calls, Job, Speaker, Spoken, count_activity, infer, upsert};
use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};

use crate::turn::{Request, Row, Turn};

/// A vector, little-endian `f32`s: bytes can be compared and hashed.
pub(crate) type VectorBytes = Arc<[u8]>;

/// A row of a view, or of the refusals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Change {
    /// `memories`.
    Memory(InteractionKey, Box<Turn>, VectorBytes),
    /// The model refuses the turn.
    Refused(InteractionKey, Box<Turn>, String),
    /// `activity`.
    Activity(UserId, Activity),
}

/// Builds the dataflow over the changelog.
pub(crate) fn companion<'scope, Dispatch, Release>(
    interactions: VecCollection<'scope, u64, Row, isize>,
    calls: Calls<Dispatch, Release>,
) -> VecCollection<'scope, u64, Change, isize>
where
    Dispatch: FnMut(Job<Request, VectorBytes>) + 'static,
    Release: FnMut(u64, Vec<(Request, Answer<VectorBytes>)>) + 'static,
{
    let turns = upsert(interactions);
    let activity = count_activity(turns.clone().map(|(key, (turn, _))| {
        let speaker = match turn.role {
            Role::User => Speaker::User,
            Role::Assistant => Speaker::Assistant,
            Role::Other => Speaker::Other,
        };
        (key.user_id, Spoken { speaker, at_us: turn.at_us })
    }))
    .map(|(user, counts)| Change::Activity(user, counts));
    let asked = turns.map(|(key, (turn, request))| (request, (key, turn)));
    let memories = infer(asked, calls).map(|((key, turn), answer)| match answer {
        Ok(vector) => Change::Memory(key, Box::new(turn), vector),
        Err(reason) => Change::Refused(key, Box::new(turn), reason),
    });
    memories.concat(activity)
}
