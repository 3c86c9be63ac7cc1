//! The first moments of a child: a re-exec of this program that ties the child to its server, then
//! becomes the service.
//!
//! `micro __shim <server pid>[,<limit of descriptors>] -- program arguments…` asks the kernel to kill this process when its
//! parent dies, makes sure the parent is still there, and execs the program. It needs no `unsafe`,
//! which the same work between fork and exec would.
//!
//! The kernel means the *thread* that made the child, so children are made by one thread that lives
//! as long as the supervisor ([`Spawner`](super::spawner::Spawner)). On systems without such a signal only the
//! exec remains, and what is left over is stopped by the next server.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};

use super::descriptors;

/// The hidden command by which the program is told to be a shim.
pub(crate) const COMMAND: &str = "__shim";

/// Exit code: the server was gone before its death could be noticed.
const ORPHANED: u8 = 125;
/// Exit code: the arguments are not those of a shim, or the program could not be started.
const NOT_STARTED: u8 = 127;

/// Becomes the program named by the arguments after [`COMMAND`]; returns only when that failed, with
/// 125 when the server is gone and 127 when the program cannot be started.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let first = arguments.next();
    let word = first.as_ref().and_then(|word| word.to_str()).unwrap_or_default();
    let (server, limit) = word.split_once(',').unwrap_or((word, ""));
    let server: Option<u32> = server.parse().ok();
    let separator = arguments.next();
    let (Some(server), Some("--"), Some(program)) =
        (server, separator.as_ref().and_then(|word| word.to_str()), arguments.next())
    else {
        return refuse(NOT_STARTED, "`__shim` is started by the server only");
    };
    if let Err(error) = die_with_parent() {
        return refuse(NOT_STARTED, &format!("cannot ask to be stopped with the server: {error}"));
    }
    // The parent may have died before the request: then the signal never comes.
    if std::os::unix::process::parent_id() != server {
        return refuse(ORPHANED, "the server is gone");
    }
    if let Ok(limit) = limit.parse()
        && let Err(error) = descriptors::set(limit)
    {
        return refuse(NOT_STARTED, &format!("cannot limit the file descriptors to {limit}: {error}"));
    }
    let error = Command::new(&program).args(arguments).exec();
    refuse(NOT_STARTED, &format!("cannot start `{}`: {error}", program.display()))
}

/// What stands after [`COMMAND`]: the process that a child must not outlive, and the limit of descriptors it
/// gets.
pub(super) fn parent() -> String {
    let server = std::process::id();
    descriptors::original().map_or_else(|| server.to_string(), |limit| format!("{server},{limit}"))
}

/// The path by which this program can be started as a shim, also after its file was replaced.
pub(super) fn own_program() -> Option<PathBuf> {
    if cfg!(target_os = "linux") {
        Some(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe().ok()
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature on every system")]
fn die_with_parent() -> io::Result<()> {
    Ok(())
}

/// Standard error is the service's log here.
fn refuse(code: u8, why: &str) -> ExitCode {
    // Nobody is left to tell when even this fails; the exit code still speaks.
    let _ = writeln!(io::stderr(), "micro: {why}");
    ExitCode::from(code)
}
