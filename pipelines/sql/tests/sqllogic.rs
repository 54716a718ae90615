//! What queries answer is what the SQL standard says, not only what another engine says: the cases of `pipelines/tests/sql/logic/`
//! were thought out from the standard, and run by `sqllogictest` through the incremental engine.
//!
//! Every `insert` and `delete` is an epoch of its own; an answer is the state after the last one. A case is one file, and its
//! tables are its own.

mod sqllogic_support;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sqllogic_support::database::Database;
use sqllogic_support::show::Column;
use sqllogictest::{Normalizer, Record, RecordOutput, Runner, parse_file, strict_column_validator};

/// What running all cases gave.
struct Report {
    files: usize,
    /// Statements and queries, refused ones included.
    ran: usize,
    failed: Vec<String>,
}

fn report() -> &'static Report {
    static REPORT: OnceLock<Report> = OnceLock::new();
    REPORT.get_or_init(|| {
        let mut files: Vec<PathBuf> = std::fs::read_dir("../tests/sql/logic")
            .expect("the folder of cases")
            .map(|entry| entry.expect("a folder's entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
            .collect();
        files.sort();
        let mut report = Report { files: files.len(), ran: 0, failed: Vec::new() };
        for file in &files {
            run(file, &mut report);
        }
        report
    })
}

/// Runs a file; a record that fails does not hide those behind it.
fn run(file: &Path, report: &mut Report) {
    // The runner's own `run` would block with the executor that the planner blocks with, which refuses to be nested.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut runner = Runner::new(|| async { Ok(Database::default()) });
    runner.with_column_validator(strict_column_validator);
    runner.with_validator(equal_in_any_order);
    for record in parse_file::<Column>(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())) {
        assert!(!matches!(record, Record::Halt { .. }), "{}: a halt hides what is behind it", file.display());
        match runtime.block_on(runner.run_async(record)) {
            Ok(RecordOutput::Nothing) => {}
            Ok(_) => report.ran += 1,
            Err(error) => {
                report.ran += 1;
                report.failed.push(error.to_string());
            }
        }
    }
}

/// Rows are equal whatever their order, so that a case may list them as they are easiest to read.
fn equal_in_any_order(normalize: Normalizer, actual: &[Vec<String>], expected: &[String]) -> bool {
    let mut actual: Vec<String> = actual.iter().map(|row| row.iter().map(normalize).collect::<Vec<_>>().join(" ")).collect();
    let mut expected: Vec<String> = expected.iter().map(normalize).collect();
    actual.sort_unstable();
    expected.sort_unstable();
    actual == expected
}

#[test]
fn every_answer_is_what_the_standard_says() {
    let failed = &report().failed;
    assert!(failed.is_empty(), "{} records failed:\n\n{}", failed.len(), failed.join("\n\n"));
}

#[test]
fn no_fewer_than_250_records_of_12_files_run() {
    let report = report();
    assert!(report.ran >= 250, "{} records", report.ran);
    assert!(report.files >= 12, "{} files", report.files);
}
