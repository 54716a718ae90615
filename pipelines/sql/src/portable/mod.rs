//! The portable subset: what an Arroyo cluster can run of a pipeline, and the one SQL text that says it in Arroyo's dialect.
//!
//! Holds always: what has no equivalent there is refused with code, place and hint; what is translated but means something else in
//! a corner (bad records, late rows, the form of changes) is said in a note. Every byte of the text knows the place in the file
//! that it was made from. Not promised: that a cluster takes what passes; it checks the text itself, and its findings are
//! brought back to the file by [`Translation::place`].

mod queries;
mod tables;
mod text;

use std::collections::BTreeMap;

pub use text::{Note, Translation};

use self::queries::{Rows, Walk};
use self::text::Text;
use crate::diagnostic::{Code, Diagnostic, Source};
use crate::pipeline::Pipeline;
use crate::script::{Direction, Statement, Table};

/// What a cluster can reach of the platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Addresses of the Kafka that is the platform's own log; none for the embedded log, which only this machine can read.
    pub own_log: Option<String>,
}

/// Checks a settled pipeline against the subset and translates it.
///
/// # Errors
/// Everything that has no equivalent, in the order of the places.
pub fn translate(pipeline: &Pipeline, surroundings: &Surroundings) -> Result<Translation, Vec<Diagnostic>> {
    let source = &pipeline.source;
    let mut errors = Vec::new();
    let mut text = Text::default();
    let rows = rows(pipeline, source, &mut errors);
    let read = pipeline.required();
    let mut inserts = 0;
    for statement in &pipeline.script.statements {
        match statement {
            Statement::Model(model) => errors.push(
                Diagnostic::new(Code::PortableModel, format!("model \"{}\" cannot be asked by the cluster", model.name))
                    .at(model.name_span)
                    .hint("run this file here; a part without models can be deployed as a file of its own, with a topic between the two"),
            ),
            Statement::Table(table) if table.direction == Direction::Source => {
                if read.contains_key(&table.name) {
                    tables::write(table, false, surroundings, &mut text, &mut errors);
                }
            }
            Statement::Table(table) => tables::write(table, changes(table, &rows), surroundings, &mut text, &mut errors),
            // Rounds of recursions, which are refused where they stand.
            Statement::Set(_) => {}
            Statement::View(view) => {
                text.made(&format!("create view {} as\n", text::name(&view.name)), view.name_span);
                text.copied(source, view.query_span);
                text.made(";\n\n", view.span);
            }
            Statement::Insert(insert) => {
                inserts += 1;
                let columns: Vec<String> = insert.columns.iter().map(|column| text::name(column)).collect();
                let columns = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
                text.made(&format!("insert into {}{columns}\n", text::name(&insert.table)), insert.table_span);
                text.copied(source, insert.query_span);
                text.made(";\n\n", insert.span);
            }
        }
    }
    if inserts == 0 {
        let found = Diagnostic::new(Code::PortableNothing, "the file writes nothing, so there is nothing to deploy");
        errors.push(found.hint("add a sink and `insert into … select …`"));
    }
    if errors.is_empty() {
        return Ok(text.finish());
    }
    errors.sort_by_key(|found| found.span);
    errors.dedup();
    Err(errors)
}

/// What the rows of every insert are like there, with its sink's name, in the order of the statements; refuses what the cluster does not run.
fn rows(pipeline: &Pipeline, source: &Source, errors: &mut Vec<Diagnostic>) -> Vec<(String, Rows)> {
    let mut known: BTreeMap<String, Rows> = BTreeMap::new();
    let mut inserted = Vec::new();
    for statement in &pipeline.script.statements {
        match statement {
            Statement::View(view) => {
                let rows = Walk::new(source, &known, view.query_span, errors).query(&view.query);
                known.insert(view.name.clone(), rows);
            }
            Statement::Insert(insert) => {
                let rows = Walk::new(source, &known, insert.query_span, errors).query(&insert.query);
                inserted.push((insert.table.clone(), rows));
            }
            Statement::Table(_) | Statement::Model(_) | Statement::Set(_) => {}
        }
    }
    inserted
}

/// Whether a sink is written by a query whose rows change there.
fn changes(table: &Table, rows: &[(String, Rows)]) -> bool {
    rows.iter().any(|(name, rows)| *name == table.name && rows.changing)
}
