//! Sums by which stores that hold the same memories are compared.

/// How many memories a store holds, and which: equal sums at an equal epoch mean equal ids at equal epochs.
///
/// Not seen: what the rows hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// Live rows.
    pub count: u64,
    /// Wrapping sum of [`row_hash`] over them, in no order.
    pub sum: u64,
}

impl Checksum {
    /// Adds a row.
    pub fn add(&mut self, user: u128, id: u128, epoch: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(row_hash(user, id, epoch));
    }

    /// Takes a row out that was added.
    pub fn take(&mut self, user: u128, id: u128, epoch: u64) {
        self.count -= 1;
        self.sum = self.sum.wrapping_sub(row_hash(user, id, epoch));
    }
}

/// Hashes a live row: the first 8 bytes, little-endian, of the BLAKE3 hash of `ajatus/row/1`, the user, the memory (16 bytes each, as a UUID
/// has them), and the epoch (8 bytes, little-endian).
///
/// Rows that say that a memory is gone are not summed: each store drops them when it likes. What one store sums, the others sum: Postgres, the
/// in-memory index, Lance, FAISS.
#[must_use]
pub fn row_hash(user: u128, id: u128, epoch: u64) -> u64 {
    let mut text = [0; 52];
    text[..12].copy_from_slice(b"ajatus/row/1");
    text[12..28].copy_from_slice(&user.to_be_bytes());
    text[28..44].copy_from_slice(&id.to_be_bytes());
    text[44..].copy_from_slice(&epoch.to_le_bytes());
    let hash = blake3::hash(&text);
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}
