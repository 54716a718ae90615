//! Matches a rule's pattern at a place of a sentence.
//!
//! Bounded: a pattern has at most a dozen parts, a filler takes at most three words, and something taken is taken in one way only.

use super::capture::{Scene, Taken, take};
use super::rule::{Part, Rule};

/// Words that change nothing about what is said. Negations, and words that make it a habit of others, are not among them.
const FILLERS: &[&str] = &[
    "really", "currently", "now", "just", "also", "actually", "still", "always", "truly", "absolutely", "totally", "very", "much", "especially", "mostly", "particularly", "both",
    "quite", "definitely", "already", "simply", "personally", "recently", "finally", "happily", "myself", "too", "then", "originally", "usually", "generally", "kind", "of", "sort",
    "nykyään", "nyt", "vielä", "edelleen", "myös", "todella", "tosi", "oikeasti", "kovasti", "paljon", "aina", "itse", "kyllä", "muuten", "juuri", "siis", "erityisesti", "eniten",
    "varsinkin", "jo", "minä", "mä", "hän", "nykyisin", "tällä", "hetkellä", "äskettäin", "vasta", "ihan", "vain", "sitten", "lopulta", "alun", "perin",
];

const LONGEST_FILL: usize = 3;

/// A match: its end, and what was taken, by place in the pattern.
pub(crate) struct Match {
    pub(crate) end: usize,
    pub(crate) taken: Vec<Option<Taken>>,
}

/// Matches `rule` from its part `part` on at word `at`.
pub(crate) fn matches(rule: &Rule, part: usize, scene: &Scene<'_>, at: usize) -> Option<Match> {
    let mut taken = Vec::new();
    let end = rest(&rule.pattern[part..], scene, at, &mut taken)?;
    Some(Match { end, taken })
}

fn rest(parts: &[Part], scene: &Scene<'_>, at: usize, taken: &mut Vec<Option<Taken>>) -> Option<usize> {
    scene.step();
    let Some((part, others)) = parts.split_first() else { return Some(at) };
    let held = taken.len();
    match part {
        Part::Word { any, optional } => {
            if scene.word(at).is_some_and(|word| any.contains(&word))
                && let Some(end) = rest(others, scene, at + 1, taken)
            {
                return Some(end);
            }
            taken.truncate(held);
            if *optional { rest(others, scene, at, taken) } else { None }
        }
        Part::Fill => {
            for skipped in 0..=LONGEST_FILL {
                taken.truncate(held);
                if let Some(end) = rest(others, scene, at + skipped, taken) {
                    return Some(end);
                }
                if !scene.word(at + skipped).is_some_and(|word| FILLERS.contains(&word)) {
                    break;
                }
            }
            None
        }
        Part::Take { what, optional } => {
            if let Some(found) = take(*what, scene, at) {
                let next = found.end;
                taken.push(Some(found));
                if let Some(end) = rest(others, scene, next, taken) {
                    return Some(end);
                }
                taken.truncate(held);
            }
            if *optional {
                taken.push(None);
                return rest(others, scene, at, taken);
            }
            None
        }
    }
}
