//! `ajatus bench freshness|embed|generate`: what this machine does, measured with the parts that are in use.

mod best;
mod chart;
mod embed;
mod freshness;
mod generate;
mod load;
mod report;
mod settings;
mod texts;
mod watch;
mod work;

use crate::cli::BenchCommand;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::Out;

/// Runs a bench, in this process and on data of its own.
pub(crate) async fn run(config: &Config, command: BenchCommand, out: &Out) -> anyhow::Result<Exit> {
    match command {
        BenchCommand::Freshness { writes, history, rate } => freshness::freshness(config, freshness::Load { writes, history, rate }, out).await,
        BenchCommand::Embed(args) => embed::run(config, &args, out).await,
        BenchCommand::Generate(args) => generate::run(config, &args, out).await,
    }
}
