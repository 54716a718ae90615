//! Pipeline files as text: what they become, and what is said about wrong ones.

mod cases;
mod columns;
mod good;
mod models;
mod mutations;
mod names;
mod options;
mod statements;
mod syntax;

use ajatus_sql::diagnostic::{Diagnostics, Source};
use ajatus_sql::script::parse;

/// A source, a sink and a view that wrong statements may use.
const BASE: &str = "\
create table words (word text not null, at timestamp, n bigint) with (connector = 'memory', type = 'source');
create table out (word text primary key, n bigint) with (connector = 'memory', type = 'sink');
create view counts as select word, count(*) as n from words group by word;
";

/// Gives what is said about a file that is wrong behind its first three lines.
fn refused(sql: &str) -> String {
    let source = Source::new("pipelines/sanat.sql", format!("{BASE}{sql}"));
    match parse(&source) {
        Ok(script) => panic!("it was accepted: {script:#?}"),
        Err(found) => Diagnostics(found).render(&source),
    }
}
