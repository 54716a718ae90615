//! Tests kept beside the definition, in comments, so that the file stays SQL for everybody else.
//!
//! ```sql
//! -- test: counts words and forgets the deleted
//! -- given words
//! -- {"word": "yö"}
//! -- {"word": "yö"}
//! -- then
//! -- expect counts
//! -- {"word": "yö", "n": 2}
//! --
//! -- given words
//! -- - {"word": "yö"}
//! -- then
//! -- expect counts
//! -- {"word": "yö", "n": 1}
//! ```
//!
//! A test stands on lines that hold nothing but a `--` comment. What follows the dashes, spaces around it left out, is
//!
//! ```text
//! case   = "test:" NAME { step }          until the next "test:" or the first line that is not such a comment
//! step   = "given" TABLE { row }          rows of a source
//!        | "then"                         closes the epoch of the rows given so far
//!        | "expect" TABLE { document }    all rows of a view or sink as of that moment, in any order, duplicates counted
//! row    = [ "- " ] document              with "- ", the row is taken back
//! ```
//!
//! where a document is one JSON object and a table a name as in SQL: folded unless in double quotes. A line with nothing after
//! the dashes is ignored. `expect` closes an open epoch by itself, so `then` before it may be left out; a case whose last
//! given rows are not followed by `expect` closes them at its end.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::names::{Names, kind, sink, source};
use super::statement::Statement;
use crate::diagnostic::{Code, Diagnostic, Source, Span};

/// One test of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What it claims.
    pub name: String,
    /// Its first line.
    pub span: Span,
    /// What is done and expected, in order. Rows are always followed by a [`CaseStep::Close`] before anything is expected.
    pub steps: Vec<CaseStep>,
}

/// One step of a test.
#[derive(Clone, Debug, PartialEq)]
pub enum CaseStep {
    /// Rows arrive at a source.
    Given {
        /// The source's name.
        table: String,
        /// The rows in their order.
        rows: Vec<CaseRow>,
        /// The line of `given`.
        span: Span,
    },
    /// The epoch of the rows given so far ends.
    Close,
    /// A view or sink holds exactly these rows.
    Expect {
        /// The view's or sink's name.
        name: String,
        /// The rows in any order; each has a diff of 1.
        rows: Vec<CaseRow>,
        /// The line of `expect`.
        span: Span,
    },
}

/// One row of a test.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseRow {
    /// Its fields.
    pub document: Map<String, Value>,
    /// 1, or -1 for a row that is taken back.
    pub diff: i64,
    /// The document in the file.
    pub span: Span,
}

/// Reads all cases; `comments` are the numbers of the lines that begin with a comment.
pub(super) fn parse(file: &Source, comments: &BTreeSet<u64>, names: &Names<'_>, errors: &mut Vec<Diagnostic>) -> Vec<Case> {
    let mut reader = Reader { file, names, errors, cases: Vec::new(), state: State::Outside };
    let mut start = 0;
    for (number, line) in (1u64..).zip(file.text.split_inclusive('\n')) {
        match comments.contains(&number).then(|| comment(line, start)).flatten() {
            Some((text, span)) => reader.line(text, span),
            None => reader.gap(line.trim().is_empty()),
        }
        start += line.len();
    }
    reader.end_case();
    let cases = std::mem::take(&mut reader.cases);
    let mut first: BTreeMap<&str, Span> = BTreeMap::new();
    for case in &cases {
        match first.get(case.name.as_str()) {
            None => {
                first.insert(&case.name, case.span);
            }
            Some(span) => {
                let line = file.position(span.start).line;
                let found = Diagnostic::new(Code::DuplicateName, format!("\"{}\" is already a test", case.name)).at(case.span);
                errors.push(found.hint(format!("the first is in line {line}")));
            }
        }
    }
    cases
}

/// Gives the text of a comment line and its place.
fn comment(line: &str, start: usize) -> Option<(&str, Span)> {
    let inner = line.trim_start().strip_prefix("--")?;
    let text = inner.trim();
    let before = line.len() - inner.len() + (inner.len() - inner.trim_start().len());
    let at = start + if text.is_empty() { 0 } else { before };
    Some((text, Span::new(at, at + text.len())))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No case has begun, or other text came after it.
    Outside,
    /// Only blank lines came after a case.
    Behind,
    /// In a case.
    Inside,
}

struct Reader<'r> {
    file: &'r Source,
    names: &'r Names<'r>,
    errors: &'r mut Vec<Diagnostic>,
    cases: Vec<Case>,
    state: State,
}

impl Reader<'_> {
    /// Takes a line that is no comment.
    fn gap(&mut self, blank: bool) {
        self.end_case();
        if !blank || self.state == State::Outside {
            self.state = State::Outside;
        } else {
            self.state = State::Behind;
        }
    }

    /// Takes a comment.
    fn line(&mut self, text: &str, span: Span) {
        if let Some(name) = text.strip_prefix("test:") {
            self.end_case();
            if name.trim().is_empty() {
                let found = Diagnostic::new(Code::StrayTestLine, "the test has no name").at(span);
                self.errors.push(found.hint("say what it claims: -- test: forgets a deleted word"));
            }
            self.cases.push(Case { name: name.trim().to_owned(), span, steps: Vec::new() });
            self.state = State::Inside;
            return;
        }
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let target = rest.trim();
        if self.state != State::Inside {
            let one = !target.is_empty() && !target.contains(char::is_whitespace);
            let step = (matches!(word, "given" | "expect") && one) || text == "then";
            if self.state == State::Behind && step {
                let found = Diagnostic::new(Code::StrayTestLine, "this step stands behind the end of its test").at(span);
                self.errors.push(found.hint("a blank line ends a test; write `--` alone to keep some space"));
            }
            return;
        }
        match word {
            "" => {}
            "given" if !target.is_empty() => {
                let table = self.target(target, span, source, "source");
                self.push(CaseStep::Given { table, rows: Vec::new(), span });
            }
            "expect" if !target.is_empty() => {
                let name = self.target(target, span, |it| sink(it) || matches!(it, Statement::View(_)), "view or sink");
                self.close();
                self.push(CaseStep::Expect { name, rows: Vec::new(), span });
            }
            "then" if target.is_empty() => self.close(),
            _ => self.row(text, span),
        }
    }

    fn push(&mut self, step: CaseStep) {
        if let Some(case) = self.cases.last_mut() {
            case.steps.push(step);
        }
    }

    /// Closes the open epoch; without rows there is none.
    fn close(&mut self) {
        let open = self.cases.last().and_then(|case| case.steps.last());
        if matches!(open, Some(CaseStep::Given { .. })) {
            self.push(CaseStep::Close);
        }
    }

    fn end_case(&mut self) {
        if self.state != State::Inside {
            return;
        }
        self.close();
        self.state = State::Behind;
        if let Some(case) = self.cases.last()
            && !case.steps.iter().any(|step| matches!(step, CaseStep::Expect { .. }))
        {
            let found = Diagnostic::new(Code::NothingExpected, format!("the test \"{}\" expects nothing", case.name));
            self.errors.push(found.at(case.span).hint("add a line such as -- expect VIEW, and its rows below"));
        }
    }

    /// Checks the name after `given` or `expect`.
    fn target(&mut self, text: &str, span: Span, fits: impl Fn(&Statement) -> bool, wanted: &str) -> String {
        let name = match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(quoted) => quoted.to_owned(),
            None => text.to_ascii_lowercase(),
        };
        let at = Span::new(span.end - text.len(), span.end);
        let fitting = self.names.of(&fits);
        let message = match self.names.get(&name) {
            Some(statement) if fits(statement) => return name,
            Some(statement) => format!("\"{name}\" is a {}, not a {wanted}", kind(statement)),
            None if self.names.refused(&name) => return name,
            None => format!("unknown {wanted} \"{name}\""),
        };
        let found = Diagnostic::new(Code::WrongTestTable, message).at(at);
        let found = if fitting.is_empty() { found } else { found.hint(format!("one of {}", fitting.join(", "))) };
        self.errors.push(found.suggest(&name, fitting));
        name
    }

    /// Takes a line that must be a row of the step before it.
    fn row(&mut self, text: &str, span: Span) {
        let (document, diff) = match text.strip_prefix('-').filter(|_| !text.starts_with("--")) {
            Some(document) => (document.trim_start(), -1),
            None => (text, 1),
        };
        let document_span = Span::new(span.end - document.len(), span.end);
        let step = self.cases.last_mut().and_then(|case| case.steps.last_mut());
        let (name, rows, given) = match step {
            Some(CaseStep::Given { table, rows, .. }) => (table, rows, true),
            Some(CaseStep::Expect { name, rows, .. }) => (name, rows, false),
            _ => return self.stray(span),
        };
        if !document.starts_with(['{', '[', '"']) {
            return self.stray(span);
        }
        if diff < 0 && !given {
            let found = Diagnostic::new(Code::BadRow, "an expected row cannot be a deletion").at(span);
            return self.errors.push(found.hint("leave the row out: all rows are listed that are left"));
        }
        match serde_json::from_str::<Value>(document) {
            Ok(Value::Object(document)) => {
                let table = self.names.get(name);
                rows.push(CaseRow { document, diff, span: document_span });
                if let (Some(Statement::Table(table)), Some(row)) = (table, rows.last()) {
                    let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
                    for field in row.document.keys().filter(|field| !columns.contains(&field.as_str())) {
                        let message = format!("\"{}\" has no column \"{field}\"", table.name);
                        let found = Diagnostic::new(Code::UnknownTestColumn, message).at(self.file.field(document_span, field));
                        let listed = found.hint(format!("its columns are {}", columns.join(", ")));
                        self.errors.push(listed.suggest(field, columns.iter().copied()));
                    }
                }
            }
            Ok(_) => {
                let found = Diagnostic::new(Code::BadRow, "a row is a JSON object").at(document_span);
                self.errors.push(found.hint("write it as {\"column\": value, …}"));
            }
            Err(error) => {
                let text = error.to_string();
                let (message, read) = match (error.is_eof(), text.split_once(" at line ")) {
                    (false, Some((reason, _))) => (format!("the row is not JSON: {reason}"), error.column().saturating_sub(1)),
                    _ => ("the row is cut off".to_owned(), document.len()),
                };
                let at = self.file.letter(document_span.start + read);
                let found = Diagnostic::new(Code::BadRow, message).at(at);
                self.errors.push(found.hint("a row is one JSON object in one line"));
            }
        }
    }

    fn stray(&mut self, span: Span) {
        let found = Diagnostic::new(Code::StrayTestLine, "this line of a test is not understood").at(span);
        self.errors
            .push(found.hint("a test goes on with `given TABLE`, `then`, `expect NAME` or a row {…}\na blank line ends it"));
    }
}

impl Source {
    /// Finds a field's name in a document; the whole document if it is written with escapes.
    fn field(&self, document: Span, field: &str) -> Span {
        let name = format!("\"{field}\"");
        match self.slice(document).find(&name) {
            Some(at) => Span::new(document.start + at, document.start + at + name.len()),
            None => document,
        }
    }
}
