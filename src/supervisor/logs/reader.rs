//! Reads a log from a place on, over all its files, and follows what is written later.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use tokio::{sync::watch, task::spawn_blocking};

use super::{
    Files, LogLine, Tail,
    place::{self, Place},
};
use crate::{tasks::Tasks, weighed};

/// Bytes read at a time.
const BLOCK: usize = 256 * 1024;

/// Lines read ahead of a slow receiver.
const LINES_AHEAD: usize = 1024;
/// Their bytes in all.
const BYTES_AHEAD: usize = 1 << 20;

/// Lines of a log, oldest first; an error ends them.
pub(crate) type LogLines = weighed::Receiver<io::Result<LogLine>>;

/// Reads the wanted part of a log. `written` tells of new lines, and ends a following reader when
/// its sender is gone.
pub(in super::super) fn read(
    files: Files,
    tail: Tail,
    mut written: watch::Receiver<()>,
    tasks: &Tasks,
) -> LogLines {
    let (lines, received) = weighed::queue(LINES_AHEAD, BYTES_AHEAD);
    let stop = tasks.token().clone();
    tasks.spawn(async move {
        let reading = async {
            if let Err(error) = send(files, tail, &mut written, &lines).await {
                // The receiver may be gone, which is no error.
                let _ = lines.send(Err(error), 0).await;
            }
        };
        tokio::select! {
            () = reading => {}
            () = lines.closed() => {}
            () = stop.cancelled() => {}
        }
    });
    received
}

async fn send(
    files: Files,
    tail: Tail,
    written: &mut watch::Receiver<()>,
    lines: &weighed::Sender<io::Result<LogLine>>,
) -> io::Result<()> {
    written.mark_unchanged();
    let mut cursor = blocking(move || Cursor::new(files, tail)).await?;
    let mut last_round = !tail.follow;
    loop {
        let (returned, found) = blocking(move || {
            let found = cursor.next()?;
            Ok((cursor, found))
        })
        .await?;
        cursor = returned;
        match found {
            Some(found) => {
                for line in found {
                    let weight = line.text.len();
                    if lines.send(Ok(line), weight).await.is_err() {
                        return Ok(());
                    }
                }
            }
            None if last_round => return Ok(()),
            None => last_round = written.changed().await.is_err(),
        }
    }
}

/// A place in a log that moves on as it is read.
struct Cursor {
    files: Files,
    place: Place,
    file: Option<File>,
    /// Nothing from here on is wanted; none when following.
    end: Option<Place>,
    /// The begun line.
    begun: Vec<u8>,
}

impl Cursor {
    fn new(files: Files, tail: Tail) -> io::Result<Self> {
        let end = place::end(&files)?;
        let mut place = place::oldest(&files)?;
        if let Some(lines) = tail.lines {
            place = place.max(place::last_lines(&files, end, lines)?);
        }
        if let Some(since) = tail.since {
            place = place.max(place::since(&files, end, since)?);
        }
        Ok(Self { files, place, file: None, end: (!tail.follow).then_some(end), begun: Vec::new() })
    }

    /// The next lines, maybe none in this block; `None` at the end of what is written.
    fn next(&mut self) -> io::Result<Option<Vec<LogLine>>> {
        // Asked before reading: a file is full only when it was already full before its end was seen.
        let newest = self.files.newest()?;
        if self.file.is_none() {
            self.file = self.files.open(self.place.generation)?;
        }
        let block = self.block()?;
        if !block.is_empty() {
            self.place.offset += block.len() as u64;
            return Ok(Some(self.lines(&block)));
        }
        let over = self.end.is_some_and(|end| self.place.generation >= end.generation);
        if over || self.place.generation >= newest {
            return Ok(None);
        }
        let kept = place::oldest(&self.files)?.generation;
        self.place = Place { generation: (self.place.generation + 1).max(kept), offset: 0 };
        self.file = None;
        self.begun.clear();
        Ok(Some(Vec::new()))
    }

    fn block(&self) -> io::Result<Vec<u8>> {
        let Some(file) = &self.file else { return Ok(Vec::new()) };
        let wanted = match self.end {
            Some(end) if end.generation < self.place.generation => 0,
            Some(end) if end.generation == self.place.generation => {
                end.offset.saturating_sub(self.place.offset)
            }
            _ => u64::MAX,
        };
        let mut block = vec![0; BLOCK.min(usize::try_from(wanted).unwrap_or(usize::MAX))];
        let read = file.read_at(&mut block, self.place.offset)?;
        block.truncate(read);
        Ok(block)
    }

    fn lines(&mut self, block: &[u8]) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for part in block.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if let Some(line) = self.begun.strip_suffix(b"\n") {
                lines.extend(LogLine::parse(line));
                self.begun.clear();
            }
        }
        lines
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
