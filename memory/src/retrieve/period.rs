//! Times that a question names: a month, a year, and spans that only "now" resolves ("last spring", "viime keväänä").

use std::sync::LazyLock;

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime, Utc, Weekday};
use regex::Regex;

macro_rules! expression {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("a constant expression"));
    };
}
expression!(MONTH, r"\b(january|february|march|april|may|june|july|august|september|october|november|december)\b");
expression!(MAY_IS_A_MONTH, r"\b(in|of|on|early|late|mid|during|since|until|by|last|this|\d+)\s+may\b|\bmay\s+(\d|20)");
expression!(FINNISH_MONTH, r"\b(tammi|helmi|maalis|huhti|touko|kesä|heinä|elo|syys|loka|marras|joulu)kuu");
expression!(YEAR, r"\b(20\d\d)\b");
expression!(AGO, r"\b(a|an|one|two|three|four|five|six|seven|eight|nine|ten|\d{1,3}|a couple of|a few) (day|week|month|year)s? ago\b");
expression!(
    FINNISH_AGO,
    r"\b(?:(yksi|kaksi|kolme|neljä|viisi|kuusi|seitsemän|kahdeksan|yhdeksän|kymmenen|pari|muutama|\d{1,3}) )?(päivä|viikko|kuukausi|vuosi|päivää|viikkoa|kuukautta|vuotta) sitten\b"
);
expression!(RELATIVE, r"\b(last|this|past|previous) (week|weekend|month|year|spring|summer|autumn|fall|winter|monday|tuesday|wednesday|thursday|friday|saturday|sunday|night)\b");
expression!(
    FINNISH_RELATIVE,
    r"\b(viime|tällä|tässä|tänä) (viikolla|viikonloppuna|kuussa|kuukautena|vuonna|keväänä|kesänä|syksynä|talvena|yönä|maanantaina|tiistaina|keskiviikkona|torstaina|perjantaina|lauantaina|sunnuntaina)\b"
);

const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
const FINNISH_MONTHS: [&str; 12] =
    ["tammi", "helmi", "maalis", "huhti", "touko", "kesä", "heinä", "elo", "syys", "loka", "marras", "joulu"];

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Day,
    Week,
    Month,
    Year,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Season {
    Spring,
    Summer,
    Autumn,
    Winter,
}

/// A time that only the present resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relative {
    /// So many days back: today 0, yesterday 1.
    Days(u32),
    /// So many of a unit ago, give or take half a unit.
    Ago(u32, Unit),
    /// The calendar week, month or year so many back.
    Calendar(u32, Unit),
    /// The weekend so many back.
    Weekend(u32),
    /// The season that is over last, or is now (`true`).
    Season(Season, bool),
    /// The last such day before today.
    Weekday(Weekday),
}

/// Times a question names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    months: Vec<u32>,
    years: Vec<i32>,
    relative: Vec<Relative>,
}

/// From, included, until, excluded.
pub(super) type Span = (DateTime<Utc>, DateTime<Utc>);

impl Times {
    /// Reads a question in lower case.
    pub(super) fn of(lower: &str) -> Self {
        let years = YEAR.find_iter(lower).filter_map(|found| found.as_str().parse().ok()).collect();
        Self { months: months(lower), years, relative: relative(lower) }
    }

    /// The spans of what only the present resolves.
    pub(super) fn spans(&self, now: DateTime<Utc>) -> Vec<Span> {
        self.relative.iter().filter_map(|relative| span(*relative, now.date_naive())).collect()
    }

    /// How well a date fits a question: 1 the month (and the year, if given) or a span, 0.5 the year alone.
    pub(super) fn fit(&self, date: DateTime<Utc>, spans: &[Span]) -> f32 {
        if spans.iter().any(|(from, until)| *from <= date && date < *until) {
            return 1.0;
        }
        let year = self.years.contains(&date.year());
        if self.months.is_empty() {
            return if year { 0.5 } else { 0.0 };
        }
        f32::from(u8::from(self.months.contains(&date.month()) && (self.years.is_empty() || year)))
    }

    /// Whether the question names a time that can be told without, or with, the present.
    pub(super) fn any(&self, spans: &[Span]) -> bool {
        !self.months.is_empty() || !self.years.is_empty() || !spans.is_empty()
    }

    #[cfg(test)]
    pub(super) fn calendar(&self) -> (&[u32], &[i32]) {
        (&self.months, &self.years)
    }
}

fn months(lower: &str) -> Vec<u32> {
    let number = |names: &[&str; 12], name: &str| names.iter().position(|known| *known == name).and_then(|at| u32::try_from(at + 1).ok());
    let mut found: Vec<u32> = MONTH.find_iter(lower).filter_map(|found| number(&MONTHS, found.as_str())).collect();
    if !MAY_IS_A_MONTH.is_match(lower) {
        found.retain(|month| *month != 5);
    }
    found.extend(FINNISH_MONTH.captures_iter(lower).filter_map(|found| number(&FINNISH_MONTHS, found.get(1)?.as_str())));
    found
}

fn relative(lower: &str) -> Vec<Relative> {
    let mut found = Vec::new();
    let words = |list: &[&str]| lower.split(|letter: char| !letter.is_alphanumeric()).any(|word| list.contains(&word));
    if words(&["today", "tänään"]) {
        found.push(Relative::Days(0));
    }
    if lower.contains("day before yesterday") || words(&["toissapäivänä"]) {
        found.push(Relative::Days(2));
    } else if words(&["yesterday", "eilen"]) {
        found.push(Relative::Days(1));
    }
    for part in AGO.captures_iter(lower).chain(FINNISH_AGO.captures_iter(lower)) {
        let many = part.get(1).map_or(Some(1), |many| count(many.as_str()));
        let unit = part.get(2).and_then(|unit| unit_of(unit.as_str()));
        if let (Some(many), Some(unit)) = (many, unit) {
            found.push(Relative::Ago(many, unit));
        }
    }
    for part in RELATIVE.captures_iter(lower).chain(FINNISH_RELATIVE.captures_iter(lower)) {
        let (Some(which), Some(what)) = (part.get(1), part.get(2)) else { continue };
        let now = matches!(which.as_str(), "this" | "tällä" | "tässä" | "tänä");
        found.extend(named(what.as_str(), now));
    }
    found
}

fn count(word: &str) -> Option<u32> {
    const NUMBERS: [(&str, &str); 10] = [
        ("one", "yksi"),
        ("two", "kaksi"),
        ("three", "kolme"),
        ("four", "neljä"),
        ("five", "viisi"),
        ("six", "kuusi"),
        ("seven", "seitsemän"),
        ("eight", "kahdeksan"),
        ("nine", "yhdeksän"),
        ("ten", "kymmenen"),
    ];
    match word {
        "a" | "an" => Some(1),
        "a couple of" | "pari" => Some(2),
        "a few" | "muutama" => Some(3),
        other => {
            let at = NUMBERS.iter().position(|(english, finnish)| *english == other || *finnish == other);
            at.and_then(|at| u32::try_from(at + 1).ok()).or_else(|| other.parse().ok())
        }
    }
}

fn unit_of(word: &str) -> Option<Unit> {
    match word {
        "day" | "päivä" | "päivää" => Some(Unit::Day),
        "week" | "viikko" | "viikkoa" => Some(Unit::Week),
        "month" | "kuukausi" | "kuukautta" => Some(Unit::Month),
        "year" | "vuosi" | "vuotta" => Some(Unit::Year),
        _ => None,
    }
}

fn named(word: &str, now: bool) -> Option<Relative> {
    let back = u32::from(!now);
    Some(match word {
        "week" | "viikolla" => Relative::Calendar(back, Unit::Week),
        "month" | "kuussa" | "kuukautena" => Relative::Calendar(back, Unit::Month),
        "year" | "vuonna" => Relative::Calendar(back, Unit::Year),
        "weekend" | "viikonloppuna" => Relative::Weekend(back),
        "night" | "yönä" => Relative::Days(1),
        "spring" | "keväänä" => Relative::Season(Season::Spring, now),
        "summer" | "kesänä" => Relative::Season(Season::Summer, now),
        "autumn" | "fall" | "syksynä" => Relative::Season(Season::Autumn, now),
        "winter" | "talvena" => Relative::Season(Season::Winter, now),
        "monday" | "maanantaina" => Relative::Weekday(Weekday::Mon),
        "tuesday" | "tiistaina" => Relative::Weekday(Weekday::Tue),
        "wednesday" | "keskiviikkona" => Relative::Weekday(Weekday::Wed),
        "thursday" | "torstaina" => Relative::Weekday(Weekday::Thu),
        "friday" | "perjantaina" => Relative::Weekday(Weekday::Fri),
        "saturday" | "lauantaina" => Relative::Weekday(Weekday::Sat),
        "sunday" | "sunnuntaina" => Relative::Weekday(Weekday::Sun),
        _ => return None,
    })
}

/// `None` where the calendar ends.
fn span(relative: Relative, today: NaiveDate) -> Option<Span> {
    let days_back = |days: u32| today.checked_sub_days(Days::new(u64::from(days)));
    let first_of_month = today.with_day(1)?;
    let (from, until) = match relative {
        Relative::Days(days) => (days_back(days)?, days_back(days)?.succ_opt()?),
        Relative::Ago(many, Unit::Day) => {
            let slack = u64::from(many >= 3);
            let day = days_back(many)?;
            (day.checked_sub_days(Days::new(slack))?, day.checked_add_days(Days::new(slack + 1))?)
        }
        Relative::Ago(many, Unit::Week) => {
            let day = days_back(many.checked_mul(7)?)?;
            (day.checked_sub_days(Days::new(4))?, day.checked_add_days(Days::new(5))?)
        }
        Relative::Ago(many, Unit::Month) => {
            let day = today.checked_sub_months(Months::new(many))?;
            (day.checked_sub_days(Days::new(16))?, day.checked_add_days(Days::new(17))?)
        }
        Relative::Ago(many, Unit::Year) => {
            let day = today.checked_sub_months(Months::new(many.checked_mul(12)?))?;
            (day.checked_sub_months(Months::new(6))?, day.checked_add_months(Months::new(6))?)
        }
        Relative::Calendar(back, Unit::Week) => {
            let monday = days_back(today.weekday().num_days_from_monday() + back * 7)?;
            (monday, monday.checked_add_days(Days::new(7))?)
        }
        Relative::Calendar(back, Unit::Year) => {
            let year = today.year() - i32::try_from(back).ok()?;
            (NaiveDate::from_ymd_opt(year, 1, 1)?, NaiveDate::from_ymd_opt(year + 1, 1, 1)?)
        }
        Relative::Calendar(back, _) => {
            let from = first_of_month.checked_sub_months(Months::new(back))?;
            (from, from.checked_add_months(Months::new(1))?)
        }
        Relative::Weekend(back) => {
            // Of a Saturday or Sunday, "last weekend" is the one before.
            let monday = days_back(today.weekday().num_days_from_monday() + back * 7)?;
            (monday.checked_add_days(Days::new(4))?, monday.checked_add_days(Days::new(7))?)
        }
        Relative::Season(season, now) => {
            let start = match season {
                Season::Spring => 3,
                Season::Summer => 6,
                Season::Autumn => 9,
                Season::Winter => 12,
            };
            let mut from = NaiveDate::from_ymd_opt(today.year(), start, 1)?;
            let end = |from: NaiveDate| from.checked_add_months(Months::new(3));
            // "This" is the one that has begun last; "last" is the one that is over.
            while (now && from > today) || (!now && end(from)? > today) {
                from = from.checked_sub_months(Months::new(12))?;
            }
            (from, end(from)?)
        }
        Relative::Weekday(day) => {
            let back = (today.weekday().num_days_from_monday() + 7 - day.num_days_from_monday()) % 7;
            let day = days_back(if back == 0 { 7 } else { back })?;
            (day, day.succ_opt()?)
        }
    };
    let instant = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    Some((instant(from), instant(until)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(question: &str) -> Vec<(String, String)> {
        // A Wednesday.
        let now = "2026-11-25T15:00:00Z".parse().expect("a time");
        let day = |at: DateTime<Utc>| at.format("%Y-%m-%d").to_string();
        Times::of(&question.to_lowercase()).spans(now).into_iter().map(|(from, until)| (day(from), day(until))).collect()
    }

    fn one(question: &str) -> (String, String) {
        let all = spans(question);
        assert_eq!(all.len(), 1, "{question}: {all:?}");
        all.into_iter().next().expect("one")
    }

    #[test]
    fn resolves_what_only_now_resolves_in_both_languages() {
        for (english, finnish, from, until) in [
            ("What did I eat yesterday?", "Mitä söin eilen?", "2026-11-24", "2026-11-25"),
            ("Who called today?", "Kuka soitti tänään?", "2026-11-25", "2026-11-26"),
            ("the day before yesterday", "toissapäivänä", "2026-11-23", "2026-11-24"),
            ("Where did we go last spring?", "Missä kävimme viime keväänä?", "2026-03-01", "2026-06-01"),
            ("last summer", "viime kesänä", "2026-06-01", "2026-09-01"),
            ("last autumn", "viime syksynä", "2025-09-01", "2025-12-01"),
            ("this autumn", "tänä syksynä", "2026-09-01", "2026-12-01"),
            ("last winter", "viime talvena", "2025-12-01", "2026-03-01"),
            ("two weeks ago", "kaksi viikkoa sitten", "2026-11-07", "2026-11-16"),
            ("a month ago", "kuukausi sitten", "2026-10-09", "2026-11-11"),
            ("last week", "viime viikolla", "2026-11-16", "2026-11-23"),
            ("last month", "viime kuussa", "2026-10-01", "2026-11-01"),
            ("this year", "tänä vuonna", "2026-01-01", "2027-01-01"),
            ("last year", "viime vuonna", "2025-01-01", "2026-01-01"),
            ("last weekend", "viime viikonloppuna", "2026-11-20", "2026-11-23"),
            ("last Friday", "viime perjantaina", "2026-11-20", "2026-11-21"),
            ("last Wednesday", "viime keskiviikkona", "2026-11-18", "2026-11-19"),
        ] {
            assert_eq!(one(english), (from.to_owned(), until.to_owned()), "{english}");
            assert_eq!(one(finnish), (from.to_owned(), until.to_owned()), "{finnish}");
        }
    }

    #[test]
    fn reads_nothing_where_no_time_is_named_and_survives_absurd_numbers() {
        assert!(spans("What lasts a week or two?").is_empty());
        assert!(spans("What may she buy?").is_empty());
        assert_eq!(spans("What happened 999 years ago?").len(), 1);
        assert!(!Times::of("what may she buy?").any(&[]));
    }

    #[test]
    fn fits_months_years_and_spans() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let times = Times::of("in may 2023");
        assert_eq!(times.calendar(), ([5].as_slice(), [2023].as_slice()));
        assert!((times.fit(at("2023-05-08T10:00:00Z"), &[]) - 1.0).abs() < f32::EPSILON);
        assert!(times.fit(at("2024-05-08T10:00:00Z"), &[]).abs() < f32::EPSILON);
        assert!((Times::of("in 2023").fit(at("2023-05-08T10:00:00Z"), &[]) - 0.5).abs() < f32::EPSILON);
        let spring = Times::of("viime keväänä");
        let spans = spring.spans(at("2026-11-25T00:00:00Z"));
        assert!((spring.fit(at("2026-04-01T00:00:00Z"), &spans) - 1.0).abs() < f32::EPSILON);
        assert!(spring.fit(at("2025-04-01T00:00:00Z"), &spans).abs() < f32::EPSILON);
    }
}
