//! Where things lie on disk: config, data and cache folders, by the rules of the operating
//! system, or all three under `MICRO_HOME`.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use directories::ProjectDirs;
use sha2::{Digest as _, Sha256};

/// The variable that puts all folders under one.
pub(crate) const HOME_VARIABLE: &str = "MICRO_HOME";

/// The folders of one user, or of one `MICRO_HOME`.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    /// `config.toml`, `credentials.toml`.
    pub(crate) config: PathBuf,
    /// What has to last: the server's state, logs, binaries, the SDK's source.
    pub(crate) data: PathBuf,
    /// What can be made again: target folders, completion data.
    pub(crate) cache: PathBuf,
}

impl Home {
    /// Finds the folders; creates none.
    ///
    /// # Errors
    /// Neither `MICRO_HOME` nor `HOME` is set.
    pub(crate) fn find() -> anyhow::Result<Self> {
        if let Some(home) = Self::variable() {
            let home = std::path::absolute(&home).context("cannot resolve MICRO_HOME")?;
            return Ok(Self {
                config: home.join("config"),
                data: home.join("data"),
                cache: home.join("cache"),
            });
        }
        let folders = ProjectDirs::from("", "", "micro")
            .context("there is no home folder: set HOME, or MICRO_HOME to a folder for micro")?;
        Ok(Self {
            config: folders.config_dir().to_owned(),
            data: folders.data_dir().to_owned(),
            cache: folders.cache_dir().to_owned(),
        })
    }

    /// The value of [`HOME_VARIABLE`], unless it is empty.
    pub(crate) fn variable() -> Option<OsString> {
        std::env::var_os(HOME_VARIABLE).filter(|home| !home.is_empty())
    }

    /// The folder of the server's own state.
    pub(crate) fn server(&self) -> PathBuf {
        self.data.join("server")
    }

    /// Where the local socket is: in a 0700 folder of the user's runtime folder, or, where another
    /// user has taken that, in one of the home. Servers and clients try them in this order. The
    /// short name is made from the data folder, since the path of a socket is limited to 108 bytes.
    pub(crate) fn sockets(&self) -> [PathBuf; 2] {
        let hash = Sha256::digest(self.data.as_os_str().as_encoded_bytes());
        let name = |bytes: usize| format!("{}.sock", hex::encode(&hash[..bytes]));
        [runtime_folder().join(name(8)), self.data.join("run").join(name(4))]
    }
}

/// The user's folder for sockets. `XDG_RUNTIME_DIR` counts only if it is the user's, as the XDG base
/// directory specification says: `su` and `sudo` may leave that of another.
fn runtime_folder() -> PathBuf {
    use std::os::unix::fs::MetadataExt as _;
    let uid = rustix::process::getuid().as_raw();
    let ours = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == uid);
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(ours) {
        Some(folder) => folder.join("micro"),
        None => std::env::temp_dir().join(format!("micro-{uid}")),
    }
}

/// Creates a folder, and those above it, that only its owner may enter. It is there after a power
/// failure, whoever created it.
///
/// # Errors
/// It cannot be created; the text names it.
pub(crate) fn create_private_folder(path: &Path) -> anyhow::Result<()> {
    let create = || -> io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|above| !above.exists()).collect();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        for made in std::iter::once(path).chain(missing) {
            sync_folder_of(made)?;
        }
        Ok(())
    };
    create().with_context(|| format!("cannot create the folder `{}`", path.display()))
}

/// Puts the name of a file or folder on disk.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(above) if above != Path::new("") => match fs::File::open(above) {
            Ok(folder) => folder.sync_all(),
            // A folder that others made, which may be entered but not read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        },
        _ => Ok(()),
    }
}

/// Replaces a file, readable by its owner alone: readers see the old or the new content, and
/// after a power failure the file has one of the two.
///
/// # Errors
/// It cannot be written; the text names it.
pub(crate) fn write_private_file(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let sync = |file: &fs::File| file.sync_all();
    let written = replace(path, content, sync).and_then(|()| sync_folder_of(path));
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

/// Replaces a file that can be made again, unless it has this content already. Readers see the old
/// or the new content; a power failure may take both.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_cache_file(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    replace(path, content, |_| Ok(()))
}

fn replace(path: &Path, content: &[u8], sync: impl FnOnce(&fs::File) -> io::Result<()>) -> io::Result<()> {
    use io::Write as _;
    let temporary = path.with_extension(format!("new-{}", uuid::Uuid::new_v4().simple()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written =
        file.write_all(content).and_then(|()| sync(&file)).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell; what is left is swept with the folder.
        drop(fs::remove_file(&temporary));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_looks_where_the_server_writes() {
        let home = Home::find().unwrap();
        assert_eq!(home.data, micro_sdk::local::data_folder().unwrap());
    }

    #[test]
    fn the_socket_path_fits_the_limit_of_the_system() {
        let deep = PathBuf::from("/deep").join("x".repeat(200));
        let home = Home { config: deep.clone(), data: deep.clone(), cache: deep };
        let [usual, other] = home.sockets();
        assert!(usual.as_os_str().len() < 104, "{usual:?}");
        assert!(other.starts_with(&home.data) && other.file_name().unwrap().len() == 13, "{other:?}");
    }

    #[test]
    fn a_written_file_is_private_and_whole() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_private_file(&path, b"one").unwrap();
        write_private_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
