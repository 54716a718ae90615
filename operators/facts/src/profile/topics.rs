//! What a turn is about: its words that carry a subject.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

/// Topics of one turn at most; a long text must not fill a profile.
const MOST: usize = 12;
/// Letters of a topic, at least and at most.
const SHORTEST: usize = 4;
const LONGEST: usize = 24;

/// Words that are common whatever one talks about.
static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("common.txt").split_whitespace().collect());

/// The words of a text that may be somebody's interest, in lower case, English plurals as singulars; at most twelve, in order of the alphabet.
///
/// Not promised: that a word is a subject. What counts is that it comes again on other days, which is for the caller to see.
#[must_use]
pub fn topics(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_alphabetic() && letter != '\'' && letter != '-').map(|word| word.trim_matches(['\'', '-']));
    let mut found = BTreeSet::new();
    for word in words {
        let word = word.strip_suffix("'s").unwrap_or(word);
        let letters = word.chars().count();
        if (SHORTEST..=LONGEST).contains(&letters) && !word.contains('\'') && !COMMON.contains(word) {
            found.insert(singular(word));
        }
        if found.len() == MOST {
            break;
        }
    }
    found.into_iter().filter(|word| !COMMON.contains(word.as_str())).collect()
}

fn singular(word: &str) -> String {
    let ascii = word.is_ascii();
    match word {
        _ if ascii && word.ends_with("ies") && word.len() > 4 => format!("{}y", word.trim_end_matches("ies")),
        _ if ascii && word.ends_with('s') && !word.ends_with("ss") && !word.ends_with("us") && !word.ends_with("is") => word.trim_end_matches('s').to_owned(),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_subjects_and_leaves_what_is_said_of_everything() {
        assert_eq!(topics("I really love pottery and my two dogs, that's awesome!"), ["dog", "pottery"]);
        assert_eq!(topics("Kävin eilen sienimetsässä koiran kanssa"), ["koiran", "sienimetsässä"]);
        assert!(topics("").is_empty() && topics("?! 42 a b it's").is_empty());
        assert!(topics(&"aardvarks bananas ".repeat(500)).len() <= MOST);
    }
}
