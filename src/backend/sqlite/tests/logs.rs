//! What only the logs of the database promise: restarts, removal in portions, damage.

use bytes::Bytes;

use super::{super::sweep::Swept, *};
use crate::backend::{Bounds, Log, MAX_PAGE};

async fn append(kv: &Sqlite, values: std::ops::Range<u8>) -> u64 {
    kv.append("l", values.map(|value| Bytes::from(vec![value])).collect()).await.unwrap()
}

#[tokio::test]
async fn a_log_goes_on_after_a_restart() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    assert_eq!(append(&kv, 0..10).await, 0);
    let before = kv.read("l", 0, MAX_PAGE).await.unwrap();
    kv.close().await;
    let kv = Sqlite::open(&path).await.unwrap();
    assert_eq!(kv.read("l", 0, MAX_PAGE).await.unwrap(), before);
    assert_eq!(append(&kv, 0..1).await, 10);
    kv.trim("l", u64::MAX).await.unwrap();
    kv.close().await;
    let kv = Sqlite::open(&path).await.unwrap();
    assert_eq!(kv.bounds("l").await, Ok(Bounds { first: 11, next: 11 }));
    assert_eq!(append(&kv, 0..1).await, 11);
    kv.close().await;
}

#[tokio::test]
async fn what_was_cut_off_is_removed_in_portions_and_by_the_next_start() {
    let (_folder, path) = place();
    let mut writer = open::open(&path, MIGRATIONS).await.unwrap().writer;
    for log in ["l", "m"] {
        let records = (0..25_u8).map(|value| Bytes::from(vec![value])).collect();
        writer.write(&[Write::Append { log: log.into(), records }]).await[0].clone().unwrap();
    }
    let cut = Write::Trim { log: "l".into(), below: 20 };
    assert_eq!(writer.write(&[cut]).await, [Ok(20)]);
    let count = "SELECT count(*) FROM records";
    for (left, swept) in [(40, Swept::Part), (30, Swept::Part), (30, Swept::Everything)] {
        assert_eq!(writer.sweep(10).await, Ok(swept));
        assert_eq!(counts(&mut writer.connection, [count]).await, [left]);
    }
    let cut = Write::Trim { log: "m".into(), below: 25 };
    assert_eq!(writer.write(&[cut]).await, [Ok(25)]);
    sqlx::Connection::close(writer.connection).await.unwrap();

    let mut writer = open::open(&path, MIGRATIONS).await.unwrap().writer;
    while writer.sweep(10).await.unwrap() == Swept::Part {}
    assert_eq!(counts(&mut writer.connection, [count]).await, [5]);
}

#[tokio::test]
async fn a_changed_record_is_refused_and_the_others_are_served() {
    for statement in [
        "UPDATE records SET value = x'ff' WHERE position = 5",
        "UPDATE records SET time = time - 1 WHERE position = 5",
        "UPDATE records SET checksum = checksum + 1 WHERE position = 5",
        "UPDATE records SET position = 70 WHERE position = 5",
        "UPDATE records SET log = 'm' WHERE position = 5",
        "DELETE FROM records WHERE position = 5",
    ] {
        let (_folder, path) = place();
        let kv = Sqlite::open(&path).await.unwrap();
        append(&kv, 0..10).await;
        kv.close().await;
        let mut connection = by_hand(&path).await;
        assert_eq!(connection.execute(statement).await.unwrap().rows_affected(), 1);
        sqlx::Connection::close(connection).await.unwrap();
        let kv = Sqlite::open(&path).await.unwrap();
        let damaged = Err(Error::DamagedLog { log: "l".into(), offset: Some(5) });
        assert_eq!(kv.read("l", 0, 10).await, damaged, "{statement}");
        assert_eq!(kv.read("l", 5, 1).await, damaged, "{statement}");
        assert_eq!(kv.read("l", 0, 5).await.unwrap().len(), 5);
        assert_eq!(kv.read("l", 6, 10).await.unwrap().len(), 4);
        assert_eq!(append(&kv, 0..1).await, 10);
        kv.close().await;
    }
}

#[tokio::test]
async fn a_record_that_the_disk_moved_stands_in_nobodys_way() {
    let (_folder, path) = place();
    let kv = Sqlite::open(&path).await.unwrap();
    append(&kv, 0..3).await;
    kv.close().await;
    let mut connection = by_hand(&path).await;
    connection.execute("UPDATE records SET position = 4 WHERE position = 1").await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    let kv = Sqlite::open(&path).await.unwrap();
    assert_eq!(append(&kv, 0..2).await, 3);
    assert_eq!(kv.append("l", vec![vec![1; 100_000].into()]).await, Ok(5));
    assert_eq!(kv.read("l", 2, 10).await.unwrap().len(), 4);
    assert!(kv.read("l", 0, 10).await.is_err());
    kv.close().await;
}

#[tokio::test]
async fn a_log_with_damaged_bounds_takes_and_gives_nothing() {
    for statement in ["UPDATE logs SET next = next - 8", "UPDATE logs SET first = 4"] {
        let (_folder, path) = place();
        let kv = Sqlite::open(&path).await.unwrap();
        append(&kv, 0..10).await;
        kv.close().await;
        let mut connection = by_hand(&path).await;
        connection.execute(statement).await.unwrap();
        sqlx::Connection::close(connection).await.unwrap();
        let kv = Sqlite::open(&path).await.unwrap();
        let damaged = Error::DamagedLog { log: "l".into(), offset: None };
        assert_eq!(kv.read("l", 5, 10).await, Err(damaged.clone()));
        assert_eq!(kv.bounds("l").await, Err(damaged.clone()));
        assert_eq!(kv.append("l", vec![Bytes::new()]).await, Err(damaged));
        kv.append("m", vec![Bytes::new()]).await.unwrap();
        kv.commit(Commit::new().put("t", "k", "v")).await.unwrap();
        kv.close().await;
        let mut connection = by_hand(&path).await;
        assert_eq!(counts(&mut connection, ["SELECT count(*) FROM records WHERE log = 'l'"]).await, [10]);
    }
}
