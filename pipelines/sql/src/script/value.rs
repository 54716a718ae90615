//! Values of options: as written, and as checked against their kind.

use std::time::Duration;

use super::options::Kind;
use crate::diagnostic::closest;

/// A value as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// A string.
    Text(String),
    /// A number, its sign included.
    Number(String),
    /// `true` or `false`.
    Flag(bool),
}

/// A value that has its kind's form and keeps its bounds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Checked {
    Text(String),
    Choice(&'static str),
    Count(u64),
    Number(f64),
    Time(Duration),
    Flag(bool),
    Letter(u8),
}

impl Written {
    /// Gives the value as it would stand in a string.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text) => text,
            Self::Flag(true) => "true",
            Self::Flag(false) => "false",
        }
    }

    /// Checks the value; an error is a suggestion, which may be missing.
    pub(super) fn check(&self, kind: Kind) -> Result<Checked, Option<String>> {
        check(kind, self.text())
    }
}

/// Checks a text against a kind; an error is a suggestion, which may be missing.
pub(super) fn check(kind: Kind, text: &str) -> Result<Checked, Option<String>> {
    let checked = match kind {
        Kind::Text => (!text.trim().is_empty()).then(|| Checked::Text(text.to_owned())),
        Kind::Choice(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
            Some(word) => Some(Checked::Choice(word)),
            None => return Err(closest(text, words.iter().copied()).map(str::to_owned)),
        },
        Kind::Count(least, most) => text.parse().ok().filter(|n| (least..=most).contains(n)).map(Checked::Count),
        Kind::Number(least, most) => text.parse().ok().filter(|n| (least..=most).contains(n)).map(Checked::Number),
        Kind::Time(least, most) => {
            let bounds = Duration::from_millis(least)..=Duration::from_millis(most);
            duration(text).filter(|time| bounds.contains(time)).map(Checked::Time)
        }
        Kind::Flag => match text.to_ascii_lowercase().as_str() {
            "true" => Some(Checked::Flag(true)),
            "false" => Some(Checked::Flag(false)),
            _ => None,
        },
        Kind::Letter => match text.as_bytes() {
            [letter] if letter.is_ascii() => Some(Checked::Letter(*letter)),
            _ => None,
        },
    };
    checked.ok_or(None)
}

/// Reads a whole number with a unit, such as `5 ms`, `2 s` or `10 minutes`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let micros: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "us" | "microsecond" | "microseconds" => 1,
        "ms" | "millisecond" | "milliseconds" => 1_000,
        "s" | "sec" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "minute" | "minutes" => 60_000_000,
        "h" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        _ => return None,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::options::{Fallback, OPTIONS};

    #[test]
    fn reads_times_with_their_unit_only() {
        assert_eq!(duration("5 ms"), Some(Duration::from_millis(5)));
        assert_eq!(duration(" 10MINUTES "), Some(Duration::from_secs(600)));
        for wrong in ["5", "ms", "", "-5 ms", "1.5 s", "5 fortnights", "99999999999999999999 s", "18446744073709551615 d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn accepts_every_declared_default() {
        for spec in OPTIONS {
            if let Fallback::Value(value) = spec.fallback {
                assert!(check(spec.kind, value).is_ok(), "{} = {value}", spec.name);
            }
        }
    }

    #[test]
    fn keeps_the_bounds() {
        assert_eq!(check(Kind::Count(1, 4), "4"), Ok(Checked::Count(4)));
        assert_eq!(check(Kind::Count(1, 4), "5"), Err(None));
        assert_eq!(check(Kind::Number(0.0, 2.0), "NaN"), Err(None));
        assert_eq!(check(Kind::Letter, "ä"), Err(None));
        assert_eq!(check(Kind::Choice(&["json", "csv"]), "jsno"), Err(Some("json".to_owned())));
        assert_eq!(check(Kind::Choice(&["json", "csv"]), "JSON"), Ok(Checked::Choice("json")));
    }
}
