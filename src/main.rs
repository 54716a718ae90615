//! `ajatus`: the one program that names every adapter, reads the environment and plugs the rooms together.
//!
//! Holds always: one process per data folder; results go to standard output, everything else to standard error; every
//! error says what, where and what to do, and ends with a documented exit code.
//! Not promised: that two versions understand each other over the control socket.
//! After a crash: the log and the database hold everything that was acknowledged; the next start goes on from there.

mod cli;
mod command;
mod config;
mod control;
mod exit;
mod import;
mod output;
mod registry;
mod stack;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command, MemoryCommand, UserCommand};
use crate::config::{Config, Environment};
use crate::exit::{Ended, Exit};
use crate::output::{Out, Printer};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(message) = check_processor() {
        eprintln!("error: {message}");
        return ExitCode::from(Exit::Unavailable.code());
    }
    let environment = Environment::read();
    init_logs(&environment, &cli);
    // A worker of the dataflow that panics would leave the others waiting for ever: end the process, the ledger holds.
    ajatus_pipelines::abort_on_worker_panic();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("ajatus").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: threads cannot be started: {error}");
            return ExitCode::from(Exit::Unavailable.code());
        }
    };
    let exit = runtime.block_on(run(cli, &environment));
    // Blocking reads of standard input cannot be cancelled; do not wait for them.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    ExitCode::from(exit.code())
}

async fn run(mut cli: Cli, environment: &Environment) -> Exit {
    let json = cli.global.json;
    let (out, mut pieces) = Out::channel(json);
    let work = async move {
        let ended = dispatch(&mut cli, environment, &out).await;
        let exit = match ended {
            Ok(exit) => exit,
            Err(error) => {
                command::say_error(&error, &out).await;
                exit::of(&error)
            }
        };
        out.exit(exit).await;
        exit
    };
    let print = async {
        let mut printer = Printer::new(json);
        while let Some(piece) = pieces.recv().await {
            match printer.print(piece) {
                Ok(Some(_)) => break,
                Ok(None) => {}
                // The reader of our output is gone (`ajatus … | head`): go on silently to the command's end.
                Err(_) => while pieces.recv().await.is_some() {},
            }
        }
    };
    let (exit, ()) = tokio::join!(work, print);
    exit
}

async fn dispatch(cli: &mut Cli, environment: &Environment, out: &Out) -> anyhow::Result<Exit> {
    let config = Config::load(&cli.global, environment)?;
    let mut command = cli.command.clone();
    prepare(&mut command)?;
    let own_process = match &command {
        Command::Up(_) | Command::Core { .. } | Command::Extract(_) | Command::Eval { .. } | Command::Bench { .. } | Command::Model { .. } => true,
        Command::Memory { command: MemoryCommand::ProveForgotten(_) } => true,
        Command::Forget { command } => command::forget_stands_alone(command),
        // Only what uses the log or the database runs where they are open.
        Command::Pipeline { command } => command::pipeline_stands_alone(command),
        _ => false,
    };
    if !own_process && let Some(remote) = control::connect(&config.data).await {
        return remote.run(command, out.json()).await;
    }
    command::run_alone(config, command, out).await
}

/// What only this process can know: where its relative paths start, and its standard input.
fn prepare(command: &mut Command) -> anyhow::Result<()> {
    match command {
        Command::Import(args) => args.file = std::path::absolute(&args.file)?,
        Command::Data { command } => command::prepare_data(command)?,
        Command::Forget { command } => command::prepare_forget(command)?,
        Command::Pipeline { command } => command::prepare_pipeline(command)?,
        Command::User { command: UserCommand::Add { password_stdin: true, password, .. } }
        | Command::User { command: UserCommand::Password { password, .. } } => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            let line = line.trim_end_matches(['\n', '\r']).to_owned();
            if line.is_empty() {
                return Err(Ended::new(Exit::Usage, "no password on the first line of standard input"));
            }
            *password = Some(line);
        }
        _ => {}
    }
    Ok(())
}

/// The build uses AVX2 and FMA; without them the first tensor would end the process without a word.
fn check_processor() -> Result<(), String> {
    #[cfg(target_arch = "x86_64")]
    if !(std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")) {
        return Err("this build needs a processor with AVX2 and FMA (2013 or later); on another one remove the \
                    rustflags of .cargo/config.toml and build again"
            .to_owned());
    }
    Ok(())
}

fn init_logs(environment: &Environment, cli: &Cli) {
    use tracing_subscriber::EnvFilter;
    // Lance tells of every read.
    let default = if matches!(cli.command, Command::Up(_) | Command::Core { .. }) { "info,lance=warn" } else { "warn" };
    let filter = environment.log_filter.clone().unwrap_or_else(|| default.to_owned());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if cli.global.json {
        logs.json().init();
    } else {
        logs.compact().init();
    }
}
