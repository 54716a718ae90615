//! Whatever the text, there is a script or a finding with a place in it.

use ajatus_sql::diagnostic::{Diagnostics, Source};
use ajatus_sql::script::parse;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::good::PIPELINE;

/// Checks what holds of every text.
fn holds(text: &str) {
    let source = Source::new("pipelines/sanat.sql", text);
    let Err(found) = parse(&source) else { return };
    assert!(!found.is_empty(), "refused without a reason");
    for found in &found {
        let span = found.span.unwrap_or_else(|| panic!("no place: {found:?}"));
        assert!(span.start <= span.end && span.end <= text.len(), "{found:?} in {} bytes", text.len());
        assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end), "{found:?} cuts a letter");
        assert!(!found.message.is_empty() && !found.message.contains('\n'), "{found:?}");
        assert!(found.render(&source).contains(found.code.text()));
        assert_eq!(found.json(&source)["code"], found.code.text());
    }
    assert!(Diagnostics(found).render(&source).ends_with('\n'));
}

/// Cuts a text into words, signs and spaces; joined, they are the text.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for letter in text.chars() {
        match pieces.last_mut() {
            Some(piece) if letter.is_alphanumeric() && piece.ends_with(char::is_alphanumeric) => piece.push(letter),
            _ => pieces.push(letter.to_string()),
        }
    }
    pieces
}

#[derive(Clone, Debug)]
enum Change {
    Delete(usize),
    Double(usize),
    Swap(usize, usize),
    Write(usize, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let words = prop::sample::select(vec![
        "'",
        "\"",
        ";",
        "(",
        ")",
        ",",
        "--",
        "-- ",
        "/*",
        "*/",
        "$$",
        "\n",
        "\r",
        "\t",
        "ä",
        "\u{feff}",
        "=",
        "-",
        "1e9",
        "null",
        "as",
        "with",
        "create",
        "insert into",
        "select",
        "array<",
        "primary key",
        "-- test: x\n",
        "-- given interactions\n",
        "-- then\n",
        "-- expect päivät\n",
        "-- {\"id\": 1}\n",
        "type",
        "connector",
        "'kafka'",
        "vector(3)",
        "decimal(3, 1)",
        "/*! 1 */",
        "`",
        "0x",
        ".",
        "[",
        "]",
        "::",
        "->",
        "unsigned",
    ]);
    prop_oneof![
        any::<usize>().prop_map(Change::Delete),
        any::<usize>().prop_map(Change::Double),
        any::<(usize, usize)>().prop_map(|(a, b)| Change::Swap(a, b)),
        (any::<usize>(), words).prop_map(|(at, word)| Change::Write(at, word)),
    ]
}

fn apply(pieces: &mut Vec<String>, change: &Change) {
    let length = pieces.len().max(1);
    match *change {
        _ if pieces.is_empty() => {}
        Change::Delete(at) => {
            pieces.remove(at % length);
        }
        Change::Double(at) => {
            let piece = pieces[at % length].clone();
            pieces.insert(at % length, piece);
        }
        Change::Swap(a, b) => pieces.swap(a % length, b % length),
        Change::Write(at, word) => pieces.insert(at % length, word.to_owned()),
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn holds_for_every_text(text in "\\PC{0,200}|[a-z(),;='\"\\-\n ]{0,200}") {
        holds(&text);
    }

    #[test]
    fn holds_for_every_change_of_a_good_file(changes in prop::collection::vec(change(), 1..12)) {
        let mut pieces = pieces(PIPELINE);
        for change in &changes {
            apply(&mut pieces, change);
        }
        holds(&pieces.concat());
    }

    #[test]
    fn holds_for_every_beginning_of_a_good_file(at in any::<prop::sample::Index>()) {
        let letters: Vec<char> = PIPELINE.chars().collect();
        holds(&letters.iter().take(at.index(letters.len())).collect::<String>());
    }
}
