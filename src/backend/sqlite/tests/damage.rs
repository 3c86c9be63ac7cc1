//! Bits that the disk changed: what is damaged is never served, and all the rest is.

use super::*;
use crate::backend::Entry;

/// A database with these entries in the table `t`, and with `statement` carried out behind its back.
async fn changed(path: &Path, entries: Commit, statement: &'static str) -> Sqlite {
    let kv = Sqlite::open(path).await.unwrap();
    kv.commit(entries).await.unwrap();
    kv.close().await;
    let mut connection = by_hand(path).await;
    assert_eq!(connection.execute(statement).await.unwrap().rows_affected(), 1);
    sqlx::Connection::close(connection).await.unwrap();
    Sqlite::open(path).await.unwrap()
}

fn damaged(key: &str) -> Error {
    Error::DamagedEntry { table: "t".into(), key: key.into() }
}

async fn scanned(kv: &Sqlite) -> Result<Vec<(String, Entry)>, Error> {
    futures::TryStreamExt::try_collect(kv.scan("").await?).await
}

fn three() -> Commit {
    let later = SystemTime::now() + Duration::from_hours(1);
    Commit::new().put("t", "a", "first").put_until("t", "k", "value", later).put("u", "k", "other")
}

#[tokio::test]
async fn a_changed_entry_is_refused_and_the_others_are_served() {
    for (statement, head) in [
        ("UPDATE entries SET value = x'76616c7565ff' WHERE table_name = 't' AND key = x'6b'", false),
        ("UPDATE entries SET value = x'' WHERE table_name = 't' AND key = x'6b'", false),
        ("UPDATE entries SET version = version + 4 WHERE table_name = 't' AND key = x'6b'", true),
        ("UPDATE entries SET expires = expires - 1 WHERE table_name = 't' AND key = x'6b'", true),
        ("UPDATE entries SET expires = NULL WHERE table_name = 't' AND key = x'6b'", true),
        ("UPDATE entries SET expires = 1 WHERE table_name = 't' AND key = x'6b'", true),
        ("UPDATE entries SET checksum = checksum - 1 WHERE table_name = 't' AND key = x'6b'", false),
        ("UPDATE entries SET checksum = ~checksum WHERE table_name = 't' AND key = x'6b'", true),
    ] {
        let (_folder, path) = place();
        let kv = changed(&path, three(), statement).await;
        assert_eq!(kv.get("t", b"k").await, Err(damaged("k")), "{statement}");
        assert_eq!(kv.list("t", &Range::all()).await, Err(damaged("k")), "{statement}");
        assert_eq!(kv.list("t", &Range::all().descending()).await, Err(damaged("k")), "{statement}");
        assert_eq!(scanned(&kv).await, Err(damaged("k")), "{statement}");
        let keys = kv.list("t", &Range::all().keys_only()).await;
        assert_eq!(keys.is_err(), head, "{statement}: {keys:?}");

        assert_eq!(kv.get("t", b"a").await.unwrap().unwrap().value, "first");
        assert_eq!(kv.list("t", &Range::all().limit(1)).await.unwrap().len(), 1);
        assert_eq!(kv.list("u", &Range::all()).await.unwrap().len(), 1);
        kv.close().await;
    }
}

#[tokio::test]
async fn nothing_is_decided_by_a_damaged_entry_and_writing_it_heals_it() {
    for statement in [
        "UPDATE entries SET version = version + 4 WHERE table_name = 't' AND key = x'6b'",
        "UPDATE entries SET expires = 1 WHERE table_name = 't' AND key = x'6b'",
    ] {
        let (_folder, path) = place();
        let kv = changed(&path, three(), statement).await;
        let create = Commit::new().require_absent("t", "k").put("t", "k", "new");
        assert_eq!(kv.commit(create).await, Err(damaged("k")));
        assert_eq!(kv.commit(Commit::new().require_version("t", "k", 1)).await, Err(damaged("k")));
        let version = kv.commit(Commit::new().require_absent("t", "z").put("t", "k", "new")).await.unwrap();
        assert_eq!(kv.get("t", b"k").await.unwrap().unwrap().version, version);
        kv.commit(Commit::new().require_version("t", "k", version)).await.unwrap();
        kv.close().await;
    }
}

#[tokio::test]
async fn an_entry_that_moved_is_refused() {
    for statement in [
        "UPDATE entries SET key = x'6c' WHERE table_name = 't' AND key = x'6b'",
        "UPDATE entries SET table_name = 'u' WHERE table_name = 't' AND key = x'6b'",
    ] {
        let (_folder, path) = place();
        let entries = Commit::new().put("t", "k", "v").put("t", "a", "v");
        let kv = changed(&path, entries, statement).await;
        assert!(matches!(scanned(&kv).await, Err(Error::DamagedEntry { .. })), "{statement}");
        kv.close().await;
    }
}

/// Flips a bit in the one place where the database has these bytes.
fn flip(path: &Path, bytes: &[u8], at: usize) {
    let mut file = fs::read(path).unwrap();
    let places: Vec<usize> =
        (0..file.len() - bytes.len()).filter(|place| file[*place..].starts_with(bytes)).collect();
    let [place] = places[..] else { panic!("found at {places:?}") };
    file[place + at] ^= 0x04;
    fs::write(path, file).unwrap();
}

#[tokio::test]
async fn a_sweep_believes_neither_an_entry_nor_the_index_alone() {
    let later = SystemTime::UNIX_EPOCH + Duration::from_millis(0x0400_1122_3344);
    let expires = [0x04, 0x00, 0x11, 0x22, 0x33, 0x44];
    // The first version takes no byte.
    let in_the_row = [&b"tkey"[..], &expires].concat();
    let in_the_index = [&expires, &b"tkey"[..]].concat();
    assert!(later > SystemTime::now());
    for (bytes, at) in [(in_the_row, 4), (in_the_index, 0)] {
        let (_folder, path) = place();
        let kv = Sqlite::open(&path).await.unwrap();
        kv.commit(Commit::new().put_until("t", "key", "value", later)).await.unwrap();
        kv.close().await;
        flip(&path, &bytes, at);
        let mut writer = open::open(&path, MIGRATIONS).await.unwrap().writer;
        assert_eq!(writer.sweep_entries(10).await, Ok(0));
        let [left] = counts(&mut writer.connection, ["SELECT count(*) FROM entries"]).await;
        assert_eq!(left, 1);
    }
}

#[tokio::test]
async fn what_an_older_program_wrote_is_served_unchecked() {
    let (_folder, path) = place();
    let mut old = by_hand_new(&path).await;
    old.execute(MIGRATIONS[0]).await.unwrap();
    old.execute("PRAGMA user_version = 1").await.unwrap();
    old.execute("INSERT INTO entries VALUES ('t', x'6b', 7, NULL, x'76')").await.unwrap();
    old.execute("UPDATE counter SET version = 7").await.unwrap();
    sqlx::Connection::close(old).await.unwrap();

    let kv = Sqlite::open(&path).await.unwrap();
    let entry = kv.get("t", b"k").await.unwrap().unwrap();
    assert_eq!((entry.version, &entry.value[..]), (7, &b"v"[..]));
    kv.commit(Commit::new().require_version("t", "k", 7).put("t", "new", "v")).await.unwrap();
    assert_eq!(kv.list("t", &Range::all()).await.unwrap().len(), 2);
    kv.close().await;
    assert!(file::beside(&path, ".backup-1").exists());
}

/// What is damaged may lead past rows whose own checksums are right.
#[tokio::test]
async fn no_row_is_passed_over_because_of_a_damaged_page() {
    const PAGE: usize = 4096;
    /// The first byte of an inner page of a table or index, above its leaves.
    const INNER: u8 = 2;
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    let keys: Vec<String> = (0..1000).map(|number| format!("key/{number:05}")).collect();
    let commit =
        keys.iter().fold(Commit::new(), |commit, key| commit.put("t", key.as_str(), "v".repeat(200)));
    kv.commit(commit).await.unwrap();
    kv.close().await;
    let whole = fs::read(&path).unwrap();
    let inner = (1..whole.len() / PAGE).find(|page| whole[page * PAGE] == INNER).unwrap() * PAGE;
    // The keys in it, each of them changed so that it leads elsewhere.
    let places = (inner..inner + PAGE - 4).filter(|&at| &whole[at..at + 4] == b"key/");
    let mut refused = 0;
    for at in places {
        let mut bytes = whole.clone();
        bytes[at + 4] = b'~';
        fs::write(&path, bytes).unwrap();
        match Sqlite::open(&path).await {
            Err(error) => {
                assert!(matches!(error, Error::Corrupt { .. }), "{error}");
                refused += 1;
            }
            Ok(kv) => {
                for key in &keys {
                    let found = kv.get("t", key.as_bytes()).await;
                    assert!(!matches!(found, Ok(None)), "{key} is passed over");
                }
                kv.close().await;
            }
        }
    }
    assert!(refused > 0);
}
