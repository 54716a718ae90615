//! What is not SQL.

use insta::assert_snapshot;

use super::refused;

#[test]
fn refuses_a_typing_error_in_a_query() {
    assert_snapshot!(refused("create view päivät as select word frm words wher n = 1;"), @r#"
    error[P0101]: expected the end of the statement, found `words`
     --> pipelines/sanat.sql:4:39
      |
    4 | create view päivät as select word frm words wher n = 1;
      |                                       ^^^^^
      = hint: did you mean `from` instead of `frm`?
    "#);
}

#[test]
fn refuses_a_query_that_stops() {
    assert_snapshot!(refused("create view v as select word from"), @r#"
    error[P0101]: expected identifier, found the end of the statement
     --> pipelines/sanat.sql:4:34
      |
    4 | create view v as select word from
      |                                  ^
    "#);
}

#[test]
fn refuses_a_missing_semicolon() {
    assert_snapshot!(refused(r#"create view v as select 'yö' as word from words
insert into out select word from v;"#), @r#"
    error[P0101]: expected the end of the statement, found `into`
     --> pipelines/sanat.sql:5:8
      |
    5 | insert into out select word from v;
      |        ^^^^
      = hint: is a `;` missing before `insert`?
    "#);
}

#[test]
fn refuses_a_string_that_is_not_closed_and_reads_what_is_before_it() {
    assert_snapshot!(refused(r#"drop table t;
create view v as select 'yö from words;"#), @r#"
    error[P0201]: `drop` does not belong in a pipeline
     --> pipelines/sanat.sql:4:1
      |
    4 | drop table t;
      | ^^^^
      = hint: the file is the whole definition: edit or remove the statement that creates it

    error[P0102]: unterminated string literal
     --> pipelines/sanat.sql:5:25
      |
    5 | create view v as select 'yö from words;
      |                         ^
      = hint: a string ends with ', and a ' inside of it is written ''
    "#);
}

#[test]
fn refuses_a_comment_that_is_not_closed() {
    assert_snapshot!(refused(r#"create view v as select word /* hyvää yötä
from words;"#), @r#"
    error[P0102]: unterminated comment
     --> pipelines/sanat.sql:4:30
      |
    4 | create view v as select word /* hyvää yötä
      |                              ^
      = hint: a comment that begins with /* ends with */
    "#);
}

#[test]
fn refuses_backticks() {
    assert_snapshot!(refused("create view `v` as select word from words;"), @r#"
    error[P0101]: expected a view's name, found ```
     --> pipelines/sanat.sql:4:13
      |
    4 | create view `v` as select word from words;
      |             ^
      = hint: names are quoted with double quotes
    "#);
}

#[test]
fn refuses_curly_quotes() {
    assert_snapshot!(refused("create view v as select ‘yö’ from words;"), @r#"
    error[P0102]: `‘yö’` is not quoted as SQL quotes
     --> pipelines/sanat.sql:4:25
      |
    4 | create view v as select ‘yö’ from words;
      |                         ^^^^
      = hint: strings are quoted with ' and names with "
    "#);
}

#[test]
fn refuses_a_name_with_a_schema() {
    assert_snapshot!(refused("create view public.v as select word from words;"), @r#"
    error[P0101]: a name of a pipeline file has one part, without a schema before it
     --> pipelines/sanat.sql:4:13
      |
    4 | create view public.v as select word from words;
      |             ^^^^^^^
    "#);
}

#[test]
fn refuses_an_empty_name() {
    assert_snapshot!(refused(r#"create view "" as select word from words;"#), @r#"
    error[P0101]: expected a view's name, found an empty name
     --> pipelines/sanat.sql:4:13
      |
    4 | create view "" as select word from words;
      |             ^^
    "#);
}

#[test]
fn refuses_a_byte_order_mark() {
    assert_snapshot!(refused("\u{feff}create view v as select word from words;"), @r#"
    error[P0102]: the file begins with a byte order mark
     --> pipelines/sanat.sql:4:1
      |
    4 | ﻿create view v as select word from words;
      | ^^^^^^^
      = hint: save it as UTF-8 without a byte order mark
    "#);
}

#[test]
fn refuses_deep_nesting() {
    assert_snapshot!(refused(&format!("create view v as select {}1{};", "(".repeat(80), ")".repeat(80))), @r#"
    error[P0103]: the statement is nested too deeply
     --> pipelines/sanat.sql:4:1
      |
    4 | create view v as select ((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))))))))))))))))))))))))))…
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: give its inner queries names with `create view`
    "#);
}

#[test]
fn refuses_deep_lists() {
    assert_snapshot!(refused(&format!("create table t (a {}int{}) with (connector = 'memory');", "array<".repeat(40), ">".repeat(40))), @r#"
    error[P0103]: the statement has more than 16384 words or 16 nested lists
     --> pipelines/sanat.sql:4:1
      |
    4 | create table t (a array<array<array<array<array<array<array<array<array<array<array<array<array<array<array<array<array<array<array<array<array<array<array<arra…
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = hint: give its inner queries names with `create view`
    "#);
}
