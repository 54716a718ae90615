//! Between Arrow arrays and rows.
//!
//! Holds always: a value that goes in comes out equal, in the Arrow type it was declared with; floats are normalised on the way
//! in (one zero, one NaN). Not promised: types that have no exact order or equality (intervals, maps, unions) have no rows.

use std::sync::Arc;

use ajatus_operators::row::{Kind, Reader, Row, Writer};
use arrow::array::cast::AsArray as _;
use arrow::array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanBuilder, FixedSizeListArray, Float32Builder, LargeBinaryBuilder,
    LargeListArray, LargeStringBuilder, ListArray, NullArray, PrimitiveBuilder, StringBuilder, StringViewBuilder, StructArray, make_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;

/// How values of an Arrow type are written; `None` if they have no rows.
#[must_use]
pub fn kind_of(data_type: &DataType) -> Option<Kind> {
    Some(match data_type {
        DataType::Null => Kind::Null,
        DataType::Boolean => Kind::Bool,
        DataType::Int8 => Kind::Int8,
        DataType::Int16 => Kind::Int16,
        DataType::Int32 | DataType::Date32 | DataType::Time32(_) => Kind::Int32,
        DataType::Int64 | DataType::Date64 | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Duration(_) => Kind::Int64,
        DataType::UInt8 => Kind::UInt8,
        DataType::UInt16 => Kind::UInt16,
        DataType::UInt32 => Kind::UInt32,
        DataType::UInt64 => Kind::UInt64,
        DataType::Float32 => Kind::Float32,
        DataType::Float64 => Kind::Float64,
        DataType::Decimal128(..) => Kind::Int128,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Kind::Bytes,
        DataType::FixedSizeList(item, size) if *item.data_type() == DataType::Float32 && !item.is_nullable() => {
            Kind::Vector(usize::try_from(*size).ok()?)
        }
        DataType::List(item) | DataType::LargeList(item) => Kind::List(Box::new(kind_of(item.data_type())?)),
        DataType::Struct(fields) => Kind::Struct(fields.iter().map(|field| kind_of(field.data_type())).collect::<Option<_>>()?),
        _ => return None,
    })
}

/// The kinds of several columns.
#[must_use]
pub fn kinds_of<'types>(types: impl IntoIterator<Item = &'types DataType>) -> Option<Vec<Kind>> {
    types.into_iter().map(kind_of).collect()
}

/// Decodes some columns of rows into arrays.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Every column up to the last one wanted: its kind, and its type if it is wanted.
    columns: Vec<(Kind, Option<DataType>)>,
}

impl Decoder {
    /// For the columns `wanted` (ascending) of rows of `types`.
    ///
    /// # Panics
    /// On a type without rows, which the planner has refused.
    #[must_use]
    pub fn new(types: &[DataType], wanted: &[usize]) -> Self {
        let last = wanted.iter().copied().max().map_or(0, |last| last + 1);
        let columns = types[..last].iter().enumerate().map(|(at, data_type)| {
            let kind = kind_of(data_type).expect("the planner refuses types without rows");
            (kind, wanted.contains(&at).then(|| data_type.clone()))
        });
        Self { columns: columns.collect() }
    }

    /// All columns.
    #[must_use]
    pub fn all(types: &[DataType]) -> Self {
        Self::new(types, &(0..types.len()).collect::<Vec<_>>())
    }

    /// One array per wanted column, in their order.
    ///
    /// # Errors
    /// Arrow's, for arrays too large for it.
    pub fn decode<'row>(&self, rows: impl Iterator<Item = &'row Row>) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut readers: Vec<Reader<'row>> = rows.map(Row::reader).collect();
        let mut arrays = Vec::new();
        for (kind, wanted) in &self.columns {
            match wanted {
                Some(data_type) => arrays.push(decode(data_type, kind, &mut readers)?),
                None => readers.iter_mut().for_each(|reader| reader.skip(kind)),
            }
        }
        Ok(arrays)
    }
}

fn primitive<'row, T: ArrowPrimitiveType>(
    readers: &mut [Reader<'row>],
    data_type: &DataType,
    mut read: impl FnMut(&mut Reader<'row>) -> T::Native,
) -> ArrayRef {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(readers.len());
    for reader in readers {
        if reader.present() { builder.append_value(read(reader)) } else { builder.append_null() }
    }
    retyped(Arc::new(builder.finish()), data_type)
}

/// The same values under another type of the same layout.
fn retyped(array: ArrayRef, data_type: &DataType) -> ArrayRef {
    if array.data_type() == data_type {
        return array;
    }
    make_array(array.to_data().into_builder().data_type(data_type.clone()).build().expect("types of one layout"))
}

macro_rules! bytes_column {
    ($builder:expr, $readers:expr, $append:expr) => {{
        let mut builder = $builder;
        for reader in $readers {
            if reader.present() { $append(&mut builder, &reader.bytes())? } else { builder.append_null() }
        }
        Ok(Arc::new(builder.finish()))
    }};
}

fn utf8(bytes: &[u8]) -> Result<&str, ArrowError> {
    std::str::from_utf8(bytes).map_err(|error| ArrowError::ParseError(error.to_string()))
}

fn decode<'row>(data_type: &DataType, kind: &Kind, readers: &mut [Reader<'row>]) -> Result<ArrayRef, ArrowError> {
    Ok(match kind {
        Kind::Null => {
            readers.iter_mut().for_each(|reader| reader.skip(kind));
            Arc::new(NullArray::new(readers.len()))
        }
        Kind::Bool => {
            let mut builder = BooleanBuilder::with_capacity(readers.len());
            for reader in readers {
                if reader.present() { builder.append_value(reader.bool()) } else { builder.append_null() }
            }
            Arc::new(builder.finish())
        }
        Kind::Int8 => primitive::<Int8Type>(readers, data_type, Reader::int8),
        Kind::Int16 => primitive::<Int16Type>(readers, data_type, Reader::int16),
        Kind::Int32 => primitive::<Int32Type>(readers, data_type, Reader::int32),
        Kind::Int64 => primitive::<Int64Type>(readers, data_type, Reader::int64),
        Kind::Int128 => primitive::<Decimal128Type>(readers, data_type, Reader::int128),
        Kind::UInt8 => primitive::<UInt8Type>(readers, data_type, Reader::uint8),
        Kind::UInt16 => primitive::<UInt16Type>(readers, data_type, Reader::uint16),
        Kind::UInt32 => primitive::<UInt32Type>(readers, data_type, Reader::uint32),
        Kind::UInt64 => primitive::<UInt64Type>(readers, data_type, Reader::uint64),
        Kind::Float32 => primitive::<Float32Type>(readers, data_type, Reader::float32),
        Kind::Float64 => primitive::<Float64Type>(readers, data_type, Reader::float64),
        Kind::Text => return match data_type {
            DataType::LargeUtf8 => bytes_column!(LargeStringBuilder::new(), readers, |builder: &mut LargeStringBuilder, bytes: &[u8]| {
                utf8(bytes).map(|text| builder.append_value(text))
            }),
            DataType::Utf8View => bytes_column!(StringViewBuilder::new(), readers, |builder: &mut StringViewBuilder, bytes: &[u8]| {
                utf8(bytes).map(|text| builder.append_value(text))
            }),
            _ => bytes_column!(StringBuilder::new(), readers, |builder: &mut StringBuilder, bytes: &[u8]| {
                utf8(bytes).map(|text| builder.append_value(text))
            }),
        },
        Kind::Bytes => return match data_type {
            DataType::LargeBinary => bytes_column!(LargeBinaryBuilder::new(), readers, |builder: &mut LargeBinaryBuilder, bytes: &[u8]| {
                builder.append_value(bytes);
                Ok::<(), ArrowError>(())
            }),
            _ => bytes_column!(BinaryBuilder::new(), readers, |builder: &mut BinaryBuilder, bytes: &[u8]| {
                builder.append_value(bytes);
                Ok::<(), ArrowError>(())
            }),
        },
        Kind::Vector(size) => {
            let DataType::FixedSizeList(item, width) = data_type else { return Err(mismatch(data_type, kind)) };
            let mut values = Float32Builder::with_capacity(readers.len() * size);
            let mut present = Vec::with_capacity(readers.len());
            for reader in readers {
                let here = reader.present();
                present.push(here);
                for _ in 0..*size {
                    values.append_value(if here { reader.float32() } else { 0.0 });
                }
            }
            Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *width, Arc::new(values.finish()), nulls(&present))?)
        }
        Kind::List(element) => {
            let mut present = Vec::with_capacity(readers.len());
            let mut lengths = Vec::with_capacity(readers.len());
            let mut elements: Vec<Reader<'row>> = Vec::new();
            for reader in readers {
                let here = reader.present();
                let before = elements.len();
                while here && reader.element() {
                    elements.push(reader.clone());
                    reader.skip(element);
                }
                present.push(here);
                lengths.push(elements.len() - before);
            }
            match data_type {
                DataType::List(item) => {
                    let values = decode(item.data_type(), element, &mut elements)?;
                    Arc::new(ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), values, nulls(&present))?)
                }
                DataType::LargeList(item) => {
                    let values = decode(item.data_type(), element, &mut elements)?;
                    Arc::new(LargeListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), values, nulls(&present))?)
                }
                _ => return Err(mismatch(data_type, kind)),
            }
        }
        Kind::Struct(kinds) => {
            let DataType::Struct(fields) = data_type else { return Err(mismatch(data_type, kind)) };
            let present: Vec<bool> = readers.iter_mut().map(Reader::present).collect();
            // A null struct has no fields' bytes: nulls are read in their place.
            let nothing = [0_u8];
            let mut columns = Vec::with_capacity(kinds.len());
            for (field, kind) in fields.iter().zip(kinds) {
                let mut inner: Vec<Reader<'_>> = readers
                    .iter()
                    .zip(&present)
                    .map(|(reader, here)| if *here { reader.clone() } else { Reader::over(&nothing) })
                    .collect();
                columns.push(decode(field.data_type(), kind, &mut inner)?);
                for (reader, here) in readers.iter_mut().zip(&present) {
                    if *here {
                        reader.skip(kind);
                    }
                }
            }
            Arc::new(StructArray::try_new(fields.clone(), columns, nulls(&present))?)
        }
    })
}

fn nulls(present: &[bool]) -> Option<NullBuffer> {
    present.contains(&false).then(|| NullBuffer::from(present.to_vec()))
}

fn mismatch(data_type: &DataType, kind: &Kind) -> ArrowError {
    ArrowError::SchemaError(format!("{data_type} is not written as {kind:?}"))
}

/// Encodes arrays of equal length, column behind column: one row per element.
///
/// # Errors
/// A type without rows, or a fixed-size list of another size than its type says.
pub fn encode(columns: &[ArrayRef], count: usize) -> Result<Vec<Row>, ArrowError> {
    let mut rows = Vec::with_capacity(count);
    let mut writer = Writer::new();
    for at in 0..count {
        for column in columns {
            put(column.as_ref(), at, &mut writer)?;
        }
        rows.push(writer.finish());
    }
    Ok(rows)
}

/// Writes one element of an array.
///
/// # Errors
/// A type without rows.
pub fn put(array: &dyn Array, at: usize, out: &mut Writer) -> Result<(), ArrowError> {
    if array.is_null(at) {
        out.null();
        return Ok(());
    }
    macro_rules! number {
        ($type:ty, $write:ident) => {
            out.$write(array.as_primitive::<$type>().value(at))
        };
    }
    use arrow::array::types::*;
    match array.data_type() {
        DataType::Null => out.null(),
        DataType::Boolean => out.bool(array.as_boolean().value(at)),
        DataType::Int8 => number!(Int8Type, int8),
        DataType::Int16 => number!(Int16Type, int16),
        DataType::Int32 => number!(Int32Type, int32),
        DataType::Int64 => number!(Int64Type, int64),
        DataType::UInt8 => number!(UInt8Type, uint8),
        DataType::UInt16 => number!(UInt16Type, uint16),
        DataType::UInt32 => number!(UInt32Type, uint32),
        DataType::UInt64 => number!(UInt64Type, uint64),
        DataType::Float32 => number!(Float32Type, float32),
        DataType::Float64 => number!(Float64Type, float64),
        DataType::Decimal128(..) => number!(Decimal128Type, int128),
        DataType::Date32 => number!(Date32Type, int32),
        DataType::Date64 => number!(Date64Type, int64),
        DataType::Time32(TimeUnit::Second) => number!(Time32SecondType, int32),
        DataType::Time32(_) => number!(Time32MillisecondType, int32),
        DataType::Time64(TimeUnit::Microsecond) => number!(Time64MicrosecondType, int64),
        DataType::Time64(_) => number!(Time64NanosecondType, int64),
        DataType::Timestamp(TimeUnit::Second, _) => number!(TimestampSecondType, int64),
        DataType::Timestamp(TimeUnit::Millisecond, _) => number!(TimestampMillisecondType, int64),
        DataType::Timestamp(TimeUnit::Microsecond, _) => number!(TimestampMicrosecondType, int64),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => number!(TimestampNanosecondType, int64),
        DataType::Duration(TimeUnit::Second) => number!(DurationSecondType, int64),
        DataType::Duration(TimeUnit::Millisecond) => number!(DurationMillisecondType, int64),
        DataType::Duration(TimeUnit::Microsecond) => number!(DurationMicrosecondType, int64),
        DataType::Duration(TimeUnit::Nanosecond) => number!(DurationNanosecondType, int64),
        DataType::Utf8 => out.text(array.as_string::<i32>().value(at)),
        DataType::LargeUtf8 => out.text(array.as_string::<i64>().value(at)),
        DataType::Utf8View => out.text(array.as_string_view().value(at)),
        DataType::Binary => out.bytes(array.as_binary::<i32>().value(at)),
        DataType::LargeBinary => out.bytes(array.as_binary::<i64>().value(at)),
        DataType::BinaryView => out.bytes(array.as_binary_view().value(at)),
        DataType::FixedSizeList(..) => {
            let values = array.as_fixed_size_list().value(at);
            out.vector(values.as_primitive::<Float32Type>().values().iter().copied());
        }
        DataType::List(_) => put_list(&array.as_list::<i32>().value(at), out)?,
        DataType::LargeList(_) => put_list(&array.as_list::<i64>().value(at), out)?,
        DataType::Struct(_) => {
            out.fields();
            for column in array.as_struct().columns() {
                put(column.as_ref(), at, out)?;
            }
        }
        DataType::Dictionary(..) => {
            let values = arrow::compute::cast(array, &dictionary_values(array.data_type()))?;
            put(values.as_ref(), at, out)?;
        }
        other => return Err(ArrowError::NotYetImplemented(format!("rows of {other}"))),
    }
    Ok(())
}

fn dictionary_values(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        other => other.clone(),
    }
}

fn put_list(values: &ArrayRef, out: &mut Writer) -> Result<(), ArrowError> {
    out.begin();
    for at in 0..values.len() {
        out.element();
        put(values.as_ref(), at, out)?;
    }
    out.end();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, Decimal128Array, FixedSizeListArray, Float64Array, Int64Array, ListArray, StringArray, StringViewArray, StructArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::Field;

    #[test]
    fn every_type_comes_back_as_it_went_in() {
        let vector = Arc::new(Field::new("item", DataType::Float32, false));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            Arc::new(Int64Array::from(vec![Some(-5), None, Some(i64::MAX)])),
            Arc::new(Float64Array::from(vec![Some(-0.5), None, Some(f64::INFINITY)])),
            Arc::new(StringArray::from(vec![Some("ääni\u{0}\u{1}"), None, Some("")])),
            Arc::new(StringViewArray::from(vec![Some("a text that is longer than twelve bytes"), None, Some("x")])),
            Arc::new(Decimal128Array::from(vec![Some(12345), None, Some(-1)]).with_precision_and_scale(20, 3).expect("a decimal")),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(-7)]).with_timezone("+00:00")),
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None, Some(vec![])])),
            Arc::new(FixedSizeListArray::try_new(
                vector,
                2,
                Arc::new(arrow::array::Float32Array::from(vec![1.0, -2.0, 0.0, 0.0, 3.5, 4.5])),
                Some(NullBuffer::from(vec![true, false, true])),
            ).expect("vectors")),
            Arc::new(StructArray::try_new(
                vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)].into(),
                vec![Arc::new(Int64Array::from(vec![Some(1), None, None])), Arc::new(StringArray::from(vec![Some("x"), None, Some("y")]))],
                Some(NullBuffer::from(vec![true, false, true])),
            ).expect("structs")),
            Arc::new(NullArray::new(3)),
        ];
        let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
        let rows = encode(&columns, 3).expect("rows");
        let back = Decoder::all(&types).decode(rows.iter()).expect("arrays");
        for (before, after) in columns.iter().zip(&back) {
            assert_eq!(before.to_data(), after.to_data(), "{}", before.data_type());
        }
        let some = Decoder::new(&types, &[3, 7]).decode(rows.iter()).expect("arrays");
        assert_eq!((some[0].to_data(), some[1].to_data()), (columns[3].to_data(), columns[7].to_data()));
        assert_eq!(kind_of(&DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano)), None);
    }
}
