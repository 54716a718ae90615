//! `create table`: columns, primary key, and what the table stands for.

use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::connector::{Connector, connect};
use super::cursor::{Cursor, Name};
use super::options::Scope;
use super::settings::{Settings, read, settle};
use super::types::{Content, arrow};
use crate::diagnostic::{Code, Diagnostic, Span};

/// A table of the outside world, read or written.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The whole statement.
    pub span: Span,
    /// The name in the statement.
    pub name_span: Span,
    /// Its columns, at least one.
    pub columns: Vec<Column>,
    /// Positions of the primary key's columns in the order of the key; empty without one.
    pub primary_key: Vec<usize>,
    /// What it stands for.
    pub connector: Connector,
    /// Whether it is read or written.
    pub direction: Direction,
    /// Position of the timestamp column by which windows close; sources only.
    pub event_time: Option<usize>,
    /// What a record of a source means; append for sinks.
    pub changelog: Changelog,
    /// What happens with a record that does not fit the columns; dead letters for sinks.
    pub bad_data: BadData,
    /// What a crash may do to the rows of a sink; exactly once for sources, which are read from recorded offsets.
    pub mode: Mode,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, folded unless quoted.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// What its text means beyond the type.
    pub content: Content,
    /// Whether it may be null; never in a primary key.
    pub nullable: bool,
    /// Name, type and constraints.
    pub span: Span,
}

/// Whether a table is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Read.
    Source,
    /// Written.
    Sink,
}

/// What a record of a source means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Changelog {
    /// One more row.
    Append,
    /// The new row of its primary key.
    Upsert,
    /// One row more or less, as the column at this position says with +1 or -1.
    Signed {
        /// Position of the bigint column.
        diff: usize,
    },
}

/// What happens with a record that does not fit the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadData {
    /// It is set aside with its error.
    DeadLetter,
    /// The pipeline stops.
    Fail,
}

/// What a crash may do to the rows of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Nothing.
    ExactlyOnce,
    /// Some rows may be written again.
    AtLeastOnce,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Sink => "sink",
        })
    }
}

/// Names of a key, and where they are written.
type Key = (Vec<Name>, Span);

/// Reads what follows `create table`.
pub(super) fn parse(cursor: &mut Cursor<'_>, errors: &mut Vec<Diagnostic>) -> Result<Option<Table>, Diagnostic> {
    let before = errors.len();
    let name = cursor.name("a table's name")?;
    if cursor.peek_word(0, "as") {
        let found = Diagnostic::new(Code::UnsupportedClause, "a table is not made from a query").at(cursor.here());
        return Err(found.hint(format!("write `create view {} as …`", name.text)));
    }
    let mut columns: Vec<Column> = Vec::new();
    let mut keys: Vec<Key> = Vec::new();
    if cursor.accept_token(&Token::LParen) && !cursor.accept_token(&Token::RParen) {
        loop {
            item(cursor, &mut columns, &mut keys, errors)?;
            if !cursor.accept_token(&Token::Comma) {
                break;
            }
        }
        if !cursor.accept_token(&Token::RParen) {
            return Err(clause(cursor).unwrap_or_else(|| cursor.unexpected("`,` or `)` after a column")));
        }
    }
    if columns.is_empty() {
        let found = Diagnostic::new(Code::NoColumns, format!("\"{}\" has no columns", name.text)).at(name.span);
        errors.push(found.hint("columns are not guessed from the data: list them with their types"));
    }
    let given = if cursor.accept(&["with"]) {
        read(cursor)?
    } else if cursor.peek(0) == &Token::EOF {
        Vec::new()
    } else {
        return Err(clause(cursor).unwrap_or_else(|| cursor.unexpected("`with`")));
    };
    cursor.finish()?;

    let primary_key = primary_key(&mut columns, &keys, errors);
    let settings = settle(Scope::Table, given, &name, errors);
    let Some(direction) = settings.direction else { return Ok(None) };
    let event_time = event_time(&columns, &settings, errors);
    let changelog = changelog(&columns, &primary_key, &settings, &name, errors);
    let (connector, mode) = connect(&settings, &name, &primary_key, direction, errors);
    let bad_data = if settings.choice("bad_data") == "fail" { BadData::Fail } else { BadData::DeadLetter };
    let span = cursor.whole();
    let (name, name_span) = (name.text, name.span);
    let table =
        Table { name, span, name_span, columns, primary_key, connector, direction, event_time, changelog, bad_data, mode };
    Ok((errors.len() == before).then_some(table))
}

/// Reads one column or the primary key.
fn item(
    cursor: &mut Cursor<'_>,
    columns: &mut Vec<Column>,
    keys: &mut Vec<Key>,
    errors: &mut Vec<Diagnostic>,
) -> Result<(), Diagnostic> {
    let start = cursor.here();
    if cursor.peek_word(0, "primary") && cursor.peek_word(1, "key") {
        cursor.skip(2);
        let names = cursor.names("a column's name")?;
        keys.push((names, start.to(cursor.last())));
        return Ok(());
    }
    if let Some(refused) = table_clause(cursor) {
        return Err(refused);
    }
    let name = cursor.name("a column's name")?;
    if matches!(cursor.peek(0), Token::Comma | Token::RParen) {
        return Err(cursor.unexpected(&format!("the type of column \"{}\"", name.text)));
    }
    let (sql, type_span) = cursor.sql(|parser| parser.parse_data_type())?;
    let (data_type, content) = arrow(&sql, &cursor.source().settings).unwrap_or_else(|refused| {
        errors.push(refused.at(type_span));
        (DataType::Utf8, Content::Plain)
    });
    let mut nullable = true;
    loop {
        if cursor.accept(&["not", "null"]) {
            nullable = false;
        } else if cursor.accept(&["primary", "key"]) {
            keys.push((vec![name.clone()], name.span.to(cursor.last())));
        } else if !cursor.accept(&["null"]) {
            break;
        }
    }
    if columns.iter().any(|column| column.name == name.text) {
        let message = format!("column \"{}\" is named twice", name.text);
        errors.push(Diagnostic::new(Code::DuplicateColumn, message).at(name.span).hint("leave one of them out"));
    }
    columns.push(Column { name: name.text, data_type, content, nullable, span: name.span.to(cursor.last()) });
    Ok(())
}

/// Refuses what other systems allow in place of a column.
fn table_clause(cursor: &Cursor<'_>) -> Option<Diagnostic> {
    let refuse = |what: &str, hint: &str| {
        Some(Diagnostic::new(Code::UnsupportedClause, format!("{what} is not supported")).at(cursor.here()).hint(hint))
    };
    if cursor.peek_word(0, "watermark") && cursor.peek_word(1, "for") {
        return refuse("`watermark for`", "name the column in the options: with (event_time = 'column')");
    }
    if cursor.peek_word(0, "constraint") {
        return refuse("a named constraint", "write `primary key (…)` alone");
    }
    let checks = ["unique", "check", "foreign"].iter().any(|word| cursor.peek_word(0, word));
    let follows = cursor.peek(1) == &Token::LParen || cursor.peek_word(1, "key");
    if checks && follows { refuse("this constraint", "only `not null` and `primary key` are checked") } else { None }
}

/// Refuses what other systems allow after a column or a table.
fn clause(cursor: &Cursor<'_>) -> Option<Diagnostic> {
    let hint = match cursor.peek(0) {
        Token::Word(word) => match word.value.to_ascii_lowercase().as_str() {
            "default" => "give a missing value with coalesce(column, value) in a view",
            "generated" | "as" => "compute the column in a view",
            "metadata" => "only the record's own fields can be columns",
            "unique" | "check" | "references" | "collate" | "constraint" => "only `not null` and `primary key` are checked",
            "partitioned" | "partition" | "clustered" | "distributed" => "rows are distributed by the keys of the queries",
            "comment" => "write a comment with --",
            _ => return None,
        },
        _ => return None,
    };
    let message = format!("`{}` is not supported", cursor.peek(0).to_string().to_lowercase());
    Some(Diagnostic::new(Code::UnsupportedClause, message).at(cursor.here()).hint(hint))
}

/// Finds the key's columns and makes them not null.
fn primary_key(columns: &mut [Column], keys: &[Key], errors: &mut Vec<Diagnostic>) -> Vec<usize> {
    if let Some((_, span)) = keys.get(1) {
        let found = Diagnostic::new(Code::BadPrimaryKey, "the table has two primary keys").at(*span);
        errors.push(found.hint("a key of several columns is written as primary key (a, b)"));
    }
    let mut positions = Vec::new();
    for name in keys.first().map_or(&[][..], |(names, _)| names) {
        match columns.iter().position(|column| column.name == name.text) {
            Some(at) if positions.contains(&at) => {
                let message = format!("the primary key names \"{}\" twice", name.text);
                errors.push(Diagnostic::new(Code::BadPrimaryKey, message).at(name.span));
            }
            Some(at) => {
                columns[at].nullable = false;
                positions.push(at);
            }
            None => {
                let message = format!("the primary key names \"{}\", which is not a column", name.text);
                let found = Diagnostic::new(Code::BadPrimaryKey, message).at(name.span);
                errors.push(found.suggest(&name.text, columns.iter().map(|column| column.name.as_str())));
            }
        }
    }
    positions
}

fn event_time(columns: &[Column], settings: &Settings, errors: &mut Vec<Diagnostic>) -> Option<usize> {
    let name = settings.text("event_time")?;
    let span = settings.span("event_time");
    let at = columns.iter().position(|column| column.name == name);
    match at.map(|at| &columns[at].data_type) {
        Some(DataType::Timestamp(..)) => return at,
        Some(_) => {
            let found = Diagnostic::new(Code::BadEventTime, format!("event time \"{name}\" is not a timestamp")).at(span);
            errors.push(found.hint("declare the column as timestamp or timestamptz"));
        }
        None => {
            let found = Diagnostic::new(Code::BadEventTime, format!("event time \"{name}\" is not a column")).at(span);
            errors.push(found.suggest(&name, columns.iter().map(|column| column.name.as_str())));
        }
    }
    None
}

fn changelog(columns: &[Column], key: &[usize], settings: &Settings, owner: &Name, errors: &mut Vec<Diagnostic>) -> Changelog {
    let (kind, span) = (settings.choice("changelog"), settings.span("changelog"));
    if let Some(given) = settings.span("diff_column").filter(|_| kind != "signed") {
        let found = Diagnostic::new(Code::OptionNotHere, "option \"diff_column\" is only read if changelog = 'signed'");
        errors.push(found.at(given).hint("add changelog = 'signed', or leave it out"));
    }
    match kind {
        "upsert" => {
            if key.is_empty() {
                let message = format!("an upsert changelog needs a primary key, and \"{}\" has none", owner.text);
                let found = Diagnostic::new(Code::BadChangelog, message).at(span);
                errors.push(found.hint("add `primary key` to the column by which a record replaces the one before it"));
            }
            Changelog::Upsert
        }
        "signed" => {
            let name = settings.text("diff_column").unwrap_or_default();
            let place = settings.span("diff_column").or(span);
            let at = columns.iter().position(|column| column.name == name && column.data_type == DataType::Int64);
            if at.is_none() {
                let message = format!("a signed changelog needs a bigint column \"{name}\"");
                let found = Diagnostic::new(Code::BadChangelog, message).at(place);
                errors.push(found.hint("add the column, or name another one with diff_column = 'column'"));
            }
            Changelog::Signed { diff: at.unwrap_or_default() }
        }
        _ => Changelog::Append,
    }
}
