//! `conversations.json` of a Claude export: an array of conversations with their messages in order.
//!
//! What was attached is not read: it is not what somebody said. Messages without text are passed over.

use std::path::Path;

use ajatus_events::Role;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::place::Lines;
use super::{Contents, Rejected, Sittings, Titled, Turn, unusable};

#[derive(Deserialize)]
struct Conversation {
    uuid: String,
    #[serde(default)]
    name: Option<String>,
    created_at: DateTime<Utc>,
    chat_messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    uuid: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    content: Vec<Part>,
    sender: String,
    #[serde(default)]
    created_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

/// Reads the export.
pub(super) fn read(path: &Path, bytes: &[u8]) -> anyhow::Result<Contents> {
    let text = std::str::from_utf8(bytes).map_err(|error| unusable(path, 1, &format!("not UTF-8: {error}")))?;
    let text = text.trim_start_matches('\u{feff}');
    let items: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|error| unusable(path, error.line(), &format!("not an array of conversations as Claude exports them: {error}")))?;
    let lines = Lines::new(text);
    let mut contents = Contents::default();
    for item in items {
        match serde_json::from_str::<Conversation>(item.get()) {
            Ok(conversation) => take(conversation, &mut contents),
            Err(error) => contents.rejected.push(Rejected {
                line: lines.of(item.get()),
                code: "import.malformed_conversation",
                message: format!("not a conversation: {error}"),
                raw: item.get().as_bytes().to_vec(),
            }),
        }
    }
    Ok(contents)
}

fn take(conversation: Conversation, contents: &mut Contents) {
    let Conversation { uuid, name, created_at, chat_messages } = conversation;
    if let Some(title) = name.filter(|name| !name.trim().is_empty()) {
        contents.titles.push(Titled { conversation: uuid.clone(), title });
    }
    let (mut at, mut sittings) = (created_at, Sittings::default());
    for (position, message) in chat_messages.into_iter().enumerate() {
        let role = match message.sender.as_str() {
            "human" => Role::User,
            "assistant" => Role::Assistant,
            _ => continue,
        };
        // Newer exports have parts beside the whole; what a tool was told or said is no part of the talk.
        let parts: Vec<&str> = message.content.iter().filter(|part| part.kind == "text").filter_map(|part| part.text.as_deref()).collect();
        let text = if parts.is_empty() { message.text.trim().to_owned() } else { parts.join("\n").trim().to_owned() };
        if text.is_empty() {
            continue;
        }
        at = message.created_at.unwrap_or(at);
        contents.turns.push(Turn {
            conversation: uuid.clone(),
            turn: message.uuid,
            session: sittings.of(at),
            position: u32::try_from(position).unwrap_or(u32::MAX),
            role: Some(role),
            speaker: None,
            occurred_at: at,
            text,
            caption: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_both_sides_said_and_passes_over_tools_and_attachments() {
        let text = r#"[{"uuid":"c1","name":"Trip","created_at":"2026-01-02T03:04:05.678901Z","updated_at":"2026-01-02T03:04:05Z","account":{"uuid":"a"},"chat_messages":[
            {"uuid":"m1","text":"Hi","sender":"human","created_at":"2026-01-02T03:04:06Z","attachments":[{"file_name":"a.txt","extracted_content":"long"}],"files":[]},
            {"uuid":"m2","text":"Hello!\n\nview","content":[{"type":"text","text":"Hello!"},{"type":"tool_use","name":"x","input":{}},{"type":"text","text":"There."}],"sender":"assistant","created_at":"2026-01-02T03:04:09Z"},
            {"uuid":"m3","text":"  ","sender":"human","created_at":"2026-01-02T03:05:00Z"},
            {"uuid":"m4","text":"Next day","sender":"human","created_at":"2026-01-03T03:05:00Z"}]},
            {"uuid":"broken"}]"#;
        let contents = read(Path::new("conversations.json"), text.as_bytes()).expect("readable");
        let turns: Vec<_> = contents.turns.iter().map(|turn| (turn.turn.as_str(), turn.role, turn.text.as_str(), turn.session)).collect();
        assert_eq!(turns, [("m1", Some(Role::User), "Hi", 0), ("m2", Some(Role::Assistant), "Hello!\nThere.", 0), ("m4", Some(Role::User), "Next day", 1)]);
        assert_eq!(contents.titles, [Titled { conversation: "c1".into(), title: "Trip".into() }]);
        assert_eq!(contents.rejected.len(), 1);
        assert_eq!((contents.rejected[0].line, contents.rejected[0].code), (6, "import.malformed_conversation"));
    }

    #[test]
    fn refuses_what_is_not_an_export() {
        for text in ["", "{}", "[1", "\u{feff}null"] {
            let error = read(Path::new("conversations.json"), text.as_bytes()).expect_err("no export");
            assert_eq!(crate::exit::of(&error), crate::exit::Exit::Unusable, "{text}");
        }
    }
}
