//! Times in words: `next Friday`, `12 May`, `ensi perjantaina`, `12.5.`, `since 2019`.

use chrono::Weekday;

use super::date::{Season, Unit, When};
use super::words::{Kind, Word};

/// How a time stands in its sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// At it.
    At,
    /// From it on.
    Since,
    /// Up to it.
    Until,
}

/// A time found: words `from..to` with what leads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) from: usize,
    /// The first word that is no preposition.
    pub(crate) core: usize,
    pub(crate) to: usize,
    pub(crate) when: When,
    pub(crate) lead: Lead,
}

const DAYS: [Weekday; 7] = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];
const ENGLISH_DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const FINNISH_DAYS: [&str; 7] = ["maanantai", "tiistai", "keskiviikko", "torstai", "perjantai", "lauantai", "sunnuntai"];
const ENGLISH_MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
const FINNISH_MONTHS: [&str; 12] =
    ["tammi", "helmi", "maalis", "huhti", "touko", "kesä", "heinä", "elo", "syys", "loka", "marras", "joulu"];

fn place(list: &[&str], word: &str) -> Option<u32> {
    list.iter().position(|known| *known == word).and_then(|at| u32::try_from(at).ok())
}

fn weekday(list: &[&str], word: &str) -> Option<Weekday> {
    DAYS.get(place(list, word)? as usize).copied()
}

/// A month by its English name; `may` only with a capital, and `march` too: both are verbs.
fn english_month(word: &Word) -> Option<u32> {
    let sure = word.capital || !matches!(word.lower.as_str(), "may" | "march");
    place(&ENGLISH_MONTHS, &word.lower).filter(|_| sure).map(|at| at + 1)
}

/// A month by its Finnish name in the form with this ending.
fn finnish_month(word: &str, endings: &[&str]) -> Option<u32> {
    let stem = endings.iter().find_map(|ending| word.strip_suffix(ending)?.strip_suffix("kuu"))?;
    place(&FINNISH_MONTHS, stem).map(|at| at + 1)
}

/// A whole number up to twelve in words, or in digits.
pub(crate) fn number(word: &Word) -> Option<u32> {
    const ENGLISH: [&str; 13] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
    const FINNISH: [&str; 11] = ["nolla", "yksi", "kaksi", "kolme", "neljä", "viisi", "kuusi", "seitsemän", "kahdeksan", "yhdeksän", "kymmenen"];
    const GENITIVE: [&str; 11] = ["nollan", "yhden", "kahden", "kolmen", "neljän", "viiden", "kuuden", "seitsemän", "kahdeksan", "yhdeksän", "kymmenen"];
    if word.kind == Kind::Number {
        return word.lower.parse().ok();
    }
    [&ENGLISH[..], &FINNISH[..], &GENITIVE[..]].into_iter().find_map(|list| place(list, &word.lower))
}

fn year(word: &Word) -> Option<i32> {
    word.lower.parse().ok().filter(|year| word.kind == Kind::Number && (1900..=2100).contains(year))
}

/// `12`, `12.`, `12th`.
fn ordinal(word: &Word) -> Option<u32> {
    if word.kind != Kind::Number {
        return None;
    }
    let bare = ["th", "st", "nd", "rd", "."].iter().find_map(|tail| word.lower.strip_suffix(tail)).unwrap_or(&word.lower);
    bare.parse().ok().filter(|day| (1..=31).contains(day))
}

/// `12.5.`, `12.5.2026` and `2026-05-12`.
fn written(word: &Word) -> Option<When> {
    if word.kind != Kind::Number {
        return None;
    }
    let iso: Vec<&str> = word.lower.split('-').collect();
    if let [year, month, day] = iso[..]
        && year.len() == 4
    {
        return Some(When::Day { day: day.parse().ok()?, month: month.parse().ok()?, year: Some(year.parse().ok()?) });
    }
    let parts: Vec<&str> = word.lower.split('.').collect();
    let (day, month, year) = match parts[..] {
        [day, month, ""] => (day, month, None),
        [day, month, year] if year.len() == 4 => (day, month, Some(year.parse().ok()?)),
        _ => return None,
    };
    let (day, month): (u32, u32) = (day.parse().ok()?, month.parse().ok()?);
    ((1..=31).contains(&day) && (1..=12).contains(&month)).then_some(When::Day { day, month, year })
}

/// The times of a sentence, in order, none within another.
pub(crate) fn times(words: &[Word], from: usize, to: usize) -> Vec<Told> {
    let mut found = Vec::new();
    let mut at = from;
    while at < to {
        match told(&words[..to], at) {
            Some(told) => {
                at = told.to;
                found.push(told);
            }
            None => at += 1,
        }
    }
    found
}

fn told(words: &[Word], at: usize) -> Option<Told> {
    let word = |at: usize| words.get(at).map_or("", |word| word.lower.as_str());
    let (lead, start) = match word(at) {
        "since" => (Lead::Since, at + 1),
        "until" | "till" => (Lead::Until, at + 1),
        "on" | "in" | "at" | "this" | "by" | "for" | "early" | "late" | "around" => (Lead::At, at + 1),
        _ => (Lead::At, at),
    };
    let start = start + usize::from(matches!(word(start), "the" | "early" | "late"));
    let bare = start == at;
    let hour = word(at) == "at" && words.get(at + 1).is_some_and(|next| next.kind == Kind::Number && year(next).is_none());
    let lead = match word(at) {
        "vuodesta" => Lead::Since,
        "vuoteen" => Lead::Until,
        // From 2015, to 2018: only years, for both words mean much else.
        "from" if words.get(at + 1).and_then(year).is_some() => Lead::Since,
        "to" if words.get(at + 1).and_then(year).is_some() => Lead::Until,
        other if other.ends_with("kuusta") => Lead::Since,
        _ => lead,
    };
    let (start, bare) = if matches!(word(at), "from" | "to") && lead != Lead::At { (at + 1, false) } else { (start, bare) };
    let found = if hour { english(words, at + 2, false) } else { english(words, start, !bare).or_else(|| finnish(words, at)) };
    let (when, mut end) = found?;
    let mut lead = lead;
    // Times of the day say no more here, but belong to the time.
    if matches!(word(end), "at" | "klo" | "kello") && words.get(end + 1).is_some_and(|next| next.kind == Kind::Number) {
        end += 2;
    }
    while matches!(word(end), "am" | "pm" | "morning" | "afternoon" | "evening" | "night" | "o'clock" | "aamulla" | "illalla" | "iltana" | "aamuna") {
        end += 1;
    }
    match word(end) {
        "asti" | "saakka" => (lead, end) = (if word(start).ends_with("sta") { Lead::Since } else { Lead::Until }, end + 1),
        "alkaen" | "lähtien" => (lead, end) = (Lead::Since, end + 1),
        _ => {}
    }
    Some(Told { from: at, core: start, to: end, when, lead })
}

fn season(word: &str) -> Option<Season> {
    Some(match word {
        "summer" | "kesä" => Season::Summer,
        "autumn" | "fall" | "syksy" => Season::Autumn,
        "winter" | "talvi" => Season::Winter,
        "spring" | "kevät" => Season::Spring,
        _ => return None,
    })
}

fn english(words: &[Word], at: usize, led: bool) -> Option<(When, usize)> {
    let word = |at: usize| words.get(at).map_or("", |word| word.lower.as_str());
    let unit = |word: &str| {
        Some(match word.strip_suffix('s').unwrap_or(word) {
            "day" => Unit::Day,
            "week" => Unit::Week,
            "month" => Unit::Month,
            "year" => Unit::Year,
            _ => return None,
        })
    };
    let first = words.get(at)?;
    if let Some(when) = written(first) {
        return Some((when, at + 1));
    }
    match first.lower.as_str() {
        "today" | "tonight" => return Some((When::Whole(Unit::Day, 0), at + 1)),
        "tomorrow" => return Some((When::Whole(Unit::Day, 1), at + 1)),
        "yesterday" => return Some((When::Whole(Unit::Day, -1), at + 1)),
        "day" if word(at + 1) == "after" && word(at + 2) == "tomorrow" => return Some((When::Whole(Unit::Day, 2), at + 3)),
        "weekend" if led => return Some((When::Weekend(0), at + 1)),
        "next" | "coming" | "last" | "past" => {
            let step = if matches!(first.lower.as_str(), "next" | "coming") { 1 } else { -1 };
            let next = word(at + 1);
            let when = if next == "weekend" {
                When::Weekend(step)
            } else if let Some(day) = weekday(&ENGLISH_DAYS, next) {
                match first.lower.as_str() {
                    "coming" => When::Weekday(day),
                    _ => When::WeekdayOf(day, step),
                }
            } else if let Some(season) = season(next) {
                When::Ahead(season, step > 0)
            } else if let Some(month) = words.get(at + 1).and_then(english_month) {
                When::Month { month, year: None }
            } else {
                When::Whole(unit(next)?, step)
            };
            return Some((when, at + 2));
        }
        _ => {}
    }
    if let Some(day) = weekday(&ENGLISH_DAYS, &first.lower) {
        return Some((When::Weekday(day), at + 1));
    }
    // May 12th, 2026; May 2026; in May.
    if let Some(month) = english_month(first) {
        if let Some(day) = words.get(at + 1).and_then(ordinal).filter(|_| words.get(at + 1).and_then(year).is_none()) {
            let comma = usize::from(word(at + 2) == ",");
            let year = words.get(at + 2 + comma).and_then(year);
            return Some((When::Day { day, month, year }, if year.is_some() { at + 3 + comma } else { at + 2 }));
        }
        if let Some(year) = words.get(at + 1).and_then(year) {
            return Some((When::Month { month, year: Some(year) }, at + 2));
        }
        return led.then_some((When::Month { month, year: None }, at + 1));
    }
    // 12 May 2026; 12th of May.
    if let Some(day) = ordinal(first) {
        let of = usize::from(word(at + 1) == "of");
        if let Some(month) = words.get(at + 1 + of).and_then(english_month) {
            let year = words.get(at + 2 + of).and_then(year);
            return Some((When::Day { day, month, year }, at + 2 + of + usize::from(year.is_some())));
        }
    }
    if led && let Some(season) = season(&first.lower) {
        let year = words.get(at + 1).and_then(year);
        return Some((When::Season(season, year), at + 1 + usize::from(year.is_some())));
    }
    if led && let Some(year) = year(first) {
        return Some((When::Year(year), at + 1));
    }
    // In two weeks; two weeks from now; a year ago.
    let count = number(first).or((first.lower == "a").then_some(1))?;
    let unit = unit(word(at + 1))?;
    let count = i32::try_from(count).ok().filter(|count| *count <= 1_000)?;
    match word(at + 2) {
        "ago" if unit == Unit::Year => Some((When::Whole(unit, -count), at + 3)),
        "ago" => Some((When::After(unit, -count), at + 3)),
        "from" if word(at + 3) == "now" => Some((When::After(unit, count), at + 4)),
        _ if led && at > 0 && word(at - 1) == "in" => Some((When::After(unit, count), at + 2)),
        _ => None,
    }
}

fn finnish(words: &[Word], at: usize) -> Option<(When, usize)> {
    let word = |at: usize| words.get(at).map_or("", |word| word.lower.as_str());
    let first = words.get(at)?;
    if let Some(when) = written(first) {
        return Some((when, at + 1));
    }
    let lower = first.lower.as_str();
    match lower {
        "tänään" => return Some((When::Whole(Unit::Day, 0), at + 1)),
        "huomenna" => return Some((When::Whole(Unit::Day, 1), at + 1)),
        "ylihuomenna" => return Some((When::Whole(Unit::Day, 2), at + 1)),
        "eilen" => return Some((When::Whole(Unit::Day, -1), at + 1)),
        "toissapäivänä" => return Some((When::Whole(Unit::Day, -2), at + 1)),
        "viikonloppuna" => return Some((When::Weekend(0), at + 1)),
        "vuonna" | "vuodesta" | "vuoteen" => {
            return words.get(at + 1).and_then(year).map(|year| (When::Year(year), at + 2));
        }
        "ensi" | "tulevana" | "viime" => {
            let step = if lower == "viime" { -1 } else { 1 };
            let next = word(at + 1);
            let when = match next {
                "viikolla" => When::Whole(Unit::Week, step),
                "kuussa" => When::Whole(Unit::Month, step),
                "vuonna" => When::Whole(Unit::Year, step),
                "viikonloppuna" => When::Weekend(if step > 0 && lower == "tulevana" { 0 } else { step }),
                "kesänä" => When::Ahead(Season::Summer, step > 0),
                "syksynä" => When::Ahead(Season::Autumn, step > 0),
                "talvena" => When::Ahead(Season::Winter, step > 0),
                "keväänä" => When::Ahead(Season::Spring, step > 0),
                other => match finnish_month(other, &["ssa"]) {
                    Some(month) => When::Month { month, year: None },
                    // `Ensi perjantaina` is the nearest Friday to come.
                    None => When::Weekday(weekday(&FINNISH_DAYS, other.strip_suffix("na")?)?),
                },
            };
            return Some((when, at + 2));
        }
        "kesällä" => return Some((When::Season(Season::Summer, None), at + 1)),
        "syksyllä" => return Some((When::Season(Season::Autumn, None), at + 1)),
        "talvella" => return Some((When::Season(Season::Winter, None), at + 1)),
        "keväällä" => return Some((When::Season(Season::Spring, None), at + 1)),
        _ => {}
    }
    if let Some(day) = lower.strip_suffix("na").and_then(|stem| weekday(&FINNISH_DAYS, stem)) {
        return Some((When::Weekday(day), at + 1));
    }
    if let Some(month) = finnish_month(lower, &["ssa", "sta"]) {
        let year = words.get(at + 1).and_then(year);
        return Some((When::Month { month, year }, at + 1 + usize::from(year.is_some())));
    }
    if let Some(day) = ordinal(first)
        && let Some(month) = finnish_month(word(at + 1), &["ta"])
    {
        let year = words.get(at + 2).and_then(year);
        return Some((When::Day { day, month, year }, at + 2 + usize::from(year.is_some())));
    }
    // Kahden viikon päästä, viikon kuluttua, kolme vuotta sitten.
    let (count, at) = match number(first) {
        Some(count) => (i32::try_from(count).ok().filter(|count| *count <= 1_000)?, at + 1),
        None => (1, at),
    };
    let unit = match word(at) {
        "päivän" | "päivää" => Unit::Day,
        "viikon" | "viikkoa" | "viikko" => Unit::Week,
        "kuukauden" | "kuukautta" | "kuukausi" => Unit::Month,
        "vuoden" | "vuotta" | "vuosi" => Unit::Year,
        _ => return None,
    };
    match word(at + 1) {
        "päästä" | "kuluttua" => Some((When::After(unit, count), at + 2)),
        "sitten" if unit == Unit::Year => Some((When::Whole(unit, -count), at + 2)),
        "sitten" => Some((When::After(unit, -count), at + 2)),
        _ => None,
    }
}
