//! `result.json` of Telegram Desktop: one chat, or all of them.
//!
//! An export of everything says whose it is, so the user's own messages are known; of one chat `--speaker` says it. Pictures, stickers and
//! voice messages without words are passed over, and so is what the service says.

use std::path::Path;

use ajatus_events::Role;
use chrono::{DateTime, FixedOffset, NaiveDateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::place::Lines;
use super::{Contents, Rejected, Sittings, Titled, Turn, unusable};

#[derive(Deserialize)]
struct Everything<'text> {
    #[serde(default)]
    personal_information: Option<Owner>,
    #[serde(borrow)]
    chats: Chats<'text>,
}

#[derive(Deserialize)]
struct Owner {
    user_id: i64,
}

#[derive(Deserialize)]
struct Chats<'text> {
    #[serde(borrow)]
    list: Vec<&'text RawValue>,
}

#[derive(Deserialize)]
struct Chat<'text> {
    #[serde(default)]
    name: Option<String>,
    id: i64,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(borrow)]
    messages: Vec<&'text RawValue>,
}

#[derive(Deserialize)]
struct Message {
    id: i64,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    date: Option<String>,
    #[serde(default)]
    date_unixtime: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    from_id: Option<String>,
    #[serde(default)]
    text: Value,
}

/// Reads the export; times without a zone are those of `zone`.
pub(super) fn read(path: &Path, bytes: &[u8], zone: FixedOffset) -> anyhow::Result<Contents> {
    let text = std::str::from_utf8(bytes).map_err(|error| unusable(path, 1, &format!("not UTF-8: {error}")))?;
    let text = text.trim_start_matches('\u{feff}');
    let lines = Lines::new(text);
    let mut contents = Contents::default();
    if let Ok(everything) = serde_json::from_str::<Everything<'_>>(text) {
        let owner = everything.personal_information.map(|owner| format!("user{}", owner.user_id));
        for chat in everything.chats.list {
            match serde_json::from_str::<Chat<'_>>(chat.get()) {
                Ok(chat) => take(&chat, owner.as_deref(), zone, &lines, &mut contents),
                Err(error) => contents.rejected.push(rejected(&lines, chat, "import.malformed_conversation", format!("not a chat: {error}"))),
            }
        }
        return Ok(contents);
    }
    let chat: Chat<'_> = serde_json::from_str(text)
        .map_err(|error| unusable(path, error.line(), &format!("not result.json as Telegram Desktop exports it (choose JSON, not HTML): {error}")))?;
    take(&chat, None, zone, &lines, &mut contents);
    Ok(contents)
}

fn rejected(lines: &Lines<'_>, part: &RawValue, code: &'static str, message: String) -> Rejected {
    Rejected { line: lines.of(part.get()), code, message, raw: part.get().as_bytes().to_vec() }
}

fn take(chat: &Chat<'_>, owner: Option<&str>, zone: FixedOffset, lines: &Lines<'_>, contents: &mut Contents) {
    let conversation = chat.id.to_string();
    let own = chat.kind == "saved_messages";
    let title = chat.name.clone().or_else(|| own.then(|| "Saved messages".to_owned()));
    contents.titles.extend(title.map(|title| Titled { conversation: conversation.clone(), title }));
    let mut sittings = Sittings::default();
    for (position, raw) in chat.messages.iter().enumerate() {
        let message: Message = match serde_json::from_str(raw.get()) {
            Ok(message) => message,
            Err(error) => {
                contents.rejected.push(rejected(lines, raw, "import.malformed_turn", format!("not a message: {error}")));
                continue;
            }
        };
        let text = words(&message.text).trim().to_owned();
        if message.kind != "message" || text.is_empty() {
            continue;
        }
        let Some(occurred_at) = time(&message, zone) else {
            contents.rejected.push(rejected(lines, raw, "import.malformed_turn", "a message without a date that can be read".to_owned()));
            continue;
        };
        let role = match (&message.from_id, owner) {
            _ if own => Some(Role::User),
            (Some(from), Some(owner)) => Some(if from == owner { Role::User } else { Role::Other }),
            _ => None,
        };
        contents.turns.push(Turn {
            conversation: conversation.clone(),
            turn: message.id.to_string(),
            session: sittings.of(occurred_at),
            position: u32::try_from(position).unwrap_or(u32::MAX),
            role,
            speaker: Some(message.from.unwrap_or_else(|| "Deleted account".to_owned())),
            occurred_at,
            text,
            caption: None,
        });
    }
}

/// A text, or a list of texts and of parts that have one (links, bold words).
fn words(text: &Value) -> String {
    match text {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(|part| part.as_str().or_else(|| part["text"].as_str()).unwrap_or_default()).collect(),
        _ => String::new(),
    }
}

fn time(message: &Message, zone: FixedOffset) -> Option<DateTime<Utc>> {
    if let Some(seconds) = message.date_unixtime.as_deref().and_then(|seconds| seconds.parse().ok()) {
        return DateTime::from_timestamp(seconds, 0);
    }
    let local: NaiveDateTime = message.date.as_deref()?.parse().ok()?;
    local.and_local_timezone(zone).single().map(|at| at.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = r#"{"name":"Bob","type":"personal_chat","id":42,"messages":[
        {"id":1,"type":"service","date":"2026-01-02T03:04:05","date_unixtime":"1767323045","actor":"Bob","action":"phone_call","text":""},
        {"id":2,"type":"message","date":"2026-01-02T05:04:05","date_unixtime":"1767323045","from":"Aino","from_id":"user7","text":"Hei"},
        {"id":3,"type":"message","date":"2026-01-02T05:05:05","from":"Bob","from_id":"user8","text":["See ",{"type":"link","text":"example.org"},"!"],"text_entities":[]},
        {"id":4,"type":"message","date":"2026-01-02T05:06:05","from":null,"from_id":"user9","photo":"photos/1.jpg","text":""},
        {"id":5,"type":"message","date":"yesterday","from":"Bob","from_id":"user8","text":"When?"},
        {"id":"six"}]}"#;

    fn zone() -> FixedOffset {
        FixedOffset::east_opt(2 * 3_600).expect("two hours")
    }

    #[test]
    fn reads_one_chat_whose_user_the_caller_names() {
        let contents = read(Path::new("result.json"), CHAT.as_bytes(), zone()).expect("readable");
        let turns: Vec<_> = contents.turns.iter().map(|turn| (turn.turn.as_str(), turn.role, turn.speaker.as_deref(), turn.text.as_str(), turn.occurred_at.to_rfc3339())).collect();
        assert_eq!(
            turns,
            [
                ("2", None, Some("Aino"), "Hei", "2026-01-02T03:04:05+00:00".to_owned()),
                ("3", None, Some("Bob"), "See example.org!", "2026-01-02T03:05:05+00:00".to_owned()),
            ]
        );
        let rejected: Vec<_> = contents.rejected.iter().map(|rejected| (rejected.line, rejected.code)).collect();
        assert_eq!(rejected, [(6, "import.malformed_turn"), (7, "import.malformed_turn")]);
        assert_eq!(contents.titles[0].title, "Bob");
    }

    #[test]
    fn an_export_of_everything_says_whose_it_is() {
        let saved = r#"{"type":"saved_messages","id":7,"messages":[{"id":1,"type":"message","date_unixtime":"1767323045","from":"Aino","from_id":"user7","text":"Milk"}]}"#;
        let text = format!(r#"{{"about":"x","personal_information":{{"user_id":7,"first_name":"Aino"}},"chats":{{"about":"y","list":[{CHAT},{saved},{{"id":1}}]}}}}"#);
        let contents = read(Path::new("result.json"), text.as_bytes(), zone()).expect("readable");
        let roles: Vec<_> = contents.turns.iter().map(|turn| (turn.conversation.as_str(), turn.role)).collect();
        assert_eq!(roles, [("42", Some(Role::User)), ("42", Some(Role::Other)), ("7", Some(Role::User))]);
        assert_eq!(contents.titles.iter().map(|titled| titled.title.as_str()).collect::<Vec<_>>(), ["Bob", "Saved messages"]);
        assert_eq!(contents.rejected.len(), 3);
    }

    #[test]
    fn refuses_what_is_not_an_export() {
        for text in ["", "[]", "<html></html>", "{\"chats\":1}"] {
            let error = read(Path::new("result.json"), text.as_bytes(), zone()).expect_err("no export");
            assert_eq!(crate::exit::of(&error), crate::exit::Exit::Unusable, "{text}");
        }
    }
}
