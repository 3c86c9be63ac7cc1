//! The files of one log.
//!
//! Each file has a generation, counted from 1. The newest is `current.log`; when it is full it is
//! renamed to `<generation>.log` and never changes again, so a reader that knows a generation finds
//! it under one of the two names.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

const CURRENT: &str = "current.log";

/// The folder of one log.
#[derive(Clone, Debug)]
pub(in super::super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(in super::super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Whether anything was ever written.
    pub(in super::super) fn exist(&self) -> bool {
        self.current().exists() || self.full().is_ok_and(|full| !full.is_empty())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn current(&self) -> PathBuf {
        self.folder.join(CURRENT)
    }

    /// The generations of the full files, oldest first.
    pub(super) fn full(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut generations = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number: Option<u64> = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
            generations.extend(number);
        }
        generations.sort_unstable();
        Ok(generations)
    }

    /// The generation of `current.log`.
    pub(super) fn newest(&self) -> io::Result<u64> {
        Ok(self.full()?.last().map_or(1, |last| last + 1))
    }

    /// Opens the file of a generation for reading; none if it was deleted or not begun.
    pub(super) fn open(&self, generation: u64) -> io::Result<Option<File>> {
        loop {
            if let Some(full) = found(File::open(self.full_path(generation)))? {
                return Ok(Some(full));
            }
            let current = found(File::open(self.current()))?;
            // It may have been renamed since the first look: then what was opened is a later one.
            match self.newest()? {
                newest if newest == generation => return Ok(current),
                _ if self.full_path(generation).exists() => {}
                _ => return Ok(None),
            }
        }
    }

    /// Makes the current file a full one and deletes all full ones but the last `keep`.
    pub(super) fn rotate(&self, keep: usize) -> io::Result<()> {
        fs::rename(self.current(), self.full_path(self.newest()?))?;
        let full = self.full()?;
        for generation in &full[..full.len().saturating_sub(keep.max(1))] {
            fs::remove_file(self.full_path(*generation))?;
        }
        Ok(())
    }

    fn full_path(&self, generation: u64) -> PathBuf {
        self.folder.join(format!("{generation:08}.log"))
    }
}

fn found(opened: io::Result<File>) -> io::Result<Option<File>> {
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
