//! Memories to test with.

#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeMap;
use std::path::Path;

use ajatus_events::{ConversationId, InteractionId, Role, Sealed, UserId};
use ajatus_lance::{Checksum, Memories, MemoriesDataset, MemoriesSpec, MemoryContent, MemoryRow};
use chrono::DateTime;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Components of the vectors here.
pub(crate) const DIMENSION: usize = 16;

/// Memories that are there.
pub(crate) type Truth = BTreeMap<(UserId, InteractionId), MemoryRow>;

/// A user by a small number.
pub(crate) fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number))
}

/// A memory by a small number.
pub(crate) fn id(number: u32) -> InteractionId {
    InteractionId(Uuid::from_u128(0x0191_aaaa_0000_7000_8000_0000_0000_0000 + u128::from(number)))
}

/// The dataset of a test.
pub(crate) fn spec(folder: &Path) -> MemoriesSpec {
    MemoriesSpec { path: folder.join("memories.lance"), dimension: DIMENSION, source: "a run".to_owned() }
}

/// Opens it.
pub(crate) async fn opened(spec: &MemoriesSpec) -> MemoriesDataset {
    MemoriesDataset::open(spec.clone()).await.expect("a dataset")
}

/// Says random things.
pub(crate) struct Feed(StdRng);

impl Feed {
    /// The same things for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A vector of length 1.
    pub(crate) fn vector(&mut self) -> Vec<f32> {
        let vector: Vec<f32> = (0..DIMENSION).map(|_| self.0.random_range(-1.0..1.0)).collect();
        let length = vector.iter().map(|component| component * component).sum::<f32>().sqrt();
        vector.into_iter().map(|component| component / length).collect()
    }

    /// A memory of a user.
    pub(crate) fn row(&mut self, whose: u128, number: u32, epoch: u64) -> MemoryRow {
        let body: Vec<u8> = (0..self.0.random_range(60..200)).map(|_| self.0.random()).collect();
        let content = MemoryContent {
            conversation_id: ConversationId(Uuid::from_u128(self.0.random())),
            session: self.0.random_range(0..9),
            position: number,
            role: [Role::User, Role::Assistant, Role::Other][self.0.random_range(0..3)],
            occurred_at: DateTime::from_timestamp_micros(1_700_000_000_000_000 + self.0.random_range(0..1_000_000_000)).expect("a time"),
            model: "all-MiniLM-L6-v2/1".to_owned(),
            body: Sealed(body),
            vector: self.vector(),
        };
        MemoryRow { id: id(number), user_id: user(whose), epoch, content: Some(content) }
    }
}

/// A memory that is gone.
pub(crate) fn gone(whose: u128, number: u32, epoch: u64) -> MemoryRow {
    MemoryRow { id: id(number), user_id: user(whose), epoch, content: None }
}

/// Whether a piece of work panicked, as a process dies.
pub(crate) async fn died(work: impl Future<Output = ()> + Send + 'static) -> bool {
    let mut works = JoinSet::new();
    works.spawn(work);
    works.join_next().await.expect("one").is_err()
}

/// Of all that was said, what is there.
pub(crate) fn there(all: &Truth) -> Truth {
    all.iter().filter(|(_, row)| row.content.is_some()).map(|(key, row)| (*key, row.clone())).collect()
}

/// What a version holds, of every user; refuses a memory that is there twice.
pub(crate) async fn read(memories: &Memories) -> Truth {
    let mut truth = Truth::new();
    for number in 0..10 {
        for row in memories.user_rows(user(number)).await.expect("rows") {
            let before = truth.insert((row.user_id, row.id), row);
            assert!(before.is_none(), "a memory is there twice: {before:?}");
        }
    }
    truth
}

/// Sums of the newest version.
pub(crate) async fn sums(dataset: &MemoriesDataset) -> BTreeMap<UserId, Checksum> {
    dataset.memories().checksums().await.expect("sums")
}
