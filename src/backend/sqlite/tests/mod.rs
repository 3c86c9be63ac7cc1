//! What only the database promises: files, formats, damage, a full disk, sweeping.

mod cache;
mod checkpoints;
mod damage;
mod logs;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sqlx::{ConnectOptions, Executor, Row, SqliteConnection};
use tempfile::TempDir;

use super::{MIGRATIONS, Sqlite, file, open, write::Write};
use crate::backend::{Commit, Error, Kv, Range};

/// How many migrations there are.
const LAST: usize = MIGRATIONS.len();
const EXTENDED: &[&str] =
    &[MIGRATIONS[0], MIGRATIONS[1], MIGRATIONS[2], "CREATE TABLE more (id INTEGER PRIMARY KEY)"];

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    (folder, path)
}

async fn made(path: &Path) {
    let kv = Sqlite::open(path).await.unwrap();
    kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
    kv.close().await;
}

async fn refusal(path: &Path) -> Error {
    let Err(error) = Sqlite::open(path).await else {
        panic!("the database was accepted");
    };
    error
}

async fn by_hand(path: &Path) -> SqliteConnection {
    open::options(path).connect().await.unwrap()
}

/// A copy of the database as a process that is killed now would leave it.
fn as_if_killed(path: &Path) -> (TempDir, PathBuf) {
    let (folder, copy) = place();
    for suffix in ["", "-wal"] {
        fs::copy(file::beside(path, suffix), file::beside(&copy, suffix)).unwrap();
    }
    (folder, copy)
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    let expires_at = SystemTime::UNIX_EPOCH + Duration::from_hours(1_139_568);
    let commit = Commit::new().put("t", "k", "v").put_until("t", "timed", "v", expires_at).put(
        "t",
        "large",
        vec![1; 1024 * 1024],
    );
    kv.commit(commit).await.unwrap();
    let before = kv.list("t", &Range::all()).await.unwrap();
    let last = kv.commit(Commit::new().delete("t", "x")).await.unwrap();
    kv.close().await;
    assert!(!file::beside(&path, "-wal").exists());

    let kv = Sqlite::open(&path).await.unwrap();
    assert!(kv.list("t", &Range::all()).await.unwrap() == before);
    assert!(kv.commit(Commit::new().put("t", "k", "v")).await.unwrap() > last);
    kv.close().await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    for number in 0..50_u8 {
        let put = Commit::new().put("t", [number], vec![number; 1000]);
        kv.commit(put).await.unwrap();
    }
    let before = kv.list("t", &Range::all()).await.unwrap();
    let (_copy, copied) = as_if_killed(&path);
    kv.close().await;
    let kv = Sqlite::open(&copied).await.unwrap();
    assert_eq!(kv.list("t", &Range::all()).await.unwrap(), before);
    kv.close().await;
}

/// A database whose making was cut off: its journal is on the disk, and any part of its first pages.
#[tokio::test]
async fn a_first_start_that_was_cut_off_is_begun_again() {
    let (_folder, path) = place();
    fs::write(&path, "").unwrap();
    let mut connection = by_hand(&path).await;
    // So that the pages are written before the transaction ends.
    connection.execute("PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; BEGIN").await.unwrap();
    connection.execute("CREATE TABLE half_made (value)").await.unwrap();
    for _ in 0..100 {
        connection.execute("INSERT INTO half_made VALUES (randomblob(1000))").await.unwrap();
    }
    for torn in [0, 512, 4096] {
        let (_copy, copied) = place();
        for suffix in ["", "-journal"] {
            fs::copy(file::beside(&path, suffix), file::beside(&copied, suffix)).unwrap();
        }
        let mut pages = fs::read(&copied).unwrap();
        assert!(pages.len() > 4096);
        pages[..torn].fill(0);
        fs::write(&copied, pages).unwrap();
        let kv = Sqlite::open(&copied).await.unwrap_or_else(|error| panic!("{torn} bytes lost: {error}"));
        kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
        kv.close().await;
        assert!(!file::beside(&copied, "-journal").exists());
    }
}

#[tokio::test]
async fn closing_waits_for_what_was_accepted() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    let commits = (0..100_u8).map(|key| kv.commit(Commit::new().put("t", [key], "v")));
    let (results, ()) = tokio::join!(futures::future::join_all(commits), kv.close());
    let accepted = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(accepted, 100);
    let kv = Sqlite::open(&path).await.unwrap();
    assert_eq!(kv.list("t", &Range::all()).await.unwrap().len(), accepted);
    kv.close().await;
}

#[tokio::test]
async fn a_dropped_database_can_be_opened_again() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    let mut finished = kv.finished.clone();
    kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
    drop(kv);
    while finished.changed().await.is_ok() {}
    made(&path).await;
}

#[tokio::test]
async fn a_database_is_held_by_one_at_a_time() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    let error = refusal(&path).await;
    assert_eq!(error, Error::Locked { path: path.clone() });
    kv.close().await;
    made(&path).await;
}

#[tokio::test]
async fn the_files_are_private() {
    let (folder, path) = place();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let kv = Sqlite::open(&path).await.unwrap();
    kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
    kv.get("t", b"k").await.unwrap();
    let mut files = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
        files += 1;
    }
    assert_eq!(files, 4, "the database, its log, its index, its lock");
    kv.close().await;
}

#[tokio::test]
async fn a_newer_database_is_refused_untouched() {
    for killed in [false, true] {
        let (_folder, path) = place();
        let kv = Sqlite::open_with(&path, EXTENDED).await.unwrap();
        kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
        let (_copy, copied) = as_if_killed(&path);
        kv.close().await;
        let path = if killed { copied } else { path };
        let before = fs::read(&path).unwrap();
        let error = refusal(&path).await;
        assert_eq!(
            error,
            Error::Newer { path: path.clone(), found: LAST as u32 + 1, supported: LAST as u32 }
        );
        assert!(error.to_string().contains("upgrade micro"), "{error}");
        assert!(fs::read(&path).unwrap() == before);
        let kv = Sqlite::open_with(&path, EXTENDED).await.unwrap();
        assert!(kv.get("t", b"k").await.unwrap().is_some());
        kv.close().await;
    }
}

#[tokio::test]
async fn an_older_database_is_backed_up_and_converted() {
    let (_folder, path) = place();
    made(&path).await;
    let backup = file::beside(&path, &format!(".backup-{LAST}"));
    let partial = file::beside(&path, &format!(".backup-{LAST}.partial"));
    fs::write(&partial, "cut off").unwrap();

    let kv = Sqlite::open_with(&path, EXTENDED).await.unwrap();
    assert!(kv.get("t", b"k").await.unwrap().is_some());
    kv.commit(Commit::new().delete("t", "k")).await.unwrap();
    kv.close().await;
    let mut converted = by_hand(&path).await;
    converted.execute("SELECT id FROM more").await.unwrap();

    assert!(!partial.exists());
    let mode = fs::metadata(&backup).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let kv = Sqlite::open(&backup).await.unwrap();
    assert!(kv.get("t", b"k").await.unwrap().is_some());
    kv.close().await;
}

#[tokio::test]
async fn a_failed_migration_leaves_the_database_as_it_was() {
    let broken = &[
        MIGRATIONS[0],
        MIGRATIONS[1],
        MIGRATIONS[2],
        "CREATE TABLE more (id INTEGER PRIMARY KEY); SELECT nonsense",
    ];
    let (_folder, path) = place();
    made(&path).await;
    assert!(Sqlite::open_with(&path, broken).await.is_err());
    made(&path).await;
    let kv = Sqlite::open_with(&path, EXTENDED).await.unwrap();
    kv.close().await;
}

#[tokio::test]
async fn a_damaged_file_is_refused_untouched() {
    let (_folder, path) = place();
    made(&path).await;
    let sound = fs::read(&path).unwrap();
    let mut bad_magic = sound.clone();
    bad_magic[3] ^= 1;
    let mut bad_schema = sound.clone();
    bad_schema[100..200].fill(0x55);
    for damaged in [
        b"not a database".to_vec(),
        vec![0; 8192],
        sound[..50].to_vec(),
        sound[..sound.len() - 4096].to_vec(),
        bad_magic,
        bad_schema,
    ] {
        let (_folder, path) = place();
        fs::write(&path, &damaged).unwrap();
        let error = refusal(&path).await;
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains("move it"), "{text}");
        assert!(fs::read(&path).unwrap() == damaged);
    }
}

#[tokio::test]
async fn damage_from_an_unclean_stop_is_found_at_the_start() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    let fill =
        (0..500_u16).fold(Commit::new(), |commit, key| commit.put("t", key.to_be_bytes(), vec![1; 100]));
    kv.commit(fill).await.unwrap();
    kv.close().await;
    let kv = Sqlite::open(&path).await.unwrap();
    kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
    let (_copy, copied) = as_if_killed(&path);
    kv.close().await;
    let mut bytes = fs::read(&copied).unwrap();
    let page = bytes.len() - 2 * 4096;
    bytes[page..page + 64].fill(0x55);
    fs::write(&copied, bytes).unwrap();
    let error = refusal(&copied).await;
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_log_without_its_database_is_refused() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    let (_copy, copied) = as_if_killed(&path);
    kv.close().await;
    fs::write(&copied, "").unwrap();
    let error = refusal(&copied).await;
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(fs::metadata(file::beside(&copied, "-wal")).unwrap().len() > 0);
}

#[tokio::test]
async fn the_database_of_another_program_is_refused() {
    let (_folder, path) = place();
    let mut other = by_hand_new(&path).await;
    other.execute("CREATE TABLE theirs (id)").await.unwrap();
    let error = refusal(&path).await;
    assert!(error.to_string().contains("another program"), "{error}");
}

async fn by_hand_new(path: &Path) -> SqliteConnection {
    let options = open::options(path).create_if_missing(true);
    options.connect().await.unwrap()
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(&folder.path().join("missing/state.db")).await;
    assert!(error.to_string().contains("missing/state.db"), "{error}");
}

#[tokio::test]
async fn a_full_disk_fails_the_batch_and_nothing_else() {
    let (_folder, path) = place();
    let opened = open::open(&path, MIGRATIONS).await.unwrap();
    let mut writer = opened.writer;
    let small = || Write::Commit(Commit::new().put("t", "small", "v"));
    assert!(writer.write(&[small()]).await[0].is_ok());
    limit_pages(&mut writer.connection, 20).await;
    for value in [vec![1; 60_000], vec![1; 1024 * 1024]] {
        let filling = (0..10_u8).map(|key| Commit::new().put("t", [key], value.clone()));
        let half = Commit::new().put("t", "small", "v").put("t", "half", "v");
        let batch: Vec<Write> = std::iter::once(half)
            .chain(filling)
            .chain([Commit::new().require_absent("t", "small")])
            .map(Write::Commit)
            .chain([Write::Append { log: "l".into(), records: vec!["v".into()] }])
            .collect();
        let results = writer.write(&batch).await;
        assert_eq!(results.len(), batch.len());
        for result in results {
            assert_eq!(result, Err(Error::Full { path: path.clone() }));
        }
        let [count] = counts(&mut writer.connection, ["SELECT count(*) FROM entries"]).await;
        assert_eq!(count, 1);
        let version = writer.version;
        assert_eq!(writer.write(&[small()]).await, [Ok(version + 1)]);
    }
}

/// Any program may open the file beside the server, `sqlite3` by hand, say.
#[tokio::test]
async fn a_lock_of_another_program_fails_what_is_written_meanwhile_with_its_reason() {
    let (_folder, path) = place();
    let mut writer = open::open(&path, MIGRATIONS).await.unwrap().writer;
    let put = || Write::Commit(Commit::new().put("t", "k", "v"));
    let mut other = by_hand(&path).await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    writer.connection.execute("PRAGMA busy_timeout = 20").await.unwrap();
    let error = writer.write(&[put()]).await.remove(0).unwrap_err().to_string();
    assert!(error.contains("locked by another program") && error.contains("state.db"), "{error}");
    other.execute("ROLLBACK").await.unwrap();
    assert!(writer.write(&[put()]).await[0].is_ok());
}

/// After a failure, that there is nothing to do is only said when a transaction has succeeded, which
/// takes the place of what the failed one may have left in the log.
#[tokio::test]
async fn nothing_to_do_is_not_told_while_a_failure_is_in_doubt() {
    let (_folder, path) = place();
    let mut writer = open::open(&path, MIGRATIONS).await.unwrap().writer;
    let nothing = || Write::Commit(Commit::new().require_absent("t", "a"));
    let stored = ["SELECT version FROM counter"];
    assert!(writer.write(&[nothing()]).await[0].is_ok());
    assert_eq!(counts(&mut writer.connection, stored).await, [0]);
    limit_pages(&mut writer.connection, 20).await;
    let large = Write::Commit(Commit::new().put("t", "a", vec![1; 1 << 20]));
    assert!(writer.write(&[large]).await[0].is_err() && writer.unsure);
    let answered = writer.write(&[nothing()]).await.remove(0).unwrap();
    assert_eq!(counts(&mut writer.connection, stored).await, [answered.cast_signed()]);
    assert!(!writer.unsure);
    // A failure of that transaction is told too.
    writer.unsure = true;
    writer.version += 1;
    writer.connection.execute("PRAGMA query_only = 1").await.unwrap();
    assert!(writer.write(&[nothing()]).await[0].is_err());
}

async fn limit_pages(connection: &mut SqliteConnection, pages: u32) {
    let pragma = format!("PRAGMA max_page_count = {pages}");
    connection.execute(sqlx::AssertSqlSafe(pragma)).await.unwrap();
}

async fn counts<const N: usize>(
    connection: &mut SqliteConnection,
    statements: [&'static str; N],
) -> [i64; N] {
    let mut counts = [0; N];
    for (count, statement) in counts.iter_mut().zip(statements) {
        *count = connection.fetch_one(statement).await.unwrap().get(0);
    }
    counts
}

#[tokio::test]
async fn sweeping_removes_only_what_has_expired_and_in_bounds() {
    let (_folder, path) = place();
    let mut writer = open::open(&path, MIGRATIONS).await.unwrap().writer;
    let soon = SystemTime::now() + Duration::from_millis(200);
    let later = SystemTime::now() + Duration::from_hours(1);
    let commit = (0..25_u8)
        .fold(Commit::new(), |commit, key| commit.put_until("t", [key], "v", soon))
        .put_until("t", "later", "v", later)
        .put("t", "never", "v");
    writer.write(&[Write::Commit(commit)]).await[0].clone().unwrap();
    let deadline = SystemTime::now() + Duration::from_secs(10);
    while SystemTime::now() <= soon + Duration::from_millis(1) {
        assert!(SystemTime::now() < deadline);
        tokio::task::yield_now().await;
    }
    for expected in [10, 10, 5, 0] {
        assert_eq!(writer.sweep_entries(10).await, Ok(expected));
    }
    let [left] = counts(&mut writer.connection, ["SELECT count(*) FROM entries"]).await;
    assert_eq!(left, 2);
}

#[tokio::test]
async fn no_statement_scans_a_table() {
    let (_folder, path) = place();
    let mut writer = open::open(&path, MIGRATIONS).await.unwrap().writer;
    for statement in
        [super::apply::STATEMENTS, super::kv::STATEMENTS, super::logs::STATEMENTS, super::sweep::STATEMENTS]
            .concat()
    {
        for part in statement.split(';') {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {part}"));
            for row in writer.connection.fetch_all(explain).await.unwrap() {
                let plan: String = row.get("detail");
                assert!(
                    !["entries", "records", "logs"]
                        .iter()
                        .any(|table| plan.contains(&format!("SCAN {table}"))),
                    "{plan}: {part}"
                );
                assert!(!plan.contains("TEMP B-TREE"), "{plan}: {part}");
            }
        }
    }
}
