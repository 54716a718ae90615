//! Conversations as a Parquet file, for those who train a model on them.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringBuilder, StructBuilder};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

/// Conversations of one batch of the file.
const BATCH: usize = 1_000;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingMessage {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The words.
    pub content: String,
}

/// One conversation, in the form that chat models are trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingConversation {
    /// What is said, in order.
    pub messages: Vec<TrainingMessage>,
    /// A hash that says which conversations are one, and nothing else.
    pub conversation: String,
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingFileError {
    /// The columns could not be built.
    #[error("the columns cannot be built: {0}")]
    Columns(#[from] ArrowError),
    /// The file could not be written; the operating system's reason stands in it.
    #[error("the file cannot be written: {0}")]
    Write(#[from] ParquetError),
}

fn message_fields() -> Fields {
    Fields::from(vec![Field::new("role", DataType::Utf8, false), Field::new("content", DataType::Utf8, false)])
}

fn schema() -> Arc<Schema> {
    let item = Field::new("item", DataType::Struct(message_fields()), false);
    Arc::new(Schema::new(vec![Field::new("messages", DataType::List(Arc::new(item)), false), Field::new("conversation", DataType::Utf8, false)]))
}

fn batch(of: &[TrainingConversation], schema: &Arc<Schema>) -> Result<RecordBatch, ArrowError> {
    let item = Field::new("item", DataType::Struct(message_fields()), false);
    let mut messages = ListBuilder::new(StructBuilder::from_fields(message_fields(), 0)).with_field(item);
    let mut names = StringBuilder::new();
    for one in of {
        for message in &one.messages {
            let fields = messages.values();
            for (at, text) in [&message.role, &message.content].into_iter().enumerate() {
                fields.field_builder::<StringBuilder>(at).expect("both fields are text").append_value(text);
            }
            fields.append(true);
        }
        messages.append(true);
        names.append_value(&one.conversation);
    }
    RecordBatch::try_new(Arc::clone(schema), vec![Arc::new(messages.finish()) as ArrayRef, Arc::new(names.finish())])
}

/// Writes one batch of rows as Parquet, zstd. The same rows give the same bytes.
///
/// # Errors
/// [`TrainingFileError::Write`] when the writer does.
pub fn write_parquet<W: Write + Send>(to: W, rows: &RecordBatch) -> Result<(), TrainingFileError> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(to, rows.schema(), Some(properties))?;
    writer.write(rows)?;
    writer.close()?;
    Ok(())
}

/// Writes conversations as Parquet: `messages` (a list of `role` and `content`) and `conversation`; zstd. The same conversations give the same bytes.
///
/// # Errors
/// [`TrainingFileError::Write`] when the writer does.
pub fn write_training_parquet<W: Write + Send>(to: W, conversations: &[TrainingConversation]) -> Result<(), TrainingFileError> {
    let schema = schema();
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(to, Arc::clone(&schema), Some(properties))?;
    for part in conversations.chunks(BATCH) {
        writer.write(&batch(part, &schema)?)?;
    }
    writer.close()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, AsArray as _};
    use arrow::datatypes::GenericStringType;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_the_bytes_are_always_the_same() {
        let message = |role: &str, content: String| TrainingMessage { role: role.to_owned(), content };
        let conversations: Vec<TrainingConversation> = (0..2_500)
            .map(|at| TrainingConversation {
                messages: (0..at % 4).flat_map(|turn| [message("user", format!("yö {at} {turn}")), message("assistant", format!("\"{turn}\"\n"))]).collect(),
                conversation: format!("c{at}"),
            })
            .collect();
        let write = |of: &[TrainingConversation]| {
            let mut bytes = Vec::new();
            write_training_parquet(&mut bytes, of).expect("written");
            bytes
        };
        let bytes = write(&conversations);
        assert_eq!(bytes, write(&conversations));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.parquet");
        std::fs::write(&path, bytes).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path).expect("a file")).expect("Parquet").build().expect("a reader");
        let mut read = Vec::new();
        for batch in reader {
            let batch = batch.expect("a batch");
            let (lists, names) = (batch.column(0).as_list::<i32>(), batch.column(1).as_bytes::<GenericStringType<i32>>());
            for row in 0..batch.num_rows() {
                let list = lists.value(row);
                let fields = list.as_struct();
                let (roles, contents) = (fields.column(0).as_string::<i32>(), fields.column(1).as_string::<i32>());
                let messages = (0..fields.len()).map(|at| message(roles.value(at), contents.value(at).to_owned())).collect();
                read.push(TrainingConversation { messages, conversation: names.value(row).to_owned() });
            }
        }
        assert!(read == conversations);
        assert!(!write(&[]).is_empty(), "no conversation is a file too");
    }
}
