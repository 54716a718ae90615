//! Signed rows: what users gave to items, and what they took back.

use std::io::Write;

use rand::Rng as _;
use rand::rngs::SmallRng;

use super::USERS;

const ITEMS: u32 = 10_000;

/// One in so many rows withdraws an earlier one.
const WITHDRAWN: u32 = 5;

/// `{"seq","id","user","item","weight","diff"}` a row, `seq` rising. A row with `diff` -1 repeats a live row's other values; which
/// one is chosen evenly. `weight` is 1 to 5.
pub(super) fn write(rows: u64, random: &mut SmallRng, out: &mut impl Write) -> std::io::Result<()> {
    let mut live: Vec<(u64, u32, u32, u32)> = Vec::new();
    for seq in 0..rows {
        let (diff, (id, user, item, weight)) = if !live.is_empty() && random.random_range(0..WITHDRAWN) == 0 {
            let at = random.random_range(0..live.len());
            (-1, live.swap_remove(at))
        } else {
            let row = (seq, random.random_range(0..USERS), random.random_range(0..ITEMS), random.random_range(1..=5));
            live.push(row);
            (1, row)
        };
        writeln!(out, "{{\"seq\":{seq},\"id\":{id},\"user\":{user},\"item\":{item},\"weight\":{weight},\"diff\":{diff}}}")?;
    }
    Ok(())
}
