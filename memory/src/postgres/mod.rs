//! The system of record: one connection pool, one file per concern.
//!
//! Holds always: an epoch's rows, positions, progress and outbox change in one transaction ([`Postgres::apply_epoch`]); a
//! fenced pipeline writes nothing.
//! Not promised: that a read sees an epoch before its transaction has ended (use a receipt and wait).
//! After a crash: whatever was committed.

mod accounts;
mod conversations;
mod export;
mod forget;
mod keys;
mod memories;
mod pipeline;
mod profile;
mod sessions;
mod sink;
mod takeout;
mod training;
mod verify;

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool, Postgres as Driver, Transaction};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio_util::task::TaskTracker;

pub use accounts::Account;
pub use export::{ExportColumn, ExportForm};
pub use forget::{DatabaseErasure, ERASED_TABLES, UserWitnesses};
pub use conversations::{Conversation, ConversationCursor};
pub(crate) use keys::WrappedKeys;
pub use keys::OldFields;
pub use memories::{Activity, Memory, MemoryCursor, UserSnapshot};
pub use pipeline::{
    ActivityRow, Applied, EpochDelta, LedgerRow, MemoryRow, OffsetRange, OutboxRow, PIPELINE, PipelineState,
};
pub use profile::{EditRow, HeldEdit, ProfileDocument, ProfileKey, ProfileRow};
pub use sessions::{Rotation, Session};
pub use sink::SinkTable;
pub use training::{TrainingExport, TrainingRead};
pub use verify::{KeptMemory, KeptProfile, Snapshot};

use crate::keys::KeyError;

/// Longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the database could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be reached; trying again may help.
    #[error("Postgres at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port, without the password.
        address: String,
        /// What the driver said.
        reason: String,
    },
    /// Something of that name is there already.
    #[error("{what} exists already")]
    Conflict {
        /// What.
        what: String,
    },
    /// A newer run of the pipeline has taken over; stop.
    #[error("pipeline {pipeline:?} generation {generation} was fenced by a newer run; only one may write")]
    Fenced {
        /// Which pipeline.
        pipeline: String,
        /// Our generation.
        generation: i64,
    },
    /// An epoch came out of order: a bug of ours.
    #[error("epoch {epoch} follows {previous}, but the views are at {progress}")]
    OutOfOrder {
        /// The epoch offered.
        epoch: u64,
        /// What it says it follows.
        previous: u64,
        /// What the table says.
        progress: u64,
    },
    /// The schema is not ours or not of this program's version.
    #[error("the schema cannot be used: {reason}")]
    Schema {
        /// What is wrong and what to do.
        reason: String,
    },
    /// The table of a pipeline's sink is not as the pipeline needs it.
    #[error("table {table:?} cannot be written by a pipeline: {reason}")]
    Sink {
        /// The table.
        table: String,
        /// What it lacks.
        reason: String,
    },
    /// A table cannot be read as a pipeline's source.
    #[error("table {table:?} cannot be read by a pipeline: {reason}")]
    Source {
        /// The table.
        table: String,
        /// What it lacks.
        reason: String,
    },
    /// A stored value is not what it must be.
    #[error("a stored value cannot be read: {0}")]
    Value(String),
    /// A sealed field does not open.
    #[error("a sealed field cannot be read")]
    Key(#[source] Box<KeyError>),
    /// Anything else.
    #[error("Postgres refused: {0}")]
    Other(#[from] sqlx::Error),
}

impl From<KeyError> for StoreError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(store) => store,
            other => Self::Key(Box::new(other)),
        }
    }
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Other(error) => matches!(
                error,
                sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_)
            ) || matches!(error, sqlx::Error::Database(database) if {
                let code = database.code().unwrap_or_default().into_owned();
                // Connection lost, shutdown, out of resources (disk full), serialisation.
                ["08", "57", "53", "40"].iter().any(|class| code.starts_with(class))
            }),
            _ => false,
        }
    }
}

/// The database. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Postgres {
    pool: PgPool,
    address: String,
    /// Transactions being begun.
    begins: TaskTracker,
}

impl Postgres {
    /// Connects; `url` is `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] after 10 s, or if the URL is not one.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(|error| StoreError::Unreachable {
            address: "DATABASE_URL".to_owned(),
            reason: format!("it is not a postgres:// URL ({error})"),
        })?;
        let address = format!("{}:{}", options.get_host(), options.get_port());
        // The server's planner guesses badly for a table that was just filled; plans are cheap here.
        let options = options.application_name("ajatus").options([("plan_cache_mode", "force_custom_plan")]);
        let unreachable = |reason: String| StoreError::Unreachable { address: address.clone(), reason };
        // The pool would go on trying to reach a server that is not there; one try of our own tells at once.
        let first = tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options)).await;
        let first = first.map_err(|_| unreachable(format!("no answer within {} s", PATIENCE.as_secs())))?;
        let closed = first.map_err(|error| unreachable(error.to_string()))?.close().await;
        closed.map_err(|error| unreachable(error.to_string()))?;
        let pool = PgPoolOptions::new().max_connections(max_connections).acquire_timeout(PATIENCE).connect_lazy_with(options);
        Ok(Self { pool, address, begins: TaskTracker::new() })
    }

    /// Host and port, for reports.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Brings the schema up to this program's version.
    ///
    /// # Errors
    /// [`StoreError::Schema`] if the database is of a newer or another program, or lacks pgvector.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        sqlx::migrate!("../migrations").run(&self.pool).await.map_err(|error| StoreError::Schema {
            reason: format!("{error}; the database must be ours alone, of this or an older version, and have pgvector 0.7 or newer"),
        })
    }

    /// Begins a transaction; dropped, it is rolled back.
    ///
    /// In a task of its own because a caller that is dropped while the server answers `begin` would leave the connection
    /// inside a transaction that the driver (sqlx 0.9) does not know of: what is said on it later would never be committed.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Driver>, StoreError> {
        let pool = self.pool.clone();
        #[expect(clippy::disallowed_methods, reason = "this is the one place, in a task that goes on when the caller is dropped")]
        let begun = self.begins.spawn(async move { pool.begin().await });
        Ok(begun.await.map_err(|_| sqlx::Error::WorkerCrashed)??)
    }

    /// One round trip.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Versions of the server and of pgvector, for reports.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn versions(&self) -> Result<(String, String), StoreError> {
        let row: (String, String) = sqlx::query_as(
            "select current_setting('server_version'), coalesce((select extversion from pg_extension where extname = 'vector'), 'none')",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(row)
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.begins.close();
        self.begins.wait().await;
        self.pool.close().await;
    }
}

/// A `u64` of ours in a `bigint` of theirs.
fn bigint(value: u64) -> i64 {
    i64::try_from(value).expect("epochs and offsets stay below 2^63")
}

/// And back.
fn unsigned(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Value(format!("{value} is negative")))
}

fn int(value: u32) -> Result<i32, StoreError> {
    i32::try_from(value).map_err(|_| StoreError::Value(format!("{value} is above 2^31")))
}

fn small(value: i32) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|_| StoreError::Value(format!("{value} is negative")))
}
