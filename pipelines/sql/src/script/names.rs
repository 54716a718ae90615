//! The one space of names of a file: every name is defined once, and inserts write into sinks.

use std::collections::{BTreeMap, BTreeSet};

use super::statement::{Insert, Set, Statement};
use super::table::{Direction, Table};
use crate::diagnostic::{Code, Diagnostic, Source};

/// Names and what they stand for; the first definition counts.
pub(super) struct Names<'s> {
    defined: BTreeMap<&'s str, &'s Statement>,
    /// Names of definitions that were refused; nothing is said about them again.
    refused: &'s BTreeSet<String>,
}

impl<'s> Names<'s> {
    /// Collects the names and reports those that are defined twice.
    pub(super) fn collect(
        source: &Source,
        statements: &'s [Statement],
        refused: &'s BTreeSet<String>,
        errors: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut defined: BTreeMap<&str, &Statement> = BTreeMap::new();
        let mut settings: BTreeMap<&str, &Set> = BTreeMap::new();
        for statement in statements.iter().filter(|statement| !matches!(statement, Statement::Insert(_))) {
            if let Statement::Set(set) = statement {
                if let Some(first) = settings.insert(&set.name, set) {
                    let line = source.position(first.name_span.start).line;
                    let found = Diagnostic::new(Code::DuplicateOption, format!("{:?} is set twice", set.name)).at(set.name_span);
                    errors.push(found.hint(format!("the first is in line {line}; a setting holds for the whole file")));
                }
                continue;
            }
            let name = statement.name();
            match defined.get(name) {
                None => {
                    defined.insert(name, statement);
                }
                Some(first) => {
                    let line = source.position(first.name_span().start).line;
                    let message = format!("\"{name}\" is already a {}", kind(first));
                    let found = Diagnostic::new(Code::DuplicateName, message).at(statement.name_span());
                    errors.push(found.hint(format!("the first is in line {line}; tables, views and models share their names")));
                }
            }
        }
        Self { defined, refused }
    }

    /// Gives what a name stands for.
    pub(super) fn get(&self, name: &str) -> Option<&'s Statement> {
        self.defined.get(name).copied()
    }

    /// Tells whether the definition of a name was refused.
    pub(super) fn refused(&self, name: &str) -> bool {
        self.refused.contains(name)
    }

    /// Gives the names of one sort of definition.
    pub(super) fn of(&self, sort: impl Fn(&Statement) -> bool) -> Vec<&'s str> {
        self.defined.iter().filter(|(_, statement)| sort(statement)).map(|(name, _)| *name).collect()
    }

    /// Checks that an insert writes into columns of a sink.
    pub(super) fn check_insert(&self, insert: &Insert, errors: &mut Vec<Diagnostic>) {
        let name = insert.table.as_str();
        match self.get(name) {
            Some(Statement::Table(table)) if table.direction == Direction::Sink => check_columns(insert, table, errors),
            Some(statement) => {
                let message = format!("\"{name}\" is a {} and cannot be written", kind(statement));
                let found = Diagnostic::new(Code::NotWritable, message).at(insert.table_span);
                errors.push(found.hint("a table is written if it has type = 'sink'"));
            }
            None if self.refused(name) => {}
            None => {
                let found = Diagnostic::new(Code::UnknownTable, format!("unknown sink \"{name}\"")).at(insert.table_span);
                let sinks = self.of(sink);
                let listed = found.hint(if sinks.is_empty() {
                    format!("define it with `create table {name} (…) with (connector = …, type = 'sink')`")
                } else {
                    format!("the sinks are {}", sinks.join(", "))
                });
                errors.push(listed.suggest(name, sinks));
            }
        }
    }
}

/// Tells whether rows can be given to it.
pub(super) fn source(statement: &Statement) -> bool {
    matches!(statement, Statement::Table(table) if table.direction == Direction::Source)
}

/// Tells whether inserts write into it.
pub(super) fn sink(statement: &Statement) -> bool {
    matches!(statement, Statement::Table(table) if table.direction == Direction::Sink)
}

/// Says what a statement defines.
pub(super) fn kind(statement: &Statement) -> &'static str {
    match statement {
        Statement::Table(Table { direction: Direction::Source, .. }) => "source",
        Statement::Table(Table { direction: Direction::Sink, .. }) | Statement::Insert(_) => "sink",
        Statement::Model(_) => "model",
        Statement::View(_) => "view",
        Statement::Set(_) => "setting",
    }
}

fn check_columns(insert: &Insert, table: &Table, errors: &mut Vec<Diagnostic>) {
    for (at, (name, span)) in insert.columns.iter().zip(&insert.column_spans).enumerate() {
        if insert.columns.iter().take(at).any(|before| before == name) {
            let found = Diagnostic::new(Code::DuplicateColumn, format!("column \"{name}\" is named twice")).at(*span);
            errors.push(found.hint("leave one of them out"));
        } else if !table.columns.iter().any(|column| column.name == *name) {
            let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            let found = Diagnostic::new(Code::UnknownColumn, format!("\"{}\" has no column \"{name}\"", table.name)).at(*span);
            errors.push(found.hint(format!("its columns are {}", columns.join(", "))).suggest(name, columns));
        }
    }
}
