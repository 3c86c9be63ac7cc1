//! How a service is doing, as its owner and its user see it.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus, time::SystemTime};

use rustix::process::Signal;

use super::spec::Id;

/// What a service, or one process of it, is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Accepted, nothing done yet.
    Pending,
    /// Its program is being built and nothing of it runs yet.
    Building,
    /// A process was started and is not ready yet.
    Starting,
    /// Its processes are registered and answer.
    Running,
    /// A process was ready and does not answer now.
    Unhealthy,
    /// A process ended and will be started again.
    BackingOff,
    /// Given up until the next change.
    Failed,
    /// Its processes are being stopped.
    Stopping,
    /// Nothing of it runs, as was asked.
    Stopped,
}

impl State {
    /// Whether nothing will happen any more by itself.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Stopped)
    }

    /// How far this state is from what a user wants to see, for showing the worst of several.
    pub(super) fn trouble(self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::Running => 1,
            Self::Stopping => 2,
            Self::Pending => 3,
            Self::Building => 4,
            Self::Starting => 5,
            Self::Unhealthy => 6,
            Self::BackingOff => 7,
            Self::Failed => 8,
        }
    }
}

/// A service at one moment. With several instances, the state, reason, process and exit are those
/// of the instance in the worst state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Which service.
    pub(crate) id: Id,
    /// What it is doing.
    pub(crate) state: State,
    /// Why it is in that state, or what went wrong beside it (a failed build, a failed update).
    pub(crate) reason: Option<String>,
    /// The content hash of the build that runs; none for a command.
    pub(crate) build: Option<String>,
    /// What a build or an update is doing now, such as `compiling hyper (31/56)`.
    pub(crate) progress: Option<String>,
    /// What the compiler said when the last build failed, at most 64 KiB.
    pub(crate) build_log: Option<String>,
    /// The last lines a process wrote before it ended unasked.
    pub(crate) last_lines: Vec<String>,
    /// How often its processes were started again since the last change.
    pub(crate) restarts: u32,
    /// How many instances are wanted.
    pub(crate) instances: u32,
    /// How many of them are running.
    pub(crate) running: u32,
    /// The process, when one is there.
    pub(crate) pid: Option<u32>,
    /// How the last process ended, such as `exited with code 3`.
    pub(crate) exit: Option<String>,
    /// When the process was started.
    pub(crate) started: Option<SystemTime>,
    /// When `state` last changed.
    pub(crate) changed: SystemTime,
}

impl Snapshot {
    pub(super) fn new(id: Id) -> Self {
        Self {
            id,
            state: State::Pending,
            reason: None,
            build: None,
            progress: None,
            build_log: None,
            last_lines: Vec::new(),
            restarts: 0,
            instances: 0,
            running: 0,
            pid: None,
            exit: None,
            started: None,
            changed: SystemTime::now(),
        }
    }

    /// How many bytes it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.reason, &self.build, &self.progress, &self.build_log, &self.exit];
        let lines: usize = self.last_lines.iter().map(|line| size_of::<String>() + line.len()).sum();
        let Id { namespace, name, version } = &self.id;
        let names = [namespace, name, version].map(String::len).iter().sum::<usize>();
        size_of::<Self>() + texts.into_iter().flatten().map(String::len).sum::<usize>() + names + lines
    }
}

/// How a process ended, in words.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(number)) => match Signal::from_named_raw(number) {
            Some(Signal::KILL) => "killed by SIGKILL (by someone, or for want of memory)".to_owned(),
            Some(signal) => format!("killed by {}", signal_name(signal).unwrap_or("a signal")),
            None => format!("killed by signal {number}"),
        },
        (None, None) => "ended".to_owned(),
    }
}

fn signal_name(signal: Signal) -> Option<&'static str> {
    let names = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::SYS, "SIGSYS"),
    ];
    names.into_iter().find_map(|(known, name)| (known == signal).then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_by_code_or_by_signal() {
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exited with code 3");
        assert_eq!(describe(ExitStatus::from_raw(11)), "killed by SIGSEGV");
        assert!(describe(ExitStatus::from_raw(9)).starts_with("killed by SIGKILL"));
    }
}
