//! The one writer of a log: takes lines from all processes of a service, appends them in batches,
//! begins new files, and tells the followers.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    mem,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{
        mpsc,
        mpsc::error::{SendTimeoutError, TrySendError},
        oneshot, watch,
    },
    task::spawn_blocking,
};

use super::{Files, Stream, line::time_text};
use crate::{private, supervisor::settings::Rotation, tasks::Tasks};

/// Batches that may wait for the disk.
const WAITING: usize = 64;

/// How long a process waits for the disk before its lines are dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// The open log of a service.
#[derive(Debug)]
pub(in super::super) struct Journal {
    sink: Sink,
    finished: oneshot::Receiver<()>,
}

impl Journal {
    /// Starts the writer. `written` is told after each batch.
    pub(in super::super) fn start(
        files: Files,
        rotation: Rotation,
        written: watch::Sender<()>,
        tasks: &Tasks,
    ) -> Self {
        let (batches, waiting) = mpsc::channel(WAITING);
        let (done, finished) = oneshot::channel();
        let writer = Writer { files, rotation, file: None, length: 0, complained: false };
        tasks.spawn(async move {
            write(writer, waiting, written).await;
            // The caller that closed the journal may have given up waiting.
            let _ = done.send(());
        });
        Self { sink: Sink { batches, lost: 0 }, finished }
    }

    /// Where lines are written to.
    pub(in super::super) fn sink(&self) -> Sink {
        self.sink.clone()
    }

    /// Waits until all that was written before is in the files; all sinks have to be gone.
    pub(in super::super) async fn close(self) {
        drop(self.sink);
        // An error means the writer was dropped with the runtime: nothing more will be written.
        let _ = self.finished.await;
    }
}

/// The way into a journal.
#[derive(Clone, Debug)]
pub(in super::super) struct Sink {
    batches: mpsc::Sender<Vec<u8>>,
    /// Lines dropped since the last batch that was taken.
    lost: usize,
}

impl Sink {
    /// Appends whole lines. When the disk does not keep up for a second they are dropped until it
    /// does, and a line tells how many: a service must not hang for its log.
    pub(super) async fn write(&mut self, batch: Vec<u8>) {
        let dropped = if self.lost == 0 {
            self.batches.send_timeout(batch, PATIENCE).await.err().map(SendTimeoutError::into_inner)
        } else if self.batches.try_send(self.lost_note()).is_ok() {
            self.lost = 0;
            self.batches.try_send(batch).err().map(TrySendError::into_inner)
        } else {
            Some(batch)
        };
        if let Some(batch) = dropped {
            self.lost += batch.split(|byte| *byte == b'\n').count() - 1;
        }
    }

    fn lost_note(&self) -> Vec<u8> {
        let (now, stream) = (time_text(Timestamp::now()), Stream::Stderr.name());
        format!("{now} {stream} micro: {} lines were lost, the disk was too slow\n", self.lost).into_bytes()
    }
}

async fn write(mut writer: Writer, mut waiting: mpsc::Receiver<Vec<u8>>, written: watch::Sender<()>) {
    let mut batches = Vec::new();
    while waiting.recv_many(&mut batches, WAITING).await > 0 {
        let taken = mem::take(&mut batches);
        let appended = spawn_blocking(move || {
            for batch in taken {
                writer.append(&batch);
            }
            writer
        });
        match appended.await {
            Ok(returned) => writer = returned,
            Err(_) => return,
        }
        written.send_replace(());
    }
}

struct Writer {
    files: Files,
    rotation: Rotation,
    file: Option<File>,
    length: u64,
    /// The last batch failed and was reported.
    complained: bool,
}

impl Writer {
    /// Appends a batch of whole lines; a disk that fails is reported once, not for each line.
    fn append(&mut self, batch: &[u8]) {
        match self.try_append(batch) {
            Ok(()) => self.complained = false,
            Err(error) => {
                // Opening again repairs a half-written line.
                self.file = None;
                if !mem::replace(&mut self.complained, true) {
                    tracing::warn!(path = %self.files.current().display(), %error, "cannot write a log");
                }
            }
        }
    }

    fn try_append(&mut self, batch: &[u8]) -> io::Result<()> {
        let added = batch.len() as u64;
        // Who removed the file still wants to read what comes.
        self.file = self.file.take().filter(|file| private::is_named(file, &self.files.current()));
        if self.file.is_none() {
            (self.file, self.length) = open(&self.files).map(|(file, length)| (Some(file), length))?;
        }
        if self.length > 0 && self.length + added > self.rotation.size {
            self.file = None;
            self.files.rotate(self.rotation.keep)?;
            (self.file, self.length) = open(&self.files).map(|(file, length)| (Some(file), length))?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(batch)?;
            self.length += added;
        }
        Ok(())
    }
}

/// Opens the current file at its end, which is a whole line also after a crash.
fn open(files: &Files) -> io::Result<(File, u64)> {
    private::create_folder(files.folder())?;
    let mut file = private::append_file(&files.current())?;
    let mut length = file.metadata()?.len();
    if length > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            length += 1;
        }
    }
    Ok((file, length))
}
