//! How a service that the runtime runs is doing.

use std::fmt;

use micro_proto::runtime::Service;

/// The key of the metadata of `Runtime.Read` and `Runtime.Watch` that holds the state.
const KEY: &str = "status";

/// How a service that the runtime runs is doing: what its metadata `status` says in
/// [`Runtime.Read`](crate::blocks::runtime::RuntimeClient::read) and
/// [`Runtime.Watch`](crate::blocks::runtime::RuntimeClient::watch).
///
/// ```
/// use micro_sdk::{ServiceState, proto::runtime::Service};
///
/// let metadata = [("status".to_owned(), "backing-off".to_owned())].into();
/// let service = Service { metadata, ..Service::default() };
/// assert_eq!(ServiceState::of(&service), Some(ServiceState::BackingOff));
/// assert!(ServiceState::BackingOff.is_coming());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServiceState {
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

impl ServiceState {
    const ALL: [Self; 9] = [
        Self::Pending,
        Self::Building,
        Self::Starting,
        Self::Running,
        Self::Unhealthy,
        Self::BackingOff,
        Self::Failed,
        Self::Stopping,
        Self::Stopped,
    ];

    /// The state of a service; none where it has one that this version does not know, or none.
    #[must_use]
    pub fn of(service: &Service) -> Option<Self> {
        let word = service.metadata.get(KEY)?;
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Notes the state in the metadata of a service, where [`ServiceState::of`] finds it.
    pub fn note(self, service: &mut Service) {
        service.metadata.insert(KEY.to_owned(), self.as_str().to_owned());
    }

    /// The word for it on the wire and on the screen.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Building => "building",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Unhealthy => "unhealthy",
            Self::BackingOff => "backing-off",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// Whether it does not run yet, and may do so without anybody's help: it is worth waiting for.
    #[must_use]
    pub fn is_coming(self) -> bool {
        matches!(self, Self::Pending | Self::Building | Self::Starting | Self::BackingOff)
    }
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_found_where_it_was_noted() {
        for state in ServiceState::ALL {
            let mut service = Service::default();
            assert_eq!(ServiceState::of(&service), None);
            state.note(&mut service);
            assert_eq!(ServiceState::of(&service), Some(state));
        }
    }
}
