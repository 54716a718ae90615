//! `conversations.json` of a ChatGPT export: an array of conversations, each a tree of messages.
//!
//! Only the branch that ends at `current_node` is read: it is what the user saw last. Messages without text (system
//! notes, tool calls, pictures alone) are passed over in silence, as they are not turns.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use ajatus_events::Role;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::place::Lines;
use super::{Contents, Rejected, Sittings, Titled, Turn, unusable};

#[derive(Deserialize)]
struct Conversation {
    #[serde(alias = "conversation_id")]
    id: Option<String>,
    title: Option<String>,
    create_time: Option<f64>,
    current_node: Option<String>,
    mapping: HashMap<String, Node>,
}

#[derive(Deserialize)]
struct Node {
    message: Option<Message>,
    parent: Option<String>,
    #[serde(default)]
    children: Vec<String>,
}

#[derive(Deserialize)]
struct Message {
    id: Option<String>,
    author: Author,
    create_time: Option<f64>,
    content: Content,
}

#[derive(Deserialize)]
struct Author {
    role: String,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<serde_json::Value>,
}

/// Reads the export.
pub(super) fn read(path: &Path, bytes: &[u8]) -> anyhow::Result<Contents> {
    let text = std::str::from_utf8(bytes).map_err(|error| unusable(path, 1, &format!("not UTF-8: {error}")))?;
    let text = text.trim_start_matches('\u{feff}');
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
        unusable(path, error.line(), &format!("not an array of conversations as ChatGPT exports them: {error}"))
    })?;
    let lines = Lines::new(text);
    let mut contents = Contents::default();
    for item in items {
        let reject = |code, message: String| Rejected {
            line: lines.of(item.get()),
            code,
            message,
            raw: item.get().as_bytes().to_vec(),
        };
        match serde_json::from_str::<Conversation>(item.get()) {
            Ok(conversation) => match branch(&conversation) {
                Ok(nodes) => take(&conversation, &nodes, item.get(), &mut contents),
                Err(message) => contents.rejected.push(reject("import.broken_tree", message)),
            },
            Err(error) => contents
                .rejected
                .push(reject("import.malformed_conversation", format!("not a conversation: {error}"))),
        }
    }
    Ok(contents)
}

/// Names of the nodes from the root to the current one.
fn branch(conversation: &Conversation) -> Result<Vec<&str>, String> {
    let last = match &conversation.current_node {
        Some(node) => node.as_str(),
        // Old exports lack it: follow the last child from the root.
        None => deepest(conversation)?,
    };
    let (mut names, mut seen, mut at) = (Vec::new(), HashSet::new(), Some(last));
    while let Some(name) = at {
        if !seen.insert(name) {
            return Err(format!("node {name} is its own ancestor"));
        }
        let (key, node) = conversation
            .mapping
            .get_key_value(name)
            .ok_or_else(|| format!("node {name} is named, but it is not in the mapping"))?;
        names.push(key.as_str());
        at = node.parent.as_deref();
    }
    names.reverse();
    Ok(names)
}

fn deepest(conversation: &Conversation) -> Result<&str, String> {
    let mut roots: Vec<&String> =
        conversation.mapping.iter().filter(|(_, node)| node.parent.is_none()).map(|(name, _)| name).collect();
    roots.sort();
    let mut at = roots.first().ok_or("the mapping has no root")?.as_str();
    let mut seen = HashSet::new();
    while let Some(child) = conversation.mapping.get(at).and_then(|node| node.children.last()) {
        if !seen.insert(at) {
            return Err(format!("node {at} is its own ancestor"));
        }
        at = child;
    }
    Ok(at)
}

fn take(conversation: &Conversation, nodes: &[&str], raw: &str, contents: &mut Contents) {
    // Without a name of its own, a conversation is named by its bytes.
    let name = conversation
        .id
        .clone()
        .unwrap_or_else(|| blake3::hash(raw.as_bytes()).to_hex().chars().take(32).collect());
    if let Some(title) = conversation.title.clone().filter(|title| !title.trim().is_empty()) {
        contents.titles.push(Titled { conversation: name.clone(), title });
    }
    let (mut at, mut sittings) = (time(conversation.create_time), Sittings::default());
    let mut session = at.map_or(0, |begun| sittings.of(begun));
    for (position, node) in nodes.iter().enumerate() {
        let Some(message) = conversation.mapping.get(*node).and_then(|node| node.message.as_ref()) else { continue };
        let role = match message.author.role.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => continue,
        };
        let parts: Vec<&str> = message.content.parts.iter().filter_map(serde_json::Value::as_str).collect();
        let text = parts.join("\n").trim().to_owned();
        if text.is_empty() {
            continue;
        }
        if let Some(said) = time(message.create_time) {
            session = sittings.of(said);
            at = Some(said);
        }
        contents.turns.push(Turn {
            conversation: name.clone(),
            turn: message.id.clone().unwrap_or_else(|| (*node).to_owned()),
            session,
            position: u32::try_from(position).unwrap_or(u32::MAX),
            role: Some(role),
            speaker: None,
            occurred_at: at.unwrap_or(DateTime::UNIX_EPOCH),
            text,
            caption: None,
        });
    }
}

/// Seconds since 1970 with a fraction, as the export has them.
#[expect(clippy::cast_possible_truncation, reason = "a time outside chrono's range becomes None")]
fn time(seconds: Option<f64>) -> Option<DateTime<Utc>> {
    let seconds = seconds.filter(|seconds| seconds.is_finite())?;
    DateTime::from_timestamp_micros((seconds * 1e6) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> anyhow::Result<Contents> {
        read(Path::new("conversations.json"), text.as_bytes())
    }

    #[test]
    fn reads_the_branch_that_was_seen_last() {
        let text = r#"[{"id":"c1","title":"Trip","create_time":1700000000,"current_node":"d","mapping":{
            "a":{"message":null,"parent":null,"children":["b"]},
            "b":{"message":{"id":"m1","author":{"role":"user"},"create_time":1700000001.5,"content":{"content_type":"text","parts":["Hi"]}},"parent":"a","children":["c","d"]},
            "c":{"message":{"id":"m2","author":{"role":"assistant"},"create_time":1700000002,"content":{"parts":["Old"]}},"parent":"b","children":[]},
            "d":{"message":{"id":"m3","author":{"role":"assistant"},"create_time":1700090000,"content":{"parts":["New"]}},"parent":"b","children":[]}}}]"#;
        let contents = read_text(text).expect("readable");
        let turns: Vec<_> = contents.turns.iter().map(|turn| (turn.turn.as_str(), turn.text.as_str(), turn.session)).collect();
        assert_eq!(turns, [("m1", "Hi", 0), ("m3", "New", 1)]);
        assert_eq!(contents.titles[0].title, "Trip");
    }

    #[test]
    fn reports_a_conversation_that_loops_and_keeps_the_next() {
        let text = r#"[
{"id":"x","current_node":"a","mapping":{"a":{"message":null,"parent":"b","children":[]},"b":{"message":null,"parent":"a","children":[]}}},
{"id":"y","current_node":"a","mapping":{"a":{"message":{"author":{"role":"user"},"content":{"parts":["Yes"]}},"parent":null}}},
{"id":"z"}]"#;
        let contents = read_text(text).expect("readable");
        assert_eq!(contents.turns.len(), 1);
        let rejected: Vec<_> = contents.rejected.iter().map(|rejected| (rejected.line, rejected.code)).collect();
        assert_eq!(rejected, [(2, "import.broken_tree"), (4, "import.malformed_conversation")]);
    }

    #[test]
    fn refuses_what_is_not_an_export_and_names_the_line() {
        let error = read_text("{\n\"a\": 1").expect_err("not an array");
        assert_eq!(crate::exit::of(&error), crate::exit::Exit::Unusable);
        assert!(error.to_string().contains("conversations.json:1"), "{error}");
    }
}
