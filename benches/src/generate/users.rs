//! The users that changes are about.

use std::io::Write;

/// `{"id","name"}` a row, ids from 0; nothing in it is random.
pub(super) fn write(rows: u64, out: &mut impl Write) -> std::io::Result<()> {
    for id in 0..rows {
        writeln!(out, "{{\"id\":{id},\"name\":\"user{id}\"}}")?;
    }
    Ok(())
}
