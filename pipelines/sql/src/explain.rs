//! What a pipeline does, for people: each step, what it reads, and what it keeps in memory.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ajatus_operators::relational::Aggregate;
use serde::Serialize;

use crate::pipeline::{Pipeline, sql_type};
use crate::plan::{Input, Keep, Node, Step};

/// One step of a pipeline, described.
#[derive(Clone, Debug, Serialize)]
pub struct Described {
    /// `7-group`, as metrics and dead letters name it; a table's or sink's own name.
    pub id: String,
    /// `source`, `map`, `group`, …, `view`, `sink`.
    pub kind: &'static str,
    /// What it does.
    pub does: String,
    /// What it keeps in memory; empty if nothing.
    pub keeps: String,
    /// Its columns with their types.
    pub columns: Vec<String>,
    /// The ids that it reads.
    pub inputs: Vec<String>,
}

/// Every step of a pipeline: sources first, each step after what it reads.
#[must_use]
pub fn describe(pipeline: &Pipeline) -> Vec<Described> {
    let mut all = Vec::new();
    let mut tables: BTreeSet<String> = BTreeSet::new();
    for (name, columns) in pipeline.required() {
        if let Some(table) = pipeline.table(&name) {
            let keeps = match table.changelog {
                crate::script::Changelog::Upsert => "the last row of each primary key",
                _ => "",
            };
            let columns: Vec<String> = columns.iter().map(|column| format!("{} {}", table.columns[*column].name, sql_type(&table.columns[*column].data_type))).collect();
            let does = format!("read {} {}", table.connector.name(), name);
            all.push(Described { id: name.clone(), kind: "source", does, keeps: keeps.to_owned(), columns, inputs: Vec::new() });
        }
        tables.insert(name);
    }
    let mut seen = BTreeSet::new();
    let mut steps = |node: &Input, all: &mut Vec<Described>| {
        node.walk(&mut seen, &mut |node| {
            if !matches!(node.step, Step::Source { .. }) && moved(node).is_none() {
                all.push(describe_step(node));
            }
        });
    };
    for view in &pipeline.views {
        steps(&view.planned.node, &mut all);
        all.push(Described {
            id: view.name.clone(),
            kind: "view",
            does: format!("view {}", view.name),
            keeps: String::new(),
            columns: columns(&view.planned.node),
            inputs: vec![reference(&view.planned.node)],
        });
    }
    for output in &pipeline.outputs {
        steps(&output.planned.node, &mut all);
        let mode = match output.table.mode {
            crate::script::Mode::ExactlyOnce => "exactly once",
            crate::script::Mode::AtLeastOnce => "at least once",
        };
        all.push(Described {
            id: output.table.name.clone(),
            kind: "sink",
            does: format!("write {} {}, {mode}", output.table.connector.name(), output.table.name),
            keeps: String::new(),
            columns: columns(&output.planned.node),
            inputs: vec![reference(&output.planned.node)],
        });
    }
    all
}

/// How another step names it: a source by its table, and through steps that only move columns, which cost nothing worth showing.
fn reference(node: &Node) -> String {
    match (&node.step, moved(node)) {
        (Step::Source { table, .. }, _) => table.clone(),
        (_, Some(input)) => reference(input),
        _ => node.label(),
    }
}

/// The input of a step that only moves columns.
fn moved(node: &Node) -> Option<&Input> {
    match &node.step {
        Step::Map { input, program } if program.moves.is_some() => Some(input),
        _ => None,
    }
}

fn columns(node: &Node) -> Vec<String> {
    node.names.iter().zip(&node.types).map(|(name, data_type)| format!("{name} {}", sql_type(data_type))).collect()
}

fn describe_step(node: &Node) -> Described {
    let (does, keeps) = words(node);
    Described { id: node.label(), kind: node.word(), does, keeps, columns: columns(node), inputs: node.inputs().into_iter().map(|input| reference(input)).collect() }
}

fn words(node: &Node) -> (String, String) {
    let names = |input: &Node, columns: &[usize]| columns.iter().map(|column| input.names[*column].clone()).collect::<Vec<_>>().join(", ");
    match &node.step {
        Step::Source { table, .. } => (format!("read {table}"), String::new()),
        Step::Values { rows } => (format!("{} constant rows", rows.len()), String::new()),
        Step::Map { program, .. } => (visible(&program.text), String::new()),
        Step::Unnest { input, column, .. } => (format!("one row per element of {}", input.names[*column]), String::new()),
        Step::Group { grouping, .. } => {
            let keys = node.names[..grouping.keys].join(", ");
            let shown = node.names[grouping.keys..].join(", ");
            let does = if keys.is_empty() { format!("group all: {shown}") } else { format!("group by {keys}: {shown}") };
            let values = grouping.aggregates.iter().any(|aggregate| {
                !matches!(
                    aggregate,
                    Aggregate::Count(_) | Aggregate::Sum { .. } | Aggregate::Mean(_) | Aggregate::MeanDecimal { .. } | Aggregate::All(_) | Aggregate::Any(_)
                )
            });
            (does, if values { "the numbers and the values of each group" } else { "the numbers of each group" }.to_owned())
        }
        Step::Distinct { .. } => ("each row once".to_owned(), "every different row with its count".to_owned()),
        Step::Join(matching) => {
            let kind = match matching.keep.iter().map(|(keep, _)| *keep).collect::<Vec<_>>().as_slice() {
                [Keep::Pairs] => "join",
                [Keep::LeftMatched] => "semi join",
                [Keep::LeftAlone] => "anti join",
                [Keep::Pairs, Keep::LeftAlone] => "left join",
                [Keep::Pairs, Keep::RightAlone] => "right join",
                _ => "full join",
            };
            let on = format!("{} = {}", names(&matching.left, &matching.left_keys), names(&matching.right, &matching.right_keys));
            (format!("{kind} on {on}"), "the rows of both sides, by key".to_owned())
        }
        Step::Union { inputs } => (format!("all rows of {} inputs", inputs.len()), String::new()),
        Step::Top { input, shape } => {
            let order = shape.order.iter().map(|sort| format!("{}{}", input.names[sort.column], if sort.descending { " desc" } else { "" })).collect::<Vec<_>>();
            let group = if shape.keys == 0 { String::new() } else { format!(" of each {}", input.names[..shape.keys].join(", ")) };
            let fetch = if shape.fetch == usize::MAX { "rows".to_owned() } else { format!("first {}", shape.fetch) };
            let skip = if shape.skip == 0 { String::new() } else { format!(" after {}", shape.skip) };
            (format!("{fetch}{skip}{group} by {}", order.join(", ")), "all rows, in order".to_owned())
        }
        Step::Recursion { name, recursion, .. } => {
            let kind = if recursion.copies { "union all" } else { "union" };
            (
                format!("recursion {name}: begin, then repeat the step up to {} rounds ({kind})", recursion.rounds),
                "every row with its rounds, and by key what its step joins".to_owned(),
            )
        }
        Step::Round { .. } => ("the rows of the recursion so far".to_owned(), String::new()),
        Step::Operator { operator, .. } => (operator.does().to_owned(), operator.keeps().to_owned()),
        Step::Infer { input, call } => (
            format!("{}({}, {})", call.task.function(), call.model, names(input, &call.asked)),
            "the answer of each live request".to_owned(),
        ),
    }
}

/// A text on one line: a tab or a line's end in a query's constant is shown as SQL writes it.
fn visible(text: &str) -> String {
    text.chars().flat_map(|letter| if letter.is_control() { letter.escape_default().collect::<Vec<_>>() } else { vec![letter] }).collect()
}

/// The steps as text: one line each, what is kept behind it.
#[must_use]
pub fn text(pipeline: &Pipeline) -> String {
    let steps = describe(pipeline);
    let width = steps.iter().map(|step| step.id.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for step in &steps {
        let from = if step.inputs.is_empty() { String::new() } else { format!("  <- {}", step.inputs.join(", ")) };
        let keeps = if step.keeps.is_empty() { String::new() } else { format!("  [keeps {}]", step.keeps) };
        // Writing to a string cannot fail.
        writeln!(out, "{:width$}  {}{from}{keeps}", step.id, step.does).ok();
    }
    out
}

/// DataFusion's optimised plans, as text.
#[must_use]
pub fn logical(pipeline: &Pipeline) -> String {
    let views = pipeline.views.iter().map(|view| (format!("view {}", view.name), &view.planned.logical));
    let outputs = pipeline.outputs.iter().map(|output| (format!("sink {}", output.table.name), &output.planned.logical));
    views.chain(outputs).map(|(name, plan)| format!("{name}\n{plan}\n")).collect::<Vec<_>>().join("\n")
}
