//! Writing rows, value by value.

use super::Row;
use super::kind::ZERO;

/// Collects the bytes of a row; the row is allocated once, at its final size. Reuse it for the next row.
#[derive(Clone, Debug, Default)]
pub struct Writer(pub(crate) Vec<u8>);

impl Writer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was written as a row and leaves nothing behind.
    #[inline]
    pub fn finish(&mut self) -> Row {
        let row = Row::from_bytes(&self.0);
        self.0.clear();
        row
    }

    /// What was written so far.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.0
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// No value, of whatever kind.
    #[inline]
    pub fn null(&mut self) {
        self.0.push(0);
    }

    #[inline]
    fn fixed(&mut self, bytes: &[u8]) {
        self.0.push(1);
        self.0.extend_from_slice(bytes);
    }

    /// A truth value.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.fixed(&[u8::from(value)]);
    }

    /// `Int8`.
    #[inline]
    pub fn int8(&mut self, value: i8) {
        self.int64(value.into());
    }

    /// `Int16`.
    #[inline]
    pub fn int16(&mut self, value: i16) {
        self.int64(value.into());
    }

    /// `Int32`.
    #[inline]
    pub fn int32(&mut self, value: i32) {
        self.int64(value.into());
    }

    /// `Int64`.
    #[inline]
    pub fn int64(&mut self, value: i64) {
        let magnitude = if value < 0 { !value } else { value }.unsigned_abs();
        // A negative number's bits are flipped, so minus one has the bits of zero: it takes a byte all the same.
        let bytes = (8 - magnitude.leading_zeros() as usize / 8).max(usize::from(value < 0));
        #[expect(clippy::cast_possible_truncation, reason = "at most 8")]
        self.0.push(if value < 0 { ZERO - bytes as u8 } else { ZERO + bytes as u8 });
        self.0.extend_from_slice(&value.to_be_bytes()[8 - bytes..]);
    }

    /// `Int128`.
    #[inline]
    pub fn int128(&mut self, value: i128) {
        let magnitude = if value < 0 { !value } else { value }.unsigned_abs();
        let bytes = (16 - magnitude.leading_zeros() as usize / 8).max(usize::from(value < 0));
        #[expect(clippy::cast_possible_truncation, reason = "at most 16")]
        self.0.push(if value < 0 { ZERO - bytes as u8 } else { ZERO + bytes as u8 });
        self.0.extend_from_slice(&value.to_be_bytes()[16 - bytes..]);
    }

    /// `UInt8`.
    #[inline]
    pub fn uint8(&mut self, value: u8) {
        self.uint64(value.into());
    }

    /// `UInt16`.
    #[inline]
    pub fn uint16(&mut self, value: u16) {
        self.uint64(value.into());
    }

    /// `UInt32`.
    #[inline]
    pub fn uint32(&mut self, value: u32) {
        self.uint64(value.into());
    }

    /// `UInt64`.
    #[inline]
    pub fn uint64(&mut self, value: u64) {
        let bytes = 8 - value.leading_zeros() as usize / 8;
        #[expect(clippy::cast_possible_truncation, reason = "at most 8")]
        self.0.push(ZERO + bytes as u8);
        self.0.extend_from_slice(&value.to_be_bytes()[8 - bytes..]);
    }

    /// `Float32`; every NaN becomes one, and minus zero becomes zero.
    #[inline]
    pub fn float32(&mut self, value: f32) {
        self.fixed(&ordered32(value));
    }

    /// `Float64`, likewise.
    #[inline]
    pub fn float64(&mut self, value: f64) {
        let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
        let bits = value.to_bits();
        let bits = if bits >> 63 == 1 { !bits } else { bits ^ (1 << 63) };
        self.fixed(&bits.to_be_bytes());
    }

    /// `Text`.
    #[inline]
    pub fn text(&mut self, value: &str) {
        self.escaped(value.as_bytes());
    }

    /// `Bytes`.
    #[inline]
    pub fn bytes(&mut self, value: &[u8]) {
        self.escaped(value);
    }

    fn escaped(&mut self, mut value: &[u8]) {
        self.0.push(1);
        while let Some(at) = memchr::memchr2(0, 1, value) {
            self.0.extend_from_slice(&value[..at]);
            self.0.extend_from_slice(&[1, value[at] + 1]);
            value = &value[at + 1..];
        }
        self.0.extend_from_slice(value);
        self.0.push(0);
    }

    /// `Vector`: all its components.
    pub fn vector(&mut self, components: impl IntoIterator<Item = f32>) {
        self.0.push(1);
        for component in components {
            self.0.extend_from_slice(&ordered32(component));
        }
    }

    /// `List`: begins one; each element is announced by [`Writer::element`] and written, then [`Writer::end`].
    pub fn begin(&mut self) {
        self.0.push(1);
    }

    /// Announces the next element of a list.
    pub fn element(&mut self) {
        self.0.push(1);
    }

    /// Ends a list.
    pub fn end(&mut self) {
        self.0.push(0);
    }

    /// `Struct`: begins one; its fields follow.
    pub fn fields(&mut self) {
        self.0.push(1);
    }

    /// Bytes of a value already encoded, or null.
    #[inline]
    pub fn encoded_or_null(&mut self, value: Option<&[u8]>) {
        match value {
            Some(bytes) => self.encoded(bytes),
            None => self.null(),
        }
    }

    /// Bytes of values already encoded.
    #[inline]
    pub fn encoded(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

#[inline]
fn ordered32(value: f32) -> [u8; 4] {
    let value = if value.is_nan() { f32::NAN } else { value + 0.0 };
    let bits = value.to_bits();
    (if bits >> 31 == 1 { !bits } else { bits ^ (1 << 31) }).to_be_bytes()
}
