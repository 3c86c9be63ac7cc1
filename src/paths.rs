//! Where things lie on disk: config, data and cache folders, by the rules of the operating
//! system, or all three under `MICRO_HOME`.

use std::{ffi::OsString, fs, path::PathBuf};

use anyhow::{Context as _, bail};
use directories::ProjectDirs;
use sha2::{Digest as _, Sha256};

use crate::private::{self, Others};

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
    /// Neither `MICRO_HOME` nor `HOME` is set, or what they name is not UTF-8: `SQLite` opens no such file, and
    /// `state.json` could not name the socket.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let found = if let Some(home) = Self::variable() {
            let home = std::path::absolute(&home).context("cannot resolve MICRO_HOME")?;
            Self { config: home.join("config"), data: home.join("data"), cache: home.join("cache") }
        } else {
            let folders = ProjectDirs::from("", "", "micro")
                .context("there is no home folder: set HOME, or MICRO_HOME to a folder for micro")?;
            Self {
                config: folders.config_dir().to_owned(),
                data: folders.data_dir().to_owned(),
                cache: folders.cache_dir().to_owned(),
            }
        };
        let folders = [&found.config, &found.data, &found.cache];
        if let Some(folder) = folders.into_iter().find(|folder| folder.to_str().is_none()) {
            let shown = folder.as_os_str().as_encoded_bytes().escape_ascii();
            bail!("the path `{shown}` is not valid UTF-8: set MICRO_HOME to a folder whose path is");
        }
        Ok(found)
    }

    /// The value of [`HOME_VARIABLE`], unless it is empty.
    pub(crate) fn variable() -> Option<OsString> {
        std::env::var_os(HOME_VARIABLE).filter(|home| !home.is_empty())
    }

    /// The folder of the server's own state.
    pub(crate) fn server(&self) -> PathBuf {
        self.data.join("server")
    }

    /// Makes sure that nobody else can change what is here, or read what is secret: what is ours is closed to
    /// others. Returns what others could have written to.
    ///
    /// # Errors
    /// Something here belongs to another user.
    pub(crate) fn secure(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        if let (Some(_), Some(above)) = (Self::variable(), self.data.parent()) {
            written.extend(private::secure_above(above)?);
        }
        for folder in [&self.data, &self.server(), &self.server().join("keys")] {
            written.extend(private::secure(folder, Others::Nothing)?);
        }
        written.extend(private::secure(&self.config, Others::Read)?);
        Ok(written)
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
}
