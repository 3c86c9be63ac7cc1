//! What services leave on disk: logs, folders of builds, and built programs. Nothing of a service that
//! is wanted, or that has not ended yet, is touched.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Error, Folders, Id, build::is_hash};

/// What a service left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leftover {
    /// `logs`, `build` or `program`.
    pub(crate) kind: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// What is not left over.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) services: HashSet<Id>,
    /// The content hashes of programs.
    pub(super) programs: HashSet<String>,
}

/// Whose leftovers are looked for.
pub(super) enum Of<'a> {
    /// Those of all services that are not wanted. Programs younger than this are kept: they may
    /// just be about to be started.
    All(Duration),
    /// Those of one service, which had these programs.
    One(&'a Id, &'a HashSet<String>),
}

/// Finds what no wanted service needs.
pub(super) fn find(folders: &Folders, wanted: &Wanted, of: &Of<'_>) -> Result<Vec<Leftover>, Error> {
    let mut found = Vec::new();
    let mut add = |kind, path: PathBuf| {
        let bytes = size(&path).map_err(|error| Error::file("measure", &path, error))?;
        found.push(Leftover { kind, path, bytes });
        Ok::<_, Error>(())
    };
    let logs: HashSet<PathBuf> = wanted.services.iter().map(Id::folder).collect();
    for namespace in children(&folders.logs)?.filter(|path| path.is_dir()) {
        for path in children(&namespace)?.filter(|path| path.is_dir()) {
            let own = path.strip_prefix(&folders.logs).unwrap_or(&path);
            let is_left = match of {
                Of::One(id, _) => own == id.folder(),
                Of::All(_) => !logs.contains(own),
            };
            if is_left {
                add("logs", path)?;
            }
        }
    }
    let builds: Vec<String> = wanted.services.iter().map(Id::target_start).collect();
    let begins = |name: &str, start: &String| name.strip_prefix(start.as_str()).is_some_and(is_place);
    for path in children(&folders.targets)?.filter(|path| path.is_dir()) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let is_left = match of {
            Of::One(id, _) => begins(name, &id.target_start()),
            Of::All(_) => !builds.iter().any(|start| begins(name, start)),
        };
        if is_left {
            add("build", path)?;
        }
    }
    for path in children(&folders.binaries)?.filter(|path| path.is_file()) {
        let Some(hash) = path.file_name().and_then(|name| name.to_str()).filter(|name| is_hash(name)) else {
            continue;
        };
        let is_left = match of {
            Of::One(_, own) => own.contains(hash),
            Of::All(age) => is_older(&path, *age),
        };
        if is_left && !wanted.programs.contains(hash) {
            add("program", path)?;
        }
    }
    found.sort_by(|one, other| (one.kind, &one.path).cmp(&(other.kind, &other.path)));
    Ok(found)
}

/// Deletes what was found.
pub(super) fn delete(leftovers: &[Leftover]) -> Result<(), Error> {
    for Leftover { path, .. } in leftovers {
        let deleted = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match deleted {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("delete", path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a program was put where it is at least so long ago: its content is older, from the build.
fn is_older(path: &Path, age: Duration) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let since = path.metadata().ok().and_then(|metadata| u64::try_from(metadata.ctime()).ok());
    since.is_some_and(|since| now.saturating_sub(since) >= age.as_secs())
}

/// What follows the name in the folder of a build: a hash of the source folder.
fn is_place(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn children(folder: &Path) -> Result<impl Iterator<Item = PathBuf> + use<>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::file("list", folder, error)),
    };
    Ok(entries.into_iter().flatten().flatten().map(|entry| entry.path()))
}

/// Bytes on disk of a file, or of all that lies in a folder. Links are not followed.
fn size(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            // A build or a rotation goes on meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path)?.flatten().map(|entry| entry.path()));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, version: &str) -> Id {
        Id { namespace: "micro".to_owned(), name: name.to_owned(), version: version.to_owned() }
    }

    #[test]
    fn what_is_wanted_is_never_left_over() {
        let home = tempfile::tempdir().unwrap();
        let place = |name: &str| home.path().join(name);
        let folders = Folders {
            binaries: place("binaries"),
            targets: place("targets"),
            logs: place("logs"),
            children: place("children"),
        };
        let (old, kept) = ("a".repeat(64), "b".repeat(64));
        let source = Path::new("/src");
        for id in [id("a", "latest"), id("a", "latest-2"), id("gone", "latest")] {
            fs::create_dir_all(folders.logs.join(id.folder())).unwrap();
            fs::create_dir_all(folders.targets.join(id.target(source))).unwrap();
        }
        fs::write(folders.logs.join("server.log"), "").unwrap();
        fs::create_dir_all(&folders.binaries).unwrap();
        for name in [&old, &kept, &"no hash".to_owned()] {
            fs::write(folders.binaries.join(name), "12").unwrap();
        }
        let wanted =
            Wanted { services: [id("a", "latest"), id("a", "latest-2")].into(), programs: [kept].into() };
        let found = find(&folders, &wanted, &Of::All(Duration::ZERO)).unwrap();
        let gone = id("gone", "latest");
        let expected = [
            ("build", folders.targets.join(gone.target(source))),
            ("logs", folders.logs.join(gone.folder())),
            ("program", folders.binaries.join(&old)),
        ];
        let seen: Vec<_> = found.iter().map(|left| (left.kind, left.path.clone())).collect();
        assert_eq!(seen, expected);
        assert!(found[2].bytes > 0);

        // Of one service, whose name begins as that of another does.
        let one = id("a", "latest");
        let of_one = find(&folders, &wanted, &Of::One(&one, &[old, "c".repeat(64)].into())).unwrap();
        assert_eq!(of_one.iter().map(|left| left.kind).collect::<Vec<_>>(), ["build", "logs", "program"]);
        assert_eq!(find(&folders, &wanted, &Of::All(Duration::from_hours(1))).unwrap().len(), 2);
        delete(&found).unwrap();
        assert_eq!(find(&folders, &wanted, &Of::All(Duration::ZERO)).unwrap(), []);
        delete(&found).unwrap();
    }
}
