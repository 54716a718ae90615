//! One user's turns, kept ready to be searched.
//!
//! Holds always: an arena that turns came to and went from in any order ranks as one built of the same turns at once
//! (tested against a rebuild).
//! Cost: a change is proportional to the turn's own words; the first search after changes lays the order out again, which
//! is a few numbers per turn. Meant for up to some 50,000 turns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ajatus_events::{Checksum, ConversationId, InteractionId, UserId};

use super::document::{Bag, Document, Facts, Term, Terms, length};
use super::layout::{Layout, Norms};
use super::question::PreparedQuery;
use super::vectors::Vectors;
use crate::postgres::Memory;

/// Place of a turn: neighbours in a session are neighbours here.
pub(super) type Place = (ConversationId, u32, u32, InteractionId);

/// One turn as held.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) memory: Arc<Memory>,
    pub(super) document: Document,
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
                if let Some(at) = list.iter().position(|(held, _)| *held == slot) {
                    // The order within a list bears on nothing.
                    list.swap_remove(at);
                }
                if list.is_empty() {
                    self.postings.remove(term);
                }
            }
        }
        self.total -= f64::from(length(bag));
    }
}

/// One user's turns. What a search reads of every turn lies apart from the turn, in lists by slot.
#[derive(Debug)]
pub struct Arena {
    user: UserId,
    pub(super) terms: Terms,
    slots: Vec<Option<Slot>>,
    pub(super) facts: Vec<Facts>,
    pub(super) vectors: Vectors,
    /// Unique per insertion: tells whether a window still holds the same turns.
    pub(super) stamps: Vec<u64>,
    pub(super) norms: Vec<Norms>,
    free: Vec<u32>,
    by_id: HashMap<InteractionId, u32>,
    pub(super) order: BTreeMap<Place, u32>,
    speakers: BTreeMap<String, usize>,
    pub(super) dated: Field,
    pub(super) spoken: Field,
    pub(super) plain: Field,
    pub(super) pairs: Field,
    pub(super) layout: Option<Layout>,
    stamp: u64,
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
            facts: Vec::new(),
            vectors: Vectors::default(),
            stamps: Vec::new(),
            norms: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            order: BTreeMap::new(),
            speakers: BTreeMap::new(),
            dated: Field::default(),
            spoken: Field::default(),
            plain: Field::default(),
            pairs: Field::default(),
            layout: None,
            stamp: 0,
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
        self.bytes + self.terms.bytes() + self.vectors.bytes()
    }

    /// Count and sum over the turns held, to compare with the other stores.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        let mut checksum = Checksum::default();
        for slot in self.slots.iter().flatten() {
            checksum.add(self.user.0.as_u128(), slot.memory.id.0.as_u128(), slot.memory.epoch);
        }
        checksum
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
        let (document, facts) = Document::new(&memory, &mut self.terms);
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.facts.push(facts);
            self.stamps.push(0);
            self.norms.push(Norms::default());
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 turns")
        });
        self.dated.add(at, &document.dated);
        self.spoken.add(at, &document.spoken);
        self.plain.add(at, &document.plain);
        self.pairs.add(at, &document.pairs);
        if let Some(speaker) = &memory.body.speaker {
            *self.speakers.entry(speaker.clone()).or_default() += 1;
        }
        self.by_id.insert(memory.id, at);
        self.order.insert(place(&memory), at);
        self.stamp += 1;
        let place = at as usize;
        self.facts[place] = facts;
        self.vectors.put(at, vector);
        self.stamps[place] = self.stamp;
        let slot = Slot { memory: Arc::new(memory), document };
        self.bytes += bytes(&slot);
        self.slots[place] = Some(slot);
        self.layout = None;
    }

    /// Takes a turn out; nothing of it remains but the numbers of its stems.
    pub fn remove(&mut self, id: InteractionId) {
        let Some(at) = self.by_id.remove(&id) else { return };
        let slot = self.slots[at as usize].take().expect("a listed slot is full");
        self.vectors.clear(at);
        self.free.push(at);
        self.order.remove(&place(&slot.memory));
        self.dated.take(at, &slot.document.dated);
        self.spoken.take(at, &slot.document.spoken);
        self.plain.take(at, &slot.document.plain);
        self.pairs.take(at, &slot.document.pairs);
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
}

fn place(memory: &Memory) -> Place {
    (memory.conversation_id, memory.session, memory.position, memory.id)
}

fn bytes(slot: &Slot) -> usize {
    size_of::<Slot>()
        + size_of::<Facts>()
        + size_of::<Norms>()
        + slot.document.bytes() * 2
        + size_of::<Memory>()
        + slot.memory.body.text.len()
}
