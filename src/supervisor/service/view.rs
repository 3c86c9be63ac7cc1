//! What a service shows of itself.

use std::{sync::Arc, time::SystemTime};

use super::{Phase, Role, Service, Slot};
use crate::supervisor::status::{Snapshot, State};

impl Service {
    /// Tells everyone how the service is doing, if that changed.
    pub(super) fn publish(&self) {
        let last = self.snapshot.borrow().clone();
        let mut now = self.view();
        now.changed = if now.state == last.state { last.changed } else { SystemTime::now() };
        if now != last {
            self.snapshot.send_replace(now.clone());
            let bytes = now.bytes();
            self.context.changes.push(Arc::new(now), bytes);
        }
    }

    fn view(&self) -> Snapshot {
        let current = || self.of(Role::Current).map(|(_, slot)| slot);
        let worst = current().max_by_key(|slot| slot.status.state.trouble());
        // A failed instance still has something to tell; when all are stopped, those that leave do.
        let shown = worst.or_else(|| self.of(Role::Leaving).map(|(_, slot)| slot).next());
        let status = shown.map(|slot| &slot.status);
        let running = current().filter(|slot| slot.status.state == State::Running).count();
        Snapshot {
            state: self.state(worst),
            reason: self.notice.clone().or_else(|| status?.reason.clone()),
            build: self.current.as_ref().and_then(|launch| launch.build.clone()),
            progress: self.progress().map(str::to_owned),
            build_log: self.build_log.clone(),
            last_lines: status.map(|status| status.last_lines.clone()).unwrap_or_default(),
            restarts: current().map(|slot| slot.status.restarts).sum(),
            instances: self.wanted(),
            running: running as u32,
            pid: status.and_then(|status| status.pid),
            exit: status.and_then(|status| status.exit.clone()),
            started: status.and_then(|status| status.started),
            ..Snapshot::new(self.id.clone())
        }
    }

    fn progress(&self) -> Option<&str> {
        match &self.phase {
            Phase::Building { progress, .. } if !self.ending => Some(progress),
            Phase::Replacing(_) => Some("starting the new processes"),
            Phase::Building { .. } | Phase::Steady => None,
        }
    }

    fn state(&self, worst: Option<&Slot>) -> State {
        match worst.map(|slot| slot.status.state) {
            _ if self.ending => {
                if self.is_empty() {
                    State::Stopped
                } else {
                    State::Stopping
                }
            }
            // A failed service that is tried again is not failed now.
            None | Some(State::Failed) if self.is_building() => State::Building,
            Some(state) => state,
            None if self.notice.is_some() => State::Failed,
            None if self.spec.is_none() => State::Pending,
            None => State::Stopped,
        }
    }
}
