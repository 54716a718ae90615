//! Every option of `create table` and `create model`, declared once.
//!
//! Validation, defaults, "did you mean" and the reference in the docs are all made from [`OPTIONS`], so they cannot disagree.

use std::fmt::Write as _;

use self::Fallback::{Derived, Required, Value};
use self::Kind::{Choice, Count, Flag, Letter, Number, Text, Time};
use super::table::Direction;

/// Which statement an option belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Table,
    Model,
}

/// The form and bounds of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Any text that is not empty.
    Text,
    /// One of these words, whatever its case.
    Choice(&'static [&'static str]),
    /// A whole number, both bounds inclusive.
    Count(u64, u64),
    /// A number, both bounds inclusive.
    Number(f64, f64),
    /// A number with a unit of time; both bounds inclusive, in milliseconds.
    Time(u64, u64),
    /// `true` or `false`.
    Flag,
    /// One ASCII character.
    Letter,
}

/// What holds if the option is not given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fallback {
    /// The statement is refused.
    Required,
    /// This value, in the form of the kind.
    Value(&'static str),
    /// Something that follows from the rest of the statement; said in words.
    Derived(&'static str),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) scope: Scope,
    pub(super) name: &'static str,
    /// Other spellings, known from Arroyo.
    pub(super) aliases: &'static [&'static str],
    /// Connectors, tasks or providers that know it; all if empty.
    pub(super) only: &'static [&'static str],
    /// The direction of tables that know it.
    pub(super) side: Option<Direction>,
    pub(super) kind: Kind,
    pub(super) fallback: Fallback,
    pub(super) doc: &'static str,
}

/// What tables can stand for, whether they can be read, and what they are.
pub(super) const CONNECTORS: &[(&str, bool, &str)] = &[
    ("kafka", true, "a topic of a Kafka cluster, or of the platform's own log"),
    ("log", true, "a topic of the platform's own log"),
    ("file", true, "a file of JSON lines, CSV or Parquet"),
    ("lance", true, "a Lance dataset"),
    ("postgres", true, "a table of PostgreSQL"),
    ("stdout", false, "lines on standard output"),
    ("blackhole", false, "nothing: rows are counted and dropped"),
    ("memory", true, "rows that are fed and read by hand, for tests"),
];

const CONNECTOR_NAMES: &[&str] = &["kafka", "log", "file", "lance", "postgres", "stdout", "blackhole", "memory"];
const LOGS: &[&str] = &["kafka", "log"];
const PATHS: &[&str] = &["file", "lance"];
const WRITERS: &[&str] = &["generation", "extraction"];

const fn table(name: &'static str, only: &'static [&'static str], kind: Kind, fallback: Fallback, doc: &'static str) -> Spec {
    Spec { scope: Scope::Table, name, aliases: &[], only, side: None, kind, fallback, doc }
}

const fn model(name: &'static str, only: &'static [&'static str], kind: Kind, fallback: Fallback, doc: &'static str) -> Spec {
    Spec { scope: Scope::Model, name, aliases: &[], only, side: None, kind, fallback, doc }
}

const fn source(spec: Spec) -> Spec {
    Spec { side: Some(Direction::Source), ..spec }
}

const fn sink(spec: Spec) -> Spec {
    Spec { side: Some(Direction::Sink), ..spec }
}

const fn also(aliases: &'static [&'static str], spec: Spec) -> Spec {
    Spec { aliases, ..spec }
}

/// The one list.
#[rustfmt::skip]
pub(super) const OPTIONS: &[Spec] = &[
    table("connector", &[], Choice(CONNECTOR_NAMES), Required, "what the table stands for"),
    table("type", &[], Choice(&["source", "sink"]), Derived("`sink` where the connector can only be written; else required"),
        "whether the table is read or written"),
    table("topic", LOGS, Text, Required, "the topic"),
    also(&["bootstrap.servers"], table("bootstrap_servers", &["kafka"], Text, Derived("the platform's own log"),
        "addresses of the cluster, `host:port` with commas between")),
    table("format", LOGS, Choice(&["json", "ajatus"]), Value("json"),
        "`json`: one document a record; `ajatus`: the wire format of interactions"),
    source(also(&["source.offset"], table("starting_offsets", LOGS, Choice(&["earliest", "latest"]), Value("earliest"),
        "where a pipeline begins that has never run"))),
    table("path", PATHS, Text, Required, "the file or the dataset's directory"),
    table("format", &["file"], Choice(&["json", "csv", "parquet"]), Derived("by the path's ending"),
        "`json`: one document a line; `csv`; `parquet`"),
    table("delimiter", &["file"], Letter, Value(","), "what stands between two fields of csv"),
    table("header", &["file"], Flag, Value("true"), "whether the first line of csv names the columns"),
    table("table", &["postgres"], Text, Derived("the table's own name"), "the table in the database"),
    table("url", &["postgres"], Text, Derived("the platform's own database"), "the address of another database"),
    source(table("version", &["lance"], Count(1, u64::MAX >> 1), Derived("the newest one when the ledger begins"), "the version that is read")),
    source(table("tag", &["lance"], Text, Derived("none"), "the tag of the version that is read: 'e1200' is what a pipeline calls epoch 1200")),
    sink(table("history", &["lance"], Time(0, 31_536_000_000), Value("1 h"), "how long old versions without a tag can be read")),
    table("format", &["stdout"], Choice(&["json", "csv"]), Value("json"), "how a row is printed"),
    source(also(&["event_time_field"], table("event_time", &[], Text, Derived("none"),
        "the timestamp column by which windows close"))),
    source(table("changelog", &[], Choice(&["append", "upsert", "signed"]), Value("append"),
        "`append`: records are only added; `upsert`: the last record of a primary key wins; `signed`: a column says +1 or -1")),
    source(table("diff_column", &[], Text, Value("diff"), "the bigint column of a signed changelog")),
    source(table("bad_data", &[], Choice(&["dead_letter", "fail"]), Value("dead_letter"),
        "what happens with a record that does not fit the columns")),
    sink(also(&["sink.commit_mode"], table("mode", &[], Choice(&["exactly_once", "at_least_once"]),
        Derived("`exactly_once` where the connector can, else `at_least_once`"), "what a crash may do to the rows written"))),

    model("task", &[], Choice(&["embedding", "generation", "extraction"]), Required, "what the model is for"),
    model("provider", &[], Choice(&["candle", "vllm", "ollama"]), Required, "who runs it; `candle` is built in"),
    model("name", &[], Text, Derived("the statement's own name if `path` is given; else required"),
        "the name by which the provider knows it"),
    model("path", &["candle"], Text, Derived("the platform's model directory"), "the directory of its weights"),
    model("url", &["vllm", "ollama"], Text, Derived("the platform's setting for the provider"), "the provider's address"),
    model("dimensions", &["embedding"], Count(1, 16_384), Value("384"), "components of a vector"),
    model("max_batch_tokens", &[], Count(1, 1_048_576), Value("16384"), "tokens in one batch at most"),
    model("max_batch_rows", &[], Count(1, 65_536), Value("256"), "rows in one batch at most"),
    model("max_delay", &[], Time(0, 60_000), Value("5 ms"), "how long a row waits for its batch to fill"),
    model("max_in_flight", &[], Count(1, 256), Value("2"), "batches under way at the same time"),
    model("timeout", &[], Time(1, 3_600_000), Value("30 s"), "how long a batch may take before its rows become errors"),
    model("temperature", WRITERS, Number(0.0, 2.0), Value("0"), "0 takes the likeliest word each time"),
    model("max_tokens", WRITERS, Count(1, 131_072), Value("512"), "tokens of one answer at most"),
    model("prompt", WRITERS, Text, Derived("the input alone"), "a template around the text of the call: 'In one sentence: {{ input }}'"),
    model("schema", &["extraction"], Text, Required, "the JSON schema of the object to extract"),
];

impl Spec {
    /// Tells whether the option is `name`, in any of its spellings.
    pub(super) fn answers_to(&self, scope: Scope, name: &str) -> bool {
        self.scope == scope && (self.name == name || self.aliases.contains(&name))
    }

    /// Tells whether the option is read by a statement with these connector, task or provider, and direction.
    pub(super) fn applies(&self, tags: &[&str], side: Option<Direction>) -> bool {
        let known = self.only.is_empty() || self.only.iter().any(|only| tags.contains(only));
        known && (self.side.is_none() || self.side == side)
    }

    /// Says who reads the option.
    pub(super) fn readers(&self) -> String {
        let side = self.side.map_or("", |side| match side {
            Direction::Source => "sources",
            Direction::Sink => "sinks",
        });
        match (self.only.is_empty(), side) {
            (true, "") => "all".to_owned(),
            (true, side) => side.to_owned(),
            (false, "") => self.only.join(", "),
            (false, side) => format!("{side} of {}", self.only.join(", ")),
        }
    }
}

impl Kind {
    /// Says in words what a value must be.
    pub(super) fn describe(self) -> String {
        match self {
            Text => "text".to_owned(),
            Choice(words) => words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", "),
            Count(least, most) => format!("a whole number from {least} to {most}"),
            Number(least, most) => format!("a number from {least} to {most}"),
            Time(least, most) => format!("a time from {} to {}, such as '5 ms', '2 s' or '10 minutes'", time(least), time(most)),
            Flag => "true or false".to_owned(),
            Letter => "one ASCII character".to_owned(),
        }
    }
}

fn time(millis: u64) -> String {
    match millis {
        hours if hours > 0 && hours.is_multiple_of(3_600_000) => format!("{} h", hours / 3_600_000),
        seconds if seconds > 0 && seconds.is_multiple_of(1_000) => format!("{} s", seconds / 1_000),
        millis => format!("{millis} ms"),
    }
}

/// Gives the reference of connectors and options as markdown, for the docs.
pub fn option_reference() -> String {
    let mut out = String::from("### Connectors\n\n| connector | can be | stands for |\n|---|---|---|\n");
    for (name, readable, doc) in CONNECTORS {
        let directions = if *readable { "source, sink" } else { "sink" };
        writeln!(out, "| `{name}` | {directions} | {doc} |").expect("a string takes every text");
    }
    for (scope, title) in [(Scope::Table, "create table"), (Scope::Model, "create model")] {
        write!(out, "\n### Options of `{title}`\n\n| option | read by | value | default | meaning |\n|---|---|---|---|---|\n")
            .expect("a string takes every text");
        for spec in OPTIONS.iter().filter(|spec| spec.scope == scope) {
            let default = match spec.fallback {
                Required => "required".to_owned(),
                Value(value) => format!("`{value}`"),
                Derived(words) => words.to_owned(),
            };
            let aliases: String = spec.aliases.iter().map(|alias| format!(" (also `{alias}`)")).collect();
            let (name, readers, kind, doc) = (spec.name, spec.readers(), spec.kind.describe(), spec.doc);
            writeln!(out, "| `{name}`{aliases} | {readers} | {kind} | {default} | {doc} |").expect("a string takes every text");
        }
    }
    let (least, most, default) = (super::statement::ROUNDS.start(), super::statement::ROUNDS.end(), crate::plan::MAX_ROUNDS);
    write!(
        out,
        "\n### Settings of the file\n\n| statement | value | default | meaning |\n|---|---|---|---|\n\
         | `set max_rounds = …` | a whole number from {least} to {most} | `{default}` | rounds of a recursive query after its first rows; a row that only a later round gives is a dead letter |\n"
    )
    .expect("a string takes every text");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_same_connectors_everywhere() {
        assert!(CONNECTORS.iter().map(|(name, _, _)| *name).eq(CONNECTOR_NAMES.iter().copied()));
        for word in OPTIONS.iter().filter(|spec| spec.scope == Scope::Table).flat_map(|spec| spec.only) {
            assert!(CONNECTOR_NAMES.contains(word), "{word}");
        }
    }

    #[test]
    fn gives_no_statement_two_options_of_one_name() {
        for (at, spec) in OPTIONS.iter().enumerate() {
            for other in OPTIONS.iter().skip(at + 1).filter(|other| other.scope == spec.scope && other.name == spec.name) {
                assert!(!spec.only.iter().any(|only| other.only.contains(only)), "{}", spec.name);
                assert!(!spec.only.is_empty() && !other.only.is_empty(), "{}", spec.name);
            }
        }
    }

    #[test]
    fn lists_every_option_in_the_reference() {
        let reference = option_reference();
        for spec in OPTIONS {
            assert!(reference.contains(&format!("| `{}`", spec.name)), "{}", spec.name);
        }
        insta::assert_snapshot!(reference);
    }
}
