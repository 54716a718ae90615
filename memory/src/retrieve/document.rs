//! One turn as the signals see it: stems of its forms, and the plain facts about its wording.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use regex::Regex;

use super::lexicon::{Language, stems};
use crate::postgres::Memory;

macro_rules! expression {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("a constant expression"));
    };
}
expression!(
    TIME,
    r"(?i)\b(yesterday|today|tomorrow|tonight|last|next|ago|week|weekend|month|year|monday|tuesday|wednesday|thursday|friday|saturday|sunday|january|february|march|april|may|june|july|august|september|october|november|december|\d{4}|recently|since|just|eilen|tänään|huomenna|viime|ensi|sitten|viikko\w*|viikon\w*|kuukau\w*|vuosi|vuonna|vuoden|maanantai\w*|tiistai\w*|keskiviik\w*|torstai\w*|perjantai\w*|lauantai\w*|sunnuntai\w*|\w+kuu(n|ssa|sta|ta)?|äskettäin|juuri)\b"
);
expression!(
    NUMBER,
    r"(?i)\b(\d+|one|two|three|four|five|six|seven|eight|nine|ten|once|twice|couple|few|dozen|yksi|kaksi|kahden|kolme\w*|neljä\w*|viisi|viiden|kuusi|kuuden|seitsemän|kahdeksan|yhdeksän|kymmenen|kerran|kahdesti|pari|muutama\w*)\b"
);
expression!(NAME, r"[\p{Ll}, ] ?\p{Lu}\p{Ll}+");

/// A term of an arena: a stem, or a pair of stems.
pub(super) type Term = u32;

/// Terms and how often each occurs, in order of term.
pub(super) type Bag = Vec<(Term, f32)>;

/// Numbers for stems, given in order of first sight; an arena's own.
#[derive(Debug, Default)]
pub(super) struct Terms {
    numbers: HashMap<String, Term>,
}

impl Terms {
    fn number(&mut self, stem: String) -> Term {
        let next = u32::try_from(self.numbers.len()).expect("fewer than 2^32 stems");
        *self.numbers.entry(stem).or_insert(next)
    }

    /// The number of a stem that some turn holds or held.
    pub(super) fn find(&self, stem: &str) -> Option<Term> {
        self.numbers.get(stem).copied()
    }

    fn bag(&mut self, stems: impl IntoIterator<Item = String>) -> Bag {
        let mut numbers: Vec<Term> = stems.into_iter().map(|stem| self.number(stem)).collect();
        numbers.sort_unstable();
        let mut bag: Bag = Vec::with_capacity(numbers.len());
        for number in numbers {
            match bag.last_mut() {
                Some((last, count)) if *last == number => *count += 1.0,
                _ => bag.push((number, 1.0)),
            }
        }
        bag
    }

    /// Bytes held, about.
    pub(super) fn bytes(&self) -> usize {
        self.numbers.len() * 64
    }
}

/// How a pair of adjacent stems is written as one term.
pub(super) fn pair(first: &str, second: &str) -> String {
    format!("{first}\u{1f}{second}")
}

/// One turn, analysed.
#[derive(Debug)]
pub(super) struct Document {
    /// Stems of "(date) Speaker: text [shares caption]".
    pub(super) dated: Bag,
    /// Stems of "Speaker: text [shares caption]".
    pub(super) spoken: Bag,
    /// Stems of text and caption.
    pub(super) plain: Bag,
    /// Adjacent pairs of stems of text and caption.
    pub(super) pairs: Bag,
    /// Words of text and caption, which bound a window.
    pub(super) words: usize,
    /// A question mark in the last 40 characters.
    pub(super) asks: bool,
    /// A word of time.
    pub(super) time: bool,
    /// A number.
    pub(super) number: bool,
    /// A capitalised word inside a sentence.
    pub(super) name: bool,
}

impl Document {
    pub(super) fn new(memory: &Memory, terms: &mut Terms) -> Self {
        let text = &memory.body.text;
        let caption = memory.body.caption.as_deref().unwrap_or_default();
        let language = Language::of(text);
        let speaker = memory.body.speaker.as_deref().unwrap_or_else(|| memory.role.as_str());
        let shares = if caption.is_empty() { String::new() } else { format!(" [shares {caption}]") };
        let spoken = format!("{speaker}: {text}{shares}");
        let dated = format!("({}) {spoken}", date(memory.occurred_at, language));
        let plain = stems(&format!("{text} {caption}"), language);
        let pairs: Vec<String> = plain.iter().zip(plain.iter().skip(1)).map(|(first, second)| pair(first, second)).collect();
        let from = text.char_indices().rev().nth(39).map_or(0, |(at, _)| at);
        Self {
            dated: terms.bag(stems(&dated, language)),
            spoken: terms.bag(stems(&spoken, language)),
            pairs: terms.bag(pairs),
            plain: terms.bag(plain),
            words: text.split_whitespace().count() + caption.split_whitespace().count(),
            asks: text.get(from..).is_some_and(|end| end.contains('?')),
            time: TIME.is_match(text),
            number: NUMBER.is_match(text),
            name: NAME.is_match(text),
        }
    }

    /// Bytes held, about.
    pub(super) fn bytes(&self) -> usize {
        (self.dated.len() + self.spoken.len() + self.plain.len() + self.pairs.len()) * size_of::<(Term, f32)>()
    }
}

/// Number of terms, repeats counted.
pub(super) fn length(bag: &Bag) -> f32 {
    bag.iter().map(|(_, count)| count).sum()
}

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const FINNISH_MONTHS: [&str; 12] = [
    "tammikuuta", "helmikuuta", "maaliskuuta", "huhtikuuta", "toukokuuta", "kesäkuuta", "heinäkuuta", "elokuuta", "syyskuuta",
    "lokakuuta", "marraskuuta", "joulukuuta",
];

/// "1:56 pm on 8 May, 2023" or "8. toukokuuta 2023 klo 13.56".
fn date(at: DateTime<Utc>, language: Language) -> String {
    let month = at.month0() as usize;
    match language {
        Language::English => {
            let (afternoon, hour) = at.hour12();
            let half = if afternoon { "pm" } else { "am" };
            format!("{hour}:{:02} {half} on {} {}, {}", at.minute(), at.day(), MONTHS[month], at.year())
        }
        Language::Finnish => format!("{}. {} {} klo {}.{:02}", at.day(), FINNISH_MONTHS[month], at.year(), at.hour(), at.minute()),
    }
}
