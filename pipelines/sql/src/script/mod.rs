//! From the text of a pipeline file to typed statements.
//!
//! ```sql
//! create table words (word text not null) with (connector = 'kafka', type = 'source', topic = 'words');
//! create table counts (word text primary key, n bigint) with (connector = 'postgres', type = 'sink');
//! create view counted as select word, count(*) as n from words group by word;
//! insert into counts select word, n from counted;
//! ```
//!
//! Five kinds of statement: `create table`, `create model`, `create view` (also `or replace` and `materialized`, which say
//! nothing new here), `insert into`, and `set` for what holds for the whole file. Comments may hold tests; the header of `cases` gives their grammar.
//!
//! Holds always: every text gives a script or at least one finding with a place; a statement after a wrong one is still read;
//! names that no query could mean are refused before any query is planned. All positions count from the file's beginning, also
//! those inside of queries. Not promised: that a query has a meaning; the planner says that.

mod cases;
mod connector;
mod cursor;
mod lexer;
mod model;
mod names;
mod options;
mod settings;
mod statement;
mod table;
mod types;
mod value;

use std::collections::BTreeSet;

pub use cases::{Case, CaseRow, CaseStep};
pub use connector::{Connector, FileFormat, PrintFormat, RecordFormat, StartingOffsets};
pub use model::{Model, Provider, Task, Writing};
pub use options::option_reference;
pub(crate) use settings::filled;
pub use statement::{Insert, Set, Statement, View};
pub use table::{BadData, Changelog, Column, Direction, Mode, Table};
pub use types::Content;

use crate::diagnostic::{Diagnostic, Source};

/// A file that is well formed.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Its statements, in their order.
    pub statements: Vec<Statement>,
    /// Its tests, in their order.
    pub cases: Vec<Case>,
}

impl Script {
    /// Rounds of a recursion at most.
    #[must_use]
    pub fn max_rounds(&self) -> u64 {
        let set = self.statements.iter().find_map(|statement| if let Statement::Set(set) = statement { Some(set.value) } else { None });
        set.unwrap_or(crate::plan::MAX_ROUNDS)
    }
}

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with it, in the order of the places.
pub fn parse(source: &Source) -> Result<Script, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let lexed = lexer::lex(source, &mut errors);
    let mut statements = Vec::new();
    let mut refused = BTreeSet::new();
    for words in lexed.statements {
        match statement::parse(source, words, &mut errors) {
            Ok(statement) => statements.push(statement),
            Err(meant) => refused.extend(meant),
        }
    }
    let names = names::Names::collect(source, &statements, &refused, &mut errors);
    for statement in &statements {
        if let Statement::Insert(insert) = statement {
            names.check_insert(insert, &mut errors);
        }
    }
    let cases = cases::parse(source, &lexed.comment_lines, &names, &mut errors);
    if errors.is_empty() {
        return Ok(Script { statements, cases });
    }
    errors.sort_by_key(|found| found.span);
    Err(errors)
}
