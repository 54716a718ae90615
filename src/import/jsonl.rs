//! One turn a line.

use ajatus_events::Role;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{Contents, Rejected, Turn};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    conversation: String,
    turn: String,
    #[serde(default)]
    session: u32,
    role: Role,
    #[serde(default)]
    speaker: Option<String>,
    occurred_at: DateTime<Utc>,
    text: String,
    #[serde(default)]
    caption: Option<String>,
}

/// Reads every line; a line's position is its number, so mending a bad line later moves no other turn.
pub(super) fn read(bytes: &[u8]) -> Contents {
    let mut contents = Contents::default();
    for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        if raw.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let mut reject = |code, message: String| {
            contents.rejected.push(Rejected { line: index + 1, code, message, raw: raw.to_vec() });
        };
        let Ok(text) = std::str::from_utf8(raw) else {
            reject("import.not_utf8", "the line is not UTF-8; convert the file".to_owned());
            continue;
        };
        // A byte-order mark in front of the first line is an editor's habit, not an error.
        match serde_json::from_str::<Line>(text.trim_start_matches('\u{feff}')) {
            Ok(line) if line.conversation.is_empty() || line.turn.is_empty() => {
                reject("import.malformed_line", "conversation and turn must not be empty".to_owned());
            }
            Ok(line) => contents.turns.push(Turn {
                conversation: line.conversation,
                turn: line.turn,
                session: line.session,
                position: u32::try_from(index).unwrap_or(u32::MAX),
                role: Some(line.role),
                speaker: line.speaker,
                occurred_at: line.occurred_at,
                text: line.text,
                caption: line.caption,
            }),
            Err(error) => reject("import.malformed_line", format!("{error}; docs/import.md lists the fields")),
        }
    }
    contents
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"conversation":"c","turn":"1","role":"user","occurred_at":"2026-01-02T03:04:05Z","text":"Hei"}"#;

    #[test]
    fn keeps_the_good_lines_around_a_bad_one_and_names_its_line() {
        let text = format!("{GOOD}\n{{oops\n\n{}\r\n", GOOD.replace("\"1\"", "\"2\""));
        let contents = read(text.as_bytes());
        assert_eq!(contents.turns.iter().map(|turn| turn.position).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(contents.rejected.len(), 1);
        assert_eq!((contents.rejected[0].line, contents.rejected[0].code), (2, "import.malformed_line"));
        assert_eq!(contents.rejected[0].raw, b"{oops");
    }

    #[test]
    fn refuses_other_encodings_missing_fields_and_unknown_fields() {
        for bad in [
            b"\xff\xfe{}".to_vec(),
            br#"{"conversation":"c"}"#.to_vec(),
            GOOD.replace("\"text\"", "\"txt\"").into_bytes(),
            GOOD.replace("\"user\"", "\"boss\"").into_bytes(),
            GOOD.replace("2026-01-02T03:04:05Z", "yesterday").into_bytes(),
            b"[]".to_vec(),
            b"null".to_vec(),
        ] {
            let contents = read(&bad);
            assert!(contents.turns.is_empty(), "{bad:?}");
            assert_eq!(contents.rejected.len(), 1, "{bad:?}");
        }
    }
}
