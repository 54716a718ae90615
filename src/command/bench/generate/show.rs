//! What `ajatus bench generate` found: a table, a document, a page, and the best setting as others take it.

use serde_json::{Value, json};

use super::{Found, Point};
use crate::cli::BenchGenerateArgs;
use crate::command::bench::best::Choice;
use crate::command::bench::chart::{Chart, Mark, Series};
use crate::command::bench::report::{Report, Table, write};
use crate::command::bench::settings::{generation_sql, generation_toml};
use crate::output::Out;

/// Says it, and writes the folder.
pub(super) async fn show(found: &Found, args: &BenchGenerateArgs, out: &Out) -> anyhow::Result<()> {
    let report = report(found, args);
    let document = document(found, args);
    write(&args.out, "generate.html", &report.html())?;
    write(&args.out, "generate.json", &format!("{document:#}\n"))?;
    for (name, text) in [("generate.sql", sql(found)), ("generate.toml", toml(found))] {
        if let Some(text) = text {
            write(&args.out, name, &text)?;
        }
    }
    if out.json() {
        return out.document(&document).await;
    }
    for text in &report.about {
        out.line(text).await;
    }
    for line in report.table.lines() {
        out.line(line).await;
    }
    out.line(&report.verdict).await;
    for (_, text) in &report.blocks {
        out.text(text).await;
    }
    out.line(format!("the report: {}", args.out.join("generate.html").display())).await;
    Ok(())
}

fn chosen(found: &Found) -> Option<&Point> {
    found.choice.map(|choice| &found.points[choice.at()])
}

fn sql(found: &Found) -> Option<String> {
    chosen(found).map(|point| generation_sql(&found.name, found.provider, point.max_tokens, point.concurrency))
}

fn toml(found: &Found) -> Option<String> {
    chosen(found).map(|point| generation_toml(point.max_tokens, point.threads))
}

fn describe(point: &Point) -> String {
    let threads = point.threads.map(|threads| format!(", {threads} threads")).unwrap_or_default();
    format!(
        "{} at once, {} tokens at most{threads}: {:.1} tokens/s, first token p99 {:.0} ms, next p99 {:.1} ms",
        point.concurrency, point.max_tokens, point.tokens_per_second, point.first_ms[1], point.between_ms[1]
    )
}

fn verdict(found: &Found, bound_ms: f64) -> String {
    match (found.choice, chosen(found)) {
        (Some(Choice::Within(_)), Some(point)) => format!("Most tokens a second with the first token's p99 within {bound_ms} ms: {}.", describe(point)),
        (Some(Choice::Nearest(_)), Some(point)) => format!("Nothing keeps the first token's p99 within {bound_ms} ms; nearest to it: {}.", describe(point)),
        _ => {
            let reason = found.points.iter().find_map(|point| point.reason.clone()).unwrap_or_else(|| "no answer".to_owned());
            format!("No setting can be named: {reason}.")
        }
    }
}

const HEADS: [&str; 13] = [
    "threads", "at once", "max tokens", "answers", "tokens/s", "prompt tokens/s", "first p50 ms", "first p99 ms", "next p50 ms", "next p99 ms", "GFLOP/s", "of peak", "failed",
];

fn row(point: &Point) -> Vec<String> {
    vec![
        point.threads.map_or_else(|| "-".to_owned(), |threads| threads.to_string()),
        point.concurrency.to_string(),
        point.max_tokens.to_string(),
        point.answers.to_string(),
        format!("{:.1}", point.tokens_per_second),
        format!("{:.1}", point.prompt_tokens_per_second),
        format!("{:.0}", point.first_ms[0]),
        format!("{:.0}", point.first_ms[1]),
        format!("{:.1}", point.between_ms[0]),
        format!("{:.1}", point.between_ms[1]),
        point.gflops.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}")),
        point.peak_share.map_or_else(|| "-".to_owned(), |value| format!("{:.1} %", value * 100.0)),
        point.failed.to_string(),
    ]
}

fn report(found: &Found, args: &BenchGenerateArgs) -> Report {
    let best = found.choice.map(Choice::at);
    let chart = |title: &str, x: &str, y: &str, limit: Option<(f64, String)>, of: &dyn Fn(&Point) -> (f64, f64)| {
        let series = args.max_tokens.iter().map(|most| {
            let points = found.points.iter().enumerate().filter(|(_, point)| point.max_tokens == *most);
            let marks = points.map(|(number, point)| {
                let (x, y) = of(point);
                Mark { x, y, number, label: describe(point), best: best == Some(number) }
            });
            Series { name: format!("at most {most} tokens"), marks: marks.collect() }
        });
        Chart { title: title.to_owned(), x: x.to_owned(), y: y.to_owned(), series: series.collect(), limit }
    };
    let bound = args.p99_ms;
    let blocks = [("A line for an SQL file:", sql(found)), ("Keys of ajatus.toml:", toml(found))];
    let source = args.texts.as_ref().map_or_else(|| format!("built in, seed {}", args.seed), |path| path.display().to_string());
    let mut about = vec![
        format!("{}; {}", found.model, chrono::Utc::now().format("%Y-%m-%d %H:%M UTC")),
        format!("{} questions ({source}); greedy; callers that ask again when their answer has ended, {} s a measurement", found.questions, args.seconds),
        "tokens/s: tokens written, all callers together, over the whole time, reading of the prompts included; first: from asking to the first text; next: between two pieces of text".to_owned(),
    ];
    for (threads, peak) in &found.peaks {
        about.push(format!("matrix peak of {threads} thread(s), measured here: {peak:.0} GFLOP/s (f32, a tile of a product in the nearest cache, best of 3); useful work: 2 operations for each of the model's numbers and each token of prompts and answers, attention left out"));
    }
    if found.interrupted {
        about.push("interrupted: what was measured until then".to_owned());
    }
    Report {
        title: format!("Writing with {}", found.name),
        about,
        verdict: verdict(found, bound),
        blocks: blocks.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?))).collect(),
        charts: vec![
            chart("Time to the first token against throughput", "throughput, tokens/s", "first token p99, ms", Some((bound, format!("bound {bound} ms"))), &|point| (point.tokens_per_second, point.first_ms[1])),
            chart("Throughput over answers at once", "answers at once", "throughput, tokens/s", None, &|point| (f64::from(point.concurrency), point.tokens_per_second)),
            chart("Time between tokens over answers at once", "answers at once", "next token p99, ms", None, &|point| (f64::from(point.concurrency), point.between_ms[1])),
        ],
        table: Table { heads: HEADS.map(str::to_owned).to_vec(), rows: found.points.iter().map(row).collect(), best },
    }
}

fn document(found: &Found, args: &BenchGenerateArgs) -> Value {
    let point = |point: &Point| {
        json!({
            "threads": point.threads, "concurrency": point.concurrency, "max_tokens": point.max_tokens, "answers": point.answers,
            "tokens_per_s": point.tokens_per_second, "prompt_tokens_per_s": point.prompt_tokens_per_second,
            "first_token_ms": { "p50": point.first_ms[0], "p99": point.first_ms[1] },
            "between_tokens_ms": { "p50": point.between_ms[0], "p99": point.between_ms[1] },
            "gflop_per_s": point.gflops, "peak_share": point.peak_share, "failed": point.failed, "reason": point.reason,
        })
    };
    json!({
        "model": found.model,
        "questions": found.questions,
        "matrix_peak": found.peaks.iter().map(|(threads, gflops)| json!({ "threads": threads, "gflop_per_s": gflops })).collect::<Vec<_>>(),
        "bound_p99_ms": args.p99_ms,
        "points": found.points.iter().map(point).collect::<Vec<_>>(),
        "best": found.choice.map(|choice| json!({
            "point": choice.at(), "within_bound": matches!(choice, Choice::Within(_)), "sql": sql(found), "toml": toml(found),
        })),
        "interrupted": found.interrupted,
        "report": args.out.join("generate.html"),
    })
}
