//! Where what is large comes from and goes to: files, standard input and output.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::cli::context::Context;

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// What is read.
pub(super) struct Source {
    name: String,
    from: Box<dyn AsyncRead + Send + Unpin>,
}

impl Source {
    /// Opens a file, or standard input for `-`.
    pub(super) async fn open(path: PathBuf) -> anyhow::Result<Self> {
        if is_standard(&path) {
            return Ok(Self { name: "standard input".to_owned(), from: Box::new(tokio::io::stdin()) });
        }
        let name = format!("`{}`", path.display());
        let file = tokio::fs::File::open(&path).await.with_context(|| format!("cannot open {name}"))?;
        Ok(Self { name, from: Box::new(file) })
    }

    /// The next bytes; none at the end.
    pub(super) async fn piece(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut piece = Vec::with_capacity(PIECE);
        // A pipe gives little at a time.
        while piece.len() < PIECE {
            let mut rest = (&mut self.from).take((PIECE - piece.len()) as u64);
            let read = rest.read_buf(&mut piece).await;
            if read.with_context(|| format!("cannot read {}", self.name))? == 0 {
                break;
            }
        }
        Ok(piece)
    }
}

/// Where it is written. A file has its old content, or none, until [`Sink::finish`].
pub(super) enum Sink {
    Output,
    /// No file to be replaced, such as a device or a pipe with a name.
    Direct(File, PathBuf),
    Beside(Partial),
}

/// A file that takes the place of another once it is whole.
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    temporary: Option<PathBuf>,
}

impl Sink {
    /// Opens a file, or standard output for `-` or none. A private file is readable by its owner alone.
    pub(super) fn open(path: Option<PathBuf>, private: bool) -> anyhow::Result<Self> {
        let Some(path) = path.filter(|path| !is_standard(path)) else { return Ok(Self::Output) };
        let cannot = || format!("cannot write `{}`", path.display());
        if fs::metadata(&path).is_ok_and(|known| !known.is_file()) {
            let file = fs::OpenOptions::new().write(true).open(&path).with_context(cannot)?;
            return Ok(Self::Direct(file, path));
        }
        let mut name = path.file_name().with_context(cannot)?.to_owned();
        name.push(format!(".partial-{}", uuid::Uuid::new_v4().simple()));
        let temporary = path.with_file_name(name);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(if private { 0o600 } else { 0o666 });
        let file = options.open(&temporary).with_context(cannot)?;
        Ok(Self::Beside(Partial { file, path, temporary: Some(temporary) }))
    }

    pub(super) async fn write(&mut self, bytes: Vec<u8>, cx: &Context) -> anyhow::Result<()> {
        let (file, path) = match self {
            Self::Output => return cx.ui.piece(bytes).await,
            Self::Direct(file, path) => (file, path),
            Self::Beside(partial) => (&mut partial.file, &mut partial.path),
        };
        file.write_all(&bytes).with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// All is written; returns the file it is in, if it is one.
    pub(super) fn finish(self) -> anyhow::Result<Option<PathBuf>> {
        match self {
            Self::Output => Ok(None),
            Self::Direct(_, path) => Ok(Some(path)),
            Self::Beside(mut partial) => {
                let path = partial.path.clone();
                let moved = partial.file.sync_all().and_then(|()| match &partial.temporary {
                    Some(temporary) => fs::rename(temporary, &path),
                    None => Ok(()),
                });
                moved.with_context(|| format!("cannot write `{}`", path.display()))?;
                partial.temporary = None;
                Ok(Some(path))
            }
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // What went wrong before is what is told.
            drop(fs::remove_file(temporary));
        }
    }
}
