//! Reading rows, value by value.

use std::borrow::Cow;

use super::{Kind, Row};

/// One value, as read.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// Any signed integer.
    Int(i128),
    /// Any unsigned integer.
    UInt(u64),
    /// Any float.
    Float(f64),
    /// `Float32`, not widened.
    Float32(f32),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A vector's components.
    Vector(Vec<f32>),
    /// A list's elements.
    List(Vec<Cell<'a>>),
    /// A struct's fields.
    Struct(Vec<Cell<'a>>),
}

/// Goes through the values of a row from the first to the last.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl Row {
    /// Begins to read.
    #[must_use]
    #[inline]
    pub fn reader(&self) -> Reader<'_> {
        Reader { bytes: self.bytes() }
    }

    /// Reads all of a row.
    #[must_use]
    pub fn cells(&self, kinds: &[Kind]) -> Vec<Cell<'_>> {
        let mut reader = self.reader();
        kinds.iter().map(|kind| reader.cell(kind)).collect()
    }

    /// Begins to read at a column.
    #[must_use]
    #[inline]
    pub fn reader_at(&self, kinds: &[Kind], column: usize) -> Reader<'_> {
        let bytes = self.bytes();
        Reader { bytes: &bytes[super::kind::offset(kinds, column, bytes)..] }
    }

    /// Whether a column is null.
    #[must_use]
    #[inline]
    pub fn has_null(&self, kinds: &[Kind], column: usize) -> bool {
        self.bytes()[super::kind::offset(kinds, column, self.bytes())] == 0
    }
}

impl<'a> Reader<'a> {
    /// Reads what values were written as bytes, outside a row.
    #[must_use]
    pub fn over(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        taken.copy_from_slice(&self.bytes[..N]);
        self.bytes = &self.bytes[N..];
        taken
    }

    /// Whether a value follows, and not null; reads the marker.
    #[inline]
    pub fn present(&mut self) -> bool {
        self.take::<1>() == [1]
    }

    /// After [`Reader::present`]: `Bool`.
    #[inline]
    pub fn bool(&mut self) -> bool {
        self.take::<1>() == [1]
    }

    /// Likewise: `Int8`.
    #[inline]
    pub fn int8(&mut self) -> i8 {
        i8::from_be_bytes(self.take()) ^ i8::MIN
    }

    /// Likewise: `Int16`.
    #[inline]
    pub fn int16(&mut self) -> i16 {
        i16::from_be_bytes(self.take()) ^ i16::MIN
    }

    /// Likewise: `Int32`.
    #[inline]
    pub fn int32(&mut self) -> i32 {
        i32::from_be_bytes(self.take()) ^ i32::MIN
    }

    /// Likewise: `Int64`.
    #[inline]
    pub fn int64(&mut self) -> i64 {
        i64::from_be_bytes(self.take()) ^ i64::MIN
    }

    /// Likewise: `Int128`.
    #[inline]
    pub fn int128(&mut self) -> i128 {
        i128::from_be_bytes(self.take()) ^ i128::MIN
    }

    /// Likewise: `UInt8`.
    #[inline]
    pub fn uint8(&mut self) -> u8 {
        u8::from_be_bytes(self.take())
    }

    /// Likewise: `UInt16`.
    #[inline]
    pub fn uint16(&mut self) -> u16 {
        u16::from_be_bytes(self.take())
    }

    /// Likewise: `UInt32`.
    #[inline]
    pub fn uint32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    /// Likewise: `UInt64`.
    #[inline]
    pub fn uint64(&mut self) -> u64 {
        u64::from_be_bytes(self.take())
    }

    /// Likewise: `Float32`, and each component of a `Vector`.
    #[inline]
    pub fn float32(&mut self) -> f32 {
        let bits = u32::from_be_bytes(self.take());
        f32::from_bits(if bits >> 31 == 1 { bits ^ (1 << 31) } else { !bits })
    }

    /// Likewise: `Float64`.
    #[inline]
    pub fn float64(&mut self) -> f64 {
        let bits = u64::from_be_bytes(self.take());
        f64::from_bits(if bits >> 63 == 1 { bits ^ (1 << 63) } else { !bits })
    }

    /// Likewise: `Text` or `Bytes`.
    #[inline]
    pub fn bytes(&mut self) -> Cow<'a, [u8]> {
        let end = memchr::memchr(0, self.bytes).expect("an ended text");
        let raw = &self.bytes[..end];
        self.bytes = &self.bytes[end + 1..];
        let Some(first) = memchr::memchr(1, raw) else { return Cow::Borrowed(raw) };
        let mut plain = raw[..first].to_vec();
        let mut rest = raw[first..].iter();
        while let Some(byte) = rest.next() {
            plain.push(if *byte == 1 { rest.next().expect("an escaped byte") - 1 } else { *byte });
        }
        Cow::Owned(plain)
    }

    /// Likewise: whether another element of a `List` follows.
    #[inline]
    pub fn element(&mut self) -> bool {
        self.take::<1>() == [1]
    }

    /// What has not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Passes over a value, marker included.
    #[inline]
    pub fn skip(&mut self, kind: &Kind) {
        self.bytes = &self.bytes[kind.width(self.bytes)..];
    }

    /// After [`Reader::present`]: passes over the value.
    pub(crate) fn pass(&mut self, kind: &Kind) {
        match (kind.fixed(), kind) {
            (Some(fixed), _) => self.bytes = &self.bytes[fixed..],
            (None, Kind::Text | Kind::Bytes) => drop(self.bytes()),
            (None, Kind::List(element)) => {
                while self.element() {
                    self.skip(element);
                }
            }
            (None, Kind::Struct(fields)) => fields.iter().for_each(|field| self.skip(field)),
            (None, _) => unreachable!("every other kind has a fixed width"),
        }
    }

    /// Reads a value of whatever kind, marker included.
    #[must_use]
    pub fn cell(&mut self, kind: &Kind) -> Cell<'a> {
        if !self.present() {
            return Cell::Null;
        }
        match kind {
            Kind::Null => Cell::Null,
            Kind::Bool => Cell::Bool(self.bool()),
            Kind::Int8 => Cell::Int(self.int8().into()),
            Kind::Int16 => Cell::Int(self.int16().into()),
            Kind::Int32 => Cell::Int(self.int32().into()),
            Kind::Int64 => Cell::Int(self.int64().into()),
            Kind::Int128 => Cell::Int(self.int128()),
            Kind::UInt8 => Cell::UInt(self.uint8().into()),
            Kind::UInt16 => Cell::UInt(self.uint16().into()),
            Kind::UInt32 => Cell::UInt(self.uint32().into()),
            Kind::UInt64 => Cell::UInt(self.uint64()),
            Kind::Float32 => Cell::Float32(self.float32()),
            Kind::Float64 => Cell::Float(self.float64()),
            Kind::Text => Cell::Text(match self.bytes() {
                Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
                Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
            }),
            Kind::Bytes => Cell::Bytes(self.bytes()),
            Kind::Vector(components) => Cell::Vector((0..*components).map(|_| self.float32()).collect()),
            Kind::List(element) => {
                let mut cells = Vec::new();
                while self.element() {
                    cells.push(self.cell(element));
                }
                Cell::List(cells)
            }
            Kind::Struct(fields) => Cell::Struct(fields.iter().map(|field| self.cell(field)).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Writer;
    use proptest::prelude::*;

    #[test]
    fn floats_sort_and_come_back() {
        let mut writer = Writer::new();
        let values = [f64::NEG_INFINITY, -2.5, -0.1, 0.0, 1e-300, 3.0, f64::INFINITY, f64::NAN];
        let rows: Vec<Row> = values.iter().map(|value| { writer.float64(*value); writer.finish() }).collect();
        assert!(rows.is_sorted());
        for (row, value) in rows.iter().zip(values) {
            let Cell::Float(read) = row.reader().cell(&Kind::Float64) else { panic!("{row:?}") };
            assert!(read == value || (read.is_nan() && value.is_nan()));
        }
        writer.float64(-0.0);
        assert_eq!(writer.finish(), rows[3]);
    }

    proptest! {
        #[test]
        fn texts_and_numbers_sort_like_themselves_and_come_back(a in any::<(Vec<u8>, i64, i128)>(), b in any::<(Vec<u8>, i64, i128)>()) {
            let kinds = [Kind::Bytes, Kind::Int64, Kind::Int128];
            let mut writer = Writer::new();
            let mut row = |value: &(Vec<u8>, i64, i128)| {
                writer.bytes(&value.0);
                writer.int64(value.1);
                writer.int128(value.2);
                writer.finish()
            };
            let (left, right) = (row(&a), row(&b));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
            let cells = left.cells(&kinds);
            prop_assert_eq!(cells, vec![Cell::Bytes(Cow::Borrowed(&a.0)), Cell::Int(a.1.into()), Cell::Int(a.2)]);
            prop_assert_eq!(kinds[0].width(left.bytes()) + 9 + 17, left.bytes().len());
        }

        #[test]
        fn lists_sort_like_lists(a in any::<Vec<Option<u16>>>(), b in any::<Vec<Option<u16>>>()) {
            let mut writer = Writer::new();
            let mut row = |value: &[Option<u16>]| {
                writer.begin();
                for element in value {
                    writer.element();
                    match element {
                        Some(element) => writer.uint16(*element),
                        None => writer.null(),
                    }
                }
                writer.end();
                writer.finish()
            };
            let (left, right) = (row(&a), row(&b));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
            prop_assert_eq!(Kind::List(Box::new(Kind::UInt16)).width(left.bytes()), left.bytes().len());
        }
    }
}
