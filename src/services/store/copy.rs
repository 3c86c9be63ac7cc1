//! Snapshots on their way to who asked for them. Each is copied to a file first, as fast as the disk takes
//! it, and given out from there: a reader that is slow, or has stopped, holds the database at no moment,
//! and no thread. So many are under way at once, and none is waited for without end.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::TryStreamExt as _;
use micro_sdk::{Error, Result, Sender, proto::store::SnapshotResponse};
use tokio::{sync::watch, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{restore, snapshot::Writer, tables_of};
use crate::{
    backend::{Kv, PIECE, Scan},
    services::{
        auth::Caller,
        transfers::{Transfer, Transfers},
    },
};

/// Snapshots that may be under way.
const AT_ONCE: usize = 4;
/// How long a reader may take for a piece.
const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes that are written together.
const TOGETHER: usize = 1 << 20;

/// Takes snapshots. Cheap to clone.
#[derive(Clone)]
pub(super) struct Snapshots {
    kv: Arc<dyn Kv>,
    folder: Arc<Path>,
    places: Arc<Transfers>,
}

/// A file without a name, and the path it had, to tell what is wrong with it.
#[derive(Clone)]
struct Spool {
    file: Arc<File>,
    path: Arc<PathBuf>,
}

impl Snapshots {
    /// Makes copies of this database, on the disk that `folder` is on.
    pub(super) fn new(kv: Arc<dyn Kv>, folder: Arc<Path>) -> Self {
        Self { kv, folder, places: Transfers::new(AT_ONCE, "snapshots") }
    }

    /// Sends the records of a database to a caller.
    pub(super) async fn send(
        &self,
        caller: &Caller,
        database: &str,
        replies: &Sender<SnapshotResponse>,
    ) -> Result<()> {
        let place = self.places.take(caller)?;
        let spool = Spool::new(&self.folder).await?;
        let prefix = tables_of(database);
        let scan = self.kv.scan(&prefix).await?;
        let (told, mut written) = watch::channel(0);
        let copying = spool.clone().fill(scan, Writer::new(database), prefix, told);
        // Nothing is copied any more once this is dropped, since nobody reads it.
        let copying = AbortOnDropHandle::new(tokio::spawn(copying));
        // Given back before the caller has read the end, who may ask for the next snapshot then.
        let place = Held(Arc::new(Mutex::new(Some(place))));
        let taken = watch_over(place.0.clone(), spool.clone());
        let mut sent = 0;
        // What was written last is seen before that nothing follows.
        while written.changed().await.is_ok() {
            let end = *written.borrow_and_update();
            while sent < end {
                let data = spool.read(sent, end).await?;
                sent += data.len() as u64;
                replies.send(SnapshotResponse { data }).await?;
                if taken.is_closed() {
                    return Err(Error::timeout(format!(
                        "nobody took the snapshot for {} s",
                        PATIENCE.as_secs()
                    )));
                }
                taken.send_replace(());
            }
        }
        copying.await.map_err(|_| Error::unavailable("the server is stopping"))?
    }
}

/// Keeps the place of a snapshot as long as it is read, and then gives back the room on the disk too.
/// This is done apart, since a handler is not asked for anything while its reader takes nothing.
fn watch_over(place: Arc<Mutex<Option<Transfer>>>, spool: Spool) -> watch::Sender<()> {
    let (taken, mut seen) = watch::channel(());
    drop(tokio::spawn(async move {
        let stalled = loop {
            match timeout(PATIENCE, seen.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => break false,
                Err(_) => break true,
            }
        };
        drop(seen);
        if stalled {
            tracing::warn!("a snapshot is given up: nobody took it for {} s", PATIENCE.as_secs());
            // Who goes on to read finds it cut off, which is an error.
            drop(restore::blocking(move || Ok(spool.file.set_len(0))).await);
        }
        drop(Held(place));
    }));
    taken
}

/// The place of a snapshot, which the first to end it gives back.
struct Held(Arc<Mutex<Option<Transfer>>>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Spool {
    async fn new(folder: &Path) -> Result<Self> {
        let (file, path) = restore::nameless(folder, "snapshot").await?;
        Ok(Self { file: Arc::new(file), path: Arc::new(path) })
    }

    /// Writes a snapshot, and tells how much of it is written.
    async fn fill(
        self,
        mut scan: Scan,
        mut writer: Writer,
        prefix: String,
        told: watch::Sender<u64>,
    ) -> Result<()> {
        while let Some((table, entry)) = scan.try_next().await? {
            writer.record(table.strip_prefix(&prefix).unwrap_or(&table), entry)?;
            if writer.waiting() >= TOGETHER {
                self.write(&mut writer, &told).await?;
            }
        }
        writer.end();
        self.write(&mut writer, &told).await
    }

    async fn write(&self, writer: &mut Writer, told: &watch::Sender<u64>) -> Result<()> {
        let (spool, content, at) = (self.clone(), writer.take(), *told.borrow());
        let end = at + content.len() as u64;
        restore::blocking(move || {
            let written = spool.file.write_all_at(&content, at);
            written.map_err(|error| restore::failed(&spool.path, &error))
        })
        .await?;
        told.send_replace(end);
        Ok(())
    }

    /// The next piece of what is written up to `end`.
    async fn read(&self, at: u64, end: u64) -> Result<Vec<u8>> {
        let length = (end - at).min(PIECE as u64) as usize;
        let spool = self.clone();
        restore::blocking(move || {
            let mut piece = vec![0; length];
            let read = spool.file.read_exact_at(&mut piece, at);
            read.map(|()| piece).map_err(|error| restore::failed(&spool.path, &error))
        })
        .await
    }
}
