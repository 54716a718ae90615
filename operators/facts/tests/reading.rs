//! What holds for every text: no panic, spans on borders, the same answer each time, work that grows with the length.

use ajatus_facts::{Attribute, Fact, RULES_VERSION, ground, read, read_counted, rules};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Noon of Wednesday 2026-03-04.
const SAID_US: i64 = 1_772_625_600_000_000;
/// Work for one word of a text at most; see `read_counted`.
const STEPS_A_WORD: u64 = 1_000;

/// Words that rules begin with, go on with and trip over, and signs between them.
const WORDS: &[&str] = &[
    "I", "i", "I'm", "I’ve", "don't", "we", "my", "live", "lived", "in", "at", "to", "from", "the", "a", "Helsinki", "Paris", "New", "York", "like", "love", "hate", "and", "or", "but", ",", ".", "?",
    "!", "\"", "'", "”", "«", ":", ";", "\n", "> ", "moved", "work", "as", "nurse", "quit", "job", "tomorrow", "next", "Friday", "May", "12", "12.5.", "12.5.2026", "2019", "since", "until", "two", "weeks",
    "ago", "Anna", "sister", "cat", "named", "is", "34", "years", "old", "Asun", "asun", "Helsingissä", "Tampereella", "en", "asu", "enää", "pidän", "kahvista", "olen", "oon", "töissä", "Nokialla", "minulla", "on",
    "koira", "nimeltä", "vaimoni", "ensi", "perjantaina", "huomenna", "menen", "🙂", "ä\u{308}", "İ", "ﬃ", "\u{200b}", "日本", "a:b", "İ'm", "n't", "’", "really", "nykyään", "going", "will", "flying", "1.1.", "31.2.", "0", "999999999999",
];

fn check(text: &str, at: i64) -> Vec<Fact> {
    let (facts, steps) = read_counted(text, at);
    for fact in &facts {
        assert!(fact.start < fact.end, "{fact:?}");
        assert!(text.get(fact.start..fact.end).is_some(), "{fact:?} is not on borders of {text:?}");
        assert!(!fact.value.trim().is_empty() && !fact.about.is_empty() && fact.confidence <= 100, "{fact:?}");
        assert!(fact.valid_from_us.zip(fact.valid_to_us).is_none_or(|(from, to)| from <= to), "{fact:?} of {text:?}");
        assert_eq!(fact.version, RULES_VERSION);
    }
    assert_eq!(facts, read(text, at), "{text:?}");
    let words = text.split(|sign: char| !sign.is_alphanumeric()).count() as u64;
    assert!(steps <= STEPS_A_WORD * (words + 1), "{steps} steps for {words} words of {text:?}");
    facts
}

#[test]
fn words_in_any_order_never_panic_and_give_spans_on_borders() {
    let mut random = StdRng::seed_from_u64(7);
    let mut given = 0;
    for _ in 0..30_000 {
        let count = random.random_range(0..40);
        let text: Vec<&str> = (0..count).map(|_| *WORDS.choose(&mut random).expect("words")).collect();
        let joined = text.join(if random.random_bool(0.9) { " " } else { "" });
        given += check(&joined, random.random_range(-1..2) * 400_000_000_000_000 + SAID_US).len();
    }
    assert!(given > 1_000, "{given} facts: the texts try nothing");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(11), cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_at_any_time_never_panics(text in "\\PC{0,200}", at: i64) {
        check(&text, at);
        // An answer of a model is any text too.
        drop(ground(&text, &text, at, "facts.v1", "m"));
    }

    #[test]
    fn an_answer_of_the_form_never_panics(value in "\\PC{0,40}", about in "\\PC{0,20}", when in "\\PC{0,30}", text in "\\PC{0,80}", sure: f64, at: i64) {
        let answer = serde_json::json!({ "facts": [{ "attribute": "home", "value": value, "about": about, "when": when, "confidence": sure }] });
        for fact in ground(&answer.to_string(), &text, at, "facts.v1", "m").expect("the form") {
            prop_assert!(text.get(fact.start..fact.end).is_some());
        }
    }
}

#[test]
fn a_long_text_is_read_in_time_that_grows_with_its_length() {
    let texts = [
        "I live in Helsinki and ".to_owned(),
        "and i like tea, ".to_owned(),
        "12.5. ".to_owned(),
        "I like a ".to_owned(),
        "\"".to_owned(),
        "' a".to_owned(),
        "I'm going to ".to_owned(),
        "Pidän kahvista ja ".to_owned(),
        "I speak Finnish, ".to_owned(),
        "Asun Turussa. ".to_owned(),
        "next Friday I will swim ".to_owned(),
        "really ".to_owned(),
        "My sister Anna, ".to_owned(),
    ];
    for piece in texts {
        let mut steps = Vec::new();
        for length in [25_000, 100_000] {
            let text: String = piece.chars().cycle().take(length).collect();
            steps.push(read_counted(&text, SAID_US).1);
        }
        assert!(steps[1] <= steps[0] * 5, "{piece:?}: {steps:?} for four times the text");
        assert!(steps[1] <= 100_000 * 250, "{piece:?}: {steps:?}");
    }
}

#[test]
fn a_fact_does_not_depend_on_what_else_is_said() {
    let alone = read("I live in Helsinki.", SAID_US);
    let among = read("Hello there. I live in Helsinki. What a day!", SAID_US);
    assert_eq!(among.len(), 1);
    assert_eq!(Fact { start: alone[0].start, end: alone[0].end, ..among[0].clone() }, alone[0]);
}

#[test]
fn a_span_shows_the_words_that_say_it() {
    let text = "Hei! 🙂 Minä asun nykyään Tampereella, ja I'm 34 years old.";
    let shown: Vec<(Attribute, &str)> = read(text, SAID_US).iter().map(|fact| (fact.attribute, text.get(fact.start..fact.end).expect("borders"))).collect();
    assert_eq!(shown, [(Attribute::Home, "asun nykyään Tampereella"), (Attribute::Age, "I'm 34 years old")]);
}

#[test]
fn every_rule_has_a_name_of_its_own() {
    let mut names: Vec<String> = rules().into_iter().map(|rule| rule.id).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count > 250, "{count}");
}

#[test]
fn a_time_outside_of_the_calendar_gives_nothing() {
    assert_eq!(read("I live in Helsinki.", i64::MAX), []);
}
