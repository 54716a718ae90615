//! LoCoMo's JSON: an array of samples, each a conversation of dated sessions, with questions and their evidence.

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use chrono::{DateTime, NaiveDateTime, Utc};
use regex::Regex;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::place::Lines;
use super::{Contents, Rejected, Titled, Turn, unusable};

#[derive(Deserialize)]
struct Sample<'a> {
    sample_id: Option<String>,
    #[serde(borrow)]
    conversation: HashMap<String, &'a RawValue>,
    #[serde(borrow, default)]
    qa: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct SourceTurn {
    speaker: String,
    dia_id: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    blip_caption: Option<String>,
}

#[derive(Deserialize)]
struct SourceQuestion {
    question: String,
    #[serde(default)]
    evidence: Vec<serde_json::Value>,
    category: u8,
}

/// A question and the turns that answer it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Name of the conversation.
    pub(crate) conversation: String,
    /// Place in the conversation's list of questions, from 0.
    pub(crate) index: usize,
    /// The words.
    pub(crate) question: String,
    /// 1 multi-hop, 2 temporal, 3 open-domain, 4 single-hop, 5 adversarial.
    pub(crate) category: u8,
    /// Turns (`D3:11`) that hold the evidence; only such as exist.
    pub(crate) evidence: Vec<String>,
}

fn samples<'a>(path: &Path, text: &'a str) -> anyhow::Result<Vec<&'a RawValue>> {
    let whole = serde_json::from_str::<&RawValue>(text)
        .map_err(|error| unusable(path, error.line(), &format!("not JSON: {error}")))?;
    if whole.get().starts_with('[') {
        return serde_json::from_str(whole.get())
            .map_err(|error| unusable(path, error.line(), &format!("not an array of samples: {error}")));
    }
    Ok(vec![whole])
}

fn decode<'a>(path: &Path, bytes: &'a [u8]) -> anyhow::Result<&'a str> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count();
        unusable(path, line, "not UTF-8; convert the file")
    })?;
    Ok(text.trim_start_matches('\u{feff}'))
}

/// Reads every conversation of the file.
pub(super) fn read(path: &Path, bytes: &[u8]) -> anyhow::Result<Contents> {
    let text = decode(path, bytes)?;
    let lines = Lines::new(text);
    let mut contents = Contents::default();
    for (index, raw) in samples(path, text)?.into_iter().enumerate() {
        let sample: Sample<'_> = match serde_json::from_str(raw.get()) {
            Ok(sample) => sample,
            Err(error) => {
                contents.rejected.push(Rejected {
                    line: lines.of(raw.get()),
                    code: "import.malformed_conversation",
                    message: format!("not a sample with a conversation: {error}"),
                    raw: raw.get().as_bytes().to_vec(),
                });
                continue;
            }
        };
        let name = name(&sample, index);
        take(&sample, &name, &lines, &mut contents);
    }
    if contents.turns.is_empty() && contents.rejected.is_empty() {
        return Err(unusable(path, 1, "no conversation with sessions in it"));
    }
    Ok(contents)
}

fn name(sample: &Sample<'_>, index: usize) -> String {
    sample.sample_id.clone().unwrap_or_else(|| format!("sample-{}", index + 1))
}

fn take(sample: &Sample<'_>, name: &str, lines: &Lines<'_>, contents: &mut Contents) {
    let mut sessions: Vec<(u32, &RawValue)> = sample
        .conversation
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("session_")?.parse().ok()?, *value)))
        .collect();
    sessions.sort_by_key(|(session, _)| *session);
    let speakers: Vec<String> = ["speaker_a", "speaker_b"]
        .iter()
        .filter_map(|key| serde_json::from_str(sample.conversation.get(*key)?.get()).ok())
        .collect();
    if let [a, b] = speakers.as_slice() {
        contents.titles.push(Titled { conversation: name.to_owned(), title: format!("{a} & {b}") });
    }
    let mut position = 0_u32;
    for (session, raw) in sessions {
        let mut reject = |part: &str, code, message: String| {
            contents.rejected.push(Rejected { line: lines.of(part), code, message, raw: part.as_bytes().to_vec() });
        };
        let turns: Vec<&RawValue> = match serde_json::from_str(raw.get()) {
            Ok(turns) => turns,
            Err(error) => {
                reject(raw.get(), "import.malformed_session", format!("session {session} of {name} is not an array of turns: {error}"));
                continue;
            }
        };
        let date_key = format!("session_{session}_date_time");
        let date = sample.conversation.get(&date_key).map(|value| value.get());
        let date_text = date.and_then(|value| serde_json::from_str::<String>(value).ok());
        let Some(occurred_at) = date_text.as_deref().and_then(parse_date) else {
            if !turns.is_empty() {
                let message = format!(
                    "session {session} of {name} has no date that can be read ({date_key} is {}); write it as \"1:56 pm on 8 May, 2023\"",
                    date.unwrap_or("missing")
                );
                reject(raw.get(), "import.undated_session", message);
            }
            continue;
        };
        for part in turns {
            position += 1;
            match serde_json::from_str::<SourceTurn>(part.get()) {
                Ok(turn) => contents.turns.push(Turn {
                    conversation: name.to_owned(),
                    turn: turn.dia_id,
                    session,
                    position: position - 1,
                    role: None,
                    speaker: Some(turn.speaker),
                    occurred_at,
                    text: turn.text,
                    caption: turn.blip_caption.filter(|caption| !caption.is_empty()),
                }),
                Err(error) => contents.rejected.push(Rejected {
                    line: lines.of(part.get()),
                    code: "import.malformed_turn",
                    message: format!("a turn of session {session} of {name} cannot be read: {error}"),
                    raw: part.get().as_bytes().to_vec(),
                }),
            }
        }
    }
}

/// `1:56 pm on 8 May, 2023`, taken as UTC; RFC 3339 is taken too.
fn parse_date(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    ["%I:%M %p on %d %B, %Y", "%I:%M %P on %d %B, %Y", "%H:%M on %d %B, %Y"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text.trim(), form).ok())
        .map(|time| time.and_utc())
}

static EVIDENCE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"D:?(\d+):(\d+)").expect("a constant expression"));

/// The questions of the file whose evidence names at least one turn that exists.
///
/// Evidence strings with several ids, stray characters or leading zeros are repaired (`D8:6; D9:17`, `D:11:26`,
/// `D30:05`), as the published baselines do.
pub(crate) fn questions(path: &Path) -> anyhow::Result<Vec<Question>> {
    let bytes = std::fs::read(path).map_err(|error| unusable(path, 1, &format!("cannot be read: {error}")))?;
    let text = decode(path, &bytes)?;
    let contents = read(path, &bytes)?;
    let mut turns: HashMap<&str, std::collections::HashSet<&str>> = HashMap::new();
    for turn in &contents.turns {
        turns.entry(&turn.conversation).or_default().insert(&turn.turn);
    }
    let mut found = Vec::new();
    for (at, raw) in samples(path, text)?.into_iter().enumerate() {
        let Ok(sample) = serde_json::from_str::<Sample<'_>>(raw.get()) else { continue };
        let name = name(&sample, at);
        let Some(known) = turns.get(name.as_str()) else { continue };
        for (index, raw) in sample.qa.iter().enumerate() {
            let question: SourceQuestion = serde_json::from_str(raw.get())
                .map_err(|error| unusable(path, Lines::new(text).of(raw.get()), &format!("not a question: {error}")))?;
            let mut evidence: Vec<String> = Vec::new();
            for part in &question.evidence {
                let part = part.as_str().map_or_else(|| part.to_string(), str::to_owned);
                for found in EVIDENCE.captures_iter(&part) {
                    let number = |at: usize| found.get(at).and_then(|text| text.as_str().parse::<u32>().ok());
                    let (Some(session), Some(turn)) = (number(1), number(2)) else { continue };
                    let id = format!("D{session}:{turn}");
                    if known.contains(id.as_str()) && !evidence.contains(&id) {
                        evidence.push(id);
                    }
                }
            }
            if !evidence.is_empty() {
                found.push(Question {
                    conversation: name.clone(),
                    index,
                    question: question.question,
                    category: question.category,
                    evidence,
                });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> anyhow::Result<Contents> {
        read(Path::new("talk.json"), text.as_bytes())
    }

    #[test]
    fn reads_sessions_in_order_with_their_dates() {
        let text = r#"[{"sample_id":"s","conversation":{"speaker_a":"Aino","speaker_b":"Ben",
            "session_10_date_time":"1:05 pm on 3 June, 2024","session_10":[{"speaker":"Ben","dia_id":"D10:1","text":"Later"}],
            "session_2_date_time":"11:30 am on 8 May, 2023","session_2":[{"speaker":"Aino","dia_id":"D2:1","text":"Hei","blip_caption":"a dog"}]}}]"#;
        let contents = read_text(text).expect("readable");
        let turns: Vec<_> = contents.turns.iter().map(|turn| (turn.turn.as_str(), turn.session, turn.position)).collect();
        assert_eq!(turns, [("D2:1", 2, 0), ("D10:1", 10, 1)]);
        assert_eq!(contents.turns[0].occurred_at.to_rfc3339(), "2023-05-08T11:30:00+00:00");
        assert_eq!(contents.turns[1].occurred_at.to_rfc3339(), "2024-06-03T13:05:00+00:00");
        assert_eq!(contents.turns[0].caption.as_deref(), Some("a dog"));
        assert_eq!(contents.titles[0].title, "Aino & Ben");
    }

    #[test]
    fn reports_a_bad_turn_with_its_line_and_keeps_the_rest() {
        let text = "[{\"sample_id\":\"s\",\"conversation\":{\n\"session_1_date_time\":\"1:56 pm on 8 May, 2023\",\n\"session_1\":[\n{\"speaker\":\"A\",\"dia_id\":\"D1:1\",\"text\":\"ok\"},\n{\"speaker\":\"A\"},\n{\"speaker\":\"A\",\"dia_id\":\"D1:3\",\"text\":\"ok\"}]}}]";
        let contents = read_text(text).expect("readable");
        assert_eq!(contents.turns.iter().map(|turn| turn.position).collect::<Vec<_>>(), [0, 2]);
        assert_eq!((contents.rejected[0].line, contents.rejected[0].code), (5, "import.malformed_turn"));
    }

    #[test]
    fn refuses_a_truncated_file_and_says_where() {
        let error = read_text("[{\"sample_id\":\"s\",\n\"conversation\":{").expect_err("truncated");
        assert!(error.to_string().contains("talk.json:2"), "{error}");
    }
}
