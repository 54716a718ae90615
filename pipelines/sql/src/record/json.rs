//! JSON documents straight into rows, reading only the columns that are wanted.

use std::borrow::Cow;
use std::fmt;

use ajatus_operators::row::{Kind, Row, Writer};
use arrow::datatypes::{DataType, TimeUnit};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::flat::{Flat, Layout};
use super::{BadRecord, Field, fields};
use crate::pipeline::sql_type;
use crate::script::{Content, Table};

/// Base64 as it is written by others: padded or not.
const BASE64: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new().with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// Reads documents of one table.
#[derive(Clone, Debug)]
pub struct JsonReader {
    fields: Vec<Field>,
    /// The name of the field that says how often more, if there is one.
    diff: Option<String>,
    writer: Writer,
    /// Of the last document that the parser has read.
    layout: Layout,
    /// Documents in a row that the parser has read.
    strange: u32,
}

/// A value of a document, borrowed where it can be.
#[derive(Clone, Debug, Default)]
enum Plain<'a> {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Plain<'a>>),
    Object,
}

impl JsonReader {
    /// For some columns of a table, in ascending order; `diff` names the field with the weight.
    #[must_use]
    pub fn new(table: &Table, columns: &[usize], diff: Option<&str>) -> Self {
        Self { fields: fields(table, columns), diff: diff.map(str::to_owned), writer: Writer::new(), layout: Layout::default(), strange: 0 }
    }

    /// The row of one document, and how often more it is there: 1 where no field says so.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn row(&mut self, document: &[u8]) -> Result<(Row, i64), BadRecord> {
        let text = std::str::from_utf8(document).map_err(|error| BadRecord::new("decode.syntax", format!("the record is not UTF-8: {error}")))?;
        let mut values: smallvec::SmallVec<[Plain<'_>; 8]> = smallvec::smallvec![Plain::Null; self.fields.len()];
        let mut raw: smallvec::SmallVec<[Option<&str>; 8]> = smallvec::smallvec![None; self.fields.len()];
        let mut diff = 1;
        if !self.quickly(text, &mut values, &mut diff) {
            let mut source = serde_json::Deserializer::from_str(text);
            let object = Object { reader: self, values: &mut values, raw: &mut raw, diff: &mut diff };
            object
                .deserialize(&mut source)
                .and_then(|()| source.end())
                .map_err(|error| BadRecord::new("decode.syntax", format!("the record is not one JSON object: {error}")))?;
            // Documents that are never alike are not looked at each time.
            self.strange = self.strange.saturating_add(1);
            if self.strange < 8 || self.strange % 64 == 0 {
                self.layout = Layout::learn(text, |name| self.place(name));
            }
        } else {
            self.strange = 0;
        }
        self.writer.clear();
        for (at, field) in self.fields.iter().enumerate() {
            if field.content == Content::Json {
                match raw[at] {
                    None | Some("null") if field.nullable => self.writer.null(),
                    Some(text) => self.writer.text(text),
                    None => return Err(missing(field)),
                }
                continue;
            }
            let value = std::mem::take(&mut values[at]);
            if matches!(value, Plain::Null) {
                if !field.nullable {
                    return Err(missing(field));
                }
                self.writer.null();
                continue;
            }
            put(&value, &field.data_type, &field.kind, &mut self.writer)
                .map_err(|(code, reason)| BadRecord::new(code, format!("field {:?}: {reason}", field.name)))?;
        }
        Ok((self.writer.finish(), diff))
    }
}

/// The place of the weight among the values of a layout.
const DIFF: usize = usize::MAX;

impl JsonReader {
    /// Where a field's value goes; nowhere, if nobody reads it.
    fn place(&self, name: &str) -> Option<usize> {
        match self.fields.iter().position(|field| field.name == name) {
            None if self.diff.as_deref() == Some(name) => Some(DIFF),
            found => found,
        }
    }

    /// Reads a document that has the layout of the last one; `false` leaves it to the parser, with everything as it was.
    fn quickly<'a>(&self, text: &'a str, values: &mut [Plain<'a>], diff: &mut i64) -> bool {
        let mut fits = true;
        let read = self.layout.read(text, |place, value| match (place, value) {
            (DIFF, Flat::Int(weight)) => *diff = weight,
            (DIFF, _) => fits = false,
            // Text of a JSON column is what stands in the document, and a weight has bounds of its own.
            (place, _) if self.fields[place].content == Content::Json => fits = false,
            (place, value) => {
                if self.diff.as_ref() == Some(&self.fields[place].name) {
                    match value {
                        Flat::Int(weight) => *diff = weight,
                        _ => fits = false,
                    }
                }
                values[place] = match value {
                    Flat::Null => Plain::Null,
                    Flat::Bool(value) => Plain::Bool(value),
                    Flat::Int(value) => Plain::Int(value),
                    Flat::Text(value) => Plain::Text(Cow::Borrowed(value)),
                };
            }
        });
        if read.is_some() && fits {
            return true;
        }
        values.fill(Plain::Null);
        *diff = 1;
        false
    }
}

fn missing(field: &Field) -> BadRecord {
    BadRecord::new("decode.null", format!("field {:?} is missing or null, but it is declared not null", field.name))
}

type Reason = (&'static str, String);

fn put(value: &Plain<'_>, data_type: &DataType, kind: &Kind, out: &mut Writer) -> Result<(), Reason> {
    macro_rules! integer {
        ($write:ident) => {{
            let number = whole(value).ok_or_else(|| wrong(value, data_type))?;
            out.$write(number.try_into().map_err(|_| ("decode.range", format!("{number} does not fit {data_type}")))?)
        }};
    }
    match kind {
        Kind::Bool => match value {
            Plain::Bool(value) => out.bool(*value),
            _ => return Err(wrong(value, data_type)),
        },
        Kind::Int8 => integer!(int8),
        Kind::Int16 => integer!(int16),
        Kind::UInt8 => integer!(uint8),
        Kind::UInt16 => integer!(uint16),
        Kind::UInt32 => integer!(uint32),
        Kind::UInt64 => integer!(uint64),
        Kind::Int32 => match (data_type, value) {
            (DataType::Date32, Plain::Text(text)) => out.int32(date(text)?),
            _ => integer!(int32),
        },
        Kind::Int64 => match (data_type, value) {
            (DataType::Timestamp(unit, _), Plain::Text(text)) => out.int64(instant(text, *unit)?),
            _ => integer!(int64),
        },
        Kind::Int128 => {
            let DataType::Decimal128(precision, scale) = data_type else { return Err(wrong(value, data_type)) };
            let text = match value {
                Plain::Int(number) => number.to_string(),
                Plain::UInt(number) => number.to_string(),
                // The shortest text that reads back as the number: what was most likely written.
                Plain::Float(number) => number.to_string(),
                Plain::Text(text) => text.clone().into_owned(),
                _ => return Err(wrong(value, data_type)),
            };
            out.int128(decimal(&text, *precision, *scale)?);
        }
        Kind::Float32 => {
            let number = number(value).ok_or_else(|| wrong(value, data_type))?;
            #[expect(clippy::cast_possible_truncation, reason = "a 32-bit column holds the nearest 32-bit number")]
            out.float32(number as f32);
        }
        Kind::Float64 => out.float64(number(value).ok_or_else(|| wrong(value, data_type))?),
        Kind::Text => match value {
            Plain::Text(text) => out.text(text),
            _ => return Err(wrong(value, data_type)),
        },
        Kind::Bytes => match value {
            Plain::Text(text) => {
                use base64::Engine as _;
                let bytes = BASE64.decode(text.as_bytes()).map_err(|error| ("decode.type", format!("bytes are written as base64: {error}")))?;
                out.bytes(&bytes);
            }
            _ => return Err(wrong(value, data_type)),
        },
        Kind::Vector(size) => {
            let Plain::List(elements) = value else { return Err(wrong(value, data_type)) };
            if elements.len() != *size {
                return Err(("decode.range", format!("a vector of {} components where {size} are declared", elements.len())));
            }
            let mut components = Vec::with_capacity(*size);
            for element in elements {
                #[expect(clippy::cast_possible_truncation, reason = "a vector's components have 32 bits")]
                components.push(number(element).ok_or_else(|| wrong(element, data_type))? as f32);
            }
            if components.iter().any(|component| !component.is_finite()) {
                return Err(("decode.range", "a vector's components must be finite".to_owned()));
            }
            out.vector(components);
        }
        Kind::List(element_kind) => {
            let (Plain::List(elements), DataType::List(item)) = (value, data_type) else { return Err(wrong(value, data_type)) };
            out.begin();
            for element in elements {
                out.element();
                match element {
                    Plain::Null if item.is_nullable() => out.null(),
                    Plain::Null => return Err(("decode.null", "an element is null".to_owned())),
                    element => put(element, item.data_type(), element_kind, out)?,
                }
            }
            out.end();
        }
        Kind::Null | Kind::Struct(_) => return Err(wrong(value, data_type)),
    }
    Ok(())
}

fn wrong(value: &Plain<'_>, data_type: &DataType) -> Reason {
    let what = match value {
        Plain::Null => "null".to_owned(),
        Plain::Bool(value) => value.to_string(),
        Plain::Int(value) => value.to_string(),
        Plain::UInt(value) => value.to_string(),
        Plain::Float(value) => value.to_string(),
        Plain::Text(text) => format!("the text {:?}", text.chars().take(40).collect::<String>()),
        Plain::List(_) => "a list".to_owned(),
        Plain::Object => "an object".to_owned(),
    };
    ("decode.type", format!("{what} is no {}", sql_type(data_type)))
}

fn whole(value: &Plain<'_>) -> Option<i128> {
    match value {
        Plain::Int(number) => Some((*number).into()),
        Plain::UInt(number) => Some((*number).into()),
        // JSON has one kind of number: 3.0 is 3.
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and below 2^53")]
        Plain::Float(number) if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 => Some(*number as i128),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a column of floats holds the nearest float")]
fn number(value: &Plain<'_>) -> Option<f64> {
    match value {
        Plain::Int(number) => Some(*number as f64),
        Plain::UInt(number) => Some(*number as f64),
        Plain::Float(number) => Some(*number),
        _ => None,
    }
}

/// Days since 1970.
pub(super) fn date(text: &str) -> Result<i32, Reason> {
    use chrono::Datelike as _;
    let date = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|error| ("decode.type", format!("{text:?} is not a date such as 2026-03-01: {error}")))?;
    Ok(date.num_days_from_ce() - 719_163)
}

/// Units since 1970; without an offset, UTC is meant.
pub(super) fn instant(text: &str, unit: TimeUnit) -> Result<i64, Reason> {
    let parsed = chrono::DateTime::parse_from_rfc3339(text)
        .map(|time| time.naive_utc())
        .or_else(|_| chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f"))
        .or_else(|_| chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"))
        .map_err(|error| ("decode.type", format!("{text:?} is not an instant such as 2026-03-01T08:00:00Z: {error}")))?
        .and_utc();
    Ok(match unit {
        TimeUnit::Second => parsed.timestamp(),
        TimeUnit::Millisecond => parsed.timestamp_millis(),
        TimeUnit::Microsecond => parsed.timestamp_micros(),
        TimeUnit::Nanosecond => parsed.timestamp_nanos_opt().ok_or(("decode.range", format!("{text:?} is too far from 1970")))?,
    })
}

/// The unscaled value of a decimal; digits beyond the scale are refused, not rounded.
pub(super) fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128, Reason> {
    let bad = || ("decode.type", format!("{text:?} is not a decimal"));
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, exponent) = match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().map_err(|_| bad())?),
        None => (digits, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let mut unscaled: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        unscaled = unscaled.checked_mul(10).and_then(|value| value.checked_add(i128::from(digit - b'0'))).ok_or_else(|| ("decode.range", format!("{text} has more than {precision} digits")))?;
    }
    let shift = i32::from(scale) + exponent - i32::try_from(fraction.len()).map_err(|_| bad())?;
    let power = |digits: u32| 10_i128.checked_pow(digits).ok_or_else(|| ("decode.range", format!("{text} has more than {precision} digits")));
    if shift >= 0 {
        unscaled = unscaled.checked_mul(power(shift.unsigned_abs())?).ok_or_else(|| ("decode.range", format!("{text} has more than {precision} digits")))?;
    } else if unscaled != 0 {
        let divisor = power(shift.unsigned_abs())?;
        if unscaled % divisor != 0 {
            return Err(("decode.range", format!("{text} has more than {scale} digits behind the point")));
        }
        unscaled /= divisor;
    }
    if unscaled >= power(u32::from(precision))? {
        return Err(("decode.range", format!("{text} has more than {precision} digits")));
    }
    Ok(if negative { -unscaled } else { unscaled })
}

struct Object<'r, 'v, 'de> {
    reader: &'r JsonReader,
    values: &'v mut [Plain<'de>],
    raw: &'v mut [Option<&'de str>],
    diff: &'v mut i64,
}

impl<'de> DeserializeSeed<'de> for Object<'_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(at) = map.next_key_seed(Key(self.reader))? {
            match at {
                At::Column(at) if self.reader.fields[at].content == Content::Json => {
                    self.raw[at] = Some(<&serde_json::value::RawValue>::deserialize_next(&mut map)?);
                }
                At::Column(at) if self.reader.diff.as_ref() == Some(&self.reader.fields[at].name) => {
                    *self.diff = map.next_value()?;
                    self.values[at] = Plain::Int(*self.diff);
                }
                At::Column(at) => self.values[at] = map.next_value()?,
                At::Diff => *self.diff = map.next_value()?,
                At::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Reads a value as it stands in the text.
trait RawNext<'de>: Sized {
    fn deserialize_next<A: MapAccess<'de>>(map: &mut A) -> Result<&'de str, A::Error>;
}

impl<'de> RawNext<'de> for &'de serde_json::value::RawValue {
    fn deserialize_next<A: MapAccess<'de>>(map: &mut A) -> Result<&'de str, A::Error> {
        map.next_value::<Self>().map(serde_json::value::RawValue::get)
    }
}

struct Key<'r>(&'r JsonReader);

enum At {
    Column(usize),
    Diff,
    Other,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = At;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<At, D::Error> {
        source.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = At;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<At, E> {
        Ok(match self.0.fields.iter().position(|field| field.name == key) {
            Some(at) => At::Column(at),
            None if self.0.diff.as_deref() == Some(key) => At::Diff,
            None => At::Other,
        })
    }
}

impl<'de> Deserialize<'de> for Plain<'de> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Plain<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Plain<'de>, E> {
                Ok(Plain::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Plain<'de>, E> {
                Ok(Plain::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Plain<'de>, E> {
                Ok(Plain::Int(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Plain<'de>, E> {
                Ok(i64::try_from(value).map_or(Plain::UInt(value), Plain::Int))
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Plain<'de>, E> {
                if value.is_finite() { Ok(Plain::Float(value)) } else { Err(E::custom("a number out of range")) }
            }
            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Plain<'de>, E> {
                Ok(Plain::Text(Cow::Borrowed(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Plain<'de>, E> {
                Ok(Plain::Text(Cow::Owned(value.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Plain<'de>, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = elements.next_element()? {
                    list.push(element);
                }
                Ok(Plain::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plain<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Plain::Object)
            }
        }
        source.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        for (text, expected) in [("1.50", Ok(150)), ("-0.01", Ok(-1)), ("3", Ok(300)), ("1e2", Ok(10_000)), ("0.000", Ok(0)), ("12.5e-1", Ok(125))] {
            assert_eq!(decimal(text, 6, 2), expected, "{text}");
        }
        for text in ["1.005", "10000", "", ".", "1,5", "1e", "--1", "1e99999", "9".repeat(60).as_str()] {
            assert!(decimal(text, 6, 2).is_err(), "{text}");
        }
    }

    #[test]
    fn instants_with_and_without_an_offset() {
        let micros = |text| instant(text, TimeUnit::Microsecond);
        assert_eq!(micros("1970-01-01T00:00:01Z"), Ok(1_000_000));
        assert_eq!(micros("1970-01-01T02:00:01.5+02:00"), Ok(1_500_000));
        assert_eq!(micros("1970-01-01 00:00:01"), Ok(1_000_000));
        assert!(micros("yesterday").is_err());
        assert_eq!(date("1970-01-02"), Ok(1));
    }
    /// What the quick way reads, and leaves, is what the parser alone reads.
    #[test]
    fn the_quick_way_reads_what_the_parser_reads() {
        let sql = "create table t (a bigint, b text, c boolean, d decimal(12, 2), e double precision, f json, w bigint not null) with (connector = 'memory', type = 'source');";
        let script = crate::script::parse(&crate::diagnostic::Source::new("t.sql", sql)).expect("a script");
        let table = script.statements.iter().find_map(|statement| if let crate::script::Statement::Table(table) = statement { Some(table.clone()) } else { None });
        let table = table.expect("a table");
        let values = [
            "1", "-1", "0", "-0", "007", "123456789012345678", "1234567890123456789", "99999999999999999999", "1.5", "1e3", "-", "true", "false", "null", "nul", "\"x\"", "\"\"",
            "\"yö\"", "\"a\\n\"", "\"\u{1}\"", "\"12.30\"", "[1]", "{\"x\": 1}", "{\"w\": 5}", "",
        ];
        let names = ["a", "b", "c", "d", "e", "f", "w", "other", "a"];
        let mut random = 7_u64;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(random >> 33).expect("31 bits") % below
        };
        let columns: Vec<usize> = (0..7).collect();
        for diff in [None, Some("w"), Some("other")] {
            let mut learning = JsonReader::new(&table, &columns, diff);
            let mut quick = 0;
            for round in 0..20_000 {
                // Runs of one layout with changing values, and now and then another layout, another spacing, something behind the end.
                let count = [7, 8, 9, 3][round / 50 % 4];
                let gap = ["", " ", "\t"][round / 200 % 3];
                let fields: Vec<String> = (0..count).map(|at| {
                    let name = if next(60) == 0 { "b" } else { names[at] };
                    let value = if next(12) == 0 { values[next(values.len())] } else if at == 1 { "\"some text\"" } else if at == 2 { "true" } else { "42" };
                    format!("{gap}\"{name}\"{gap}:{gap}{value}{gap}")
                }).collect();
                let behind = ["", " ", "", "", "x", "}"][if next(20) == 0 { next(6) } else { 0 }];
                let text = format!("{{{}}}{behind}", fields.join(","));
                let fresh = JsonReader::new(&table, &columns, diff).row(text.as_bytes());
                let mut values = vec![Plain::Null; 7];
                quick += usize::from(learning.quickly(&text, &mut values, &mut 1));
                assert_eq!(learning.row(text.as_bytes()), fresh, "{text}");
            }
            assert!(quick > 300, "{quick} documents went the quick way");
        }
    }
}
