//! A private Postgres with pgvector, for those who bring none: made, started and stopped with us.
//!
//! Holds always: it listens on loopback alone, with a password that only our user may read; it never runs as root; it
//! stops when we stop, and also when we are killed (it hangs on a pipe from us).
//! Not promised: a tuned server; set `DATABASE_URL` for that.
//! After a crash: the next start waits for the old server to end, then Postgres recovers by itself.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use sqlx::Connection as _;
use tokio::time::Instant;

const USER: &str = "ajatus";
/// Longest wait for a start or a stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to run and where.
#[derive(Clone, Debug)]
pub struct PrivateConfig {
    /// Folder with `bin/postgres` and `bin/initdb`.
    pub binaries: PathBuf,
    /// Folder of ours for the cluster, its password and its log.
    pub data: PathBuf,
    /// User to run as when we are root; Postgres refuses root. Default `nobody`.
    pub run_as: Option<String>,
    /// Throw-away: no syncs, and the folder goes when the server stops. Default false.
    pub temporary: bool,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The programs are not there.
    #[error("{0:?} is missing; run `tools/setup`, or set DATABASE_URL to a Postgres with pgvector")]
    Missing(PathBuf),
    /// We are root and cannot become the other user.
    #[error("Postgres refuses to run as root, and {reason}; set postgres.run_as to an unprivileged user, or DATABASE_URL")]
    Unprivileged {
        /// What is wrong.
        reason: String,
    },
    /// Another server holds the folder.
    #[error("process {pid} still holds the cluster in {data:?}; is another `ajatus` running there?")]
    Held {
        /// Its pid.
        pid: u32,
        /// The folder.
        data: PathBuf,
    },
    /// A program of the server failed; its last words.
    #[error("{program} failed: {words}")]
    Program {
        /// Which.
        program: &'static str,
        /// End of its log.
        words: String,
    },
    /// It runs but does not answer.
    #[error("the private Postgres did not answer within {} s; its log is {log:?}", PATIENCE.as_secs())]
    Silent {
        /// Where to look.
        log: PathBuf,
    },
    /// A file or folder could not be made.
    #[error("{path:?}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A running private server.
#[derive(Debug)]
pub struct PrivatePostgres {
    child: Child,
    /// Held open for as long as the server shall live.
    leash: Option<ChildStdin>,
    url: String,
}

/// Waits until its standard input ends (we stopped, or died), then stops the server; removes `$CLEAN` if it is set.
const KEEPER: &str = r#"log=$1; shift
"$@" >>"$log" 2>&1 </dev/null &
server=$!
trap '' INT TERM HUP
while read -r _; do :; done
kill -INT $server 2>/dev/null
wait $server
status=$?
if [ -n "$CLEAN" ]; then rm -rf "$CLEAN"; fi
exit $status"#;

impl PrivatePostgres {
    /// Makes the cluster if there is none, and starts it on a free port.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn start(config: PrivateConfig) -> Result<Self, ServerError> {
        let postgres = config.binaries.join("bin/postgres");
        if !postgres.is_file() {
            return Err(ServerError::Missing(postgres));
        }
        let owner = Owner::find(config.run_as.as_deref())?;
        owner.folder(&config.data)?;
        owner.reachable(&config.data)?;
        owner.reachable(&config.binaries)?;
        let password = password(&config.data)?;
        let cluster = config.data.join("cluster");
        if !cluster.join("PG_VERSION").is_file() {
            let (config, cluster, password) = (config.clone(), cluster.clone(), password.clone());
            tokio::task::spawn_blocking(move || init(&config, owner, &cluster, &password)).await.expect("initdb does not panic")?;
        }
        wait_for_predecessor(&cluster).await?;
        let port = free_port(&config.data)?;
        let log = config.data.join("server.log");
        rotate(&log);
        let mut child = owner
            .command("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&log)
            .arg(&postgres)
            .arg("-D")
            .arg(&cluster)
            .args(settings(port, config.temporary).iter().flat_map(|setting| ["-c", setting]))
            .env("CLEAN", if config.temporary { config.data.as_os_str() } else { "".as_ref() })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C for us is not one for it: we stop it ourselves, last.
            .process_group(0)
            .spawn()
            .map_err(|source| ServerError::File { path: postgres.clone(), source })?;
        let leash = child.stdin.take();
        let url = format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres?sslmode=disable");
        let mut server = Self { child, leash, url };
        server.wait_until_ready(&log).await?;
        Ok(server)
    }

    /// How to connect; holds the password.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Stops it: open transactions are rolled back, everything committed is on disk.
    ///
    /// # Errors
    /// [`ServerError::Silent`] if it does not end in time.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        drop(self.leash.take());
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                return Err(ServerError::Silent { log: PathBuf::from("server.log") });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn wait_until_ready(&mut self, log: &Path) -> Result<(), ServerError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(connection) = sqlx::PgConnection::connect(&self.url).await {
                drop(connection.close().await);
                return Ok(());
            }
            // The keeper lives on after its server has ended; the log tells.
            let words = tail(log);
            if words.contains("database system is shut down") || words.contains("FATAL:") && !words.contains("starting up") {
                drop(self.leash.take());
                drop(self.child.wait());
                return Err(ServerError::Program { program: "postgres", words });
            }
            if Instant::now() > deadline {
                return Err(ServerError::Silent { log: log.to_path_buf() });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        drop(self.leash.take());
        // Reaps it if it has ended already; otherwise it ends by itself a moment later.
        drop(self.child.try_wait());
    }
}

/// Settings of the running server: small, on loopback, quiet.
fn settings(port: u16, temporary: bool) -> Vec<String> {
    let mut settings: Vec<String> = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=60",
        "shared_buffers=64MB",
        "jit=off",
        "logging_collector=off",
        "log_min_messages=warning",
        "max_wal_size=512MB",
        // A segment of the write-ahead log that is not needed any more goes, and is not written over later: forgetting counts on it.
        "wal_recycle=off",
    ]
    .map(str::to_owned)
    .to_vec();
    settings.push(format!("port={port}"));
    if temporary {
        settings.extend(["fsync=off", "full_page_writes=off", "synchronous_commit=off"].map(str::to_owned));
    }
    settings
}

fn init(config: &PrivateConfig, owner: Owner, cluster: &Path, password: &str) -> Result<(), ServerError> {
    // Made beside and renamed, so that a killed initdb leaves nothing that looks whole.
    let beside = config.data.join("cluster.new");
    let file = |path: &Path| { let path = path.to_path_buf(); move |source| ServerError::File { path, source } };
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(file(&beside))?;
    }
    let password_file = config.data.join("password.once");
    write_private(&password_file, password).map_err(file(&password_file))?;
    owner.give(&password_file)?;
    let output = owner
        .command(config.binaries.join("bin/initdb"))
        .arg("-D")
        .arg(&beside)
        .args(["-U", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions"])
        .args(config.temporary.then_some("--no-sync"))
        .arg(format!("--pwfile={}", password_file.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(file(&config.binaries.join("bin/initdb")))?;
    fs::remove_file(&password_file).map_err(file(&password_file))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(ServerError::Program { program: "initdb", words: words.trim().replace('\n', "; ") });
    }
    fs::rename(&beside, cluster).map_err(file(cluster))
}

/// A killed predecessor's server is told by its broken pipe to stop; it is given the time.
async fn wait_for_predecessor(cluster: &Path) -> Result<(), ServerError> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(pid) = holder(cluster) {
        if Instant::now() > deadline {
            return Err(ServerError::Held { pid, data: cluster.to_path_buf() });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The live server of a cluster, by its pid file; a pid that another program has by now does not count.
fn holder(cluster: &Path) -> Option<u32> {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    let pid: u32 = text.lines().next()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let name = String::from_utf8_lossy(&command);
    (name.contains("postgres") && name.contains(&*cluster.to_string_lossy())).then_some(pid)
}

/// A free port of loopback; the last one if it is still free, so that other programs can be pointed at it.
fn free_port(data: &Path) -> Result<u16, ServerError> {
    let path = data.join("port");
    let last: u16 = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let file = |source| ServerError::File { path: path.clone(), source };
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, last)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let port = bound.and_then(|listener| listener.local_addr()).map_err(file)?.port();
    fs::write(&path, format!("{port}\n")).map_err(file)?;
    Ok(port)
}

fn password(data: &Path) -> Result<String, ServerError> {
    let path = data.join("password");
    if let Ok(text) = fs::read_to_string(&path) {
        return Ok(text.trim().to_owned());
    }
    let mut bytes = [0_u8; 24];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    let password: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(&path, &password).map_err(|source| ServerError::File { path, source })?;
    Ok(password)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn rotate(log: &Path) {
    if fs::metadata(log).is_ok() {
        // Only the last run's words matter; losing them is no reason not to start.
        drop(fs::rename(log, log.with_extension("log.1")));
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

/// Whom the server runs as: somebody else if we are root, else ourselves.
#[derive(Clone, Copy, Debug)]
struct Owner(Option<(u32, u32)>);

impl Owner {
    fn find(run_as: Option<&str>) -> Result<Self, ServerError> {
        if effective_user() != Some(0) {
            return Ok(Self(None));
        }
        let name = run_as.unwrap_or("nobody");
        let refuse = |reason: String| ServerError::Unprivileged { reason };
        let passwd = fs::read_to_string("/etc/passwd").map_err(|error| refuse(format!("/etc/passwd: {error}")))?;
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name));
        let mut fields = line.ok_or_else(|| refuse(format!("there is no user {name:?}")))?.split(':').skip(2);
        let mut number = || fields.next().and_then(|field| field.parse().ok());
        match (number(), number()) {
            (Some(0), _) => Err(refuse(format!("{name:?} is root too"))),
            (Some(user), Some(group)) => Ok(Self(Some((user, group)))),
            _ => Err(refuse(format!("the entry of {name:?} in /etc/passwd cannot be read"))),
        }
    }

    fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
        if let Self(Some((user, group))) = self {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes a folder that the server's user owns and nobody else may enter, except us.
    fn folder(self, path: &Path) -> Result<(), ServerError> {
        let file = |source| ServerError::File { path: path.to_path_buf(), source };
        fs::create_dir_all(path).map_err(file)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(file)?;
        self.give(path)
    }

    fn give(self, path: &Path) -> Result<(), ServerError> {
        match self.0 {
            Some((user, group)) => chown(path, Some(user), Some(group)).map_err(|source| ServerError::File { path: path.to_path_buf(), source }),
            None => Ok(()),
        }
    }

    /// Says which folder above keeps the server's user out, rather than letting it fail inside.
    fn reachable(self, path: &Path) -> Result<(), ServerError> {
        if self.0.is_none() {
            return Ok(());
        }
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            let mode = fs::metadata(above).map_err(|source| ServerError::File { path: above.to_path_buf(), source })?.permissions().mode();
            if mode & 0o001 == 0 {
                return Err(ServerError::Unprivileged {
                    reason: format!("its user may not enter {above:?} (mode {:o}; `chmod o+x` it or choose another data folder)", mode & 0o777),
                });
            }
        }
        Ok(())
    }
}

/// The effective user id, from `/proc`.
fn effective_user() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("Uid:"))?;
    line.split_whitespace().nth(2)?.parse().ok()
}
