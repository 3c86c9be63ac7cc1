//! A record as it is kept: its value and metadata in one message, its time to live as a moment.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use micro_sdk::{
    Error, MESSAGE_LIMIT, Result,
    proto::store::{Field, Record},
};
use prost::Message;

use super::shown;
use crate::backend::{Entry, MAX_KEY};

/// Bytes a record may have, so that it still fits in a message when it is read.
pub(super) const MAX_RECORD: usize = MESSAGE_LIMIT - 1024;
/// The last moment a record may live to, the end of the year 9999.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// What stands under a key. Fields are added, never changed: databases and snapshots have it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Kept {
    /// The content.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) value: Bytes,
    /// The metadata given by its writer, with their types.
    #[prost(map = "string, message", tag = "2")]
    pub(super) metadata: HashMap<String, Field>,
}

/// What is to be put under a key.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) key: String,
    pub(super) value: Bytes,
    pub(super) expires_at: Option<SystemTime>,
}

/// Refuses what cannot be a key: it is any text but the empty one, without NUL, which neither a
/// command line nor a client in C could name.
pub(super) fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(Error::bad_request("a key is required"));
    }
    if key.len() > MAX_KEY {
        let text = format!("the key `{}` has {} bytes, {MAX_KEY} are allowed", shown(key), key.len());
        return Err(Error::bad_request(text));
    }
    if key.contains('\0') {
        return Err(Error::bad_request(format!("the key `{}` contains NUL", shown(key))));
    }
    Ok(())
}

impl Put {
    /// # Errors
    /// 400 for what cannot be a record, 413 for one that is too large.
    pub(super) fn of(record: Record) -> Result<Self> {
        let Record { key, value, expiry, metadata, expiry_ms, version: _ } = record;
        check_key(&key)?;
        let expires_at = expires_at(expiry, expiry_ms)?;
        let value = Kept { value: value.into(), metadata }.encode_to_vec();
        let bytes = key.len() + value.len();
        if bytes > MAX_RECORD {
            return Err(Error::too_large(format!(
                "the record `{}` has {bytes} bytes, {MAX_RECORD} are allowed: what is larger is a blob",
                shown(&key)
            )));
        }
        Ok(Self { key, value: value.into(), expires_at })
    }
}

fn expires_at(seconds: i64, milliseconds: i64) -> Result<Option<SystemTime>> {
    let time = |amount: i64| {
        let negative = || Error::bad_request(format!("the time to live cannot be negative: {amount}"));
        u64::try_from(amount).map_err(|_| negative())
    };
    let (seconds, milliseconds) = (time(seconds)?, time(milliseconds)?);
    let life = match (milliseconds, seconds) {
        (0, 0) => return Ok(None),
        (0, seconds) => Duration::from_secs(seconds),
        (milliseconds, _) => Duration::from_millis(milliseconds),
    };
    let last = UNIX_EPOCH + LAST;
    Ok(Some(SystemTime::now().checked_add(life).map_or(last, |at| at.min(last))))
}

/// The record of an entry, as it is told.
///
/// # Errors
/// 500 for an entry that is damaged.
pub(super) fn record(entry: Entry) -> Result<Record> {
    let Kept { value, metadata } = kept(&entry)?;
    // What is about to expire is still there: it never says 0, which means without end.
    let left = entry.expires_at.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
    let milliseconds = left.map_or(0, |left| i64::try_from(left.as_millis().max(1)).unwrap_or(i64::MAX));
    Ok(Record {
        key: key(entry.key)?,
        value: value.into(),
        expiry: milliseconds.div_euclid(1000) + i64::from(milliseconds % 1000 > 0),
        metadata,
        expiry_ms: milliseconds,
        version: entry.version,
    })
}

/// The key of an entry.
///
/// # Errors
/// 500 for one that is damaged.
pub(super) fn key(key: Vec<u8>) -> Result<String> {
    String::from_utf8(key).map_err(|_| Error::internal("a key of the store is damaged"))
}

fn kept(entry: &Entry) -> Result<Kept> {
    Kept::decode(entry.value.clone()).map_err(|error| {
        let key = shown(&String::from_utf8_lossy(&entry.key));
        tracing::error!(%error, key, "a record is damaged");
        Error::internal(format!("the record `{key}` is damaged"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(record: Record) -> Result<Put> {
        Put::of(Record { key: "k".into(), ..record })
    }

    fn told(put: Put) -> Record {
        let Put { key, value, expires_at } = put;
        record(Entry { key: key.into(), value, version: 7, expires_at }).unwrap()
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let field = Field { r#type: "float64".into(), value: "1.5".into() };
        let metadata = HashMap::from([("weight".to_owned(), field)]);
        let written = Record { key: "k".into(), value: vec![0, 255], metadata, ..Record::default() };
        assert_eq!(told(put(written.clone()).unwrap()), Record { version: 7, ..written });
    }

    #[test]
    fn a_time_to_live_is_told_in_both_units_and_never_as_none() {
        for (seconds, milliseconds, expected) in [(90, 0, 90), (0, 1500, 2), (90, 1500, 2), (0, 1, 1)] {
            let record = Record { expiry: seconds, expiry_ms: milliseconds, ..Record::default() };
            let told = told(put(record).unwrap());
            assert_eq!(told.expiry, expected, "{seconds} {milliseconds}");
            assert!(told.expiry_ms > 0 && told.expiry_ms <= expected * 1000, "{}", told.expiry_ms);
        }
        assert!(told(put(Record { expiry: i64::MAX, ..Record::default() }).unwrap()).expiry > 1 << 37);
        assert_eq!(told(put(Record::default()).unwrap()).expiry_ms, 0);
        for record in [
            Record { expiry: -1, ..Record::default() },
            Record { expiry_ms: -1, ..Record::default() },
            Record { expiry: i64::MIN, expiry_ms: 5, ..Record::default() },
        ] {
            assert_eq!(put(record).unwrap_err().code, 400);
        }
    }

    #[test]
    fn keys_are_data_within_a_limit() {
        for key in ["k", "/", "..", "../../etc/passwd", "a\nb", " ", "käse", &"k".repeat(MAX_KEY)] {
            check_key(key).unwrap();
        }
        for key in ["", "a\0", &"k".repeat(MAX_KEY + 1), &"k".repeat(10_240)] {
            let error = check_key(key).unwrap_err();
            assert!(error.code == 400 && error.detail.len() < 300, "{error}");
        }
    }

    #[test]
    fn a_record_that_would_not_fit_in_a_message_is_refused_with_the_limit() {
        let overhead = "k".len() + 5;
        let at = |bytes: usize| put(Record { value: vec![1; bytes], ..Record::default() });
        let told = told(at(MAX_RECORD - overhead).unwrap());
        assert!(told.encoded_len() + 64 < MESSAGE_LIMIT);
        let error = at(MAX_RECORD).unwrap_err();
        assert_eq!(error.code, 413);
        assert!(error.detail.contains(&MAX_RECORD.to_string()), "{error}");
    }
}
