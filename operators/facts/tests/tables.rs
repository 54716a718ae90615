//! Sentences by hand, in both languages: what each gives, and what must give nothing.

use ajatus_facts::{Fact, SELF, read};
use chrono::{DateTime, NaiveDate};

/// Noon of Wednesday 2026-03-04.
const SAID_US: i64 = 1_772_625_600_000_000;

struct Case {
    place: String,
    text: String,
    facts: Vec<String>,
}

fn cases(name: &str) -> Vec<Case> {
    let path = format!("tests/tables/{name}.txt");
    let table = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in table.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty()) {
        match line.strip_prefix("  ") {
            Some(fact) => cases.last_mut().expect("a sentence first").facts.push(fact.trim().to_owned()),
            None => cases.push(Case { place: format!("{path}:{}", number + 1), text: line.to_owned(), facts: Vec::new() }),
        }
    }
    cases
}

fn day(us: i64) -> NaiveDate {
    DateTime::from_timestamp_micros(us).expect("a time").date_naive()
}

fn shown(fact: &Fact) -> String {
    let polarity = if fact.polarity.as_str() == "holds" { String::new() } else { format!("{} ", fact.polarity.as_str()) };
    let about = if fact.about == SELF { String::new() } else { format!(" of {}", fact.about) };
    let at = |us: Option<i64>| us.map_or(String::new(), |us| day(us).to_string());
    let valid = match (fact.valid_from_us, fact.valid_to_us) {
        (None, None) => String::new(),
        (from, to) => format!(" {}..{}", at(from), at(to)),
    };
    format!("{polarity}{}={}{about}{valid}", fact.attribute, fact.value)
}

/// Facts wanted, facts given, and given facts that were wanted.
#[derive(Default, Debug)]
struct Score {
    sentences: usize,
    traps: usize,
    wanted: usize,
    given: usize,
    right: usize,
    sprung: usize,
}

fn score(name: &str) -> (Score, Vec<String>) {
    let (mut score, mut wrong) = (Score::default(), Vec::new());
    for case in cases(name) {
        let given: Vec<String> = read(&case.text, SAID_US).iter().map(shown).collect();
        let (mut sorted, mut wanted) = (given.clone(), case.facts.clone());
        sorted.sort();
        wanted.sort();
        score.sentences += 1;
        score.traps += usize::from(wanted.is_empty());
        score.sprung += usize::from(wanted.is_empty() && !given.is_empty());
        score.wanted += wanted.len();
        score.given += given.len();
        score.right += given.iter().filter(|fact| wanted.contains(fact)).count();
        if sorted != wanted {
            wrong.push(format!("{}: {}\n  wanted {wanted:?}\n  given  {given:?}", case.place, case.text));
        }
    }
    (score, wrong)
}

fn holds(name: &str) {
    let (score, wrong) = score(name);
    assert!(wrong.is_empty(), "{score:?}\n{}", wrong.join("\n"));
    assert!(score.traps * 3 >= score.sentences, "{score:?}");
}

#[test]
fn english_sentences_give_their_facts_and_traps_give_none() {
    holds("english");
}

#[test]
fn finnish_sentences_give_their_facts_and_traps_give_none() {
    holds("finnish");
}

#[test]
fn sentences_that_the_rules_were_not_written_for_spring_no_trap_and_are_mostly_read_right() {
    let (score, wrong) = score("unseen");
    assert_eq!(score.sprung, 0, "{score:?}\n{}", wrong.join("\n"));
    assert!(score.right * 10 >= score.given * 9 && score.right * 10 >= score.wanted * 8, "{score:?}\n{}", wrong.join("\n"));
}
