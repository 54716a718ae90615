//! Interactions: the one kind of record that everything else is derived from.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ConversationId, InteractionId, ProfileEdit, Sealed, UserId};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The person the memory belongs to.
    User,
    /// The companion.
    Assistant,
    /// Another person of an imported conversation.
    Other,
}

impl Role {
    /// The word stored in tables and shown in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Other => "other",
        }
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "user" => Ok(Self::User),
            "assistant" => Ok(Self::Assistant),
            "other" => Ok(Self::Other),
            _ => Err(format!("role is {text:?}, but it must be user, assistant or other")),
        }
    }
}

/// One turn, as the value of the `interactions` topic. A null value forgets the turn of that key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interaction {
    /// The turn.
    pub id: InteractionId,
    /// Whose memory it belongs to.
    pub user_id: UserId,
    /// The thread it was said in.
    pub conversation_id: ConversationId,
    /// Session inside the conversation, from 0; a session is one sitting.
    pub session: u32,
    /// Position inside the conversation, from 0; orders turns whose times are equal.
    pub position: u32,
    /// Who speaks.
    pub role: Role,
    /// When it was said (not when it was imported), UTC, microseconds.
    pub occurred_at: DateTime<Utc>,
    /// The [`Body`], JSON, sealed with [`Interaction::aad`].
    pub body: Sealed,
}

impl Interaction {
    /// Additional authenticated data of a turn's body: it cannot be opened as another turn's or another user's.
    #[must_use]
    pub fn aad(user: UserId, id: InteractionId) -> Vec<u8> {
        format!("1/interactions/body/{user}/{id}").into_bytes()
    }

    /// What two turns must agree on to be the same content: the input of the keyed fingerprint that the sink keeps
    /// beside a row and that an import compares, so that importing twice adds nothing and a mended line is an edit.
    #[must_use]
    pub fn fingerprint_input(&self, body: &Body) -> Vec<u8> {
        serde_json::json!([
            self.conversation_id,
            self.session,
            self.position,
            self.role,
            self.occurred_at.timestamp_micros(),
            body,
        ])
        .to_string()
        .into_bytes()
    }
}

/// What was said. Personal: leaves the process only sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// The words.
    pub text: String,
    /// Name of the speaker as the source gives it; absent in a chat with the companion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// What a shared picture shows, if the source says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Where an imported turn stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceRef>,
    /// Remembered turns that an answer was given, best first; empty but for answers of the companion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used: Vec<InteractionId>,
    /// What the user changes of their profile. Such a record is no turn of a conversation: it is not counted and not searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<ProfileEdit>,
}

/// Where an imported turn stood, so that people can find it again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRef {
    /// Format it was imported from: `locomo`, `jsonl`, `chatgpt`.
    pub format: String,
    /// Name of the conversation at the source.
    pub conversation: String,
    /// Name of the turn at the source, e.g. `D3:11`.
    pub turn: String,
}

/// Key of the `interactions` topic: `user/interaction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InteractionKey {
    /// Decides the partition.
    pub user_id: UserId,
    /// The turn.
    pub id: InteractionId,
}

impl fmt::Display for InteractionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.user_id, self.id)
    }
}

impl FromStr for InteractionKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (user, id) = text
            .split_once('/')
            .ok_or_else(|| format!("interaction key {text:?} has no '/'"))?;
        Ok(Self {
            user_id: user.parse().map_err(|error| format!("user id {user:?}: {error}"))?,
            id: id.parse().map_err(|error| format!("interaction id {id:?}: {error}"))?,
        })
    }
}
