//! `ajatus-benches`: makes the yardstick inputs, runs the contenders, and checks that they agree.
//!
//! Holds always: a figure is printed only beside a result that was compared; inputs follow from their seed alone; every contender is
//! a process of its own. Not promised: quiet figures from a busy machine, or the same inputs on another pointer width.
//! After a crash: generated files are renamed into place when whole; everything else lies in a temporary folder.
#![expect(clippy::print_stdout, reason = "a command line tool: its results are what it prints")]

mod arguments;
mod bare;
mod batcher;
mod checksum;
mod error;
mod generate;
mod generation;
mod inference;
mod model;
mod nexmark;
mod process;
mod table;

use std::error::Error as _;
use std::process::ExitCode;

use crate::arguments::Arguments;
use crate::error::BenchError;

const USAGE: &str = "\
usage: ajatus-benches COMMAND
  generate words|changes|users --rows N [--seed S] --out FILE
  generate nexmark --rows N [--seed S] --out FOLDER
  bare wordcount|profiles|join --file FILE [--users FILE] [--epoch-rows N] [--workers W]
  check FILE
  table [--rows N] [--epochs 1000,all] [--jobs J,J] [--only ours,bare,pathway,bytewax] [--runs R] [--workers W] [--seed S]
        [--ajatus PROGRAM] [--python PROGRAM] [--benches FOLDER] [--data FOLDER] [--limit-seconds N] [--json]
  nexmark [--rows N] [--queries q0,q5] [--epoch-rows N] [--workers W] [--seed S] [--ajatus PROGRAM] [--benches FOLDER]
        [--data FOLDER] [--limit-seconds N]
  nexmark expect|check QUERY --data FOLDER [--file FILE]
  model [--rows N] [--batch N] [--in-flight N] [--service-ms MS] [--epoch-rows N]
  batcher [--callers N] [--runs R] [--threads T] [--json]
  inference [--texts N] [--runs R] [--seed S] [--model FOLDER] [--python PROGRAM] [--torch PROGRAM] [--benches FOLDER] [--json]
  generation [--runs R] [--threads T] [--model FILE] [--python PROGRAM] [--benches FOLDER] [--json]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            if matches!(error, BenchError::Usage(_)) {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), BenchError> {
    let mut arguments = Arguments::read(std::env::args().skip(1))?;
    match arguments.word("a command")?.as_str() {
        "generate" => generate::command(arguments),
        "bare" => bare::command(arguments),
        "check" => checksum::command(arguments),
        "table" => table::command(arguments),
        "nexmark" => nexmark::command(arguments),
        "model" => model::command(arguments),
        "batcher" => batcher::command(arguments),
        "inference" => inference::command(arguments),
        "generation" => generation::command(arguments),
        other => Err(BenchError::Usage(format!("there is no command {other:?}"))),
    }
}
