//! Consent to training, and the trail of what was taken, on a real Postgres.

use ajatus_events::{Body, ConversationId, Interaction, InteractionId, InteractionKey, Role, UserId};
use ajatus_memory::keys::Purpose;
use ajatus_memory::postgres::{EpochDelta, LedgerRow, MemoryRow, OffsetRange, StoreError, TrainingExport};
use ajatus_memory::testing::TestDatabase;
use chrono::{DateTime, Duration, TimeZone as _, Utc};
use sqlx::Connection as _;
use uuid::Uuid;

fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 4, 12, 0, 0).single().expect("a time")
}

async fn row(test: &TestDatabase, user: UserId, number: u32) -> MemoryRow {
    let id = InteractionId(Uuid::from_u128(u128::from(number)));
    let key = test.keys.user(user).await.expect("a key");
    let body = Body { text: format!("text {number}"), ..Body::default() };
    let plain = serde_json::to_vec(&body).expect("JSON");
    MemoryRow {
        key: InteractionKey { user_id: user, id },
        conversation_id: ConversationId(Uuid::from_u128(7)),
        session: 0,
        position: number,
        role: Role::User,
        occurred_at: noon() + Duration::minutes(i64::from(number)),
        body: key.seal(Purpose::Messages, &Interaction::aad(user, id), &plain),
        fingerprint: key.fingerprint(Purpose::Messages, &plain),
        vector: vec![1.0],
        model: "test@1".into(),
    }
}

/// Applies an epoch with these changes.
async fn apply(test: &TestDatabase, generation: i64, epoch: u64, upserts: Vec<MemoryRow>, deletes: Vec<InteractionKey>) {
    let ranges = vec![OffsetRange { topic: "interactions".into(), partition: 0, from: (epoch - 1) * 10, to: epoch * 10 }];
    test.db.mint_epoch("companion", "plan", generation, epoch - 1, &LedgerRow { epoch, ranges }).await.expect("minted");
    let delta = EpochDelta {
        pipeline: "companion".into(),
        plan_hash: "plan".into(),
        generation,
        previous: epoch - 1,
        epoch,
        positions: vec![(0, epoch * 10)],
        upserts,
        deletes,
        ..EpochDelta::default()
    };
    test.db.apply_epoch(&delta).await.expect("applied");
}

fn export(hash: &str) -> TrainingExport {
    TrainingExport { exported_at: noon(), exported_by: "root".into(), purpose: "a test".into(), users: 1, conversations: 2, messages: 3, content_hash: hash.into() }
}

#[tokio::test]
async fn consent_is_given_once_withdrawn_and_given_anew() {
    let test = TestDatabase::start().await;
    let made = test.db.create_account(&test.keys, "aino", None).await.expect("made");
    assert_eq!(made.training_consent_at, None, "nobody has allowed it by signing up");
    let since = test.db.set_training_consent(made.id, true).await.expect("set");
    assert!(since.is_some());
    assert_eq!(test.db.set_training_consent(made.id, true).await.expect("set"), since, "the first time counts");
    assert_eq!(test.db.account(&test.keys, made.id).await.expect("read").expect("there").training_consent_at, since);
    assert_eq!(test.db.set_training_consent(made.id, false).await.expect("set"), None);
    assert_eq!(test.db.account_by_login(&test.keys, "aino").await.expect("read").expect("there").training_consent_at, None);
    assert!(test.db.set_training_consent(made.id, true).await.expect("set") > since, "a new consent has a new date");
    let nobody = test.db.set_training_consent(UserId(Uuid::from_u128(9)), true).await;
    assert!(matches!(nobody, Err(StoreError::Value(_))), "{nobody:?}");
}

#[tokio::test]
async fn only_live_turns_of_those_who_allow_it_are_read_within_the_time_and_of_one_moment() {
    let test = TestDatabase::start().await;
    let aino = test.db.create_account(&test.keys, "aino", None).await.expect("made").id;
    let eino = test.db.create_account(&test.keys, "eino", None).await.expect("made").id;
    let generation = test.db.open_pipeline("companion", "plan").await.expect("opened").generation;
    let mut rows = Vec::new();
    for number in 1..=4 {
        rows.push(row(&test, aino, number).await);
    }
    rows.push(row(&test, eino, 9).await);
    let forgotten = rows[1].key;
    apply(&test, generation, 1, rows, Vec::new()).await;
    test.db.set_training_consent(aino, true).await.expect("set");
    let mut before = test.db.begin_training_read().await.expect("begun");
    assert_eq!(before.consented().await.expect("read"), [aino]);
    assert!(before.turns(&test.keys, eino, None, None).await.expect("read").is_empty(), "asked for by mistake, and not given");
    apply(&test, generation, 2, Vec::new(), vec![forgotten]).await;
    let texts = |memories: Vec<ajatus_memory::postgres::Memory>| memories.into_iter().map(|memory| memory.body.text).collect::<Vec<_>>();
    assert_eq!(texts(before.turns(&test.keys, aino, None, None).await.expect("read")).len(), 4, "one moment is read");
    drop(before);
    let mut read = test.db.begin_training_read().await.expect("begun");
    assert_eq!(texts(read.turns(&test.keys, aino, None, None).await.expect("read")), ["text 1", "text 3", "text 4"]);
    let minutes = |minutes| Some(noon() + Duration::minutes(minutes));
    assert_eq!(texts(read.turns(&test.keys, aino, minutes(3), minutes(4)).await.expect("read")), ["text 3"], "the end is left out");
    drop(read);
    test.db.set_training_consent(aino, false).await.expect("set");
    let mut read = test.db.begin_training_read().await.expect("begun");
    assert!(read.consented().await.expect("read").is_empty());
    assert!(read.turns(&test.keys, aino, None, None).await.expect("read").is_empty());
}

#[tokio::test]
async fn the_trail_has_what_was_finished_and_nothing_changes_it() {
    let test = TestDatabase::start().await;
    drop(test.db.begin_training_read().await.expect("begun"));
    assert!(test.db.training_exports().await.expect("read").is_empty(), "what was dropped leaves no line");
    for hash in ["a", "b"] {
        test.db.begin_training_read().await.expect("begun").finish(&export(hash)).await.expect("finished");
    }
    assert_eq!(test.db.training_exports().await.expect("read"), [export("a"), export("b")]);
    let mut connection = sqlx::PgConnection::connect(&test.url).await.expect("connected");
    for change in ["update training_exports set purpose = 'another'", "delete from training_exports", "truncate training_exports"] {
        let error = sqlx::query(change).execute(&mut connection).await.expect_err("refused");
        assert!(error.to_string().contains("only added to"), "{change}: {error}");
    }
    assert_eq!(test.db.training_exports().await.expect("read").len(), 2);
}
