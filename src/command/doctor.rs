//! `ajatus doctor`: checks every part, says what is wrong and how to mend it.

use std::path::Path;
use std::process::Stdio;

use serde::Serialize;

use crate::config::Config;
use crate::control;
use crate::exit::Exit;
use crate::output::Out;
use crate::stack::{Needs, Stack};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Green,
    Yellow,
    Red,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
struct Check {
    part: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What to do; absent when green.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

fn green(part: &'static str, found: impl Into<String>) -> Check {
    Check { part, state: State::Green, found: found.into(), mend: None }
}

fn yellow(part: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Check {
    Check { part, state: State::Yellow, found: found.into(), mend: Some(mend.into()) }
}

fn red(part: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Check {
    Check { part, state: State::Red, found: found.into(), mend: Some(mend.into()) }
}

/// Checks a stack that runs.
pub(crate) async fn run_inside(stack: &Stack, out: &Out) -> anyhow::Result<Exit> {
    let mut checks = machine(&stack.config);
    checks.push(green("data folder", format!("{} is in use by `ajatus up`", stack.config.data.display())));
    checks.extend(parts(stack).await);
    say(&checks, out).await
}

/// Opens each part in turn; one that cannot be opened is a red line, not the end.
pub(crate) async fn run_alone(config: &Config, out: &Out) -> anyhow::Result<Exit> {
    let mut checks = machine(config);
    checks.push(port(config));
    match control::DataLock::take(&config.data) {
        Err(error) => checks.push(red("data folder", format!("{error:#}"), "stop the other process, or give --data another folder")),
        Ok(_lock) => {
            checks.push(green("data folder", format!("{} can be written", config.data.display())));
            let steps: [(&'static str, Needs, &str); 4] = [
                ("log", Needs::log(), "see the message; `ajatus topics apply` makes missing topics"),
                ("postgres", Needs::database(), "run `tools/setup`, or set DATABASE_URL to a Postgres with pgvector"),
                ("embedding model", Needs::embedder(), "run `tools/setup`, or set models.embedding.path in ajatus.toml"),
                ("chat model", Needs::generator(), "run `tools/setup`, or set models.chat.path in ajatus.toml"),
            ];
            let mut whole = true;
            for (part, needs, mend) in steps {
                match Stack::open(config.clone(), needs, out).await {
                    Ok(stack) => {
                        Stack::close(std::sync::Arc::new(stack)).await?;
                    }
                    Err(error) => {
                        whole = false;
                        checks.push(red(part, format!("{error:#}"), mend));
                    }
                }
            }
            if whole {
                let stack = Stack::open(config.clone(), Needs::everything(), out).await?;
                checks.extend(parts(&stack).await);
                Stack::close(std::sync::Arc::new(stack)).await?;
            }
        }
    }
    say(&checks, out).await
}

async fn parts(stack: &Stack) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.push(match stack.log_report().await {
        Ok(found) => green("log", found),
        Err(error) => red("log", format!("{error:#}"), "check KAFKA_BOOTSTRAP_SERVERS, then `ajatus topics apply`"),
    });
    checks.push(match stack.database_report().await {
        Ok(found) => green("postgres", found),
        Err(error) => red("postgres", format!("{error:#}"), "check DATABASE_URL and the server's log in the data folder"),
    });
    checks.push(match stack.try_embedding().await {
        Ok(found) => green("embedding model", found),
        Err(error) => red("embedding model", format!("{error:#}"), "run `tools/setup`"),
    });
    checks.push(match stack.try_generation().await {
        Ok(found) => green("chat model", found),
        Err(error) => red("chat model", format!("{error:#}"), "run `tools/setup`"),
    });
    checks.push(match stack.pipeline_report().await {
        Ok(found) => green("pipeline", found),
        Err(error) => red("pipeline", format!("{error:#}"), "see the log; `ajatus up` again goes on from the ledger"),
    });
    if let Some(columns) = stack.columns() {
        let report = async { columns.writer().await?.report().await };
        checks.push(match report.await {
            Ok(found) => green("memories in Lance", found),
            Err(error) => red("memories in Lance", format!("{error:#}"), "`ajatus memory verify --repair` makes them anew from Postgres"),
        });
    }
    checks
}

fn machine(config: &Config) -> Vec<Check> {
    let mut checks = vec![green("processor", processor())];
    checks.push(match crate::stack::available_mib() {
        Some(mib) if mib < 1024 => yellow("memory", format!("{mib} MiB available"), "close something: about 700 MiB are needed beside Postgres"),
        Some(mib) => green("memory", format!("{mib} MiB available")),
        None => yellow("memory", "unknown", "this system has no /proc/meminfo"),
    });
    let disk = if config.data.exists() { config.data.clone() } else { Path::new(".").to_path_buf() };
    checks.push(match crate::stack::free_mib(&disk) {
        Ok(mib) if mib < 512 => red("disk", format!("{mib} MiB free at {}", disk.display()), "free some space: the log and the database stop when it is full"),
        Ok(mib) if mib < 2048 => yellow("disk", format!("{mib} MiB free at {}", disk.display()), "free some space soon"),
        Ok(mib) => green("disk", format!("{mib} MiB free at {}", disk.display())),
        Err(error) => yellow("disk", error.to_string(), "check the data folder"),
    });
    checks.push(if config.assets.is_dir() {
        green("assets", config.assets.display().to_string())
    } else {
        red("assets", format!("{} is not there", config.assets.display()), "run `tools/setup` in the repository, or set AJATUS_ASSETS")
    });
    checks.push(tools());
    checks
}

/// Only the tests need these, so their absence is no fault of a running companion.
fn tools() -> Check {
    let found = |name: &str| {
        std::process::Command::new(name)
            .arg("-version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let missing: Vec<&str> = ["java", "mvn"].into_iter().filter(|name| !found(name)).collect();
    if missing.is_empty() {
        green("tools of the tests", "java, mvn")
    } else {
        yellow("tools of the tests", format!("{} missing", missing.join(", ")), "`make test` installs them; `ajatus up` does not need them")
    }
}

fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let mut found = vec!["AVX2", "FMA"];
        if std::arch::is_x86_feature_detected!("avx512f") {
            found.push("AVX-512");
        }
        if std::arch::is_x86_feature_detected!("avx512bf16") {
            found.push("bf16");
        }
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        return format!("{cores} cores with {}", found.join(", "));
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH.to_owned()
}

fn port(config: &Config) -> Check {
    match std::net::TcpListener::bind(config.http.listen) {
        Ok(_) => green("port", format!("{} is free", config.http.listen)),
        Err(error) => red(
            "port",
            format!("{} cannot be taken: {error}", config.http.listen),
            "stop what listens there, or give `ajatus up --listen` another address",
        ),
    }
}

async fn say(checks: &[Check], out: &Out) -> anyhow::Result<Exit> {
    let red = checks.iter().filter(|check| check.state == State::Red).count();
    if out.json() {
        out.document(&serde_json::json!({ "green": red == 0, "checks": checks })).await?;
    } else {
        for check in checks {
            let mark = match check.state {
                State::Green => "ok  ",
                State::Yellow => "note",
                State::Red => "BAD ",
            };
            out.line(format!("{mark}  {:18} {}", check.part, check.found)).await;
            if let Some(mend) = &check.mend {
                out.line(format!("                          -> {mend}")).await;
            }
        }
        out.line(if red == 0 { "all green".to_owned() } else { format!("{red} parts need mending") }).await;
    }
    Ok(if red == 0 { Exit::Done } else { Exit::Unavailable })
}
