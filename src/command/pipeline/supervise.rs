//! `ajatus pipeline run --supervise`: the run as a child process that is started again when it dies.
//!
//! Holds always: one child at a time; a child that ends by itself (done, stopped, a file or a command line that is wrong) is not started
//! again. Not promised: that a run which dies at the same record each time gets past it: after ten deaths without a minute between them
//! the supervisor gives up. After a crash of the supervisor: the child goes on, and holds the run folder.

use std::ffi::OsString;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::exit::{Ended, Exit};
use crate::output::Out;

/// Deaths in a row, each after less than [`SOUND`], after which it gives up.
const MOST: u32 = 10;
/// A run that lived so long was sound.
const SOUND: Duration = Duration::from_secs(60);

/// The child's command line: ours, without what only the first child, or none, is told.
fn arguments(first: bool) -> Vec<OsString> {
    let mut given = std::env::args_os().skip(1);
    let mut kept = Vec::new();
    while let Some(argument) = given.next() {
        match argument.to_str() {
            Some("--supervise") => {}
            // A death that a test asks for is died once.
            Some("--crash-at") if !first => drop(given.next()),
            Some(text) if text.starts_with("--crash-at=") && !first => {}
            _ => kept.push(argument),
        }
    }
    kept
}

fn start(first: bool) -> anyhow::Result<Child> {
    Ok(Command::new(std::env::current_exe()?).args(arguments(first)).stdin(std::process::Stdio::null()).spawn()?)
}

/// Whether it died, or what it uses was gone: reasons that may pass.
fn died(status: ExitStatus) -> bool {
    status.code().is_none_or(|code| code == i32::from(Exit::Unavailable.code()))
}

/// Runs this very command as a child, again and again while it dies.
pub(super) async fn supervise(out: &Out) -> anyhow::Result<Exit> {
    let (mut deaths, mut first) = (0, true);
    loop {
        let begun = Instant::now();
        let mut child = start(first)?;
        first = false;
        let status = tokio::select! {
            status = child.wait() => status?,
            _ = tokio::signal::ctrl_c() => {
                pass_on(&child);
                child.wait().await?;
                return Ok(Exit::Interrupted);
            }
        };
        if !died(status) {
            return Ok(Exit::of_code(status.code()));
        }
        deaths = if begun.elapsed() > SOUND { 1 } else { deaths + 1 };
        if deaths >= MOST {
            return Err(Ended::new(Exit::Failed, format!("the run died {deaths} times in a row, last with {status}; its own messages say why")));
        }
        let pause = Duration::from_millis(100 << deaths.min(8));
        out.note(format!("the run died ({status}); it is started again in {} ms and goes on from its last snapshot", pause.as_millis())).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
        }
    }
}

/// Asks the child to end between two epochs.
fn pass_on(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        #[expect(unsafe_code, reason = "kill sends a signal to our own child, which is not waited for yet, and touches no memory")]
        unsafe {
            libc::kill(pid, libc::SIGINT);
        }
    }
}
