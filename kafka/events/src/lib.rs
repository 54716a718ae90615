//! What can be on the log: interactions, model answers, changes of views, dead letters.
//!
//! Holds always: every record carries its ids in clear and its personal content sealed ([`Sealed`]);
//! every type round-trips through serde; an old reader refuses an unknown field rather than dropping it.
//! Not promised: a wire format (that is `ajatus-kafka`'s `wire`), any order, any meaning of a key to a broker.
//! After a crash: nothing here holds state.

mod answer;
mod change;
mod checksum;
mod dead_letter;
mod edit;
mod id;
mod interaction;
mod receipt;
mod sealed;
pub mod topic;

pub use answer::{AnswerKey, ModelAnswer};
pub use change::{ChangeRecord, Frontier, MemoryChange, MemoryOp};
pub use checksum::{Checksum, row_hash};
pub use dead_letter::DeadLetter;
pub use edit::{ProfileEdit, ProfileOp};
pub use id::{ConversationId, InteractionId, UserId};
pub use interaction::{Body, Interaction, InteractionKey, Role, SourceRef};
pub use receipt::{Receipt, ReceiptError};
pub use sealed::Sealed;
