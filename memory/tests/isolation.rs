//! A thousand users with canaries, asked at the same time while turns come and go and users are evicted: nobody sees another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ajatus_events::{Body, ChangeRecord, ConversationId, Interaction, InteractionId, InteractionKey, MemoryChange, MemoryOp, Role, UserId};
use ajatus_memory::index::{Index, IndexConfig, PIPELINE, vector_to_bytes};
use ajatus_memory::keys::Purpose;
use ajatus_memory::postgres::{EpochDelta, MemoryRow, ProfileRow};
use ajatus_memory::profile::{View, read};
use ajatus_memory::retrieve::SearchOptions;
use ajatus_memory::testing::TestDatabase;
use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use uuid::Uuid;

const USERS: usize = 1_000;
const TURNS: u128 = 3;
const ASKERS: u64 = 8;
const QUESTIONS: usize = 750;

/// What only this user says.
fn canary(user: usize) -> String {
    format!("kanarialintu{user}x")
}

/// Everybody says the same but for the canary, so that a question fits every user's turns as well.
fn text(user: usize, number: u128, version: u64) -> String {
    format!("My secret number {number} is {}, said {version} times.", canary(user))
}

async fn turn(test: &TestDatabase, user: UserId, at: usize, number: u128, version: u64, epoch: u64) -> (MemoryRow, ChangeRecord) {
    let id = InteractionId(Uuid::from_u128(number));
    let key = test.keys.user(user).await.expect("a key");
    let body = Body { text: text(at, number, version), ..Body::default() };
    let sealed = key.seal(Purpose::Messages, &Interaction::aad(user, id), &serde_json::to_vec(&body).expect("JSON"));
    let vector = key.turned(vec![0.6, 0.8]);
    let row = MemoryRow {
        key: InteractionKey { user_id: user, id },
        conversation_id: ConversationId(Uuid::from_u128(1)),
        session: 0,
        position: u32::try_from(number).expect("small"),
        role: Role::User,
        occurred_at: DateTime::<Utc>::UNIX_EPOCH,
        body: sealed,
        fingerprint: String::new(),
        vector,
        model: "test@1".to_owned(),
    };
    let op = MemoryOp::Upsert {
        conversation_id: row.conversation_id,
        session: 0,
        position: row.position,
        role: row.role,
        occurred_at: row.occurred_at,
        body: row.body.clone(),
        vector: key.seal(Purpose::Vectors, &MemoryChange::vector_aad(user, id), &vector_to_bytes(&row.vector)),
        model: row.model.clone(),
    };
    (row, ChangeRecord::Memory(MemoryChange { user_id: user, id, epoch, op }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_users_asked_at_once_see_their_own_and_nothing_else() {
    let test = Arc::new(TestDatabase::start().await);
    let generation = test.db.open_pipeline(PIPELINE, "plan").await.expect("opened").generation;
    let (mut users, mut upserts, mut profile) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..USERS {
        let user = test.db.create_account(&test.keys, &format!("user {at}"), None).await.expect("made").id;
        for number in 1..=TURNS {
            upserts.push(turn(&test, user, at, number, 1, 1).await.0);
        }
        let key = test.keys.user(user).await.expect("a key");
        let body = format!("{{\"topic\":\"{}\",\"days\":[[1,1],[2,1]]}}", canary(at));
        profile.push(ProfileRow::sealed(&key, user, "interest", &canary(at), &body));
        users.push(user);
    }
    let delta = EpochDelta { pipeline: PIPELINE.into(), plan_hash: "plan".into(), generation, epoch: 1, upserts, profile, ..EpochDelta::default() };
    test.db.apply_epoch(&delta).await.expect("applied");
    // Room for some forty users: all others are loaded and evicted again and again.
    let index = Index::new(test.db.clone(), test.keys.clone(), IndexConfig { max_bytes: 400_000 });
    let (users, seen) = (Arc::new(users), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for asker in 0..ASKERS {
        let (index, users, seen, test) = (Arc::clone(&index), Arc::clone(&users), Arc::clone(&seen), Arc::clone(&test));
        tasks.spawn(async move {
            let mut random = StdRng::seed_from_u64(asker);
            for _ in 0..QUESTIONS {
                let at = random.random_range(0..USERS);
                // As often as not somebody else's canary is asked for.
                let asked = if random.random_bool(0.5) { at } else { random.random_range(0..USERS) };
                let query = index.prepare(users[at], &format!("What is the secret number of {}?", canary(asked))).await.expect("prepared");
                let vector = if random.random_bool(0.5) { vec![0.6, 0.8] } else { Vec::new() };
                let found = index.search(&query, &vector, &SearchOptions::default()).await.expect("found");
                assert_eq!(found.hits.len(), 3, "user {at}");
                for hit in found.hits {
                    assert_eq!(hit.memory.user_id, users[at]);
                    assert!(hit.memory.body.text.contains(&format!("{},", canary(at))), "user {at} was shown {}", hit.memory.body.text);
                }
                if random.random_bool(0.1) {
                    let held = read(&test.db, &test.keys, users[at], View::at(DateTime::<Utc>::UNIX_EPOCH)).await.expect("read");
                    assert_eq!(held.interests.iter().map(|interest| interest.topic.clone()).collect::<Vec<_>>(), [canary(at)]);
                }
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // Meanwhile turns change.
    let (changing, changed) = (Arc::clone(&index), Arc::clone(&users));
    tasks.spawn(async move {
        let mut random = StdRng::seed_from_u64(99);
        for epoch in 2..1_500 {
            let at = random.random_range(0..USERS);
            let number = random.random_range(1..=TURNS);
            let (_, change) = turn(&test, changed[at], at, number, epoch, epoch).await;
            changing.apply(&change).await.expect("applied");
        }
    });
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task fails");
    }
    assert_eq!(seen.load(Ordering::Relaxed), ASKERS * QUESTIONS as u64);
}
