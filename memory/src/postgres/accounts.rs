//! Accounts and the wrapped keys beside them.

use ajatus_events::{Sealed, UserId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Postgres, StoreError};
use crate::keys::KeyRing;

/// A person who may sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Who.
    pub id: UserId,
    /// Name or mail address, normalised.
    pub login: String,
    /// Argon2id, PHC string; `None` for an account that an import made and nobody has claimed.
    pub password_hash: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when their turns may train a model; `None`: they may not.
    pub training_consent_at: Option<DateTime<Utc>>,
}

type Row = (Uuid, Vec<u8>, Option<String>, DateTime<Utc>, Option<DateTime<Utc>>);

/// Trimmed and in lower case: one spelling per login.
fn normalised(login: &str) -> String {
    login.trim().to_lowercase()
}

fn aad(user: UserId) -> Vec<u8> {
    format!("1/accounts/login/{user}").into_bytes()
}

impl Postgres {
    /// Makes an account with a data key of its own, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the login is taken.
    pub async fn create_account(&self, keys: &KeyRing, login: &str, password_hash: Option<&str>) -> Result<Account, StoreError> {
        let login = normalised(login);
        let id = UserId(Uuid::new_v4());
        let _writing = keys.writing().await;
        let mut transaction = self.begin().await?;
        let made: Option<(DateTime<Utc>,)> = sqlx::query_as(
            "insert into accounts (id, login_index, login, password_hash) values ($1, $2, $3, $4)
             on conflict (login_index) do nothing returning created_at",
        )
        .bind(id.0)
        .bind(keys.blind("login", &login).as_slice())
        .bind(keys.seal_root(&aad(id), login.as_bytes()).0)
        .bind(password_hash)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((created_at,)) = made else {
            return Err(StoreError::Conflict { what: format!("an account {login:?}") });
        };
        sqlx::query("insert into user_keys (user_id, version, wrapped) values ($1, 1, $2)")
            .bind(id.0)
            .bind(keys.fresh(id).0)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Account { id, login, password_hash: password_hash.map(str::to_owned), created_at, training_consent_at: None })
    }

    /// The account of a login, whatever its case.
    ///
    /// # Errors
    /// As the pool's; [`StoreError::Key`] under another root key.
    pub async fn account_by_login(&self, keys: &KeyRing, login: &str) -> Result<Option<Account>, StoreError> {
        let row: Option<Row> = sqlx::query_as("select id, login, password_hash, created_at, training_consent_at from accounts where login_index = $1")
            .bind(keys.blind("login", &normalised(login)).as_slice())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| account(keys, row)).transpose()
    }

    /// The account of an id.
    ///
    /// # Errors
    /// As [`Postgres::account_by_login`].
    pub async fn account(&self, keys: &KeyRing, user: UserId) -> Result<Option<Account>, StoreError> {
        let row: Option<Row> = sqlx::query_as("select id, login, password_hash, created_at, training_consent_at from accounts where id = $1")
            .bind(user.0)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| account(keys, row)).transpose()
    }

    /// Accounts, oldest first, at most `limit`.
    ///
    /// # Errors
    /// As [`Postgres::account_by_login`].
    pub async fn accounts(&self, keys: &KeyRing, limit: u32) -> Result<Vec<Account>, StoreError> {
        let rows: Vec<Row> =
            sqlx::query_as("select id, login, password_hash, created_at, training_consent_at from accounts order by created_at, id limit $1")
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await?;
        rows.into_iter().map(|row| account(keys, row)).collect()
    }

    /// Sets the password's hash, e.g. when an imported account is claimed.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn set_password_hash(&self, user: UserId, hash: &str) -> Result<(), StoreError> {
        sqlx::query("update accounts set password_hash = $2 where id = $1").bind(user.0).bind(hash).execute(&self.pool).await?;
        Ok(())
    }
}

impl Postgres {
    /// Seals every login anew with the present root key, in one transaction; returns how many there are.
    pub(crate) async fn seal_logins_anew(&self, keys: &KeyRing) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as("select id, login from accounts for update").fetch_all(&mut *transaction).await?;
        let count = rows.len() as u64;
        for (id, login) in rows {
            let plain = keys.open_root(&aad(UserId(id)), &Sealed(login))?;
            let login = String::from_utf8(plain).map_err(|error| StoreError::Value(error.to_string()))?;
            sqlx::query("update accounts set login = $2, login_index = $3 where id = $1")
                .bind(id)
                .bind(keys.seal_root(&aad(UserId(id)), login.as_bytes()).0)
                .bind(keys.blind("login", &login).as_slice())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(count)
    }
}

fn account(keys: &KeyRing, (id, login, password_hash, created_at, training_consent_at): Row) -> Result<Account, StoreError> {
    let id = UserId(id);
    let login = keys.open_root(&aad(id), &Sealed(login))?;
    let login = String::from_utf8(login).map_err(|error| StoreError::Value(error.to_string()))?;
    Ok(Account { id, login, password_hash, created_at, training_consent_at })
}
