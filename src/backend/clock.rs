//! The clock that decides about expiry and dates records: that of the machine, which may be set back
//! or forward at any time.
//!
//! What expires does so by this clock. Set forward, it makes entries expire early, and those that
//! are removed meanwhile do not come back; set back, it makes them live longer. Neither touches
//! versions and offsets, which only count up, nor lets the times of a log run backwards.

use std::time::SystemTime;

use super::expiry;

/// The clock of a backend. Clones are the same clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    #[cfg(test)]
    shift: std::sync::Arc<std::sync::atomic::AtomicI64>,
}

impl Clock {
    /// Milliseconds since 1970.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "only tests set it off the machine's"))]
    pub(super) fn now(&self) -> i64 {
        let now = expiry::to_millis(SystemTime::now());
        #[cfg(test)]
        let now = now + self.shift.load(std::sync::atomic::Ordering::Relaxed);
        now
    }

    /// Sets the clock this many milliseconds off the machine's.
    #[cfg(test)]
    pub(super) fn set(&self, shift: i64) {
        self.shift.store(shift, std::sync::atomic::Ordering::Relaxed);
    }
}
