//! The rules, as they stand in `rules/english.rules` and `rules/finnish.rules`.
//!
//! A line is `NAME: PATTERN => FACT; FACT @CONFIDENCE`. In a pattern a word stands for itself, `a|b` for one of them, `a|b?` for one or
//! none, `~` for up to three words that change nothing (`really`, `nykyään`), `$kind` for something taken (`$place?`: if it is there).
//! A fact is `[ended|denied] ATTRIBUTE VALUE [of TAKEN|TAKEN] [now|start|past|stop|plan]`: the value is `$N`, the Nth thing taken, `=word`, `*`
//! (whatever it was) or `$0` (all that matched); the attribute `rel1` is that of the relation word taken first.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::capture::What;
use super::fact::{Attribute, Polarity};

const ENGLISH: &str = include_str!("../rules/english.rules");
const FINNISH: &str = include_str!("../rules/finnish.rules");

/// A part of a pattern.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Word { any: Vec<&'static str>, optional: bool },
    Fill,
    Take { what: What, optional: bool },
}

/// Which attribute a fact has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Fixed(Attribute),
    /// That of the relation taken at this place.
    Relation(usize),
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Taken(usize),
    Fixed(&'static str),
    Whole,
}

/// How the time said bears on the fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tense {
    /// It is so; since when, if that is said.
    Now,
    /// It began at the time said, else on the day it was said.
    Start,
    /// It was so; until the time said, else until the day it was said.
    Past,
    /// It stopped at the time said, else on the day it was said.
    Stop,
    /// It will be, at the time said; no time, no fact.
    Plan,
}

/// One fact of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Give {
    pub(crate) polarity: Polarity,
    pub(crate) which: Which,
    pub(crate) value: Value,
    /// Whom it is about: the first of these that was taken; none: the one who speaks.
    pub(crate) about: Vec<usize>,
    pub(crate) tense: Tense,
}

/// A rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) finnish: bool,
    pub(crate) pattern: Vec<Part>,
    pub(crate) gives: Vec<Give>,
    pub(crate) confidence: u8,
}

/// All rules, and where to begin.
pub(crate) struct Rules {
    pub(crate) all: Vec<Rule>,
    /// Rules by the first word of their pattern.
    pub(crate) by_word: BTreeMap<&'static str, Vec<usize>>,
    /// Rules whose pattern begins with something taken.
    pub(crate) by_name: Vec<usize>,
}

/// A rule as its file has it, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleText {
    /// `en.home.live`.
    pub id: String,
    /// What it matches and gives.
    pub text: &'static str,
}

/// The rules as they stand in their files, for people.
#[must_use]
pub fn rules() -> Vec<RuleText> {
    lines().map(|(language, name, text)| RuleText { id: format!("{language}.{name}"), text }).collect()
}

fn lines() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let of = |language: &'static str, file: &'static str| {
        let lines = file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(move |line| {
            let (name, text) = line.split_once(": ").expect("a rule is NAME: PATTERN => FACTS");
            (language, name, text)
        })
    };
    of("en", ENGLISH).chain(of("fi", FINNISH))
}

pub(crate) static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let all: Vec<Rule> = lines().map(|(language, name, text)| parse(language, name, text)).collect();
    let mut by_word: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
    let mut by_name = Vec::new();
    for (at, rule) in all.iter().enumerate() {
        // What may be missing in front lets the next part come first.
        for part in &rule.pattern {
            match part {
                Part::Word { any, .. } => any.iter().for_each(|word| by_word.entry(word).or_default().push(at)),
                _ => by_name.push(at),
            }
            if !matches!(part, Part::Word { optional: true, .. }) {
                break;
            }
        }
    }
    Rules { all, by_word, by_name }
});

/// The files come with the program, and a test reads them: what is wrong with a line is our bug.
fn parse(language: &str, name: &str, text: &'static str) -> Rule {
    let wrong = |what: &str| -> ! { panic!("rule {language}.{name}: {what}") };
    let (pattern, rest) = text.split_once(" => ").unwrap_or_else(|| wrong("no =>"));
    let (gives, confidence) = rest.rsplit_once(" @").unwrap_or_else(|| wrong("no @CONFIDENCE"));
    let pattern: Vec<Part> = pattern
        .split_whitespace()
        .map(|word| {
            let (bare, optional) = word.strip_suffix('?').map_or((word, false), |bare| (bare, true));
            match bare.strip_prefix('$') {
                Some(what) => Part::Take { what: What::named(what).unwrap_or_else(|| wrong(what)), optional },
                None if bare == "~" => Part::Fill,
                None => Part::Word { any: bare.split('|').collect(), optional },
            }
        })
        .collect();
    let takes = pattern.iter().filter(|part| matches!(part, Part::Take { .. })).count();
    let place = |text: &str| text.parse::<usize>().ok().filter(|at| (1..=takes).contains(at)).unwrap_or_else(|| wrong(text));
    let gives = gives
        .split(';')
        .map(|give| {
            let mut words = give.split_whitespace().peekable();
            let polarity = match words.peek() {
                Some(&"ended") => Polarity::Ended,
                Some(&"denied") => Polarity::Denied,
                _ => Polarity::Holds,
            };
            if polarity != Polarity::Holds {
                words.next();
            }
            let attribute = words.next().unwrap_or_else(|| wrong("no attribute"));
            let which = match attribute.strip_prefix("rel") {
                Some(at) if at.parse::<usize>().is_ok() => Which::Relation(place(at)),
                _ => Which::Fixed(attribute.parse().unwrap_or_else(|()| wrong(attribute))),
            };
            let value = match words.next().unwrap_or_else(|| wrong("no value")) {
                "*" => Value::Fixed("*"),
                "$0" => Value::Whole,
                other => match (other.strip_prefix('$'), other.strip_prefix('=')) {
                    (Some(at), _) => Value::Taken(place(at)),
                    (_, Some(word)) => Value::Fixed(word),
                    _ => wrong(other),
                },
            };
            let (mut about, mut tense) = (Vec::new(), Tense::Now);
            while let Some(word) = words.next() {
                match word {
                    "of" => about = words.next().unwrap_or_else(|| wrong("of nobody")).split('|').map(place).collect(),
                    "now" => tense = Tense::Now,
                    "start" => tense = Tense::Start,
                    "past" => tense = Tense::Past,
                    "stop" => tense = Tense::Stop,
                    "plan" => tense = Tense::Plan,
                    other => wrong(other),
                }
            }
            Give { polarity, which, value, about, tense }
        })
        .collect();
    let confidence = confidence.trim().parse().unwrap_or_else(|_| wrong(confidence));
    Rule { id: format!("{language}.{name}"), finnish: language == "fi", pattern, gives, confidence }
}
