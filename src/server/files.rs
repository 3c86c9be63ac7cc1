//! What a running server leaves on disk for others to find it: the lock that one server holds, the
//! local socket, and `state.json`. All of it may be left by a server that was killed, and none of
//! that may stop the next start.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Seek as _, Write as _},
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use micro_sdk::local::{self, Distrust, State};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;

use crate::{paths::Home, private};

/// The folders that a server writes to, beside those of its building blocks.
pub(super) fn folders(home: &Home) -> [PathBuf; 5] {
    [
        home.server(),
        home.server().join("children"),
        home.data.join("logs"),
        home.data.join("binaries"),
        home.cache.join("targets"),
    ]
}

/// Held as long as the server lives; the system lets go of it however the server ends.
pub(crate) struct Lock {
    file: File,
    /// The folder is locked too: unlike a file in it, it cannot be removed and made again unnoticed.
    _folder: File,
}

impl Lock {
    /// Takes the lock file that is there now, where the one that is held was removed or replaced, and
    /// says so; writes the process anew where that was changed.
    ///
    /// # Errors
    /// As [`lock`].
    pub(super) fn keep(&mut self, home: &Home) -> anyhow::Result<()> {
        let path = lock_file(home);
        if !private::is_named(&self.file, &path) {
            // The one that is held is let go when the other is.
            self.file = match take(&path)? {
                Some(file) => file,
                None => bail!("`{}` is held by another process", path.display()),
            };
            tracing::warn!(path = %path.display(), "the lock file was gone, and is made again");
        } else if fs::read(&path).is_ok_and(|text| text != process().as_bytes()) {
            write_process(&mut self.file).with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        Ok(())
    }
}

/// Another server of this home runs.
#[derive(Debug, thiserror::Error)]
#[error("a server of this home runs already{}", .pid.map_or_else(String::new, |pid| format!(" (pid {pid})")))]
pub(crate) struct RunsAlready {
    /// Its process, if the lock file tells.
    pub(crate) pid: Option<u32>,
}

/// The server of a home that runs, told by its lock: neither a file nor an open socket proves that
/// a process is one.
pub(crate) fn holder(home: &Home) -> Option<RunsAlready> {
    let held = |path: &Path| {
        File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    };
    let (folder, path) = (home.server(), lock_file(home));
    (held(&path) || held(&folder)).then(|| RunsAlready { pid: pid_of(home) })
}

/// The process that the lock file tells, or else the one of the database, until a lock file that was
/// removed is there again.
fn pid_of(home: &Home) -> Option<u32> {
    let told = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse().ok();
    told(lock_file(home)).or_else(|| told(home.server().join("micro.db-lock")))
}

fn lock_file(home: &Home) -> PathBuf {
    home.server().join("lock")
}

/// Takes the lock of a home.
///
/// # Errors
/// [`RunsAlready`], or the lock file cannot be opened.
pub(crate) fn lock(home: &Home) -> anyhow::Result<Lock> {
    let folder = home.server();
    let opened = File::open(&folder).with_context(|| format!("cannot open `{}`", folder.display()))?;
    // Some network file systems lock no folders.
    if matches!(private::try_lock(&opened), Err(TryLockError::WouldBlock)) {
        bail!(RunsAlready { pid: pid_of(home) });
    }
    match take(&lock_file(home))? {
        Some(file) => Ok(Lock { file, _folder: opened }),
        None => bail!(RunsAlready { pid: pid_of(home) }),
    }
}

/// Takes the lock of a file, and writes this process into it; none if somebody else has it.
fn take(path: &Path) -> anyhow::Result<Option<File>> {
    let mut file = private::open_file(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    match private::try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock `{}`", path.display()));
        }
    }
    write_process(&mut file).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(Some(file))
}

/// What stands in the lock file.
fn process() -> String {
    format!("{}\n", std::process::id())
}

fn write_process(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(process().as_bytes())
}

/// Opens the local socket where clients look for it: in the user's runtime folder, or, where that is
/// not ours to take, in the home. The lock has to be held, so a socket that is there is a dead one.
///
/// # Errors
/// A folder of ours is open to others, something that is not a socket stands in its place, or
/// neither folder can be used.
pub(super) fn bind_local(home: &Home) -> anyhow::Result<Local> {
    let [usual, other] = home.sockets();
    let taken = match bind_socket(&usual) {
        Ok(local) => return Ok(local),
        Err(Unusable::Ours(error)) => return Err(error),
        Err(Unusable::Taken(error)) => error,
    };
    match bind_socket(&other) {
        Ok(local) => {
            tracing::warn!(
                reason = format!("{taken:#}"), socket = %other.display(),
                "the local socket is not in its usual place"
            );
            Ok(local)
        }
        Err(Unusable::Ours(error) | Unusable::Taken(error)) => Err(error.context(format!(
            "there is no place for the local socket ({taken:#}): set XDG_RUNTIME_DIR to a folder of yours with \
             a short path, or MICRO_HOME to a home with one"
        ))),
    }
}

/// The sockets of a server, and the folder for those of its services.
#[derive(Debug)]
pub(super) struct Local {
    /// Who comes by it is the owner of the home.
    pub(super) owners: UnixListener,
    /// For services: who comes by it without a token is nobody.
    pub(super) services: UnixListener,
    /// Where the owner's socket is.
    pub(super) socket: PathBuf,
    /// The folder for the sockets of services.
    pub(super) nodes: PathBuf,
}

/// Why a local socket cannot be opened.
enum Unusable {
    /// Another user, or something else, has the place.
    Taken(anyhow::Error),
    /// Something of this user's that has to be mended.
    Ours(anyhow::Error),
}

fn bind_socket(path: &Path) -> Result<Local, Unusable> {
    prepare(path)?;
    let open = || -> anyhow::Result<Local> {
        let nodes = local::nodes_folder(path);
        local::private_folder(&nodes).context("no place for the sockets of services")?;
        Ok(Local {
            owners: replace_socket(path)?,
            services: replace_socket(&local::services_socket(path))?,
            socket: path.to_owned(),
            nodes,
        })
    };
    open().map_err(Unusable::Taken)
}

/// Opens a socket of a server that runs, where its file is gone or another is in its place.
///
/// # Errors
/// As [`bind_local`].
pub(super) fn bind_again(path: &Path) -> anyhow::Result<UnixListener> {
    prepare(path).map_err(|(Unusable::Ours(error) | Unusable::Taken(error))| error)?;
    replace_socket(path)
}

/// Makes sure that a local socket may be opened there: its folder is there, and this user's alone.
fn prepare(path: &Path) -> Result<(), Unusable> {
    if !local::has_room(path) {
        let text = format!("paths of sockets beside `{}` are longer than the system allows", path.display());
        return Err(Unusable::Taken(anyhow::Error::msg(text)));
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let own = rustix::process::getuid().as_raw();
    let made = private::create_lasting_folder(folder);
    match local::check_folder(folder, own) {
        Ok(()) => {}
        Err(mine @ (Distrust::Open(_) | Distrust::NoFolder(_))) => {
            return Err(Unusable::Ours(anyhow::Error::new(mine).context("no place for the local socket")));
        }
        Err(distrust @ Distrust::Foreign { .. }) => return Err(Unusable::Taken(distrust.into())),
        Err(unknown) => return Err(Unusable::Taken(made.err().unwrap_or_else(|| unknown.into()))),
    }
    Ok(())
}

fn replace_socket(path: &Path) -> anyhow::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            fs::remove_file(path)
                .with_context(|| format!("cannot remove the old socket `{}`", path.display()))?;
        }
        Ok(_) => bail!(
            "`{0}` is in the place of the local socket and is not one: remove it with `rm -r {0}`",
            path.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot look at `{}`", path.display())),
    }
    let open = || -> io::Result<UnixListener> {
        let listener = UnixListener::bind(path)?;
        // Whatever the user's mask says; its folder is closed to others already.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    open().with_context(|| format!("cannot open the local socket `{}`", path.display()))
}

/// How a server was started last, for the next one to be like it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Start {
    /// Its options.
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    /// Where its doors were: the HTTP API, the gRPC proxy, the network.
    #[serde(default)]
    pub(super) doors: Vec<String>,
}

fn start_file(home: &Home) -> PathBuf {
    home.server().join("start.json")
}

/// How the server of a home was started last, if that is known.
pub(crate) fn remembered_start(home: &Home) -> Option<Start> {
    serde_json::from_slice(&fs::read(start_file(home)).ok()?).ok()
}

/// Notes how this server was started.
///
/// # Errors
/// The file cannot be written.
pub(super) fn remember_start(home: &Home, start: &Start) -> anyhow::Result<()> {
    private::write_file(&start_file(home), &serde_json::to_vec_pretty(start)?)
}

/// Forgets how the server of a home was started.
///
/// # Errors
/// The file cannot be removed.
pub(crate) fn forget_start(home: &Home) -> anyhow::Result<()> {
    let path = start_file(home);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// Tells where the server is, unless that is told already.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_state(home: &Home, state: &State) -> anyhow::Result<()> {
    let (path, text) = (local::file(&home.data), serde_json::to_vec_pretty(state)?);
    if fs::read(&path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    private::write_file(&path, &text)
}

/// Refuses a database that is gone, or lost all it had: it is new only where no server has run
/// before, which the keys beside it tell.
///
/// # Errors
/// The text says what to do.
pub(super) fn check_database(home: &Home) -> anyhow::Result<()> {
    let path = home.server().join("micro.db");
    let keys = home.server().join("keys");
    let lost = match fs::metadata(&path) {
        Ok(file) if file.len() > 0 => return Ok(()),
        Ok(_) => "is empty",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "is gone",
        // Opening it fails with the reason.
        Err(_) => return Ok(()),
    };
    let logged = fs::metadata(home.server().join("micro.db-wal")).is_ok_and(|file| file.len() > 0);
    if !logged && keys.join("signing-key.der").exists() {
        bail!(
            "the database `{}` {lost}, but a server has used it: put it back from a backup; to begin with \
             nothing, move the keys of what it held aside too:\n  mv '{1}' '{1}.old'",
            path.display(),
            keys.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn home(folder: &Path) -> Home {
        let home =
            Home { config: folder.join("config"), data: folder.join("data"), cache: folder.join("cache") };
        private::create_lasting_folder(&home.server()).unwrap();
        home
    }

    #[test]
    fn a_second_server_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(folder.path());
        let held = lock(&home).unwrap();
        let refused = lock(&home).err().unwrap().downcast::<RunsAlready>().unwrap();
        assert_eq!(refused.pid, Some(std::process::id()));
        drop(held);
        lock(&home).unwrap();
    }

    #[test]
    fn a_lock_file_with_garbage_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(folder.path());
        fs::write(home.server().join("lock"), "999999999999 garbage").unwrap();
        lock(&home).unwrap();
    }

    fn open(path: &Path) -> anyhow::Result<Local> {
        bind_socket(path).map_err(|unusable| match unusable {
            Unusable::Ours(error) | Unusable::Taken(error) => error,
        })
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("private/a.sock");
        drop(open(&path).unwrap());
        let local = open(&path).unwrap();
        for socket in [&path, &local::services_socket(&path)] {
            assert_eq!(fs::metadata(socket).unwrap().mode() & 0o777, 0o600);
        }
        drop(local);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("is not one"));
        fs::remove_file(&path).unwrap();
        let target = folder.path().join("target");
        fs::write(&target, "mine").unwrap();
        symlink(&target, &path).unwrap();
        assert!(open(&path).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"mine");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(open(&path).is_err());
    }

    #[tokio::test]
    async fn a_folder_that_others_may_enter_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(format!("{:#}", super::tests::open(&open.join("a.sock")).unwrap_err()).contains("chmod 700"));
    }
}
