//! Files and folders that only their owner may read or enter, whatever the user's mask says. All
//! that lies below the home is made here; what a user asked for elsewhere, such as a new project, is
//! not. Nothing here knows what is in them.

use std::{
    fs::{self, File, Metadata, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context as _;

/// The permissions of a folder, of a file, and of a program.
const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;
const PROGRAM: u32 = 0o700;
/// How long a lock that is held is tried again: a command that looks whether a server runs has it for
/// a moment.
const LOOKS: (u32, Duration) = (20, Duration::from_millis(5));

/// Creates a folder, and those above it that are missing.
///
/// # Errors
/// It cannot be created, or something else is in its place.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let missing: Vec<&Path> = path.ancestors().take_while(|above| !above.exists()).collect();
    fs::DirBuilder::new().recursive(true).mode(FOLDER).create(path)?;
    // A mask may have taken from the mode what its owner needs.
    missing.into_iter().try_for_each(|made| fs::set_permissions(made, Permissions::from_mode(FOLDER)))
}

/// As [`create_folder`]; it is there after a power failure, also where another process created it.
///
/// # Errors
/// It cannot be created; the text names it.
pub(crate) fn create_lasting_folder(path: &Path) -> anyhow::Result<()> {
    let create = || -> io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|above| !above.exists()).collect();
        create_folder(path)?;
        std::iter::once(path).chain(missing).try_for_each(sync_folder_of)
    };
    create().with_context(|| format!("cannot create the folder `{}`", path.display()))
}

/// Creates a folder again in the folder above it, which has to be there.
///
/// # Errors
/// It cannot be created; the text names it.
pub(crate) fn folder_within(path: &Path) -> anyhow::Result<()> {
    let created = match path.parent() {
        Some(above) => fs::metadata(above).and_then(|_| create_folder(path)),
        None => Ok(()),
    };
    created.with_context(|| format!("cannot create the folder `{}`", path.display()))
}

/// Takes from a folder of ours, if it is there, and from the files in it, what others may do there: all, or
/// only to write. Returns those in which others could write.
///
/// # Errors
/// Another user owns one of them, who could change what it says, or it cannot be changed.
pub(crate) fn secure(folder: &Path, others: Others) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => written.extend(close(folder, &found, others)?),
        Ok(_) => return Ok(written),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(written),
        Err(error) => return Err(error).with_context(|| format!("cannot look at `{}`", folder.display())),
    }
    let read = || format!("cannot read the folder `{}`", folder.display());
    for entry in fs::read_dir(folder).with_context(read)? {
        let path = entry.with_context(read)?.path();
        // What is only now gone is no danger; a link is judged by the folder that it is in.
        if let Some(found) = fs::symlink_metadata(&path).ok().filter(Metadata::is_file) {
            written.extend(close(&path, &found, others)?);
        }
    }
    Ok(written)
}

/// What others may do with what is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    Nothing,
    Read,
}

/// As [`secure`], of a folder that holds ours and may be shared otherwise, such as `/tmp`.
///
/// # Errors
/// As [`secure`].
pub(crate) fn secure_above(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    const STICKY: u32 = 0o1000;
    match fs::metadata(folder) {
        // In a sticky folder others cannot move what is ours.
        Ok(found) if found.permissions().mode() & STICKY != 0 => Ok(Vec::new()),
        // Root needs no permission.
        Ok(found) if found.uid() == 0 && found.permissions().mode() & 0o022 == 0 => Ok(Vec::new()),
        Ok(found) => Ok(close(folder, &found, Others::Read)?.into_iter().collect()),
        Err(_) => Ok(Vec::new()),
    }
}

fn close(path: &Path, found: &Metadata, others: Others) -> anyhow::Result<Option<PathBuf>> {
    let (own, uid, mode) = (rustix::process::getuid().as_raw(), found.uid(), found.permissions().mode());
    if uid != own {
        anyhow::bail!(
            "`{}` belongs to another user (uid {uid}), who could change it: move it away, or set MICRO_HOME to \
             a folder of yours",
            path.display()
        );
    }
    let too_much = match others {
        Others::Nothing => mode & 0o077,
        Others::Read => mode & 0o022,
    };
    if too_much == 0 {
        return Ok(None);
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 & !too_much))
        .with_context(|| format!("others may use `{}`, and that cannot be changed", path.display()))?;
    Ok((too_much & 0o022 != 0).then(|| path.to_owned()))
}

/// Makes a new file to write to, and to read from.
///
/// # Errors
/// It cannot be made, or something is in its place.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    opened(File::options().read(true).write(true).create_new(true).mode(FILE).open(path)?)
}

/// Opens a file to write to, and to read from; makes it if it is not there, and keeps what is in it.
///
/// # Errors
/// It can be neither opened nor made.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    opened(File::options().read(true).write(true).create(true).truncate(false).mode(FILE).open(path)?)
}

/// Opens a file to write to at its end, and to read from; makes it if it is not there.
///
/// # Errors
/// It can be neither opened nor made.
pub(crate) fn append_file(path: &Path) -> io::Result<File> {
    opened(File::options().read(true).append(true).create(true).mode(FILE).open(path)?)
}

/// The mode counts only for a new file, and only as far as the mask allows.
fn opened(file: File) -> io::Result<File> {
    if file.metadata()?.permissions().mode() & 0o777 != FILE {
        file.set_permissions(Permissions::from_mode(FILE))?;
    }
    Ok(file)
}

/// Tells a file from one that takes its place. It is not given again while the file is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of what a path leads to; none where that is nothing.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|found| Self::from(&found))
    }
}

impl From<&Metadata> for Identity {
    fn from(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// Whether an open file still has this name: it may have been removed or replaced.
pub(crate) fn is_named(file: &File, path: &Path) -> bool {
    file.metadata().is_ok_and(|found| Identity::of(path) == Some(Identity::from(&found)))
}

/// Takes the lock of a file, unless somebody else has it for longer than a look.
///
/// # Errors
/// As [`File::try_lock`].
pub(crate) fn try_lock(file: &File) -> Result<(), TryLockError> {
    let (mut looks, pause) = LOOKS;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if looks > 0 => {
                looks -= 1;
                thread::sleep(pause);
            }
            taken => return taken,
        }
    }
}

/// Makes a program that its owner alone may start.
///
/// # Errors
/// Its permissions cannot be changed.
pub(crate) fn make_program(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(PROGRAM))
}

/// Puts the name of a file or folder on disk.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(above) if above != Path::new("") => match File::open(above) {
            Ok(folder) => folder.sync_all(),
            // A folder that others made, which may be entered but not read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        },
        _ => Ok(()),
    }
}

/// Whether an error says that there is no room left on a disk.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Replaces a file, readable by its owner alone: readers see the old or the new content, and
/// after a power failure the file has one of the two.
///
/// # Errors
/// It cannot be written; the text names it.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let sync = |file: &File| file.sync_all();
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

fn replace(path: &Path, content: &[u8], sync: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    use io::Write as _;
    let temporary = path.with_extension(format!("new-{}", uuid::Uuid::new_v4().simple()));
    let mut file = create_file(&temporary)?;
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
    fn what_others_could_use_is_closed_and_what_they_own_refused() {
        let above = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let (folder, file) = (above.path().join("folder"), above.path().join("folder/file"));
        assert_eq!(secure(&folder, Others::Nothing).unwrap(), Vec::<PathBuf>::new());
        create_folder(&folder).unwrap();
        fs::write(&file, "x").unwrap();
        for (others, before, after) in [
            (Others::Nothing, (0o777, 0o666), (0o700, 0o600)),
            (Others::Nothing, (0o755, 0o644), (0o700, 0o600)),
            (Others::Read, (0o777, 0o666), (0o755, 0o644)),
            (Others::Read, (0o755, 0o644), (0o755, 0o644)),
        ] {
            set(&folder, before.0);
            set(&file, before.1);
            let told = if before.0 == 0o777 { vec![folder.clone(), file.clone()] } else { Vec::new() };
            assert_eq!(secure(&folder, others).unwrap(), told);
            assert_eq!((mode(&folder), mode(&file)), after);
        }
        set(above.path(), 0o1777);
        assert_eq!(secure_above(above.path()).unwrap(), Vec::<PathBuf>::new());
        set(above.path(), 0o777);
        assert_eq!((secure_above(above.path()).unwrap().len(), mode(above.path())), (1, 0o755));
        // Only root can give something away.
        for given in [&file, &folder] {
            if std::os::unix::fs::chown(given, Some(65534), None).is_ok() {
                let refused = secure(&folder, Others::Read).unwrap_err().to_string();
                assert!(refused.contains("another user (uid 65534)"), "{refused}");
            }
        }
    }

    #[test]
    fn a_written_file_is_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
