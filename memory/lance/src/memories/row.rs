//! A memory as a row.

use std::path::Path;
use std::sync::Arc;

use ajatus_events::{ConversationId, InteractionId, Role, Sealed, UserId};
use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BinaryArray, BooleanArray, FixedSizeListBuilder, Float32Builder, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float32Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, UInt32Type, UInt64Type};
use chrono::{DateTime, Utc};

use crate::error::LanceError;

/// One memory at one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryRow {
    /// The turn it was made from.
    pub id: InteractionId,
    /// Whose memory.
    pub user_id: UserId,
    /// The dataflow's time of this change.
    pub epoch: u64,
    /// What it is; `None` if it is gone.
    pub content: Option<MemoryContent>,
}

/// What a memory is.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryContent {
    /// The thread.
    pub conversation_id: ConversationId,
    /// Session inside the conversation.
    pub session: u32,
    /// Position inside the conversation.
    pub position: u32,
    /// Who speaks.
    pub role: Role,
    /// When it was said; microseconds are kept.
    pub occurred_at: DateTime<Utc>,
    /// Model and version that made the vector.
    pub model: String,
    /// The sealed body, as on the log.
    pub body: Sealed,
    /// Turned by the user's secret matrix.
    pub vector: Vec<f32>,
}

/// Names and types of the columns, with vectors of `dimension` components. `id` stands first: the library looks for keys there.
#[must_use]
pub fn memories_schema(dimension: usize) -> SchemaRef {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let length = i32::try_from(dimension).unwrap_or(i32::MAX);
    // Sealed bytes do not shrink.
    let body = Field::new("body", DataType::Binary, true).with_metadata([("lance-encoding:compression".to_owned(), "none".to_owned())].into());
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("user_id", DataType::Utf8, false),
        Field::new("conversation_id", DataType::Utf8, true),
        Field::new("session", DataType::UInt32, true),
        Field::new("position", DataType::UInt32, true),
        Field::new("role", DataType::Utf8, true),
        Field::new("occurred_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("epoch", DataType::UInt64, false),
        Field::new("deleted", DataType::Boolean, false),
        Field::new("model", DataType::Utf8, true),
        body,
        Field::new("vector", DataType::FixedSizeList(item, length), true),
    ]))
}

/// Checks the vectors of rows.
pub(crate) fn check(rows: &[MemoryRow], dimension: usize) -> Result<(), LanceError> {
    for row in rows {
        let Some(content) = &row.content else { continue };
        let refused = |reason: String| LanceError::Row { id: row.id.to_string(), reason };
        if content.vector.len() != dimension {
            return Err(refused(format!("its vector has {} components, but the dataset holds {dimension}", content.vector.len())));
        }
        if let Some(at) = content.vector.iter().position(|component| !component.is_finite()) {
            return Err(refused(format!("its vector's component {at} is not finite")));
        }
    }
    Ok(())
}

/// Rows as columns.
pub(crate) fn batch(rows: &[MemoryRow], dimension: usize) -> Result<RecordBatch, arrow::error::ArrowError> {
    let contents = || rows.iter().map(|row| row.content.as_ref());
    let mut vectors = FixedSizeListBuilder::new(Float32Builder::with_capacity(rows.len() * dimension), i32::try_from(dimension).unwrap_or(i32::MAX));
    for content in contents() {
        match content {
            Some(content) => vectors.values().append_slice(&content.vector),
            None => vectors.values().append_nulls(dimension),
        }
        vectors.append(content.is_some());
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.id.to_string()))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.user_id.to_string()))),
        Arc::new(contents().map(|content| content.map(|content| content.conversation_id.to_string())).collect::<StringArray>()),
        Arc::new(contents().map(|content| content.map(|content| content.session)).collect::<UInt32Array>()),
        Arc::new(contents().map(|content| content.map(|content| content.position)).collect::<UInt32Array>()),
        Arc::new(contents().map(|content| content.map(|content| content.role.as_str())).collect::<StringArray>()),
        Arc::new(
            contents().map(|content| content.map(|content| content.occurred_at.timestamp_micros())).collect::<TimestampMicrosecondArray>().with_timezone("UTC"),
        ),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.epoch))),
        Arc::new(BooleanArray::from_iter(contents().map(|content| Some(content.is_none())))),
        Arc::new(contents().map(|content| content.map(|content| content.model.as_str())).collect::<StringArray>()),
        Arc::new(contents().map(|content| content.map(|content| content.body.0.as_slice())).collect::<BinaryArray>()),
        Arc::new(vectors.finish()),
    ];
    RecordBatch::try_new(memories_schema(dimension), columns)
}

/// Columns as rows, all of them.
pub(crate) fn rows(batch: &RecordBatch, path: &Path) -> Result<Vec<MemoryRow>, LanceError> {
    (0..batch.num_rows()).map(|at| row(batch, at).map_err(|reason| LanceError::broken(path, reason))).collect()
}

fn row(batch: &RecordBatch, at: usize) -> Result<MemoryRow, String> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"));
    let text = |name: &str| column(name)?.as_string_opt::<i32>().filter(|texts| texts.is_valid(at)).map(|texts| texts.value(at)).ok_or_else(|| empty(name));
    let number = |name: &str| column(name)?.as_primitive_opt::<UInt32Type>().filter(|numbers| numbers.is_valid(at)).map(|numbers| numbers.value(at)).ok_or_else(|| empty(name));
    let uuid = |name: &str| text(name)?.parse::<uuid::Uuid>().map_err(|error| format!("column {name}: {error}"));
    let epoch = column("epoch")?.as_primitive_opt::<UInt64Type>().ok_or_else(|| empty("epoch"))?.value(at);
    let deleted = column("deleted")?.as_boolean_opt().ok_or_else(|| empty("deleted"))?.value(at);
    let (id, user_id) = (InteractionId(uuid("id")?), UserId(uuid("user_id")?));
    if deleted {
        return Ok(MemoryRow { id, user_id, epoch, content: None });
    }
    let micros = column("occurred_at")?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| empty("occurred_at"))?.value(at);
    let vector = column("vector")?.as_fixed_size_list_opt().filter(|vectors| vectors.is_valid(at)).ok_or_else(|| empty("vector"))?.value(at);
    let content = MemoryContent {
        conversation_id: ConversationId(uuid("conversation_id")?),
        session: number("session")?,
        position: number("position")?,
        role: text("role")?.parse()?,
        occurred_at: DateTime::from_timestamp_micros(micros).ok_or_else(|| empty("occurred_at"))?,
        model: text("model")?.to_owned(),
        body: Sealed(column("body")?.as_binary_opt::<i32>().filter(|bodies| bodies.is_valid(at)).ok_or_else(|| empty("body"))?.value(at).to_vec()),
        vector: vector.as_primitive_opt::<Float32Type>().ok_or_else(|| empty("vector"))?.values().to_vec(),
    };
    Ok(MemoryRow { id, user_id, epoch, content: Some(content) })
}

fn empty(name: &str) -> String {
    format!("column {name} has no value, or one of another type")
}
