//! Names, and who may be written.

use insta::assert_snapshot;

use super::refused;

#[test]
fn refuses_a_name_defined_twice() {
    assert_snapshot!(refused("create view words as select 1 as one;"), @r#"
    error[P0205]: "words" is already a source
     --> pipelines/sanat.sql:4:13
      |
    4 | create view words as select 1 as one;
      |             ^^^^^
      = hint: the first is in line 1; tables, views and models share their names
    "#);
}

#[test]
fn refuses_to_write_into_a_source() {
    assert_snapshot!(refused("insert into words select word from words;"), @r#"
    error[P0216]: "words" is a source and cannot be written
     --> pipelines/sanat.sql:4:13
      |
    4 | insert into words select word from words;
      |             ^^^^^
      = hint: a table is written if it has type = 'sink'
    "#);
}

#[test]
fn refuses_to_write_into_an_unknown_sink() {
    assert_snapshot!(refused("insert into outt select word from words;"), @r#"
    error[P0301]: unknown sink "outt"
     --> pipelines/sanat.sql:4:13
      |
    4 | insert into outt select word from words;
      |             ^^^^
      = hint: did you mean "out"?
    "#);
}

#[test]
fn refuses_an_unknown_column_of_an_insert() {
    assert_snapshot!(refused("insert into out (wrod, n, n) select word, n, n from words;"), @r#"
    error[P0302]: "out" has no column "wrod"
     --> pipelines/sanat.sql:4:18
      |
    4 | insert into out (wrod, n, n) select word, n, n from words;
      |                  ^^^^
      = hint: did you mean "word"?

    error[P0212]: column "n" is named twice
     --> pipelines/sanat.sql:4:27
      |
    4 | insert into out (wrod, n, n) select word, n, n from words;
      |                           ^
      = hint: leave one of them out
    "#);
}

#[test]
fn says_nothing_twice_about_a_definition_that_was_refused() {
    assert_snapshot!(refused(r#"create table t (a int) with (connector = 'stdot');
insert into t select n from words;"#), @r#"
    error[P0206]: unknown connector "stdot"
     --> pipelines/sanat.sql:4:42
      |
    4 | create table t (a int) with (connector = 'stdot');
      |                                          ^^^^^^^
      = hint: did you mean 'stdout'?
    "#);
}
