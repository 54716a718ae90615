//! What a table stands for, and what its target can promise.

use std::time::Duration;

use super::cursor::Name;
use super::settings::Settings;
use super::table::{Direction, Mode};
use crate::diagnostic::{Code, Diagnostic};

/// What a table stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connector {
    /// A topic; `log` is this without an address.
    Kafka {
        /// The topic.
        topic: String,
        /// Addresses of the cluster; the platform's own log if none.
        bootstrap_servers: Option<String>,
        /// How a record is written.
        format: RecordFormat,
        /// Where a pipeline begins that has never run; earliest for sinks.
        starting_offsets: StartingOffsets,
    },
    /// A file.
    File {
        /// Its path.
        path: String,
        /// How it is written.
        format: FileFormat,
    },
    /// A Lance dataset.
    Lance {
        /// Its directory.
        path: String,
        /// Which version is read; the newest if neither this nor a tag is given.
        version: Option<u64>,
        /// The tag of the version that is read.
        tag: Option<String>,
        /// How long a sink's old versions without a tag can be read.
        history: Duration,
    },
    /// A table of PostgreSQL.
    Postgres {
        /// Its name.
        table: String,
        /// The database's address; the platform's own if none.
        url: Option<String>,
    },
    /// Standard output.
    Stdout {
        /// How a row is printed.
        format: PrintFormat,
    },
    /// Nothing.
    Blackhole,
    /// Rows fed and read by hand.
    Memory,
}

/// How a record of a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordFormat {
    /// One JSON document.
    Json,
    /// The platform's wire format of interactions.
    Ajatus,
}

/// Where a pipeline begins that has never run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StartingOffsets {
    /// With the oldest record.
    Earliest,
    /// Behind the newest record.
    Latest,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileFormat {
    /// One JSON document a line.
    Json,
    /// Comma-separated values.
    Csv {
        /// What stands between two fields.
        delimiter: u8,
        /// Whether the first line names the columns.
        header: bool,
    },
    /// Parquet.
    Parquet,
}

/// How a row is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrintFormat {
    /// One JSON document a line.
    Json,
    /// Comma-separated values.
    Csv,
}

impl Connector {
    /// Gives the name by which it is asked for; `kafka` also for the platform's own log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kafka { .. } => "kafka",
            Self::File { .. } => "file",
            Self::Lance { .. } => "lance",
            Self::Postgres { .. } => "postgres",
            Self::Stdout { .. } => "stdout",
            Self::Blackhole => "blackhole",
            Self::Memory => "memory",
        }
    }

    /// Tells what the target can promise for a table with or without a primary key, and whether a key would help.
    fn best(&self, keyed: bool) -> (Mode, bool) {
        match self {
            Self::Kafka { .. } | Self::Postgres { .. } | Self::Lance { .. } if keyed => (Mode::ExactlyOnce, false),
            Self::Kafka { .. } | Self::Postgres { .. } | Self::Lance { .. } => (Mode::AtLeastOnce, true),
            Self::File { .. } | Self::Memory => (Mode::ExactlyOnce, false),
            Self::Stdout { .. } | Self::Blackhole => (Mode::AtLeastOnce, false),
        }
    }
}

/// Makes the connector of a table from its options, and settles what it promises.
pub(super) fn connect(
    settings: &Settings,
    owner: &Name,
    key: &[usize],
    direction: Direction,
    errors: &mut Vec<Diagnostic>,
) -> (Connector, Mode) {
    let name = settings.choice("connector");
    let path = || settings.text("path").unwrap_or_default();
    let connector = match name {
        "file" => Connector::File { path: path(), format: file_format(settings, errors) },
        "lance" => lance(settings, path(), errors),
        "postgres" => {
            Connector::Postgres { table: settings.text("table").unwrap_or_else(|| owner.text.clone()), url: settings.text("url") }
        }
        "stdout" => {
            Connector::Stdout { format: if settings.choice("format") == "csv" { PrintFormat::Csv } else { PrintFormat::Json } }
        }
        "blackhole" => Connector::Blackhole,
        "memory" => Connector::Memory,
        _ => Connector::Kafka {
            topic: settings.text("topic").unwrap_or_default(),
            bootstrap_servers: settings.text("bootstrap_servers"),
            format: if settings.choice("format") == "ajatus" { RecordFormat::Ajatus } else { RecordFormat::Json },
            starting_offsets: match settings.choice("starting_offsets") {
                "latest" => StartingOffsets::Latest,
                _ => StartingOffsets::Earliest,
            },
        },
    };
    let mode = match direction {
        Direction::Source => Mode::ExactlyOnce,
        Direction::Sink => mode(&connector, name, !key.is_empty(), settings, owner, errors),
    };
    (connector, mode)
}

fn mode(connector: &Connector, name: &str, keyed: bool, settings: &Settings, owner: &Name, errors: &mut Vec<Diagnostic>) -> Mode {
    let (best, key_helps) = connector.best(keyed);
    match settings.choice("mode") {
        "at_least_once" => Mode::AtLeastOnce,
        "exactly_once" if best == Mode::ExactlyOnce => Mode::ExactlyOnce,
        "exactly_once" => {
            let found = if key_helps {
                let message = format!("{name} writes exactly once by primary key, and \"{}\" has none", owner.text);
                Diagnostic::new(Code::KeyNeeded, message).hint("add `primary key` to a column, or ask for mode = 'at_least_once'")
            } else {
                let message = format!("{name} cannot write exactly once");
                Diagnostic::new(Code::ExactlyOnceImpossible, message).hint("ask for mode = 'at_least_once', or leave it out")
            };
            errors.push(found.at(settings.span("mode")));
            Mode::AtLeastOnce
        }
        _ => best,
    }
}

fn lance(settings: &Settings, path: String, errors: &mut Vec<Diagnostic>) -> Connector {
    let version = settings.span("version").map(|_| settings.count("version") as u64);
    let tag = settings.text("tag");
    if version.is_some() && tag.is_some() {
        let found = Diagnostic::new(Code::OptionNotHere, "a version and a tag are both asked for");
        errors.push(found.at(settings.span("tag")).hint("leave one of them out"));
    }
    Connector::Lance { path, version, tag, history: settings.time("history") }
}

fn file_format(settings: &Settings, errors: &mut Vec<Diagnostic>) -> FileFormat {
    let path = settings.text("path").unwrap_or_default();
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    let format = match (settings.choice("format"), ending.as_str()) {
        ("", "json" | "jsonl" | "ndjson") => "json",
        ("", "csv") => "csv",
        ("", "parquet") => "parquet",
        ("", _) => {
            if settings.span("format").is_none() && settings.span("path").is_some() {
                let found = Diagnostic::new(Code::MissingOption, "the path does not tell the format of the file");
                errors.push(found.at(settings.span("path")).hint("add format = 'json', 'csv' or 'parquet'"));
            }
            "json"
        }
        (given, _) => given,
    };
    for option in ["delimiter", "header"] {
        if let Some(span) = settings.span(option).filter(|_| format != "csv") {
            let message = format!("option \"{option}\" is only read if format = 'csv', and this file is {format}");
            errors.push(Diagnostic::new(Code::OptionNotHere, message).at(span).hint("leave it out"));
        }
    }
    match format {
        "csv" => FileFormat::Csv { delimiter: settings.letter("delimiter"), header: settings.flag("header") },
        "parquet" => FileFormat::Parquet,
        _ => FileFormat::Json,
    }
}
