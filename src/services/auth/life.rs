//! How long an access token may live, which decides for how long keys and revocations are kept.

use std::time::Duration;

/// The longest life of an access token that is granted.
pub(super) const MAX_LIFE: Duration = Duration::from_hours(24);

/// Unix seconds.
pub(super) fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}
