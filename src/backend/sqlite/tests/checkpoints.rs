//! The write-ahead log is emptied beside the writer.

use std::time::Instant;

use futures::StreamExt as _;

use super::*;

const DEADLINE: Duration = Duration::from_secs(30);

fn log_bytes(path: &Path) -> u64 {
    fs::metadata(file::beside(path, "-wal")).map_or(0, |log| log.len())
}

/// Pages in the log that are not in the database yet.
async fn waiting(connection: &mut SqliteConnection) -> i64 {
    let state = connection.fetch_one("PRAGMA wal_checkpoint(NOOP)").await.unwrap();
    state.get::<i64, _>(1) - state.get::<i64, _>(2)
}

async fn write(kv: &Sqlite, megabytes: usize) {
    for number in 0..megabytes {
        let put = Commit::new().put("t", [(number % 8) as u8], vec![1; 1024 * 1024]);
        kv.commit(put).await.unwrap();
    }
}

#[tokio::test]
async fn the_log_is_emptied_once_nothing_is_written_any_more() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    write(&kv, 1).await;
    let mut connection = by_hand(&path).await;
    let begun = Instant::now();
    while waiting(&mut connection).await > 0 {
        assert!(begun.elapsed() < DEADLINE, "nothing was moved to the database");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sqlx::Connection::close(connection).await.unwrap();
    kv.close().await;
}

#[tokio::test]
async fn the_log_stays_within_bounds_while_much_is_written() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    let mut largest = 0;
    for _ in 0..30 {
        write(&kv, 10).await;
        largest = largest.max(log_bytes(&path));
    }
    assert!(largest < 200 * 1024 * 1024, "{largest} bytes after 300 MiB");
    kv.close().await;
}

#[tokio::test]
async fn a_reader_that_takes_its_time_keeps_no_commit_waiting() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    write(&kv, 32).await;
    let mut scan = kv.scan("").await.unwrap();
    assert!(scan.next().await.unwrap().is_ok());
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let begun = Instant::now();
        write(&kv, 1).await;
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "a commit took {slowest:?}");
    let rest: Vec<_> = scan.collect().await;
    assert!(rest.into_iter().all(|entry| entry.is_ok()));
    let begun = Instant::now();
    while log_bytes(&path) > 64 * 1024 * 1024 {
        assert!(begun.elapsed() < DEADLINE, "the log stays as long as it was");
        write(&kv, 1).await;
    }
    kv.close().await;
}
