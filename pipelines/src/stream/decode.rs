//! Records of a source to rows, in the threads of the dataflow.

use std::borrow::Cow;

use ajatus_operators::row::{Row, Writer};
use ajatus_sql::record::{BadRecord, CsvReader, JsonReader};
use ajatus_sql::script::{Changelog, Connector, FileFormat, Table};

use super::replay::{Replayed, TOMBSTONE};

/// Records on their way to a thread.
pub(crate) enum Payload {
    /// Documents or lines of a file, one after the other.
    Lines {
        bytes: Vec<u8>,
        /// Offset of the first byte in the file.
        offset: u64,
        /// The file's first line, if it names the columns.
        header: Option<std::sync::Arc<str>>,
    },
    /// Records of a log: partition, offset, key, value.
    Log(Vec<(u32, u64, Vec<u8>, Option<Vec<u8>>)>),
    /// Rows that were decoded by the reader, with their weights.
    Rows(Vec<(Row, i64)>),
    /// Another process reads them.
    Elsewhere,
    /// Dead letters that are read again.
    Replayed(Vec<Replayed>),
}

/// A record that gives no row.
pub(crate) struct Refused {
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    /// `partition:offset`.
    pub(crate) origin: String,
    pub(crate) raw: Vec<u8>,
    /// 1, or -1 if an earlier refusal is taken back.
    pub(crate) diff: isize,
}

impl Refused {
    fn new(error: BadRecord, origin: String, raw: &[u8]) -> Self {
        Self { code: Cow::Borrowed(error.code), message: error.message, origin, raw: raw.to_vec(), diff: 1 }
    }
}

enum Reader {
    Json(JsonReader),
    /// Made when the first lines come, because the header may name the columns.
    Csv(Option<CsvReader>, u8),
}

/// Decodes the records of one source.
pub(crate) struct Decoder {
    table: Table,
    columns: Vec<usize>,
    /// For upserts: the columns are read as key and rest, and a sequence number stands between.
    reader: Reader,
    upsert: bool,
    writer: Writer,
    key_reader: Option<JsonReader>,
}

impl Decoder {
    pub(crate) fn new(table: &Table, columns: &[usize]) -> Self {
        let upsert = table.changelog == Changelog::Upsert;
        let mut wanted = columns.to_vec();
        if upsert {
            wanted.retain(|column| !table.primary_key.contains(column));
        }
        let diff = match table.changelog {
            Changelog::Signed { diff } => Some(diff),
            _ => None,
        };
        let reader = match &table.connector {
            Connector::File { format: FileFormat::Csv { delimiter, .. }, .. } => Reader::Csv(None, *delimiter),
            _ => Reader::Json(JsonReader::new(table, &wanted, diff.map(|diff| table.columns[diff].name.as_str()))),
        };
        let key_reader = upsert.then(|| JsonReader::new(table, &table.primary_key, None));
        Self { table: table.clone(), columns: wanted, reader, upsert, writer: Writer::new(), key_reader }
    }

    /// Gives every record's row and weight to `row`, or what is wrong with it to `refuse`.
    pub(crate) fn decode(&mut self, payload: Payload, mut row: impl FnMut(Row, isize), mut refuse: impl FnMut(Refused)) {
        match payload {
            Payload::Elsewhere => {}
            Payload::Rows(rows) => rows.into_iter().for_each(|(value, diff)| row(value, diff as isize)),
            Payload::Lines { bytes, offset, header } => {
                let mut from = 0;
                while from < bytes.len() {
                    let end = memchr::memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |end| from + end);
                    let line = &bytes[from..end];
                    let at = offset + from as u64;
                    from = end + 1;
                    if line.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    match self.record(None, Some(line), at, header.as_deref()) {
                        Ok((value, diff)) => row(value, diff as isize),
                        Err(error) => refuse(Refused::new(error, format!("0:{at}"), line)),
                    }
                }
            }
            Payload::Log(records) => {
                for (partition, offset, key, value) in records {
                    // Offsets of one key grow, because a key has one partition.
                    match self.record(Some(&key), value.as_deref(), offset, None) {
                        Ok((value, diff)) => row(value, diff as isize),
                        Err(error) => {
                            // A deletion has no record that could be read again.
                            let code = if value.is_none() { TOMBSTONE } else { error.code };
                            refuse(Refused::new(BadRecord { code, ..error }, format!("{partition}:{offset}"), value.as_deref().unwrap_or(&key)));
                        }
                    }
                }
            }
            Payload::Replayed(letters) => {
                for Replayed { letter: (code, message, origin, raw), record, sequence, origin: again, header } in letters {
                    refuse(Refused { code, message, origin, raw, diff: -1 });
                    match self.record(None, Some(&record), sequence, header.as_deref()) {
                        Ok((value, diff)) => row(value, diff as isize),
                        Err(error) => refuse(Refused::new(error, again, &record)),
                    }
                }
            }
        }
    }

    fn record(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, sequence: u64, header: Option<&str>) -> Result<(Row, i64), BadRecord> {
        if !self.upsert {
            let Some(value) = value else {
                return Err(BadRecord { code: "decode.tombstone", message: "a record without a value, in a table that is not changelog = 'upsert'".to_owned() });
            };
            return self.plain(value, header);
        }
        let live = value.is_some();
        let Some(document) = value.or(key) else {
            return Err(BadRecord { code: "decode.syntax", message: "a record with neither key nor value".to_owned() });
        };
        let key_row = match &mut self.key_reader {
            Some(reader) => reader.row(document)?.0,
            None => Row::default(),
        };
        let rest = match value {
            Some(value) => self.plain(value, header)?.0,
            None => Row::default(),
        };
        self.writer.clear();
        self.writer.encoded(key_row.bytes());
        self.writer.uint64(sequence);
        self.writer.bool(live);
        self.writer.encoded(rest.bytes());
        Ok((self.writer.finish(), 1))
    }

    fn plain(&mut self, value: &[u8], header: Option<&str>) -> Result<(Row, i64), BadRecord> {
        match &mut self.reader {
            Reader::Json(reader) => reader.row(value),
            Reader::Csv(reader, delimiter) => {
                let reader = match reader {
                    Some(reader) => reader,
                    None => {
                        let diff = match self.table.changelog {
                            Changelog::Signed { diff } => Some(diff),
                            _ => None,
                        };
                        reader.insert(CsvReader::new(&self.table, &self.columns, diff, *delimiter, header)?)
                    }
                };
                reader.row(value)
            }
        }
    }
}
