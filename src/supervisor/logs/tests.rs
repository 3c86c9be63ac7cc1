use std::time::Duration;

use tokio::{
    io::{AsyncWriteExt as _, duplex},
    time::timeout,
};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::supervisor::{
    logs::{Journal, LastLines, Sink, Stream, capture},
    settings::Rotation,
};

struct Log {
    _folder: tempfile::TempDir,
    files: Files,
    journal: Journal,
    written: watch::Receiver<()>,
    tasks: Tasks,
}

impl Log {
    fn new(rotation: Rotation) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::new(folder.path().join("log"));
        let tasks = Tasks::default();
        let (written, watched) = watch::channel(());
        let journal = Journal::start(files.clone(), rotation, written, &tasks);
        Self { _folder: folder, files, journal, written: watched, tasks }
    }

    fn small() -> Self {
        Self::new(Rotation { size: 1000, keep: 3 })
    }

    fn large() -> Self {
        Self::new(Rotation { size: 1 << 20, keep: 3 })
    }

    fn follow(&self, tail: Tail) -> LogLines {
        read(self.files.clone(), Tail { follow: true, ..tail }, self.written.clone(), &self.tasks)
    }

    /// Ends writing and reads what is there.
    async fn read(self, tail: Tail) -> Vec<String> {
        self.journal.close().await;
        texts(read(self.files, tail, self.written, &self.tasks)).await
    }
}

async fn write(sink: Sink, text: String) {
    let log = (sink, LastLines::default(), CancellationToken::new());
    capture(text.as_bytes(), Stream::Stdout, log).await;
}

async fn texts(lines: LogLines) -> Vec<String> {
    lines.map(|line| line.expect("a line").text).collect().await
}

async fn next(lines: &mut LogLines) -> String {
    let line = timeout(Duration::from_secs(10), lines.next()).await.expect("in time");
    line.expect("not the end").expect("a line").text
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn exactly_the_last_lines_are_read() {
    let log = Log::large();
    write(log.journal.sink(), numbers(0..10_000).join("\n")).await;
    let tail = Tail { lines: Some(7_001), ..Tail::default() };
    assert_eq!(log.read(tail).await, numbers(2_999..10_000));
}

#[tokio::test]
async fn the_last_lines_cross_full_files_and_the_oldest_files_go() {
    let log = Log::small();
    for number in 0..200 {
        write(log.journal.sink(), number.to_string()).await;
    }
    let Log { _folder, files, journal, written, tasks } = log;
    journal.close().await;
    assert_eq!(files.full().expect("a list").len(), 3);
    assert!(files.newest().expect("a number") > 5);
    let tail = Tail { lines: Some(60), ..Tail::default() };
    assert_eq!(texts(read(files, tail, written, &tasks)).await, numbers(140..200));
}

#[tokio::test]
async fn a_log_shorter_than_asked_is_read_whole() {
    let log = Log::large();
    write(log.journal.sink(), "one\ntwo".to_owned()).await;
    let tail = Tail { lines: Some(50), ..Tail::default() };
    assert_eq!(log.read(tail).await, ["one", "two"]);
}

#[tokio::test]
async fn a_begun_line_is_shown_while_the_program_goes_on() {
    let log = Log::large();
    let (mut program, pipe) = duplex(64);
    let capturing = (log.journal.sink(), LastLines::default(), CancellationToken::new());
    let captured = tokio::spawn(capture(pipe, Stream::Stdout, capturing));
    program.write_all(b"Enter the name: ").await.expect("room");
    let mut lines = log.follow(Tail::default());
    assert_eq!(next(&mut lines).await, "Enter the name: ");
    program.write_all(b"thanks\n").await.expect("room");
    assert_eq!(next(&mut lines).await, "thanks");
    drop(program);
    captured.await.expect("its end");
}

#[tokio::test]
async fn a_begun_line_is_kept_when_somebody_else_holds_the_pipe() {
    let log = Log::large();
    let (mut program, pipe) = duplex(64);
    program.write_all(b"last words").await.expect("room");
    let (last_lines, cut_off) = (LastLines::default(), CancellationToken::new());
    cut_off.cancel();
    capture(pipe, Stream::Stdout, (log.journal.sink(), last_lines.clone(), cut_off)).await;
    assert_eq!(last_lines.take(), ["last words"]);
    assert_eq!(log.read(Tail { lines: Some(5), ..Tail::default() }).await, ["last words"]);
    drop(program);
}

#[tokio::test]
async fn no_lines_and_no_log_are_empty() {
    assert!(Log::large().read(Tail::default()).await.is_empty());
    let log = Log::large();
    write(log.journal.sink(), "one".to_owned()).await;
    assert!(log.read(Tail { lines: Some(0), ..Tail::default() }).await.is_empty());
}

#[tokio::test]
async fn only_lines_since_a_time_are_read() {
    let log = Log::small();
    for number in 0..100 {
        write(log.journal.sink(), number.to_string()).await;
    }
    let mut all = log.follow(Tail::default());
    let mut lines: Vec<LogLine> = Vec::new();
    while lines.last().is_none_or(|line| line.text != "99") {
        lines.push(all.next().await.expect("not the end").expect("a line"));
    }
    drop(all);
    let middle = lines[lines.len() / 2].time;
    let expected = lines.iter().filter(|line| line.time >= middle).count();
    let tail = Tail { since: Some(middle), ..Tail::default() };
    assert_eq!(log.read(tail).await.len(), expected);
}

#[tokio::test]
async fn a_follower_sees_later_lines_over_rotations() {
    let log = Log::small();
    write(log.journal.sink(), "old\nlast".to_owned()).await;
    let mut lines = log.follow(Tail::default());
    assert_eq!(next(&mut lines).await, "old");
    assert_eq!(next(&mut lines).await, "last");
    for number in 0..200 {
        write(log.journal.sink(), number.to_string()).await;
        assert_eq!(next(&mut lines).await, number.to_string());
    }
}

#[tokio::test]
async fn following_ends_with_the_service() {
    let log = Log::large();
    let mut lines = log.follow(Tail::default());
    write(log.journal.sink(), "farewell".to_owned()).await;
    log.journal.close().await;
    drop(log.written);
    assert_eq!(next(&mut lines).await, "farewell");
    let end = timeout(Duration::from_secs(10), lines.next()).await.expect("in time");
    assert!(end.is_none());
}
