//! How a service is doing, in the words of the wire: the reference's codes, and in the metadata
//! the finer state with its reason.

use std::collections::HashMap;

use jiff::Timestamp;
use micro_sdk::{ServiceState, proto::runtime::Service};

use super::record::Record;
use crate::supervisor::{Snapshot, Source, State};

/// The state, as the wire tells of it.
fn told(state: State) -> ServiceState {
    match state {
        State::Pending => ServiceState::Pending,
        State::Building => ServiceState::Building,
        State::Starting => ServiceState::Starting,
        State::Running => ServiceState::Running,
        State::Unhealthy => ServiceState::Unhealthy,
        State::BackingOff => ServiceState::BackingOff,
        State::Failed => ServiceState::Failed,
        State::Stopping => ServiceState::Stopping,
        State::Stopped => ServiceState::Stopped,
    }
}

/// The reference's code: 1 pending, 2 building, 3 starting, 4 running, 5 stopping, 6 stopped,
/// 7 error.
fn code(state: State) -> i32 {
    match state {
        State::Pending => 1,
        State::Building => 2,
        State::Starting => 3,
        State::Running => 4,
        State::Stopping => 5,
        State::Stopped => 6,
        State::Unhealthy | State::BackingOff | State::Failed => 7,
    }
}

/// A service as `Runtime.Read` and `Runtime.Watch` tell of it.
pub(super) fn service(record: &Record, snapshot: Option<&Snapshot>) -> Service {
    let mut metadata: HashMap<String, String> = record.metadata.clone().into_iter().collect();
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            metadata.insert(key.to_owned(), value);
        }
    };
    let time = |at| Timestamp::try_from(at).ok().map(|at| format!("{at:.0}"));
    add("owner", Some(record.owner.clone()));
    add("group", Some(record.namespace.clone()));
    add("source", Some(record.origin.folder().display().to_string()));
    if let Source::Command { command, .. } = &record.origin {
        add("command", Some(command.join(" ")));
    }
    add("scopes", Some(record.scopes.join(",")));
    add("restart", (!record.restart.is_default()).then(|| record.restart.word().to_owned()));
    let state = snapshot.map_or(State::Pending, |snapshot| snapshot.state);
    if let Some(snapshot) = snapshot {
        add("error", snapshot.reason.clone());
        add("build", snapshot.build.clone());
        add("progress", snapshot.progress.clone());
        add("build_log", snapshot.build_log.clone());
        add("last_lines", Some(snapshot.last_lines.join("\n")));
        add("restarts", (snapshot.restarts > 0).then(|| snapshot.restarts.to_string()));
        add("pid", snapshot.pid.map(|pid| pid.to_string()));
        add("started", snapshot.started.and_then(time));
        let updated = snapshot.started.map_or(snapshot.changed, |started| started.max(snapshot.changed));
        add("lastStatusUpdate", time(updated));
        add(
            "instances",
            (snapshot.instances != 1).then(|| format!("{}/{}", snapshot.running, snapshot.instances)),
        );
    }
    let mut service = Service {
        name: record.name.clone(),
        version: record.version.clone(),
        source: record.source.clone(),
        metadata,
        status: code(state),
    };
    told(state).note(&mut service);
    service
}
