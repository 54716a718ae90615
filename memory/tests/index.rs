//! The index: follows changes, equals a rebuild, waits for receipts.

use std::time::Duration;

use ajatus_events::{
    Body, ChangeRecord, ConversationId, Frontier, Interaction, InteractionId, InteractionKey, MemoryChange, MemoryOp, Receipt, Role,
    UserId,
};
use ajatus_memory::index::{Index, IndexConfig, PIPELINE, vector_to_bytes};
use ajatus_memory::keys::Purpose;
use ajatus_memory::postgres::{EpochDelta, Memory, MemoryRow};
use ajatus_memory::retrieve::{Arena, Language, SearchOptions, TimeUse};
use ajatus_memory::testing::TestDatabase;
use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

const WORDS: [&str; 24] = [
    "kayak", "Oulu", "river", "bread", "Tuesday", "sister", "cello", "three", "garden", "why?", "mökki", "järvi", "saunaan",
    "yesterday", "Mustikka", "cat", "sleeps", "boots", "market", "2024", "tickets", "rain", "lamp", "coffee",
];

fn unit(random: &mut StdRng) -> Vec<f32> {
    let raw: Vec<f32> = (0..16).map(|_| random.random_range(-1.0..1.0)).collect();
    let long = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
    raw.iter().map(|value| value / long).collect()
}

fn memory(user: UserId, number: u128, random: &mut StdRng) -> Memory {
    let count = random.random_range(1..60);
    let text: Vec<&str> = (0..count).filter_map(|_| WORDS.choose(random).copied()).collect();
    Memory {
        id: InteractionId(Uuid::from_u128(number)),
        user_id: user,
        conversation_id: ConversationId(Uuid::from_u128(random.random_range(1..3))),
        session: random.random_range(0..4),
        position: random.random_range(0..40),
        role: if random.random_bool(0.5) { Role::User } else { Role::Other },
        occurred_at: DateTime::<Utc>::UNIX_EPOCH + TimeDelta::hours(random.random_range(400_000..480_000)),
        body: Body {
            text: text.join(" "),
            speaker: random.random_bool(0.7).then(|| if random.random_bool(0.5) { "Dave Berg".to_owned() } else { "Aino".to_owned() }),
            caption: random.random_bool(0.2).then(|| "a lamp by the river".to_owned()),
            ..Body::default()
        },
        epoch: 1,
    }
}

#[test]
fn an_arena_that_turns_came_to_and_went_from_ranks_as_one_built_at_once() {
    let user = UserId(Uuid::from_u128(1));
    let mut random = StdRng::seed_from_u64(11);
    let mut kept = Arena::new(user);
    let mut truth: Vec<(Memory, Vec<f32>)> = Vec::new();
    let everything = SearchOptions { limit: 1000, explain: true, ..SearchOptions::default() };
    let narrow = SearchOptions {
        limit: 7,
        time: TimeUse::Only,
        now: Some(DateTime::<Utc>::UNIX_EPOCH + TimeDelta::hours(450_000)),
        diversity: Some(0.7),
        token_budget: Some(300),
        ..SearchOptions::default()
    };
    for step in 0..400 {
        let number = random.random_range(1..70);
        truth.retain(|(held, _)| held.id.0 != Uuid::from_u128(number));
        if random.random_bool(0.7) {
            let (turn, vector) = (memory(user, number, &mut random), unit(&mut random));
            kept.upsert(turn.clone(), &vector);
            truth.push((turn, vector));
        } else {
            kept.remove(InteractionId(Uuid::from_u128(number)));
        }
        if step % 20 != 0 {
            continue;
        }
        let mut rebuilt = Arena::new(user);
        for (turn, vector) in &truth {
            rebuilt.upsert(turn.clone(), vector);
        }
        for question in [
            "When did Dave buy three tickets to Oulu?",
            "Missä Mustikka nukkuu?",
            "Who plays the cello in my garden?",
            "Which instruments and pets does Aino have?",
            "What did Dave eat last spring?",
        ] {
            let vector = unit(&mut random);
            let (one, two) = (kept.prepare(question), rebuilt.prepare(question));
            assert_eq!(one, two);
            for (vector, options) in [(&vector[..], &everything), (&[], &everything), (&vector[..], &narrow)] {
                assert_eq!(kept.find(&one, vector, options), rebuilt.find(&two, vector, options), "step {step}, {question}");
            }
        }
    }
    assert_eq!(kept.len(), truth.len());
}

#[test]
fn ranks_the_turn_that_says_it_first() {
    let user = UserId(Uuid::from_u128(1));
    let mut random = StdRng::seed_from_u64(5);
    let mut arena = Arena::new(user);
    for number in 0..50 {
        let turn = memory(user, number + 100, &mut random);
        arena.upsert(turn, &unit(&mut random));
    }
    let mut said = memory(user, 1, &mut random);
    said.body.text = "My grandmother's name was Hilkka and she repaired clocks.".to_owned();
    let vector = unit(&mut random);
    arena.upsert(said.clone(), &vector);
    let query = arena.prepare("What was the name of the grandmother who repaired clocks?");
    let hits = arena.search(&query, &vector, &SearchOptions { limit: 3, ..SearchOptions::default() });
    assert_eq!(hits[0].memory.id, said.id);
    assert_eq!(hits.len(), 3);
    assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
    assert_eq!(Language::of(&said.body.text), Language::English);
}

struct World {
    test: TestDatabase,
    user: UserId,
    generation: i64,
}

impl World {
    async fn new() -> Self {
        let test = TestDatabase::start().await;
        let user = test.db.create_account(&test.keys, "aino", None).await.expect("made").id;
        let generation = test.db.open_pipeline(PIPELINE, "plan").await.expect("opened").generation;
        Self { test, user, generation }
    }

    async fn change(&self, epoch: u64, number: u128, text: Option<&str>) -> ChangeRecord {
        let id = InteractionId(Uuid::from_u128(number));
        let key = self.test.keys.user(self.user).await.expect("a key");
        let op = match text {
            None => MemoryOp::Delete {},
            Some(text) => {
                let body = Body { text: text.to_owned(), ..Body::default() };
                MemoryOp::Upsert {
                    conversation_id: ConversationId(Uuid::from_u128(1)),
                    session: 0,
                    position: u32::try_from(number).expect("small"),
                    role: Role::User,
                    occurred_at: DateTime::<Utc>::UNIX_EPOCH,
                    body: key.seal(Purpose::Messages, &Interaction::aad(self.user, id), &serde_json::to_vec(&body).expect("JSON")),
                    vector: key.seal(Purpose::Vectors, &MemoryChange::vector_aad(self.user, id), &vector_to_bytes(&[1.0, 0.0])),
                    model: "test@1".into(),
                }
            }
        };
        ChangeRecord::Memory(MemoryChange { user_id: self.user, id, epoch, op })
    }

    /// Commits the change to Postgres as its epoch, as the pipeline does before the outbox.
    async fn commit(&self, change: &ChangeRecord) {
        let ChangeRecord::Memory(change) = change else { panic!("a memory") };
        let mut delta = EpochDelta {
            pipeline: PIPELINE.into(),
            plan_hash: "plan".into(),
            generation: self.generation,
            previous: change.epoch - 1,
            epoch: change.epoch,
            positions: vec![(0, change.epoch)],
            ..EpochDelta::default()
        };
        let key = InteractionKey { user_id: self.user, id: change.id };
        match &change.op {
            MemoryOp::Delete {} => delta.deletes.push(key),
            MemoryOp::Upsert { conversation_id, session, position, role, occurred_at, body, model, .. } => delta.upserts.push(MemoryRow {
                key,
                conversation_id: *conversation_id,
                session: *session,
                position: *position,
                role: *role,
                occurred_at: *occurred_at,
                body: body.clone(),
                fingerprint: String::new(),
                vector: vec![1.0, 0.0],
                model: model.clone(),
            }),
        }
        self.test.db.apply_epoch(&delta).await.expect("applied");
    }

    async fn texts(&self, index: &Index) -> Vec<String> {
        let query = index.prepare(self.user, "anything at all").await.expect("prepared");
        let found = index.search(&query, &[1.0, 0.0], &SearchOptions::default()).await.expect("found");
        let mut texts: Vec<String> = found.hits.iter().map(|hit| hit.memory.body.text.clone()).collect();
        texts.sort();
        texts
    }
}

#[tokio::test]
async fn follows_changes_and_equals_a_fresh_load() {
    let world = World::new().await;
    let index = Index::new(world.test.db.clone(), world.test.keys.clone(), IndexConfig::default());
    let changes = [
        world.change(1, 1, Some("one")).await,
        world.change(2, 2, Some("two")).await,
        world.change(3, 1, Some("one, mended")).await,
        world.change(4, 2, None).await,
        world.change(5, 3, Some("three")).await,
    ];
    for (at, change) in changes.iter().enumerate() {
        world.commit(change).await;
        index.apply(change).await.expect("applied");
        if at == 1 {
            assert_eq!(world.texts(&index).await, ["one", "two"]);
        }
    }
    assert_eq!(world.texts(&index).await, ["one, mended", "three"]);
    let fresh = Index::new(world.test.db.clone(), world.test.keys.clone(), IndexConfig::default());
    assert_eq!(world.texts(&fresh).await, world.texts(&index).await);
    // An older epoch sent again brings nothing back.
    index.apply(&changes[1]).await.expect("answered");
    assert_eq!(world.texts(&index).await, ["one, mended", "three"]);
}

#[tokio::test]
async fn evicts_the_least_recently_asked_and_loads_them_again() {
    let world = World::new().await;
    let index = Index::new(world.test.db.clone(), world.test.keys.clone(), IndexConfig { max_bytes: 1 });
    world.commit(&world.change(1, 1, Some("one")).await).await;
    assert_eq!(world.texts(&index).await, ["one"]);
    let other = world.test.db.create_account(&world.test.keys, "other", None).await.expect("made").id;
    index.prepare(other, "who?").await.expect("prepared");
    assert_eq!(world.texts(&index).await, ["one"], "loaded again after its eviction");
}

#[tokio::test]
async fn waits_for_a_receipt_and_says_how_far_it_is_when_time_is_up() {
    let world = World::new().await;
    let index = Index::new(world.test.db.clone(), world.test.keys.clone(), IndexConfig::default());
    index.set_frontier(4, &[(0, 10)]);
    let receipt = |offset| Receipt { topic: "interactions".into(), partition: 0, offset };
    assert_eq!(index.wait_for(&receipt(9), Duration::ZERO).await, Ok(4));
    let behind = index.wait_for(&receipt(10), Duration::from_millis(1)).await.expect_err("not in yet");
    assert_eq!((behind.applied_offset, behind.wanted_offset, behind.epoch), (10, 10, 4));
    let frontier = ChangeRecord::Frontier(Frontier { epoch: 5, partition: 0, next_offset: 11 });
    let waited = receipt(10);
    let (waited, applied) = tokio::join!(index.wait_for(&waited, Duration::from_secs(30)), index.apply(&frontier));
    applied.expect("applied");
    assert_eq!(waited, Ok(5));
}

#[tokio::test]
async fn refuses_a_change_of_another_users_key_and_a_vector_of_another_model() {
    let world = World::new().await;
    let index = Index::new(world.test.db.clone(), world.test.keys.clone(), IndexConfig::default());
    world.commit(&world.change(1, 1, Some("one")).await).await;
    assert_eq!(world.texts(&index).await, ["one"]);
    let other = world.test.db.create_account(&world.test.keys, "other", None).await.expect("made").id;
    index.prepare(other, "who?").await.expect("resident");
    let ChangeRecord::Memory(stolen) = world.change(2, 5, Some("stolen")).await else { panic!("a memory") };
    assert!(index.apply(&ChangeRecord::Memory(MemoryChange { user_id: other, ..stolen })).await.is_err());
    let query = index.prepare(world.user, "what").await.expect("prepared");
    assert!(index.search(&query, &[1.0, 0.0, 0.0], &SearchOptions::default()).await.is_err());
}
