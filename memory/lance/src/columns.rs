//! Columns as the library keeps them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use lance::Dataset;

use crate::error::LanceError;

/// The type with items that may be null: the library does not keep that they may not.
pub(crate) fn loose(data_type: &DataType) -> DataType {
    let item = |field: &Field| Arc::new(Field::new(field.name(), loose(field.data_type()), true));
    match data_type {
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(item(field), *length),
        DataType::List(field) => DataType::List(item(field)),
        DataType::LargeList(field) => DataType::LargeList(item(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| item(field)).collect()),
        other => other.clone(),
    }
}

/// Refuses a dataset that has other columns than these.
pub(crate) fn same_columns(path: &Path, wanted: &Schema, dataset: &Dataset) -> Result<(), LanceError> {
    let there: Schema = dataset.schema().into();
    let plain = |schema: &Schema| schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect::<HashMap<_, _>>();
    if plain(&there) == plain(wanted) {
        return Ok(());
    }
    let names = |schema: &Schema| schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect::<Vec<_>>().join(", ");
    let reason = format!("has the columns {}, but these are written: {}", names(&there), names(wanted));
    Err(LanceError::Schema { path: path.display().to_string(), reason })
}
