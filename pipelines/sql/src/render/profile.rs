//! `profile(claims, edits, turns)`: what is known of each user, kept record by record.
//!
//! Holds always: a user's rows are a function of that user's live claims, edits and turns; a turn that goes takes with it what only it said,
//! and brings back what it had superseded. Cost of a change: the claims about one person, one topic's days, one day's turns.

use ajatus_facts::Polarity;
use ajatus_facts::profile::{Claim, DAY_US, Edit, Habits, Turn, derive, fact_body, interest_body, topics, use_body};
use ajatus_operators::relational::Rows;
use ajatus_operators::row::{Cell, Row, Writer};
use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::operator::{Given, Reason, natural, text, understood};
use crate::plan::{Input, Node};

const NULL: &str = "profile.null";
const RANGE: &str = "profile.range";
const POLARITY: &str = "profile.polarity";
const EDIT: &str = "profile.edit";

/// What is known about one person.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Known {
    Claim(Claim),
    Edit(Edit),
}

/// User, and what follows within it.
type Of<'scope, K, V> = VecCollection<'scope, u64, ((Row, K), V), isize>;

pub(super) fn profile<'scope>(node: &Node, inputs: &[Input], rows: Vec<Rows<'scope>>) -> Given<'scope> {
    let mut rows = rows.into_iter();
    let mut next = || rows.next().expect("an operator has tables");
    let (claims, bad_claims) = understood(next(), node.label(), &inputs[0], claim);
    let (edits, bad_edits) = understood(next(), node.label(), &inputs[1], edit);
    let (turns, bad_turns) = understood(next(), node.label(), &inputs[2], turn);
    let known = claims.map(|(user, claim)| ((user, claim.about.clone()), Known::Claim(claim)));
    let known = known.concat(edits.map(|(user, edit)| ((user, edit.edit.about.clone()), Known::Edit(edit))));
    let uses = uses(turns.clone());
    let kept = facts(known).concat(interests(turns.clone(), uses.clone())).concat(habits(turns)).concat(used(uses));
    (kept, vec![bad_claims, bad_edits, bad_turns])
}

fn facts<'scope>(known: Of<'scope, String, Known>) -> Rows<'scope> {
    let mut out = Writer::new();
    let entries = known.reduce(|_person, known, entries| {
        let (mut claims, mut edits) = (Vec::new(), Vec::new());
        for (known, _) in known {
            match known {
                Known::Claim(claim) => claims.push(claim.clone()),
                Known::Edit(edit) => edits.push(edit.clone()),
            }
        }
        for entry in derive(&claims, &edits) {
            entries.push(((entry.name(), fact_body(&entry)), 1));
        }
    });
    entries.map(move |((user, _about), (name, body))| row(&mut out, &user, "fact", &name, &body))
}

/// Mentions of a topic by day. What came up on one day only is no interest.
fn interests<'scope>(turns: VecCollection<'scope, u64, (Row, Turn), isize>, uses: Of<'scope, String, Used>) -> Rows<'scope> {
    let mut out = Writer::new();
    let said = turns.filter(|(_, turn)| turn.by_user).flat_map(|(user, turn)| {
        let day = turn.at_us.div_euclid(DAY_US);
        topics(&turn.text).into_iter().map(move |topic| ((user.clone(), topic), day))
    });
    // A remembered turn that an answer was given is its topics' mention on that day.
    let recalled = uses.flat_map(|((user, _turn), used)| {
        let day = used.at_us.div_euclid(DAY_US);
        used.topics.into_iter().map(move |topic| ((user.clone(), topic), day))
    });
    let days = said.concat(recalled).reduce(|_topic, days, interest| {
        if days.len() > 1 {
            let days: Vec<(i64, u64)> = days.iter().map(|(day, times)| (**day, times.unsigned_abs() as u64)).collect();
            interest.push((days, 1));
        }
    });
    days.map(move |((user, topic), days)| {
        let body = interest_body(&topic, &days);
        row(&mut out, &user, "interest", &topic, &body)
    })
}

fn habits<'scope>(turns: VecCollection<'scope, u64, (Row, Turn), isize>) -> Rows<'scope> {
    let mut out = Writer::new();
    let days = turns.filter(|(_, turn)| turn.by_user).map(|(user, turn)| ((user, turn.at_us.div_euclid(DAY_US)), turn)).reduce(|_day, turns, sums| {
        let sum = turns.iter().fold(Habits::default(), |sum, (turn, times)| {
            sum.and(&Habits::of(&turn.text, turn.at_us).times(times.unsigned_abs() as u64))
        });
        sums.push((sum, 1));
    });
    let all = days.map(|((user, _day), sum)| (user, sum)).reduce(|_user, days, sums| {
        // Days of equal sums are one row of a higher weight.
        let sum = days.iter().fold(Habits::default(), |sum, (day, times): &(&Habits, isize)| sum.and(&(*day).clone().times(times.unsigned_abs() as u64)));
        sums.push((sum, 1));
    });
    all.map(move |(user, habits)| row(&mut out, &user, "habits", "", &json!(habits).to_string()))
}

/// One use of a remembered turn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Used {
    by: String,
    at_us: i64,
    topics: Vec<String>,
}

/// Uses of turns that are remembered still.
fn uses<'scope>(turns: VecCollection<'scope, u64, (Row, Turn), isize>) -> Of<'scope, String, Used> {
    let named = turns.clone().flat_map(|(user, turn)| {
        let (by, at_us) = (turn.id, turn.at_us);
        turn.used.into_iter().map(move |used| ((user.clone(), used), (by.clone(), at_us)))
    });
    let remembered = turns.map(|(user, turn)| ((user, turn.id), topics(&turn.text)));
    named.join_map(remembered, |key, (by, at_us), topics| (key.clone(), Used { by: by.clone(), at_us: *at_us, topics: topics.clone() }))
}

fn used<'scope>(uses: Of<'scope, String, Used>) -> Rows<'scope> {
    let mut out = Writer::new();
    let sums = uses.reduce(|_turn, uses, sums| {
        let times: u64 = uses.iter().map(|(_, times)| times.unsigned_abs() as u64).sum();
        let last_us = uses.iter().map(|(used, _)| used.at_us).max().unwrap_or_default();
        sums.push(((times, last_us), 1));
    });
    sums.map(move |((user, turn), (times, last_us))| {
        row(&mut out, &user, "use", &turn, &use_body(&turn, times, last_us))
    })
}

fn row(out: &mut Writer, user: &Row, kind: &str, entry: &str, body: &str) -> Row {
    out.clear();
    out.encoded(user.bytes());
    for text in [kind, entry, body] {
        out.text(text);
    }
    out.finish()
}

fn instant(cell: &Cell<'_>, name: &str) -> Result<i64, Reason> {
    maybe_instant(cell, name)?.ok_or_else(|| (NULL, format!("{name} is null")))
}

fn maybe_instant(cell: &Cell<'_>, name: &str) -> Result<Option<i64>, Reason> {
    match cell {
        Cell::Int(value) => i64::try_from(*value).map(Some).map_err(|_| (RANGE, format!("{name} is out of range"))),
        _ => Ok(None),
    }
}

fn claim(cells: &[Cell<'_>]) -> Result<Claim, Reason> {
    let word = |at: usize, name: &str| text(&cells[at], name, NULL).map(str::to_owned);
    word(0, "user_id")?;
    let polarity = match text(&cells[6], "polarity", NULL)? {
        "holds" => Polarity::Holds,
        "ended" => Polarity::Ended,
        "denied" => Polarity::Denied,
        other => return Err((POLARITY, format!("polarity is {other:?}; it is one of holds, ended and denied"))),
    };
    let confidence: u8 = natural(&cells[7], "confidence", NULL, RANGE)?;
    if confidence > 100 {
        return Err((RANGE, format!("confidence is {confidence}; it is at most 100")));
    }
    Ok(Claim {
        said_us: instant(&cells[2], "said_at")?,
        turn: word(1, "turn")?,
        start: natural(&cells[10], "span_start", NULL, RANGE)?,
        end: natural(&cells[11], "span_end", NULL, RANGE)?,
        attribute: word(3, "attribute")?,
        about: word(4, "about")?,
        value: word(5, "value")?,
        polarity,
        confidence,
        valid_from_us: maybe_instant(&cells[8], "valid_from")?,
        valid_to_us: maybe_instant(&cells[9], "valid_to")?,
        rule: word(12, "rule")?,
        version: word(13, "version")?,
    })
}

fn edit(cells: &[Cell<'_>]) -> Result<Edit, Reason> {
    text(&cells[0], "user_id", NULL)?;
    let written = text(&cells[3], "edit", NULL)?;
    Ok(Edit {
        at_us: instant(&cells[2], "occurred_at")?,
        id: text(&cells[1], "id", NULL)?.to_owned(),
        edit: serde_json::from_str(written).map_err(|error| (EDIT, format!("edit is not one: {error}")))?,
    })
}

fn turn(cells: &[Cell<'_>]) -> Result<Turn, Reason> {
    text(&cells[0], "user_id", NULL)?;
    let used = if let Cell::Text(used) = &cells[5] { used.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect() } else { Vec::new() };
    Ok(Turn {
        id: text(&cells[1], "id", NULL)?.to_owned(),
        by_user: text(&cells[2], "role", NULL)? == "user",
        at_us: instant(&cells[3], "occurred_at")?,
        text: text(&cells[4], "text", NULL)?.to_owned(),
        used,
    })
}
