//! One user's turns, kept ready to be searched.
//!
//! Holds always: an arena that turns came to and went from in any order ranks as one built of the same turns at once
//! (tested against a rebuild).
//! Cost: a change is proportional to the turn's own words; the first search after changes lays the order out again, which
//! is a few numbers per turn. Meant for up to some 50,000 turns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ajatus_events::{ConversationId, InteractionId, Role, UserId};

use super::document::{Bag, Document, Term, Terms, length};
use super::question::PreparedQuery;
use crate::postgres::Memory;

/// A turn found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The turn.
    pub memory: Arc<Memory>,
    /// Weighted sum of its signals.
    pub score: f32,
    /// Every signal's share of the score, if the search was to explain.
    pub signals: Vec<(&'static str, f32)>,
}

/// Place of a turn: neighbours in a session are neighbours here.
pub(super) type Place = (ConversationId, u32, u32, InteractionId);

/// One turn as held.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) memory: Arc<Memory>,
    pub(super) document: Document,
    pub(super) vector: Box<[f32]>,
    /// Unique per insertion: tells whether a window still holds the same turns.
    stamp: u64,
    /// Stamps of the window and the lengths of its two weighted sums.
    norms: Option<(Vec<u64>, f32, f32)>,
}

/// Where a term occurs, and how often in each place.
#[derive(Debug, Default)]
pub(super) struct Field {
    pub(super) postings: HashMap<Term, Vec<(u32, f32)>>,
    /// Terms in all turns together.
    pub(super) total: f64,
}

impl Field {
    fn add(&mut self, slot: u32, bag: &Bag) {
        for (term, count) in bag {
            self.postings.entry(*term).or_default().push((slot, *count));
        }
        self.total += f64::from(length(bag));
    }

    fn take(&mut self, slot: u32, bag: &Bag) {
        for (term, _) in bag {
            if let Some(list) = self.postings.get_mut(term) {
                list.retain(|(at, _)| *at != slot);
                if list.is_empty() {
                    self.postings.remove(term);
                }
            }
        }
        self.total -= f64::from(length(bag));
    }
}

/// One session's words.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) terms: HashMap<Term, f32>,
    pub(super) length: f64,
    turns: usize,
}

/// The order of the turns and their windows; indices are positions in that order.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Slot of each position.
    pub(super) slots: Vec<u32>,
    /// Position of each slot.
    pub(super) positions: Vec<u32>,
    /// Window of at most 200 words and two turns to each side, first and last position.
    pub(super) near: Vec<(u32, u32)>,
    /// Window of at most 300 words and three turns to each side.
    pub(super) wide: Vec<(u32, u32)>,
    /// Number of the session of each position, from 0.
    pub(super) session: Vec<u32>,
    /// Session of each number.
    pub(super) sessions: Vec<(ConversationId, u32)>,
    /// Rank of each position by time, for ties.
    pub(super) rank: Vec<u32>,
}

/// Weights by distance of the two averaged dense signals.
pub(super) const NEAR: [f32; 2] = [1.0, 0.5];
pub(super) const WIDE: [f32; 4] = [1.0, 0.7, 0.5, 0.3];

/// One user's turns.
#[derive(Debug)]
pub struct Arena {
    user: UserId,
    pub(super) terms: Terms,
    pub(super) slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_id: HashMap<InteractionId, u32>,
    order: BTreeMap<Place, u32>,
    pub(super) sessions: HashMap<(ConversationId, u32), Session>,
    speakers: BTreeMap<String, usize>,
    pub(super) dated: Field,
    pub(super) spoken: Field,
    pub(super) plain: Field,
    pub(super) pairs: Field,
    pub(super) layout: Option<Layout>,
    stamps: u64,
    bytes: usize,
}

impl Arena {
    /// An empty one.
    #[must_use]
    pub fn new(user: UserId) -> Self {
        Self {
            user,
            terms: Terms::default(),
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            order: BTreeMap::new(),
            sessions: HashMap::new(),
            speakers: BTreeMap::new(),
            dated: Field::default(),
            spoken: Field::default(),
            plain: Field::default(),
            pairs: Field::default(),
            layout: None,
            stamps: 0,
            bytes: 0,
        }
    }

    /// Turns held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Bytes held, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.terms.bytes()
    }

    /// The turn of an id.
    #[must_use]
    pub fn get(&self, id: InteractionId) -> Option<&Arc<Memory>> {
        let slot = self.by_id.get(&id)?;
        self.slots.get(*slot as usize)?.as_ref().map(|slot| &slot.memory)
    }

    /// Resolves a question against this user's speakers.
    #[must_use]
    pub fn prepare(&self, question: &str) -> PreparedQuery {
        let speakers: BTreeSet<String> = self.speakers.keys().cloned().collect();
        PreparedQuery::new(self.user, question, &speakers)
    }

    /// Puts a turn in, in place of the one of its id. `vector` has length 1.
    pub fn upsert(&mut self, memory: Memory, vector: &[f32]) {
        self.remove(memory.id);
        let document = Document::new(&memory, &mut self.terms);
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 turns")
        });
        self.dated.add(at, &document.dated);
        self.spoken.add(at, &document.spoken);
        self.plain.add(at, &document.plain);
        self.pairs.add(at, &document.pairs);
        let session = self.sessions.entry((memory.conversation_id, memory.session)).or_default();
        for (term, count) in &document.plain {
            *session.terms.entry(*term).or_default() += count;
        }
        session.length += f64::from(length(&document.plain));
        session.turns += 1;
        if let Some(speaker) = &memory.body.speaker {
            *self.speakers.entry(speaker.clone()).or_default() += 1;
        }
        self.by_id.insert(memory.id, at);
        self.order.insert(place(&memory), at);
        self.stamps += 1;
        let slot = Slot { memory: Arc::new(memory), document, vector: vector.into(), stamp: self.stamps, norms: None };
        self.bytes += bytes(&slot);
        self.slots[at as usize] = Some(slot);
        self.layout = None;
    }

    /// Takes a turn out; nothing of it remains but the numbers of its stems.
    pub fn remove(&mut self, id: InteractionId) {
        let Some(at) = self.by_id.remove(&id) else { return };
        let slot = self.slots[at as usize].take().expect("a listed slot is full");
        self.free.push(at);
        self.order.remove(&place(&slot.memory));
        self.dated.take(at, &slot.document.dated);
        self.spoken.take(at, &slot.document.spoken);
        self.plain.take(at, &slot.document.plain);
        self.pairs.take(at, &slot.document.pairs);
        let key = (slot.memory.conversation_id, slot.memory.session);
        if let Some(session) = self.sessions.get_mut(&key) {
            for (term, count) in &slot.document.plain {
                if let Some(held) = session.terms.get_mut(term) {
                    *held -= count;
                    if *held <= 0.0 {
                        session.terms.remove(term);
                    }
                }
            }
            session.length -= f64::from(length(&slot.document.plain));
            session.turns -= 1;
            if session.turns == 0 {
                self.sessions.remove(&key);
            }
        }
        if let Some(speaker) = &slot.memory.body.speaker
            && let Some(count) = self.speakers.get_mut(speaker)
        {
            *count -= 1;
            if *count == 0 {
                self.speakers.remove(speaker);
            }
        }
        self.bytes -= bytes(&slot);
        self.layout = None;
    }

    pub(super) fn slot(&self, at: u32) -> &Slot {
        self.slots[at as usize].as_ref().expect("the layout names full slots")
    }

    /// Whether a turn is by the user, or by this speaker.
    pub(super) fn is_by(memory: &Memory, speaker: Option<&str>) -> bool {
        match speaker {
            Some(name) => memory.body.speaker.as_deref() == Some(name),
            None => memory.role == Role::User,
        }
    }

    /// Lays the order out if anything changed since the last search.
    pub(super) fn lay_out(&mut self) {
        if self.layout.is_some() {
            return;
        }
        let mut layout = Layout { slots: self.order.values().copied().collect(), ..Layout::default() };
        layout.positions = vec![0; self.slots.len()];
        for (at, slot) in layout.slots.iter().enumerate() {
            layout.positions[*slot as usize] = u32::try_from(at).expect("fewer than 2^32 turns");
            let memory = &self.slot(*slot).memory;
            let key = (memory.conversation_id, memory.session);
            if layout.sessions.last() != Some(&key) {
                layout.sessions.push(key);
            }
            layout.session.push(u32::try_from(layout.sessions.len() - 1).expect("fewer than 2^32 sessions"));
        }
        let mut by_time: Vec<u32> = (0..u32::try_from(layout.slots.len()).expect("fewer than 2^32 turns")).collect();
        by_time.sort_by_key(|at| (self.slot(layout.slots[*at as usize]).memory.occurred_at, *at));
        layout.rank = vec![0; by_time.len()];
        for (rank, at) in by_time.iter().enumerate() {
            layout.rank[*at as usize] = u32::try_from(rank).expect("fewer than 2^32 turns");
        }
        layout.near = self.windows(&layout, 2, 200);
        layout.wide = self.windows(&layout, 3, 300);
        self.measure(&layout);
        self.layout = Some(layout);
    }

    /// Grows a window ring by ring inside the session while it holds at most `most` words.
    fn windows(&self, layout: &Layout, rings: usize, most: usize) -> Vec<(u32, u32)> {
        let words = |at: usize| self.slot(layout.slots[at]).document.words;
        let count = layout.slots.len();
        (0..count)
            .map(|at| {
                let (mut low, mut high, mut held) = (at, at, words(at));
                for ring in 1..=rings {
                    for neighbour in [at.checked_sub(ring), Some(at + ring)].into_iter().flatten() {
                        let adjacent = neighbour + 1 == low || neighbour == high + 1;
                        if neighbour < count
                            && adjacent
                            && layout.session[neighbour] == layout.session[at]
                            && held + words(neighbour) <= most
                        {
                            held += words(neighbour);
                            (low, high) = (low.min(neighbour), high.max(neighbour));
                        }
                    }
                }
                let narrow = |at: usize| u32::try_from(at).expect("fewer than 2^32 turns");
                (narrow(low), narrow(high))
            })
            .collect()
    }

    /// Measures the weighted sums of the vectors of every window that changed.
    fn measure(&mut self, layout: &Layout) {
        for at in 0..layout.slots.len() {
            let (low, high) = layout.wide[at];
            let (near_low, near_high) = layout.near[at];
            let mut stamps: Vec<u64> = (low..=high).map(|other| self.slot(layout.slots[other as usize]).stamp).collect();
            stamps.push(u64::from(near_low) + (u64::from(near_high) << 32));
            stamps.push(at as u64);
            let me = layout.slots[at];
            if self.slot(me).norms.as_ref().is_some_and(|(known, _, _)| *known == stamps) {
                continue;
            }
            let near = self.sum_length(layout, at, (near_low, near_high), &NEAR);
            let wide = self.sum_length(layout, at, (low, high), &WIDE);
            if let Some(slot) = self.slots[me as usize].as_mut() {
                slot.norms = Some((stamps, near, wide));
            }
        }
    }

    fn sum_length(&self, layout: &Layout, at: usize, (low, high): (u32, u32), weights: &[f32]) -> f32 {
        let mut sum = vec![0.0_f32; self.slot(layout.slots[at]).vector.len()];
        for other in low as usize..=high as usize {
            if let Some(weight) = weights.get(other.abs_diff(at)) {
                for (total, value) in sum.iter_mut().zip(&*self.slot(layout.slots[other]).vector) {
                    *total += weight * value;
                }
            }
        }
        sum.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-9)
    }

    /// Lengths of the near and the wide weighted sum around a slot.
    pub(super) fn norms(&self, slot: u32) -> (f32, f32) {
        self.slot(slot).norms.as_ref().map_or((1.0, 1.0), |(_, near, wide)| (*near, *wide))
    }
}

fn place(memory: &Memory) -> Place {
    (memory.conversation_id, memory.session, memory.position, memory.id)
}

fn bytes(slot: &Slot) -> usize {
    size_of::<Slot>() + slot.document.bytes() * 2 + slot.vector.len() * 4 + size_of::<Memory>() + slot.memory.body.text.len()
}
