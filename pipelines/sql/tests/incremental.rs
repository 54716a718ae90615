//! Incremental == batch, by another engine: every query of `pipelines/tests/sql/kept/` after every epoch of seeded random
//! histories equals DataFusion's own batch execution of the same text over the rows that live.
//!
//! 10,000 histories in all (`AJATUS_HISTORIES` for more), shared out over the queries. Histories follow one another in one
//! dataflow: each ends with nothing, so what one leaves behind would spoil the next. The same where the dataflow is thrown away after any
//! epoch and taken up again, with another number of workers, from what its operators knew.

mod support;

use ajatus_sql::plan::{Input, Planner};
use support::{Bag, Epoch, Query, Reference, corpus, history, incremental, planner, resumed};

/// Epochs of one history.
const EPOCHS: usize = 4;

fn histories() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "not the product's configuration: how hard this test tries")]
    let asked = std::env::var("AJATUS_HISTORIES");
    asked.ok().and_then(|count| count.parse().ok()).unwrap_or(10_000)
}

/// Checks every `of`th query from `part` on.
fn agree(part: usize, of: usize) {
    let queries = corpus("kept");
    assert!(queries.len() >= 80, "{} queries", queries.len());
    let each = histories().div_ceil(queries.len() as u64);
    let planner = planner();
    let mut failed = Vec::new();
    for (at, query) in queries.iter().enumerate().filter(|(at, _)| at % of == part) {
        let epochs: Vec<Epoch> = (0..each).flat_map(|seed| history(seed * 1_000 + at as u64, EPOCHS)).collect();
        let shown = agrees(query, &planner, &epochs, |node| incremental(node, &epochs, 1 + at % 2));
        if let Err(error) = shown.and_then(|shown| if shown > 0 { Ok(()) } else { Err("no history gave it a row: it shows nothing".to_owned()) }) {
            failed.push(format!("{}: {error}\n{}", query.place, query.sql));
        }
    }
    assert!(failed.is_empty(), "{} queries disagree:\n\n{}", failed.len(), failed.join("\n\n"));
}

/// Cuts each `of`th query from `part` on, at every epoch of a few histories.
fn agree_cut(part: usize, of: usize) {
    let planner = planner();
    let mut failed = Vec::new();
    for (at, query) in corpus("kept").iter().enumerate().filter(|(at, _)| at % of == part) {
        let epochs: Vec<Epoch> = (0..3).flat_map(|seed| history(500_000 + seed * 1_000 + at as u64, EPOCHS)).collect();
        for cut in 1..epochs.len() {
            let workers = if cut % 2 == 0 { (1, 2) } else { (2, 1) };
            if let Err(error) = agrees(query, &planner, &epochs, |node| resumed(node, &epochs, cut, workers)) {
                failed.push(format!("{} cut after {cut} epochs: {error}\n{}", query.place, query.sql));
                break;
            }
        }
    }
    assert!(failed.is_empty(), "{} queries disagree:\n\n{}", failed.len(), failed.join("\n\n"));
}

/// How many rows were shown in all.
fn agrees(query: &Query, planner: &Planner, epochs: &[Epoch], run: impl Fn(&Input) -> Vec<(Bag, Bag)>) -> Result<usize, String> {
    let planned = planner.sql(&query.sql).map_err(|error| format!("refused: {error}"))?;
    let mut reference = Reference::new(&query.sql, planner).map_err(|error| format!("the reference refuses it: {error}"))?;
    let states = run(&planned.node);
    let mut shown = 0;
    for (epoch, ((rows, faults), changes)) in states.iter().zip(epochs).enumerate() {
        let mut expected = reference.after(changes);
        if *rows != expected {
            expected = reference.afresh();
        }
        shown += expected.len();
        if !faults.is_empty() {
            return Err(format!("epoch {epoch}: {} rows failed", faults.len()));
        }
        if *rows != expected {
            let kinds = planned.node.kinds();
            let show = |bag: &Bag, other: &Bag| {
                bag.iter()
                    .filter(|(row, count)| other.get(*row) != Some(*count))
                    .map(|(row, count)| format!("  {count} x {:?}", row.cells(&kinds)))
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            return Err(format!("epoch {epoch}:\nincremental\n{}\nbatch\n{}\n{}", show(rows, &expected), show(&expected, rows), reference.tables()));
        }
    }
    Ok(shown)
}

// In parts, so that they share the processors.

#[test]
fn every_query_equals_datafusion_after_every_epoch_part_0() {
    agree(0, 8);
}

#[test]
fn every_query_equals_datafusion_after_every_epoch_part_1() {
    agree(1, 8);
}

#[test]
fn every_query_equals_datafusion_after_every_epoch_part_2() {
    agree(2, 8);
}

#[test]
fn every_query_equals_datafusion_after_every_epoch_part_3() {
    agree(3, 8);
}

#[test]
fn every_query_equals_datafusion_after_every_epoch_part_4() {
    agree(4, 8);
}

#[test]
fn every_query_equals_datafusion_after_every_epoch_part_5() {
    agree(5, 8);
}

#[test]
fn every_query_equals_datafusion_after_every_epoch_part_6() {
    agree(6, 8);
}

#[test]
fn every_query_equals_datafusion_after_every_epoch_part_7() {
    agree(7, 8);
}

#[test]
fn a_query_that_is_cut_and_taken_up_again_equals_datafusion_too_part_0() {
    agree_cut(0, 2);
}

#[test]
fn a_query_that_is_cut_and_taken_up_again_equals_datafusion_too_part_1() {
    agree_cut(1, 2);
}

#[test]
fn what_cannot_be_kept_is_refused_for_the_reason_named() {
    let planner = planner();
    let queries = corpus("refused");
    assert!(queries.len() >= 20, "{}", queries.len());
    for query in queries {
        let reason = query.comment.trim().to_owned();
        let error = match planner.sql(&query.sql) {
            Ok(planned) => panic!("{}: accepted as {:?}\n{}", query.place, planned.node, query.sql),
            Err(ajatus_sql::plan::Problem::Refused { why, what, hint, .. }) => format!("{why:?}: {what}; {hint}"),
            Err(other) => format!("Planner: {other}"),
        };
        let family = reason.split_whitespace().next().unwrap_or_default();
        assert!(error.starts_with(family), "{}: wanted {family}, got {error}", query.place);
        assert!(!error.ends_with("; "), "{}: no hint", query.place);
    }
}
