//! How many file descriptors this process may have open. The server takes all that it may have; what it
//! starts gets what there was before, since some programs go through every descriptor there could be.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many there are where the system sets no limit.
const UNLIMITED: u64 = 1 << 20;

/// The limit before it was raised.
static ORIGINAL: OnceLock<u64> = OnceLock::new();

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
