//! The profile as people read it: what the pipeline keeps, opened and seen at a time.
//!
//! Holds always: every fact names its sources, and they are live turns or edits of the same user; what is shown as of an epoch is made of the
//! turns that were there then and have not been forgotten since, by the same function that the pipeline runs.
//! Not promised: that a turn which was edited later is seen as it was before (its old words are forgotten), or epochs before the views were
//! last made anew.

mod check;
mod past;
mod why;

use ajatus_events::{InteractionId, UserId};
use ajatus_facts::profile::DAY_US;
pub use ajatus_facts::profile::{Cause, Entry, Flags, Habits, Source, State};
use chrono::{DateTime, Utc};
use serde::Deserialize;

pub use check::{ProfileCheck, check};
pub use past::{AsOf, NotAPoint};
pub use why::{Said, WhyNot, why, why_not};

use crate::keys::KeyRing;
use crate::postgres::{PIPELINE, Postgres, ProfileDocument, StoreError};

/// Days after which an interest counts half.
pub const HALF_LIFE_DAYS: f64 = 30.0;

/// How a profile is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The time: tells what is, was and will be, and how old a mention is.
    pub now: DateTime<Utc>,
    /// Days after which an interest counts half. Default 30, above 0.
    pub half_life_days: f64,
}

impl View {
    /// At a time, with the default half-life.
    #[must_use]
    pub fn at(now: DateTime<Utc>) -> Self {
        Self { now, half_life_days: HALF_LIFE_DAYS }
    }
}

/// Everything known of a user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Every change up to this epoch is in.
    pub epoch: u64,
    /// By person and attribute, history and all.
    pub facts: Vec<HeldFact>,
    /// Strongest first.
    pub interests: Vec<Interest>,
    /// How and when they write; `None` if they said nothing.
    pub habits: Option<Habits>,
    /// Remembered turns that answers were given, most used first.
    pub uses: Vec<Use>,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFact {
    /// Names it in this user's profile; stays while value, person and attribute do.
    pub id: String,
    /// The epoch that wrote it.
    pub epoch: u64,
    /// What it is at the time of the view.
    pub state: State,
    /// Itself.
    pub entry: Entry,
}

impl HeldFact {
    /// Whether it belongs to the present: so now, soon, or in doubt.
    #[must_use]
    pub fn shown(&self) -> bool {
        matches!(self.state, State::Current | State::Upcoming | State::Stale)
    }
}

/// Something that comes up again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Interest {
    /// The word.
    pub topic: String,
    /// Mentions, each halved for every half-life since.
    pub weight: f64,
    /// Mentions.
    pub mentions: u64,
    /// Days with a mention.
    pub days: u64,
    /// The last mention's day, midnight UTC.
    pub last: DateTime<Utc>,
}

/// How often a remembered turn was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The turn.
    pub turn: InteractionId,
    /// Answers that were given it.
    pub times: u64,
    /// The last one's time.
    pub last: DateTime<Utc>,
}

/// The profile of a user, as the pipeline keeps it.
///
/// # Errors
/// As the pool's and the key ring's.
pub async fn read(db: &Postgres, keys: &KeyRing, user: UserId, view: View) -> Result<Profile, StoreError> {
    let (epoch, documents) = db.profile(keys, user, PIPELINE).await?;
    assembled(epoch, documents, view)
}

/// Puts documents together and sees them at a time.
fn assembled(epoch: u64, documents: Vec<ProfileDocument>, view: View) -> Result<Profile, StoreError> {
    let mut profile = Profile { epoch, ..Profile::default() };
    let now_us = view.now.timestamp_micros();
    for document in documents {
        let body = &document.body;
        match document.key.kind.as_str() {
            "fact" => {
                let entry: Entry = parsed(body)?;
                profile.facts.push(HeldFact { id: document.key.entry, epoch: document.epoch, state: entry.state(now_us), entry });
            }
            "interest" => profile.interests.extend(interest(&parsed(body)?, view)),
            "habits" => profile.habits = Some(parsed(body)?),
            "use" => {
                let used: KeptUse = parsed(body)?;
                let turn = used.turn.parse().map_err(|_| StoreError::Value("a use names no turn".to_owned()))?;
                profile.uses.push(Use { turn, times: used.times, last: DateTime::from_timestamp_micros(used.last_us).unwrap_or_default() });
            }
            other => return Err(StoreError::Value(format!("a profile has no {other:?}"))),
        }
    }
    let place = |fact: &HeldFact| (fact.entry.about != "self", fact.entry.about.clone(), fact.entry.attribute.clone(), fact.entry.from_us, fact.entry.name());
    profile.facts.sort_by_cached_key(place);
    profile.interests.sort_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| a.topic.cmp(&b.topic)));
    profile.uses.sort_by_key(|used| std::cmp::Reverse((used.times, used.last, used.turn)));
    Ok(profile)
}

#[derive(Deserialize)]
struct KeptInterest {
    topic: String,
    days: Vec<(i64, u64)>,
}

#[derive(Deserialize)]
struct KeptUse {
    turn: String,
    times: u64,
    last_us: i64,
}

fn parsed<T: serde::de::DeserializeOwned>(body: &str) -> Result<T, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Value(format!("an entry of a profile is not one ({error})")))
}

/// Mentions decay by half with every half-life; those of days to come count whole.
fn interest(kept: &KeptInterest, view: View) -> Option<Interest> {
    let today = view.now.timestamp_micros().div_euclid(DAY_US);
    let (last, _) = kept.days.last()?;
    #[expect(clippy::cast_precision_loss, reason = "days and mentions of one user")]
    let weight = kept.days.iter().map(|(day, mentions)| *mentions as f64 * 0.5_f64.powf((today - day).max(0) as f64 / view.half_life_days)).sum();
    Some(Interest {
        topic: kept.topic.clone(),
        weight,
        mentions: kept.days.iter().map(|(_, mentions)| mentions).sum(),
        days: kept.days.len() as u64,
        last: DateTime::from_timestamp_micros(last * DAY_US).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interest_halves_with_its_half_life_and_is_kept_as_sums() {
        let day = |day: i64| DateTime::from_timestamp_micros(day * DAY_US).expect("a day");
        let kept = KeptInterest { topic: "pottery".to_owned(), days: vec![(100, 4), (130, 1)] };
        let weight = |now: i64| interest(&kept, View::at(day(now))).expect("one").weight;
        assert!((weight(130) - 3.0).abs() < 1e-12 && (weight(160) - 1.5).abs() < 1e-12 && (weight(90) - 5.0).abs() < 1e-12);
    }
}
