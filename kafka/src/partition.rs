//! Which partition a user's records lie on.

use ajatus_events::UserId;

/// The user's partition: the same on every topic with this many partitions, in every version of this program.
///
/// BLAKE3 of the id's 16 bytes, its first 8 bytes as a little-endian number, modulo the partitions.
#[must_use]
pub fn partition_for_user(user: UserId, partitions: u32) -> u32 {
    let hash = blake3::hash(user.0.as_bytes());
    let (first, _) = hash.as_bytes().split_first_chunk::<8>().expect("a hash has 32 bytes");
    let at = u64::from_le_bytes(*first) % u64::from(partitions.max(1));
    u32::try_from(at).expect("less than the partitions")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u32) -> UserId {
        format!("00000000-0000-0000-0000-0000{number:08x}").parse().expect("an id")
    }

    #[test]
    fn never_moves_a_user_between_versions() {
        let at = |number: u32| partition_for_user(user(number), 4);
        assert_eq!((0..8).map(at).collect::<Vec<_>>(), EXPECTED);
        assert_eq!(partition_for_user(user(0), 0), 0);
    }

    /// Written down once; a change here loses every user's history.
    const EXPECTED: [u32; 8] = [1, 3, 2, 0, 0, 3, 0, 1];
}
