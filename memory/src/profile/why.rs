//! Why something is in a profile, and why something is not.

use ajatus_events::{InteractionId, UserId};
use chrono::{DateTime, Utc};

use super::{HeldFact, Profile, Source, State};
use crate::keys::KeyRing;
use crate::postgres::{PIPELINE, Postgres, StoreError};

/// A source of a fact, with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Turn, place, confidence, rule and version.
    pub source: Source,
    /// When it was said.
    pub occurred_at: DateTime<Utc>,
    /// The words that say it; `None` for the user's own edit.
    pub words: Option<String>,
    /// The whole turn.
    pub text: Option<String>,
}

/// Why a value is not in the profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WhyNot {
    /// Entries of that value that are not current, with what ended them.
    pub dropped: Vec<HeldFact>,
    /// Entries of that value that are current after all.
    pub current: Vec<HeldFact>,
    /// Turns of the user that hold the words and gave no such fact: id, time and text, at most twenty, newest first.
    pub unread: Vec<(InteractionId, DateTime<Utc>, String)>,
}

/// Every source of a fact, opened; in the order of saying.
///
/// # Errors
/// As the pool's and the key ring's.
pub async fn why(db: &Postgres, keys: &KeyRing, user: UserId, fact: &HeldFact) -> Result<Vec<Said>, StoreError> {
    let ids: Vec<InteractionId> = fact.entry.sources.iter().filter_map(|source| source.turn.parse().ok()).collect();
    let turns = db.memories_by_id(keys, user, &ids).await?;
    let said = fact.entry.sources.iter().map(|source| {
        let turn = turns.iter().find(|turn| turn.id.to_string() == source.turn);
        let span = || Some(usize::try_from(source.start).ok()?..usize::try_from(source.end).ok()?);
        Said {
            source: source.clone(),
            occurred_at: DateTime::from_timestamp_micros(source.said_us).unwrap_or_default(),
            words: turn.and_then(|turn| turn.body.text.get(span()?)).map(str::to_owned),
            text: turn.map(|turn| turn.body.text.clone()),
        }
    });
    Ok(said.collect())
}

/// Looks a value up among what is no longer so, and among the user's own words.
///
/// # Errors
/// As the pool's and the key ring's.
pub async fn why_not(db: &Postgres, keys: &KeyRing, user: UserId, profile: &Profile, value: &str, attribute: Option<&str>) -> Result<WhyNot, StoreError> {
    let wanted = value.trim().to_lowercase();
    let meant = |fact: &&HeldFact| attribute.is_none_or(|attribute| fact.entry.attribute == attribute) && fact.entry.value.to_lowercase().contains(&wanted);
    let mut found = WhyNot::default();
    for fact in profile.facts.iter().filter(meant) {
        if matches!(fact.state, State::Current | State::Upcoming) && !fact.entry.flags.muted {
            found.current.push(fact.clone());
        } else {
            found.dropped.push(fact.clone());
        }
    }
    // A forgotten fact has no value any more: it is among the dropped where its attribute is asked for.
    let forgotten = |fact: &&HeldFact| fact.state == State::Forgotten && attribute == Some(fact.entry.attribute.as_str());
    found.dropped.extend(profile.facts.iter().filter(forgotten).cloned());
    let sources = |id: &str| found.dropped.iter().chain(&found.current).any(|fact| fact.entry.sources.iter().any(|source| source.turn == id));
    let held = db.load_user(keys, user, PIPELINE).await?;
    let mut unread: Vec<_> = held
        .memories
        .into_iter()
        .map(|(memory, _)| memory)
        .filter(|memory| memory.role == ajatus_events::Role::User && memory.body.text.to_lowercase().contains(&wanted) && !sources(&memory.id.to_string()))
        .map(|memory| (memory.id, memory.occurred_at, memory.body.text))
        .collect();
    unread.sort_by_key(|(id, at, _)| std::cmp::Reverse((*at, *id)));
    unread.truncate(20);
    found.unread = unread;
    Ok(found)
}
