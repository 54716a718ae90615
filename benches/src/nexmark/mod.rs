//! Nexmark: an auction house whose events are generated, whose queries are SQL files, and whose answers are computed a second time
//! with plain loops.

mod answer;
mod events;
mod generator;
mod reference;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use self::generator::generate;

use self::answer::{Column, Rows};
use self::events::Events;
use crate::arguments::Arguments;
use crate::error::BenchError;
use crate::generate::SEED;
use crate::table::{aligned, beside, run_ours};

/// One query: its name, the columns of its result, and the slow way to it.
struct Query {
    name: &'static str,
    columns: &'static [Column],
    answer: fn(&Events, &mut Rows),
}

fn query(name: &str) -> Result<&'static Query, BenchError> {
    let found = reference::QUERIES.iter().find(|query| query.name == name);
    found.ok_or_else(|| BenchError::Usage(format!("there is no query {name:?}; there are q0 to q5, q7 and q8")))
}

impl Query {
    fn expected(&self, events: &Events) -> Rows {
        let mut rows = Rows::new(self.columns);
        (self.answer)(events, &mut rows);
        rows
    }
}

/// `nexmark`, `nexmark expect QUERY`, `nexmark check QUERY`.
pub(crate) fn command(mut arguments: Arguments) -> Result<(), BenchError> {
    match arguments.word_if_any().as_deref() {
        None => run(arguments),
        Some("expect") => {
            let query = query(&arguments.word("a query")?)?;
            let data = arguments.needed_path("data")?;
            arguments.finish()?;
            query.expected(&Events::read(&data)?).print();
            Ok(())
        }
        Some("check") => {
            let query = query(&arguments.word("a query")?)?;
            let (data, file) = (arguments.needed_path("data")?, arguments.needed_path("file")?);
            arguments.finish()?;
            let expected = query.expected(&Events::read(&data)?);
            expected.compare(&Rows::read(query.columns, &file)?)?;
            println!("{}: {} rows, as they must be", query.name, expected.count());
            Ok(())
        }
        Some(other) => Err(BenchError::Usage(format!("{other:?} is neither expect nor check"))),
    }
}

/// Runs the SQL files by the real binary, one after another, and checks every answer.
fn run(mut arguments: Arguments) -> Result<(), BenchError> {
    let rows = arguments.number("rows", 1_000_000_u64)?;
    let seed = arguments.number("seed", SEED)?;
    let names = arguments.names("queries", "q0,q1,q2,q3,q4,q5,q7,q8");
    let queries = names.iter().map(|name| query(name)).collect::<Result<Vec<_>, _>>()?;
    let (epoch_rows, workers) = (arguments.number("epoch-rows", 1_000_u64)?.max(1), arguments.number("workers", 1_usize)?.max(1));
    let ajatus = match arguments.text("ajatus") {
        Some(path) => PathBuf::from(path),
        None => beside("ajatus")?,
    };
    let (benches, data) = (arguments.path("benches", "benches"), arguments.path("data", ".cache/benches"));
    let limit = Duration::from_secs(arguments.number("limit-seconds", 900)?);
    arguments.finish()?;

    let folder = data.join(format!("nexmark-{rows}-{seed}"));
    if !folder.is_dir() {
        generate(rows, seed, &folder)?;
    }
    let events = Events::read(&folder)?;
    let head = ["query", "answer", "", "cpu s", "rows/s", "peak MiB", "changes", "rows"];
    let mut cells = vec![Vec::from(head.map(str::to_owned))];
    let mut failed = None;
    for query in queries {
        eprintln!("run {}", query.name);
        let sql = benches.join("nexmark").join(format!("{}.sql", query.name));
        let inputs = [("DATA", folder.as_path())].into_iter();
        let read = |out: &Path| Rows::read(query.columns, out);
        let ran = run_ours(&ajatus, &sql, inputs, epoch_rows, workers, limit, read);
        let checked = ran.and_then(|(ended, found)| query.expected(&events).compare(&found).map(|()| (ended, found)));
        let mut line = vec![query.name.to_owned()];
        match checked {
            Ok((ended, found)) => line.extend([
                "equal".to_owned(),
                String::new(),
                format!("{:.2}", ended.cpu_seconds),
                format!("{:.0}", ended.rows as f64 / ended.wall_seconds),
                format!("{:.0}", ended.peak_rss_mib),
                ended.changes.to_string(),
                found.count().to_string(),
            ]),
            Err(error) => {
                line.push(error.to_string());
                failed.get_or_insert(error);
            }
        }
        cells.push(line);
    }
    println!("{rows} events, seed {seed}, epochs of {epoch_rows} rows, {workers} worker(s)\n");
    aligned(&cells);
    failed.map_or(Ok(()), Err)
}
