//! Where the supervisor keeps its files and how patient it is.

use std::{
    io,
    path::{PathBuf, absolute},
    time::Duration,
};

/// The settings of a supervisor.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where its files lie.
    pub(crate) folders: Folders,
    /// The folder of the unpacked `micro-sdk`, given to builds of packages that depend on it.
    pub(crate) sdk: Option<PathBuf>,
    /// The program whose `__shim` command starts children (see [`super::shim`]);
    /// without one they are started directly and may outlive a server that was killed.
    pub(crate) shim: Option<PathBuf>,
    /// How long a process may take to stop after SIGTERM.
    pub(crate) grace: Duration,
    /// How long a process may take until it is ready.
    pub(crate) ready_timeout: Duration,
    /// How long a build may take.
    pub(crate) build_timeout: Duration,
    /// How many builds may run at a time.
    pub(crate) builds: usize,
    /// When and how often a process is started again.
    pub(crate) restart: Restart,
    /// How large logs may grow.
    pub(crate) rotation: Rotation,
}

/// Folders of a supervisor; they are made when they are not there, for this user only.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    /// Built programs, named by the SHA-256 of their content.
    pub(crate) binaries: PathBuf,
    /// One cargo target folder a service.
    pub(crate) targets: PathBuf,
    /// One folder of log files a service.
    pub(crate) logs: PathBuf,
    /// One small file a running child, from which a later server finds what was left over.
    pub(crate) children: PathBuf,
}

/// When and how often a process that ended is started again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart {
    /// The first wait; each further one is twice as long.
    pub(crate) first: Duration,
    /// The longest wait.
    pub(crate) longest: Duration,
    /// After having been ready for this long, a process begins with the first wait again.
    pub(crate) reset_after: Duration,
    /// An end before the process was ready for this long is a quick failure.
    pub(crate) quick: Duration,
    /// So many quick failures in a row are final.
    pub(crate) limit: u32,
    /// A process that was ready once and is unhealthy for this long is started anew.
    pub(crate) unhealthy: Duration,
}

/// How large the log of a service may grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    /// Bytes after which a new file is begun.
    pub(crate) size: u64,
    /// How many older files are kept, at least 1.
    pub(crate) keep: usize,
}

impl Folders {
    /// The same folders for processes with another working folder.
    pub(super) fn absolute(&self) -> io::Result<Self> {
        Ok(Self {
            binaries: absolute(&self.binaries)?,
            targets: absolute(&self.targets)?,
            logs: absolute(&self.logs)?,
            children: absolute(&self.children)?,
        })
    }
}

impl Settings {
    /// The default settings over these folders: no SDK, and this program's own shim.
    pub(crate) fn new(folders: Folders) -> Self {
        Self {
            folders,
            sdk: None,
            shim: super::shim::own_program(),
            grace: Duration::from_secs(10),
            ready_timeout: Duration::from_secs(30),
            build_timeout: Duration::from_mins(30),
            builds: 2,
            restart: Restart {
                first: Duration::from_millis(100),
                longest: Duration::from_secs(30),
                reset_after: Duration::from_secs(10),
                quick: Duration::from_secs(1),
                limit: 5,
                unhealthy: Duration::from_secs(30),
            },
            rotation: Rotation { size: 10 * 1024 * 1024, keep: 3 },
        }
    }
}
