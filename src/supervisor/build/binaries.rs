//! Built programs, each in a file named by the SHA-256 of its content.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{private, supervisor::Error};

/// The folder of built programs.
#[derive(Clone, Debug)]
pub(in super::super) struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The program with this content hash, if it is kept. Text that is no hash finds nothing.
    pub(in super::super) fn find(&self, hash: &str) -> Option<PathBuf> {
        let is_hash = is_hash(hash);
        Some(self.folder.join(hash)).filter(|path| is_hash && path.is_file())
    }

    /// Deletes the programs whose hash is not wanted and that have been kept for `age` at least.
    pub(in super::super) fn retain(&self, age: Duration, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();

        let failed = |error| Error::file("tidy", &self.folder, error);
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let unwanted = entry.file_name().to_str().is_some_and(|hash| is_hash(hash) && !wanted(hash));
            if !unwanted {
                continue;
            }
            // The time of the last change to the file's entry: its content is older, from the build.
            let kept_at = u64::try_from(entry.metadata().map_err(failed)?.ctime()).unwrap_or_default();
            if now.saturating_sub(kept_at) >= age.as_secs() {
                fs::remove_file(entry.path()).map_err(|error| Error::file("delete", &entry.path(), error))?;
            }
        }
        Ok(())
    }
}

/// Whether this can be the name of a kept program.
pub(in super::super) fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Keeps a program and returns the hash of its content.
pub(super) fn store(binaries: &Binaries, executable: &Path) -> Result<String, Error> {
    let hash = content_hash(executable).map_err(|error| Error::file("read", executable, error))?;
    let kept = binaries.folder.join(&hash);
    if kept.is_file() {
        return Ok(hash);
    }
    let temporary = binaries.folder.join(format!(".{}", Uuid::now_v7()));
    keep(executable, &temporary, &kept).map_err(|error| {
        // What is left of it is in nobody's way.
        let _ = fs::remove_file(&temporary);
        Error::file("keep the program in", &kept, error)
    })?;
    Ok(hash)
}

/// Linkers replace their output and never write into it, so a link costs nothing and stays as it
/// is; across file systems it has to be a copy.
fn keep(executable: &Path, temporary: &Path, kept: &Path) -> io::Result<()> {
    if fs::hard_link(executable, temporary).is_err() {
        fs::copy(executable, temporary)?;
    }
    private::make_program(temporary)?;
    fs::rename(temporary, kept)
}

fn content_hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&block[..read]);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_is_found_by_its_hash_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("program");
        fs::write(&program, "abc").expect("written");
        let binaries = Binaries::new(folder.path());
        let hash = store(&binaries, &program).expect("kept");
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(store(&binaries, &program).expect("kept twice"), hash);
        let kept = binaries.find(&hash).expect("found");
        assert_eq!(fs::metadata(kept).expect("there").permissions().mode() & 0o777, 0o700);
        assert!(binaries.find("program").is_none());
        binaries.retain(Duration::from_mins(1), |_| false).expect("tidied");
        assert!(binaries.find(&hash).is_some());
        binaries.retain(Duration::ZERO, |_| false).expect("tidied");
        assert!(binaries.find(&hash).is_none() && program.exists());
    }
}
