//! A table of PostgreSQL as a bounded source.
//!
//! A table forgets what it was, so the first run of a ledger copies it, all rows of one moment in the order of the primary key, to a
//! file of the run folder; from there on the source is that file. Holds always: every run of the ledger reads the same rows, whatever
//! happens to the table meanwhile. Not promised: that later changes of the table are seen: another `--state`, or a changed file,
//! begins anew. After a crash: a copy that was not complete is made again; no epoch was made of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ajatus_memory::postgres::{ExportColumn, ExportForm, Postgres};
use ajatus_sql::script::{Changelog, Connector, Content, Table};
use arrow::datatypes::DataType;
use tokio::runtime::Handle;

use super::elsewhere::Elsewhere;
use super::error::StreamError;
use super::read::Lines;

/// The source; `lines` is there once the run has begun.
pub(crate) struct Copied {
    db: Postgres,
    name: String,
    table: String,
    columns: Vec<ExportColumn>,
    key: Vec<String>,
    handle: Handle,
    pub(crate) lines: Option<Lines>,
}

impl Copied {
    /// A source for these columns of a table.
    pub(crate) fn new(table: &Table, columns: &[usize], elsewhere: &Elsewhere, handle: &Handle) -> Result<Self, StreamError> {
        let Connector::Postgres { table: named, url } = &table.connector else { unreachable!("asked for tables of Postgres alone") };
        let refuse = |what: String, hint: &str| StreamError::Unsupported { what, hint: hint.to_owned() };
        if table.changelog != Changelog::Append {
            return Err(refuse(format!("a changelog in the table {named:?} of Postgres"), "a table holds rows, not changes; leave changelog out"));
        }
        let db = elsewhere.database(url.as_ref()).cloned();
        let db = db.ok_or_else(|| refuse(format!("table {:?} reads Postgres", table.name), "run it on a data folder, or give it a url"))?;
        let columns = columns.iter().map(|column| &table.columns[*column]);
        let columns = columns.map(|column| ExportColumn { name: column.name.clone(), form: form(&column.data_type, column.content) }).collect();
        let key = table.primary_key.iter().map(|column| table.columns[*column].name.clone()).collect();
        Ok(Self { db, name: table.name.clone(), table: named.clone(), columns, key, handle: handle.clone(), lines: None })
    }

    /// Copies the table, or takes the copy that this ledger has.
    pub(crate) fn begin(&mut self, folder: Option<&Path>, ledger: &str) -> Result<(), StreamError> {
        let folder = folder.ok_or_else(|| StreamError::Unsupported {
            what: format!("table {:?} is copied when it is read", self.name),
            hint: "give the run a folder with --state".to_owned(),
        })?;
        let prefix = prefix(&self.name);
        let path = folder.join(format!("{prefix}{ledger}.jsonl"));
        if !path.exists() {
            self.copy(&path)?;
        }
        self.lines = Some(Lines::open(&path.display().to_string(), false)?);
        forget(folder, &prefix, &path)
    }

    fn copy(&self, path: &Path) -> Result<(), StreamError> {
        let io = |source: std::io::Error| StreamError::Io { path: path.display().to_string(), source };
        let beside = path.with_extension("new");
        let mut out = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(&beside).map_err(io)?);
        self.handle.block_on(self.db.export(&self.table, &self.columns, &self.key, |row| writeln!(out, "{row}").map_err(io)))?;
        let file = out.into_inner().map_err(|error| io(error.into_error()))?;
        file.sync_all().map_err(io)?;
        std::fs::rename(&beside, path).map_err(io)
    }
}

/// How the copies of a table are called: by letters of its name that a file name may hold, and what tells it from all others.
pub(super) fn prefix(name: &str) -> String {
    let plain: String = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).take(40).collect();
    let hash: String = blake3::hash(name.as_bytes()).to_hex().chars().take(8).collect();
    format!("rows-{plain}-{hash}.")
}

/// Removes copies of earlier ledgers.
pub(super) fn forget(folder: &Path, prefix: &str, current: &Path) -> Result<(), StreamError> {
    let io = |source: std::io::Error| StreamError::Io { path: folder.display().to_string(), source };
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path: PathBuf = entry.map_err(io)?.path();
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        if ours && path != current {
            std::fs::remove_file(&path).map_err(io)?;
        }
    }
    Ok(())
}

/// How a column travels, so that the decoder of records reads it back to the digit.
fn form(data_type: &DataType, content: Content) -> ExportForm {
    match (content, data_type) {
        (Content::Json, _) => ExportForm::Json,
        (Content::Uuid, _) | (_, DataType::Decimal128(..) | DataType::Utf8) => ExportForm::Text,
        (_, DataType::Binary) => ExportForm::Base64,
        (_, DataType::Timestamp(_, Some(_))) => ExportForm::Utc,
        (_, DataType::FixedSizeList(..)) => ExportForm::List,
        _ => ExportForm::Json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_one_table_are_never_taken_for_those_of_another() {
        let names = ["a", "a.b", "a/b", "a b", "ä", "../a"];
        for (at, name) in names.iter().enumerate() {
            assert!(!prefix(name).contains('/'), "{name}");
            for other in &names[at + 1..] {
                assert!(!prefix(other).starts_with(&prefix(name)) && !prefix(name).starts_with(&prefix(other)), "{name} {other}");
            }
        }
    }

    #[test]
    fn forgets_only_the_copies_of_its_own_table() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").expect("a file");
            path
        };
        let (old, new) = (file(&format!("{}1.jsonl", prefix("a"))), file(&format!("{}2.jsonl", prefix("a"))));
        let others = [file(&format!("{}1.jsonl", prefix("a.b"))), file("ledger")];
        forget(folder.path(), &prefix("a"), &new).expect("forgotten");
        assert!(!old.exists() && new.exists() && others.iter().all(|other| other.exists()));
    }
}
