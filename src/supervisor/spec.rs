//! What a service is and how it is to run, as its owner wishes it.
//!
//! Names, sources and environments only: how they become processes stands in the modules beside.

use std::{fmt, fmt::Write as _, path::PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The longest file name part made from a name; a longer one is cut and told apart by a hash.
const LONGEST_NAME: usize = 100;

/// Which service: its namespace, its name and its version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id {
    /// The namespace the service belongs to.
    pub(crate) namespace: String,
    /// The name of the service.
    pub(crate) name: String,
    /// The version; several of one service may run side by side.
    pub(crate) version: String,
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}@{}", self.namespace, self.name, self.version)
    }
}

impl Id {
    /// The folder of this service below another one: `<namespace>/<name>@<version>`.
    pub(super) fn folder(&self) -> PathBuf {
        let leaf = format!("{}@{}", file_name(&self.name), file_name(&self.version));
        PathBuf::from(file_name(&self.namespace)).join(leaf)
    }

    /// One file name of its own for this service when it is built from `folder`.
    pub(super) fn target(&self, folder: &std::path::Path) -> String {
        let mut place = hex::encode(Sha256::digest(folder.as_os_str().as_encoded_bytes()));
        place.truncate(16);
        self.target_start() + &place
    }

    /// What the names of all folders begin with that it is built in.
    pub(super) fn target_start(&self) -> String {
        let [namespace, name, version] =
            [&self.namespace, &self.name, &self.version].map(|part| file_name(part));
        format!("{namespace}+{name}@{version}-")
    }
}

/// How a service is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Which service.
    pub(crate) id: Id,
    /// Where its program comes from.
    pub(crate) source: Source,
    /// The user's variables for its processes.
    pub(crate) environment: Vec<(String, String)>,
    /// What the account of its processes may do: for the owner, which makes that account.
    pub(crate) scopes: Vec<String>,
    /// How many processes run it; 0 stops them all and keeps the service.
    pub(crate) instances: u32,
    /// What a build, and a command, takes from the environment of the command that asked for it.
    pub(crate) build_environment: BuildEnvironment,
    /// When a process of it is started again.
    pub(crate) restart: RestartPolicy,
    /// The content hash of the last good build, which [`Change::Start`](super::Change::Start) runs
    /// without building.
    pub(crate) binary: Option<String>,
}

/// When a process is started again. It is stored, and asked for, by its [word](Self::word).
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RestartPolicy {
    /// When it ended, or was ready once and has not answered for a while.
    #[default]
    Unhealthy,
    /// When it ended.
    Ended,
    /// Never.
    Never,
}

impl RestartPolicy {
    /// Reads the word of a request; none for one that is not known.
    pub(crate) fn read(text: &str) -> Option<Self> {
        [Self::Unhealthy, Self::Ended, Self::Never].into_iter().find(|known| known.word() == text)
    }

    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Unhealthy => "unhealthy",
            Self::Ended => "ended",
            Self::Never => "never",
        }
    }

    /// Whether it is the one that nobody has to ask for.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the program of a service comes from. It is stored: what is added here has a default, and no name
/// changes.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Source {
    /// A cargo project, built in place.
    Cargo {
        /// The folder of the package; it is the working folder of the process too.
        folder: PathBuf,
        /// What the built program is called with.
        arguments: Vec<String>,
        /// Which program of the package runs; none for the only one, or the one `cargo run` chooses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        program: Option<String>,
    },
    /// A program that is there already.
    Command {
        /// The working folder of the process.
        folder: PathBuf,
        /// The program and its arguments.
        command: Vec<String>,
    },
}

impl Source {
    /// The working folder of the process.
    pub(crate) fn folder(&self) -> &PathBuf {
        match self {
            Self::Cargo { folder, .. } | Self::Command { folder, .. } => folder,
        }
    }
}

/// What is taken from the environment of the command that asked for the service. What is absent is a
/// default: the server's `PATH` with `~/.cargo/bin` before it, and the usual folders of the tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BuildEnvironment {
    /// `PATH`.
    pub(crate) path: Option<String>,
    /// `CARGO_HOME`.
    pub(crate) cargo_home: Option<String>,
    /// `RUSTUP_HOME`.
    pub(crate) rustup_home: Option<String>,
}

/// Variables of the server that a child may see.
const PASSED: [&str; 3] = ["HOME", "LANG", "TMPDIR"];

impl BuildEnvironment {
    /// The variables every child begins with: `PATH`, `HOME`, `LANG` and `TMPDIR`.
    pub(super) fn base(&self) -> Vec<(String, String)> {
        let passed = PASSED.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
        std::iter::once(("PATH".to_owned(), self.path())).chain(passed).collect()
    }

    /// The variables a build begins with: the base, and the folders of the tools.
    pub(super) fn of_build(&self) -> Vec<(String, String)> {
        let mut variables = self.base();
        for (name, given) in [("CARGO_HOME", &self.cargo_home), ("RUSTUP_HOME", &self.rustup_home)] {
            if let Some(value) = given.clone().or_else(|| std::env::var(name).ok()) {
                variables.push((name.to_owned(), value));
            }
        }
        variables
    }

    fn path(&self) -> String {
        if let Some(path) = &self.path {
            return path.clone();
        }
        let inherited = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
        match std::env::var("HOME") {
            Ok(home) => format!("{home}/.cargo/bin:{inherited}"),
            Err(_) => inherited,
        }
    }
}

/// A name as one part of a path: no separator, never `.` or `..`, different for different names.
fn file_name(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for (place, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => safe.push(char::from(byte)),
            b'.' if place > 0 => safe.push('.'),
            _ => write!(safe, "%{byte:02x}").expect("a string takes all that is written to it"),
        }
    }
    if safe.is_empty() {
        return "%".to_owned();
    }
    if safe.len() > LONGEST_NAME {
        let whole = hex::encode(Sha256::digest(name.as_bytes()));
        safe.truncate(LONGEST_NAME - 17);
        safe = format!("{safe}%{}", &whole[..16]);
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_single_parts_of_a_path() {
        assert_eq!(file_name("helloworld"), "helloworld");
        assert_eq!(file_name("../up"), "%2e.%2fup");
        assert_eq!(file_name(".."), "%2e.");
        assert_eq!(file_name(""), "%");
        assert_eq!(file_name("v1.2/ü"), "v1.2%2f%c3%bc");
    }

    #[test]
    fn long_names_stay_short_and_apart() {
        let [one, two] = ["1", "2"].map(|end| file_name(&format!("{}{end}", "x".repeat(300))));
        assert!(one.len() <= LONGEST_NAME && two.len() <= LONGEST_NAME);
        assert_ne!(one, two);
    }

    #[test]
    fn a_given_path_replaces_the_default() {
        let given = BuildEnvironment { path: Some("/given".to_owned()), ..BuildEnvironment::default() };
        assert!(given.base().contains(&("PATH".to_owned(), "/given".to_owned())));
    }
}
