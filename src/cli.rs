//! The command line. The same types travel over the control socket, so a command means the same in both places.

mod bench;
mod data;
mod forget;
mod keys;
mod memo;
mod model;
mod profile;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

pub(crate) use bench::{BenchEmbedArgs, BenchGenerateArgs};
pub(crate) use data::{DataCommand, RestoreArgs, TakeoutArgs, TrainingFormat, TrainingSetArgs};
pub(crate) use forget::{ForgetCommand, ForgetHow, ProveArgs};
pub(crate) use keys::KeysCommand;
pub(crate) use memo::MemoCommand;
pub(crate) use model::ModelCommand;
pub(crate) use verify::VerifyArgs;
pub(crate) use profile::{FactArgs, ProfileCommand, ProfileShowArgs};

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
    /// Say what facts a text holds: by the rules and by the chat model, with where each stands.
    Extract(ExtractArgs),
    /// Look into a user's memory.
    Memory {
        /// What to look for.
        #[command(subcommand)]
        command: MemoryCommand,
    },
    /// See what is known of a user, ask why, and change it.
    Profile {
        /// What to do with it.
        #[command(subcommand)]
        command: ProfileCommand,
    },
    /// Forget turns, conversations, times, topics or an account, to the last byte, and prove it.
    Forget {
        /// What.
        #[command(subcommand)]
        command: ForgetCommand,
    },
    /// The keys that everything is sealed with.
    Keys {
        /// What to do with them.
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Take data out.
    Data {
        /// What.
        #[command(subcommand)]
        command: DataCommand,
    },
    /// What models have answered.
    Memo {
        /// What to do with it.
        #[command(subcommand)]
        command: MemoCommand,
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
    /// The models that are known: files, hashes, adapters.
    Model {
        /// What to do with them.
        #[command(subcommand)]
        command: ModelCommand,
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
    /// Read a range first, at a bounded rate, and go on with what is live.
    Backfill(PipelineBackfillArgs),
    /// Say what a view or a sink holds, now or as of an epoch.
    Query(PipelineQueryArgs),
    /// Compare a sink with what it should hold, and write the difference.
    Repair {
        /// Which.
        #[command(flatten)]
        file: PipelineFile,
        /// The sink.
        sink: String,
        /// Only say what differs.
        #[arg(long)]
        dry_run: bool,
        /// The run's folder. Default: `pipelines/NAME` in the data folder.
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
    /// List what a run refused, with the reason and the raw record, or read it again.
    DeadLetters(PipelineDeadLettersArgs),
    /// Say how far a pipeline is: its epochs, the offsets it has read, what it refused.
    Status {
        /// Which.
        #[command(flatten)]
        file: PipelineFile,
        /// The run's folder. Default: `pipelines/NAME` in the data folder.
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
    /// Send a portable file to an Arroyo cluster, and wait until it runs there.
    Deploy(PipelineDeployArgs),
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
    /// What `${NAME}` in a path, topic, address, option of a model or length of a vector stands for; may be given several times.
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
    /// Seconds between two snapshots, from which a restart goes on; 0: none.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) snapshot_seconds: u64,
    /// Epochs between two snapshots, instead of a time.
    #[arg(long, value_name = "EPOCHS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) snapshot_epochs: Option<u64>,
    /// Run as one of several processes: a file with an address `host:port` of each, a line each, the same for all. Rows travel between
    /// these addresses, so their network must be private. All see one --state folder; topics must lie in Kafka.
    #[arg(long, value_name = "FILE", requires = "process", requires = "control")]
    pub(crate) hosts: Option<PathBuf>,
    /// Which of the processes this is, from 0; the first one leads, reads files and writes the sinks.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) process: Option<u16>,
    /// The address at which the first process tells the others what to do.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) control: Option<String>,
    /// Run as a child process, and start it again when it dies: it goes on from the last snapshot.
    #[arg(long)]
    pub(crate) supervise: bool,
    /// Serve `/metrics` at this address of this machine while it runs. Port 0 takes a free one, and says which.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<std::net::SocketAddr>,
    /// For tests: end the process by SIGKILL at the TIMEth passing of a point of the commit order.
    #[arg(long, hide = true, value_name = "POINT:TIME", value_parser = crash_point)]
    pub(crate) crash_at: Option<(u32, u32)>,
}

fn crash_point(text: &str) -> Result<(u32, u32), String> {
    let (point, time) = text.split_once(':').unwrap_or((text, "1"));
    Ok((point.parse().map_err(|_| "a point is a number".to_owned())?, time.parse().map_err(|_| "a time is a number".to_owned())?))
}

/// `ajatus pipeline backfill`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct PipelineBackfillArgs {
    /// How it runs.
    #[command(flatten)]
    pub(crate) run: PipelineRunArgs,
    /// Where the range begins, of one partition; may be given several times. Default: where each source begins. What an interrupted
    /// backfill has read is not read again.
    #[arg(long, value_name = "SOURCE:PARTITION:OFFSET")]
    pub(crate) from: Vec<String>,
    /// Where the range ends, before this offset; may be given several times. Default: where each source ends now.
    #[arg(long, value_name = "SOURCE:PARTITION:OFFSET")]
    pub(crate) to: Vec<String>,
    /// Records a second at most, of all sources together.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate_limit: Option<u32>,
    /// End where the range ends; `ajatus pipeline run` goes on from there.
    #[arg(long)]
    pub(crate) stop: bool,
}

/// `ajatus pipeline query`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct PipelineQueryArgs {
    /// Which.
    #[command(flatten)]
    pub(crate) file: PipelineFile,
    /// The view or the sink.
    pub(crate) name: String,
    /// Only rows with this value in this column, as it is printed; may be given several times.
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    pub(crate) only: Vec<String>,
    /// As of the end of this epoch. Default: of the last one.
    #[arg(long, value_name = "EPOCH")]
    pub(crate) as_of: Option<u64>,
    /// Rows that are printed at most.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) limit: usize,
    /// Dataflow threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// The run's folder. Default: `pipelines/NAME` in the data folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// `ajatus pipeline dead-letters`; without a word it lists.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct PipelineDeadLettersArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub(crate) command: Option<DeadLettersCommand>,
    /// Which.
    #[command(flatten)]
    pub(crate) file: Option<PipelineFile>,
    /// The run's folder. Default: `pipelines/NAME` in the data folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

impl PipelineDeadLettersArgs {
    /// What is meant: to list is what is done without a word.
    pub(crate) fn meant(self) -> Option<DeadLettersCommand> {
        let state = self.state;
        self.command.or_else(|| self.file.map(|file| DeadLettersCommand::List(PipelineFolder { file, state })))
    }
}

/// `ajatus pipeline dead-letters …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeadLettersCommand {
    /// List them.
    List(PipelineFolder),
    /// Read refused records again; says of each letter what becomes of it.
    Replay(ReplayArgs),
}

/// A file and the folder of its run.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct PipelineFolder {
    /// Which.
    #[command(flatten)]
    pub(crate) file: PipelineFile,
    /// The run's folder. Default: `pipelines/NAME` in the data folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// `ajatus pipeline dead-letters replay`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct ReplayArgs {
    /// Which.
    #[command(flatten)]
    pub(crate) folder: PipelineFolder,
    /// Only letters of this step, such as `source orders`.
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// Only letters with this code, such as `decode.type`.
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// So many letters at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Only letters that are in this file, with the payloads that they have there: what `list --json` printed, mended.
    #[arg(long, value_name = "FILE")]
    pub(crate) mended: Option<PathBuf>,
    /// Only say what would become of each.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `ajatus pipeline deploy`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct PipelineDeployArgs {
    /// Which.
    #[command(flatten)]
    pub(crate) file: PipelineFile,
    /// Address of the cluster's API, such as `http://host:5115`. Its token, if it wants one: `arroyo.token` in the configuration, or
    /// `AJATUS_ARROYO_TOKEN`.
    #[arg(long, value_name = "URL", required_unless_present = "dry_run")]
    pub(crate) arroyo: Option<String>,
    /// Name of the pipeline there. Default: the file's, without folder and ending.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Parallel tasks of each step there.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) parallelism: u32,
    /// Seconds between two checkpoints. Default: the cluster's own.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) checkpoint_interval: Option<u32>,
    /// Where the cluster keeps the pipeline's state. Default: the cluster's own place.
    #[arg(long, value_name = "URL")]
    pub(crate) state_url: Option<String>,
    /// Check and translate the file, print the text that would be sent, and ask nobody.
    #[arg(long)]
    pub(crate) dry_run: bool,
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
    /// What comes first in the dates of a WhatsApp chat, where the file leaves it open.
    #[arg(long, value_enum, value_name = "PART")]
    pub(crate) date_order: Option<DateOrder>,
    /// The zone of times without one (WhatsApp, older Telegram exports), such as `+02:00`.
    #[arg(long, value_name = "OFFSET", default_value = "+00:00", allow_hyphen_values = true, value_parser = offset)]
    pub(crate) utc_offset: String,
}

/// An offset from UTC, as it was written: what is sent to a running companion is text.
fn offset(text: &str) -> Result<String, String> {
    text.parse::<chrono::FixedOffset>().map(|_| text.to_owned()).map_err(|_| "an offset is written as +02:00 or -05:30".to_owned())
}

/// Formats of `ajatus import`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// LoCoMo's JSON: conversations with dated sessions.
    Locomo,
    /// One turn a line; docs/import.md lists the fields.
    Jsonl,
    /// `conversations.json` of a ChatGPT export, or the archive it comes in.
    Chatgpt,
    /// `conversations.json` of a Claude export, or the archive it comes in.
    Claude,
    /// `result.json` of Telegram Desktop: one chat, or all of them.
    Telegram,
    /// The text of a WhatsApp chat, or the archive it comes in.
    Whatsapp,
}

/// What comes first in a date of digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DateOrder {
    /// 31/12/2026.
    Day,
    /// 12/31/2026.
    Month,
    /// 2026/12/31.
    Year,
}

impl Format {
    /// The word in [`ajatus_events::SourceRef`].
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Locomo => "locomo",
            Self::Jsonl => "jsonl",
            Self::Chatgpt => "chatgpt",
            Self::Claude => "claude",
            Self::Telegram => "telegram",
            Self::Whatsapp => "whatsapp",
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

/// `ajatus extract`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct ExtractArgs {
    /// The text, English or Finnish.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub(crate) text: Option<String>,
    /// Read the text from this file, UTF-8.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Ask no model.
    #[arg(long)]
    pub(crate) rules_only: bool,
    /// When it was said, for `tomorrow` and its like: a day, or a time of RFC 3339. Default: now.
    #[arg(long, value_name = "TIME")]
    pub(crate) said_at: Option<String>,
}

/// `ajatus memory …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MemoryCommand {
    /// Find the turns that a question is about.
    Search(MemorySearchArgs),
    /// Compare Postgres, Lance and the in-memory index, and profiles with their turns; --repair mends what differs.
    Verify(VerifyArgs),
    /// Search the raw bytes of every file for what was forgotten; the same as `ajatus forget prove`.
    ProveForgotten(ProveArgs),
}

/// What a time that a question names does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TimeWord {
    /// Nothing.
    Ignore,
    /// Turns of that time come first.
    #[default]
    Prefer,
    /// Only turns of that time, or all if there is none.
    Only,
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
    /// Signals to use or, with a minus each, to leave out, with commas between: `--signals=-hop,-date`.
    #[arg(long, value_name = "NAMES", allow_hyphen_values = true)]
    pub(crate) signals: Option<String>,
    /// What a time in the question does.
    #[arg(long, value_enum, default_value_t = TimeWord::Prefer)]
    pub(crate) time: TimeWord,
    /// How much a turn loses for each better one of its session, 0 to 1.
    #[arg(long, value_name = "SHARE")]
    pub(crate) diversity: Option<f32>,
    /// Tokens of all turns together at most, at four characters each.
    #[arg(long, value_name = "TOKENS")]
    pub(crate) token_budget: Option<usize>,
    /// Show nothing below this much evidence, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) min_evidence: f32,
    /// The turns as they were at an epoch, or at a time (RFC 3339), without what was forgotten since.
    #[arg(long, value_name = "EPOCH|TIME")]
    pub(crate) as_of: Option<String>,
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
    /// Say that a user allows their turns to train a model, or no longer does.
    Consent {
        /// Name or mail address.
        name: String,
        /// Whether they do.
        #[arg(long, value_enum)]
        training: YesNo,
    },
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum YesNo {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// `ajatus eval …`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EvalCommand {
    /// How much of the evidence is retrieved: recall@5/10/20 over and per category, session hit@1.
    Recall(EvalRecallArgs),
    /// Random histories of saying, editing and forgetting: is what is kept what a batch makes, and is nothing left of what went?
    Histories(EvalHistoriesArgs),
}

/// `ajatus eval histories`.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct EvalHistoriesArgs {
    /// Histories; each is told twice, in two orders.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) histories: u64,
    /// Records of each.
    #[arg(long, default_value_t = 20, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub(crate) records: usize,
    /// Epochs that they come in.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) epochs: u64,
    /// The same seed gives the same histories.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Threads of the dataflow.
    #[arg(long, default_value_t = 2, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub(crate) workers: usize,
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
    /// Rank without the signal of this name; may be given several times (`ajatus memory search --explain` shows the names).
    #[arg(long = "without", value_name = "SIGNAL")]
    pub(crate) without: Vec<String>,
    /// Also rank once without each signal, to see what each is worth.
    #[arg(long)]
    pub(crate) ablation: bool,
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
        /// Writes a second, begun on time whether or not those before are in; 0: one after the other.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
        rate: u32,
    },
    /// Vectors a second and their latency over sizes of batches; finds the best setting for this machine and writes a report.
    Embed(BenchEmbedArgs),
    /// Tokens a second, time to the first token and between tokens, over answers at once; finds the best setting and writes a report.
    Generate(BenchGenerateArgs),
}
