//! Checksums against bits that change on the disk unseen: they find what `SQLite` takes for good,
//! because it is a valid page with another content. They are no protection against a person.
//!
//! A checksum is kept beside what it covers, as one integer: its upper half covers everything but
//! the value, so that it can be checked without reading the value, its lower half the value.

use crc32fast::Hasher;

use super::write::Name;

/// The checksum of an entry; `expires` is in milliseconds since 1970.
pub(super) fn of_entry(name: Name<'_>, version: u64, expires: Option<i64>, value: &[u8]) -> i64 {
    join(entry_head(name, version, expires), crc32fast::hash(value))
}

/// Whether an entry is what was written; without its value, whether all the rest is.
pub(super) fn fits_entry(
    checksum: i64,
    name: Name<'_>,
    version: u64,
    expires: Option<i64>,
    value: Option<&[u8]>,
) -> bool {
    fits(checksum, entry_head(name, version, expires), value)
}

fn entry_head((table, key): Name<'_>, version: u64, expires: Option<i64>) -> u32 {
    let mut hasher = Hasher::new();
    // The length keeps the name of a table apart from the key behind it.
    hasher.update(&(table.len() as u64).to_le_bytes());
    hasher.update(table.as_bytes());
    hasher.update(key);
    hasher.update(&version.to_le_bytes());
    if let Some(expires) = expires {
        hasher.update(&expires.to_le_bytes());
    }
    hasher.finalize()
}

/// The checksum of a record; `time` is in milliseconds since 1970.
pub(super) fn of_record(log: &str, offset: u64, time: i64, value: &[u8]) -> i64 {
    join(numbered(log, [offset, time.cast_unsigned()]), crc32fast::hash(value))
}

/// The checksum of what is kept of a log beside its records.
pub(super) fn of_head(log: &str, first: u64, next: u64, time: i64) -> i64 {
    i64::from(numbered(log, [first, next, time.cast_unsigned()]))
}

fn numbered<const N: usize>(name: &str, numbers: [u64; N]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(name.as_bytes());
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    hasher.finalize()
}

fn join(head: u32, value: u32) -> i64 {
    (u64::from(head) << 32 | u64::from(value)).cast_signed()
}

fn fits(checksum: i64, head: u32, value: Option<&[u8]>) -> bool {
    let checksum = checksum.cast_unsigned();
    let halves = ((checksum >> 32) as u32, checksum as u32);
    halves.0 == head && value.is_none_or(|value| halves.1 == crc32fast::hash(value))
}

#[cfg(test)]
mod tests {
    use super::{fits_entry, of_entry};

    #[test]
    fn a_checksum_covers_every_part_of_an_entry() {
        let checksum = of_entry(("t", b"key"), 1, Some(2), b"value");
        assert!(fits_entry(checksum, ("t", b"key"), 1, Some(2), Some(b"value")));
        assert!(fits_entry(checksum, ("t", b"key"), 1, Some(2), None));
        assert!(!fits_entry(checksum, ("u", b"key"), 1, Some(2), None));
        assert!(!fits_entry(checksum, ("tk", b"ey"), 1, Some(2), None));
        assert!(!fits_entry(checksum, ("t", b"kez"), 1, Some(2), None));
        assert!(!fits_entry(checksum, ("t", b"key"), 3, Some(2), None));
        assert!(!fits_entry(checksum, ("t", b"key"), 1, Some(3), None));
        assert!(!fits_entry(checksum, ("t", b"key"), 1, None, None));
        assert!(!fits_entry(checksum, ("t", b"key"), 1, Some(2), Some(b"valuf")));
    }
}
