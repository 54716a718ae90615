//! `ajatus eval histories`: does what is kept record by record equal what is made from scratch, and does forgetting leave nothing?

use ajatus_pipelines::{HistoriesConfig, run_histories};
use serde_json::json;
use tokio::sync::mpsc;

use crate::cli::EvalHistoriesArgs;
use crate::exit::{Ended, Exit};
use crate::output::Out;

/// Runs the histories; ends with an error code if anything differed.
pub(crate) async fn run(args: &EvalHistoriesArgs, out: &Out) -> anyhow::Result<Exit> {
    let config = HistoriesConfig { histories: args.histories, records: args.records, epochs: args.epochs, seed: args.seed, workers: args.workers };
    let (done, mut news) = mpsc::unbounded_channel();
    let work = tokio::task::spawn_blocking(move || {
        run_histories(config, |histories| {
            // Whoever asked may have gone; the work ends all the same.
            done.send(histories).ok();
        })
    });
    while let Some(histories) = news.recv().await {
        out.progress("histories", histories, args.histories);
    }
    let report = work.await.map_err(|_| Ended::new(Exit::Failed, "the histories ended by a panic"))??;
    if out.json() {
        let mut document = json!(report);
        document["sound"] = json!(report.sound());
        document["seed"] = json!(args.seed);
        out.document(&document).await?;
    } else {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = report.records as f64 / report.seconds;
        out.line(format!("{} histories twice over, {} records ({rate:.0} a second, {:.1} s), {} states compared with a batch", report.histories, report.records, report.seconds, report.compared)).await;
        out.line(format!("differences                {}", report.differences)).await;
        out.line(format!("residue of what is gone    {}", report.residue)).await;
        out.line(format!("order of arrival mattered  {}", report.order_errors)).await;
        out.line(format!("cascade errors             {} ({} facts gone stale, {} older ones back)", report.cascade_errors, report.stale, report.restored)).await;
        out.line(format!("model calls                {} in all, {} in {} epochs of pure retraction", report.model_calls, report.retraction_calls, report.retractions)).await;
        if let Some(first) = &report.first {
            out.line(format!("first: {first}")).await;
        }
    }
    Ok(if report.sound() { Exit::Done } else { Exit::Failed })
}
