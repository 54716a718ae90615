//! One history: what is said, edited and taken back, and what is known of it without any dataflow.

use std::collections::{BTreeMap, BTreeSet};

use ajatus_events::{Body, ConversationId, InteractionId, InteractionKey, ProfileEdit, ProfileOp, Role, Sealed, UserId};
use ajatus_facts::profile::{Edit, Turn as Said, batch};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::state::{counts_row, edit_row, memory_row, profile_row};
use super::{HistoriesConfig, vector};
use crate::turn::Turn;

/// Turns that a history is about at most: records fall on few, so that many are edits and deletions.
const TURNS: u64 = 12;
/// Times of saying: few days, so that some are equal.
const HOUR_US: i64 = 3_600_000_000;

/// A step of a small generator (SplitMix64), so that a history depends on its seed and nothing else.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// One record: which turn, what it says (nothing: it is taken back), and its canary.
#[derive(Clone)]
struct Record {
    turn: u64,
    body: Option<(Body, String)>,
}

/// One history, told to one user.
pub(super) struct History {
    pub(super) number: u64,
    pub(super) user: UserId,
    records: Vec<(u64, Record)>,
    alive: BTreeMap<u64, (Body, String)>,
    canaries: BTreeSet<String>,
}

/// What is expected of facts that depend on each other.
#[derive(Default)]
pub(super) struct Cascade {
    pub(super) stale: u64,
    pub(super) restored: u64,
    pub(super) wrong: Option<String>,
}

impl History {
    /// The same records for two users, the second in another order: records of one turn keep theirs.
    pub(super) fn pair(config: HistoriesConfig, number: u64) -> [Self; 2] {
        let mut random = Random(config.seed ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03));
        let mut records = Vec::with_capacity(config.records * 2);
        for step in 0..config.records {
            let turn = random.below(TURNS);
            let canary = format!("kq{number}x{step}z");
            let body = if random.below(4) == 0 { None } else { Some((body(&mut random, turn, &canary), canary)) };
            let record = Record { turn, body };
            records.push(record.clone());
            // Delivered twice.
            if random.below(10) == 0 {
                records.push(record);
            }
        }
        let mut shuffled: Vec<(u64, usize, Record)> = Vec::new();
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for (at, record) in records.iter().enumerate() {
            // A later place than the turn's last one, else anywhere.
            let floor = last.get(&record.turn).copied().unwrap_or(0);
            let place = floor + random.below(1 << 20);
            last.insert(record.turn, place);
            shuffled.push((place, at, record.clone()));
        }
        shuffled.sort_by_key(|(place, at, _)| (*place, *at));
        let user = |second: u64| UserId(Uuid::from_u128((u128::from(number) << 8) | u128::from(second) | (1 << 100)));
        let in_epochs = |records: Vec<Record>, random: &mut Random| -> Vec<(u64, Record)> {
            let mut epochs: Vec<u64> = records.iter().map(|_| 1 + random.below(config.epochs)).collect();
            epochs.sort_unstable();
            epochs.into_iter().zip(records).collect()
        };
        let told = |second: u64, records: Vec<(u64, Record)>| Self { number, user: user(second), records, alive: BTreeMap::new(), canaries: BTreeSet::new() };
        let one = in_epochs(records, &mut random);
        let other = in_epochs(shuffled.into_iter().map(|(_, _, record)| record).collect(), &mut random);
        [told(0, one), told(1, other)]
    }

    /// Tells the records of an epoch. The two epochs past `last` take back what is alive: every second turn, then the rest.
    pub(super) fn epoch(&mut self, epoch: u64, last: u64, tell: &mut dyn FnMut(InteractionKey, Option<Turn>)) {
        let records: Vec<Record> = if epoch > last {
            let turns: Vec<u64> = self.alive.keys().copied().filter(|turn| epoch > last + 1 || turn % 2 == 0).collect();
            turns.into_iter().map(|turn| Record { turn, body: None }).collect()
        } else {
            self.records.iter().filter(|(when, _)| *when == epoch).map(|(_, record)| record.clone()).collect()
        };
        for Record { turn, body } in records {
            let key = InteractionKey { user_id: self.user, id: id(turn) };
            match body {
                Some((body, canary)) => {
                    tell(key, Some(written(turn, &body)));
                    self.canaries.insert(canary.clone());
                    self.alive.insert(turn, (body, canary));
                }
                None => {
                    tell(key, None);
                    self.alive.remove(&turn);
                }
            }
        }
    }

    /// Words that were said and are alive no more.
    pub(super) fn gone(&self) -> impl Iterator<Item = &String> {
        let alive: BTreeSet<&String> = self.alive.values().map(|(_, canary)| canary).collect();
        self.canaries.iter().filter(move |canary| !alive.contains(canary))
    }

    /// Every row that the sinks must hold, made from scratch.
    pub(super) fn oracle(&self) -> BTreeSet<String> {
        let mut rows = BTreeSet::new();
        let (turns, edits) = self.parts();
        rows.extend(batch(&turns, &edits).into_iter().map(|document| profile_row(document.kind, &document.name, &document.body)));
        let mut counts: Option<([u64; 3], i64, i64)> = None;
        for (turn, (body, _)) in &self.alive {
            let written = written(*turn, body);
            if body.edit.is_some() {
                rows.insert(edit_row(&id(*turn).to_string(), written.at_us, &written.sealed.0));
                continue;
            }
            let at: DateTime<Utc> = DateTime::from_timestamp_micros(written.at_us).unwrap_or_default();
            let place = format!("{} {} {} {} {at}", written.conversation_id, written.session, written.position, written.role.as_str());
            rows.insert(memory_row(&id(*turn).to_string(), &place, &written.sealed.0, &vector(&body.text)));
            let (turns, first, last) = counts.get_or_insert(([0; 3], i64::MAX, i64::MIN));
            turns[usize::from(written.role != Role::User)] += 1;
            (*first, *last) = ((*first).min(written.at_us), (*last).max(written.at_us));
        }
        rows.extend(counts.map(|(turns, first, last)| counts_row(turns, first, last)));
        rows
    }

    fn parts(&self) -> (Vec<Said>, Vec<Edit>) {
        let (mut turns, mut edits) = (Vec::new(), Vec::new());
        for (turn, (body, _)) in &self.alive {
            let (id, at_us) = (id(*turn).to_string(), at_us(*turn));
            match &body.edit {
                Some(edit) => edits.push(Edit { at_us, id, edit: edit.clone() }),
                None => turns.push(Said { id, by_user: role(*turn) == Role::User, at_us, text: body.text.clone(), used: body.used.iter().map(ToString::to_string).collect() }),
            }
        }
        (turns, edits)
    }

    /// Holds the kept facts of home, way to work and gym against what follows from the order of saying alone. It knows nothing of intervals:
    /// of each attribute it takes what was said last, and asks whether what it depends on changed after that.
    pub(super) fn cascade(&self, kept: &BTreeSet<String>) -> Cascade {
        let mut said: BTreeMap<&str, Vec<(i64, u64, String)>> = BTreeMap::new();
        for (turn, (body, _)) in &self.alive {
            if let Some((attribute, value)) = simple(body) {
                said.entry(attribute).or_default().push((at_us(*turn), *turn, value));
            }
        }
        let mut out = Cascade::default();
        // Other edits may say more of these attributes: then there is no simple expectation.
        if self.alive.values().any(|(body, _)| body.edit.is_some() && simple(body).is_none()) {
            return out;
        }
        said.values_mut().for_each(|list| list.sort());
        let changed = |list: &[(i64, u64, String)]| list.windows(2).filter(|pair| pair[0].2 != pair[1].2).map(|pair| pair[1].0).collect::<Vec<_>>();
        let mut moved = said.get("home").map(|list| changed(list)).unwrap_or_default();
        if let Some(homes) = said.get("home") {
            out.restored += u64::from(homes.len() == 1 && self.canaries.len() > self.alive.len());
        }
        for attribute in ["commute", "gym"] {
            let Some((last, _, value)) = said.get(attribute).and_then(|list| list.last()) else { continue };
            let expected = moved.iter().any(|at| at > last);
            let entry = kept.iter().find(|row| {
                row.starts_with("profile fact") && row.contains(&format!("\"attribute\":\"{attribute}\"")) && row.contains(&format!("\"value\":\"{value}\"")) && row.contains("\"to_us\":null")
            });
            let stale = entry.map(|row| row.contains("\"stale\":{"));
            out.stale += u64::from(expected);
            if stale != Some(expected) {
                out.wrong = Some(format!("{attribute} {value} should be {}, but it is {entry:?}", if expected { "stale" } else { "current" }));
            }
            if attribute == "commute" {
                moved.extend(said.get("commute").map(|list| changed(list)).unwrap_or_default());
            }
        }
        out
    }
}

/// What a body says of the three attributes, if it says nothing else of them.
fn simple(body: &Body) -> Option<(&str, String)> {
    match &body.edit {
        Some(edit) if edit.op == ProfileOp::Correct && edit.value.as_deref() == Some("nothing") => Some((&edit.attribute, edit.instead.clone()?)),
        Some(_) => None,
        None => ["Turku", "Oulu", "Kuopio"].into_iter().find(|city| body.text.contains(&format!("I live in {city}"))).map(|city| ("home", city.to_owned())),
    }
}

fn id(turn: u64) -> InteractionId {
    InteractionId(Uuid::from_u128(u128::from(turn) + 1))
}

/// Records come in any order: late ones and early ones.
fn at_us(turn: u64) -> i64 {
    1_700_000_000_000_000 + i64::try_from((turn * 7) % TURNS).unwrap_or(0) * 11 * HOUR_US
}

fn role(turn: u64) -> Role {
    if turn % 4 == 3 { Role::Assistant } else { Role::User }
}

fn body(random: &mut Random, turn: u64, canary: &str) -> Body {
    let said = |text: String| Body { text, ..Body::default() };
    let edit = |op: ProfileOp, attribute: &str, value: Option<&str>, instead: Option<String>| Body {
        edit: Some(ProfileEdit { op, attribute: attribute.to_owned(), about: "self".to_owned(), value: value.map(str::to_owned), instead }),
        ..Body::default()
    };
    // Edits stand on turns of their own, so that a record is one or the other for good.
    if turn % 6 == 5 {
        return match random.below(8) {
            0..=2 => edit(ProfileOp::Correct, "commute", Some("nothing"), Some(format!("by {canary}"))),
            3..=5 => edit(ProfileOp::Correct, "gym", Some("nothing"), Some(format!("gym {canary}"))),
            6 => edit(ProfileOp::Forget, "likes", Some(canary), None),
            _ => edit(ProfileOp::Pin, "home", None, None),
        };
    }
    if role(turn) == Role::Assistant {
        return Body { text: format!("Noted, {canary}."), used: vec![id(random.below(TURNS)), id(random.below(TURNS))], ..Body::default() };
    }
    let city = ["Turku", "Oulu", "Kuopio"][usize::try_from(random.below(3)).unwrap_or(0)];
    match random.below(6) {
        0 | 1 => said(format!("I live in {city}. Hello {canary}.")),
        2 => said(format!("I like {canary}.")),
        3 => said(format!("My cat is called Mustikka, and {canary} is pottery.")),
        4 => said(format!("Pottery today, said {canary}")),
        _ => said(canary.to_owned()),
    }
}

/// A record as the feeder opens it; the sealed form is the plain one here, so that what is left of it would be seen.
fn written(turn: u64, body: &Body) -> Turn {
    let plain = serde_json::to_vec(body).unwrap_or_default();
    Turn {
        conversation_id: ConversationId(Uuid::from_u128(7)),
        session: 0,
        position: u32::try_from(turn).unwrap_or(0),
        role: role(turn),
        at_us: at_us(turn),
        fingerprint: blake3::hash(&plain).to_hex().to_string(),
        sealed: Sealed(plain),
        body: body.clone(),
    }
}
