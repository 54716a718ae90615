//! What is deleted leaves every file of the database; a key that is destroyed stays so; what a server does not allow is said.

use ajatus_events::UserId;
use ajatus_memory::forget::{Needles, Scope, Signer, Statement, Witness, hash_of, search};
use ajatus_memory::keys::KeyError;
use ajatus_memory::postgres::{ERASED_TABLES, Postgres};
use ajatus_memory::testing::TestDatabase;
use chrono::{DateTime, Utc};
use sqlx::{Connection as _, Executor as _};
use uuid::Uuid;

/// The throw-away server's files, searched.
fn matches(witnesses: &[Witness]) -> u64 {
    let folder = std::env::temp_dir().join(format!("ajatus-test-postgres-{}", std::process::id()));
    search(&folder, &Needles::new(&[], witnesses).expect("needles"), |_| {}).expect("searched").matches()
}

#[tokio::test]
async fn what_is_deleted_leaves_pages_samples_and_the_write_ahead_log_and_nothing_else_does() {
    let test = TestDatabase::start().await;
    let account = test.db.create_account(&test.keys, "aino", Some("a hash")).await.expect("made");
    let other = test.db.create_account(&test.keys, "eino", Some("a hash")).await.expect("made");
    for user in [account.id, other.id] {
        test.db.create_conversation(&test.keys, user, Some("a name")).await.expect("made");
    }
    let witnesses = async |user: UserId| test.db.user_witnesses(user).await.expect("read").into_values().collect::<Vec<_>>();
    let (gone, stays) = (witnesses(account.id).await, witnesses(other.id).await);
    assert_eq!((gone.len(), stays.len()), (3, 3), "login, key, title");
    assert!(test.db.forget_account(account.id).await.expect("deleted"));
    // So that what the server holds in memory is in its files.
    let mut connection = sqlx::PgConnection::connect(&test.url).await.expect("connected");
    connection.execute("checkpoint").await.expect("written");
    assert!(matches(&gone) >= 3, "deleted rows lie in their pages and in the write-ahead log");
    let erased = test.db.erase_files().await.expect("erased");
    assert_eq!((erased.wal, erased.samples, erased.refused.as_slice()), (true, true, [].as_slice()), "{erased:?}");
    assert!(erased.wal_segments > 0 && ERASED_TABLES.iter().all(|table| erased.tables.contains(&(*table).to_owned())), "{erased:?}");
    assert_eq!(matches(&gone), 0);
    assert!(matches(&stays) >= 3, "a search that finds nothing shows something only if it can find");
    assert!(!test.db.forget_account(account.id).await.expect("again"), "it is gone");
    let again = test.db.erase_files().await.expect("again");
    assert!(again.wal && again.refused.is_empty(), "{again:?}");
    assert_eq!(test.db.account_by_login(&test.keys, "eino").await.expect("read").map(|account| account.id), Some(other.id));
}

#[tokio::test]
async fn a_destroyed_key_ends_sessions_and_the_password_and_never_comes_back() {
    let test = TestDatabase::start().await;
    let account = test.db.create_account(&test.keys, "aino", Some("a hash")).await.expect("made");
    let now = Utc::now();
    let session = test.db.start_session(account.id, "phone", &[1; 32], now).await.expect("started");
    test.keys.user(account.id).await.expect("a key");
    for _ in 0..2 {
        test.keys.destroy(account.id).await.expect("destroyed");
    }
    for key in [test.keys.user(account.id).await, test.keys.create(account.id).await] {
        assert!(matches!(key, Err(KeyError::Destroyed { user }) if user == account.id));
    }
    assert!(!test.db.session_alive(account.id, session).await.expect("read"));
    let held = test.db.account(&test.keys, account.id).await.expect("read").expect("its row waits for the rest");
    assert_eq!((held.password_hash, held.training_consent_at), (None, None));
}

#[tokio::test]
async fn says_what_a_server_that_is_not_ours_does_not_allow() {
    let test = TestDatabase::start().await;
    let mut connection = sqlx::PgConnection::connect(&test.url).await.expect("connected");
    let role = format!("guest_{}", Uuid::new_v4().simple());
    for statement in [
        format!("create role {role} login password 'guest'"),
        format!("grant select, insert, update, delete on all tables in schema public to {role}"),
    ] {
        connection.execute(sqlx::AssertSqlSafe(statement)).await.expect("done");
    }
    let (_, place) = test.url.split_once('@').expect("a place");
    let guest = Postgres::connect(&format!("postgres://{role}:guest@{place}"), 2).await.expect("connected");
    let erased = guest.erase_files().await.expect("said, not failed");
    assert_eq!((erased.tables.len(), erased.wal, erased.samples, erased.wal_segments), (0, false, false, 0), "{erased:?}");
    for word in ["samples", "pages of table memories", "write-ahead log"] {
        assert!(erased.refused.iter().any(|told| told.contains(word)), "{word}: {erased:?}");
    }
    guest.close().await;
}

#[tokio::test]
async fn keeps_receipts_as_they_were_signed_and_apart_by_user() {
    let test = TestDatabase::start().await;
    let signer = Signer::new(&test.keys.installation_secret(Signer::LABEL));
    let user = |number| UserId(Uuid::from_u128(number));
    let witnesses = vec![Witness([3; 24])];
    for number in 1..=3_u128 {
        let at = DateTime::<Utc>::UNIX_EPOCH + chrono::TimeDelta::microseconds(i64::try_from(number).expect("small"));
        let statement = Statement {
            version: Signer::VERSION,
            id: Uuid::from_u128(number),
            user_id: user(number % 2),
            scope: Scope::Replaced {}.name(),
            requested_at: at,
            finished_at: at,
            turns: 0,
            ids_hash: hash_of::<Uuid>([]),
            frontier: Default::default(),
            counts: [("log/dead-letters".to_owned(), 0), ("a".to_owned(), 1)].into(),
            files: [("log".to_owned(), serde_json::json!({ "zebra": 1, "by": "log", "a longer name": { "b": [1, 2], "a": null } }))].into(),
            not_reached: vec!["ä \" \\ \u{1f}".to_owned()],
            witnesses: 1,
            witnesses_hash: hash_of(&witnesses),
        };
        test.db.keep_forgetting(&signer.sign(statement, witnesses.clone())).await.expect("kept");
    }
    let held = test.db.forgettings(user(1), None, 10).await.expect("read");
    assert_eq!(held.iter().map(|one| one.statement.id.as_u128()).collect::<Vec<_>>(), [3, 1], "newest first");
    for receipt in &held {
        assert!(receipt.witnesses.is_empty());
        receipt.verify(Some(&signer.public())).expect("as it was signed, though the database wrote it its own way");
    }
    let after = Some((held[0].statement.finished_at, held[0].statement.id));
    assert_eq!(test.db.forgettings(user(1), after, 10).await.expect("read").len(), 1);
    assert!(test.db.forgetting(user(0), Uuid::from_u128(3)).await.expect("read").is_none());
    assert!(test.db.forgetting(user(1), Uuid::from_u128(3)).await.expect("read").is_some());
}
