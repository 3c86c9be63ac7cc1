//! The file descriptors of this process: what it starts gets none of those that it was given itself, beside
//! the standard ones. The server takes as many as it may have; what it starts gets what there was before,
//! since some programs go through every descriptor there could be.

use std::sync::OnceLock;

use close_fds::CloseFdsBuilder;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many there are where the system sets no limit.
const UNLIMITED: u64 = 1 << 20;

/// The limit before it was raised.
static ORIGINAL: OnceLock<u64> = OnceLock::new();

/// Keeps the descriptors that this process was given from the programs it starts: a lock or a pipe of a
/// shell would be held as long as the server runs.
pub(crate) fn keep_from_children() {
    const FIRST: i32 = 3;
    CloseFdsBuilder::new().cloexecfrom(FIRST);
}

/// Raises the limit as far as the system lets it, and returns it.
pub(crate) fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (before, most) = (current.unwrap_or(UNLIMITED), maximum.unwrap_or(UNLIMITED).min(UNLIMITED));
    if most > before && setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).is_ok() {
        // Raised once: a second server in one process, in tests, finds it raised.
        ORIGINAL.get_or_init(|| before);
    }
    let now = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
    usize::try_from(now.min(UNLIMITED)).unwrap_or(usize::MAX)
}

/// The limit before it was raised, if it was.
pub(super) fn original() -> Option<u64> {
    ORIGINAL.get().copied()
}

/// Sets the limit of this process, which is about to become another program.
pub(super) fn set(limit: u64) -> std::io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum })?)
}
