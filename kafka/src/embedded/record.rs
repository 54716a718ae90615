//! How a record lies in its keyspace: time (i64, big-endian, ms), 1 for a value or 0 for a tombstone, length of the key
//! (u32, big-endian), key, value.

use crate::log::{Entry, Record};

pub(super) fn key(offset: u64) -> [u8; 8] {
    offset.to_be_bytes()
}

pub(super) fn offset(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

pub(super) fn encode(record: &Record, timestamp_ms: i64) -> Vec<u8> {
    let value = record.value.as_deref().unwrap_or_default();
    let mut bytes = Vec::with_capacity(13 + record.key.len() + value.len());
    bytes.extend_from_slice(&timestamp_ms.to_be_bytes());
    bytes.push(u8::from(record.value.is_some()));
    bytes.extend_from_slice(&u32::try_from(record.key.len()).expect("bounded by max_record_bytes").to_be_bytes());
    bytes.extend_from_slice(&record.key);
    bytes.extend_from_slice(value);
    bytes
}

pub(super) fn decode(offset: u64, bytes: &[u8]) -> Option<Entry> {
    let (time, rest) = bytes.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (key, value) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some(Entry { offset, key: key.to_vec(), value: (*kind == 1).then(|| value.to_vec()), timestamp_ms: i64::from_be_bytes(*time) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_an_empty_value_from_a_tombstone_and_refuses_a_cut_record() {
        for value in [None, Some(Vec::new()), Some(b"v".to_vec())] {
            let record = Record { key: b"key".to_vec(), value: value.clone() };
            let bytes = encode(&record, 77);
            let entry = decode(5, &bytes).expect("its own");
            assert_eq!((entry.offset, entry.key, entry.value, entry.timestamp_ms), (5, b"key".to_vec(), value, 77));
            assert!((0..16).all(|cut| decode(0, &bytes[..cut]).is_none()));
        }
    }
}
