//! Points in time as the backends keep them: whole milliseconds since 1970, in an `i64`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The end of the year 9999: what expires later is kept as expiring then.
const LAST: i64 = 253_402_300_799_999;

/// Milliseconds since 1970, rounded down; times before 1970 count as 0, which has passed.
pub(super) fn to_millis(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).map_or(LAST, |millis| millis.min(LAST)))
}

/// The reverse of [`to_millis`].
pub(super) fn from_millis(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis.clamp(0, LAST).cast_unsigned())
}
