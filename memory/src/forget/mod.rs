//! Forgetting, as far as it needs neither the log nor a server: what is meant, the proof of it, and the search that checks the proof.
//!
//! - [`Scope`] and [`Matcher`]: which turns are meant.
//! - [`ForgetReceipt`]: what was forgotten, signed by the installation.
//! - [`search`]: whether any raw byte of it is left in a folder.
//!
//! Holds always: a receipt holds no word of what was forgotten; its witnesses are the random nonces of sealed texts, which lie wherever
//! the sealed text lies and mean nothing once it is gone.
//! Not promised: that bytes which a file system or a disk has freed are overwritten; that compressed files can be searched.

mod receipt;
mod scope;
mod search;

pub use receipt::{ForgetReceipt, Frontier, ReceiptError, Signer, Statement, Witness, hash_of};
pub use scope::{Matcher, Scope, ScopeError, ScopeName, Words};
pub use search::{Found, Needle, NeedleError, Needles, Searched, TierFound, search};
