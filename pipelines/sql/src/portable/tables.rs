//! `create table` in Arroyo's dialect: types, options, and what has no equivalent there.

use datafusion::arrow::datatypes::DataType;

use super::Surroundings;
use super::text::{Text, name, quoted};
use crate::diagnostic::{Code, Diagnostic};
use crate::pipeline::sql_type;
use crate::script::{BadData, Changelog, Column, Connector, Content, Direction, FileFormat, Mode, PrintFormat, RecordFormat, StartingOffsets, Table};

/// Writes a table, or says why it cannot be one there. `changing`: rows of the sink are corrected later.
pub(super) fn write(table: &Table, changing: bool, surroundings: &Surroundings, text: &mut Text, errors: &mut Vec<Diagnostic>) {
    let before = errors.len();
    let mut options: Vec<(&str, String)> = Vec::new();
    connector(table, changing, surroundings, &mut options, text, errors);
    changelog(table, errors);
    if table.direction == Direction::Source {
        bad_data(table, &mut options, text);
    }
    let mut columns = Vec::with_capacity(table.columns.len());
    for column in &table.columns {
        match column_type(column) {
            Ok(data_type) => columns.push((format!("{} {data_type}{}", name(&column.name), if column.nullable { "" } else { " not null" }), column.span)),
            Err(found) => errors.push(found),
        }
    }
    if errors.len() > before {
        return;
    }
    text.made(&format!("create table {} (\n", name(&table.name)), table.name_span);
    let last = columns.len() - 1;
    for (at, (column, span)) in columns.into_iter().enumerate() {
        text.made(&format!("  {column}{}", if at < last { ",\n" } else { "" }), span);
    }
    if !table.primary_key.is_empty() {
        let key: Vec<String> = table.primary_key.iter().map(|column| name(&table.columns[*column].name)).collect();
        text.made(&format!(",\n  primary key ({})", key.join(", ")), table.name_span);
    }
    if let Some(column) = table.event_time.map(|column| &table.columns[column]) {
        text.made(&format!(",\n  watermark for {}", name(&column.name)), column.span);
        text.note(table.name_span, format!("rows of \"{}\" that come after their window has closed are dropped there; here they change it", table.name));
    }
    let options: Vec<String> = options.iter().map(|(option, value)| format!("  {option} = {}", quoted(value, '\''))).collect();
    text.made(&format!("\n) with (\n{}\n);\n\n", options.join(",\n")), table.span);
}

/// The options that say what the table stands for.
fn connector(table: &Table, changing: bool, surroundings: &Surroundings, options: &mut Vec<(&'static str, String)>, text: &mut Text, errors: &mut Vec<Diagnostic>) {
    let sink = table.direction == Direction::Sink;
    let direction = table.direction.to_string();
    let refuse = |code, message: String, hint: &str| Diagnostic::new(code, message).at(table.name_span).hint(hint);
    match &table.connector {
        Connector::Kafka { topic, bootstrap_servers, format, starting_offsets } => {
            if *format == RecordFormat::Ajatus {
                errors.push(refuse(
                    Code::PortableOption,
                    format!("the records of \"{}\" are sealed in the platform's own format", table.name),
                    "the cluster reads json: let a pipeline that runs here write what it needs to a topic",
                ));
            }
            let Some(servers) = bootstrap_servers.as_ref().or(surroundings.own_log.as_ref()) else {
                errors.push(refuse(
                    Code::PortableOwnLog,
                    format!("\"{}\" is a topic of the embedded log, which the cluster cannot reach", table.name),
                    "add bootstrap_servers = 'host:port', or let the platform's log be a Kafka (log.kafka in ajatus.toml)",
                ));
                return;
            };
            options.extend([("connector", "kafka".to_owned()), ("type", direction), ("bootstrap_servers", servers.clone()), ("topic", topic.clone())]);
            if sink {
                changes_or_rows(table, changing, options, text);
                let mode = if table.mode == Mode::ExactlyOnce { "exactly_once" } else { "at_least_once" };
                options.push(("'sink.commit_mode'", mode.to_owned()));
            } else {
                options.push(("format", "json".to_owned()));
                let offset = if *starting_offsets == StartingOffsets::Latest { "latest" } else { "earliest" };
                options.extend([("'source.offset'", offset.to_owned()), ("'source.read_mode'", "read_committed".to_owned())]);
            }
        }
        Connector::File { path, format: FileFormat::Json } if !sink => {
            options.extend([("connector", "single_file".to_owned()), ("type", direction), ("path", path.clone())]);
            options.extend([("format", "json".to_owned()), ("wait_for_control", "false".to_owned())]);
            text.note(table.name_span, format!("\"{}\" is read at {path:?} on the machine of the cluster's worker", table.name));
        }
        Connector::File { .. } if !sink => errors.push(refuse(
            Code::PortableConnector,
            format!("the file of \"{}\" is not JSON lines, the only single files that the cluster reads", table.name),
            "write it as JSON lines, or put its rows on a topic",
        )),
        Connector::File { .. } => errors.push(refuse(
            Code::PortableConnector,
            format!("\"{}\" is a file that holds a table; the cluster would append changes to it", table.name),
            "write to a topic (connector = 'kafka') and read the table from there",
        )),
        Connector::Stdout { format } => {
            options.extend([("connector", "stdout".to_owned()), ("type", "sink".to_owned())]);
            if *format == PrintFormat::Csv {
                errors.push(refuse(Code::PortableOption, format!("\"{}\" prints csv, which the cluster does not write", table.name), "leave format out: json"));
            }
            changes_or_rows(table, changing, options, text);
        }
        Connector::Blackhole => options.extend([("connector", "blackhole".to_owned()), ("type", "sink".to_owned())]),
        other => errors.push(refuse(
            Code::PortableConnector,
            format!("\"{}\" is {}, which the cluster has no connector for", table.name, other.name()),
            "let it read and write topics of Kafka, and let a pipeline that runs here carry between them and the rest",
        )),
    }
}

/// Rows that are corrected later travel as Debezium changes, all others as plain documents.
fn changes_or_rows(table: &Table, changing: bool, options: &mut Vec<(&'static str, String)>, text: &mut Text) {
    if changing {
        options.push(("format", "debezium_json".to_owned()));
        text.note(table.name_span, format!("rows of \"{}\" change: the cluster writes them as Debezium changes (before, after, op), not as upserts by key", table.name));
    } else {
        options.push(("format", "json".to_owned()));
    }
    if table.columns.iter().any(|column| matches!(column.data_type, DataType::Decimal128(..))) {
        // As here: a number of JSON would lose digits.
        options.push(("'json.decimal_encoding'", "string".to_owned()));
    }
}

fn changelog(table: &Table, errors: &mut Vec<Diagnostic>) {
    let kind = match table.changelog {
        Changelog::Append => return,
        Changelog::Upsert => "upsert",
        Changelog::Signed { .. } => "signed",
    };
    let message = format!("changelog = '{kind}' of \"{}\" has no equivalent on the cluster", table.name);
    let found = Diagnostic::new(Code::PortableOption, message).at(table.name_span);
    errors.push(found.hint("it reads records that are only added; run what replaces or takes back rows here"));
}

fn bad_data(table: &Table, options: &mut Vec<(&'static str, String)>, text: &mut Text) {
    match table.bad_data {
        BadData::Fail => options.push(("bad_data", "fail".to_owned())),
        BadData::DeadLetter => {
            options.push(("bad_data", "drop".to_owned()));
            text.note(table.name_span, format!("records of \"{}\" that do not fit are dropped there, for it has no dead letters; bad_data = 'fail' stops instead", table.name));
        }
    }
}

/// A column's type there.
fn column_type(column: &Column) -> Result<String, Diagnostic> {
    let refuse = |hint: &str| {
        let message = format!("column \"{}\" is {}, which tables of the cluster cannot have", column.name, sql_type(&column.data_type));
        Err(Diagnostic::new(Code::PortableType, message).at(column.span).hint(hint))
    };
    match (column.content, &column.data_type) {
        (Content::Json, _) => Ok("json".to_owned()),
        (Content::Uuid, _) => Ok("text".to_owned()),
        (Content::Plain, data_type) => match data_type {
            DataType::Int8 | DataType::Int16 => refuse("declare it as int"),
            DataType::UInt8 | DataType::UInt16 => refuse("declare it as int unsigned"),
            DataType::Date32 => refuse("declare it as text, and cast it where it is compared"),
            DataType::Timestamp(_, Some(_)) => refuse("declare it as timestamp: instants are UTC"),
            DataType::FixedSizeList(..) => refuse("vectors stay here: run this part of the file here"),
            DataType::List(item) if !kept(item.data_type()) => refuse("make it a list of text, numbers or booleans"),
            DataType::List(_) => Ok(sql_type(data_type)),
            data_type if kept(data_type) => Ok(sql_type(data_type)),
            _ => refuse("declare it as text"),
        },
    }
}

/// Types that both sides have.
fn kept(data_type: &DataType) -> bool {
    use DataType::{Binary, Boolean, Decimal128, Float32, Float64, Int32, Int64, Timestamp, UInt32, UInt64, Utf8};
    matches!(data_type, Boolean | Int32 | Int64 | UInt32 | UInt64 | Float32 | Float64 | Decimal128(..) | Utf8 | Binary | Timestamp(_, None))
}
