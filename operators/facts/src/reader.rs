//! Reads facts from a text by the rules.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDate, TimeDelta};

use super::capture::{Piece, Scene, Taken};
use super::date::{self, Look, Span, When};
use super::date_words::{self, Lead, Told};
use super::fact::{Attribute, Fact, Polarity, SELF};
use super::guard;
use super::lexicon;
use super::pattern::{Match, matches};
use super::rule::{Give, Part, RULES, Rule, Tense, Value, Which};
use super::words::{Kind, Word, sentences, words};

/// Changes whenever the rules may give something else.
pub const RULES_VERSION: &str = "rules.1";

/// Words after which a clause begins.
const JOINS: [&str; 15] = ["and", "but", "because", "so", "since", "although", "though", "while", "plus", "also", "then", "ja", "mutta", "koska", "eli"];
/// Words that may stand before a clause without changing it.
const OPENERS: [&str; 26] = [
    "hi", "hello", "hey", "well", "yes", "yeah", "no", "oh", "ok", "okay", "actually", "anyway", "sure", "btw", "currently", "nowadays", "now", "honestly", "yep", "nope", "hei", "moi", "terve", "joo", "personally", "sorry",
];
/// Verbs whose subject may be left out after `and`: `I live in Turku and work at Meyer`.
const LEFT_OUT: [&str; 30] = [
    "live", "work", "study", "like", "love", "hate", "enjoy", "adore", "dislike", "speak", "am", "have", "was", "moved", "used", "do", "can", "will", "started", "got", "quit", "grew", "come", "prefer", "really", "also",
    "no", "turned", "worked", "lived",
];

/// The facts of a text that was said at `said_at_us`, microseconds since 1970; in the order of the text.
///
/// Days (`tomorrow`) are counted in the time zone that `said_at_us` is given in: add the speaker's offset to have theirs. A time that
/// no calendar has gives nothing.
#[must_use]
pub fn read(text: &str, said_at_us: i64) -> Vec<Fact> {
    read_counted(text, said_at_us).0
}

/// As [`read`], with the work done: parts of patterns tried and words looked at. At most about a thousand for each word of the text.
#[must_use]
pub fn read_counted(text: &str, said_at_us: i64) -> (Vec<Fact>, u64) {
    let Some(today) = date::day_of(said_at_us) else { return (Vec::new(), 0) };
    let words = words(text);
    let sentences = sentences(&words, text);
    let mut found = Found::default();
    let mut steps = words.len() as u64;
    for (at, sentence) in sentences.iter().enumerate() {
        let Some((from, to)) = guard::stated(&words, *sentence, sentences.get(at + 1).copied()) else { continue };
        let times = date_words::times(&words, from, to);
        let scene = Scene { text, words: &words, from, to, times, today, steps: Cell::new(0) };
        sentence_facts(&scene, &mut found);
        steps += scene.steps.get();
    }
    (found.facts, steps)
}

/// Attributes whose values are names by which more may be said.
const RELATED: [Attribute; 9] = [
    Attribute::Spouse, Attribute::Partner, Attribute::Child, Attribute::Sibling, Attribute::Parent, Attribute::Grandparent, Attribute::Relative, Attribute::Friend, Attribute::Pet,
];

/// What was found so far.
#[derive(Default)]
struct Found {
    facts: Vec<Fact>,
    /// Where each fact stands in the list, by what it says.
    places: BTreeMap<(Attribute, String, String, Polarity), usize>,
    /// Names of people and animals said in this text.
    names: BTreeSet<String>,
}

impl Found {
    /// Adds a fact; of two that say the same the surer one stays.
    fn add(&mut self, fact: Fact) {
        if RELATED.contains(&fact.attribute) {
            self.names.extend(fact.value.split_whitespace().next().map(str::to_lowercase));
        }
        let key = (fact.attribute, fact.value.clone(), fact.about.clone(), fact.polarity);
        match self.places.get(&key) {
            Some(at) => {
                if self.facts[*at].confidence < fact.confidence {
                    self.facts[*at] = fact;
                }
            }
            None => {
                self.places.insert(key, self.facts.len());
                self.facts.push(fact);
            }
        }
    }
}

fn sentence_facts(scene: &Scene<'_>, found: &mut Found) {
    let rules = &*RULES;
    let (mut start_before, mut mine, mut labelled) = (true, false, false);
    let mut open_from = scene.from;
    for at in scene.from..scene.to {
        let words = scene.words;
        let word = &words[at];
        if word.quoted {
            start_before = false;
            continue;
        }
        // `Name: …` is what somebody else wrote.
        labelled |= word.sign(&[':']);
        if word.kind != Kind::Word && !matches!(word.kind, Kind::Number) {
            start_before = true;
            continue;
        }
        let before = at.checked_sub(1).filter(|before| *before >= scene.from).map(|before| &words[before]);
        let lower = word.lower.as_str();
        let begins = before.is_none_or(|before| clause_begins(before, start_before)) || at == open_from;
        start_before = begins;
        if let Some(told) = scene.time(at).filter(|_| begins) {
            open_from = told.to;
        }
        if labelled {
            continue;
        }
        let joined = before.is_some_and(|before| matches!(before.lower.as_str(), "and" | "but"));
        if begins && !(joined && LEFT_OUT.contains(&lower)) {
            mine = matches!(lower, "i" | "we") || (mine && (joined || OPENERS.contains(&lower) || JOINS.contains(&lower)));
        }
        let empty = Vec::new();
        let of_word = rules.by_word.get(lower).unwrap_or(&empty);
        let of_name = if word.capital || lexicon::relation(lower).is_some() || scene.time(at).is_some() || super::places::finnish_base(lower, super::places::Local::In).is_some() {
            &rules.by_name
        } else {
            &empty
        };
        let elided = if joined && mine && LEFT_OUT.contains(&lower) { rules.by_word.get("i").unwrap_or(&empty) } else { &empty };
        let tries = of_word.iter().map(|rule| (*rule, 0, false)).chain(of_name.iter().map(|rule| (*rule, 0, true))).chain(elided.iter().map(|rule| (*rule, 1, false)));
        let mut matched: Vec<(&Rule, Match)> = Vec::new();
        for (place, part, named) in tries {
            let rule = &rules.all[place];
            if (!rule.finnish && !begins && part == 0) || (named && !known_start(rule, scene, at, found, begins)) {
                continue;
            }
            matched.extend(matches(rule, part, scene, at).map(|found| (rule, found)));
        }
        // The longest match that says something; of equal ones the first in the files.
        matched.sort_by_key(|(_, found)| std::cmp::Reverse(found.end));
        for (rule, matching) in matched {
            let facts = facts_of(rule, &matching, scene, at);
            if !facts.is_empty() {
                facts.into_iter().for_each(|fact| found.add(fact));
                break;
            }
        }
    }
}

fn clause_begins(before: &Word, start_before: bool) -> bool {
    match before.kind {
        Kind::Sign(sign) => sign != ':' && sign != '\'',
        _ => JOINS.contains(&before.lower.as_str()) || (start_before && OPENERS.contains(&before.lower.as_str())),
    }
}

/// A pattern that begins with a name begins a clause, with a name that is known or was said before.
fn known_start(rule: &Rule, scene: &Scene<'_>, at: usize, found: &Found, begins: bool) -> bool {
    use super::capture::What;
    let Some(word) = scene.at(at) else { return false };
    let first = rule.pattern.iter().find(|part| !matches!(part, Part::Word { .. }));
    match first {
        Some(Part::Take { what: What::Name, .. }) => begins && word.capital && (lexicon::given_name(&word.lower) || found.names.contains(&word.lower)),
        // `Vaimoni`: only with the ending that says whose.
        Some(Part::Take { what: What::Rel, .. }) => (word.lower.ends_with("ni") || word.lower.ends_with("mme")) && lexicon::relation(&word.lower).is_some(),
        Some(Part::Take { what: What::Place, .. }) => begins && super::places::known(&word.lower),
        _ => true,
    }
}

/// What a match says; nothing, if it needs a time that is not there.
fn facts_of(rule: &Rule, matched: &Match, scene: &Scene<'_>, at: usize) -> Vec<Fact> {
    let taken = |place: usize| -> Option<&Taken> { matched.taken.get(place - 1)?.as_ref().filter(|taken| !taken.pieces.is_empty()) };
    let within = matched.taken.iter().flatten().find_map(|taken| taken.time);
    let times = near(scene, at, matched.end, within);
    let end = times.iter().map(|told| told.to).chain([matched.end]).max().unwrap_or(matched.end).clamp(at + 1, scene.to);
    let fact = |attribute: Attribute, value: &str, about: &str, polarity: Polarity, doubt: u8, (from, to): Valid| Fact {
        attribute,
        value: value.to_owned(),
        about: about.to_owned(),
        polarity,
        confidence: rule.confidence.saturating_sub(doubt),
        valid_from_us: from.and_then(date::midnight_us),
        valid_to_us: to.and_then(date::midnight_us),
        start: scene.words[at].start,
        end: scene.words[end - 1].end,
        rule: rule.id.clone(),
        version: RULES_VERSION.to_owned(),
    };
    let mut facts = Vec::new();
    for give in &rule.gives {
        let Some(attribute) = attribute(give, matched) else { continue };
        let about = give.about.iter().find_map(|place| taken(*place)).map_or(SELF, |taken| &taken.pieces[0].value);
        if !give.about.is_empty() && about == SELF {
            continue;
        }
        let Some(valid) = valid(give, attribute, &times, scene.today) else { continue };
        let pieces = match give.value {
            Value::Taken(place) => taken(place).map(|taken| taken.pieces.clone()).unwrap_or_default(),
            Value::Fixed(word) => vec![Piece { value: word.replace('_', " "), doubt: 0 }],
            Value::Whole => vec![Piece { value: whole(scene, at, matched.end), doubt: 0 }],
        };
        // `My sister Anna …`: that she is called so is said too.
        if let [name, relation] = give.about[..]
            && let (Some(name), Some(relation)) = (taken(name), taken(relation))
            && let Some(attribute) = relation.attribute
        {
            facts.push(fact(attribute, &name.pieces[0].value, SELF, Polarity::Holds, 3, (None, None)));
        }
        for piece in pieces.iter().filter(|piece| !piece.value.is_empty()) {
            facts.push(fact(attribute, &piece.value, about, give.polarity, piece.doubt, valid));
            // `A dog called Rex`: what kind of animal Rex is.
            if let Which::Relation(place) = give.which
                && attribute == Attribute::Pet
                && give.polarity == Polarity::Holds
                && let Some(kind) = taken(place)
                && kind.pieces[0].value != piece.value
            {
                facts.push(fact(Attribute::Species, &kind.pieces[0].value, &piece.value, Polarity::Holds, 0, (None, None)));
            }
        }
    }
    facts
}

fn attribute(give: &Give, matched: &Match) -> Option<Attribute> {
    match give.which {
        Which::Fixed(attribute) => Some(attribute),
        Which::Relation(place) => matched.taken.get(place - 1)?.as_ref()?.attribute,
    }
}

/// All that matched, without the pronoun before the verb and without times.
fn whole(scene: &Scene<'_>, at: usize, end: usize) -> String {
    let mut out = Vec::new();
    let mut place = at;
    while place < end {
        match scene.time(place) {
            Some(told) => place = told.to,
            None => {
                if !matches!(scene.word(place), Some("minä" | "mä" | "my" | "is" | "starts" | "begins")) {
                    out.push(scene.shown(place, place + 1));
                }
                place += 1;
            }
        }
    }
    out.join(" ").replace(" 's", "'s")
}

/// The times that belong to a match: within it, just behind it, or just before it.
fn near(scene: &Scene<'_>, at: usize, end: usize, within: Option<Told>) -> Vec<Told> {
    if let Some(told) = within {
        return vec![told];
    }
    // The list may be as long as the text, so it is entered by halves.
    let first = scene.times.partition_point(|told| told.from < at);
    let mut times: Vec<Told> = scene.times[first..].iter().take_while(|told| told.to <= end).copied().collect();
    let joined = |from: usize, to: usize| {
        to >= from && to - from <= 2 && scene.words[from..to].iter().all(|word| word.kind == Kind::Word && !JOINS.contains(&word.lower.as_str()))
    };
    let mut after = end;
    let behind = scene.times.partition_point(|told| told.from < end);
    for told in &scene.times[behind..] {
        if !joined(after, told.from) || times.len() >= 2 {
            break;
        }
        times.push(*told);
        after = told.to;
    }
    if times.is_empty() {
        let before = scene.times[..first].last().filter(|told| told.to <= at);
        times.extend(before.filter(|told| at - told.to <= 2 && scene.words[told.to..at].iter().all(|word| word.sign(&[',']) || !JOINS.contains(&word.lower.as_str()))).copied());
    }
    times
}

type Valid = (Option<NaiveDate>, Option<NaiveDate>);

/// When a fact is so; `None`: it is no fact, because its time is not there or is over.
fn valid(give: &Give, attribute: Attribute, times: &[Told], today: NaiveDate) -> Option<Valid> {
    let led = |lead: Lead| times.iter().find(|told| told.lead == lead);
    let span = |told: &Told, look: Look| told.when.span(today, look);
    let tomorrow = today.checked_add_signed(TimeDelta::days(1))?;
    Some(match give.tense {
        Tense::Now => {
            let since = led(Lead::Since).and_then(|told| span(told, Look::Back)).map(|span| span.from);
            let until = led(Lead::Until).and_then(|told| until(told, today, Look::Forward));
            (since, until)
        }
        Tense::Start => {
            let begun = times.iter().find(|told| told.lead != Lead::Until).and_then(|told| span(told, Look::Back));
            (Some(begun.map_or(today, |span| span.from)), None)
        }
        Tense::Stop => {
            let stopped = times.iter().find(|told| told.lead != Lead::Until).and_then(|told| span(told, Look::Back));
            (None, Some(stopped.map_or(today, |span| span.from)))
        }
        Tense::Past => {
            let since = led(Lead::Since).and_then(|told| span(told, Look::Back)).map(|span| span.from);
            let then = led(Lead::At).and_then(|told| span(told, Look::Back));
            let ended = led(Lead::Until).and_then(|told| until(told, today, Look::Back));
            match (since, ended, then) {
                (since, Some(ended), _) => (since, Some(ended)),
                // `I lived in Oulu in 2019`.
                (None, None, Some(Span { from, to })) => (Some(from), Some(to.min(tomorrow))),
                (since, None, _) => (since, Some(today)),
            }
        }
        Tense::Plan => {
            let planned = times.first().and_then(|told| span(told, Look::Forward)).filter(|span| span.to > today)?;
            (Some(planned.from), (attribute == Attribute::Plan).then_some(planned.to))
        }
    })
}

/// The end of a time that goes up to a day (which counts), a month or a year (which does not).
fn until(told: &Told, today: NaiveDate, look: Look) -> Option<NaiveDate> {
    let span = told.when.span(today, look)?;
    Some(if (span.to - span.from).num_days() <= 1 { span.to } else { span.from })
}

/// A birthday as it is written: `1990-05-12`, `05-12` or `1990`; `None` if the time says neither.
pub(crate) fn birthday(when: When) -> Option<String> {
    Some(match when {
        When::Day { day, month, year: Some(year) } => NaiveDate::from_ymd_opt(year, month, day)?.to_string(),
        // A leap year, so that every day of a year is one.
        When::Day { day, month, year: None } => NaiveDate::from_ymd_opt(2024, month, day)?.format("%m-%d").to_string(),
        When::Month { month, year: Some(year) } => format!("{year}-{month:02}"),
        When::Year(year) => year.to_string(),
        // `My birthday is tomorrow` is no date that can be written without the day it was said.
        _ => return None,
    })
}
