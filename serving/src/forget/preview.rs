//! What would be forgotten, shown before anything goes.

use std::collections::BTreeSet;

use ajatus_events::{InteractionId, Role};
use ajatus_memory::forget::hash_of;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::scan::Scanned;

/// Turns that a preview shows.
const SHOWN: usize = 10;

/// What would be forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Preview {
    /// Turns, answers that are asked for included.
    pub turns: u64,
    /// Of these, changes of the profile.
    pub edits: u64,
    /// Conversations that they are of.
    pub conversations: u64,
    /// Answers of the companion that were given one of them and are not meant themselves.
    pub answers: u64,
    /// When the first was said.
    pub first_at: Option<DateTime<Utc>>,
    /// When the last was said.
    pub last_at: Option<DateTime<Utc>>,
    /// Names this very list of turns.
    pub hash: String,
    /// The newest of them.
    pub items: Vec<PreviewItem>,
}

/// One turn that would be forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PreviewItem {
    /// The turn.
    pub id: Uuid,
    /// Its conversation.
    pub conversation_id: Uuid,
    /// Who spoke: `user`, `assistant` or `other`.
    #[schema(value_type = String)]
    pub role: Role,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// Its first words.
    pub text: String,
}

pub(super) fn preview(scanned: &Scanned) -> Preview {
    let mut turns: Vec<_> = scanned.meant().filter_map(|id| Some((id, scanned.turn(id)?))).collect();
    let ids: BTreeSet<InteractionId> = turns.iter().map(|(id, _)| *id).collect();
    turns.sort_by_key(|(id, turn)| (std::cmp::Reverse(turn.at), *id));
    Preview {
        turns: turns.len() as u64,
        edits: turns.iter().filter(|(_, turn)| turn.edit).count() as u64,
        conversations: turns.iter().filter(|(_, turn)| !turn.edit).map(|(_, turn)| turn.conversation).collect::<BTreeSet<_>>().len() as u64,
        answers: scanned.answers_given(&ids),
        first_at: turns.last().map(|(_, turn)| turn.at),
        last_at: turns.first().map(|(_, turn)| turn.at),
        hash: hash_of(&ids),
        items: turns
            .iter()
            .take(SHOWN)
            .map(|(id, turn)| PreviewItem {
                id: id.0,
                conversation_id: turn.conversation.0,
                role: turn.role,
                occurred_at: turn.at,
                text: turn.text.clone().unwrap_or_default(),
            })
            .collect(),
    }
}
