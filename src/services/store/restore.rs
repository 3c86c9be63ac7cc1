//! Restoring a snapshot: all of it is taken in and looked through before any record is changed.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use futures::{StreamExt as _, stream};
use micro_sdk::{Error, Receiver, Result, proto::store::RestoreRequest};
use tokio::{sync::mpsc, task::spawn_blocking};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    database,
    snapshot::{Reader, Unreadable},
    tables_of,
};
use crate::{
    backend::{self, Entry, Kv, Scan},
    private,
};

/// Records that are handed over together.
const RECORDS_TOGETHER: usize = 256;
/// The bytes of records that are handed over together.
const BYTES_TOGETHER: usize = 1 << 20;

/// Bytes that are written together; each open upload has so many, however slow it is.
const BUFFER: usize = 2 * backend::PIECE;

type Together = Vec<Result<(String, Entry), backend::Error>>;

/// Takes a snapshot in and puts it in the place of all records of the database that the first message
/// names, if `begin` gives it a place. Returns how many there are now.
pub(super) async fn receive<Place>(
    kv: &dyn Kv,
    folder: &Path,
    mut requests: Receiver<RestoreRequest>,
    begin: impl Fn(&str) -> Result<Place>,
) -> Result<u64> {
    let first = requests.next().await?.ok_or_else(|| Error::bad_request("no snapshot was sent"))?;
    let database = database(&first.database)?.to_owned();
    let _place = begin(&database)?;
    let mut spool = Spool::new(folder).await?;
    let mut next = Some(first);
    while let Some(request) = next {
        spool = spool.write(request.data).await?;
        next = requests.next().await?;
    }
    let file = spool.verified().await?;
    let prefix = tables_of(&database);
    let (_, records) = kv.replace(&prefix, entries(file, prefix.clone())).await?;
    tracing::info!(database, records, "restored a snapshot");
    Ok(records)
}

/// A file for what arrives. It has no name, so that nothing is left of it however this ends.
struct Spool {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Spool {
    async fn new(folder: &Path) -> Result<Self> {
        let (file, path) = nameless(folder, "restore").await?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER, file), path })
    }

    async fn write(mut self, data: Vec<u8>) -> Result<Self> {
        // What only fills the buffer is not worth a thread.
        if self.file.capacity() - self.file.buffer().len() > data.len() {
            self.file.write_all(&data).map_err(|e| failed(&self.path, &e))?;
            return Ok(self);
        }
        blocking(move || {
            self.file.write_all(&data).map_err(|e| failed(&self.path, &e))?;
            Ok(self)
        })
        .await
    }

    /// The file, once a whole snapshot was found in it.
    ///
    /// # Errors
    /// 400 for what is no whole snapshot.
    async fn verified(self) -> Result<File> {
        blocking(move || {
            let path = self.path;
            let mut file = self.file.into_inner().map_err(|e| failed(&path, e.error()))?;
            file.rewind().map_err(|e| failed(&path, &e))?;
            let look = || {
                let mut reader = Reader::new(BufReader::with_capacity(1 << 20, &file))?;
                while reader.next()?.is_some() {}
                Ok::<_, Unreadable>(())
            };
            look().map_err(|error| match error {
                Unreadable::Broken(_) => Error::bad_request(format!("{error}; nothing was changed")),
                Unreadable::Io(error) => failed(&path, &error),
            })?;
            file.rewind().map_err(|e| failed(&path, &e))?;
            Ok(file)
        })
        .await
    }
}

/// The records in a file that was found to be whole, under the names they get.
fn entries(file: File, prefix: String) -> Scan {
    let (sender, receiver) = mpsc::channel(1);
    // It ends when all are read, or when nobody takes them any more.
    drop(spawn_blocking(move || {
        let hand_over = || {
            let mut reader = Reader::new(BufReader::with_capacity(1 << 20, file))?;
            let (mut together, mut bytes) = (Together::new(), 0);
            while let Some((table, entry)) = reader.next()? {
                bytes += entry.value.len();
                together.push(Ok((format!("{prefix}{table}"), entry)));
                if together.len() == RECORDS_TOGETHER || bytes >= BYTES_TOGETHER {
                    bytes = 0;
                    if sender.blocking_send(std::mem::take(&mut together)).is_err() {
                        return Ok(());
                    }
                }
            }
            drop(sender.blocking_send(together));
            Ok::<_, Unreadable>(())
        };
        if let Err(error) = hand_over() {
            let error = backend::Error::Storage(error.to_string());
            drop(sender.blocking_send(vec![Err(error)]));
        }
    }));
    ReceiverStream::new(receiver).flat_map(stream::iter::<Together>).boxed()
}

/// A file that has no name any more, so that nothing is left of it, and the path it had.
pub(super) async fn nameless(folder: &Path, purpose: &str) -> Result<(File, PathBuf)> {
    let path = folder.join(format!("{purpose}-{}", uuid::Uuid::new_v4().simple()));
    blocking(move || {
        let made = private::create_file(&path).and_then(|file| fs::remove_file(&path).map(|()| file));
        Ok((made.map_err(|e| failed(&path, &e))?, path))
    })
    .await
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    spawn_blocking(work).await.map_err(|_| Error::unavailable("the server is stopping"))?
}

pub(super) fn failed(path: &Path, error: &io::Error) -> Error {
    if private::is_full(error) {
        return backend::Error::Full { path: path.to_owned() }.into();
    }
    backend::Error::Storage(format!("cannot use `{}`: {error}", path.display())).into()
}
