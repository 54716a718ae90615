//! Relational operators over [`Row`]s: one type in, one type out, so each is compiled once.
//!
//! Holds always: every operator takes changes of a multiset at totally ordered times and gives the changes of its result at the
//! same times; a time is worked on once nothing more of it can come, and times go in order. What computes row by row, and what stands
//! inside of a recursion, takes times of rounds too. The
//! result does not depend on the order of arrival or on the number of workers. What cannot be computed for a row (an overflow)
//! becomes a row of the second output, the faults, with the weight of what caused it, and is retracted with it.
//! Not promised: bounded state; every operator says what it keeps.
//! After a crash: nothing is kept here; the caller feeds the collections again.

mod cut;
mod distinct;
mod frame;
mod group;
mod infer;
mod join;
mod latest;
mod map;
mod recurse;
mod top;

pub use cut::{after, remembered};
pub use distinct::distinct;
pub use frame::Changes;
pub use group::{Aggregate, Grouping, Slot, group};
pub use infer::infer_rows;
pub use join::{JoinEmit, JoinShape, join};
pub use latest::latest;
pub use map::{map_batches, rearrange, unnest};
pub use recurse::{COPIES, Inner, Partner, Recursion, Repeated, Round, Split, meet, recurse};
pub use top::{TopShape, top};

use differential_dataflow::VecCollection;

use crate::row::{Kind, Row, Writer};

/// A multiset of rows that changes; inside of a recursion, by rounds too.
pub type Rows<'scope, T = u64> = VecCollection<'scope, T, Row, isize>;

/// A row of [`Rows`], when, and how often more.
pub type Update<T = u64> = (Row, T, isize);

/// What the rows of the second outputs look like: step, code, message, where it came from (empty if unknown), what caused it.
pub const FAULT: [Kind; 5] = [Kind::Text, Kind::Text, Kind::Text, Kind::Text, Kind::Bytes];

/// A row of the second output.
pub fn fault(step: &str, code: &str, message: &str, origin: &str, cause: &[u8], out: &mut Writer) -> Row {
    out.clear();
    out.text(step);
    out.text(code);
    out.text(message);
    out.text(origin);
    out.bytes(cause);
    out.finish()
}
