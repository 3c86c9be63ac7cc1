//! What can be expected of a service that cannot be called now: whether waiting for it makes sense,
//! and in which words its callers are told what keeps it.

use std::{sync::Arc, time::Duration};

use micro_sdk::Result;
use tokio::time::timeout;

use super::{Runtime, record::Record};
use crate::{
    backlog::{Follower, Lost},
    supervisor::{Snapshot, State},
};

/// How long after a connection to a service broke the end of its process may take to be noticed.
const NOTICE: Duration = Duration::from_secs(1);

/// A service that the runtime knows, wanted or killed.
#[derive(Clone, Debug)]
pub(crate) struct Outlook {
    record: Record,
    /// None while it is not started yet, and when it was killed.
    snapshot: Option<Snapshot>,
}

impl Outlook {
    fn state(&self) -> State {
        let absent = if self.record.killed { State::Stopped } else { State::Pending };
        self.snapshot.as_ref().map_or(absent, |snapshot| snapshot.state)
    }

    /// Whether it will be there without anybody doing anything.
    pub(crate) fn is_coming(&self) -> bool {
        match self.state() {
            State::Stopping => !self.record.killed,
            State::Pending | State::Building | State::Starting | State::Running | State::BackingOff => true,
            State::Unhealthy | State::Failed | State::Stopped => false,
        }
    }

    /// How it is doing. With `detailed` also why, from its output too: for its administrators.
    pub(crate) fn words(&self, detailed: bool) -> String {
        let name = &self.record.name;
        let snapshot = self.snapshot.as_ref().filter(|_| detailed);
        let exit = snapshot.and_then(|snapshot| snapshot.exit.as_deref().or(snapshot.reason.as_deref()));
        let why = exit.map(|exit| format!(" ({exit})")).unwrap_or_default();
        let logs = if detailed { format!("; see `micro logs {name}`") } else { String::new() };
        let ended_before = self.snapshot.as_ref().is_some_and(|snapshot| snapshot.exit.is_some());
        match self.state() {
            State::Pending => format!("{name} is about to be started"),
            State::Building => {
                let progress = snapshot.and_then(|snapshot| snapshot.progress.as_deref());
                let progress = progress.map(|text| format!(" ({text})")).unwrap_or_default();
                format!("{name} is being built{progress}")
            }
            State::Starting if !ended_before => format!("{name} is starting"),
            State::Starting | State::BackingOff => {
                format!("{name} ended{why} and is being restarted{logs}")
            }
            State::Running => format!("{name} has just started and is not registered yet"),
            State::Unhealthy => {
                let reason = snapshot.and_then(|snapshot| snapshot.reason.as_deref());
                let reason = reason.map(|text| format!(": {text}")).unwrap_or_default();
                format!("{name} is unhealthy{reason}{logs}")
            }
            State::Failed => format!("{name} has failed{}", self.failure(snapshot)),
            State::Stopping => format!("{name} is being stopped"),
            State::Stopped if self.record.killed => {
                let again =
                    format!("; run it again with `micro run {}`", self.record.origin.folder().display());
                let again = if detailed { again } else { String::new() };
                format!("{name} was stopped by `micro kill`{again}")
            }
            State::Stopped => format!("{name} is stopped"),
        }
    }

    fn failure(&self, snapshot: Option<&Snapshot>) -> String {
        let Some(snapshot) = snapshot else { return String::new() };
        let mut text = String::new();
        for part in [snapshot.reason.as_deref(), snapshot.last_lines.last().map(String::as_str)] {
            if let Some(line) = part.and_then(|part| part.lines().next()) {
                text += &format!(": {line}");
            }
        }
        let name = &self.record.name;
        let command = if snapshot.build_log.is_some() { "status" } else { "logs" };
        format!("{text}; see `micro {command} {name}`")
    }
}

impl Runtime {
    /// What can be expected of a service, and of one version if it is named: the best of several.
    /// None for a service that nobody ran.
    ///
    /// # Errors
    /// The stored services cannot be read.
    pub(crate) async fn outlook(
        &self,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Outlook>> {
        let records = self.records.versions(namespace, name).await?;
        let wanted = records.into_iter().filter(|record| version.is_none_or(|v| v == record.version));
        let known = wanted.map(|record| {
            let snapshot = self.supervisor.snapshot(&record.id());
            Outlook { record, snapshot }
        });
        Ok(known.max_by_key(|outlook| (outlook.is_coming(), !outlook.record.killed)))
    }

    /// What became of a service after a connection to it broke; none when nobody ran it, or when
    /// its process goes on. Waits a moment for the end of the process to be noticed.
    ///
    /// # Errors
    /// As [`Runtime::outlook`].
    pub(crate) async fn after_break(&self, namespace: &str, name: &str) -> Result<Option<Outlook>> {
        let mut changes = self.changes();
        let noticed = async {
            loop {
                let outlook = self.outlook(namespace, name, None).await?;
                match &outlook {
                    Some(found) if found.state() == State::Running => changes.of(namespace, name).await,
                    // What answered was started by hand after that.
                    Some(found) if found.record.killed && found.snapshot.is_none() => return Ok(None),
                    _ => return Ok(outlook),
                }
            }
        };
        timeout(NOTICE, noticed).await.unwrap_or(Ok(None))
    }

    /// The changes of services from now on.
    pub(crate) fn changes(&self) -> Changes {
        Changes { changes: self.supervisor.watch(), last: None }
    }

    /// Waits for something unless the server ends before; none then.
    pub(crate) async fn unless_stopping<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        self.tasks.until_streams_end(waiting).await
    }
}

/// Tells when a service gets into another state.
pub(crate) struct Changes {
    changes: Follower<Arc<Snapshot>>,
    last: Option<State>,
}

impl Changes {
    /// Waits until a service gets into another state than it was when this was called last.
    pub(crate) async fn of(&mut self, namespace: &str, name: &str) {
        loop {
            match self.changes.next().await {
                Ok(seen) if seen.id.namespace == namespace && seen.id.name == name => {
                    if self.last.replace(seen.state) != Some(seen.state) {
                        return;
                    }
                }
                Ok(_) => {}
                // Those that were missed may have concerned it.
                Err(Lost::Missed(_)) => return,
                Err(Lost::Ended) => std::future::pending().await,
            }
        }
    }
}
