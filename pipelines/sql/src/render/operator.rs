//! The platform's operators over rows: what a row means to them, and rows of what they give.
//!
//! Holds always: a row that an operator cannot read is a fault with the row's weight, and leaves the operator's result as if it were not
//! there.

use ajatus_operators::contribution::{Contributed, ONE, Unscored, Verdict, score_contribution};
use ajatus_operators::relational::{Rows, fault};
use ajatus_operators::row::{Cell, Row, Writer};
use ajatus_operators::{Speaker, Spoken, count_activity};
use differential_dataflow::VecCollection;

use super::profile::profile;
use crate::plan::{Input, Node, Operator};
use crate::record::json_line;

/// What an operator gives, and what it could not read.
pub(super) type Given<'scope> = (Rows<'scope>, Vec<Rows<'scope>>);

/// A row for people and for the dead letters.
pub(super) type Reason = (&'static str, String);

/// Builds an operator over its tables' rows.
pub(super) fn operator<'scope>(node: &Node, operator: Operator, inputs: &[Input], mut rows: Vec<Rows<'scope>>) -> Given<'scope> {
    match operator {
        Operator::Activity => {
            let (turns, faults) = understood(rows.remove(0), node.label(), &inputs[0], spoken);
            let mut writer = Writer::new();
            let counted = count_activity(turns).map(move |(user, counts)| {
                writer.encoded(user.bytes());
                for turns in [counts.user_turns, counts.assistant_turns, counts.other_turns] {
                    writer.int64(turns as i64);
                }
                writer.int64(counts.first_us);
                writer.int64(counts.last_us);
                writer.finish()
            });
            (counted, vec![faults])
        }
        Operator::Contribution => {
            let mut faults = Vec::new();
            let mut events = Vec::new();
            for ((rows, input), means) in rows.into_iter().zip(inputs).zip([work, presence, stake]) {
                let (good, bad) = understood(rows, node.label(), input, means);
                events.push(good);
                faults.push(bad);
            }
            let mut events = events.into_iter();
            let first = events.next().expect("an operator has tables");
            let scored = score_contribution(first.concatenate(events));
            let (label, mut writer, mut bad) = (node.label(), Writer::new(), Writer::new());
            let rows = scored.clone().flat_map(move |(name, (epoch, scored))| {
                let scored = scored.ok()?;
                writer.clear();
                writer.encoded(name.bytes());
                writer.int64(epoch as i64);
                writer.int64(i64::try_from(scored.net).ok()?);
                writer.int64(i64::try_from(scored.decided).ok()?);
                writer.int64(scored.uptime as i64);
                writer.int64(scored.score as i64);
                for amount in [scored.weight, scored.slash, scored.stake, scored.matured] {
                    writer.int128(amount as i128);
                }
                writer.int64(scored.smoothed as i64);
                Some(writer.finish())
            });
            let unscored = scored.flat_map(move |(name, (epoch, scored))| {
                let (code, message) = match scored {
                    Ok(score) if i64::try_from(score.net).is_ok() && i64::try_from(score.decided).is_ok() => return None,
                    Ok(_) => ("contribution.overflow", "the work of an epoch is more than a bigint holds"),
                    Err(Unscored::NoStake) => ("contribution.no_stake", "work or presence of an epoch without a stake; it counts when the stake comes"),
                    Err(Unscored::TwoStakes) => ("contribution.two_stakes", "two different stakes in one epoch; take one back"),
                };
                let Cell::Text(name) = name.reader().cell(&ajatus_operators::row::Kind::Text) else { return None };
                let cause = serde_json::json!({ "node": name, "epoch": epoch }).to_string();
                Some(fault(&label, code, message, "", cause.as_bytes(), &mut bad))
            });
            faults.push(unscored);
            (rows, faults)
        }
        Operator::Profile => profile(node, inputs, rows),
    }
}

/// What the rows of a table mean, by the first column; and the faults of those that mean nothing.
pub(super) fn understood<'scope, E, F>(rows: Rows<'scope>, step: String, input: &Input, means: F) -> (VecCollection<'scope, u64, (Row, E), isize>, Rows<'scope>)
where
    E: differential_dataflow::ExchangeData,
    F: Fn(&[Cell<'_>]) -> Result<E, Reason> + Copy + 'static,
{
    let (kinds, again) = (input.kinds(), input.kinds());
    let (names, types) = (input.names.clone(), input.types.clone());
    let mut writer = Writer::new();
    let good = rows.clone().flat_map(move |row: Row| {
        let cells = row.cells(&kinds);
        means(&cells).ok().map(|event| (Row::from_bytes(first_of(&kinds[0], row.bytes())), event))
    });
    let bad = rows.flat_map(move |row: Row| {
        let (code, message) = means(&row.cells(&again)).err()?;
        Some(fault(&step, code, &message, "", json_line(&row, &names, &types).as_bytes(), &mut writer))
    });
    (good, bad)
}

/// The bytes of the first value.
fn first_of<'row>(kind: &ajatus_operators::row::Kind, bytes: &'row [u8]) -> &'row [u8] {
    let mut reader = ajatus_operators::row::Reader::over(bytes);
    reader.skip(kind);
    &bytes[..bytes.len() - reader.rest().len()]
}

pub(super) fn text<'cell>(cell: &'cell Cell<'_>, name: &str, null: &'static str) -> Result<&'cell str, Reason> {
    match cell {
        Cell::Text(text) => Ok(text),
        _ => Err((null, format!("{name} is null"))),
    }
}

/// A number that is not below zero.
pub(super) fn natural<T: TryFrom<i128>>(cell: &Cell<'_>, name: &str, null: &'static str, range: &'static str) -> Result<T, Reason> {
    match cell {
        Cell::Int(value) => T::try_from(*value).map_err(|_| (range, format!("{name} is {value}, which is not a count"))),
        _ => Err((null, format!("{name} is null"))),
    }
}

fn spoken(cells: &[Cell<'_>]) -> Result<Spoken, Reason> {
    const NULL: &str = "activity.null";
    text(&cells[0], "user_id", NULL)?;
    let speaker = match text(&cells[1], "role", NULL)? {
        "user" => Speaker::User,
        "assistant" => Speaker::Assistant,
        _ => Speaker::Other,
    };
    match &cells[2] {
        Cell::Int(at) => Ok(Spoken { speaker, at_us: i64::try_from(*at).map_err(|_| (NULL, "occurred_at is out of range".to_owned()))? }),
        _ => Err((NULL, "occurred_at is null".to_owned())),
    }
}

const NULL: &str = "contribution.null";
const RANGE: &str = "contribution.range";

fn epoch(cells: &[Cell<'_>]) -> Result<u64, Reason> {
    text(&cells[0], "node", NULL)?;
    natural(&cells[1], "epoch", NULL, RANGE)
}

fn work(cells: &[Cell<'_>]) -> Result<(u64, Contributed), Reason> {
    let epoch = epoch(cells)?;
    let verdict = match text(&cells[2], "verdict", NULL)? {
        "valid" => Verdict::Valid,
        "invalid" => Verdict::Invalid,
        "missed" => Verdict::Missed,
        other => return Err(("contribution.verdict", format!("verdict is {other:?}; it is one of valid, invalid and missed"))),
    };
    let work = natural(&cells[3], "work", NULL, RANGE)?;
    // Nothing is said of how fast work was that is not valid.
    let performance = if verdict == Verdict::Valid { natural(&cells[4], "performance", NULL, RANGE)? } else { 0 };
    if performance > ONE {
        return Err((RANGE, format!("performance is {performance}; it is at most {ONE}")));
    }
    Ok((epoch, Contributed::Work { verdict, work, performance }))
}

fn presence(cells: &[Cell<'_>]) -> Result<(u64, Contributed), Reason> {
    let epoch = epoch(cells)?;
    let (answered, expected) = (natural(&cells[2], "answered", NULL, RANGE)?, natural(&cells[3], "expected", NULL, RANGE)?);
    // No epoch has so many slots; sums of such counts stay far from the end of a number.
    if answered > expected || expected > u64::from(u32::MAX) {
        return Err((RANGE, format!("{answered} of {expected} slots are answered")));
    }
    Ok((epoch, Contributed::Presence { answered, expected }))
}

fn stake(cells: &[Cell<'_>]) -> Result<(u64, Contributed), Reason> {
    let epoch = epoch(cells)?;
    let (stake, matured) = (natural(&cells[2], "stake", NULL, RANGE)?, natural(&cells[3], "matured", NULL, RANGE)?);
    if matured > stake {
        return Err((RANGE, format!("matured is {matured}, more than the stake of {stake}")));
    }
    Ok((epoch, Contributed::Stake { stake, matured }))
}
