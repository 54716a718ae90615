//! From claims and edits to entries.

use std::collections::{BTreeMap, BTreeSet};

use ajatus_events::ProfileOp;

use super::rules::{depends_on, one_at_a_time, opposite};
use super::{Cause, Claim, Edit, Entry, Flags, Source, folded};
use crate::Polarity;

/// Value of a claim that means: whatever it was.
const ANY: &str = "*";

/// Everything known of one person, made of all claims and edits about them; in order of attribute, beginning and value.
///
/// Claims are taken in the order of saying (then of turn and place), so that what was said last decides. Cost: the square of the values of
/// one attribute at worst.
#[must_use]
pub fn derive(claims: &[Claim], edits: &[Edit]) -> Vec<Entry> {
    let claims: BTreeSet<Claim> = claims.iter().cloned().chain(edits.iter().flat_map(corrections)).collect();
    let mut held: Stretches = BTreeMap::new();
    for claim in &claims {
        take(&mut held, claim);
    }
    stale(&mut held);
    let mut entries: Vec<Entry> = held.into_values().flatten().filter_map(|stretch| flagged(stretch.entry, edits)).collect();
    number(&mut entries);
    let place = |entry: &Entry| (entry.attribute.clone(), entry.from_us, entry.name());
    entries.sort_by_cached_key(place);
    entries
}

type Stretches = BTreeMap<String, Vec<Stretch>>;

/// An entry in the making.
struct Stretch {
    entry: Entry,
    folded: String,
}

/// A correction is a claim of the user's own, and one against what was wrong.
fn corrections(edit: &Edit) -> Vec<Claim> {
    if edit.edit.op != ProfileOp::Correct {
        return Vec::new();
    }
    let claim = |start: i64, value: String, polarity: Polarity| Claim {
        said_us: edit.at_us,
        turn: edit.id.clone(),
        start,
        end: start,
        attribute: edit.edit.attribute.clone(),
        about: edit.edit.about.clone(),
        value,
        polarity,
        confidence: 100,
        valid_from_us: None,
        valid_to_us: None,
        rule: CORRECTED.to_owned(),
        version: "edit".to_owned(),
    };
    let wrong = claim(0, edit.edit.value.clone().unwrap_or_else(|| ANY.to_owned()), Polarity::Denied);
    let right = edit.edit.instead.clone().map(|instead| claim(1, instead, Polarity::Holds));
    [Some(wrong), right].into_iter().flatten().collect()
}

/// The rule of a correction.
const CORRECTED: &str = "user.correct";

fn take(held: &mut Stretches, claim: &Claim) {
    let value = folded(&claim.value);
    match claim.polarity {
        // It says nothing that something or other is so.
        Polarity::Holds if value == ANY => {}
        Polarity::Holds => holds(held, claim, &value),
        Polarity::Ended => {
            let at = claim.valid_to_us.unwrap_or(claim.said_us);
            let cause = Cause { why: "ended".to_owned(), at_us: at, value: None, turn: claim.turn.clone() };
            let found = end(held.entry(claim.attribute.clone()).or_default(), &value, &cause);
            if !found && value != ANY {
                let from = claim.valid_from_us.filter(|from| *from < at);
                add(held, claim, &value, from, Some(at), Some(cause));
            }
        }
        Polarity::Denied => {
            let corrected = claim.rule == CORRECTED;
            let why = if corrected { "corrected" } else { "denied" };
            let cause = Cause { why: why.to_owned(), at_us: claim.said_us, value: None, turn: claim.turn.clone() };
            let stretches = held.entry(claim.attribute.clone()).or_default();
            if corrected {
                for stretch in stretches.iter_mut().filter(|stretch| value == ANY || stretch.folded == value) {
                    stretch.entry.ended_by = Some(cause.clone());
                    stretch.entry.to_us = stretch.entry.from_us.or(Some(claim.said_us));
                }
            } else {
                end(stretches, &value, &cause);
            }
        }
    }
}

/// Ends what is open; whether anything of that value was there.
fn end(stretches: &mut [Stretch], value: &str, cause: &Cause) -> bool {
    let mut found = false;
    for stretch in stretches.iter_mut().filter(|stretch| value == ANY || stretch.folded == value) {
        found = true;
        let entry = &mut stretch.entry;
        if entry.to_us.is_none_or(|to| to > cause.at_us) && entry.from_us.is_none_or(|from| from <= cause.at_us) {
            entry.to_us = Some(cause.at_us);
            entry.ended_by = Some(cause.clone());
        }
    }
    found
}

fn holds(held: &mut Stretches, claim: &Claim, value: &str) {
    let from = claim.valid_from_us.unwrap_or(claim.said_us);
    let mut until: Option<Cause> = None;
    // What has ended before it was said takes nothing's place.
    let past = claim.valid_to_us.is_some_and(|to| to <= claim.said_us);
    if !past {
        let cause = |turn: &Claim, value: Option<String>| Cause { why: "superseded".to_owned(), at_us: from, value, turn: turn.turn.clone() };
        if one_at_a_time(&claim.attribute) {
            let stretches = held.entry(claim.attribute.clone()).or_default();
            for Stretch { entry, .. } in stretches.iter_mut().filter(|stretch| stretch.folded != value) {
                // A plan for later stands; what is so now is so until then.
                match entry.from_us.filter(|begins| *begins > claim.said_us && *begins > from) {
                    Some(begins) => {
                        let next = Cause { why: "superseded".to_owned(), at_us: begins, value: Some(entry.value.clone()), turn: entry.sources[0].turn.clone() };
                        if entry.to_us.is_none_or(|to| to > begins) && until.as_ref().is_none_or(|known| next < *known || next.at_us < known.at_us) {
                            until = Some(next);
                        }
                    }
                    None => give_way(entry, &cause(claim, Some(claim.value.clone()))),
                }
            }
        }
        if let Some(other) = opposite(&claim.attribute)
            && let Some(stretches) = held.get_mut(other)
        {
            for stretch in stretches.iter_mut().filter(|stretch| stretch.folded == value) {
                give_way(&mut stretch.entry, &cause(claim, None));
            }
        }
    }
    let stretches = held.entry(claim.attribute.clone()).or_default();
    // Said again: the stretch that it falls into, or that is still open.
    let again = stretches.iter_mut().rev().find(|stretch| {
        let entry = &stretch.entry;
        stretch.folded == value && entry.to_us.is_none_or(|to| to > from) && claim.valid_to_us.is_none_or(|to| entry.from_us.is_none_or(|begun| begun < to))
    });
    match again {
        Some(stretch) => {
            let entry = &mut stretch.entry;
            entry.value = claim.value.clone();
            entry.sources.push(source(claim));
            if let Some(begun) = claim.valid_from_us {
                entry.from_us = Some(entry.from_us.map_or(begun, |from| from.min(begun)));
            }
            if entry.to_us.is_none() {
                entry.to_us = claim.valid_to_us.filter(|to| entry.from_us.is_none_or(|from| from <= *to));
            }
        }
        None => {
            let said = claim.valid_to_us.filter(|to| until.as_ref().is_none_or(|until| *to <= until.at_us));
            let to = said.or(until.as_ref().map(|until| until.at_us)).map(|to| to.max(from));
            add(held, claim, value, Some(from), to, until.filter(|_| said.is_none()));
        }
    }
}

/// Makes way for what was said later. What began later than what takes its place was a mistake, and holds for no time at all.
fn give_way(entry: &mut Entry, cause: &Cause) {
    if entry.to_us.is_none_or(|to| to > cause.at_us) {
        let at = entry.from_us.map_or(cause.at_us, |from| from.max(cause.at_us));
        entry.to_us = Some(at);
        entry.ended_by = Some(Cause { at_us: at, ..cause.clone() });
    }
}

fn add(held: &mut Stretches, claim: &Claim, value: &str, from_us: Option<i64>, to_us: Option<i64>, ended_by: Option<Cause>) {
    let entry = Entry {
        about: claim.about.clone(),
        attribute: claim.attribute.clone(),
        value: claim.value.clone(),
        stint: 0,
        from_us,
        to_us,
        confidence: 0,
        ended_by,
        stale: None,
        flags: Flags::default(),
        sources: vec![source(claim)],
    };
    held.entry(claim.attribute.clone()).or_default().push(Stretch { entry, folded: value.to_owned() });
}

fn source(claim: &Claim) -> Source {
    Source {
        turn: claim.turn.clone(),
        said_us: claim.said_us,
        start: claim.start,
        end: claim.end,
        confidence: claim.confidence,
        rule: claim.rule.clone(),
        version: claim.version.clone(),
    }
}

/// Marks what depends on something that has changed since it was last said.
fn stale(held: &mut Stretches) {
    let attributes: Vec<String> = held.keys().cloned().collect();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    // Parents first; there is no circle (a test holds it).
    while let Some(next) = attributes.iter().find(|name| !done.contains(name.as_str()) && depends_on(name).iter().all(|on| done.contains(on) || !held.contains_key(*on))) {
        let changes: Vec<Cause> = depends_on(next).iter().filter_map(|on| held.get(*on).map(|stretches| changes(on, stretches))).flatten().collect();
        for stretch in held.get_mut(next).into_iter().flatten() {
            let entry = &mut stretch.entry;
            let last_said = entry.sources.iter().map(|source| source.said_us).max().unwrap_or(i64::MIN);
            let open = entry.to_us.is_none();
            entry.stale = changes.iter().filter(|change| open && change.at_us > last_said).min().cloned();
        }
        done.insert(next);
    }
}

/// When an attribute changed from one value to another, or became doubtful itself.
fn changes(attribute: &str, stretches: &[Stretch]) -> Vec<Cause> {
    let live = |entry: &Entry| entry.ended_by.as_ref().is_none_or(|cause| cause.why != "corrected") && (entry.to_us.is_none() || entry.from_us < entry.to_us);
    let mut found = Vec::new();
    for Stretch { entry, .. } in stretches.iter().filter(|stretch| live(&stretch.entry)) {
        if let Some(cause) = &entry.ended_by {
            found.push(Cause { why: attribute.to_owned(), ..cause.clone() });
        }
        if let Some(doubt) = &entry.stale {
            found.push(Cause { why: attribute.to_owned(), at_us: doubt.at_us, value: None, turn: doubt.turn.clone() });
        }
    }
    found
}

/// What the user's edits do to an entry. A forgotten one loses its words and says which edit made it so.
fn flagged(mut entry: Entry, edits: &[Edit]) -> Option<Entry> {
    entry.sources.sort_by(|a, b| (a.said_us, &a.turn, a.start).cmp(&(b.said_us, &b.turn, b.start)));
    entry.sources.dedup();
    entry.confidence = together(&entry.sources);
    let value = folded(&entry.value);
    let meant = |edit: &&Edit| {
        let edit = &edit.edit;
        edit.attribute == entry.attribute && edit.about == entry.about && edit.value.as_ref().is_none_or(|wanted| folded(wanted) == value)
    };
    let mut forgotten: Option<&Edit> = None;
    for edit in edits.iter().filter(meant) {
        match edit.edit.op {
            ProfileOp::Pin => entry.flags.pinned = true,
            ProfileOp::Mute => entry.flags.muted = true,
            ProfileOp::Forget => forgotten = Some(forgotten.map_or(edit, |other| other.min(edit))),
            ProfileOp::Correct => {}
        }
    }
    let Some(edit) = forgotten else { return Some(entry) };
    let source = Source { turn: edit.id.clone(), said_us: edit.at_us, start: 0, end: 0, confidence: 100, rule: "user.forget".to_owned(), version: "edit".to_owned() };
    Some(Entry {
        value: String::new(),
        stint: 0,
        from_us: None,
        to_us: None,
        confidence: 100,
        ended_by: None,
        stale: None,
        flags: Flags { forgotten: true, ..Flags::default() },
        sources: vec![source],
        ..entry
    })
}

/// Numbers the stretches of one value, and leaves one of each forgotten thing.
fn number(entries: &mut Vec<Entry>) {
    entries.sort_by(|a, b| (a.from_us, &a.sources).cmp(&(b.from_us, &b.sources)));
    let mut seen: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    entries.retain_mut(|entry| {
        if entry.flags.forgotten {
            return gone.insert(entry.name());
        }
        let next = seen.entry((entry.attribute.clone(), folded(&entry.value))).or_default();
        entry.stint = *next;
        *next += 1;
        true
    });
}

/// Confidences of different turns together: one minus the product of what each leaves open, in whole numbers, 99 at most.
fn together(sources: &[Source]) -> u8 {
    if sources.iter().any(|source| source.confidence >= 100) {
        return 100;
    }
    let mut best: BTreeMap<&str, u8> = BTreeMap::new();
    for source in sources {
        let held = best.entry(&source.turn).or_default();
        *held = (*held).max(source.confidence);
    }
    let open = best.values().fold(1_000_000_u64, |open, confidence| open * u64::from(100 - confidence) / 100);
    u8::try_from((100 - open.div_ceil(10_000)).min(99)).unwrap_or(99)
}
