//! Content in files: `<folder>/<first two digits>/<the other 62>`, each written under another name
//! and moved there once it is whole and on disk. A crash leaves the whole file or none.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::spawn_blocking,
};

use super::{Blobs, Content, Digest, Draft, Error, PIECE, Sealed};
use crate::private;

/// What is not whole yet; emptied when the folder is opened.
const DRAFTS: &str = "drafts";

/// Bytes of content that wait to be written; each open draft has so many, however slow its writer is.
const BUFFER: usize = 2 * PIECE;

/// Content in a folder of its own.
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Opens a folder, made if it is not there, and removes what a crash left half-written.
    pub(super) async fn open(folder: &Path) -> Result<Self, Error> {
        let folder = std::path::absolute(folder).map_err(|e| failed("find", folder, &e))?;
        let opened = folder.clone();
        blocking(move || {
            let drafts = opened.join(DRAFTS);
            private::create_folder(&drafts).map_err(|e| failed("create the folder", &drafts, &e))?;
            // Left by any process before this one.
            sync_folder(&opened)?;
            sync_folder(opened.parent().unwrap_or(Path::new("/")))?;
            for draft in fs::read_dir(&drafts).map_err(|e| failed("read", &drafts, &e))? {
                let draft = draft.map_err(|e| failed("read", &drafts, &e))?.path();
                fs::remove_file(&draft).map_err(|e| failed("remove", &draft, &e))?;
            }
            Ok(())
        })
        .await?;
        Ok(Self { folder })
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        place(&self.folder, digest)
    }
}

/// Makes the folder again within the one above it, which has to be there.
fn remake(folder: &Path) -> io::Result<()> {
    let above = folder.parent().unwrap_or(Path::new("/"));
    fs::metadata(above)?;
    private::create_folder(&folder.join(DRAFTS))?;
    [folder, above].into_iter().try_for_each(|folder| fs::File::open(folder)?.sync_all())
}

fn place(folder: &Path, digest: &Digest) -> PathBuf {
    let name = digest.to_string();
    folder.join(&name[..2]).join(&name[2..])
}

#[async_trait]
impl Blobs for Files {
    async fn begin(&self) -> Result<Box<dyn Draft>, Error> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = Temporary(Some(self.folder.join(DRAFTS).join(name)));
        let opened = path.path().to_owned();
        let folder = self.folder.clone();
        let file = blocking(move || {
            let created = private::create_file(&opened).or_else(|error| {
                if error.kind() != io::ErrorKind::NotFound {
                    return Err(error);
                }
                // The folder was removed while the server runs; what was in it is lost.
                tracing::error!(folder = %folder.display(), "the folder of the blobs was gone, and is made again, empty");
                remake(&folder)?;
                private::create_file(&opened)
            });
            created.map_err(|e| failed("create", &opened, &e))
        })
        .await?;
        let mut file = File::from_std(file);
        file.set_max_buf_size(BUFFER);
        Ok(Box::new(InFile {
            folder: self.folder.clone(),
            path,
            file,
            hash: Sha256::new(),
            size: 0,
            sealed: None,
        }))
    }

    async fn read(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        let path = self.place(digest);
        let file = match File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &path, &error)),
        };
        let reading = Reading { file, path, digest: *digest, hash: Some(Sha256::new()) };
        Ok(Some(stream::try_unfold(reading, Reading::next).boxed()))
    }

    async fn remove(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.place(digest);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, &error)),
            _ => Ok(()),
        }
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<Digest, Error>>, Error> {
        let folder = self.folder.clone();
        let listed = stream::iter(0..=u8::MAX).then(move |first| {
            let folder = folder.clone();
            blocking(move || Ok(stream::iter(digests(&folder, first)?).map(Ok)))
        });
        Ok(listed.try_flatten().boxed())
    }
}

/// The digests that begin with a byte.
fn digests(folder: &Path, first: u8) -> Result<Vec<Digest>, Error> {
    let first = hex::encode([first]);
    let within = folder.join(&first);
    let entries = match fs::read_dir(&within) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", &within, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| failed("read", &within, &e))?.file_name();
        // What somebody else put there is none of ours.
        found.extend(name.to_str().and_then(|name| Digest::parse(&format!("{first}{name}"))));
    }
    found.sort_unstable();
    Ok(found)
}

/// A file that is removed unless it was moved away.
struct Temporary(Option<PathBuf>);

impl Temporary {
    /// It was moved away.
    fn keep(&mut self) {
        self.0 = None;
    }

    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What cannot be removed is removed at the next start.
            drop(fs::remove_file(path));
        }
    }
}

struct InFile {
    folder: PathBuf,
    path: Temporary,
    file: File,
    hash: Sha256,
    size: u64,
    sealed: Option<Digest>,
}

#[async_trait]
impl Draft for InFile {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.hash.update(&bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(&bytes).await.map_err(|e| failed("write", self.path.path(), &e))
    }

    async fn seal(&mut self) -> Result<Sealed, Error> {
        let failed = |error| failed("write", self.path.path(), &error);
        self.file.flush().await.map_err(failed)?;
        self.file.sync_all().await.map_err(failed)?;
        let digest = Digest::of(self.hash.clone());
        self.sealed = Some(digest);
        Ok(Sealed { digest, size: self.size })
    }

    async fn keep(mut self: Box<Self>) -> Result<(), Error> {
        let digest = match self.sealed {
            Some(digest) => digest,
            None => self.seal().await?.digest,
        };
        let place = place(&self.folder, &digest);
        let mut path = self.path;
        blocking(move || {
            let within = place.parent().unwrap_or(Path::new(""));
            private::create_folder(within).map_err(|e| failed("create the folder", within, &e))?;
            // Over the same content, if it is there.
            fs::rename(path.path(), &place).map_err(|e| failed("write", &place, &e))?;
            path.keep();
            sync_folder(within)?;
            // Another draft may have made the folder and not got as far as this yet.
            sync_folder(within.parent().unwrap_or(Path::new("")))
        })
        .await
    }
}

/// A file that is being read, and what it should have been.
struct Reading {
    file: File,
    path: PathBuf,
    digest: Digest,
    /// None once the end was reached.
    hash: Option<Sha256>,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        let Some(mut hash) = self.hash.take() else { return Ok(None) };
        let mut piece = BytesMut::with_capacity(PIECE);
        while piece.len() < PIECE {
            let read = (&mut self.file).take((PIECE - piece.len()) as u64).read_buf(&mut piece).await;
            if read.map_err(|e| failed("read", &self.path, &e))? == 0 {
                break;
            }
        }
        hash.update(&piece);
        // The last piece is held back until it is known that all of it is what it was.
        if piece.len() < PIECE {
            if Digest::of(hash) != self.digest {
                let text = format!("`{}` does not contain what was written to it", self.path.display());
                return Err(Error::Damaged(text));
            }
            return Ok((!piece.is_empty()).then(|| (piece.freeze(), self)));
        }
        self.hash = Some(hash);
        Ok(Some((piece.freeze(), self)))
    }
}

/// Puts the names in a folder on disk.
fn sync_folder(path: &Path) -> Result<(), Error> {
    fs::File::open(path).and_then(|folder| folder.sync_all()).map_err(|e| failed("write", path, &e))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    // It fails only when the runtime ends or the work panicked.
    spawn_blocking(work).await.map_err(|_| Error::Closed)?
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    if private::is_full(error) {
        return Error::Full { path: path.to_owned() };
    }
    Error::Storage(format!("cannot {what} `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn written(blobs: &Files, content: &'static [u8]) -> Digest {
        let mut draft = blobs.begin().await.unwrap();
        draft.write(Bytes::from_static(content)).await.unwrap();
        let sealed = draft.seal().await.unwrap();
        draft.keep().await.unwrap();
        sealed.digest
    }

    async fn open(folder: &tempfile::TempDir) -> Files {
        Files::open(&folder.path().join("blobs")).await.unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn files_are_private_and_named_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(&folder).await;
        let digest = written(&blobs, b"abc").await;
        // The example of FIPS 180-2, appendix B.1.
        let name = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), name);
        let path = folder.path().join("blobs/ba").join(&name[2..]);
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        assert_eq!(mode(&path), 0o600);
        for private in ["blobs", "blobs/ba", "blobs/drafts"] {
            assert_eq!(mode(&folder.path().join(private)), 0o700, "{private}");
        }
    }

    #[tokio::test]
    async fn what_is_half_written_goes_with_its_writer_or_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let drafts = folder.path().join("blobs/drafts");
        let left = || fs::read_dir(&drafts).unwrap().count();
        let blobs = open(&folder).await;
        let mut draft = blobs.begin().await.unwrap();
        draft.write(Bytes::from_static(b"half")).await.unwrap();
        assert_eq!(
            (left(), mode(&fs::read_dir(&drafts).unwrap().next().unwrap().unwrap().path())),
            (1, 0o600)
        );
        drop(draft);
        assert_eq!(left(), 0);
        std::mem::forget(blobs.begin().await.unwrap());
        assert_eq!(left(), 1);
        open(&folder).await;
        assert_eq!(left(), 0);
    }

    #[tokio::test]
    async fn a_damaged_file_ends_with_an_error_and_is_mended_by_writing_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(&folder).await;
        let digest = written(&blobs, b"content").await;
        let path = blobs.place(&digest);
        for damaged in [&b"cOntent"[..], b"conten", b"content!", b""] {
            fs::write(&path, damaged).unwrap();
            let read = blobs.read(&digest).await.unwrap().unwrap();
            let read: Result<Vec<Bytes>, Error> = read.try_collect().await;
            assert!(matches!(read, Err(Error::Damaged(_))), "{read:?}");
        }
        assert_eq!(written(&blobs, b"content").await, digest);
        let read: Vec<Bytes> = blobs.read(&digest).await.unwrap().unwrap().try_collect().await.unwrap();
        assert_eq!(read.concat(), b"content");
    }

    #[tokio::test]
    async fn what_others_put_beside_it_is_let_be() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(&folder).await;
        let digest = written(&blobs, b"abc").await;
        fs::write(folder.path().join("blobs/ba/notes"), "mine").unwrap();
        fs::write(folder.path().join("blobs/ba").join("F".repeat(62)), "mine").unwrap();
        let listed: Vec<Digest> = blobs.list().await.unwrap().try_collect().await.unwrap();
        assert_eq!(listed, [digest]);
    }
}
