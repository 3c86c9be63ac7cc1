//! One child and its descendants, from the start to the moment nothing of them is left.

use std::{future::Future, io, process::ExitStatus, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::{
    process::{ChildStderr, ChildStdout},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    leftovers::Records,
    spawner::{Leader, Program, Spawner},
};
use crate::tasks::Tasks;

/// How long a killed process may take to vanish; only one that hangs in the kernel takes longer.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long output may still come after the end, from descendants that left the group.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What is needed to start processes.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) spawner: Spawner,
    pub(super) records: Records,
    pub(super) tasks: Tasks,
}

/// A running child.
#[derive(Debug)]
pub(super) struct Process {
    leader: Leader,
    instance: Arc<str>,
    host: Host,
    readers: TaskTracker,
    cut_off: CancellationToken,
}

impl Process {
    /// Starts a program in a process group of its own; `instance` is unique to this start.
    pub(super) async fn start(host: &Host, program: Program, instance: &str) -> io::Result<Self> {
        Ok(Self {
            leader: host.spawner.spawn(program, instance).await?,
            instance: instance.into(),
            host: host.clone(),
            readers: TaskTracker::new(),
            cut_off: CancellationToken::new(),
        })
    }

    /// The process id, until it was waited for.
    pub(super) fn id(&self) -> Option<u32> {
        self.leader.child.id()
    }

    /// The output of the process; can be taken once.
    pub(super) fn output(&mut self) -> Option<(ChildStdout, ChildStderr)> {
        self.leader.child.stdout.take().zip(self.leader.child.stderr.take())
    }

    /// Runs a reader of the output beside; [`Process::finish`] waits for it.
    pub(super) fn read(&self, reader: impl Future<Output = ()> + Send + 'static) {
        self.host.tasks.spawn(self.readers.track_future(reader));
    }

    /// Cancelled when the time to read what is left of the output is over.
    pub(super) fn cut_off(&self) -> CancellationToken {
        self.cut_off.clone()
    }

    /// Waits until the process ended. May be called again after it was given up.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.leader.child.wait().await
    }

    /// Asks the group to end, and kills it when the process is still there after `grace`.
    pub(super) async fn stop(&mut self, grace: Duration) -> Option<ExitStatus> {
        self.leader.signal(Signal::TERM);
        if let Ok(ended) = timeout(grace, self.wait()).await {
            return ended.ok();
        }
        self.leader.signal(Signal::KILL);
        if let Ok(ended) = timeout(KILL_TIMEOUT, self.wait()).await {
            return ended.ok();
        }
        tracing::error!(pid = self.id(), "a killed process does not vanish");
        None
    }

    /// Ends what the process left behind: its descendants, also those in sessions of their own where
    /// the system shows whose they are, its output, its record. To be called after it ended.
    pub(super) async fn finish(self) {
        self.leader.signal(Signal::KILL);
        let (records, instance) = (self.host.records.clone(), self.instance.clone());
        let left = tokio::task::spawn_blocking(move || records.stop_instance(&instance));
        self.readers.close();
        if timeout(DRAIN_TIMEOUT, self.readers.wait()).await.is_err() {
            self.cut_off.cancel();
            self.readers.wait().await;
        }
        // The record stays when this fails, for the next server.
        if let Err(error) = left.await {
            tracing::error!(%error, "what a service left behind cannot be looked for");
        }
    }
}
