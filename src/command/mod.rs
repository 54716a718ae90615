//! What each command does, whether in this process or inside a running `ajatus up`.

mod ask;
mod bench;
mod core;
mod data;
mod doctor;
mod eval;
mod extract;
mod forget;
mod histories;
mod import;
mod keys;
mod memo;
mod memory;
mod model;
mod pipeline;
mod profile;
mod topics;
mod up;
mod user;
mod verify;

pub(crate) use data::prepare as prepare_data;
pub(crate) use forget::{prepare as prepare_forget, stands_alone as forget_stands_alone};
pub(crate) use pipeline::{prepare as prepare_pipeline, stands_alone as pipeline_stands_alone};

use std::sync::Arc;

use crate::cli::{Command, CoreCommand, DataCommand, EvalCommand, MemoryCommand};
use crate::config::Config;
use crate::control;
use crate::exit::{Ended, Exit};
use crate::output::Out;
use crate::stack::{Needs, Stack};

/// Runs a command inside a running stack.
pub(crate) async fn run_inside(stack: &Arc<Stack>, command: Command, out: &Out) -> anyhow::Result<Exit> {
    match command {
        Command::Up(_) => Err(Ended::new(Exit::Unavailable, "`ajatus up` is running already on this data folder")),
        Command::Import(args) => import::run(stack, &args, out).await,
        Command::Ask(args) => ask::run(stack, &args, out).await,
        Command::Extract(args) => extract::run(&stack.config, &args, out).await,
        Command::Memory { command: MemoryCommand::Search(args) } => memory::search(stack, &args, out).await,
        Command::Memory { command: MemoryCommand::ProveForgotten(args) } => forget::prove(&stack.config, args, out).await,
        Command::Memory { command: MemoryCommand::Verify(args) } => verify::run(stack, &args, out).await,
        Command::Forget { command } => forget::run(stack, command, out).await,
        Command::Profile { command } => profile::run(stack, &command, out).await,
        Command::Keys { command } => keys::run(stack, &command, out).await,
        Command::Data { command } => data::run(stack, &command, out).await,
        Command::Model { command } => model::run(&stack.config, command, out).await,
        Command::Memo { command } => memo::run(stack, &command, out).await,
        Command::Topics { command } => topics::run(stack, &command, out).await,
        Command::User { command } => user::run(stack, &command, out).await,
        Command::Pipeline { command } => pipeline::run(Some(stack), &stack.config, command, out).await,
        Command::Core { command: CoreCommand::Serve { listen } } => core::serve(stack.config.clone(), listen, out).await,
        Command::Doctor => doctor::run_inside(stack, out).await,
        Command::Eval { command: EvalCommand::Recall(args) } => eval::recall(&stack.config, &args, out).await,
        Command::Eval { command: EvalCommand::Histories(args) } => histories::run(&args, out).await,
        Command::Bench { command } => bench::run(&stack.config, command, out).await,
    }
}

/// Runs a command in this process: opens the parts it needs, runs it, closes them.
pub(crate) async fn run_alone(config: Config, command: Command, out: &Out) -> anyhow::Result<Exit> {
    let needs = match &command {
        Command::Up(args) => return up::run(config, args, out).await,
        Command::Core { command: CoreCommand::Serve { listen } } => return core::serve(config, *listen, out).await,
        Command::Extract(args) => return extract::run(&config, args, out).await,
        Command::Memory { command: MemoryCommand::ProveForgotten(args) } => return forget::prove(&config, args.clone(), out).await,
        Command::Forget { command } if forget::stands_alone(command) => return forget::run_alone(&config, command.clone(), out).await,
        Command::Doctor => return doctor::run_alone(&config, out).await,
        Command::Eval { command: EvalCommand::Recall(args) } => return eval::recall(&config, args, out).await,
        Command::Eval { command: EvalCommand::Histories(args) } => return histories::run(args, out).await,
        Command::Bench { command } => return bench::run(&config, command.clone(), out).await,
        Command::Model { command } => return model::run(&config, command.clone(), out).await,
        Command::Pipeline { command } => match pipeline::needs(command)? {
            Some(needs) => needs,
            None => return pipeline::run(None, &config, command.clone(), out).await,
        },
        Command::Data { command: DataCommand::TrainingExports } => Needs::database(),
        Command::Data { command: DataCommand::Takeout(_) | DataCommand::Restore(_) } => Needs::recall(),
        Command::Data { .. } | Command::Import(_) | Command::Memo { .. } => Needs::pipeline(),
        Command::Memory { .. } | Command::Profile { .. } | Command::Keys { .. } | Command::Forget { .. } => Needs::recall(),
        Command::Ask(_) => Needs::everything(),
        Command::Topics { .. } => Needs::nothing(),
        Command::User { .. } => Needs::database(),
    };
    let _lock = control::DataLock::take(&config.data)?;
    let stack = Arc::new(Stack::open(config, needs, out).await?);
    // Interrupted: the command is dropped at its next wait, which every command survives; the parts are closed all the same.
    let ended = tokio::select! {
        ended = run_inside(&stack, command, out) => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    };
    let closed = Stack::close(stack).await;
    let exit = ended?;
    closed?;
    Ok(exit)
}

/// Says an error: one line for people, one document for programs.
pub(crate) async fn say_error(error: &anyhow::Error, out: &Out) {
    let message = format!("{error:#}");
    if out.json() {
        let exit = crate::exit::of(error);
        out.note(serde_json::json!({ "error": { "message": message, "exit": exit.code() } }).to_string()).await;
    } else {
        out.note(format!("error: {message}")).await;
    }
}
