//! Columns, types and keys.

use insta::assert_snapshot;

use super::refused;

#[test]
fn refuses_a_column_without_a_type() {
    assert_snapshot!(refused("create table t (sana, n int) with (connector = 'memory', type = 'source');"), @r#"
    error[P0101]: expected the type of column "sana", found `,`
     --> pipelines/sanat.sql:4:21
      |
    4 | create table t (sana, n int) with (connector = 'memory', type = 'source');
      |                     ^
    "#);
}

#[test]
fn refuses_an_unknown_type() {
    assert_snapshot!(refused("create table t (sijainti point, lista text[3]) with (connector = 'memory', type = 'source');"), @r#"
    error[P0210]: columns of type point are not kept
     --> pipelines/sanat.sql:4:26
      |
    4 | create table t (sijainti point, lista text[3]) with (connector = 'memory', type = 'source');
      |                          ^^^^^
      = hint: types are boolean, tinyint, smallint, int, bigint (each also unsigned), real, double precision,
              decimal(p, s), text, bytea, date, timestamp, timestamptz, json, uuid, vector(n), and lists of them such as text[]

    error[P0210]: the length of text[3] would not be checked
     --> pipelines/sanat.sql:4:39
      |
    4 | create table t (sijainti point, lista text[3]) with (connector = 'memory', type = 'source');
      |                                       ^^^^^^^
      = hint: write vector(3) for numbers of an embedding, or the list without its length
    "#);
}

#[test]
fn suggests_a_type() {
    assert_snapshot!(refused("create table t (a strin, b datetime, c vectr(3)) with (connector = 'memory', type = 'source');"), @r#"
    error[P0210]: columns of type strin are not kept
     --> pipelines/sanat.sql:4:19
      |
    4 | create table t (a strin, b datetime, c vectr(3)) with (connector = 'memory', type = 'source');
      |                   ^^^^^
      = hint: did you mean string?

    error[P0210]: columns of type datetime are not kept
     --> pipelines/sanat.sql:4:28
      |
    4 | create table t (a strin, b datetime, c vectr(3)) with (connector = 'memory', type = 'source');
      |                            ^^^^^^^^
      = hint: did you mean timestamp?

    error[P0210]: columns of type vectr(3) are not kept
     --> pipelines/sanat.sql:4:40
      |
    4 | create table t (a strin, b datetime, c vectr(3)) with (connector = 'memory', type = 'source');
      |                                        ^^^^^^^^
      = hint: did you mean vector?
    "#);
}

#[test]
fn refuses_lengths_that_nobody_checks() {
    assert_snapshot!(refused("create table t (a varchar(10), b char(2), c timestamp(3), d text[][]) with (connector = 'memory', type = 'source');"), @r#"
    error[P0210]: the length of varchar(10) would not be checked
     --> pipelines/sanat.sql:4:19
      |
    4 | create table t (a varchar(10), b char(2), c timestamp(3), d text[][]) with (connector = 'memory', type = 'source');
      |                   ^^^^^^^^^^^
      = hint: write text

    error[P0210]: the length of char(2) would not be checked
     --> pipelines/sanat.sql:4:34
      |
    4 | create table t (a varchar(10), b char(2), c timestamp(3), d text[][]) with (connector = 'memory', type = 'source');
      |                                  ^^^^^^^
      = hint: write text

    error[P0210]: timestamp(3) is kept in microseconds, as every timestamp
     --> pipelines/sanat.sql:4:45
      |
    4 | create table t (a varchar(10), b char(2), c timestamp(3), d text[][]) with (connector = 'memory', type = 'source');
      |                                             ^^^^^^^^^^^^
      = hint: leave the precision out

    error[P0210]: lists of lists are not kept
     --> pipelines/sanat.sql:4:61
      |
    4 | create table t (a varchar(10), b char(2), c timestamp(3), d text[][]) with (connector = 'memory', type = 'source');
      |                                                             ^^^^^^^^
      = hint: keep the inner list as json
    "#);
}

#[test]
fn refuses_a_decimal_out_of_bounds() {
    assert_snapshot!(refused("create table t (a decimal, b decimal(39, 2), c numeric(4, 5)) with (connector = 'memory', type = 'source');"), @r#"
    error[P0210]: a decimal needs its digits
     --> pipelines/sanat.sql:4:19
      |
    4 | create table t (a decimal, b decimal(39, 2), c numeric(4, 5)) with (connector = 'memory', type = 'source');
      |                   ^^^^^^^
      = hint: write decimal(18, 2) for 18 digits, 2 of them behind the point

    error[P0210]: decimal(39, 2) is out of bounds
     --> pipelines/sanat.sql:4:30
      |
    4 | create table t (a decimal, b decimal(39, 2), c numeric(4, 5)) with (connector = 'memory', type = 'source');
      |                              ^^^^^^^^^^^^^^
      = hint: it has 1 to 38 digits, and not more of them behind the point

    error[P0210]: decimal(4, 5) is out of bounds
     --> pipelines/sanat.sql:4:48
      |
    4 | create table t (a decimal, b decimal(39, 2), c numeric(4, 5)) with (connector = 'memory', type = 'source');
      |                                                ^^^^^^^^^^^^^
      = hint: it has 1 to 38 digits, and not more of them behind the point
    "#);
}

#[test]
fn refuses_a_vector_without_its_length() {
    assert_snapshot!(refused("create table t (a vector, b vector(20000), c array<vector(3)>) with (connector = 'memory', type = 'source');"), @r#"
    error[P0210]: a vector needs its length
     --> pipelines/sanat.sql:4:19
      |
    4 | create table t (a vector, b vector(20000), c array<vector(3)>) with (connector = 'memory', type = 'source');
      |                   ^^^^^^
      = hint: write vector(n) with n from 1 to 16384, the model's dimensions

    error[P0210]: the length of the vector is out of bounds
     --> pipelines/sanat.sql:4:29
      |
    4 | create table t (a vector, b vector(20000), c array<vector(3)>) with (connector = 'memory', type = 'source');
      |                             ^^^^^^^^^^^^^
      = hint: write vector(n) with n from 1 to 16384, the model's dimensions

    error[P0210]: lists of vectors are not kept
     --> pipelines/sanat.sql:4:46
      |
    4 | create table t (a vector, b vector(20000), c array<vector(3)>) with (connector = 'memory', type = 'source');
      |                                              ^^^^^^^^^^^^^^^^
      = hint: give each vector a row of its own
    "#);
}

#[test]
fn refuses_a_default() {
    assert_snapshot!(refused("create table t (a int default 1) with (connector = 'memory', type = 'source');"), @r#"
    error[P0213]: `default` is not supported
     --> pipelines/sanat.sql:4:23
      |
    4 | create table t (a int default 1) with (connector = 'memory', type = 'source');
      |                       ^^^^^^^
      = hint: give a missing value with coalesce(column, value) in a view
    "#);
}

#[test]
fn refuses_a_generated_column() {
    assert_snapshot!(refused("create table t (a int, b int generated always as (a + 1) stored) with (connector = 'memory', type = 'source');"), @r#"
    error[P0213]: `generated` is not supported
     --> pipelines/sanat.sql:4:30
      |
    4 | create table t (a int, b int generated always as (a + 1) stored) with (connector = 'memory', type = 'source');
      |                              ^^^^^^^^^
      = hint: compute the column in a view
    "#);
}

#[test]
fn refuses_a_watermark() {
    assert_snapshot!(refused("create table t (a timestamp, watermark for a) with (connector = 'memory', type = 'source');"), @r#"
    error[P0213]: `watermark for` is not supported
     --> pipelines/sanat.sql:4:30
      |
    4 | create table t (a timestamp, watermark for a) with (connector = 'memory', type = 'source');
      |                              ^^^^^^^^^
      = hint: name the column in the options: with (event_time = 'column')
    "#);
}

#[test]
fn refuses_a_unique_constraint() {
    assert_snapshot!(refused("create table t (a int, unique (a)) with (connector = 'memory', type = 'source');"), @r#"
    error[P0213]: this constraint is not supported
     --> pipelines/sanat.sql:4:24
      |
    4 | create table t (a int, unique (a)) with (connector = 'memory', type = 'source');
      |                        ^^^^^^
      = hint: only `not null` and `primary key` are checked
    "#);
}

#[test]
fn refuses_a_named_constraint() {
    assert_snapshot!(refused("create table t (a int, constraint k primary key (a)) with (connector = 'memory', type = 'source');"), @r#"
    error[P0213]: a named constraint is not supported
     --> pipelines/sanat.sql:4:24
      |
    4 | create table t (a int, constraint k primary key (a)) with (connector = 'memory', type = 'source');
      |                        ^^^^^^^^^^
      = hint: write `primary key (…)` alone
    "#);
}

#[test]
fn refuses_partitions() {
    assert_snapshot!(refused("create table t (a int) partitioned by (a) with (connector = 'memory', type = 'source');"), @r#"
    error[P0213]: `partitioned` is not supported
     --> pipelines/sanat.sql:4:24
      |
    4 | create table t (a int) partitioned by (a) with (connector = 'memory', type = 'source');
      |                        ^^^^^^^^^^^
      = hint: rows are distributed by the keys of the queries
    "#);
}

#[test]
fn refuses_a_column_named_twice() {
    assert_snapshot!(refused("create table t (sana text, SANA text) with (connector = 'memory', type = 'source');"), @r#"
    error[P0212]: column "sana" is named twice
     --> pipelines/sanat.sql:4:28
      |
    4 | create table t (sana text, SANA text) with (connector = 'memory', type = 'source');
      |                            ^^^^
      = hint: leave one of them out
    "#);
}

#[test]
fn refuses_a_key_that_is_no_column() {
    assert_snapshot!(refused("create table t (sana text, primary key (sanaa, sana, sana)) with (connector = 'memory', type = 'source');"), @r#"
    error[P0211]: the primary key names "sanaa", which is not a column
     --> pipelines/sanat.sql:4:41
      |
    4 | create table t (sana text, primary key (sanaa, sana, sana)) with (connector = 'memory', type = 'source');
      |                                         ^^^^^
      = hint: did you mean "sana"?

    error[P0211]: the primary key names "sana" twice
     --> pipelines/sanat.sql:4:54
      |
    4 | create table t (sana text, primary key (sanaa, sana, sana)) with (connector = 'memory', type = 'source');
      |                                                      ^^^^
    "#);
}

#[test]
fn refuses_two_keys() {
    assert_snapshot!(refused("create table t (a int primary key, b int primary key) with (connector = 'memory', type = 'source');"), @r#"
    error[P0211]: the table has two primary keys
     --> pipelines/sanat.sql:4:36
      |
    4 | create table t (a int primary key, b int primary key) with (connector = 'memory', type = 'source');
      |                                    ^^^^^^^^^^^^^^^^^
      = hint: a key of several columns is written as primary key (a, b)
    "#);
}

#[test]
fn refuses_a_table_without_columns() {
    assert_snapshot!(refused("create table t () with (connector = 'memory', type = 'source');"), @r#"
    error[P0217]: "t" has no columns
     --> pipelines/sanat.sql:4:14
      |
    4 | create table t () with (connector = 'memory', type = 'source');
      |              ^
      = hint: columns are not guessed from the data: list them with their types
    "#);
}
