//! Options of tables.

use insta::assert_snapshot;

use super::refused;

#[test]
fn refuses_a_table_without_options() {
    assert_snapshot!(refused("create table t (a int);"), @r#"
    error[P0202]: "t" needs the option "connector"
     --> pipelines/sanat.sql:4:14
      |
    4 | create table t (a int);
      |              ^
      = hint: add with (connector = …), one of 'kafka', 'log', 'file', 'lance', 'postgres', 'stdout', 'blackhole', 'memory'
    "#);
}

#[test]
fn refuses_a_misspelt_option() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'kafka', type = 'source', topc = 'äänet');"), @r#"
    error[P0203]: unknown option "topc"
     --> pipelines/sanat.sql:4:68
      |
    4 | create table t (a int) with (connector = 'kafka', type = 'source', topc = 'äänet');
      |                                                                    ^^^^
      = hint: did you mean "topic"?
    "#);
}

#[test]
fn lists_the_options_if_none_is_near() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'memory', type = 'sink', parallelism = 4);"), @r#"
    error[P0203]: unknown option "parallelism"
     --> pipelines/sanat.sql:4:67
      |
    4 | create table t (a int) with (connector = 'memory', type = 'sink', parallelism = 4);
      |                                                                   ^^^^^^^^^^^
      = hint: options of a memory sink are connector, type, mode
    "#);
}

#[test]
fn refuses_an_unknown_connector() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'kafak', type = 'source', topic = 'a');"), @r#"
    error[P0206]: unknown connector "kafak"
     --> pipelines/sanat.sql:4:42
      |
    4 | create table t (a int) with (connector = 'kafak', type = 'source', topic = 'a');
      |                                          ^^^^^^^
      = hint: did you mean 'kafka'?
    "#);
}

#[test]
fn lists_the_connectors_if_none_is_near() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'mysql', type = 'source');"), @r#"
    error[P0206]: unknown connector "mysql"
     --> pipelines/sanat.sql:4:42
      |
    4 | create table t (a int) with (connector = 'mysql', type = 'source');
      |                                          ^^^^^^^
      = hint: one of 'kafka', 'log', 'file', 'lance', 'postgres', 'stdout', 'blackhole', 'memory'
    "#);
}

#[test]
fn refuses_a_table_without_direction() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'kafka', topic = 'a');"), @r#"
    error[P0202]: "t" needs the option "type"
     --> pipelines/sanat.sql:4:14
      |
    4 | create table t (a int) with (connector = 'kafka', topic = 'a');
      |              ^
      = hint: add type = 'source' to read from it, or type = 'sink' to write to it
    "#);
}

#[test]
fn refuses_to_read_what_can_only_be_written() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'stdout', type = 'source');"), @r#"
    error[P0209]: connector "stdout" cannot be read
     --> pipelines/sanat.sql:4:59
      |
    4 | create table t (a int) with (connector = 'stdout', type = 'source');
      |                                                           ^^^^^^^^
      = hint: it can only be written: type = 'sink'
    "#);
}

#[test]
fn refuses_an_option_of_another_connector() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'file', type = 'source', path = 'a.json', topic = 'a');"), @r#"
    error[P0207]: option "topic" is not read by a file source
     --> pipelines/sanat.sql:4:84
      |
    4 | create table t (a int) with (connector = 'file', type = 'source', path = 'a.json', topic = 'a');
      |                                                                                    ^^^^^
      = hint: it is read by kafka, log
    "#);
}

#[test]
fn refuses_an_option_of_sources_for_a_sink() {
    assert_snapshot!(refused("create table t (a timestamp) with (connector = 'memory', type = 'sink', event_time = 'a');"), @r#"
    error[P0207]: option "event_time" is not read by a memory sink
     --> pipelines/sanat.sql:4:73
      |
    4 | create table t (a timestamp) with (connector = 'memory', type = 'sink', event_time = 'a');
      |                                                                         ^^^^^^^^^^
      = hint: it is read by sources
    "#);
}

#[test]
fn refuses_an_address_for_the_own_log() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'log', type = 'source', topic = 'a', bootstrap_servers = 'b:9092');"), @r#"
    error[P0207]: option "bootstrap_servers" is not read by a log source
     --> pipelines/sanat.sql:4:79
      |
    4 | create table t (a int) with (connector = 'log', type = 'source', topic = 'a', bootstrap_servers = 'b:9092');
      |                                                                               ^^^^^^^^^^^^^^^^^
      = hint: it is read by kafka
    "#);
}

#[test]
fn refuses_an_option_given_twice() {
    assert_snapshot!(refused("create table t (a timestamp) with (connector = 'memory', type = 'source', event_time = 'a', event_time_field = 'a');"), @r#"
    error[P0208]: option "event_time" is given twice
     --> pipelines/sanat.sql:4:93
      |
    4 | create table t (a timestamp) with (connector = 'memory', type = 'source', event_time = 'a', event_time_field = 'a');
      |                                                                                             ^^^^^^^^^^^^^^^^
      = hint: leave one of them out
    "#);
}

#[test]
fn refuses_a_misspelt_word_of_a_choice() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'kafka', type = 'source', topic = 'a', format = 'jsno');"), @r#"
    error[P0204]: "format" cannot be "jsno"
     --> pipelines/sanat.sql:4:90
      |
    4 | create table t (a int) with (connector = 'kafka', type = 'source', topic = 'a', format = 'jsno');
      |                                                                                          ^^^^^^
      = hint: did you mean 'json'?
    "#);
}

#[test]
fn refuses_a_value_without_quotes() {
    assert_snapshot!(refused("create table t (a int) with (connector = kafka);"), @r#"
    error[P0101]: expected a string, a number, true or false, found `kafka`
     --> pipelines/sanat.sql:4:42
      |
    4 | create table t (a int) with (connector = kafka);
      |                                          ^^^^^
      = hint: write 'kafka'
    "#);
}

#[test]
fn refuses_a_format_that_cannot_be_told() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'file', type = 'source', path = 'data/äänet');"), @r#"
    error[P0202]: the path does not tell the format of the file
     --> pipelines/sanat.sql:4:74
      |
    4 | create table t (a int) with (connector = 'file', type = 'source', path = 'data/äänet');
      |                                                                          ^^^^^^^^^^^^
      = hint: add format = 'json', 'csv' or 'parquet'
    "#);
}

#[test]
fn refuses_csv_options_for_json() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'file', type = 'source', path = 'a.json', header = false);"), @r#"
    error[P0207]: option "header" is only read if format = 'csv', and this file is json
     --> pipelines/sanat.sql:4:93
      |
    4 | create table t (a int) with (connector = 'file', type = 'source', path = 'a.json', header = false);
      |                                                                                             ^^^^^
      = hint: leave it out
    "#);
}

#[test]
fn refuses_a_delimiter_of_two_letters() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'file', type = 'source', path = 'a.csv', delimiter = ';;', header = 'maybe');"), @r#"
    error[P0204]: "delimiter" cannot be ";;"
     --> pipelines/sanat.sql:4:95
      |
    4 | create table t (a int) with (connector = 'file', type = 'source', path = 'a.csv', delimiter = ';;', header = 'maybe');
      |                                                                                               ^^^^
      = hint: it is one ASCII character

    error[P0204]: "header" cannot be "maybe"
     --> pipelines/sanat.sql:4:110
      |
    4 | create table t (a int) with (connector = 'file', type = 'source', path = 'a.csv', delimiter = ';;', header = 'maybe');
      |                                                                                                              ^^^^^^^
      = hint: it is true or false
    "#);
}

#[test]
fn refuses_an_event_time_that_is_no_timestamp() {
    assert_snapshot!(refused("create table t (a text) with (connector = 'memory', type = 'source', event_time = 'a');"), @r#"
    error[P0214]: event time "a" is not a timestamp
     --> pipelines/sanat.sql:4:83
      |
    4 | create table t (a text) with (connector = 'memory', type = 'source', event_time = 'a');
      |                                                                                   ^^^
      = hint: declare the column as timestamp or timestamptz
    "#);
}

#[test]
fn refuses_an_event_time_that_is_no_column() {
    assert_snapshot!(refused("create table t (aika timestamp) with (connector = 'memory', type = 'source', event_time = 'aikaa');"), @r#"
    error[P0214]: event time "aikaa" is not a column
     --> pipelines/sanat.sql:4:91
      |
    4 | create table t (aika timestamp) with (connector = 'memory', type = 'source', event_time = 'aikaa');
      |                                                                                           ^^^^^^^
      = hint: did you mean "aika"?
    "#);
}

#[test]
fn refuses_upsert_without_a_key() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'memory', type = 'source', changelog = 'upsert');"), @r#"
    error[P0215]: an upsert changelog needs a primary key, and "t" has none
     --> pipelines/sanat.sql:4:81
      |
    4 | create table t (a int) with (connector = 'memory', type = 'source', changelog = 'upsert');
      |                                                                                 ^^^^^^^^
      = hint: add `primary key` to the column by which a record replaces the one before it
    "#);
}

#[test]
fn refuses_a_signed_changelog_without_its_column() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'memory', type = 'source', changelog = 'signed');"), @r#"
    error[P0215]: a signed changelog needs a bigint column "diff"
     --> pipelines/sanat.sql:4:81
      |
    4 | create table t (a int) with (connector = 'memory', type = 'source', changelog = 'signed');
      |                                                                                 ^^^^^^^^
      = hint: add the column, or name another one with diff_column = 'column'
    "#);
}

#[test]
fn refuses_a_diff_column_that_nobody_reads() {
    assert_snapshot!(refused("create table t (a bigint) with (connector = 'memory', type = 'source', diff_column = 'a');"), @r#"
    error[P0207]: option "diff_column" is only read if changelog = 'signed'
     --> pipelines/sanat.sql:4:86
      |
    4 | create table t (a bigint) with (connector = 'memory', type = 'source', diff_column = 'a');
      |                                                                                      ^^^
      = hint: add changelog = 'signed', or leave it out
    "#);
}

#[test]
fn refuses_to_print_exactly_once() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'stdout', mode = 'exactly_once');"), @r#"
    error[P0501]: stdout cannot write exactly once
     --> pipelines/sanat.sql:4:59
      |
    4 | create table t (a int) with (connector = 'stdout', mode = 'exactly_once');
      |                                                           ^^^^^^^^^^^^^^
      = hint: ask for mode = 'at_least_once', or leave it out
    "#);
}

#[test]
fn refuses_exactly_once_without_a_key() {
    assert_snapshot!(refused("create table t (a int) with (connector = 'postgres', type = 'sink', mode = 'exactly_once');"), @r#"
    error[P0502]: postgres writes exactly once by primary key, and "t" has none
     --> pipelines/sanat.sql:4:76
      |
    4 | create table t (a int) with (connector = 'postgres', type = 'sink', mode = 'exactly_once');
      |                                                                            ^^^^^^^^^^^^^^
      = hint: add `primary key` to a column, or ask for mode = 'at_least_once'
    "#);
}
