//! Where the server of this user's home says how it can be reached: `state.json` in its data
//! folder. Read by the command line and by services that are started by hand.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

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
