//! The server of this user's home: where it says how it can be reached, `state.json` in its data
//! folder, and the proof that a local socket is this user's. Both serve the command line and
//! services that are started by hand.

use std::{
    error, fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

/// What a running server writes about itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct State {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The Unix socket for the user who owns the home.
    pub socket: PathBuf,
    /// The address of the HTTP API.
    pub api: String,
    /// The address of the gRPC proxy.
    pub proxy: String,
    /// The address services use.
    pub network: String,
    /// How long its calls and services may take to end when it stops, in milliseconds.
    #[serde(default)]
    pub grace: u64,
    /// The options it was started with, for starting it again.
    #[serde(default)]
    pub arguments: Vec<String>,
}

impl State {
    /// Reads the state of the server whose data is in `data`.
    ///
    /// # Errors
    /// The file cannot be read (there is none before the first start), or is damaged.
    pub fn read(data: &Path) -> io::Result<Self> {
        let text = fs::read(file(data))?;
        serde_json::from_slice(&text).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

/// The file the state stands in.
#[must_use]
pub fn file(data: &Path) -> PathBuf {
    data.join("server").join("state.json")
}

/// Why a local socket, or its folder, is not trusted.
#[derive(Debug)]
#[non_exhaustive]
pub enum Distrust {
    /// It belongs to another user, or a process of another user serves it.
    Foreign {
        /// What it is about.
        path: PathBuf,
        /// The other user.
        uid: u32,
    },
    /// It is this user's, but others may enter it.
    Open(PathBuf),
    /// It is in the place of a folder and is none.
    NoFolder(PathBuf),
    /// It cannot be looked at, or the system does not tell who serves it.
    Unknown(PathBuf, io::Error),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { path, uid } => {
                write!(
                    f,
                    "`{}` belongs to another user (uid {uid}), so nothing is sent there",
                    path.display()
                )
            }
            Self::Open(path) => {
                let shown = path.display();
                write!(f, "the folder `{shown}` is open to other users: run `chmod 700 '{shown}'`")
            }
            Self::NoFolder(path) => {
                let shown = path.display();
                write!(f, "`{shown}` must be a folder and is none: remove it with `rm '{shown}'`")
            }
            Self::Unknown(path, error) => write!(f, "cannot tell whose `{}` is: {error}", path.display()),
        }
    }
}

impl error::Error for Distrust {}

impl From<Distrust> for io::Error {
    fn from(distrust: Distrust) -> Self {
        match distrust {
            Distrust::Unknown(_, error) if error.kind() == io::ErrorKind::NotFound => error,
            other => Self::new(io::ErrorKind::PermissionDenied, other),
        }
    }
}

/// Connects to a Unix socket of this user. Before a byte is sent it is proven that the socket lies
/// in a folder of this user that nobody else may enter, and that a process of this user serves it:
/// a socket in a place where others may write can be anybody's.
///
/// # Errors
/// Nobody serves it, or the proof fails; then the error holds a [`Distrust`].
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let unknown = |error| Distrust::Unknown(path.to_owned(), error);
    // The user of this process, as the other end of a socket of its own sees it.
    let own = UnixStream::pair().and_then(|(one, _other)| one.peer_cred()).map_err(unknown)?.uid();
    check_folder(path.parent().unwrap_or(Path::new("/")), own)?;
    let stream = UnixStream::connect(path).await?;
    match stream.peer_cred().map_err(unknown)?.uid() {
        uid if uid == own => Ok(stream),
        uid => Err(Distrust::Foreign { path: path.to_owned(), uid }.into()),
    }
}

/// Proves that a folder is that of the user with the id `own`, and that nobody else may enter it.
///
/// # Errors
/// It is not, or that cannot be told.
pub fn check_folder(folder: &Path, own: u32) -> Result<(), Distrust> {
    // A link in its place leads wherever its owner likes.
    let found = fs::symlink_metadata(folder).map_err(|error| Distrust::Unknown(folder.to_owned(), error))?;
    if found.uid() != own {
        return Err(Distrust::Foreign { path: folder.to_owned(), uid: found.uid() });
    }
    if !found.is_dir() {
        return Err(Distrust::NoFolder(folder.to_owned()));
    }
    if found.mode() & 0o077 != 0 {
        return Err(Distrust::Open(folder.to_owned()));
    }
    Ok(())
}

/// The data folder: `$MICRO_HOME/data`, else the one the operating system names.
///
/// # Errors
/// Neither `MICRO_HOME` nor `HOME` is set.
pub fn data_folder() -> io::Result<PathBuf> {
    let path = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(home) = std::env::var_os("MICRO_HOME").filter(|home| !home.is_empty()) {
        return std::path::absolute(PathBuf::from(home).join("data"));
    }
    let unset = || io::Error::new(io::ErrorKind::NotFound, "neither MICRO_HOME nor HOME is set");
    if cfg!(target_os = "macos") {
        return Ok(path("HOME").ok_or_else(unset)?.join("Library/Application Support/micro"));
    }
    match path("XDG_DATA_HOME") {
        Some(folder) => Ok(folder.join("micro")),
        None => Ok(path("HOME").ok_or_else(unset)?.join(".local/share/micro")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{
        fs::{PermissionsExt as _, chown, symlink},
        net::UnixListener,
    };

    use super::*;

    /// A folder of its own, with this mode.
    fn folder(mode: u32) -> PathBuf {
        let name = format!("micro-sdk-{}-{mode:o}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&folder));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        folder
    }

    #[tokio::test]
    async fn only_a_socket_of_this_user_in_a_folder_of_this_user_is_connected_to() {
        let private = folder(0o700);
        let socket = private.join("a.sock");
        assert_eq!(connect(&socket).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        connect(&socket).await.unwrap();
        listener.accept().unwrap();

        let open = folder(0o750);
        let link = open.join("link");
        symlink(&private, &link).unwrap();
        fs::hard_link(&socket, open.join("a.sock")).unwrap();
        for place in [&open, &link] {
            let refused = connect(&place.join("a.sock")).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{refused}");
        }
        // Only root can give a folder away.
        if chown(&private, Some(65534), None).is_ok() {
            let refused = connect(&socket).await.unwrap_err();
            assert!(refused.to_string().contains("another user (uid 65534)"), "{refused}");
        }
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody came");
        for made in [private, open] {
            fs::remove_dir_all(made).unwrap();
        }
    }
}
