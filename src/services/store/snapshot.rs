//! The records of a database in one piece, as they are at one moment: written for a caller, and read
//! by a restore, which takes all of it or nothing.
//!
//! Numbers are little-endian. A frame is the length of its content (4 bytes), the content, and the
//! CRC-32 of the content (4 bytes).
//!
//! | what | bytes |
//! |---|---|
//! | `micro-store\n` | 12 |
//! | number of the format, 1 | 4 |
//! | name of the database | a frame |
//! | each record, in the order of tables and keys: a [`Saved`] | a frame, not empty |
//! | 0, the length of no record | 4 |
//! | number of records | 8 |
//! | SHA-256 of everything before | 32 |

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;

use std::{
    io::{self, Read},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use micro_sdk::{MESSAGE_LIMIT, Result};
use prost::Message;
use sha2::{Digest as _, Sha256};

use super::{
    check_table,
    record::{Kept, check_key},
};
use crate::backend::Entry;

const MAGIC: &[u8; 12] = b"micro-store\n";
const FORMAT: u32 = 1;
/// Bytes a frame may have: a record of the largest size, with its table.
const MAX_FRAME: usize = MESSAGE_LIMIT + 64 * 1024;

/// A record in a snapshot.
#[derive(Clone, PartialEq, Message)]
struct Saved {
    #[prost(string, tag = "1")]
    table: String,
    #[prost(string, tag = "2")]
    key: String,
    /// A [`Kept`], encoded.
    #[prost(bytes = "bytes", tag = "3")]
    kept: Bytes,
    /// When it will be gone, in milliseconds since 1970; 0 means never.
    #[prost(uint64, tag = "4")]
    expires: u64,
}

/// Writes a snapshot; what is finished stands in `out` until it is taken.
pub(super) struct Writer {
    out: BytesMut,
    hash: Sha256,
    records: u64,
}

impl Writer {
    pub(super) fn new(database: &str) -> Self {
        let mut writer = Self { out: BytesMut::new(), hash: Sha256::new(), records: 0 };
        writer.put(MAGIC);
        writer.put(&FORMAT.to_le_bytes());
        writer.frame(database.as_bytes());
        writer
    }

    pub(super) fn record(&mut self, table: &str, entry: Entry) -> Result<()> {
        let since = entry.expires_at.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default());
        let saved = Saved {
            table: table.to_owned(),
            key: super::record::key(entry.key)?,
            kept: entry.value,
            // A moment that is kept is never 0: it would have passed.
            expires: since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        };
        self.frame(&saved.encode_to_vec());
        self.records += 1;
        Ok(())
    }

    /// How many bytes are finished and not taken.
    pub(super) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Takes what is finished.
    pub(super) fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    pub(super) fn end(&mut self) {
        self.put(&0_u32.to_le_bytes());
        self.put(&self.records.to_le_bytes());
        let digest = self.hash.clone().finalize();
        self.out.put_slice(&digest);
    }

    fn frame(&mut self, content: &[u8]) {
        self.put(&(content.len() as u32).to_le_bytes());
        self.put(content);
        self.put(&crc32fast::hash(content).to_le_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.out.put_slice(bytes);
    }
}

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// It is not what it was, or never was one; the text goes on after "the snapshot".
    #[error("the snapshot {0}")]
    Broken(String),
    /// The file it lies in cannot be read.
    #[error("cannot read the snapshot: {0}")]
    Io(#[from] io::Error),
}

/// Reads a snapshot, record by record. Only when the end was reached without an error is it known to
/// be whole.
pub(super) struct Reader<R> {
    from: R,
    hash: Sha256,
    bytes: u64,
    records: u64,
    last: Option<(String, String)>,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads what stands before the records. Whose records they are does not matter: they may be
    /// restored under another name.
    pub(super) fn new(from: R) -> Result<Self, Unreadable> {
        let mut reader = Self { from, hash: Sha256::new(), bytes: 0, records: 0, last: None, ended: false };
        let mut magic = [0; MAGIC.len()];
        reader.fill(&mut magic).map_err(|error| match error {
            Unreadable::Broken(_) => Unreadable::Broken("is not whole: it is too short to be one".into()),
            error @ Unreadable::Io(_) => error,
        })?;
        if &magic != MAGIC {
            return Err(Unreadable::Broken("is no snapshot: it begins with something else".into()));
        }
        let format = reader.number()?;
        if format != FORMAT {
            return Err(Unreadable::Broken(format!(
                "has format {format}; this version of micro reads format {FORMAT}"
            )));
        }
        let length = reader.number()?;
        reader.frame(length, "the name of its database")?;
        Ok(reader)
    }

    /// The next record with the name of its table; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<(String, Entry)>, Unreadable> {
        if self.ended {
            return Ok(None);
        }
        let length = self.number()?;
        if length == 0 {
            return self.end().map(|()| None);
        }
        let number = self.records + 1;
        let content = self.frame(length, &format!("its record {number}"))?;
        let broken = |what: String| Unreadable::Broken(format!("cannot be used: its record {number} {what}"));
        let saved = Saved::decode(content.clone()).map_err(|e| broken(format!("is no record: {e}")))?;
        let Saved { table, key, kept, expires } = saved;
        check_table(&table)
            .and_then(|()| check_key(&key))
            .map_err(|e| broken(format!("is unusable: {e}")))?;
        Kept::decode(kept.clone()).map_err(|e| broken(format!("has a value that cannot be read: {e}")))?;
        if self.last.as_ref().is_some_and(|(t, k)| (t.as_str(), k.as_str()) >= (&table, &key)) {
            return Err(broken("does not follow the one before it".into()));
        }
        self.last = Some((table.clone(), key.clone()));
        self.records = number;
        let expires_at = (expires > 0).then(|| moment(expires));
        Ok(Some((table, Entry { key: key.into_bytes(), value: kept, version: 0, expires_at })))
    }

    fn end(&mut self) -> Result<(), Unreadable> {
        let mut records = [0; 8];
        self.fill(&mut records)?;
        let records = u64::from_le_bytes(records);
        if records != self.records {
            return Err(Unreadable::Broken(format!(
                "is not whole: it has {} records, and says that it has {records}",
                self.records
            )));
        }
        let expected: [u8; 32] = self.hash.clone().finalize().into();
        let mut digest = [0; 32];
        self.fill(&mut digest)?;
        if digest != expected {
            return Err(Unreadable::Broken("was altered: its content does not match its digest".into()));
        }
        if self.from.read(&mut [0])? > 0 {
            return Err(Unreadable::Broken(format!("goes on after its end at byte {}", self.bytes)));
        }
        self.ended = true;
        Ok(())
    }

    fn frame(&mut self, length: u32, what: &str) -> Result<Bytes, Unreadable> {
        let length = length as usize;
        let altered = |why: &str| Unreadable::Broken(format!("was altered: {what} {why}"));
        if length > MAX_FRAME {
            return Err(altered("is longer than one can be"));
        }
        let mut content = vec![0; length];
        self.fill(&mut content)?;
        if crc32fast::hash(&content) != self.number()? {
            return Err(altered("does not match its checksum"));
        }
        Ok(content.into())
    }

    fn number(&mut self) -> Result<u32, Unreadable> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Unreadable> {
        self.from.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Unreadable::Broken(format!(
                "is cut off: it ends after {} records, in what begins at byte {}",
                self.records, self.bytes
            )),
            _ => error.into(),
        })?;
        self.hash.update(&*buffer);
        self.bytes += buffer.len() as u64;
        Ok(())
    }
}

fn moment(milliseconds: u64) -> SystemTime {
    // What lies beyond the clock is as good as never; the state layer has a last moment of its own.
    UNIX_EPOCH + Duration::from_millis(milliseconds.min(i64::MAX as u64 / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(records: &[(&str, &str, &str)]) -> Vec<u8> {
        let mut writer = Writer::new("shop");
        for (table, key, value) in records {
            let kept = Kept { value: Bytes::copy_from_slice(value.as_bytes()), ..Kept::default() };
            let expires_at =
                key.starts_with('e').then(|| UNIX_EPOCH + Duration::from_millis(4_102_444_800_123));
            let value = kept.encode_to_vec().into();
            writer.record(table, Entry { key: (*key).into(), value, version: 9, expires_at }).unwrap();
        }
        writer.end();
        writer.out.to_vec()
    }

    fn sample() -> Vec<u8> {
        snapshot(&[("a", "e", "1"), ("a", "k", ""), ("a/b", "k", "2"), ("z", "../x", "33333")])
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, Entry)>, Unreadable> {
        let mut reader = Reader::new(bytes)?;
        let mut records = Vec::new();
        while let Some(record) = reader.next()? {
            records.push(record);
        }
        assert!(reader.next().unwrap().is_none());
        Ok(records)
    }

    fn refused(bytes: &[u8]) -> String {
        match read(bytes) {
            Err(Unreadable::Broken(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    /// Files have this form: it is read for ever.
    #[test]
    fn the_first_format_stays() {
        let snapshot = concat!(
            "6d6963726f2d73746f72650a010000000400000073686f70a24c6aac120000000a01611201651a03",
            "0a013120fbb08fe6b2770f353d91060000000a016112016b9cc57a720d0000000a03612f6212016b",
            "1a030a0132724d4801120000000a017a12042e2e2f781a070a053333333333525dd8ca0000000004",
            "0000000000000047a5f34d985ecdc94271b2361ddb3b136d61ab1fb4a4b505e1e2a94adc99492c",
        );
        let snapshot = hex::decode(snapshot).unwrap();
        let records = read(&snapshot).unwrap();
        assert_eq!(records, read(&sample()).unwrap());
        assert_eq!(hex::encode(snapshot), hex::encode(sample()));
    }

    #[test]
    fn what_was_written_is_read() {
        let records = read(&sample()).unwrap();
        let names: Vec<_> =
            records.iter().map(|(t, entry)| (t.as_str(), std::str::from_utf8(&entry.key).unwrap())).collect();
        assert_eq!(names, [("a", "e"), ("a", "k"), ("a/b", "k"), ("z", "../x")]);
        let expires_at = UNIX_EPOCH + Duration::from_millis(4_102_444_800_123);
        assert_eq!((records[0].1.expires_at, records[1].1.expires_at), (Some(expires_at), None));
        assert_eq!(Kept::decode(records[3].1.value.clone()).unwrap().value, &b"33333"[..]);
        assert!(read(&snapshot(&[])).unwrap().is_empty());
    }

    #[test]
    fn one_that_is_cut_off_anywhere_is_refused() {
        let whole = sample();
        for length in 0..whole.len() {
            let text = refused(&whole[..length]);
            assert!(text.contains("cut off") || text.contains("too short"), "{length}: {text}");
        }
    }

    #[test]
    fn one_with_any_bit_flipped_is_refused() {
        let whole = sample();
        for bit in 0..whole.len() * 8 {
            let mut altered = whole.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            refused(&altered);
        }
    }

    #[test]
    fn what_is_something_else_is_refused_with_the_reason() {
        let whole = sample();
        let mut later = whole.clone();
        later[12] = 2;
        let mut longer = whole.clone();
        longer.push(0);
        for (bytes, words) in [
            (&b""[..], "too short"),
            (b"PK\x03\x04 and so on and on", "begins with something else"),
            (&later, "has format 2"),
            (&longer, "goes on after its end"),
            (&[whole.clone(), whole.clone()].concat(), "goes on after its end"),
            (&snapshot(&[("b", "k", ""), ("a", "k", "")]), "does not follow"),
            (&snapshot(&[("a", "k", ""), ("a", "k", "")]), "does not follow"),
            (&snapshot(&[("", "k", "")]), "is unusable"),
            (&snapshot(&[("a\nb", "k", "")]), "is unusable"),
            (&snapshot(&[("a", "", "")]), "is unusable"),
            (&snapshot(&[("a", "k\0", "")]), "is unusable"),
        ] {
            let text = refused(bytes);
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn a_length_that_cannot_be_costs_no_memory() {
        let mut bytes = [&MAGIC[..], &FORMAT.to_le_bytes()].concat();
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        assert!(refused(&bytes).contains("longer than one can be"));
    }
}
