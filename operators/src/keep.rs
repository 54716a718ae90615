//! What operators know at an epoch, written down while they go on, and taken up again by a later run.
//!
//! Holds always: what an operator gives for an epoch is what it knew with every change up to that epoch worked in and none after it;
//! an entry names the hash by which its rows are routed, so that a run with another number of workers takes up the same entries.
//! Not promised: that the bytes are the same twice (tables have no order); that they can be read by another version of this crate
//! (whoever stores them stores [`crate::row::ENCODING`] beside them).
//! After a crash: nothing is kept here; whoever stores the parts says when they are whole.
//!
//! An operator that resumes passes over whatever comes at or before the base, because its state holds that already. If the vault shows, it
//! gives its whole result at the base, for readers that hold nothing.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use timely::scheduling::Activator;

use crate::row::{Bag, Row};

/// A worker's share of what an earlier run gave.
#[derive(Debug, Default)]
pub struct Resume {
    /// The epoch it was given for.
    pub base: u64,
    /// Whether operators give their whole result at the base.
    pub show: bool,
    /// Entries by operator, as [`split`] has shared them out.
    pub entries: HashMap<String, Vec<u8>>,
}

/// What a vault tells.
#[derive(Debug)]
pub enum Told {
    /// Entries of an operator.
    Part {
        /// For which epoch.
        epoch: u64,
        /// Whose.
        operator: String,
        /// The entries.
        bytes: Vec<u8>,
    },
    /// Every operator of this worker has given its part.
    All {
        /// For which epoch.
        epoch: u64,
    },
}

/// Bytes after which a part is handed on; an operator gives as many parts as it needs.
const PART: usize = 4 << 20;

struct Shared {
    /// Whether it is ever asked.
    used: bool,
    base: Option<u64>,
    show: bool,
    entries: RefCell<HashMap<String, Vec<u8>>>,
    /// Epochs that are asked for, with how many operators have not given theirs yet.
    due: RefCell<BTreeMap<u64, usize>>,
    next: Cell<Option<u64>>,
    operators: RefCell<Vec<Activator>>,
    told: RefCell<Box<dyn FnMut(Told)>>,
    /// Rows that each operator has taken up.
    taken: RefCell<HashMap<String, i64>>,
    /// Operators that will still be run when they are asked.
    live: Cell<usize>,
    /// What those knew at last whose inputs have ended: nobody runs them again.
    ended: RefCell<Vec<(String, Vec<Vec<u8>>)>>,
    /// Nobody will ask any more.
    closed: Cell<bool>,
}

/// Where the operators of one worker put what they know.
#[derive(Clone)]
pub struct Vault(Rc<Shared>);

impl Vault {
    /// A vault that resumes from an earlier run, or begins from nothing.
    #[must_use]
    pub fn new(resume: Option<Resume>, told: Box<dyn FnMut(Told)>) -> Self {
        Self::made(true, resume, told)
    }

    fn made(used: bool, resume: Option<Resume>, told: Box<dyn FnMut(Told)>) -> Self {
        let (base, show, entries) = match resume {
            Some(resume) => (Some(resume.base), resume.show, resume.entries),
            None => (None, false, HashMap::new()),
        };
        Self(Rc::new(Shared {
            used,
            base,
            show,
            entries: RefCell::new(entries),
            due: RefCell::default(),
            next: Cell::new(None),
            operators: RefCell::default(),
            told: RefCell::new(told),
            taken: RefCell::default(),
            live: Cell::new(0),
            ended: RefCell::default(),
            closed: Cell::new(false),
        }))
    }

    /// A vault that is never asked.
    #[must_use]
    pub fn unused() -> Self {
        Self::made(false, None, Box::new(|_| {}))
    }

    /// Whether it is ever asked.
    #[must_use]
    pub fn used(&self) -> bool {
        self.0.used
    }

    /// Everything up to here is in the state already.
    #[must_use]
    pub fn base(&self) -> Option<u64> {
        self.0.base
    }

    /// Whether operators give their whole result at the base.
    #[must_use]
    pub fn shows(&self) -> bool {
        self.0.show && self.0.base.is_some()
    }

    /// Rows that the operator of a place has taken up from an earlier run.
    #[must_use]
    pub fn taken(&self, name: &str) -> i64 {
        self.0.taken.borrow().get(name).copied().unwrap_or_default()
    }

    /// Says that nobody will ask any more.
    pub fn close(&self) {
        self.0.closed.set(true);
    }

    /// The place of an operator. Names are the same in every run of a plan, and no two operators share one.
    #[must_use]
    pub fn place(&self, name: &str) -> Keep {
        Keep { shared: Rc::clone(&self.0), name: name.to_owned(), given: Cell::new(0), ended: Cell::new(false) }
    }

    /// Asks every operator for what it knows at an epoch. Call it on every worker before any of them is fed a change after that epoch.
    pub fn due(&self, epoch: u64) {
        for (operator, parts) in self.0.ended.borrow().iter() {
            for bytes in parts {
                (self.0.told.borrow_mut())(Told::Part { epoch, operator: operator.clone(), bytes: bytes.clone() });
            }
        }
        let count = self.0.live.get();
        if count == 0 {
            (self.0.told.borrow_mut())(Told::All { epoch });
            return;
        }
        self.0.due.borrow_mut().insert(epoch, count);
        self.0.refresh();
        // One without news would not be run.
        self.0.operators.borrow().iter().for_each(Activator::activate);
    }
}

impl Shared {
    fn refresh(&self) {
        self.next.set(self.due.borrow().first_key_value().map(|(epoch, _)| *epoch));
    }
}

/// An operator's place in a [`Vault`].
pub struct Keep {
    shared: Rc<Shared>,
    name: String,
    /// The last epoch it gave its part for.
    given: Cell<u64>,
    ended: Cell<bool>,
}

impl Keep {
    /// The place of an operator that is never asked.
    #[must_use]
    pub fn nowhere() -> Self {
        Vault::unused().place("")
    }

    /// Everything up to here is in the state already.
    pub(crate) fn base(&self) -> Option<u64> {
        self.shared.base
    }

    /// Whether a change at this time is in the state already.
    #[inline]
    pub(crate) fn holds(&self, time: u64) -> bool {
        self.shared.base.is_some_and(|base| time <= base)
    }

    /// Whether the whole result is given at the base.
    pub(crate) fn shows(&self) -> bool {
        self.shared.show && self.shared.base.is_some()
    }

    /// Says how the operator is woken when it is asked.
    pub(crate) fn watch(&self, activator: Activator) {
        self.shared.operators.borrow_mut().push(activator);
        self.shared.live.set(self.shared.live.get() + 1);
    }

    /// Takes up what an earlier run gave; `take` says how many rows an entry stands for.
    ///
    /// # Panics
    /// If the entries are not what this operator gives, which whoever stored them has ruled out.
    pub(crate) fn load(&self, mut take: impl FnMut(&mut Parts<'_>) -> Option<i64>) {
        let Some(bytes) = self.shared.entries.borrow_mut().remove(&self.name) else { return };
        let (mut rest, mut held) = (bytes.as_slice(), 0);
        while let Some((_, entry, after)) = next(rest) {
            let rows = take(&mut Parts(entry));
            held += rows.unwrap_or_else(|| panic!("an entry of {} is not one", self.name));
            rest = after;
        }
        self.shared.taken.borrow_mut().insert(self.name.clone(), held);
        assert!(rest.is_empty(), "the entries of {} end within one", self.name);
    }

    /// The epoch that is asked for and not given yet.
    #[inline]
    pub(crate) fn asked(&self) -> Option<u64> {
        // Epochs are asked for in order.
        self.shared.next.get().filter(|epoch| *epoch > self.given.get())
    }

    /// Gives what the operator knows at an epoch that is asked for.
    pub(crate) fn give(&self, epoch: u64, give: impl FnOnce(&mut Entries<'_>)) {
        let mut part = |bytes| (self.shared.told.borrow_mut())(Told::Part { epoch, operator: self.name.clone(), bytes });
        let mut entries = Entries { bytes: Vec::new(), part: &mut part };
        give(&mut entries);
        let rest = std::mem::take(&mut entries.bytes);
        if !rest.is_empty() {
            part(rest);
        }
        self.given.set(epoch);
        let left = self.shared.due.borrow_mut().get_mut(&epoch).map(|left| {
            *left -= 1;
            *left
        });
        if left == Some(0) {
            self.shared.due.borrow_mut().remove(&epoch);
            self.shared.refresh();
            (self.shared.told.borrow_mut())(Told::All { epoch });
        }
    }
}

impl Keep {
    /// Leaves what the operator knows when its inputs have ended: it changes no more, and nobody runs the operator again.
    pub(crate) fn end(&self, give: impl FnOnce(&mut Entries<'_>)) {
        let shared = &self.shared;
        if !shared.used || shared.closed.get() || self.ended.replace(true) {
            return;
        }
        let mut parts = Vec::new();
        let mut part = |bytes| parts.push(bytes);
        let mut entries = Entries { bytes: Vec::new(), part: &mut part };
        give(&mut entries);
        let rest = std::mem::take(&mut entries.bytes);
        if !rest.is_empty() {
            part(rest);
        }
        shared.ended.borrow_mut().push((self.name.clone(), parts));
        shared.live.set(shared.live.get() - 1);
    }
}

/// Entries on their way out: each a hash, a length and its bytes.
pub struct Entries<'part> {
    bytes: Vec<u8>,
    part: &'part mut dyn FnMut(Vec<u8>),
}

impl Entries<'_> {
    /// Writes an entry of the rows that are routed by this hash.
    pub fn entry(&mut self, route: u64, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(&route.to_le_bytes());
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        write(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - at - 4).expect("an entry is below 4 GiB");
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        if self.bytes.len() >= PART {
            (self.part)(std::mem::take(&mut self.bytes));
        }
    }
}

/// The first entry, its hash, and what is behind it.
fn next(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (route, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (entry, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((u64::from_le_bytes(*route), entry, rest))
}

/// Shares entries out to the workers that their rows are routed to; `false` if they end within one.
#[must_use]
pub fn split(mut bytes: &[u8], workers: &mut [Vec<u8>]) -> bool {
    let peers = workers.len() as u64;
    while let Some((route, _, rest)) = next(bytes) {
        #[expect(clippy::cast_possible_truncation, reason = "below the number of workers")]
        workers[(route % peers) as usize].extend_from_slice(&bytes[..bytes.len() - rest.len()]);
        bytes = rest;
    }
    bytes.is_empty()
}

pub(crate) fn put_uint(value: u64, out: &mut Vec<u8>) {
    let mut rest = value;
    while rest >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "what is left has seven bits")]
    out.push(rest as u8);
}

pub(crate) fn put_int(value: i64, out: &mut Vec<u8>) {
    put_uint((value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned(), out);
}

pub(crate) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_uint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_bag(bag: &Bag, out: &mut Vec<u8>) {
    put_uint(bag.distinct() as u64, out);
    bag.for_each(|row, count| {
        put_bytes(row.bytes(), out);
        put_int(count, out);
    });
}

/// Reads an entry, part by part; `None` where it is not what was written.
pub struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    pub(crate) fn uint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn int(&mut self) -> Option<i64> {
        let value = self.uint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.uint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn row(&mut self) -> Option<Row> {
        Some(Row::from_bytes(self.bytes()?))
    }

    pub(crate) fn bag(&mut self) -> Option<Bag> {
        let mut bag = Bag::default();
        for _ in 0..self.uint()? {
            let row = self.row()?;
            bag.add(&row, self.int()?);
        }
        Some(bag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_numbers_it_writes() {
        let numbers = [0, 1, -1, 63, 64, -64, -65, 1 << 40, i64::MAX, i64::MIN];
        let mut out = Vec::new();
        numbers.iter().for_each(|number| put_int(*number, &mut out));
        put_bytes(b"last", &mut out);
        let mut parts = Parts(&out);
        for number in numbers {
            assert_eq!(parts.int(), Some(number));
        }
        assert_eq!(parts.bytes(), Some(b"last".as_slice()));
        assert_eq!(parts.uint(), None);
        assert_eq!(Parts(&[0xff; 12]).uint(), None, "no number is that long");
        assert_eq!(Parts(&[9, 1]).bytes(), None);
    }

    #[test]
    fn shares_entries_out_by_their_hash_and_sees_a_cut() {
        let mut all = Vec::new();
        let mut part = |bytes: Vec<u8>| all.extend(bytes);
        let mut entries = Entries { bytes: Vec::new(), part: &mut part };
        for route in 0..10_u64 {
            entries.entry(route, |out| put_uint(route * 100, out));
        }
        let whole = std::mem::take(&mut entries.bytes);
        let mut workers = vec![Vec::new(); 3];
        assert!(split(&whole, &mut workers));
        let mut seen = Vec::new();
        for (index, bytes) in workers.iter().enumerate() {
            let mut rest = bytes.as_slice();
            while let Some((route, entry, after)) = next(rest) {
                assert_eq!(route % 3, index as u64);
                seen.push((route, Parts(entry).uint().expect("a number")));
                rest = after;
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..10).map(|route| (route, route * 100)).collect::<Vec<_>>());
        assert!(!split(&whole[..whole.len() - 1], &mut workers));
    }
}
