//! The server of this user's home: where it says how it can be reached, `state.json` in its data
//! folder, and the proof that a local socket is this user's. Both serve the command line and
//! services that are started by hand.

use std::{
    error, fmt, fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::{net::UnixStream, time::sleep};

use crate::address::LONGEST_PATH;

/// How soon a Unix socket whose backlog is full is tried again: the system offers nothing to wait for.
const BACKLOG_FULL: Duration = Duration::from_millis(10);
/// What ends the name of a socket until it listens.
const UNFINISHED: &str = "new";

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
    /// The same doors at the other loopback address of this machine, `[::1]`, where it has that.
    #[serde(default)]
    pub also: Vec<String>,
    /// How long its calls and services may take to end when it stops, in milliseconds.
    #[serde(default)]
    pub grace: u64,
    /// The options it was started with, for starting it again.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// What is wrong with it, though it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<String>,
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
    let own = own_uid().map_err(unknown)?;
    check_folder(path.parent().unwrap_or(Path::new("/")), own)?;
    let stream = loop {
        match UnixStream::connect(path).await {
            // More connections than its backlog has room for are ahead.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(BACKLOG_FULL).await,
            connected => break connected?,
        }
    };
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
    if stands_for_others(own) {
        let text = "this process runs as the user that stands for all whom this user namespace does not know";
        return Err(Distrust::Unknown(folder.to_owned(), io::Error::other(text)));
    }
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

/// Whether a user is the one as whom all others appear that a user namespace has no number for
/// (`user_namespaces(7)`). Where every number is known, that one is a user as any other.
fn stands_for_others(uid: u32) -> bool {
    // It stays the same, so it is read once; what could not be read is read again.
    static OVERFLOW: OnceLock<String> = OnceLock::new();
    let overflow = match OVERFLOW.get() {
        Some(known) => known,
        None => match fs::read_to_string("/proc/sys/kernel/overflowuid") {
            Ok(read) => OVERFLOW.get_or_init(|| read),
            Err(_) => return false,
        },
    };
    let map = || fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    overflow.trim() == uid.to_string() && !is_whole(&map())
}

/// Whether a map of users, with lines of a first number, that outside, and a count, knows every number.
fn is_whole(map: &str) -> bool {
    let counts = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    counts.sum::<u64>() >= u64::from(u32::MAX)
}

/// The user of this process, as the other end of a socket of its own sees it.
fn own_uid() -> io::Result<u32> {
    let (one, _other) = UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
}

/// Makes sure that a folder is there which only the user of this process may enter. The one above
/// it has to be there.
///
/// # Errors
/// It cannot be made, or it is another user's, open to others, or no folder.
pub fn private_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        // Whatever the umask took away.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o700))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(check_folder(path, own_uid()?)?)
}

/// The folder for the Unix sockets of the nodes of a server, beside this socket of its own.
#[must_use]
pub fn nodes_folder(socket: &Path) -> PathBuf {
    socket.with_extension("nodes")
}

/// The Unix socket that a server opens for the services of this machine, beside this socket of its
/// own. Who comes by it without a token is nobody.
#[must_use]
pub fn services_socket(socket: &Path) -> PathBuf {
    socket.with_extension("services")
}

/// The file name of the socket of an instance. It is short, since the path of a socket is.
#[must_use]
pub fn node_socket(instance: &str) -> String {
    hex::encode(&Sha256::digest(instance)[..6])
}

/// The path of a socket until it listens, so that nobody finds it before.
pub(crate) fn unfinished(socket: &Path) -> PathBuf {
    socket.with_extension(UNFINISHED)
}

/// Whether the paths of the sockets of nodes, beside this one, are short enough for the system.
#[must_use]
pub fn has_room(socket: &Path) -> bool {
    unfinished(&nodes_folder(socket).join(node_socket(""))).as_os_str().len() <= LONGEST_PATH
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

    /// Homes have files in these forms: commands read them of servers of any version.
    #[test]
    fn the_form_of_the_state_stays() {
        let form = r#"{"pid":7,"version":"0.1.0","socket":"/run/micro.sock","api":"127.0.0.1:8080","proxy":"127.0.0.1:8081","network":"127.0.0.1:8443","also":["[::1]:8080"],"grace":10000,"arguments":["--isolated"]}"#;
        let state: State = serde_json::from_str(form).unwrap();
        assert_eq!(serde_json::to_string(&state).unwrap(), form);
        let older = r#"{"pid":7,"version":"0.1.0","socket":"/s","api":"a","proxy":"p","network":"n"}"#;
        let older: State = serde_json::from_str(older).unwrap();
        assert_eq!((older.grace, older.also.len(), older.troubles.len()), (0, 0, 0));
    }

    #[test]
    fn a_namespace_knows_every_user_or_one_user_stands_for_the_others() {
        for (map, whole) in [
            ("         0          0 4294967295\n", true),
            ("0 1000 1\n", false),
            ("0 100000 65536\n", false),
            ("0 0 65534\n65534 65534 4294901761\n", true),
            ("", false),
        ] {
            assert_eq!(is_whole(map), whole, "{map:?}");
        }
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
