//! Records of `interactions` as documents: `format = 'ajatus'`.
//!
//! Fields: `user_id`, `id`, `conversation_id`, `session`, `position`, `role`, `occurred_at`; and, where the pipeline reads them, the
//! sealed ones: `text`, `speaker`, `caption`, `used` (turns that an answer was given, with commas), `edit` (a change of the profile, JSON), the keyed `fingerprint` of the content, and `body`, which is all of it still sealed. Holds
//! always: what a destroyed key sealed is as if it had never been said; words are opened only for a pipeline that names one of their
//! columns.

use std::time::Duration;

use ajatus_events::{Body, Interaction, InteractionKey};
use ajatus_kafka::{Entry, wire};
use ajatus_memory::keys::{KeyError, KeyRing, Purpose};
use ajatus_memory::postgres::StoreError;
use serde_json::json;

use super::error::StreamError;

/// Columns that need the user's key.
const SEALED: [&str; 6] = ["text", "speaker", "caption", "fingerprint", "used", "edit"];

/// Opens records.
pub(crate) struct Opener {
    keys: Option<KeyRing>,
    /// Whether the sealed body is a column.
    body: bool,
}

impl Opener {
    /// For a table of which `columns` are read.
    ///
    /// # Errors
    /// Sealed columns where there are no keys.
    pub(crate) fn new<'name>(table: &str, columns: impl IntoIterator<Item = &'name str>, keys: Option<&KeyRing>) -> Result<Self, StreamError> {
        let columns: Vec<&str> = columns.into_iter().collect();
        let body = columns.contains(&"body");
        let sealed: Vec<&str> = columns.into_iter().filter(|column| SEALED.contains(column)).collect();
        match (sealed.first(), keys) {
            (None, _) => Ok(Self { keys: None, body }),
            (Some(_), Some(keys)) => Ok(Self { keys: Some(keys.clone()), body }),
            (Some(column), None) => Err(StreamError::Unsupported {
                what: format!("column {column:?} of {table:?} is sealed, and there are no keys"),
                hint: "run it on the data folder, or leave the column out".to_owned(),
            }),
        }
    }

    /// A record's key and value as documents; what cannot be read stays as it is, and is refused where documents are decoded.
    pub(crate) async fn documents(&self, entry: Entry) -> Result<(Vec<u8>, Option<Vec<u8>>), StreamError> {
        let Some(key) = std::str::from_utf8(&entry.key).ok().and_then(|text| text.parse::<InteractionKey>().ok()) else {
            return Ok((entry.key, entry.value));
        };
        let key_document = json!({ "user_id": key.user_id, "id": key.id }).to_string().into_bytes();
        let Some(value) = entry.value else { return Ok((key_document, None)) };
        let Ok(interaction) = wire::decode::<Interaction>(&value) else { return Ok((key_document, Some(value))) };
        let mut document = json!({
            "user_id": interaction.user_id,
            "id": interaction.id,
            "conversation_id": interaction.conversation_id,
            "session": interaction.session,
            "position": interaction.position,
            "role": interaction.role,
            "occurred_at": interaction.occurred_at,
        });
        if self.body {
            document["body"] = json!(interaction.body);
        }
        if let Some(keys) = &self.keys {
            let Some(body) = open(keys, &interaction).await? else { return Ok((key_document, None)) };
            match body {
                Ok((body, fingerprint)) => {
                    document["fingerprint"] = json!(fingerprint);
                    document["text"] = json!(body.text);
                    document["speaker"] = json!(body.speaker);
                    document["caption"] = json!(body.caption);
                    document["used"] = json!(body.used.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
                    document["edit"] = json!(body.edit.as_ref().map(|edit| json!(edit).to_string()));
                }
                Err(reason) => return Ok((key_document, Some(format!("sealed body: {reason}").into_bytes()))),
            }
        }
        Ok((key_document, Some(document.to_string().into_bytes())))
    }
}

/// The words and their fingerprint; `None` if the user was forgotten.
async fn open(keys: &KeyRing, interaction: &Interaction) -> Result<Option<Result<(Body, String), String>>, StreamError> {
    let mut pause = Duration::from_millis(50);
    let key = loop {
        match keys.user(interaction.user_id).await {
            Ok(key) => break key,
            Err(KeyError::Destroyed { .. }) => return Ok(None),
            Err(KeyError::Store(error)) if error.may_pass() => tracing::warn!(%error, "a key could not be looked up yet; trying again"),
            Err(error) => return Err(StoreError::from(error).into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    };
    let aad = Interaction::aad(interaction.user_id, interaction.id);
    let plain = match key.open(Purpose::Messages, &aad, &interaction.body) {
        Ok(plain) => plain,
        Err(error) => return Ok(Some(Err(error.to_string()))),
    };
    let body = serde_json::from_slice::<Body>(&plain).map_err(|error| error.to_string());
    Ok(Some(body.map(|body| {
        let fingerprint = key.fingerprint(Purpose::Messages, &interaction.fingerprint_input(&body));
        (body, fingerprint)
    })))
}
