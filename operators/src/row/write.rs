//! Writing rows, value by value.

use super::Row;

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
        self.fixed(&(value ^ i8::MIN).to_be_bytes());
    }

    /// `Int16`.
    #[inline]
    pub fn int16(&mut self, value: i16) {
        self.fixed(&(value ^ i16::MIN).to_be_bytes());
    }

    /// `Int32`.
    #[inline]
    pub fn int32(&mut self, value: i32) {
        self.fixed(&(value ^ i32::MIN).to_be_bytes());
    }

    /// `Int64`.
    #[inline]
    pub fn int64(&mut self, value: i64) {
        self.fixed(&(value ^ i64::MIN).to_be_bytes());
    }

    /// `Int128`.
    #[inline]
    pub fn int128(&mut self, value: i128) {
        self.fixed(&(value ^ i128::MIN).to_be_bytes());
    }

    /// `UInt8`.
    #[inline]
    pub fn uint8(&mut self, value: u8) {
        self.fixed(&[value]);
    }

    /// `UInt16`.
    #[inline]
    pub fn uint16(&mut self, value: u16) {
        self.fixed(&value.to_be_bytes());
    }

    /// `UInt32`.
    #[inline]
    pub fn uint32(&mut self, value: u32) {
        self.fixed(&value.to_be_bytes());
    }

    /// `UInt64`.
    #[inline]
    pub fn uint64(&mut self, value: u64) {
        self.fixed(&value.to_be_bytes());
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
