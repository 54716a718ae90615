//! Reading rows, value by value.

use std::borrow::Cow;

use super::kind::ZERO;
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
    /// The last one read; an integer's length and sign.
    marker: u8,
}

impl Row {
    /// Begins to read.
    #[must_use]
    #[inline]
    pub fn reader(&self) -> Reader<'_> {
        Reader { bytes: self.bytes(), marker: 0 }
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
        Reader { bytes: &bytes[super::kind::offset(kinds, column, bytes)..], marker: 0 }
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
        Self { bytes, marker: 0 }
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
        let [marker] = self.take();
        self.marker = marker;
        marker != 0
    }

    /// After [`Reader::present`]: `Bool`.
    #[inline]
    pub fn bool(&mut self) -> bool {
        self.take::<1>() == [1]
    }

    /// Likewise: `Int8`.
    #[inline]
    pub fn int8(&mut self) -> i8 {
        self.int64() as i8
    }

    /// Likewise: `Int16`.
    #[inline]
    pub fn int16(&mut self) -> i16 {
        self.int64() as i16
    }

    /// Likewise: `Int32`.
    #[inline]
    pub fn int32(&mut self) -> i32 {
        self.int64() as i32
    }

    /// The bytes of an integer.
    #[inline]
    fn digits(&mut self) -> (&'a [u8], bool) {
        let (digits, rest) = self.bytes.split_at(usize::from(self.marker.abs_diff(ZERO)));
        self.bytes = rest;
        (digits, self.marker < ZERO)
    }

    /// Likewise: `Int64`.
    #[inline]
    pub fn int64(&mut self) -> i64 {
        let (digits, negative) = self.digits();
        digits.iter().fold(if negative { -1 } else { 0 }, |value: i64, digit| value << 8 | i64::from(*digit))
    }

    /// Likewise: `Int128`.
    #[inline]
    pub fn int128(&mut self) -> i128 {
        let (digits, negative) = self.digits();
        digits.iter().fold(if negative { -1 } else { 0 }, |value: i128, digit| value << 8 | i128::from(*digit))
    }

    /// Likewise: `UInt8`.
    #[inline]
    pub fn uint8(&mut self) -> u8 {
        self.uint64() as u8
    }

    /// Likewise: `UInt16`.
    #[inline]
    pub fn uint16(&mut self) -> u16 {
        self.uint64() as u16
    }

    /// Likewise: `UInt32`.
    #[inline]
    pub fn uint32(&mut self) -> u32 {
        self.uint64() as u32
    }

    /// Likewise: `UInt64`.
    #[inline]
    pub fn uint64(&mut self) -> u64 {
        let (digits, _) = self.digits();
        digits.iter().fold(0, |value: u64, digit| value << 8 | u64::from(*digit))
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
            (None, kind) if kind.integer() => drop(self.digits()),
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

    #[test]
    fn integers_sort_are_short_and_come_back() {
        let mut values: Vec<i128> = vec![0, 1, -1, 127, 128, -128, -129, 255, 256, -256, -257, i64::MAX.into(), i64::MIN.into()];
        values.extend((0..63).flat_map(|bit| [1_i128 << bit, -(1_i128 << bit), (1 << bit) - 1]));
        values.sort_unstable();
        values.dedup();
        let mut writer = Writer::new();
        let row = |value: i128, writer: &mut Writer| {
            writer.int64(i64::try_from(value).expect("in range"));
            writer.finish()
        };
        let rows: Vec<Row> = values.iter().map(|value| row(*value, &mut writer)).collect();
        assert!(rows.is_sorted());
        for (row, value) in rows.iter().zip(&values) {
            assert_eq!(row.reader().cell(&Kind::Int64), Cell::Int(*value));
            assert_eq!(Kind::Int64.width(row.bytes()), row.bytes().len());
            writer.int128(*value);
            assert_eq!(writer.finish(), *row, "one form for every width");
        }
        assert_eq!((row(0, &mut writer).bytes().len(), row(200, &mut writer).bytes().len(), row(-1, &mut writer).bytes().len()), (1, 2, 2));
        for value in [i128::MIN, i128::MAX] {
            writer.int128(value);
            assert_eq!(writer.finish().reader().cell(&Kind::Int128), Cell::Int(value));
        }
        writer.uint64(u64::MAX);
        assert_eq!(writer.finish().reader().cell(&Kind::UInt64), Cell::UInt(u64::MAX));
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
            prop_assert_eq!(crate::row::offset(&kinds, 3, left.bytes()), left.bytes().len());
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
