//! From scores to hits: the first place, several sessions, a budget.

use super::layout::Layout;
use super::options::Hit;
use super::score::Scored;
use super::signals::Signal;

/// Candidates among which the first place is settled.
const FIRST_OF: usize = 5;
/// Best turns of a session whose mean speaks for it.
const SESSION_BEST: usize = 3;
/// What a turn loses per better turn of its session at diversity 1, in units of a signal.
const CROWDED: f32 = 0.5;

/// One hit to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick {
    pub(super) at: usize,
    pub(super) score: f32,
    /// What put it first.
    pub(super) first_place: f32,
    /// What better turns of its session took, 0 or less.
    pub(super) diversity: f32,
}

/// What may be picked.
pub(super) struct Candidates<'a> {
    pub(super) layout: &'a Layout,
    pub(super) scored: &'a Scored,
    /// Positions allowed; empty for all.
    pub(super) only: &'a [bool],
}

impl Candidates<'_> {
    /// The hits, best first; scores never rise.
    pub(super) fn pick(&self, limit: usize, diversity: f32) -> Vec<Pick> {
        // A crowded turn must have whom to give way to.
        let pool = if diversity > 0.0 { (limit.saturating_mul(3)).max(60) } else { limit.max(FIRST_OF) };
        let order = best(self.layout, &self.scored.total, self.only, pool);
        let plain = |at: usize| Pick { at, score: self.scored.total[at], first_place: 0.0, diversity: 0.0 };
        let mut waiting: Vec<Pick> = order.iter().map(|at| plain(*at)).collect();
        let Some((first, bonus)) = self.first(&order) else { return Vec::new() };
        let mut pick = waiting.remove(first);
        (pick.score, pick.first_place) = (pick.score + bonus, bonus);
        let mut picks = vec![pick];
        while picks.len() < limit && !waiting.is_empty() {
            let mut next = 0;
            if diversity > 0.0 {
                let taken = self.layout.session[picks[picks.len() - 1].at];
                for pick in waiting.iter_mut().filter(|pick| self.layout.session[pick.at] == taken) {
                    pick.diversity -= CROWDED * diversity;
                    pick.score -= CROWDED * diversity;
                }
                // The first of the best: ties stay in order.
                for at in 1..waiting.len() {
                    if waiting[at].score > waiting[next].score {
                        next = at;
                    }
                }
            }
            picks.push(waiting.remove(next));
        }
        picks
    }

    /// Which of the best few comes first, and by what: what words and vector agree on, the question's own phrases, the date
    /// and a session that speaks of it throughout count again. Recall does not change by it, the first hit's session does.
    fn first(&self, order: &[usize]) -> Option<(usize, f32)> {
        let few = order.get(..FIRST_OF.min(order.len()))?;
        let session = |at: usize| {
            let mut scores: Vec<f32> = self.scored.total[self.layout.session_of(at)].to_vec();
            // A session may be very long: only its best are sorted, so that they add up in one order.
            if scores.len() > SESSION_BEST {
                scores.select_nth_unstable_by(SESSION_BEST - 1, |a, b| b.total_cmp(a));
                scores.truncate(SESSION_BEST);
            }
            scores.sort_unstable_by(|a, b| b.total_cmp(a));
            scores.iter().sum::<f32>() / f32::from(u8::try_from(scores.len()).expect("at most three"))
        };
        let sessions: Vec<f32> = few.iter().map(|at| session(*at)).collect();
        let least = sessions.iter().copied().fold(f32::INFINITY, f32::min);
        let speaks = |at: usize| [Signal::Agreement, Signal::Pairs, Signal::Date].iter().map(|signal| self.scored.value(*signal, at)).sum::<f32>();
        let bonus = |place: usize| speaks(few[place]) + sessions[place] - least;
        let sum = |place: usize| self.scored.total[few[place]] + bonus(place);
        let first = (0..few.len()).reduce(|best, place| if sum(place) > sum(best) { place } else { best })?;
        Some((first, bonus(first)))
    }
}

/// The positions of the best scores, best first; ties by time.
pub(super) fn best(layout: &Layout, total: &[f32], only: &[bool], many: usize) -> Vec<usize> {
    let mut best: Vec<usize> = (0..total.len()).filter(|at| only.get(*at).copied().unwrap_or(true)).collect();
    let better = |a: &usize, b: &usize| total[*b].total_cmp(&total[*a]).then(layout.rank[*a].cmp(&layout.rank[*b]));
    if 0 < many && many < best.len() {
        best.select_nth_unstable_by(many - 1, better);
        best.truncate(many);
    }
    best.sort_unstable_by(better);
    best
}

/// Keeps the hits that fit into a budget, best first; the first stays whatever its size.
pub(super) fn affordable(hits: &mut Vec<Hit>, budget: usize) {
    let mut spent = 0_usize;
    let mut first = true;
    hits.retain(|hit| {
        let body = &hit.memory.body;
        let letters = body.text.chars().count() + body.caption.as_deref().map_or(0, |caption| caption.chars().count());
        let tokens = letters.div_ceil(4);
        let keep = first || spent.saturating_add(tokens) <= budget;
        if keep {
            spent = spent.saturating_add(tokens);
        }
        first = false;
        keep
    });
}
