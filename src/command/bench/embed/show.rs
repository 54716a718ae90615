//! What `ajatus bench embed` found: a table, a document, a page, and the best setting as others take it.

use serde_json::{Value, json};

use super::{Found, Point, Sweep};
use crate::command::bench::best::Choice;
use crate::command::bench::chart::{Chart, Mark, Series};
use crate::command::bench::load::Load;
use crate::command::bench::report::{Report, Table, write};
use crate::command::bench::settings::{embedding_sql, embedding_toml};
use crate::output::Out;
use crate::stack::percentile;

/// Says it, and writes the folder.
pub(super) async fn show(found: &Found, sweep: &Sweep<'_>, out: &Out) -> anyhow::Result<()> {
    let report = report(found, sweep);
    let document = document(found, sweep);
    let folder = &sweep.args.out;
    write(folder, "embed.html", &report.html())?;
    write(folder, "embed.json", &format!("{document:#}\n"))?;
    for (name, text) in [("embed.sql", sql(found)), ("embed.toml", toml(found))] {
        if let Some(text) = text {
            write(folder, name, &text)?;
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
    out.line(format!("the report: {}", folder.join("embed.html").display())).await;
    Ok(())
}

fn chosen(found: &Found) -> Option<&Point> {
    found.choice.map(|choice| &found.points[choice.at()])
}

fn sql(found: &Found) -> Option<String> {
    chosen(found).map(|point| embedding_sql(&found.name, found.provider, found.dimension, &point.setting))
}

fn toml(found: &Found) -> Option<String> {
    chosen(found).map(|point| embedding_toml(&point.setting))
}

fn load(load: Load) -> String {
    match load {
        Load::Callers(callers) => format!("{callers} callers"),
        Load::Rate(rate) => format!("{rate:.0}/s offered"),
    }
}

fn describe(point: &Point) -> String {
    let setting = &point.setting;
    let threads = setting.threads.map(|threads| format!(", {threads} threads")).unwrap_or_default();
    format!(
        "{} tokens, {} rows, {} in flight, {} ms delay{threads}; {}: {:.0} texts/s, p99 {:.1} ms",
        setting.batch_tokens,
        setting.batch_rows,
        setting.in_flight,
        setting.delay_ms,
        load(point.load),
        point.texts_per_second,
        point.p99_ms
    )
}

/// Numbers of the texts: how many, and their lengths.
#[expect(clippy::cast_precision_loss, reason = "a mean")]
fn lengths(sweep: &Sweep<'_>) -> (f64, f64, f64, f64) {
    let mut sorted: Vec<f64> = sweep.texts.tokens.iter().map(|tokens| f64::from(*tokens)).collect();
    sorted.sort_by(f64::total_cmp);
    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
    (mean, percentile(&sorted, 0.5), percentile(&sorted, 0.95), percentile(&sorted, 1.0))
}

fn about(found: &Found, sweep: &Sweep<'_>) -> Vec<String> {
    let args = sweep.args;
    let (mean, median, high, most) = lengths(sweep);
    let source = args.texts.as_ref().map_or_else(|| format!("built in, seed {}", args.seed), |path| path.display().to_string());
    let how = if found.counted { "tokens" } else { "tokens (guessed from their bytes)" };
    let mut about = vec![
        format!("{} through the batcher; {}", found.model, chrono::Utc::now().format("%Y-%m-%d %H:%M UTC")),
        format!(
            "{} texts ({source}): {how} mean {mean:.0}, p50 {median:.0}, p95 {high:.0}, longest {most:.0}; {} s a measurement after {} s of warm-up",
            sweep.texts.all.len(),
            args.seconds,
            args.warm_up_seconds
        ),
        "latency: from when a text was due until its vector was there, queue included; fill: rows or tokens of what a batch may hold, whichever is more; padding: share of the tokens that a model which pads to the longest text of a batch would compute for nothing (the encoder in this process does not pad)".to_owned(),
    ];
    for (threads, peak) in &found.peaks {
        about.push(format!(
            "matrix peak of {threads} thread(s), measured here: {peak:.0} GFLOP/s (f32, a tile of a product in the nearest cache, best of 3); useful work: layers * (n (8 h^2 + 4 h f) + 4 n^2 h) for a text of n tokens, padding not counted"
        ));
    }
    if found.interrupted {
        about.push("interrupted: what was measured until then".to_owned());
    }
    about
}

fn verdict(found: &Found, bound_ms: f64) -> String {
    match (found.choice, chosen(found)) {
        (Some(Choice::Within(_)), Some(point)) => format!("Fastest with p99 within {bound_ms} ms: {}.", describe(point)),
        (Some(Choice::Nearest(_)), Some(point)) => format!("Nothing keeps p99 within {bound_ms} ms; nearest to it: {}. Fewer callers or a lower rate would.", describe(point)),
        _ => {
            let reason = found.points.iter().find_map(|point| point.reason.clone()).unwrap_or_else(|| "no setting kept up".to_owned());
            format!("No setting can be named: {reason}.")
        }
    }
}

fn row(point: &Point) -> Vec<String> {
    let (setting, batches) = (&point.setting, &point.batches);
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let mean = |sum: u64| if batches.count == 0 { 0.0 } else { sum as f64 / batches.count as f64 };
    let optional = |value: Option<f64>, of: &dyn Fn(f64) -> String| value.map_or_else(|| "-".to_owned(), of);
    vec![
        setting.threads.map_or_else(|| "-".to_owned(), |threads| threads.to_string()),
        setting.batch_tokens.to_string(),
        setting.in_flight.to_string(),
        setting.delay_ms.to_string(),
        load(point.load),
        format!("{:.0}", point.texts_per_second),
        format!("{:.0}", point.tokens_per_second),
        format!("{:.1}", point.p50_ms),
        format!("{:.1}", point.p99_ms),
        format!("{:.0}", mean(batches.rows)),
        format!("{:.0}", mean(batches.tokens)),
        format!("{:.0} %", batches.mean_fill() * 100.0),
        format!("{:.0} %", batches.padding() * 100.0),
        optional(point.gflops, &|value| format!("{value:.0}")),
        optional(point.peak_share, &|value| format!("{:.0} %", value * 100.0)),
        if point.failed > 0 { format!("{} failed", point.failed) } else if point.kept_up { "yes".to_owned() } else { "fell behind".to_owned() },
    ]
}

const HEADS: [&str; 16] = [
    "threads", "batch tokens", "in flight", "delay ms", "load", "texts/s", "tokens/s", "p50 ms", "p99 ms", "rows/batch", "tokens/batch", "fill", "padding",
    "GFLOP/s", "of peak", "sound",
];

fn report(found: &Found, sweep: &Sweep<'_>) -> Report {
    let best = found.choice.map(Choice::at);
    let chart = |title: &str, x: &str, y: &str, limit: Option<(f64, String)>, of: &dyn Fn(&Point) -> (f64, f64)| {
        let series = |name: &str, closed: bool| {
            let points = found.points.iter().enumerate().filter(|(_, point)| matches!(point.load, Load::Callers(_)) == closed);
            let marks = points.map(|(number, point)| {
                let (x, y) = of(point);
                Mark { x, y, number, label: describe(point), best: best == Some(number) }
            });
            Series { name: name.to_owned(), marks: marks.collect() }
        };
        let series = vec![series("callers that wait", true), series("offered at a rate", false)];
        Chart { title: title.to_owned(), x: x.to_owned(), y: y.to_owned(), series, limit }
    };
    let bound = sweep.args.p99_ms;
    let blocks = [("A line for an SQL file:", sql(found)), ("Keys of ajatus.toml:", toml(found))];
    Report {
        title: format!("Embedding with {}", found.name),
        about: about(found, sweep),
        verdict: verdict(found, bound),
        blocks: blocks.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?))).collect(),
        charts: vec![
            chart("Latency against throughput", "throughput, texts/s", "p99 latency, ms", Some((bound, format!("bound {bound} ms"))), &|point| (point.texts_per_second, point.p99_ms)),
            chart("How full batches are", "batch limit, tokens", "fill, % of the limit", None, &|point| (f64::from(point.setting.batch_tokens), point.batches.mean_fill() * 100.0)),
            chart("What padding would cost", "batch limit, tokens", "padding, % of the tokens", None, &|point| (f64::from(point.setting.batch_tokens), point.batches.padding() * 100.0)),
        ],
        table: Table { heads: HEADS.map(str::to_owned).to_vec(), rows: found.points.iter().map(row).collect(), best },
    }
}

fn document(found: &Found, sweep: &Sweep<'_>) -> Value {
    let (mean, median, high, most) = lengths(sweep);
    let point = |point: &Point| {
        let (setting, batches) = (&point.setting, &point.batches);
        let load = match point.load {
            Load::Callers(callers) => json!({ "callers": callers }),
            Load::Rate(rate) => json!({ "offered_per_s": rate }),
        };
        json!({
            "threads": setting.threads, "batch_tokens": setting.batch_tokens, "batch_rows": setting.batch_rows, "in_flight": setting.in_flight,
            "delay_ms": setting.delay_ms, "load": load, "texts_per_s": point.texts_per_second, "tokens_per_s": point.tokens_per_second,
            "latency_ms": { "p50": point.p50_ms, "p99": point.p99_ms, "max": point.max_ms },
            "batches": batches.count, "rows": batches.rows, "tokens": batches.tokens, "fill": batches.mean_fill(), "padding": batches.padding(),
            "gflop_per_s": point.gflops, "peak_share": point.peak_share, "failed": point.failed, "reason": point.reason, "kept_up": point.kept_up,
        })
    };
    json!({
        "model": found.model,
        "texts": { "count": sweep.texts.all.len(), "tokens": { "counted": found.counted, "mean": mean, "p50": median, "p95": high, "max": most } },
        "matrix_peak": found.peaks.iter().map(|(threads, gflops)| json!({ "threads": threads, "gflop_per_s": gflops })).collect::<Vec<_>>(),
        "bound_p99_ms": sweep.args.p99_ms,
        "points": found.points.iter().map(point).collect::<Vec<_>>(),
        "best": found.choice.map(|choice| json!({
            "point": choice.at(), "within_bound": matches!(choice, Choice::Within(_)), "sql": sql(found), "toml": toml(found),
        })),
        "interrupted": found.interrupted,
        "report": sweep.args.out.join("embed.html"),
    })
}
