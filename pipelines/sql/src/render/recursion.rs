//! Recursion: the steps between the rounds and what follows from them, built inside of the loop; everything else outside.

use std::collections::HashMap;
use std::sync::Arc;

use ajatus_operators::Keep as Place;
use ajatus_operators::relational::{COPIES, Inner, Recursion, Rows, Round, Split, after, distinct, fault, map_batches, meet, rearrange, recurse, unnest};
use ajatus_operators::row::{Row, Weave, Writer};

use super::{Render, evaluate::Evaluator, known};
use crate::plan::{Input, Keep, Match, Node, Step, reads};
use crate::record::json_line;

/// What a join inside of the loop meets: the other side's rows by key, and its keys, each once; those that are asked for.
struct Partners<'scope> {
    rows: Option<Rows<'scope>>,
    keys: Option<Rows<'scope>>,
}

impl<'scope> Render<'scope, '_> {
    /// The rows of a recursion; those that the cap leaves out are faults.
    pub(super) fn recursion(&mut self, node: &Node, name: &str, of: usize, base: &Input, step: &Input, recursion: Recursion) -> Rows<'scope> {
        // The rounds are differential's own state: they are made again of what came in.
        let base = self.node(base);
        let base = self.cut(base, &format!("step {} base", node.id));
        let mut partners = HashMap::new();
        self.partners(step, of, &mut partners);
        let repeated = recurse(base, recursion, |inner, before| {
            let mut faults = Vec::new();
            let rows = round(step, of, inner, before, &partners, &mut faults);
            let mut faults = faults.into_iter();
            let first = faults.next();
            (rows, first.map(|first| first.concatenate(faults)))
        });
        let rounds = recursion.rounds;
        let beyond = format!("the recursion {name:?} goes on after {rounds} rounds, and this row is not in it; bound its step, or raise `set max_rounds`");
        let crowded = format!("the recursion {name:?} gives this row more than {COPIES} times, and no further copy is counted; write `union` for `union all`");
        for (rows, code, message) in [(distinct(repeated.beyond, Place::nowhere()), "recursion.rounds", beyond), (repeated.crowded, "recursion.copies", crowded)] {
            let (label, names, types) = (node.label(), node.names.clone(), node.types.clone());
            let mut writer = Writer::new();
            let rows = after(rows, &self.vault);
            self.faults.push(rows.map(move |row: Row| fault(&label, code, &message, "", json_line(&row, &names, &types).as_bytes(), &mut writer)));
        }
        self.faults.push(after(repeated.faults, &self.vault));
        after(repeated.rows, &self.vault)
    }

    /// Builds what the joins of a step meet, outside of the loop: it does not change with the rounds.
    fn partners(&mut self, node: &Input, of: usize, all: &mut HashMap<usize, Partners<'scope>>) {
        match &node.step {
            Step::Map { input, .. } | Step::Unnest { input, .. } | Step::Distinct { input } => self.partners(input, of, all),
            Step::Join(matching) => {
                let left = reads(&matching.left, of);
                let (own, other, weave, keys) = if left {
                    (&matching.left, &matching.right, &matching.right_weave, &matching.right_keys)
                } else {
                    (&matching.right, &matching.left, &matching.left_weave, &matching.left_keys)
                };
                let built = self.node(other);
                // A null is not equal to itself: where none has a partner, none is one.
                let (rows, _) = known(built, other, keys, matching.nulls_match);
                let rows = self.cut(rows, &format!("step {} partners", node.id));
                let asks = |wanted: &[Keep]| matching.keep.iter().any(|(keep, _)| wanted.contains(keep));
                let whole = asks(&[Keep::Pairs]) || (!left && asks(&[Keep::LeftMatched]));
                let once = asks(&[Keep::LeftAlone, Keep::RightAlone]) || (left && asks(&[Keep::LeftMatched]));
                let keys_of = Weave::pick(&other.kinds(), keys);
                let partners = Partners {
                    keys: once.then(|| distinct(rearrange(rows.clone(), keys_of), Place::nowhere())),
                    rows: whole.then(|| rearrange(rows, weave.clone())),
                };
                all.insert(node.id, partners);
                self.partners(own, of, all);
            }
            _ => {}
        }
    }
}

/// What follows from the rows so far.
fn round<'scope, 'inner>(
    node: &Input,
    of: usize,
    inner: Inner<'inner>,
    before: Rows<'inner, Round>,
    partners: &HashMap<usize, Partners<'scope>>,
    faults: &mut Vec<Rows<'inner, Round>>,
) -> Rows<'inner, Round> {
    match &node.step {
        Step::Round { columns, kinds, .. } => rearrange(before, Weave::pick(kinds, columns)),
        Step::Map { input, program } => {
            let rows = round(input, of, inner, before, partners, faults);
            if let Some(columns) = &program.moves {
                return rearrange(rows, Weave::pick(&input.kinds(), columns));
            }
            let mut evaluator = Evaluator::new(Arc::clone(program), node.label(), input);
            let (rows, failed) = map_batches(rows, &node.label(), move |updates, good, bad| evaluator.run(updates, good, bad));
            faults.push(failed);
            rows
        }
        Step::Unnest { input, column, output, outer } => {
            unnest(round(input, of, inner, before, partners, faults), input.kinds(), *column, output.clone(), *outer)
        }
        // The rounds hold each row once, whatever the step does.
        Step::Distinct { input } => round(input, of, inner, before, partners, faults),
        Step::Join(matching) => {
            let left = reads(&matching.left, of);
            let (own, weave) = if left { (&matching.left, &matching.left_weave) } else { (&matching.right, &matching.right_weave) };
            let rows = rearrange(round(own, of, inner, before, partners, faults), weave.clone());
            joined(matching, left, rows, inner, &partners[&node.id])
        }
        _ => unreachable!("the planner refuses what is not linear"),
    }
}

fn joined<'inner>(matching: &Match, left: bool, rows: Rows<'inner, Round>, inner: Inner<'inner>, partners: &Partners<'_>) -> Rows<'inner, Round> {
    let weave = |wanted: Keep| matching.keep.iter().find(|(keep, _)| *keep == wanted).map(|(_, weave)| weave.clone());
    let enter = |rows: &Option<Rows<'_>>| rows.as_ref().expect("built before the loop").clone().enter(inner);
    let rest = if left { matching.shape.right.len() } else { matching.shape.left.len() };
    let split = Split { key: matching.shape.key.clone(), rest, left };
    let pairs = match (weave(Keep::Pairs), weave(Keep::LeftMatched)) {
        (Some(weave), _) => Some((enter(&partners.rows), weave)),
        (None, Some(weave)) => Some((enter(if left { &partners.keys } else { &partners.rows }), weave)),
        (None, None) => None,
    };
    let alone = weave(if left { Keep::LeftAlone } else { Keep::RightAlone }).map(|weave| (enter(&partners.keys), weave));
    meet(rows, split, pairs, alone)
}
