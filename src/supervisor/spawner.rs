//! The one thread that starts children.
//!
//! On Linux a child asks to be killed when its parent *thread* ends (see [`super::shim`]). Worker and pool
//! threads of the runtime come and go, so every child is started here, by a thread that lives as
//! long as the supervisor. It also writes the child's record, before and after the start.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::{
    fs::{Access, access},
    process::Signal,
};
use tokio::{process::Child, runtime::Handle, sync::oneshot};

use super::{
    group::Group,
    leftovers::{INSTANCE_VARIABLE, Records},
    shim,
};

/// A program with all that a process of it is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: OsString,
    pub(super) arguments: Vec<OsString>,
    /// The working folder.
    pub(super) folder: PathBuf,
    /// The whole environment; of two values of one name the later wins.
    pub(super) environment: Vec<(String, String)>,
    /// As [`Spec::scopes`](super::Spec::scopes).
    pub(super) scopes: Vec<String>,
}

/// A child that leads a process group. Dropped while it runs, it leaves nothing behind either.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) child: Child,
    group: Option<Group>,
}

impl Leader {
    /// Signals the whole group.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            group.signal(signal);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // Once it was waited for, its group was ended too.
        if self.child.id().is_some() {
            self.signal(Signal::KILL);
        }
    }
}

/// Starts children; cheap to clone. Its thread ends with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Spawner {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    program: Program,
    instance: String,
    reply: oneshot::Sender<io::Result<Leader>>,
}

impl Spawner {
    /// Starts the thread; must be called within a runtime.
    pub(super) fn start(shim: Option<PathBuf>, records: Records) -> io::Result<Self> {
        let runtime = Handle::current();
        let (requests, received) = mpsc::channel::<Request>();
        thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let _runtime = runtime.enter();
            for request in received {
                let child = spawn(request.program, &request.instance, shim.as_ref(), &records);
                // The caller may be gone; the group is then killed as its leader is dropped.
                let _ = request.reply.send(child);
            }
        })?;
        Ok(Self { requests })
    }

    /// Starts a process in a group of its own, marked with `instance`, its output piped. The
    /// group is killed when the returned leader is dropped.
    pub(super) async fn spawn(&self, program: Program, instance: &str) -> io::Result<Leader> {
        let (reply, answer) = oneshot::channel();
        let ended = || io::Error::other("the thread that starts processes has ended");
        let request = Request { program, instance: instance.to_owned(), reply };
        self.requests.send(request).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

fn spawn(
    mut program: Program,
    instance: &str,
    shim: Option<&PathBuf>,
    records: &Records,
) -> io::Result<Leader> {
    if !program.folder.is_dir() {
        let message = format!("there is no folder `{}`", program.folder.display());
        return Err(io::Error::new(io::ErrorKind::NotADirectory, message));
    }
    program.path = program.find()?.into();
    let name = program.path.display().to_string();
    let mut command = tokio::process::Command::from(command(program, instance, shim));
    records.announce(instance)?;
    let child = command.kill_on_drop(true).spawn().map_err(|error| {
        records.forget(instance);
        io::Error::new(error.kind(), format!("cannot start `{name}`: {error}"))
    })?;
    let leader = Leader { group: child.id().and_then(Group::led_by), child };
    if let Some(pid) = leader.child.id() {
        records.started(instance, pid)?;
    }
    Ok(leader)
}

impl Program {
    /// The file to start, found as a shell does; better told here than by a shim that failed.
    fn find(&self) -> io::Result<PathBuf> {
        let path = self.environment.iter().rev().find(|(name, _)| name == "PATH");
        let path = path.map_or("", |(_, value)| value.as_str());
        let (places, looked_in) = if self.path.as_encoded_bytes().contains(&b'/') {
            (vec![self.folder.clone()], String::new())
        } else {
            (std::env::split_paths(path).collect(), format!(" in PATH ({path})"))
        };
        let mut files = places.into_iter().map(|place: PathBuf| place.join(&self.path));
        files.find(|file| is_executable(file)).ok_or_else(|| {
            let message = format!("there is no program `{}`{looked_in}", self.path.display());
            io::Error::new(io::ErrorKind::NotFound, message)
        })
    }
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

fn command(program: Program, instance: &str, shim: Option<&PathBuf>) -> Command {
    let mut command = match shim {
        Some(shim) => {
            let mut command = Command::new(shim);
            command.arg(shim::COMMAND).arg(shim::parent()).arg("--").arg(program.path);
            command
        }
        None => Command::new(program.path),
    };
    command
        .args(program.arguments)
        .current_dir(program.folder)
        .env_clear()
        .envs(program.environment)
        .env(INSTANCE_VARIABLE, instance)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
