//! Tests in comments.

use insta::assert_snapshot;

use super::refused;

#[test]
fn refuses_a_test_without_a_name() {
    assert_snapshot!(refused(r#"-- test:
-- expect counts
"#), @r#"
    error[P0701]: the test has no name
     --> pipelines/sanat.sql:4:4
      |
    4 | -- test:
      |    ^^^^^
      = hint: say what it claims: -- test: forgets a deleted word
    "#);
}

#[test]
fn refuses_a_test_that_expects_nothing() {
    assert_snapshot!(refused(r#"-- test: laskee
-- given words
-- {"word": "yö"}
"#), @r#"
    error[P0705]: the test "laskee" expects nothing
     --> pipelines/sanat.sql:4:4
      |
    4 | -- test: laskee
      |    ^^^^^^^^^^^^
      = hint: add a line such as -- expect VIEW, and its rows below
    "#);
}

#[test]
fn refuses_two_tests_of_one_name() {
    assert_snapshot!(refused(r#"-- test: laskee
-- expect counts
-- test: laskee
-- expect counts
"#), @r#"
    error[P0205]: "laskee" is already a test
     --> pipelines/sanat.sql:6:4
      |
    6 | -- test: laskee
      |    ^^^^^^^^^^^^
      = hint: the first is in line 4
    "#);
}

#[test]
fn refuses_rows_that_are_no_objects() {
    assert_snapshot!(refused(r#"-- test: laskee
-- given words
-- {"word": "yö", n}
-- [1]
-- {"word": "yö"
-- expect counts
"#), @r#"
    error[P0702]: the row is not JSON: key must be a string
     --> pipelines/sanat.sql:6:19
      |
    6 | -- {"word": "yö", n}
      |                   ^
      = hint: a row is one JSON object in one line

    error[P0702]: a row is a JSON object
     --> pipelines/sanat.sql:7:4
      |
    7 | -- [1]
      |    ^^^
      = hint: write it as {"column": value, …}

    error[P0702]: the row is cut off
     --> pipelines/sanat.sql:8:17
      |
    8 | -- {"word": "yö"
      |                 ^
      = hint: a row is one JSON object in one line
    "#);
}

#[test]
fn refuses_to_expect_a_deletion() {
    assert_snapshot!(refused(r#"-- test: laskee
-- expect counts
-- - {"word": "yö"}
"#), @r#"
    error[P0702]: an expected row cannot be a deletion
     --> pipelines/sanat.sql:6:4
      |
    6 | -- - {"word": "yö"}
      |    ^^^^^^^^^^^^^^^^
      = hint: leave the row out: all rows are listed that are left
    "#);
}

#[test]
fn refuses_to_give_rows_to_a_view() {
    assert_snapshot!(refused(r#"-- test: laskee
-- given counts
-- given wrods
-- expect words
-- expect count
"#), @r#"
    error[P0703]: "counts" is a view, not a source
     --> pipelines/sanat.sql:5:10
      |
    5 | -- given counts
      |          ^^^^^^
      = hint: one of words

    error[P0703]: unknown source "wrods"
     --> pipelines/sanat.sql:6:10
      |
    6 | -- given wrods
      |          ^^^^^
      = hint: did you mean "words"?

    error[P0703]: "words" is a source, not a view or sink
     --> pipelines/sanat.sql:7:11
      |
    7 | -- expect words
      |           ^^^^^
      = hint: one of counts, out

    error[P0703]: unknown view or sink "count"
     --> pipelines/sanat.sql:8:11
      |
    8 | -- expect count
      |           ^^^^^
      = hint: did you mean "counts"?
    "#);
}

#[test]
fn refuses_a_field_that_is_no_column() {
    assert_snapshot!(refused(r#"-- test: laskee
-- given words
-- {"sana": "yö", "wordd": 1}
-- expect out
-- {"word": "yö", "nn": 1}
"#), @r#"
    error[P0704]: "words" has no column "sana"
     --> pipelines/sanat.sql:6:5
      |
    6 | -- {"sana": "yö", "wordd": 1}
      |     ^^^^^^
      = hint: its columns are word, at, n

    error[P0704]: "words" has no column "wordd"
     --> pipelines/sanat.sql:6:19
      |
    6 | -- {"sana": "yö", "wordd": 1}
      |                   ^^^^^^^
      = hint: did you mean "word"?

    error[P0704]: "out" has no column "nn"
     --> pipelines/sanat.sql:8:19
      |
    8 | -- {"word": "yö", "nn": 1}
      |                   ^^^^
      = hint: did you mean "n"?
    "#);
}

#[test]
fn refuses_a_line_that_is_not_understood() {
    assert_snapshot!(refused(r#"-- test: laskee
-- {"word": "yö"}
-- giv words
-- expect counts
-- and so on
"#), @r#"
    error[P0701]: this line of a test is not understood
     --> pipelines/sanat.sql:5:4
      |
    5 | -- {"word": "yö"}
      |    ^^^^^^^^^^^^^^
      = hint: a test goes on with `given TABLE`, `then`, `expect NAME` or a row {…}
              a blank line ends it

    error[P0701]: this line of a test is not understood
     --> pipelines/sanat.sql:6:4
      |
    6 | -- giv words
      |    ^^^^^^^^^
      = hint: a test goes on with `given TABLE`, `then`, `expect NAME` or a row {…}
              a blank line ends it

    error[P0701]: this line of a test is not understood
     --> pipelines/sanat.sql:8:4
      |
    8 | -- and so on
      |    ^^^^^^^^^
      = hint: a test goes on with `given TABLE`, `then`, `expect NAME` or a row {…}
              a blank line ends it
    "#);
}

#[test]
fn refuses_a_step_behind_a_blank_line() {
    assert_snapshot!(refused(r#"-- test: laskee
-- expect counts

-- given words
"#), @r#"
    error[P0701]: this step stands behind the end of its test
     --> pipelines/sanat.sql:7:4
      |
    7 | -- given words
      |    ^^^^^^^^^^^
      = hint: a blank line ends a test; write `--` alone to keep some space
    "#);
}
