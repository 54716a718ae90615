//! From a record of the log to a turn: opened, checked, fingerprinted; or a dead letter.

use ajatus_events::{Body, ConversationId, DeadLetter, Interaction, InteractionKey, Role, Sealed, topic};
use ajatus_kafka::{Entry, wire};
use ajatus_memory::keys::{KeyError, KeyRing, Purpose, UserKey};
use ajatus_memory::postgres::OutboxRow;

/// One turn, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) conversation_id: ConversationId,
    pub(crate) session: u32,
    pub(crate) position: u32,
    pub(crate) role: Role,
    pub(crate) at_us: i64,
    /// As on the log.
    pub(crate) sealed: Sealed,
    pub(crate) fingerprint: String,
    pub(crate) body: Body,
}

/// What a record says: key, offset, and the turn, or that it is forgotten.
pub(crate) type Said = (InteractionKey, u64, Option<Turn>);

/// What became of a record.
pub(crate) enum Decoded {
    /// Usable; boxed because a letter is small and a turn is not.
    Said(Box<Said>),
    /// Not usable: what the log must hear about it.
    Refused(OutboxRow),
}

/// Decodes one record of `interactions`.
///
/// # Errors
/// Only those that may pass (the keys cannot be looked up); everything wrong with the record itself is a dead letter.
pub(crate) async fn decode(keys: &KeyRing, partition: u32, entry: Entry) -> Result<Decoded, KeyError> {
    let refuse = |code: &str, message: String, raw: Vec<u8>| {
        Decoded::Refused(dead_letter("decode", code, message, &origin(partition, entry.offset), raw))
    };
    let key = match std::str::from_utf8(&entry.key).map_err(|error| error.to_string()).and_then(str::parse::<InteractionKey>) {
        Ok(key) => key,
        Err(error) => return Ok(refuse("decode.key", error, entry.value.unwrap_or_default())),
    };
    let Some(value) = entry.value else {
        return Ok(Decoded::Said(Box::new((key, entry.offset, None))));
    };
    let interaction: Interaction = match wire::decode(&value) {
        Ok(interaction) => interaction,
        Err(error) => return Ok(refuse("decode.value", error.to_string(), value)),
    };
    if (interaction.user_id, interaction.id) != (key.user_id, key.id) {
        return Ok(refuse("decode.key", "the key names another turn than the value".to_owned(), value));
    }
    let user_key = match keys.user(key.user_id).await {
        Ok(user_key) => user_key,
        // The user is forgotten, and so is everything they said.
        Err(KeyError::Destroyed { .. }) => return Ok(Decoded::Said(Box::new((key, entry.offset, None)))),
        Err(error @ KeyError::Store(_)) => return Err(error),
        Err(error) => return Ok(refuse("decode.sealed", error.to_string(), value)),
    };
    match open(&user_key, &interaction) {
        Ok(turn) => Ok(Decoded::Said(Box::new((key, entry.offset, Some(turn))))),
        Err(error) => Ok(refuse("decode.body", error, value)),
    }
}

fn open(key: &UserKey, interaction: &Interaction) -> Result<Turn, String> {
    let aad = Interaction::aad(interaction.user_id, interaction.id);
    let plain = key.open(Purpose::Messages, &aad, &interaction.body).map_err(|error| error.to_string())?;
    let body: Body = serde_json::from_slice(&plain).map_err(|error| format!("the body is not one: {error}"))?;
    for (name, value) in [("session", interaction.session), ("position", interaction.position)] {
        if i32::try_from(value).is_err() {
            return Err(format!("{name} is {value}, but it must be below 2^31"));
        }
    }
    Ok(Turn {
        conversation_id: interaction.conversation_id,
        session: interaction.session,
        position: interaction.position,
        role: interaction.role,
        at_us: interaction.occurred_at.timestamp_micros(),
        fingerprint: key.fingerprint(Purpose::Messages, &interaction.fingerprint_input(&body)),
        sealed: interaction.body.clone(),
        body,
    })
}

/// `interactions:3:17`.
pub(crate) fn origin(partition: u32, offset: u64) -> String {
    format!("{}:{partition}:{offset}", topic::INTERACTIONS)
}

/// A dead letter as the outbox carries it; one per origin and step, however often it is sent.
pub(crate) fn dead_letter(step: &str, code: &str, message: String, origin: &str, raw: Vec<u8>) -> OutboxRow {
    let letter = DeadLetter {
        step: step.to_owned(),
        code: code.to_owned(),
        message,
        origin: origin.to_owned(),
        attempt: 1,
        payload: Sealed(raw),
        sealed: false,
    };
    metrics::counter!("pipeline_refused_total", "code" => code.to_owned()).increment(1);
    OutboxRow {
        topic: topic::DEAD_LETTERS.to_owned(),
        partition: 0,
        key: format!("{step}/{origin}").into_bytes(),
        value: Some(wire::encode(&letter).expect("a dead letter is JSON")),
    }
}
