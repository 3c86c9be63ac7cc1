//! Logs: what is appended, where it is found, and what is left after it was cut.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::{Backend, soon};
use crate::backend::{
    Bounds, Commit, Error, MAX_COMMIT_BYTES, MAX_OPERATIONS, MAX_PAGE, MAX_TABLE, MAX_VALUE, Record,
};

on_every_backend! {
    what_is_appended_can_be_read
    a_log_that_nobody_wrote_to_is_empty
    an_append_is_in_one_piece
    logs_are_apart_from_each_other_and_from_tables
    pages_of_a_log_join_without_gap_or_overlap
    a_page_of_large_records_ends_early
    what_was_cut_off_is_refused
    an_offset_is_never_given_twice
    a_record_is_found_by_its_time
    concurrent_appends_get_offsets_of_their_own
    what_is_beyond_a_limit_of_a_log_is_refused
    logs_are_found_by_the_beginning_of_their_names
    a_closed_log_says_so
}

fn bytes(values: &[&str]) -> Vec<Bytes> {
    values.iter().map(|value| Bytes::copy_from_slice(value.as_bytes())).collect()
}

fn values(records: &[Record]) -> Vec<&[u8]> {
    records.iter().map(|record| &record.value[..]).collect()
}

async fn all(backend: &Backend, log: &str) -> Vec<Record> {
    let from = backend.bounds(log).await.unwrap().first;
    backend.read(log, from, MAX_PAGE).await.unwrap()
}

async fn what_is_appended_can_be_read(backend: Backend) {
    let before = SystemTime::now() - Duration::from_millis(1);
    assert_eq!(backend.append("l", bytes(&["a", ""])).await, Ok(0));
    assert_eq!(backend.append("l", bytes(&["b"])).await, Ok(2));
    let every_byte: Bytes = (0..=u8::MAX).collect();
    let large = Bytes::from(vec![7; 100_000]);
    assert_eq!(backend.append("l", vec![every_byte.clone(), large.clone()]).await, Ok(3));
    assert_eq!(backend.bounds("l").await, Ok(Bounds { first: 0, next: 5 }));
    let records = all(&backend, "l").await;
    let offsets: Vec<u64> = records.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    assert!(values(&records) == [b"a", &b""[..], b"b", &every_byte, &large]);
    assert!(records[0].time == records[1].time && records.is_sorted_by_key(|record| record.time));
    assert!(records[0].time > before && records[4].time <= SystemTime::now());
    assert_eq!(values(&backend.read("l", 2, 1).await.unwrap()), [b"b"]);
    assert_eq!(backend.read("l", 5, 1).await, Ok(vec![]));
    assert_eq!(backend.read("l", u64::MAX, 1).await, Ok(vec![]));
    assert_eq!(backend.read("l", 0, 0).await, Ok(vec![]));
}

async fn a_log_that_nobody_wrote_to_is_empty(backend: Backend) {
    assert_eq!(backend.append("l", vec![]).await, Ok(0));
    assert_eq!(backend.bounds("l").await, Ok(Bounds::default()));
    assert_eq!(backend.read("l", 0, 10).await, Ok(vec![]));
    assert_eq!(backend.offset_at("l", UNIX_EPOCH).await, Ok(0));
    backend.trim("l", 10).await.unwrap();
    assert_eq!(backend.logs("").await, Ok(vec![]));
    assert_eq!(backend.append("l", bytes(&["a"])).await, Ok(0));
    assert_eq!(backend.append("l", vec![]).await, Ok(1));
}

async fn an_append_is_in_one_piece(backend: Backend) {
    let appends = (0..32_u8).map(|caller| {
        let values = (0..20_u8).map(|number| Bytes::from(vec![caller, number])).collect();
        backend.append("l", values)
    });
    let firsts = futures::future::join_all(appends).await;
    let records = all(&backend, "l").await;
    assert_eq!(records.len(), 640);
    for (caller, first) in firsts.into_iter().enumerate() {
        let first = usize::try_from(first.unwrap()).unwrap();
        for (number, record) in records[first..first + 20].iter().enumerate() {
            assert_eq!(record.value[..], [caller as u8, number as u8]);
        }
    }
}

async fn logs_are_apart_from_each_other_and_from_tables(backend: Backend) {
    backend.append("one", bytes(&["1"])).await.unwrap();
    backend.append("on", bytes(&["2"])).await.unwrap();
    backend.commit(Commit::new().put("one", "k", "v")).await.unwrap();
    backend.trim("on", 1).await.unwrap();
    assert_eq!(values(&all(&backend, "one").await), [b"1"]);
    assert_eq!(values(&all(&backend, "on").await), [&[0_u8; 0][..]; 0]);
    assert_eq!(backend.tables("").await.unwrap(), ["one"]);
    assert_eq!(backend.get("one", b"k").await.unwrap().unwrap().version, 1);
}

async fn pages_of_a_log_join_without_gap_or_overlap(backend: Backend) {
    for _ in 0..3 {
        let values = (0..1000_u16).map(|number| Bytes::copy_from_slice(&number.to_be_bytes())).collect();
        backend.append("l", values).await.unwrap();
    }
    assert_eq!(backend.read("l", 0, usize::MAX).await.unwrap().len(), MAX_PAGE);
    let mut next = 7;
    loop {
        let page = backend.read("l", next, 700).await.unwrap();
        if page.is_empty() {
            break;
        }
        for record in page {
            assert_eq!(record.offset, next);
            assert_eq!(record.value[..], ((next % 1000) as u16).to_be_bytes());
            next += 1;
        }
    }
    assert_eq!(next, 3000);
}

async fn a_page_of_large_records_ends_early(backend: Backend) {
    let large = Bytes::from(vec![1; 3 * 1024 * 1024]);
    backend.append("l", vec![large; 4]).await.unwrap();
    assert_eq!(backend.read("l", 0, 10).await.unwrap().len(), 3);
    assert_eq!(backend.read("l", 3, 10).await.unwrap().len(), 1);
}

async fn what_was_cut_off_is_refused(backend: Backend) {
    backend.append("l", bytes(&["a", "b", "c", "d"])).await.unwrap();
    backend.trim("l", 2).await.unwrap();
    backend.trim("l", 1).await.unwrap();
    let trimmed = Err(Error::Trimmed { log: "l".into(), first: 2 });
    assert_eq!(backend.read("l", 1, 10).await, trimmed);
    assert_eq!(backend.read("l", 0, 10).await, trimmed);
    assert_eq!(values(&backend.read("l", 2, 10).await.unwrap()), [b"c", b"d"]);
    assert_eq!(backend.bounds("l").await, Ok(Bounds { first: 2, next: 4 }));
    backend.trim("l", u64::MAX).await.unwrap();
    assert_eq!(backend.bounds("l").await, Ok(Bounds { first: 4, next: 4 }));
    assert!(backend.read("l", 3, 10).await.is_err());
    assert_eq!(backend.read("l", 4, 10).await, Ok(vec![]));
}

async fn an_offset_is_never_given_twice(backend: Backend) {
    backend.append("l", bytes(&["a", "b"])).await.unwrap();
    backend.trim("l", 2).await.unwrap();
    assert_eq!(backend.append("l", bytes(&["c"])).await, Ok(2));
    let (trimmed, appended) = tokio::join!(backend.trim("l", u64::MAX), backend.append("l", bytes(&["d"])));
    trimmed.unwrap();
    assert_eq!(appended, Ok(3));
    assert_eq!(backend.logs("").await.unwrap(), ["l"]);
}

async fn a_record_is_found_by_its_time(backend: Backend) {
    for first in 0..8 {
        assert_eq!(backend.append("l", bytes(&["a", "b", "c"])).await, Ok(first * 3));
        let appended = SystemTime::now();
        while SystemTime::now() < appended + Duration::from_millis(2) {
            tokio::task::yield_now().await;
        }
    }
    let records = all(&backend, "l").await;
    for record in &records {
        let expected = record.offset - record.offset % 3;
        assert_eq!(backend.offset_at("l", record.time).await, Ok(expected));
        let later = record.time + Duration::from_millis(1);
        assert_eq!(backend.offset_at("l", later).await, Ok(expected + 3));
    }
    assert_eq!(backend.offset_at("l", UNIX_EPOCH - Duration::from_secs(1)).await, Ok(0));
    assert_eq!(backend.offset_at("l", soon(60_000)).await, Ok(24));
    backend.trim("l", 10).await.unwrap();
    assert_eq!(backend.offset_at("l", UNIX_EPOCH).await, Ok(10));
    assert_eq!(backend.offset_at("l", records[20].time).await, Ok(18));
    backend.trim("l", 24).await.unwrap();
    assert_eq!(backend.offset_at("l", UNIX_EPOCH).await, Ok(24));
}

async fn concurrent_appends_get_offsets_of_their_own(backend: Backend) {
    let callers = (0..32_u8).map(|caller| {
        let backend = backend.clone();
        tokio::spawn(async move {
            let mut offsets = Vec::new();
            for _ in 0..8 {
                offsets.push(backend.append("l", vec![Bytes::from(vec![caller])]).await.unwrap());
                let commit = Commit::new().put("t", [caller], "v");
                backend.commit(commit).await.unwrap();
            }
            assert!(offsets.is_sorted());
            (caller, offsets)
        })
    });
    let records = all(&backend, "l").await.len();
    let mut given = vec![None; 256];
    for done in futures::future::join_all(callers).await {
        let (caller, offsets) = done.unwrap();
        for offset in offsets {
            let place = &mut given[usize::try_from(offset).unwrap()];
            assert!(place.replace(caller).is_none(), "{offset} was given twice");
        }
    }
    assert!(records <= 256);
    for (record, caller) in all(&backend, "l").await.into_iter().zip(given) {
        assert_eq!(record.value[..], [caller.unwrap()]);
    }
}

async fn what_is_beyond_a_limit_of_a_log_is_refused(backend: Backend) {
    let half = Bytes::from(vec![0; MAX_COMMIT_BYTES / 2]);
    let refused = [
        ("", bytes(&["a"])),
        ("zero\0byte", bytes(&["a"])),
        ("l", vec![Bytes::from(vec![0; MAX_VALUE + 1])]),
        ("l", vec![half.clone(), half, Bytes::from_static(b"a")]),
        ("l", vec![Bytes::new(); MAX_OPERATIONS + 1]),
    ];
    for (log, records) in refused {
        let result = backend.append(log, records).await;
        assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
    }
    let result = backend.append(&"l".repeat(MAX_TABLE + 1), bytes(&["a"])).await;
    assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
    assert!(backend.trim("", 1).await.is_err());
    assert_eq!(backend.logs("").await, Ok(vec![]));
    let most = backend.append(&"l".repeat(MAX_TABLE), vec![Bytes::new(); MAX_OPERATIONS]).await;
    assert_eq!(most, Ok(0));
}

async fn logs_are_found_by_the_beginning_of_their_names(backend: Backend) {
    let names = ["a", "a/", "a/b", "a/é", "a0", "b", "it's \"quoted\" \\ \n"];
    for name in names {
        backend.append(name, bytes(&["v"])).await.unwrap();
        assert_eq!(all(&backend, name).await.len(), 1);
    }
    assert_eq!(backend.logs("").await.unwrap(), names);
    assert_eq!(backend.logs("a/").await.unwrap(), names[1..4]);
    assert_eq!(backend.logs("c").await, Ok(vec![]));
}

async fn a_closed_log_says_so(backend: Backend) {
    let (accepted, ()) = tokio::join!(backend.append("l", bytes(&["a"])), backend.close());
    accepted.unwrap();
    assert_eq!(backend.append("l", bytes(&["a"])).await, Err(Error::Closed));
    assert_eq!(backend.append("l", vec![]).await, Err(Error::Closed));
    assert_eq!(backend.read("l", 0, 1).await, Err(Error::Closed));
    assert_eq!(backend.bounds("l").await, Err(Error::Closed));
    assert_eq!(backend.offset_at("l", UNIX_EPOCH).await, Err(Error::Closed));
    assert_eq!(backend.trim("l", 1).await, Err(Error::Closed));
    assert_eq!(backend.logs("").await, Err(Error::Closed));
}
