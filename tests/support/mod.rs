//! Runs the real `ajatus` program on a data folder of its own.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "a module shared by test binaries")]

pub mod broker;
pub mod kills;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The repository's folder: a test runs in its crate's. Asked when it runs and not when it is built, because clones share
/// one build folder.
pub fn root() -> PathBuf {
    std::env::current_dir().expect("a folder to be in")
}

/// A conversation written for this repository.
pub fn conversation(name: &str) -> PathBuf {
    root().join("tests/conversations").join(name)
}

/// One data folder and the program on it.
pub struct Ajatus {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Ajatus {
    /// An empty data folder. Mode 0755, so that the database's unprivileged user may pass when the tests run as root.
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::Builder::new()
            .prefix("ajatus-test-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary folder");
        Self { folder, environment: Vec::new() }
    }

    /// The same with another variable in the environment.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the data lies.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A file in the folder beside the data.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    }

    /// The command, ready to run.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_on(&self.data(), args)
    }

    /// The command on another data folder.
    pub fn command_on(&self, data: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ajatus"));
        command
            .args(args)
            .arg("--data")
            .arg(data)
            .current_dir(self.folder.path())
            .env_remove("DATABASE_URL")
            .env_remove("KAFKA_BOOTSTRAP_SERVERS")
            .env_remove("VLLM_URL")
            .env_remove("VLLM_EMBEDDING_URL")
            .env_remove("OLLAMA_URL")
            .env_remove("CORE_API_KEY")
            .env("AJATUS_ASSETS", root().join(".cache"))
            .stdin(Stdio::null());
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program starts")
    }

    /// Runs a command that must succeed, and reads its standard output as one JSON document.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        assert!(
            output.status.success(),
            "ajatus {args:?} ended with {}\n{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// Starts `ajatus up` on a free port and waits until it says that it is ready.
    pub fn up(&self) -> Up {
        let mut child = self
            .command(&["up", "--listen", "127.0.0.1:0", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = lines.next().expect("`ajatus up` says that it is ready").expect("text");
        let ready: Value = serde_json::from_str(&line).expect("one JSON document");
        let address = ready["address"].as_str().expect("an address").to_owned();
        Up { child, address, ready }
    }
}

/// A running `ajatus up`, ended by its pid.
pub struct Up {
    child: Child,
    /// `http://127.0.0.1:port`.
    pub address: String,
    /// What it said when it was ready.
    pub ready: Value,
}

impl Up {
    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop, and waits.
    pub fn stop(mut self) -> std::process::ExitStatus {
        signal(self.child.id(), "TERM");
        self.child.wait().expect("it ends")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "TERM");
            drop(self.child.wait());
        }
    }
}

/// Sends a signal to a process that the test started.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill runs");
    assert!(status.success(), "no process {pid}");
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Addresses that are free now.
pub fn addresses(count: usize) -> Vec<String> {
    let held: Vec<std::net::TcpListener> = (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    held.iter().map(|listener| listener.local_addr().expect("an address").to_string()).collect()
}

/// Starts a run as several processes; the first one leads.
pub fn cluster(ajatus: &Ajatus, run: &[&str], processes: usize) -> Vec<Child> {
    cluster_of(ajatus, &vec![run; processes])
}

/// Starts a run as one process for each command line; the first one leads.
pub fn cluster_of(ajatus: &Ajatus, runs: &[&[&str]]) -> Vec<Child> {
    let mut places = addresses(runs.len() + 1);
    let control = places.pop().expect("one more");
    let hosts = ajatus.file("hosts", places.join("\n").as_bytes()).display().to_string();
    let start = |(process, run): (usize, &&[&str])| {
        let number = process.to_string();
        let all = [run, &["--hosts", &hosts, "--process", &number, "--control", &control][..]].concat();
        // A data folder belongs to one process; what they share is the run folder.
        let data = ajatus.data().with_extension(number.clone());
        ajatus.command_on(if process == 0 { ajatus.data() } else { data }.as_path(), &all).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
    };
    runs.iter().enumerate().map(start).collect()
}
