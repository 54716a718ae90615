//! The system of record, on a real Postgres.

use ajatus_events::{Body, ConversationId, Interaction, InteractionId, InteractionKey, Role, Sealed, UserId};
use ajatus_memory::keys::{KeyError, KeyRing, Purpose, RootKey};
use ajatus_memory::postgres::{
    ActivityRow, Applied, EpochDelta, LedgerRow, MemoryRow, OffsetRange, OutboxRow, Postgres, Rotation, SinkTable, StoreError,
};
use ajatus_memory::testing::TestDatabase;
use chrono::{DateTime, Duration, TimeZone as _, Utc};
use futures::FutureExt as _;
use sqlx::Connection as _;
use uuid::Uuid;

fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 4, 12, 0, 0).single().expect("a time")
}

async fn row(test: &TestDatabase, user: UserId, number: u32, text: &str) -> MemoryRow {
    let id = InteractionId(Uuid::from_u128(u128::from(number)));
    let key = test.keys.user(user).await.expect("a key");
    let body = Body { text: text.to_owned(), ..Body::default() };
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
        vector: vec![0.6, 0.8],
        model: "test@1".into(),
    }
}

fn delta(generation: i64, epoch: u64) -> EpochDelta {
    EpochDelta {
        pipeline: "companion".into(),
        plan_hash: "plan".into(),
        generation,
        previous: epoch - 1,
        epoch,
        positions: vec![(0, epoch * 10)],
        ..EpochDelta::default()
    }
}

fn ledger(epoch: u64) -> LedgerRow {
    LedgerRow { epoch, ranges: vec![OffsetRange { topic: "interactions".into(), partition: 0, from: (epoch - 1) * 10, to: epoch * 10 }] }
}

#[tokio::test]
async fn keeps_accounts_and_finds_them_whatever_the_case() {
    let test = TestDatabase::start().await;
    let made = test.db.create_account(&test.keys, " Aino@Example.org ", Some("hash")).await.expect("made");
    let found = test.db.account_by_login(&test.keys, "AINO@example.ORG").await.expect("read").expect("there");
    assert_eq!(found.id, made.id);
    assert_eq!(found.login, "aino@example.org");
    let twice = test.db.create_account(&test.keys, "aino@example.org", None).await;
    assert!(matches!(twice, Err(StoreError::Conflict { .. })), "{twice:?}");
    assert!(test.db.account_by_login(&test.keys, "aino").await.expect("read").is_none());
}

#[tokio::test]
async fn a_key_opens_only_under_its_root_and_is_named_when_missing() {
    let test = TestDatabase::start().await;
    let user = test.db.create_account(&test.keys, "aino", None).await.expect("made").id;
    let sealed = test.keys.user(user).await.expect("a key").seal(Purpose::Messages, b"x", b"text");
    let again = KeyRing::new(RootKey::random(), test.db.clone());
    assert!(matches!(again.user(user).await, Err(KeyError::Open)));
    let nobody = UserId(Uuid::from_u128(9));
    assert!(matches!(test.keys.user(nobody).await, Err(KeyError::Destroyed { .. })));
    assert_eq!(test.keys.user(user).await.expect("a key").open(Purpose::Messages, b"x", &sealed).expect("opens"), b"text");
}

#[tokio::test]
async fn exchanges_a_refresh_token_once_and_ends_the_session_of_a_thief() {
    let test = TestDatabase::start().await;
    let user = test.db.create_account(&test.keys, "aino", None).await.expect("made").id;
    let (first, second, third) = ([1; 32], [2; 32], [3; 32]);
    let idle = Duration::days(30);
    let session = test.db.start_session(user, "phone", &first, noon()).await.expect("started");
    let rotate = async |old, new, at| test.db.rotate(old, new, b"sealed", at, idle).await.expect("answered");
    assert_eq!(rotate(&first, &second, noon()).await, Rotation::Rotated { user, session });
    // The client lost the answer and asks again at once: the same successor.
    let again = rotate(&first, &third, noon() + Duration::seconds(9)).await;
    assert_eq!(again, Rotation::Grace { user, session, successor: b"sealed".to_vec() });
    assert!(test.db.session_alive(user, session).await.expect("read"));
    assert_eq!(rotate(&first, &third, noon() + Duration::seconds(11)).await, Rotation::Reused { user });
    assert!(!test.db.session_alive(user, session).await.expect("read"));
    assert_eq!(rotate(&second, &third, noon() + Duration::seconds(12)).await, Rotation::Unknown);
    assert_eq!(rotate(&[9; 32], &third, noon()).await, Rotation::Unknown);
}

#[tokio::test]
async fn refuses_a_token_that_lay_idle_too_long() {
    let test = TestDatabase::start().await;
    let user = test.db.create_account(&test.keys, "aino", None).await.expect("made").id;
    test.db.start_session(user, "phone", &[1; 32], noon()).await.expect("started");
    let late = test.db.rotate(&[1; 32], &[2; 32], b"s", noon() + Duration::days(31), Duration::days(30)).await;
    assert_eq!(late.expect("answered"), Rotation::Unknown);
}

#[tokio::test]
async fn lists_conversations_page_by_page_without_gap_or_repeat() {
    let test = TestDatabase::start().await;
    let user = test.db.create_account(&test.keys, "aino", None).await.expect("made").id;
    let mut made = Vec::new();
    for number in 0..7 {
        made.push(test.db.create_conversation(&test.keys, user, Some(&format!("talk {number}"))).await.expect("made").id);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = test.db.list_conversations(&test.keys, user, after, 3).await.expect("a page");
        let Some(last) = page.last() else { break };
        after = Some((last.created_at, last.id));
        seen.extend(page.iter().map(|conversation| conversation.id));
    }
    made.reverse();
    assert_eq!(seen, made);
}

#[tokio::test]
async fn applies_an_epoch_whole_and_once() {
    let test = TestDatabase::start().await;
    let user = test.db.create_account(&test.keys, "aino", None).await.expect("made").id;
    let state = test.db.open_pipeline("companion", "plan").await.expect("opened");
    assert_eq!((state.progress, state.pending.len(), state.plan_changed), (0, 0, false));
    let generation = state.generation;
    test.db.mint_epoch("companion", "plan", generation, 0, &ledger(1)).await.expect("minted");
    let mut first = delta(generation, 1);
    first.upserts = vec![row(&test, user, 1, "yksi").await, row(&test, user, 2, "kaksi").await];
    first.activity =
        vec![ActivityRow { user_id: user, user_turns: 2, assistant_turns: 0, other_turns: 0, first_at: noon(), last_at: noon() }];
    first.outbox = vec![
        OutboxRow { topic: "memory-changes".into(), partition: 0, key: b"a".to_vec(), value: Some(b"1".to_vec()) },
        OutboxRow { topic: "memory-changes".into(), partition: 1, key: b"b".to_vec(), value: None },
    ];
    assert_eq!(test.db.apply_epoch(&first).await.expect("applied"), Applied::Now);
    assert_eq!(test.db.apply_epoch(&first).await.expect("answered"), Applied::Already);
    let out = test.db.outbox("companion", 10).await.expect("read");
    assert_eq!(out.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>(), first.outbox);
    test.db.outbox_done("companion", out[0].0).await.expect("done");
    assert_eq!(test.db.outbox("companion", 10).await.expect("read").len(), 1);

    let snapshot = test.db.load_user(&test.keys, user, "companion").await.expect("loaded");
    let mut texts: Vec<&str> = snapshot.memories.iter().map(|(memory, _)| memory.body.text.as_str()).collect();
    texts.sort_unstable();
    assert_eq!((texts, snapshot.epoch), (vec!["kaksi", "yksi"], 1));
    assert_eq!(snapshot.memories[0].1, [0.6, 0.8]);
    assert_eq!(test.db.activity(user).await.expect("read").expect("there").turns, 2);

    let mut second = delta(generation, 2);
    second.deletes = vec![first.upserts[0].key];
    second.upserts = vec![MemoryRow { session: 3, ..first.upserts[1].clone() }];
    second.activity_deletes = vec![user];
    test.db.mint_epoch("companion", "plan", generation, 1, &ledger(2)).await.expect("minted");
    assert_eq!(test.db.apply_epoch(&second).await.expect("applied"), Applied::Now);
    let left = test.db.memories_of_conversation(&test.keys, user, ConversationId(Uuid::from_u128(7)), None, 10).await.expect("read");
    assert_eq!(left.iter().map(|memory| (memory.body.text.as_str(), memory.session)).collect::<Vec<_>>(), [("kaksi", 3)]);
    assert!(test.db.activity(user).await.expect("read").is_none());
    assert_eq!(test.db.positions("companion").await.expect("read"), (2, vec![(0, 20)]));
    assert_eq!(test.db.content_fingerprints(user).await.expect("read").len(), 1);
}

#[tokio::test]
async fn fences_an_older_run_and_refuses_an_epoch_out_of_order() {
    let test = TestDatabase::start().await;
    let old = test.db.open_pipeline("companion", "plan").await.expect("opened").generation;
    test.db.mint_epoch("companion", "plan", old, 0, &ledger(1)).await.expect("minted");
    // The same call again, as after a lost answer, is no second epoch.
    test.db.mint_epoch("companion", "plan", old, 0, &ledger(1)).await.expect("known");
    let state = test.db.open_pipeline("companion", "plan").await.expect("taken over");
    assert_eq!(state.pending, [ledger(1)]);
    let minted = test.db.mint_epoch("companion", "plan", old, 1, &ledger(2)).await;
    assert!(matches!(minted, Err(StoreError::Fenced { .. })), "{minted:?}");
    let applied = test.db.apply_epoch(&delta(old, 1)).await;
    assert!(matches!(applied, Err(StoreError::Fenced { .. })), "{applied:?}");
    let skipped = test.db.apply_epoch(&delta(state.generation, 2)).await;
    assert!(matches!(skipped, Err(StoreError::OutOfOrder { .. })), "{skipped:?}");
}

#[tokio::test]
async fn a_changed_plan_is_told_until_a_reset_has_been_applied() {
    let test = TestDatabase::start().await;
    let user = test.db.create_account(&test.keys, "aino", None).await.expect("made").id;
    let generation = test.db.open_pipeline("companion", "plan").await.expect("opened").generation;
    let mut first = delta(generation, 1);
    first.upserts = vec![row(&test, user, 1, "vanha").await];
    test.db.apply_epoch(&first).await.expect("applied");
    assert!(test.db.open_pipeline("companion", "other").await.expect("opened").plan_changed);
    let state = test.db.open_pipeline("companion", "other").await.expect("opened");
    assert!(state.plan_changed);
    let mut second = EpochDelta { plan_hash: "other".into(), reset: true, ..delta(state.generation, 2) };
    second.upserts = vec![row(&test, user, 2, "uusi").await];
    test.db.apply_epoch(&second).await.expect("applied");
    assert!(!test.db.open_pipeline("companion", "other").await.expect("opened").plan_changed);
    let snapshot = test.db.load_user(&test.keys, user, "companion").await.expect("loaded");
    assert_eq!(snapshot.memories.iter().map(|(memory, _)| memory.body.text.as_str()).collect::<Vec<_>>(), ["uusi"]);
}

#[tokio::test]
async fn says_where_an_unreachable_database_is_and_hides_the_password() {
    // A port that was just free: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let refused = ajatus_memory::postgres::Postgres::connect(&format!("postgres://me:secret@127.0.0.1:{port}/x"), 1).await;
    let text = refused.expect_err("nobody listens").to_string();
    assert!(text.contains(&format!("127.0.0.1:{port}")) && !text.contains("secret"), "{text}");
    assert!(ajatus_memory::postgres::Postgres::connect("mysql:/nothing", 1).await.is_err());
}

#[tokio::test]
async fn a_body_moved_to_another_row_does_not_open() {
    let test = TestDatabase::start().await;
    let user = test.db.create_account(&test.keys, "aino", None).await.expect("made").id;
    let generation = test.db.open_pipeline("companion", "plan").await.expect("opened").generation;
    let mut first = delta(generation, 1);
    let (one, mut two) = (row(&test, user, 1, "yksi").await, row(&test, user, 2, "kaksi").await);
    two.body = Sealed(one.body.0.clone());
    first.upserts = vec![one, two];
    test.db.apply_epoch(&first).await.expect("applied");
    assert!(matches!(test.db.load_user(&test.keys, user, "companion").await, Err(StoreError::Key(_))));
}

/// Polls a future so many times at most.
async fn drop_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (Box::pin(future), polls);
    std::future::poll_fn(move |context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        // The waker of the future is ours: we are polled when it can go on.
        match future.poll_unpin(context) {
            std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
            poll => poll.map(Some),
        }
    })
    .await
}

#[tokio::test]
async fn what_follows_work_dropped_at_any_point_is_committed() {
    let test = TestDatabase::start().await;
    let user = test.db.create_account(&test.keys, "dropped", None).await.expect("made").id;
    // One connection, so that what follows is said on the one that was dropped.
    let db = Postgres::connect(&test.url, 1).await.expect("connected");
    let state = db.open_pipeline("companion", "plan").await.expect("opened");
    let mut outside = sqlx::PgConnection::connect(&test.url).await.expect("connected");
    let (mut progress, mut unfinished) = (state.progress, 0);
    for round in 1..60_u32 {
        // Again and again from the first poll, at which it is never done: how far the later ones come depends on how fast the server answers.
        let polls = 1 + round % 8;
        // Everything that an epoch may do: each statement is a place to be dropped at, also where the server answers at once.
        let change = EpochDelta {
            upserts: vec![row(&test, user, round, "hei").await],
            deletes: vec![InteractionKey { user_id: user, id: InteractionId(Uuid::from_u128(900)) }],
            activity_reset: true,
            activity: vec![ActivityRow { user_id: user, user_turns: 1, assistant_turns: 0, other_turns: 0, first_at: noon(), last_at: noon() }],
            outbox: vec![OutboxRow { topic: "memory-changes".into(), partition: 0, key: b"a".to_vec(), value: None }],
            ..delta(state.generation, progress + 1)
        };
        match drop_after(polls as usize, db.apply_epoch(&change)).await {
            None => unfinished += 1,
            Some(applied) => drop(applied.expect("applied")),
        }
        // The dropped connection goes back to the pool in the background; a round trip gives it the time.
        outside.ping().await.expect("it answers");
        // One statement, no transaction of ours.
        db.create_conversation(&test.keys, user, None).await.expect("made");
        let seen: (i64,) = sqlx::query_as("select count(*) from conversations").fetch_one(&mut outside).await.expect("read");
        assert_eq!(seen.0, i64::from(round), "not committed after work dropped at poll {polls}");
        progress = db.positions("companion").await.expect("read").0;
    }
    assert!(unfinished > 5, "{unfinished}: the drops must meet the work");
}

#[tokio::test]
async fn a_sink_takes_an_epoch_once_with_its_progress_and_says_what_its_table_lacks() {
    let test = TestDatabase::start().await;
    let user = UserId(Uuid::from_u128(1)).to_string();
    let sink = SinkTable {
        pipeline: "activity".into(),
        ledger: "first".into(),
        table: "activity_daily".into(),
        columns: ["user_id", "day", "role", "turns", "first_at", "last_at"].map(str::to_owned).to_vec(),
        key: ["user_id", "day", "role"].map(str::to_owned).to_vec(),
    };
    let row = |day: &str, turns: i64| serde_json::json!({ "user_id": user, "day": day, "role": "user", "turns": turns, "first_at": "2026-03-01T08:00:00Z", "last_at": "2026-03-01T09:00:00Z" });
    let count = || async {
        let pool = sqlx::PgPool::connect(&test.url).await.expect("a connection");
        let rows: Vec<(String, i64)> = sqlx::query_as("select day::text, turns from activity_daily order by day").fetch_all(&pool).await.expect("rows");
        rows
    };
    test.db.open_sink(&sink).await.expect("the table is there");
    assert_eq!(test.db.sink_progress(&sink).await.expect("progress"), 0);
    test.db.apply_sink(&sink, 1, vec![row("2026-03-01", 2), row("2026-03-02", 1)], vec![]).await.expect("applied");
    // Told again, with other rows: it is in already.
    test.db.apply_sink(&sink, 1, vec![row("2026-03-01", 99)], vec![]).await.expect("passed over");
    assert_eq!(count().await, [("2026-03-01".to_owned(), 2), ("2026-03-02".to_owned(), 1)]);
    let gone = serde_json::json!({ "user_id": user, "day": "2026-03-02", "role": "user" });
    test.db.apply_sink(&sink, 2, vec![row("2026-03-01", 3)], vec![gone]).await.expect("applied");
    assert_eq!(count().await, [("2026-03-01".to_owned(), 3)]);
    assert_eq!(test.db.sink_progress(&sink).await.expect("progress"), 2);
    // A value that the column does not take leaves rows and progress as they were.
    let mut bad = row("2026-03-04", 1);
    bad["turns"] = "many".into();
    test.db.apply_sink(&sink, 3, vec![row("2026-03-03", 1), bad], vec![]).await.expect_err("refused");
    assert_eq!((count().await.len(), test.db.sink_progress(&sink).await.expect("progress")), (1, 2));
    // Somebody changes a row, takes one out and puts one in: a repair finds each, and writes them only when it is asked to.
    test.db.apply_sink(&sink, 4, vec![row("2026-03-05", 5), row("2026-03-06", 6)], vec![]).await.expect("applied");
    let wanted = [row("2026-03-01", 3), row("2026-03-05", 5), row("2026-03-06", 6)];
    assert_eq!(test.db.repair_sink(&sink, 4, &wanted, false).await.expect("as it should be"), (0, 0));
    let pool = sqlx::PgPool::connect(&test.url).await.expect("a connection");
    for sql in [
        "update activity_daily set turns = 50, last_at = now() where day = '2026-03-05'",
        "delete from activity_daily where day = '2026-03-06'",
        "insert into activity_daily (user_id, day, role, turns, first_at, last_at) select user_id, '2026-03-09', role, 1, first_at, last_at from activity_daily where day = '2026-03-01'",
    ] {
        sqlx::query(sql).execute(&pool).await.expect("changed");
    }
    assert_eq!(test.db.repair_sink(&sink, 4, &wanted, true).await.expect("looked at"), (2, 1));
    assert_eq!(count().await.len(), 3, "only looked at");
    assert_eq!(test.db.repair_sink(&sink, 4, &wanted, false).await.expect("mended"), (2, 1));
    assert_eq!(count().await, [("2026-03-01".to_owned(), 3), ("2026-03-05".to_owned(), 5), ("2026-03-06".to_owned(), 6)]);
    assert_eq!(test.db.repair_sink(&sink, 4, &wanted, true).await.expect("looked at"), (0, 0));
    let anew = SinkTable { ledger: "second".into(), ..sink.clone() };
    test.db.open_sink(&anew).await.expect("opened");
    assert_eq!((count().await.len(), test.db.sink_progress(&anew).await.expect("progress")), (0, 0));
    test.db.repair_sink(&sink, 4, &wanted, false).await.expect_err("another ledger keeps it");
    test.db.apply_sink(&sink, 9, vec![row("2026-03-09", 1)], vec![]).await.expect("passed over: the old run is fenced");
    assert_eq!(count().await.len(), 0);
    for (wrong, reason) in [
        (SinkTable { pipeline: "another".into(), ..anew.clone() }, "pipeline \"activity\" keeps it"),
        (SinkTable { pipeline: "companion".into(), table: "memories".into(), ..sink.clone() }, "the platform keeps it itself"),
        (SinkTable { table: "nowhere\"; drop table activity_daily; --".into(), ..sink.clone() }, "no such table"),
        (SinkTable { columns: vec!["mood".into()], ..sink.clone() }, "no column \"mood\""),
        (SinkTable { key: vec!["day".into()], ..sink.clone() }, "no unique key over (day)"),
    ] {
        let error = test.db.open_sink(&wrong).await.expect_err("refused").to_string();
        assert!(error.contains(reason), "{error}");
    }
}
