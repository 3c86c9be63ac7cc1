//! What must hold of any file that the command line keeps.

use std::fs;

use serde::{Serialize, de::DeserializeOwned};
use tempfile::TempDir;

use super::{Config, Credentials, Stored};

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a temporary folder");
}

/// Any bytes as `config.toml` and as `credentials.toml`: it is refused with its path, or what is in it is
/// the same once it was written again.
pub(crate) fn files(input: &[u8]) {
    FOLDER.with(|folder| {
        same::<Config>(&Stored::config(folder.path()), input);
        same::<Credentials>(&Stored::credentials(folder.path()), input);
    });
}

fn same<T: DeserializeOwned + Serialize + Default + PartialEq + std::fmt::Debug>(
    stored: &Stored,
    content: &[u8],
) {
    fs::write(stored.path(), content).expect("a new file");
    match stored.read::<T>() {
        Err(error) => {
            let text = format!("{error:#}");
            assert!(text.contains(&*stored.path().to_string_lossy()), "{text}");
        }
        Ok(value) => {
            let text = toml::to_string_pretty(&value).expect("what was read can be written");
            fs::write(stored.path(), text).expect("a new file");
            assert_eq!(stored.read::<T>().ok().as_ref(), Some(&value));
        }
    }
}
