//! One turn as the signals see it: stems of its forms, and the plain facts about its wording.

use std::collections::HashMap;
use std::sync::LazyLock;

use ajatus_events::Role;
use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use regex::Regex;

use super::kinds::{self, Kinds};
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
expression!(CAPITALISED, r"\p{Lu}\p{Ll}[\p{L}\p{N}']*");

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

    /// Numbers of the stems of a text's capitalised words that follow a small letter or a comma.
    fn names(&mut self, text: &str, language: Language) -> Vec<Term> {
        let inside = |from: usize| {
            let mut before = text.get(..from).unwrap_or_default().chars().rev();
            before.next() == Some(' ') && before.next().is_some_and(|letter| letter == ',' || letter.is_lowercase())
        };
        let found = CAPITALISED.find_iter(text).filter(|found| inside(found.start()));
        let mut names: Vec<Term> = found.flat_map(|found| stems(found.as_str(), language)).map(|stem| self.number(stem)).collect();
        names.sort_unstable();
        names.dedup();
        names
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

/// How a speaker's name is written as one term.
pub(super) fn speaker_term(name: &str) -> String {
    format!("\u{1e}{name}")
}

/// One turn, analysed: its terms.
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
    /// Stems of capitalised words inside a sentence: names, most of them. In order, each once.
    pub(super) names: Vec<Term>,
}

/// What a search reads of every turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// When it was said.
    pub(super) occurred_at: DateTime<Utc>,
    /// Kinds of things it names, and those of which it names two.
    pub(super) kinds: (Kinds, Kinds),
    /// Who speaks, if named.
    pub(super) speaker: Option<Term>,
    /// Words of text and caption, which bound a window.
    pub(super) words: u32,
    /// Terms of the document's dated form, spoken form, plain form, and pairs, repeats counted.
    pub(super) dated: f32,
    pub(super) spoken: f32,
    pub(super) plain: f32,
    pub(super) pairs: f32,
    /// Who speaks, in a chat.
    pub(super) role: Role,
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
    pub(super) fn new(memory: &Memory, terms: &mut Terms) -> (Self, Facts) {
        let text = &memory.body.text;
        let caption = memory.body.caption.as_deref().unwrap_or_default();
        let language = Language::of(text);
        let speaker = memory.body.speaker.as_deref().unwrap_or_else(|| memory.role.as_str());
        let shares = if caption.is_empty() { String::new() } else { format!(" [shares {caption}]") };
        let spoken = format!("{speaker}: {text}{shares}");
        let dated = format!("({}) {spoken}", date(memory.occurred_at, language));
        let plain = stems(&format!("{text} {caption}"), language);
        let kinds = kinds::held(&plain, language);
        let pairs: Vec<String> = plain.iter().zip(plain.iter().skip(1)).map(|(first, second)| pair(first, second)).collect();
        let from = text.char_indices().rev().nth(39).map_or(0, |(at, _)| at);
        let words = text.split_whitespace().count() + caption.split_whitespace().count();
        let document = Self {
            dated: terms.bag(stems(&dated, language)),
            spoken: terms.bag(stems(&spoken, language)),
            pairs: terms.bag(pairs),
            plain: terms.bag(plain),
            names: terms.names(text, language),
        };
        let facts = Facts {
            occurred_at: memory.occurred_at,
            kinds,
            speaker: memory.body.speaker.as_deref().map(|speaker| terms.number(speaker_term(speaker))),
            words: u32::try_from(words).unwrap_or(u32::MAX),
            dated: length(&document.dated),
            spoken: length(&document.spoken),
            plain: length(&document.plain),
            pairs: length(&document.pairs),
            role: memory.role,
            asks: text.get(from..).is_some_and(|end| end.contains('?')),
            time: TIME.is_match(text),
            number: NUMBER.is_match(text),
            name: !document.names.is_empty(),
        };
        (document, facts)
    }

    /// Bytes held, about.
    pub(super) fn bytes(&self) -> usize {
        (self.dated.len() + self.spoken.len() + self.plain.len() + self.pairs.len()) * size_of::<(Term, f32)>()
            + self.names.len() * size_of::<Term>()
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
