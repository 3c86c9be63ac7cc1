//! From the output of a process to lines with a time.
//!
//! Memory is bounded whatever a process writes: a line longer than [`LONGEST_LINE`] is split, and at
//! most one block is read ahead of the journal. So is the work: a process that writes faster than
//! [`RATE`] for long waits for its pipe.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    journal::Sink,
    line::{PREFIX_LENGTH, Stream, time_text},
};

/// Bytes after which a line is split.
const LONGEST_LINE: usize = 64 * 1024;

/// Bytes read at a time.
const BLOCK: usize = 64 * 1024;

/// How many bytes a second are read of a pipe for long; a second's worth may come at once. Without a limit,
/// one service that writes without an end takes the processors from the calls of all others.
const RATE: u64 = 8 << 20;

/// How long output gathers before it is read where little of it comes at a time, soon after what came before:
/// what is written line by line then takes one read and one write for many lines. What comes after a pause is
/// read at once, so that lines of both pipes keep their order.
const GATHER: Duration = Duration::from_millis(3);

/// A read of fewer bytes than this counts as little; a pipe has room for twice as many, at least.
const LITTLE: usize = 4 * 1024;

/// How long a begun line waits for its end before it is shown without.
const PAUSE: Duration = Duration::from_millis(500);

/// How many last lines are remembered.
const REMEMBERED: usize = 10;

/// How much of each remembered line is kept, in characters.
const REMEMBERED_LENGTH: usize = 400;

/// The last lines a process wrote, for telling why it ended.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    /// The lines, oldest first.
    pub(in super::super) fn take(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    fn note(&self, batch: &[u8]) {
        let lines = batch.strip_suffix(b"\n").unwrap_or(batch).rsplit(|byte| *byte == b'\n');
        let newest: Vec<&[u8]> = lines.take(REMEMBERED).collect();
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in newest.into_iter().rev() {
            if remembered.len() == REMEMBERED {
                remembered.pop_front();
            }
            let text = line.get(PREFIX_LENGTH..).unwrap_or_default();
            let text = &text[..text.len().min(REMEMBERED_LENGTH * 4)];
            remembered.push_back(String::from_utf8_lossy(text).chars().take(REMEMBERED_LENGTH).collect());
        }
    }
}

/// Reads the output of a process to its end, or until it is cut off. A line that was begun and not
/// ended is written when nothing follows for [`PAUSE`]; what comes later is a line of its own.
pub(in super::super) async fn capture(
    mut pipe: impl AsyncRead + Unpin,
    stream: Stream,
    (mut sink, last_lines, cut_off): (Sink, LastLines, CancellationToken),
) {
    let mut lines = Lines::new(stream);
    let mut block = vec![0; BLOCK];
    let (mut pace, mut last) = (Pace::new(), Instant::now());
    loop {
        let read = tokio::select! {
            biased;
            read = pipe.read(&mut block) => match read {
                Ok(0) | Err(_) => break,
                Ok(read) => Some(read),
            },
            // Somebody else may hold the pipe open after the process has ended.
            () = cut_off.cancelled() => break,
            () = sleep(PAUSE), if lines.is_begun() => None,
        };
        let batch = match read {
            Some(read) => lines.take(&block[..read], Timestamp::now()),
            None => lines.finish(Timestamp::now()),
        };
        if !batch.is_empty() {
            last_lines.note(&batch);
            sink.write(batch).await;
        }
        let soon = mem::replace(&mut last, Instant::now()).elapsed() < 2 * GATHER;
        let gather = if soon && read.is_some_and(|read| read < LITTLE) { GATHER } else { Duration::ZERO };
        let wait = pace.note(read.unwrap_or_default()).max(gather);
        if !wait.is_zero() {
            tokio::select! {
                () = sleep(wait) => {}
                () = cut_off.cancelled() => {}
            }
        }
    }
    let rest = lines.finish(Timestamp::now());
    if !rest.is_empty() {
        last_lines.note(&rest);
        sink.write(rest).await;
    }
}

/// How fast a pipe is read.
struct Pace {
    /// When bytes were counted last.
    since: Instant,
    /// Those that were read, less [`RATE`] for each second since.
    bytes: u64,
}

impl Pace {
    fn new() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }

    /// Counts bytes that were read; how long to wait before more are.
    fn note(&mut self, bytes: usize) -> Duration {
        let allowed = u128::from(RATE) * self.since.elapsed().as_micros() / 1_000_000;
        self.since = Instant::now();
        self.bytes = self.bytes.saturating_sub(u64::try_from(allowed).unwrap_or(u64::MAX)) + bytes as u64;
        Duration::from_millis(self.bytes.saturating_sub(RATE) * 1000 / RATE)
    }
}

/// Cuts what comes in blocks into lines.
struct Lines {
    stream: Stream,
    /// The begun line.
    begun: Vec<u8>,
}

impl Lines {
    fn new(stream: Stream) -> Self {
        Self { stream, begun: Vec::new() }
    }

    /// The lines that end in this block, as they are written to the log.
    fn take(&mut self, block: &[u8], now: Timestamp) -> Vec<u8> {
        let prefix = self.prefix(now);
        let mut written = Vec::with_capacity(block.len() + prefix.len() * 4);
        for part in block.split_inclusive(|byte| *byte == b'\n') {
            if let Some(end) = part.strip_suffix(b"\n") {
                if self.begun.is_empty() {
                    write_line(&mut written, &prefix, end);
                } else {
                    self.begun.extend_from_slice(end);
                    write_line(&mut written, &prefix, &self.begun);
                    self.begun.clear();
                }
            } else {
                self.begun.extend_from_slice(part);
            }
        }
        while self.begun.len() >= LONGEST_LINE {
            let split = character_start(&self.begun, LONGEST_LINE);
            write_line(&mut written, &prefix, &self.begun[..split]);
            self.begun.drain(..split);
        }
        written
    }

    /// Whether a line was begun and not ended.
    fn is_begun(&self) -> bool {
        !self.begun.is_empty()
    }

    /// The last line, if it was not ended.
    fn finish(&mut self, now: Timestamp) -> Vec<u8> {
        let begun = std::mem::take(&mut self.begun);
        let mut written = Vec::new();
        if !begun.is_empty() {
            write_line(&mut written, &self.prefix(now), &begun);
        }
        written
    }

    fn prefix(&self, now: Timestamp) -> String {
        format!("{} {} ", time_text(now), self.stream.name())
    }
}

fn write_line(written: &mut Vec<u8>, prefix: &str, line: &[u8]) {
    let mut line = line.strip_suffix(b"\r").unwrap_or(line);
    loop {
        let split = if line.len() > LONGEST_LINE { character_start(line, LONGEST_LINE) } else { line.len() };
        let (now, later) = line.split_at(split);
        written.extend_from_slice(prefix.as_bytes());
        written.extend_from_slice(String::from_utf8_lossy(now).as_bytes());
        written.push(b'\n');
        if later.is_empty() {
            return;
        }
        line = later;
    }
}

/// The last place up to `limit` that is not within a UTF-8 character.
fn character_start(text: &[u8], limit: usize) -> usize {
    let is_start = |place: &usize| text.get(*place).is_none_or(|byte| byte & 0xc0 != 0x80);
    (limit.saturating_sub(3)..=limit).rev().find(is_start).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::logs::line::LogLine;

    fn texts(blocks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(Stream::Stdout);
        let mut written = Vec::new();
        for block in blocks {
            written.extend(lines.take(block, Timestamp::now()));
        }
        written.extend(lines.finish(Timestamp::now()));
        let lines = written.strip_suffix(b"\n").unwrap_or(&written).split(|byte| *byte == b'\n');
        lines.map(|line| LogLine::parse(line).expect("a line").text).collect()
    }

    #[test]
    fn lines_are_joined_over_blocks() {
        assert_eq!(texts(&[b"one\ntw", b"o", b"\r\n\nthree"]), ["one", "two", "", "three"]);
    }

    #[test]
    fn a_begun_line_that_was_shown_is_not_shown_again() {
        let mut lines = Lines::new(Stream::Stdout);
        assert!(lines.take(b"Password: ", Timestamp::now()).is_empty() && lines.is_begun());
        let shown = lines.finish(Timestamp::now());
        assert!(shown.ends_with(b" Password: \n") && !lines.is_begun());
        assert!(lines.take(b"thanks\n", Timestamp::now()).ends_with(b" thanks\n"));
    }

    #[test]
    fn a_second_of_output_comes_at_once_and_what_is_more_waits() {
        let mut pace = Pace::new();
        let second = usize::try_from(RATE).unwrap();
        assert_eq!(pace.note(second), Duration::ZERO);
        let wait = pace.note(second);
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        // What was waited for counts no more.
        pace.since = Instant::now() - wait;
        assert_eq!(pace.note(0), Duration::ZERO);
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(texts(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
    }

    #[test]
    fn an_endless_line_is_split_between_characters() {
        let line = "ä".repeat(LONGEST_LINE);
        let bytes = line.as_bytes();
        let blocks: Vec<&[u8]> = bytes.chunks(1001).collect();
        let split = texts(&blocks);
        assert_eq!(split.concat(), line);
        assert!(split.len() >= 2 && split.iter().all(|part| part.len() <= LONGEST_LINE));
    }

    #[test]
    fn the_last_lines_are_remembered_in_order() {
        let last_lines = LastLines::default();
        let mut lines = Lines::new(Stream::Stdout);
        for number in 0..30 {
            last_lines.note(&lines.take(format!("{number}\n").as_bytes(), Timestamp::now()));
        }
        let expected: Vec<String> = (20..30).map(|number| number.to_string()).collect();
        assert_eq!(last_lines.take(), expected);
    }
}
