//! Statements that do not belong into a pipeline.

use insta::assert_snapshot;

use super::refused;

#[test]
fn refuses_a_query_alone() {
    assert_snapshot!(refused(r#"select word
from words;"#), @r#"
    error[P0201]: nobody reads the rows of this query
     --> pipelines/sanat.sql:4:1
      |
    4 | select word
      | ^^^^^^^^^^^
      = hint: name it with `create view NAME as …`, or write its rows with `insert into SINK …`
    "#);
}

#[test]
fn refuses_to_change_rows() {
    assert_snapshot!(refused("delete from words where word = 'yö';"), @r#"
    error[P0201]: `delete` does not belong in a pipeline
     --> pipelines/sanat.sql:4:1
      |
    4 | delete from words where word = 'yö';
      | ^^^^^^
      = hint: rows change by what a source says: see the option "changelog" of `create table`
    "#);
}

#[test]
fn refuses_to_drop() {
    assert_snapshot!(refused("drop table words;"), @r#"
    error[P0201]: `drop` does not belong in a pipeline
     --> pipelines/sanat.sql:4:1
      |
    4 | drop table words;
      | ^^^^
      = hint: the file is the whole definition: edit or remove the statement that creates it
    "#);
}

#[test]
fn refuses_to_set() {
    assert_snapshot!(refused("set timezone = 'Europe/Helsinki';"), @r#"
    error[P0203]: there is no setting "timezone"
     --> pipelines/sanat.sql:4:5
      |
    4 | set timezone = 'Europe/Helsinki';
      |     ^^^^^^^^
      = hint: `set max_rounds = 100` bounds recursive queries; other settings are options of a table or a model, or of the command that runs the file
    "#);
}

#[test]
fn refuses_rounds_out_of_bounds_or_set_twice() {
    for wrong in ["0", "10001", "-1", "1.5", "'10'", "many"] {
        let found = refused(&format!("set max_rounds = {wrong};"));
        assert!(found.contains("error[P0204]: \"max_rounds\" is a whole number from 1 to 10000"), "{found}");
    }
    let found = refused("set max_rounds = 5;\nset max_rounds to 6;");
    assert!(found.contains("error[P0208]: \"max_rounds\" is set twice") && found.contains("the first is in line 4"), "{found}");
    let found = refused("set max_rounds = 5 rows;");
    assert!(found.contains("error[P0101]"), "{found}");
}

#[test]
fn refuses_to_explain() {
    assert_snapshot!(refused("explain select word from words;"), @r#"
    error[P0201]: `explain` does not belong in a pipeline
     --> pipelines/sanat.sql:4:1
      |
    4 | explain select word from words;
      | ^^^^^^^
      = hint: ask with `ajatus pipeline explain FILE`
    "#);
}

#[test]
fn refuses_a_transaction() {
    assert_snapshot!(refused("begin;"), @r#"
    error[P0201]: `begin` does not belong in a pipeline
     --> pipelines/sanat.sql:4:1
      |
    4 | begin;
      | ^^^^^
      = hint: a file is applied as a whole, and its results epoch by epoch
    "#);
}

#[test]
fn refuses_a_misspelt_statement() {
    assert_snapshot!(refused("craete view v as select word from words;"), @r#"
    error[P0101]: expected a statement, found `craete`
     --> pipelines/sanat.sql:4:1
      |
    4 | craete view v as select word from words;
      | ^^^^^^
      = hint: did you mean `create`?
    "#);
}

#[test]
fn refuses_what_is_no_statement() {
    assert_snapshot!(refused("42;"), @r#"
    error[P0101]: expected a statement, found `42`
     --> pipelines/sanat.sql:4:1
      |
    4 | 42;
      | ^^
      = hint: a file holds `create table`, `create model`, `create view`, `insert into` and `set`
    "#);
}

#[test]
fn refuses_an_unknown_statement() {
    assert_snapshot!(refused("vacuum words;"), @r#"
    error[P0101]: expected a statement, found `vacuum`
     --> pipelines/sanat.sql:4:1
      |
    4 | vacuum words;
      | ^^^^^^
      = hint: a file holds `create table`, `create model`, `create view`, `insert into` and `set`
    "#);
}

#[test]
fn refuses_to_create_an_index() {
    assert_snapshot!(refused("create index i on words (word);"), @r#"
    error[P0201]: `create index` does not belong in a pipeline
     --> pipelines/sanat.sql:4:8
      |
    4 | create index i on words (word);
      |        ^^^^^
      = hint: rows are kept by the keys of the queries that need them
    "#);
}

#[test]
fn refuses_to_create_a_function() {
    assert_snapshot!(refused("create function f() returns int as 'select 1';"), @r#"
    error[P0201]: `create function` does not belong in a pipeline
     --> pipelines/sanat.sql:4:8
      |
    4 | create function f() returns int as 'select 1';
      |        ^^^^^^^^
      = hint: functions are those of the platform; give a query a name with `create view`
    "#);
}

#[test]
fn refuses_a_misspelt_kind() {
    assert_snapshot!(refused("create tabel t (a int);"), @r#"
    error[P0201]: `create tabel` does not belong in a pipeline
     --> pipelines/sanat.sql:4:8
      |
    4 | create tabel t (a int);
      |        ^^^^^
      = hint: did you mean `create table`?
    "#);
}

#[test]
fn refuses_a_temporary_table() {
    assert_snapshot!(refused("create temporary table t (a int) with (connector = 'memory');"), @r#"
    error[P0201]: `create temporary` does not belong in a pipeline
     --> pipelines/sanat.sql:4:8
      |
    4 | create temporary table t (a int) with (connector = 'memory');
      |        ^^^^^^^^^
      = hint: write `create table` or `create view` alone
    "#);
}

#[test]
fn refuses_if_not_exists() {
    assert_snapshot!(refused("create table if not exists t (a int) with (connector = 'memory', type = 'source');"), @r#"
    error[P0213]: `if not exists` is not supported
     --> pipelines/sanat.sql:4:14
      |
    4 | create table if not exists t (a int) with (connector = 'memory', type = 'source');
      |              ^^
      = hint: leave it out: the file is the whole definition, nothing exists before it
    "#);
}

#[test]
fn refuses_a_table_from_a_query() {
    assert_snapshot!(refused("create table t as select word from words;"), @r#"
    error[P0213]: a table is not made from a query
     --> pipelines/sanat.sql:4:16
      |
    4 | create table t as select word from words;
      |                ^^
      = hint: write `create view t as …`
    "#);
}

#[test]
fn refuses_columns_of_a_view() {
    assert_snapshot!(refused("create view v (a) as select word from words;"), @r#"
    error[P0213]: a view's columns are not listed
     --> pipelines/sanat.sql:4:15
      |
    4 | create view v (a) as select word from words;
      |               ^
      = hint: name them in the query with `as`
    "#);
}

#[test]
fn refuses_options_of_a_view() {
    assert_snapshot!(refused("create view v with (a = 1) as select word from words;"), @r#"
    error[P0213]: a view has no options
     --> pipelines/sanat.sql:4:15
      |
    4 | create view v with (a = 1) as select word from words;
      |               ^^^^
      = hint: options belong to `create table` and `create model`
    "#);
}

#[test]
fn refuses_insert_overwrite() {
    assert_snapshot!(refused("insert overwrite out select word from words;"), @r#"
    error[P0213]: `insert overwrite` is not supported
     --> pipelines/sanat.sql:4:8
      |
    4 | insert overwrite out select word from words;
      |        ^^^^^^^^^
      = hint: write `insert into`: a sink is kept equal to its query
    "#);
}

#[test]
fn refuses_on_conflict() {
    assert_snapshot!(refused("insert into out select word from words on conflict do nothing;"), @r#"
    error[P0213]: this clause of `insert` is not supported
     --> pipelines/sanat.sql:4:40
      |
    4 | insert into out select word from words on conflict do nothing;
      |                                        ^^
      = hint: a sink with a primary key replaces rows by it anyway
    "#);
}
