//! The portable subset: what is sent to a cluster, and what is refused with which code and where.

use std::collections::BTreeMap;
use std::path::Path;

use ajatus_sql::diagnostic::{Diagnostic, Source, Span};
use ajatus_sql::pipeline::Pipeline;
use ajatus_sql::portable::{Surroundings, Translation, translate};

const SHOP: &str = r#"-- Orders per minute.
create table orders (id bigint not null, customer text not null, amount decimal(12, 2), "at" timestamp, tags text[], extra json)
  with (connector = 'kafka', type = 'source', topic = '${TOPIC}', bootstrap_servers = 'broker:9092', event_time = 'at', bad_data = 'fail');
create table minutes (start timestamp, customer text not null, n bigint, total decimal(22, 2))
  with (connector = 'kafka', type = 'sink', topic = 'minutes', bootstrap_servers = 'broker:9092');
create table totals (customer text primary key, n bigint)
  with (connector = 'kafka', type = 'sink', topic = 'totals', bootstrap_servers = 'broker:9092');

create or replace view per_minute as
  select tumble(interval '1 minute') as w, customer, count(*) as n, sum(amount) as total -- two keys
  from orders group by w, customer;

insert into minutes select per_minute.w.start, customer, n, total from per_minute where n > 1;
insert into totals (customer, n) select customer, count(*) from orders group by customer;
"#;

fn pipeline(sql: &str) -> Pipeline {
    let mut pipeline = Pipeline::check(Source::new("shop.sql", sql)).unwrap_or_else(|found| panic!("{found:#?}"));
    let values = BTreeMap::from([("TOPIC".to_owned(), "orders".to_owned())]);
    pipeline.settle(Path::new("/rows"), &values).expect("every name has a value");
    pipeline
}

fn translated(sql: &str, own_log: Option<&str>) -> Result<Translation, Vec<Diagnostic>> {
    translate(&pipeline(sql), &Surroundings { own_log: own_log.map(str::to_owned) })
}

/// Code and place of each refusal.
fn refusals(sql: &str) -> Vec<(String, String)> {
    let source = Source::new("shop.sql", sql);
    let found = translated(sql, None).expect_err("it is refused");
    found.iter().map(|found| {
        assert!(found.hint.is_some(), "{found:?} says what to do");
        (found.code.text().to_owned(), found.span.map(|span| source.slice(span).to_owned()).unwrap_or_default())
    }).collect()
}

fn table(columns: &str, options: &str) -> String {
    format!("create table t ({columns}) with (type = 'source', {options});\ncreate table o (k text) with (connector = 'blackhole');\n")
}

const KAFKA: &str = "connector = 'kafka', topic = 't', bootstrap_servers = 'b:1'";

#[test]
fn says_a_portable_file_in_the_other_dialect() {
    let text = translated(SHOP, None).unwrap_or_else(|found| panic!("{found:#?}"));
    let expected = r#"create table orders (
  "id" bigint not null,
  customer text not null,
  amount decimal(12, 2),
  "at" timestamp,
  tags text[],
  extra json,
  watermark for "at"
) with (
  connector = 'kafka',
  type = 'source',
  bootstrap_servers = 'broker:9092',
  topic = 'orders',
  format = 'json',
  'source.offset' = 'earliest',
  'source.read_mode' = 'read_committed',
  bad_data = 'fail'
);

create table "minutes" (
  "start" timestamp,
  customer text not null,
  n bigint,
  total decimal(22, 2)
) with (
  connector = 'kafka',
  type = 'sink',
  bootstrap_servers = 'broker:9092',
  topic = 'minutes',
  format = 'json',
  'json.decimal_encoding' = 'string',
  'sink.commit_mode' = 'at_least_once'
);

create table "totals" (
  customer text not null,
  n bigint,
  primary key (customer)
) with (
  connector = 'kafka',
  type = 'sink',
  bootstrap_servers = 'broker:9092',
  topic = 'totals',
  format = 'debezium_json',
  'sink.commit_mode' = 'exactly_once'
);

create view per_minute as
select tumble(interval '1 minute') as w, customer, count(*) as n, sum(amount) as total -- two keys
  from orders group by w, customer;

insert into "minutes"
select per_minute.w.start, customer, n, total from per_minute where n > 1;

insert into "totals" (customer, n)
select customer, count(*) from orders group by customer;

"#;
    assert_eq!(text.sql, expected);
    let notes: Vec<&str> = text.notes.iter().map(|note| note.message.as_str()).collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("after their window has closed") && notes[1].contains("Debezium"), "{notes:?}");
}

#[test]
fn every_place_of_the_text_leads_back_to_the_file() {
    let text = translated(SHOP, None).unwrap_or_else(|found| panic!("{found:#?}"));
    let source = Source::new("shop.sql", SHOP);
    let sent = Source::new("sent.sql", text.sql.as_str());
    let place = |word: &str, nth: usize| {
        let start = text.sql.match_indices(word).nth(nth).expect("the word is there").0;
        let (from, to) = (sent.position(start), sent.position(start + word.len()));
        text.place((from.line as u64, from.column as u64), (to.line as u64, to.column as u64)).expect("a place")
    };
    // Copied text to the letter, over lines and comments; made text to what it stands for.
    assert_eq!(source.slice(place("sum(amount)", 0)), "sum(amount)");
    assert_eq!(place("n > 1", 0), Span::new(SHOP.find("n > 1").expect("there"), SHOP.find("n > 1").expect("there") + 5));
    assert_eq!(source.slice(place("amount decimal(12, 2)", 0)), "amount decimal(12, 2)");
    assert!(source.slice(place("'sink.commit_mode'", 1)).starts_with("create table totals"));
    let far = text.place((9_999, 1), (9_999, 2));
    assert_eq!(far, None, "a place that is not in the text is nowhere in the file");
}

#[test]
fn the_platforms_own_log_is_portable_where_it_is_a_kafka() {
    let sql = "create table t (k text) with (connector = 'log', type = 'source', topic = 't');\ncreate table o (k text) with (connector = 'stdout');\ninsert into o select k from t;\n";
    assert_eq!(refusals(sql), [("P0807".to_owned(), "t".to_owned())]);
    let text = translated(sql, Some("own:9092")).unwrap_or_else(|found| panic!("{found:#?}"));
    assert!(text.sql.contains("bootstrap_servers = 'own:9092'") && text.sql.contains("bad_data = 'drop'"), "{}", text.sql);
    assert!(text.notes.iter().any(|note| note.message.contains("no dead letters")), "{:?}", text.notes);
}

#[test]
fn quotes_what_could_be_misread() {
    let sql = "create table t (\"It's\" text) with (connector = 'file', type = 'source', path = 'it''s.jsonl');\ncreate table o (k text) with (connector = 'blackhole');\ninsert into o select \"It's\" from t;\n";
    let text = translated(sql, None).unwrap_or_else(|found| panic!("{found:#?}"));
    assert!(text.sql.contains("\"It's\" text") && text.sql.contains("path = '/rows/it''s.jsonl'"), "{}", text.sql);
}

#[test]
fn refuses_tables_that_the_cluster_cannot_have() {
    let insert = "insert into o select k from t;\n";
    for (columns, options, code, place) in [
        ("k text, d date", KAFKA, "P0804", "d date"),
        ("k text, v vector(3)", KAFKA, "P0804", "v vector(3)"),
        ("k text, s smallint", KAFKA, "P0804", "s smallint"),
        ("k text, z timestamptz", KAFKA, "P0804", "z timestamptz"),
        ("k text", "connector = 'postgres'", "P0802", "t"),
        ("k text", "connector = 'memory'", "P0802", "t"),
        ("k text", "connector = 'file', path = 'a.csv'", "P0802", "t"),
        ("k text, diff bigint", "connector = 'kafka', topic = 't', bootstrap_servers = 'b:1', changelog = 'signed'", "P0803", "t"),
        ("k text primary key", "connector = 'kafka', topic = 't', bootstrap_servers = 'b:1', changelog = 'upsert'", "P0803", "t"),
        ("k text", "connector = 'kafka', topic = 't', bootstrap_servers = 'b:1', format = 'ajatus'", "P0803", "t"),
    ] {
        assert_eq!(refusals(&(table(columns, options) + insert)), [(code.to_owned(), place.to_owned())], "{columns} {options}");
    }
    let file = table("k text", KAFKA).replace("(connector = 'blackhole')", "(connector = 'file', type = 'sink', path = 'o.jsonl')") + insert;
    assert_eq!(refusals(&file), [("P0802".to_owned(), "o".to_owned())]);
    assert_eq!(refusals(&table("k text", KAFKA)), [("P0808".to_owned(), String::new())], "nothing is written");
}

#[test]
fn refuses_queries_that_the_cluster_does_not_run() {
    let base = table("k text, n bigint, at timestamp", &format!("{KAFKA}, event_time = 'at'"));
    for (views, query, code, place) in [
        ("", "select k from t order by n, k limit 3", "P0806", "select k from t order by n, k limit 3"),
        ("", "select k from t except select k from t", "P0806", "select k from t except select k from t"),
        ("", "select k from t where k in (select k from t where n > 1)", "P0806", "select k from t where n > 1"),
        ("", "select t.k from t left join t as u on t.k = u.k", "P0806", "t as u"),
        ("create view c as select k, count(*) as n from t group by k;\n", "select c.k from t join c on t.k = c.k", "P0806", "c"),
        ("create view c as select k, count(*) as n from t group by k;\n", "select max(k) from c group by n", "P0806", "select max(k) from c group by n"),
        ("", "select k from (select tumble(at, interval '1 minute') as w, k, count(*) as n from t group by w, k) as x", "P0805", "tumble"),
    ] {
        let found = refusals(&format!("{base}{views}insert into o {query};\n"));
        assert_eq!(found, [(code.to_owned(), place.to_owned())], "{query}");
    }
}

#[test]
fn refuses_models_and_every_call_of_them() {
    let sql = table("k text", KAFKA)
        + "create model minilm with (task = 'embedding', provider = 'candle', name = 'm');\ncreate table v (k text, e vector(384)) with (connector = 'blackhole');\n\
           insert into o select k from t;\ninsert into v select k, embed(minilm, k) from t;\n";
    let found = refusals(&sql);
    let expected = [("P0801", "minilm"), ("P0804", "e vector(384)"), ("P0805", "embed")].map(|(code, place)| (code.to_owned(), place.to_owned()));
    assert_eq!(found, expected);
}
