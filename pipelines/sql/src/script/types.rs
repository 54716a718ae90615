//! Column types, from SQL to Arrow.
//!
//! `real` and `float` are 32 bits wide as in DataFusion. A type is refused if it promises what nobody would check: a length, a
//! precision that is not kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, CharacterLength, DataType as Sql, ExactNumberInfo, TimezoneInfo};

use super::settings::filled;
use crate::diagnostic::{Code, Diagnostic, closest, shorten};

/// What the text of a column means beyond its Arrow type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// Nothing more.
    Plain,
    /// A JSON value of any kind, kept as its text.
    Json,
    /// A UUID in its canonical text form.
    Uuid,
}

/// The longest vector.
const LONGEST_VECTOR: i32 = 16_384;
/// Digits of a decimal.
const MOST_DIGITS: u64 = 38;
const KNOWN: &str = "types are boolean, tinyint, smallint, int, bigint (each also unsigned), real, double precision,
decimal(p, s), text, bytea, date, timestamp, timestamptz, json, uuid, vector(n), and lists of them such as text[]";
const NAMES: [&str; 20] = [
    "boolean",
    "tinyint",
    "smallint",
    "integer",
    "bigint",
    "real",
    "float",
    "double",
    "decimal",
    "numeric",
    "text",
    "varchar",
    "string",
    "bytea",
    "date",
    "timestamp",
    "timestamptz",
    "json",
    "uuid",
    "vector",
];

/// Gives the Arrow type of a column and what its text means; `settings` are what `${NAME}` stands for.
pub(super) fn arrow(sql: &Sql, settings: &BTreeMap<String, String>) -> Result<(DataType, Content), Diagnostic> {
    if let Sql::Custom(name, sizes) = sql
        && let [size] = sizes.as_slice()
        && size.contains("${")
    {
        let size = filled(size, settings)
            .map_err(|setting| refuse(format!("the length names ${{{setting}}}, which has no value"), format!("give it one with --set {setting}=…")))?;
        return arrow(&Sql::Custom(name.clone(), vec![size]), &BTreeMap::new());
    }
    if let Sql::Array(element) = sql {
        return list(sql, element).map(|list| (list, Content::Plain));
    }
    let content = match sql {
        Sql::JSON | Sql::JSONB => Content::Json,
        Sql::Uuid => Content::Uuid,
        _ => Content::Plain,
    };
    scalar(sql).map(|scalar| (scalar, content))
}

fn list(sql: &Sql, element: &ArrayElemTypeDef) -> Result<DataType, Diagnostic> {
    let element = match element {
        ArrayElemTypeDef::SquareBracket(_, Some(size)) => {
            let hint = format!("write vector({size}) for numbers of an embedding, or the list without its length");
            return Err(refuse(format!("the length of {} would not be checked", written(sql)), hint));
        }
        ArrayElemTypeDef::AngleBracket(element) | ArrayElemTypeDef::SquareBracket(element, None) => element,
        ArrayElemTypeDef::Parenthesis(_) | ArrayElemTypeDef::None => {
            return Err(refuse("a list needs the type of its elements", "write it as text[] or array<text>"));
        }
    };
    let item = match element.as_ref() {
        Sql::Array(_) => return Err(refuse("lists of lists are not kept", "keep the inner list as json")),
        element => scalar(element)?,
    };
    if matches!(item, DataType::FixedSizeList(..)) {
        return Err(refuse("lists of vectors are not kept", "give each vector a row of its own"));
    }
    Ok(DataType::List(Arc::new(Field::new_list_field(item, true))))
}

fn scalar(sql: &Sql) -> Result<DataType, Diagnostic> {
    Ok(match sql {
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::TinyInt(None) => DataType::Int8,
        Sql::SmallInt(None) | Sql::Int2(None) => DataType::Int16,
        Sql::Int(None) | Sql::Integer(None) | Sql::Int4(None) => DataType::Int32,
        Sql::BigInt(None) | Sql::Int8(None) => DataType::Int64,
        Sql::TinyIntUnsigned(None) => DataType::UInt8,
        Sql::SmallIntUnsigned(None) | Sql::Int2Unsigned(None) => DataType::UInt16,
        Sql::IntUnsigned(None) | Sql::IntegerUnsigned(None) | Sql::Int4Unsigned(None) => DataType::UInt32,
        Sql::BigIntUnsigned(None) | Sql::Int8Unsigned(None) => DataType::UInt64,
        Sql::Real | Sql::Float4 | Sql::Float(ExactNumberInfo::None) => DataType::Float32,
        Sql::Double(ExactNumberInfo::None) | Sql::DoublePrecision | Sql::Float8 => DataType::Float64,
        Sql::Decimal(info) | Sql::Numeric(info) | Sql::Dec(info) => decimal(*info)?,
        Sql::Text | Sql::String(None) | Sql::JSON | Sql::JSONB | Sql::Uuid => DataType::Utf8,
        Sql::Varchar(length) | Sql::CharacterVarying(length) | Sql::CharVarying(length) => text(sql, length.as_ref())?,
        Sql::Char(length) | Sql::Character(length) => text(sql, length.as_ref())?,
        Sql::Bytea | Sql::Blob(None) => DataType::Binary,
        Sql::Date => DataType::Date32,
        Sql::Timestamp(None | Some(6), zone) => timestamp(*zone),
        Sql::Timestamp(Some(_), _) => {
            let hint = "leave the precision out";
            return Err(refuse(format!("{} is kept in microseconds, as every timestamp", written(sql)), hint));
        }
        Sql::Custom(name, sizes) if name.to_string().eq_ignore_ascii_case("vector") => vector(sizes)?,
        other => return Err(unknown(other)),
    })
}

fn decimal(info: ExactNumberInfo) -> Result<DataType, Diagnostic> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => {
            return Err(refuse("a decimal needs its digits", "write decimal(18, 2) for 18 digits, 2 of them behind the point"));
        }
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let digits = u8::try_from(precision).ok().filter(|digits| (1..=MOST_DIGITS).contains(&u64::from(*digits)));
    let behind = i8::try_from(scale).ok().filter(|behind| *behind >= 0);
    match (digits, behind) {
        (Some(digits), Some(behind)) if i16::from(behind) <= i16::from(digits) => Ok(DataType::Decimal128(digits, behind)),
        _ => {
            let message = format!("decimal({precision}, {scale}) is out of bounds");
            Err(refuse(message, "it has 1 to 38 digits, and not more of them behind the point"))
        }
    }
}

fn text(sql: &Sql, length: Option<&CharacterLength>) -> Result<DataType, Diagnostic> {
    match length {
        None => Ok(DataType::Utf8),
        Some(_) => Err(refuse(format!("the length of {} would not be checked", written(sql)), "write text")),
    }
}

fn timestamp(zone: TimezoneInfo) -> DataType {
    let zone = match zone {
        TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => None,
        TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => Some("+00:00".into()),
    };
    DataType::Timestamp(TimeUnit::Microsecond, zone)
}

fn vector(sizes: &[String]) -> Result<DataType, Diagnostic> {
    let size = match sizes {
        [size] => size.parse::<i32>().ok().filter(|size| (1..=LONGEST_VECTOR).contains(size)),
        _ => None,
    };
    let Some(size) = size else {
        let message = if sizes.is_empty() { "a vector needs its length" } else { "the length of the vector is out of bounds" };
        return Err(refuse(message, "write vector(n) with n from 1 to 16384, the model's dimensions"));
    };
    Ok(DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, false)), size))
}

fn unknown(sql: &Sql) -> Diagnostic {
    let near = match sql {
        Sql::Custom(name, _) => closest(&name.to_string(), NAMES),
        Sql::Datetime(_) => Some("timestamp"),
        _ => None,
    };
    let hint = near.map_or_else(|| KNOWN.to_owned(), |near| format!("did you mean {near}?"));
    refuse(format!("columns of type {} are not kept", written(sql)), hint)
}

/// Gives a type as it is written in a file.
fn written(sql: &Sql) -> String {
    shorten(&sql.to_string().to_lowercase())
}

fn refuse(message: impl Into<String>, hint: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::UnsupportedType, message).hint(hint)
}
