//! The order of one user's turns, their windows and sessions, and what a search reads of each turn, in that order.

use chrono::{DateTime, Utc};

use super::arena::Arena;
use super::document::Facts;

/// First and last position of a window.
pub(super) type Window = (u32, u32);

/// Everything by position, unless said otherwise; positions are places in the order of conversation, session and turn.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Slot of each position.
    pub(super) slots: Vec<u32>,
    /// Position of each slot.
    pub(super) positions: Vec<u32>,
    /// The turns' own numbers.
    pub(super) facts: Vec<Facts>,
    /// Window of at most 200 words and two turns to each side.
    pub(super) near: Vec<Window>,
    /// Window of at most 300 words and three turns to each side.
    pub(super) wide: Vec<Window>,
    /// Lengths of the weighted sums of the vectors of the near and the wide window.
    pub(super) norms: Vec<(f32, f32)>,
    /// Terms of the near window.
    pub(super) near_terms: Vec<f32>,
    /// Number of the session, from 0.
    pub(super) session: Vec<u32>,
    /// First position of each session, and the end.
    pub(super) starts: Vec<u32>,
    /// Terms of each session.
    pub(super) session_terms: Vec<f32>,
    /// Rank by time, for ties.
    pub(super) rank: Vec<u32>,
}

impl Layout {
    /// Turns.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The turn before, of the same session.
    pub(super) fn previous(&self, at: usize) -> Option<usize> {
        at.checked_sub(1).filter(|before| self.session[*before] == self.session[at])
    }

    /// Positions of a position's session.
    pub(super) fn session_of(&self, at: usize) -> std::ops::Range<usize> {
        let session = self.session[at] as usize;
        self.starts[session] as usize..self.starts[session + 1] as usize
    }
}

/// Weights by distance of the two averaged dense signals.
pub(super) const NEAR: [f32; 2] = [1.0, 0.5];
pub(super) const WIDE: [f32; 4] = [1.0, 0.7, 0.5, 0.3];

/// What was measured of a slot's windows, and of which turns.
#[derive(Clone, Debug, Default)]
pub(super) struct Norms {
    /// Stamps of the wide window, the turn itself in the middle, and how far the near window reaches.
    of: [u64; 8],
    near: f32,
    wide: f32,
}

impl Arena {
    /// Lays the order out if anything changed since the last search.
    pub(super) fn lay_out(&mut self) {
        if self.layout.is_some() {
            return;
        }
        let count = self.order.len();
        let mut layout = Layout { slots: Vec::with_capacity(count), session: Vec::with_capacity(count), ..Layout::default() };
        let mut last = None;
        for ((conversation, session, ..), slot) in &self.order {
            if last != Some((*conversation, *session)) {
                last = Some((*conversation, *session));
                layout.starts.push(narrow(layout.slots.len()));
            }
            layout.slots.push(*slot);
            layout.session.push(narrow(layout.starts.len() - 1));
        }
        layout.starts.push(narrow(count));
        layout.positions = vec![0; self.facts.len()];
        for (at, slot) in layout.slots.iter().enumerate() {
            layout.positions[*slot as usize] = narrow(at);
        }
        layout.facts = layout.slots.iter().map(|slot| self.facts[*slot as usize]).collect();
        layout.rank = ranked(&layout.facts);
        layout.near = windows(&layout, 2, 200);
        layout.wide = windows(&layout, 3, 300);
        let spoken = |(low, high): &Window| layout.facts[*low as usize..=*high as usize].iter().map(|facts| facts.spoken).sum();
        layout.near_terms = layout.near.iter().map(spoken).collect();
        let plain = |ends: &[u32]| layout.facts[ends[0] as usize..ends[1] as usize].iter().map(|facts| facts.plain).sum();
        layout.session_terms = layout.starts.windows(2).map(plain).collect();
        let mut sum = Vec::new();
        layout.norms = (0..count).map(|at| self.measured(&layout, at, &mut sum)).collect();
        self.layout = Some(layout);
    }

    /// Lengths of the weighted sums around a position; measured again only if the windows' turns changed.
    fn measured(&mut self, layout: &Layout, at: usize, sum: &mut Vec<f32>) -> (f32, f32) {
        let ((low, high), (near_low, near_high)) = (layout.wide[at], layout.near[at]);
        let mut of = [0; 8];
        for other in low as usize..=high as usize {
            of[other + 3 - at] = self.stamps[layout.slots[other] as usize];
        }
        of[7] = (at as u64 - u64::from(near_low)) * 8 + u64::from(near_high) - at as u64;
        let me = layout.slots[at] as usize;
        if self.norms[me].of != of {
            let mut length = |(low, high): Window, weights: &[f32]| {
                let parts = (low as usize..=high as usize).filter_map(|other| Some((*weights.get(other.abs_diff(at))?, layout.slots[other])));
                self.vectors.sum_length(parts, sum)
            };
            let (near, wide) = (length((near_low, near_high), &NEAR), length((low, high), &WIDE));
            self.norms[me] = Norms { of, near, wide };
        }
        (self.norms[me].near, self.norms[me].wide)
    }
}

fn narrow(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than 2^32 turns")
}

fn ranked(facts: &[Facts]) -> Vec<u32> {
    let mut by_time: Vec<(DateTime<Utc>, u32)> = facts.iter().enumerate().map(|(at, facts)| (facts.occurred_at, narrow(at))).collect();
    by_time.sort_unstable();
    let mut rank = vec![0; by_time.len()];
    for (place, (_, at)) in by_time.iter().enumerate() {
        rank[*at as usize] = narrow(place);
    }
    rank
}

/// Grows a window ring by ring inside the session while it holds at most `most` words.
fn windows(layout: &Layout, rings: usize, most: u32) -> Vec<Window> {
    let count = layout.len();
    let words = |at: usize| layout.facts[at].words;
    (0..count)
        .map(|at| {
            let (mut low, mut high, mut held) = (at, at, words(at));
            for ring in 1..=rings {
                for neighbour in [at.checked_sub(ring), Some(at + ring)].into_iter().flatten() {
                    let adjacent = neighbour + 1 == low || neighbour == high + 1;
                    if neighbour < count
                        && adjacent
                        && layout.session[neighbour] == layout.session[at]
                        && held.saturating_add(words(neighbour)) <= most
                    {
                        held += words(neighbour);
                        (low, high) = (low.min(neighbour), high.max(neighbour));
                    }
                }
            }
            (narrow(low), narrow(high))
        })
        .collect()
}
