//! Who is asking: passwords (argon2id), access tokens (EdDSA, minutes), refresh tokens (opaque, exchanged once).
//!
//! Holds always: an ended session's access token is refused at once; a refresh token used twice ends its session; an unknown
//! login and a wrong password answer alike and take as long.

mod limiter;
mod password;
mod refresh;
mod token;
mod who;

pub use password::{MAX_PASSWORD, MIN_PASSWORD, hash_password};

pub(crate) use limiter::Limiter;
pub(crate) use password::{PasswordError, Passwords};
pub(crate) use refresh::{RefreshToken, unseal_successor};
pub(crate) use token::{LIFETIME_SECONDS, Tokens};
pub(crate) use who::Who;
