//! A process group: a child and all its descendants that did not leave it.

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group},
};

/// The group led by one child.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(Pid);

impl Group {
    /// The group led by this process; none for numbers that mean every process to the kernel.
    pub(super) fn led_by(leader: u32) -> Option<Self> {
        let leader = i32::try_from(leader).ok().filter(|leader| *leader > 1)?;
        Pid::from_raw(leader).map(Self)
    }

    /// The number of the group, which is the process id of its leader.
    pub(super) fn number(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    /// Sends a signal to every member. A group without members is no error.
    ///
    /// The number of a group is not given to another process while the group has a member, so this
    /// stays right after the leader was reaped.
    pub(super) fn signal(self, signal: Signal) {
        match kill_process_group(self.0, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            // Only zombies are left, which some systems report this way.
            Err(Errno::PERM) if cfg!(target_os = "macos") => {}
            Err(error) => tracing::warn!(group = self.number(), %error, "cannot signal a process group"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_that_mean_everyone_are_no_groups() {
        assert!(Group::led_by(0).is_none());
        assert!(Group::led_by(1).is_none());
        assert!(Group::led_by(u32::MAX).is_none());
    }
}
