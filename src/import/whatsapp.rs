//! The text of a WhatsApp chat: `_chat.txt`, or `WhatsApp Chat with NAME.txt`.
//!
//! Each message begins with a date, a time and a name, in the form of the telephone's language; what follows without a date belongs to the
//! message before. Which number is the day and which the month is found from the whole file, never guessed line by line.

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use regex::{Captures, Regex};

use super::{Contents, Sittings, Titled, Turn, unusable};
use crate::cli::DateOrder;

/// Marks of direction, which the telephones put before dates and before what they say themselves.
const MARKS: [char; 3] = ['\u{200e}', '\u{200f}', '\u{feff}'];
/// Longest name of a speaker. What stands before a colon and is longer is not a name.
const LONGEST_NAME: usize = 80;

static HEAD: LazyLock<Regex> = LazyLock::new(|| {
    let date = r"(?<a>\d{1,4})[./-]\s?(?<b>\d{1,2})[./-]\s?(?<c>\d{1,4})\.?";
    let time = r"(?:klo\s)?(?<h>\d{1,2})[:.](?<m>\d{2})(?:[:.](?<s>\d{2}))?[\s\x{202f}\x{a0}]?(?<half>[AaPp]\.?\s?[Mm]\.?)?";
    Regex::new(&format!(r"^(?:\[{date},?\s{time}\]\s(?<ios>.*)|{}\s[-–]\s(?<android>.*))$", format!("{date},?\\s{time}").replace("?<", "?<x")))
        .expect("the pattern is a pattern")
});

/// A message as it stands in the file.
struct Message {
    /// Line, from 1.
    line: usize,
    date: [u32; 3],
    time: NaiveTime,
    /// Name and words; none where the telephone speaks.
    said: Option<(String, String)>,
}

/// Reads the chat; `order` says what comes first in a date, where the file does not tell.
pub(super) fn read(path: &Path, name: &str, bytes: &[u8], order: Option<DateOrder>, zone: FixedOffset) -> anyhow::Result<Contents> {
    let text = std::str::from_utf8(bytes).map_err(|error| unusable(path, 1, &format!("not UTF-8: {error}")))?;
    let messages = messages(text);
    if messages.is_empty() {
        return Err(unusable(path, 1, "no line begins with a date, a time and a name, as WhatsApp writes them"));
    }
    let order = order.or_else(|| ordered(&messages)).ok_or_else(|| {
        unusable(path, messages[0].line, "its dates can be read with the day first or with the month first; say which with --date-order day or --date-order month")
    })?;
    let mut contents = Contents::default();
    let title = conversation(path, name);
    contents.titles.push(Titled { conversation: title.clone(), title: title.clone() });
    let mut sittings = Sittings::default();
    let mut nth: HashMap<(NaiveDateTime, String), usize> = HashMap::new();
    for (position, message) in messages.into_iter().enumerate() {
        let Some(day) = day(message.date, order) else {
            return Err(unusable(path, message.line, "there is no such day; say what comes first in its dates with --date-order"));
        };
        let Some((speaker, text)) = message.said else { continue };
        let local = day.and_time(message.time);
        let Some(occurred_at) = local.and_local_timezone(zone).single() else { continue };
        let occurred_at: DateTime<Utc> = occurred_at.to_utc();
        let text = text.trim();
        if text.is_empty() || unspoken(text) {
            continue;
        }
        // Lines have no names: the moment, who spoke, and how many of theirs came before in it.
        let before = nth.entry((local, speaker.clone())).or_default();
        contents.turns.push(Turn {
            conversation: title.clone(),
            turn: format!("{}/{speaker}/{before}", local.format("%Y-%m-%dT%H:%M:%S")),
            session: sittings.of(occurred_at),
            position: u32::try_from(position).unwrap_or(u32::MAX),
            role: None,
            speaker: Some(speaker),
            occurred_at,
            text: text.to_owned(),
            caption: None,
        });
        *before += 1;
    }
    Ok(contents)
}

/// What the chat is called: with whom it is, as the file's name says.
fn conversation(path: &Path, name: &str) -> String {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    // Telephones of one kind call every chat alike; the archive or folder around it has the name.
    let mut stem_of = stem(Path::new(name));
    if stem_of == "_chat" || stem_of.is_empty() {
        let around = if path.file_name().is_some_and(|file| file == name) { path.parent().unwrap_or(path) } else { path };
        stem_of = stem(around);
    }
    for before in ["WhatsApp Chat with ", "WhatsApp Chat - ", "WhatsApp-keskustelu: ", "WhatsApp-keskustelu - "] {
        if let Some(with) = stem_of.strip_prefix(before) {
            return with.to_owned();
        }
    }
    if stem_of.is_empty() { "WhatsApp".to_owned() } else { stem_of }
}

fn messages(text: &str) -> Vec<Message> {
    let mut found: Vec<Message> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match head(line.trim_start_matches(MARKS), index + 1) {
            Some(message) => found.push(message),
            None => {
                if let Some((_, words)) = found.last_mut().and_then(|last| last.said.as_mut()) {
                    words.push('\n');
                    words.push_str(line);
                }
            }
        }
    }
    found
}

fn head(line: &str, number: usize) -> Option<Message> {
    let parts = HEAD.captures(line)?;
    let ios = parts.name("ios");
    let rest = ios.or_else(|| parts.name("android"))?.as_str();
    let part = |name: &str| {
        let name = if ios.is_some() { name.to_owned() } else { format!("x{name}") };
        named(&parts, &name)
    };
    let number_of = |name: &str| part(name).and_then(|digits| digits.parse::<u32>().ok());
    let half = part("half").map(|half| half.starts_with(['p', 'P']));
    let hour = match (number_of("h")?, half) {
        (12, Some(false)) => 0,
        (hour, Some(true)) if hour < 12 => hour + 12,
        (hour, _) => hour,
    };
    let time = NaiveTime::from_hms_opt(hour, number_of("m")?, number_of("s").unwrap_or(0))?;
    let said = rest.split_once(": ").or_else(|| rest.strip_suffix(':').map(|name| (name, ""))).filter(|(name, _)| is_name(name));
    // What a telephone says itself begins with a mark, and so does what stands for a picture.
    let said = said.filter(|(_, words)| !words.starts_with(MARKS)).map(|(name, words)| (name.trim_matches(MARKS).trim_start_matches('~').trim().to_owned(), words.to_owned()));
    Some(Message { line: number, date: [number_of("a")?, number_of("b")?, number_of("c")?], time, said })
}

fn named<'line>(parts: &Captures<'line>, name: &str) -> Option<&'line str> {
    parts.name(name).map(|part| part.as_str())
}

/// "Aino changed the subject from “a: b”" is nobody's name.
fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= LONGEST_NAME && !name.contains(['"', '“', '”', '«', '»'])
}

/// What stands for something that was not words, or is no more.
fn unspoken(text: &str) -> bool {
    const GONE: [&str; 7] = [
        "This message was deleted",
        "This message was deleted.",
        "You deleted this message",
        "You deleted this message.",
        "Tämä viesti poistettiin",
        "Poistit tämän viestin",
        "null",
    ];
    let in_brackets = text.starts_with('<') && text.ends_with('>') && !text.contains('\n');
    let attached = [" (file attached)", " (tiedosto liitetty)"].iter().any(|end| text.lines().next().is_some_and(|line| line.ends_with(end)));
    in_brackets || attached || GONE.contains(&text)
}

/// What comes first in the dates, if the file tells: a number above twelve, or that time goes forward only one way.
fn ordered(messages: &[Message]) -> Option<DateOrder> {
    if messages.iter().all(|message| message.date[0] > 31) {
        return Some(DateOrder::Year);
    }
    let possible = [DateOrder::Day, DateOrder::Month].into_iter().filter_map(|order| {
        let days: Option<Vec<NaiveDate>> = messages.iter().map(|message| day(message.date, order)).collect();
        let days = days?;
        Some((order, days.windows(2).filter(|pair| pair[1] < pair[0]).count()))
    });
    match possible.collect::<Vec<_>>()[..] {
        [(order, _)] => Some(order),
        [(day, back), (month, other)] if back != other => Some(if back < other { day } else { month }),
        _ => None,
    }
}

fn day([first, second, third]: [u32; 3], order: DateOrder) -> Option<NaiveDate> {
    let (year, month, day) = match order {
        DateOrder::Day => (third, second, first),
        DateOrder::Month => (third, first, second),
        DateOrder::Year => (first, second, third),
    };
    let year = if year < 100 { 2_000 + year } else { year };
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(name: &str, text: &str) -> anyhow::Result<Contents> {
        read(Path::new(name), name, text.as_bytes(), None, FixedOffset::east_opt(0).expect("no offset"))
    }

    fn said(contents: &Contents) -> Vec<(String, String, String)> {
        let turn = |turn: &Turn| (turn.occurred_at.format("%Y-%m-%d %H:%M:%S").to_string(), turn.speaker.clone().unwrap_or_default(), turn.text.clone());
        contents.turns.iter().map(turn).collect()
    }

    fn row(at: &str, who: &str, text: &str) -> (String, String, String) {
        (at.to_owned(), who.to_owned(), text.to_owned())
    }

    #[test]
    fn reads_the_forms_of_both_kinds_of_telephones_and_of_several_languages() {
        let ios = "\u{feff}\u{200e}[12/31/25, 9:15:30\u{202f}PM] Family: \u{200e}Messages and calls are end-to-end encrypted.\n\
                   [12/31/25, 9:15:31\u{202f}PM] ~ Aino: Happy new year: 2026!\nSecond line\n\
                   [1/1/26, 12:05:00\u{202f}AM] Bob: \u{200e}image omitted\n\
                   [1/1/26, 12:06:00\u{202f}AM] Bob: You too";
        let rows = [row("2025-12-31 21:15:31", "Aino", "Happy new year: 2026!\nSecond line"), row("2026-01-01 00:06:00", "Bob", "You too")];
        assert_eq!(said(&read_text("_chat.txt", ios).expect("readable")), rows);
        let android = "31/12/2025, 21:15 - Messages and calls are end-to-end encrypted. Tap to learn more.\n\
                       31/12/2025, 21:15 - Aino changed the subject from \"a: b\" to \"c: d\"\n\
                       31/12/2025, 21:15 - Aino: Hei\n01/01/2026, 00:06 - Bob: <Media omitted>\n01/01/2026, 00:06 - Bob: IMG-1.jpg (file attached)\n01/01/2026, 00:07 - Bob: Moi";
        assert_eq!(said(&read_text("WhatsApp Chat with Bob.txt", android).expect("readable")), [row("2025-12-31 21:15:00", "Aino", "Hei"), row("2026-01-01 00:07:00", "Bob", "Moi")]);
        let finnish = "31.12.2025 klo 21.15 - Aino: Hei\n1.1.2026 klo 0.06 - Bob: Tämä viesti poistettiin\n1.1.2026 klo 0.07 - Bob: 3.1. klo 12.00 - sopiiko?";
        assert_eq!(said(&read_text("chat.txt", finnish).expect("readable")), [row("2025-12-31 21:15:00", "Aino", "Hei"), row("2026-01-01 00:07:00", "Bob", "3.1. klo 12.00 - sopiiko?")]);
        let year_first = "2025-12-31, 9:15 p.m. - Aino: Hi";
        assert_eq!(said(&read_text("chat.txt", year_first).expect("readable")), [row("2025-12-31 21:15:00", "Aino", "Hi")]);
    }

    #[test]
    fn a_date_that_can_be_read_in_two_ways_is_asked_about_unless_time_tells() {
        let both = "01/02/2026, 10:00 - Aino: Hi";
        let error = read_text("chat.txt", both).expect_err("two ways");
        assert!(error.to_string().contains("--date-order"), "{error}");
        // The second of January to the third of February, or back and forth.
        let forward = "01/02/2026, 10:00 - Aino: a\n02/02/2026, 10:00 - Aino: b\n01/03/2026, 10:00 - Aino: c";
        assert_eq!(said(&read_text("chat.txt", forward).expect("time tells"))[2].0, "2026-03-01 10:00:00");
        let asked = read(Path::new("chat.txt"), "chat.txt", both.as_bytes(), Some(DateOrder::Month), FixedOffset::east_opt(-5 * 3_600).expect("an offset")).expect("said");
        assert_eq!(said(&asked)[0].0, "2026-01-02 15:00:00", "in the zone that was said");
        let wrong = read(Path::new("chat.txt"), "chat.txt", b"31/12/2025, 10:00 - Aino: a", Some(DateOrder::Month), FixedOffset::east_opt(0).expect("no offset"));
        assert!(wrong.expect_err("no 31st month").to_string().contains("there is no such day"));
    }

    #[test]
    fn a_chat_that_has_grown_has_the_same_names_for_what_was_there() {
        let early = "31.12.2025, 21:15 - Aino: Hei\n31.12.2025, 21:15 - Aino: Hei\n";
        let names = |text: &str| read_text("WhatsApp Chat with Bob.txt", text).expect("readable").turns.into_iter().map(|turn| (turn.conversation, turn.turn)).collect::<Vec<_>>();
        let (then, now) = (names(early), names(&format!("{early}1.1.2026, 10:00 - Bob: Moi\n")));
        assert_eq!(then, now[..2]);
        assert_eq!(then[0].0, "Bob");
        assert_ne!(then[0].1, then[1].1);
    }

    #[test]
    fn the_archive_or_the_folder_names_the_chat_where_the_file_does_not() {
        assert_eq!(conversation(Path::new("/x/WhatsApp Chat - Bob.zip"), "_chat.txt"), "Bob");
        assert_eq!(conversation(Path::new("/x/Bob/_chat.txt"), "_chat.txt"), "Bob");
        assert_eq!(conversation(Path::new("_chat.txt"), "_chat.txt"), "WhatsApp");
    }

    #[test]
    fn refuses_what_is_not_a_chat() {
        for text in ["", "Hello\nthere", "[{\"a\": 1}]", "99:99 - x: y"] {
            let error = read_text("chat.txt", text).expect_err("no chat");
            assert_eq!(crate::exit::of(&error), crate::exit::Exit::Unusable, "{text}");
        }
    }
}
