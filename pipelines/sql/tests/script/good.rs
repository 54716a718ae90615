//! What a file becomes.

use std::time::Duration;

use ajatus_sql::diagnostic::{Diagnostics, Source};
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::script::{
    BadData, CaseStep, Changelog, Connector, Content, Direction, FileFormat, Insert, Mode, Model, PrintFormat, Provider,
    RecordFormat, Script, StartingOffsets, Statement, Table, Task, View, parse,
};
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::sql::sqlparser::ast::Spanned as _;

/// A file that uses everything.
pub(crate) const PIPELINE: &str = include_str!("pipeline.sql");

fn accepted(sql: &str) -> Script {
    let source = Source::new("pipelines/sanat.sql", sql);
    parse(&source).unwrap_or_else(|found| panic!("{}", Diagnostics(found).render(&source)))
}

fn table(sql: &str) -> Table {
    match accepted(sql).statements.pop() {
        Some(Statement::Table(table)) => table,
        other => panic!("not a table: {other:?}"),
    }
}

fn model(sql: &str) -> Model {
    match accepted(sql).statements.pop() {
        Some(Statement::Model(model)) => model,
        other => panic!("not a model: {other:?}"),
    }
}

fn view(script: &Script, at: usize) -> &View {
    match script.statements.get(at) {
        Some(Statement::View(view)) => view,
        other => panic!("not a view: {other:?}"),
    }
}

#[test]
fn reads_a_whole_pipeline() {
    let script = accepted(PIPELINE);
    let names: Vec<&str> = script.statements.iter().map(Statement::name).collect();
    assert_eq!(names, ["interactions", "minilm", "mood", "embedded", "päivät", "memories", "lines", "memories", "lines"]);
    assert_eq!(script.cases.len(), 2);
}

#[test]
fn gives_an_empty_file_no_statements() {
    assert_eq!(accepted("-- vain huomautus\n;;\n"), Script { statements: Vec::new(), cases: Vec::new() });
}

#[test]
fn knows_the_columns_and_the_key_of_a_table() {
    let made = table(
        "create table \"Sanat\" (Sana text, \"Äiti\" json null, id uuid not null, n decimal(18, 2), v vector(3), l array<text>,
         primary key (n, sana)) with (connector = 'memory', type = 'sink')",
    );
    let columns: Vec<_> = made.columns.iter().map(|c| (c.name.as_str(), c.nullable, c.content)).collect();
    assert_eq!(
        columns,
        [
            ("sana", false, Content::Plain),
            ("Äiti", true, Content::Json),
            ("id", false, Content::Uuid),
            ("n", false, Content::Plain),
            ("v", true, Content::Plain),
            ("l", true, Content::Plain),
        ]
    );
    assert_eq!((made.name.as_str(), made.primary_key.as_slice()), ("Sanat", &[3, 0][..]));
    assert_eq!(made.columns[3].data_type, DataType::Decimal128(18, 2));
}

#[test]
fn turns_every_type_into_its_arrow_type() {
    let timestamp = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let list = |item| DataType::List(Field::new_list_field(item, true).into());
    for (sql, arrow) in [
        ("boolean", DataType::Boolean),
        ("tinyint", DataType::Int8),
        ("smallint", DataType::Int16),
        ("int", DataType::Int32),
        ("integer", DataType::Int32),
        ("bigint", DataType::Int64),
        ("tinyint unsigned", DataType::UInt8),
        ("smallint unsigned", DataType::UInt16),
        ("int unsigned", DataType::UInt32),
        ("bigint unsigned", DataType::UInt64),
        ("real", DataType::Float32),
        ("float", DataType::Float32),
        ("double", DataType::Float64),
        ("double precision", DataType::Float64),
        ("numeric(38, 10)", DataType::Decimal128(38, 10)),
        ("decimal(5)", DataType::Decimal128(5, 0)),
        ("text", DataType::Utf8),
        ("varchar", DataType::Utf8),
        ("string", DataType::Utf8),
        ("char", DataType::Utf8),
        ("bytea", DataType::Binary),
        ("blob", DataType::Binary),
        ("date", DataType::Date32),
        ("timestamp", timestamp(None)),
        ("timestamp without time zone", timestamp(None)),
        ("timestamptz", timestamp(Some("+00:00"))),
        ("timestamp with time zone", timestamp(Some("+00:00"))),
        ("json", DataType::Utf8),
        ("uuid", DataType::Utf8),
        ("vector(384)", DataType::FixedSizeList(Field::new_list_field(DataType::Float32, false).into(), 384)),
        ("text[]", list(DataType::Utf8)),
        ("array<bigint>", list(DataType::Int64)),
    ] {
        let made = table(&format!("create table t (a {sql}) with (connector = 'memory', type = 'source')"));
        assert_eq!(made.columns[0].data_type, arrow, "{sql}");
    }
}

#[test]
fn knows_every_connector() {
    let kafka = |bootstrap_servers: Option<&str>, format, starting_offsets| Connector::Kafka {
        topic: "a".to_owned(),
        bootstrap_servers: bootstrap_servers.map(str::to_owned),
        format,
        starting_offsets,
    };
    let file = |path: &str, format| Connector::File { path: path.to_owned(), format };
    let lance = |version, tag: Option<&str>, seconds| Connector::Lance {
        path: "a".to_owned(),
        version,
        tag: tag.map(str::to_owned),
        history: Duration::from_secs(seconds),
    };
    for (options, connector) in [
        ("connector = 'kafka', type = 'source', topic = 'a'", kafka(None, RecordFormat::Json, StartingOffsets::Earliest)),
        (
            "connector = 'kafka', type = 'source', topic = 'a', 'bootstrap.servers' = 'b:9092', source.offset = 'latest'",
            kafka(Some("b:9092"), RecordFormat::Json, StartingOffsets::Latest),
        ),
        (
            "connector = 'LOG', type = 'source', topic = 'a', format = 'ajatus'",
            kafka(None, RecordFormat::Ajatus, StartingOffsets::Earliest),
        ),
        ("connector = 'file', type = 'source', path = 'a.jsonl'", file("a.jsonl", FileFormat::Json)),
        (
            "connector = 'file', type = 'source', path = 'a.csv', delimiter = ';', header = false",
            file("a.csv", FileFormat::Csv { delimiter: b';', header: false }),
        ),
        ("connector = 'file', type = 'source', path = 'a', format = 'parquet'", file("a", FileFormat::Parquet)),
        ("connector = 'lance', type = 'sink', path = 'a', history = '2 d'", lance(None, None, 172_800)),
        ("connector = 'lance', type = 'source', path = 'a', version = 7", lance(Some(7), None, 0)),
        ("connector = 'lance', type = 'source', path = 'a', tag = 'e7'", lance(None, Some("e7"), 0)),
        ("connector = 'postgres', type = 'sink'", Connector::Postgres { table: "t".to_owned(), url: None }),
        ("connector = 'stdout'", Connector::Stdout { format: PrintFormat::Json }),
        ("connector = 'blackhole'", Connector::Blackhole),
        ("connector = 'memory', type = 'sink'", Connector::Memory),
    ] {
        assert_eq!(table(&format!("create table t (a int) with ({options})")).connector, connector, "{options}");
    }
}

#[test]
fn promises_exactly_once_where_the_connector_can() {
    for (column, options, mode) in [
        ("a int primary key", "connector = 'postgres', type = 'sink'", Mode::ExactlyOnce),
        ("a int", "connector = 'postgres', type = 'sink'", Mode::AtLeastOnce),
        (
            "a int primary key",
            "connector = 'kafka', type = 'sink', topic = 'a', 'sink.commit_mode' = 'exactly_once'",
            Mode::ExactlyOnce,
        ),
        ("a int", "connector = 'log', type = 'sink', topic = 'a'", Mode::AtLeastOnce),
        ("a int", "connector = 'file', type = 'sink', path = 'a.json'", Mode::ExactlyOnce),
        ("a int", "connector = 'lance', type = 'sink', path = 'a', mode = 'at_least_once'", Mode::AtLeastOnce),
        ("a int primary key", "connector = 'stdout'", Mode::AtLeastOnce),
    ] {
        assert_eq!(table(&format!("create table t ({column}) with ({options})")).mode, mode, "{options}");
    }
}

#[test]
fn knows_what_a_source_means() {
    let made = table(
        "create table t (id text primary key, \"Aika\" timestamptz) with (connector = 'memory', type = 'source',
         event_time_field = 'Aika', changelog = 'upsert', bad_data = 'fail')",
    );
    assert_eq!((made.direction, made.event_time), (Direction::Source, Some(1)));
    assert_eq!((made.changelog, made.bad_data), (Changelog::Upsert, BadData::Fail));
    let signed = "create table t (a int, d bigint)
         with (connector = 'memory', type = 'source', changelog = 'signed', diff_column = 'd')";
    assert_eq!(table(signed).changelog, Changelog::Signed { diff: 1 });
}

#[test]
fn completes_a_model_with_its_defaults() {
    let made =
        model("create model minilm with (task = 'embedding', provider = 'candle', path = 'mallit/minilm', max_delay = '2 s')");
    assert_eq!(made.task, Task::Embedding { dimensions: 384 });
    assert_eq!((made.provider, made.checkpoint.as_str()), (Provider::Candle, "minilm"));
    assert_eq!((made.max_batch_tokens, made.max_batch_rows, made.max_in_flight), (16_384, 256, 2));
    assert_eq!((made.max_delay, made.timeout), (Duration::from_secs(2), Duration::from_secs(30)));
}

#[test]
fn keeps_a_schema_and_a_prompt() {
    let script = accepted(PIPELINE);
    let Some(Statement::Model(Model { task: Task::Extraction { writing, schema }, .. })) = script.statements.get(2) else {
        panic!("not an extraction: {:?}", script.statements.get(2));
    };
    assert_eq!(schema["properties"]["mieli"]["type"], "string");
    assert_eq!(writing.prompt.as_deref(), Some("Mikä on kirjoittajan mieli?\n{{ input }}"));
    assert!((writing.temperature - 0.5).abs() < f64::EPSILON);
}

#[test]
fn finds_the_parts_of_a_query_in_the_file() {
    let source = Source::new("a.sql", PIPELINE);
    let script = accepted(PIPELINE);
    let made = view(&script, 4);
    let text = source.slice(made.query_span);
    assert!(text.starts_with("select day") && text.ends_with("group by day"), "{text}");
    let body = made.query.body.as_select().expect("it is a select");
    let items: Vec<&str> =
        body.projection.iter().filter_map(|item| source.span_of(item.span())).map(|span| source.slice(span)).collect();
    assert_eq!(items.first(), Some(&"day"));
    assert!(items.get(1).is_some_and(|item| item.ends_with("viestejä")), "{items:?}");
}

#[test]
fn reads_extract_as_a_call_of_a_model_and_as_a_part_of_a_time() {
    let script =
        accepted("create view v as select extract(mood, text) as a, extract(year from at) as b, doc ->> 'ä' = 'b' as c from t");
    let made = view(&script, 0);
    assert_eq!(
        made.query.to_string(),
        "SELECT extract(mood, text) AS a, EXTRACT(YEAR FROM at) AS b, doc ->> 'ä' = 'b' AS c FROM t"
    );
}

#[test]
fn tells_the_columns_of_an_insert_from_a_query_in_parentheses() {
    let base = "create table t (a int, b int) with (connector = 'blackhole');";
    for (sql, wanted) in [
        ("insert into T (b, \"a\") select 1, 2", vec!["b", "a"]),
        ("insert into t (select 1, 2)", vec![]),
        ("insert into t ((select 1, 2))", vec![]),
        ("insert into t with x as (select 1, 2) select * from x", vec![]),
    ] {
        let script = accepted(&format!("{base}{sql}"));
        let Some(Statement::Insert(Insert { table, columns, .. })) = script.statements.last() else { panic!("not an insert") };
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        assert_eq!((table.as_str(), columns), ("t", wanted), "{sql}");
    }
}

#[test]
fn accepts_the_spellings_of_other_systems() {
    for sql in [
        "create or replace view v as select 1 as a",
        "create materialized view v as select 1 as a",
        "CREATE OR REPLACE TABLE t (a INT NOT NULL PRIMARY KEY) WITH (connector = 'memory', type = 'source')",
    ] {
        assert_eq!(accepted(sql).statements.len(), 1, "{sql}");
    }
}

#[test]
fn closes_the_rows_of_a_test_before_anything_is_expected() {
    let script = accepted(PIPELINE);
    let steps: Vec<String> = script.cases[0]
        .steps
        .iter()
        .map(|step| match step {
            CaseStep::Given { table, rows, .. } => {
                format!("given {table} {:?}", rows.iter().map(|row| row.diff).collect::<Vec<_>>())
            }
            CaseStep::Close => "close".to_owned(),
            CaseStep::Expect { name, rows, .. } => format!("expect {name} {}", rows.len()),
        })
        .collect();
    let first = ["given interactions [1, 1]", "close", "expect päivät 1", "expect lines 1"];
    let second = ["given interactions [-1]", "close", "expect päivät 0"];
    assert_eq!(steps, [&first[..], &second[..]].concat());
    assert_eq!((script.cases[0].name.as_str(), script.cases[1].name.as_str()), ("laskee päivän viestit", "odottaa tyhjää"));
}

#[test]
fn reads_no_test_in_a_string_or_beside_a_statement() {
    let script =
        accepted("create view v as select '\n-- test: a\n' as a; -- test: b\n/* \n-- test: c\n*/\n-- test: d\n-- expect v");
    let names: Vec<&str> = script.cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, ["d"]);
}

#[test]
fn places_the_rows_of_a_test_in_the_file() {
    for newline in ["\n", "\r\n"] {
        let text = ["create view v as select 1 as a;", "  -- test: ä", "--expect v", "-- {\"a\": \"yö\"}", ""].join(newline);
        let source = Source::new("a.sql", text);
        let script = parse(&source).unwrap_or_else(|found| panic!("{found:?}"));
        let Some(CaseStep::Expect { rows, span, .. }) = script.cases[0].steps.first() else { panic!("nothing expected") };
        assert_eq!((source.slice(*span), source.slice(rows[0].span)), ("expect v", "{\"a\": \"yö\"}"));
        assert_eq!(source.slice(script.cases[0].span), "test: ä");
    }
}

#[test]
fn a_setting_decides_a_models_options_and_a_vectors_length_and_the_plan() {
    const FILE: &str = "create table t (a text) with (connector = 'memory', type = 'source');
        create model m with (task = 'embedding', provider = 'candle', name = '${MODEL:-small}', dimensions = '${DIM:-3}');
        create table o (v vector('${DIM:-3}')) with (connector = 'memory', type = 'sink');
        insert into o select embed(m, a) from t;";
    let planned = |settings: &[(&str, &str)]| {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Pipeline::check(Source::new("a.sql", FILE).with_settings(settings))
    };
    let shape = |settings: &[(&str, &str)]| {
        let pipeline = planned(settings).unwrap_or_else(|found| panic!("{found:?}"));
        let Some(Statement::Model(model)) = pipeline.script.statements.get(1).cloned() else { panic!("a model") };
        (model.checkpoint, pipeline.outputs[0].table.columns[0].data_type.clone(), pipeline.hash)
    };
    let vector = |length| DataType::FixedSizeList(Field::new_list_field(DataType::Float32, false).into(), length);
    let (name, data_type, hash) = shape(&[]);
    assert_eq!((name.as_str(), data_type), ("small", vector(3)));
    let (name, data_type, other) = shape(&[("MODEL", "large"), ("DIM", "8")]);
    assert_eq!((name.as_str(), data_type), ("large", vector(8)));
    assert_ne!(hash, other);
    assert_eq!(hash, shape(&[("OTHER", "1")]).2, "a setting that the file does not name changes nothing");
    assert_ne!(hash, shape(&[("MODEL", "large")]).2);
    assert!(planned(&[("DIM", "many")]).is_err() && planned(&[("DIM", "0")]).is_err());
}
