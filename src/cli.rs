//! The command line. The same types travel over the control socket, so a command means the same in both places.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

/// A self-hosted companion that remembers, and says why.
#[derive(Debug, Parser)]
#[command(name = "ajatus", version, about, long_about = None, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
While `ajatus up` runs, the other commands run inside it, through the socket in its data folder; otherwise they start \
the parts they need themselves.

Exit codes: 0 done, 1 failed, 2 wrong command line or configuration, 3 done but some input was refused, \
4 a part cannot be reached, 5 a file cannot be used, 130 interrupted.";

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Folder that holds the log, the database, the keys. Default `./data`, or what the configuration says.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Configuration file. Default `./ajatus.toml` if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print results as JSON on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// Start everything on one local port; Ctrl-C stops all of it.
    Up(UpArgs),
    /// Bring conversations in from a file; importing twice adds nothing.
    Import(ImportArgs),
    /// Ask the companion; streams the answer, then lists the memories it used.
    Ask(AskArgs),
    /// Look into a user's memory.
    Memory {
        /// What to look for.
        #[command(subcommand)]
        command: MemoryCommand,
    },
    /// The log's topics.
    Topics {
        /// What to do with them.
        #[command(subcommand)]
        command: TopicsCommand,
    },
    /// The people who use this companion.
    User {
        /// What to do with them.
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Measure quality.
    Eval {
        /// What to measure.
        #[command(subcommand)]
        command: EvalCommand,
    },
    /// Measure speed.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Pipelines defined as SQL: check, explain, draw, test and run them.
    Pipeline {
        /// What to do with one.
        #[command(subcommand)]
        command: PipelineCommand,
    },
    /// The models alone.
    Core {
        /// What to do with them.
        #[command(subcommand)]
        command: CoreCommand,
    },
    /// Check every part and say how to mend what is wrong.
    Doctor,
}

/// `ajatus core …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CoreCommand {
    /// Serve the models over HTTP, as OpenAI's API has it, until Ctrl-C; needs no log and no database.
    Serve {
        /// Address to listen on; overrides the configuration. Port 0 takes a free one.
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<std::net::SocketAddr>,
    },
}

/// `ajatus pipeline …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PipelineCommand {
    /// Say what is wrong with a file: code, place, hint; nothing runs.
    Check(PipelineFile),
    /// Say what each step does and what it keeps in memory.
    Explain {
        /// Which.
        #[command(flatten)]
        file: PipelineFile,
        /// Show DataFusion's optimised plans too.
        #[arg(long)]
        logical: bool,
    },
    /// Draw the steps.
    Graph {
        /// Which.
        #[command(flatten)]
        file: PipelineFile,
        /// As what.
        #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
        format: GraphFormat,
    },
    /// Run the tests that stand in the file.
    Test {
        /// Which.
        #[command(flatten)]
        file: PipelineFile,
        /// Throw the dataflow away after every epoch and make it anew, as a restart does.
        #[arg(long)]
        kill: bool,
        /// Dataflow threads.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
        workers: u16,
    },
    /// Run a file: over files to their end, over topics as they grow.
    Run(PipelineRunArgs),
    /// List what a run refused, with the reason and the raw record.
    DeadLetters {
        /// Which.
        #[command(flatten)]
        file: PipelineFile,
        /// The run's folder. Default: `pipelines/NAME` in the data folder.
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
    /// Say how far a pipeline is: its epochs, the offsets it has read, what it refused.
    Status {
        /// Which.
        #[command(flatten)]
        file: PipelineFile,
        /// The run's folder. Default: `pipelines/NAME` in the data folder.
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
    /// Say what every option and every error code means.
    Reference,
}

/// Which file, and what its `${NAME}`s stand for.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct PipelineFile {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(crate) path: PathBuf,
    /// The file as it was named, for messages.
    #[arg(skip)]
    pub(crate) named: String,
    /// What `${NAME}` in a path, topic or address stands for; may be given several times.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
}

/// `ajatus pipeline run`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct PipelineRunArgs {
    /// Which.
    #[command(flatten)]
    pub(crate) file: PipelineFile,
    /// Dataflow threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// Records of one epoch at most, per source.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) epoch_rows: u32,
    /// Folder of the ledger, the memo and the dead letters. Default: `pipelines/NAME` in the data folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Read topics to where they end now, and end.
    #[arg(long)]
    pub(crate) bounded: bool,
}

/// Forms of `ajatus pipeline graph`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GraphFormat {
    /// A line a step.
    Text,
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
    /// A drawing.
    Svg,
}

/// `ajatus up`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct UpArgs {
    /// Address to listen on; overrides the configuration. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
}

/// `ajatus import`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct ImportArgs {
    /// File to read.
    pub(crate) file: PathBuf,
    /// Whose memory it becomes; the account is made if there is none.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// What the file is.
    #[arg(long, value_enum)]
    pub(crate) format: Format,
    /// Import only the conversation of this name; may be given several times.
    #[arg(long = "conversation", value_name = "NAME")]
    pub(crate) conversations: Vec<String>,
    /// The speaker of the file who is the user. Default: the one whose name is the user's.
    #[arg(long, value_name = "SPEAKER")]
    pub(crate) speaker: Option<String>,
}

/// Formats of `ajatus import`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// LoCoMo's JSON: conversations with dated sessions.
    Locomo,
    /// One turn a line; docs/import.md lists the fields.
    Jsonl,
    /// `conversations.json` of a ChatGPT export.
    Chatgpt,
}

impl Format {
    /// The word in [`ajatus_events::SourceRef`].
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Locomo => "locomo",
            Self::Jsonl => "jsonl",
            Self::Chatgpt => "chatgpt",
        }
    }
}

/// `ajatus ask`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct AskArgs {
    /// What to ask.
    pub(crate) question: String,
    /// Who asks.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
}

/// `ajatus memory …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MemoryCommand {
    /// Find the turns that a question is about.
    Search(MemorySearchArgs),
}

/// `ajatus memory search`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct MemorySearchArgs {
    /// What to look for.
    pub(crate) question: String,
    /// Whose memory.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// How many turns.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) limit: u16,
    /// Show what each signal gave.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Wait until the write with this receipt is in.
    #[arg(long, value_name = "RECEIPT")]
    pub(crate) after: Option<String>,
}

/// `ajatus topics …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TopicsCommand {
    /// Make the topics of `topics.toml` that are missing; report what differs, destroy nothing.
    Apply {
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
    },
}

/// `ajatus user …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UserCommand {
    /// Make an account; with `--password-stdin` it can sign in.
    Add {
        /// Name or mail address to sign in with.
        name: String,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
        /// The password as read; never given on the command line.
        #[arg(skip)]
        password: Option<String>,
    },
    /// Give an account a new password, read from the first line of standard input.
    Password {
        /// Name or mail address.
        name: String,
        /// The password as read; never given on the command line.
        #[arg(skip)]
        password: Option<String>,
    },
    /// List the accounts.
    List,
}

/// `ajatus eval …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EvalCommand {
    /// How much of the evidence is retrieved: recall@5/10/20 over and per category, session hit@1.
    Recall(EvalRecallArgs),
}

/// `ajatus eval recall`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct EvalRecallArgs {
    /// A file in LoCoMo's form, with questions and evidence.
    #[arg(long, value_name = "FILE")]
    pub(crate) locomo: PathBuf,
    /// Evaluate only the conversation of this name; may be given several times.
    #[arg(long = "conversation", value_name = "NAME")]
    pub(crate) conversations: Vec<String>,
    /// Keep the scratch log, database and keys of this evaluation in this folder, and go on from what is there.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// Also write every question's ranking to this file, one JSON document a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) rankings: Option<PathBuf>,
}

/// `ajatus bench …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BenchCommand {
    /// Time from an acknowledged write to its being retrievable, on an idle system of its own.
    Freshness {
        /// How many writes.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        writes: u32,
        /// Turns already in the memory when the writes begin.
        #[arg(long, default_value_t = 500)]
        history: u32,
    },
}
