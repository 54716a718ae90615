//! The whole profile of one user at once: what the dataflow keeps record by record, computed from scratch.
//!
//! Kept apart from the dataflow on purpose: it answers questions about the past, and it is what the kept profile is compared with.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Claim, Edit, Habits, derive, topics};

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;

/// One turn, as far as a profile is made of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Turn {
    /// The turn.
    pub id: String,
    /// Whether the user says it.
    pub by_user: bool,
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// The words.
    pub text: String,
    /// Remembered turns that this answer was given.
    pub used: Vec<String>,
}

/// One entry of a profile: its kind, its name within the kind, and itself as JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Document {
    /// `fact`, `interest`, `habits` or `use`.
    pub kind: &'static str,
    /// Names it within its kind.
    pub name: String,
    /// JSON.
    pub body: String,
}

/// A fact as JSON.
#[must_use]
pub fn fact_body(entry: &super::Entry) -> String {
    json!(entry).to_string()
}

/// An interest as JSON: mentions by day, days counted from 1970, in order.
#[must_use]
pub fn interest_body(topic: &str, days: &[(i64, u64)]) -> String {
    json!({ "topic": topic, "days": days }).to_string()
}

/// The uses of a remembered turn as JSON.
#[must_use]
pub fn use_body(turn: &str, times: u64, last_us: i64) -> String {
    json!({ "turn": turn, "times": times, "last_us": last_us }).to_string()
}

/// Claims of one turn, by the built-in rules; none if the user did not say it.
#[must_use]
pub fn claims(turn: &Turn) -> Vec<Claim> {
    if !turn.by_user {
        return Vec::new();
    }
    crate::read(&turn.text, turn.at_us).into_iter().map(|fact| Claim::of(fact, &turn.id, turn.at_us)).collect()
}

/// Everything known of one user, in order. Each turn's id stands once.
#[must_use]
pub fn batch(turns: &[Turn], edits: &[Edit]) -> Vec<Document> {
    let mut people: BTreeMap<String, (Vec<Claim>, Vec<Edit>)> = BTreeMap::new();
    let mut mentions: BTreeMap<String, BTreeMap<i64, u64>> = BTreeMap::new();
    let mut habits = Habits::default();
    let mut uses: BTreeMap<&str, (u64, i64)> = BTreeMap::new();
    let known: BTreeMap<&str, &Turn> = turns.iter().map(|turn| (turn.id.as_str(), turn)).collect();
    for turn in turns {
        let day = turn.at_us.div_euclid(DAY_US);
        for claim in claims(turn) {
            people.entry(claim.about.clone()).or_default().0.push(claim);
        }
        if turn.by_user {
            habits = habits.and(&Habits::of(&turn.text, turn.at_us));
            for topic in topics(&turn.text) {
                *mentions.entry(topic).or_default().entry(day).or_default() += 1;
            }
        }
        for used in turn.used.iter().filter_map(|used| known.get(used.as_str())) {
            let (times, last) = uses.entry(&used.id).or_insert((0, turn.at_us));
            (*times, *last) = (*times + 1, turn.at_us.max(*last));
            for topic in topics(&used.text) {
                *mentions.entry(topic).or_default().entry(day).or_default() += 1;
            }
        }
    }
    for edit in edits {
        people.entry(edit.edit.about.clone()).or_default().1.push(edit.clone());
    }
    let mut out = BTreeSet::new();
    for (claims, edits) in people.values() {
        out.extend(derive(claims, edits).iter().map(|entry| Document { kind: "fact", name: entry.name(), body: fact_body(entry) }));
    }
    for (topic, days) in mentions.into_iter().filter(|(_, days)| days.len() > 1) {
        let days: Vec<(i64, u64)> = days.into_iter().collect();
        out.insert(Document { kind: "interest", body: interest_body(&topic, &days), name: topic });
    }
    if habits.turns > 0 {
        out.insert(Document { kind: "habits", name: String::new(), body: json!(habits).to_string() });
    }
    out.extend(uses.into_iter().map(|(turn, (times, last))| Document { kind: "use", name: turn.to_owned(), body: use_body(turn, times, last) }));
    out.into_iter().collect()
}
