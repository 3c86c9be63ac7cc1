//! What the command line remembers: environments and namespaces in `config.toml`, logins in
//! `credentials.toml`, which only its owner may read.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::private;

/// The environment that is always there: the server of this home.
pub(crate) const LOCAL: &str = "local";

/// A place a server runs.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Environment {
    /// The `host:port` of its gRPC proxy; empty if none was given.
    #[serde(default)]
    pub(crate) address: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
}

/// `config.toml`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Config {
    /// The environment commands go to; none means `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) environment: Option<String>,
    /// The namespace chosen in each environment.
    #[serde(default)]
    pub(crate) namespaces: BTreeMap<String, String>,
    /// The environments beside `local`.
    #[serde(default)]
    pub(crate) environments: BTreeMap<String, Environment>,
}

/// A login, or the decision to be nobody.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Login {
    /// Logged in.
    Account {
        /// The id of the account.
        id: String,
        access_token: String,
        refresh_token: String,
        /// When the access token ends, in Unix seconds.
        expiry: u64,
    },
    /// Logged out: calls are anonymous.
    Anonymous,
}

/// Who calls in an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity<'a> {
    /// Who is logged in.
    Account { id: &'a str, access_token: &'a str },
    /// The owner of this home, at its own server.
    Owner,
    /// Calls are anonymous.
    Nobody,
}

/// `credentials.toml`: logins by environment and namespace.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Credentials {
    #[serde(default)]
    logins: BTreeMap<String, BTreeMap<String, Login>>,
}

impl Credentials {
    pub(crate) fn get(&self, environment: &str, namespace: &str) -> Option<&Login> {
        self.logins.get(environment)?.get(namespace)
    }

    /// Who calls there. Without a login that is the owner of this home at its own server, and nobody elsewhere.
    pub(crate) fn identity(&self, environment: &str, namespace: &str) -> Identity<'_> {
        match self.get(environment, namespace) {
            Some(Login::Account { id, access_token, .. }) => Identity::Account { id, access_token },
            None if environment == LOCAL => Identity::Owner,
            None | Some(Login::Anonymous) => Identity::Nobody,
        }
    }

    /// Forgets every login to an environment.
    pub(crate) fn forget(&mut self, environment: &str) {
        self.logins.remove(environment);
    }

    pub(crate) fn set(&mut self, environment: &str, namespace: &str, login: Option<Login>) {
        let namespaces = self.logins.entry(environment.to_owned()).or_default();
        match login {
            Some(login) => drop(namespaces.insert(namespace.to_owned(), login)),
            None => drop(namespaces.remove(namespace)),
        }
    }
}

/// A TOML file that several commands may change at once.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    path: PathBuf,
}

impl Stored {
    /// The configuration in this folder.
    pub(crate) fn config(folder: &Path) -> Self {
        Self { path: folder.join("config.toml") }
    }

    /// The logins in this folder.
    pub(crate) fn credentials(folder: &Path) -> Self {
        Self { path: folder.join("credentials.toml") }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Another file.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads it; what is not there is empty.
    ///
    /// # Errors
    /// It cannot be read or is damaged; the text names it and the way out.
    pub(crate) fn read<T: DeserializeOwned + Default>(&self) -> anyhow::Result<T> {
        let path = self.path.display();
        let damaged = |what: &str| {
            anyhow!(
                "`{path}` is damaged: {}\nmend it, or move it aside with `mv '{path}' '{path}.damaged'`",
                what.trim_end()
            )
        };
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::IsADirectory) =>
            {
                return Err(damaged(&error.to_string()));
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read `{path}`")),
        };
        toml::from_str(&text).map_err(|error| damaged(&error.to_string()))
    }

    /// Changes it, alone: others wait. Readers see the old or the new content.
    ///
    /// # Errors
    /// As [`Stored::read`], or it cannot be written.
    pub(crate) fn change<T, R>(&self, change: impl FnOnce(&mut T) -> anyhow::Result<R>) -> anyhow::Result<R>
    where
        T: DeserializeOwned + Serialize + Default + PartialEq + Clone,
    {
        self.lock()?.change(change)
    }

    /// Keeps others from changing it, for as long as what is returned lives.
    ///
    /// # Errors
    /// The lock file beside it cannot be opened.
    pub(crate) fn lock(&self) -> anyhow::Result<Locked> {
        if let Some(folder) = self.path.parent() {
            private::create_lasting_folder(folder)?;
        }
        let path = self.path.with_extension("lock");
        let file = private::open_file(&path).with_context(|| format!("cannot open `{}`", path.display()))?;
        file.lock().with_context(|| format!("cannot lock `{}`", path.display()))?;
        Ok(Locked { stored: self.clone(), _file: file })
    }
}

/// A stored file that nobody else changes meanwhile.
pub(crate) struct Locked {
    stored: Stored,
    _file: File,
}

impl Locked {
    /// As [`Stored::read`].
    ///
    /// # Errors
    /// As [`Stored::read`].
    pub(crate) fn read<T: DeserializeOwned + Default>(&self) -> anyhow::Result<T> {
        self.stored.read()
    }

    /// As [`Stored::change`].
    ///
    /// # Errors
    /// As [`Stored::change`].
    pub(crate) fn change<T, R>(&self, change: impl FnOnce(&mut T) -> anyhow::Result<R>) -> anyhow::Result<R>
    where
        T: DeserializeOwned + Serialize + Default + PartialEq + Clone,
    {
        let before: T = self.read()?;
        let mut after = before.clone();
        let result = change(&mut after)?;
        if after != before {
            private::write_file(&self.stored.path, toml::to_string_pretty(&after)?.as_bytes())?;
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_again_and_a_missing_file_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let stored = Stored::config(folder.path());
        assert_eq!(stored.read::<Config>().unwrap(), Config::default());
        stored
            .change(|config: &mut Config| {
                config.environment = Some("prod.eu".into());
                let environment = Environment { address: "h:1".into(), description: String::new() };
                config.environments.insert("prod.eu".into(), environment);
                Ok(())
            })
            .unwrap();
        assert_eq!(stored.read::<Config>().unwrap().environments["prod.eu"].address, "h:1");
    }

    /// Homes have files of these forms: they are read for ever, and written so.
    #[test]
    fn the_forms_of_the_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let config = "environment = \"prod\"\n\n[namespaces]\nlocal = \"shop\"\n\n[environments.prod]\n\
                      address = \"h:1\"\ndescription = \"in Europe\"\n";
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        let read: Config = Stored::config(folder.path()).read().unwrap();
        assert_eq!((read.environment.as_deref(), &*read.namespaces["local"]), (Some("prod"), "shop"));
        assert_eq!(read.environments["prod"].description, "in Europe");
        assert_eq!(toml::to_string(&read).unwrap(), config);

        let credentials = "[logins.local.shop]\nkind = \"account\"\nid = \"jane\"\naccess_token = \"a\"\n\
                           refresh_token = \"r\"\nexpiry = 1893456000\n\n[logins.prod.micro]\nkind = \"anonymous\"\n";
        std::fs::write(folder.path().join("credentials.toml"), credentials).unwrap();
        let read: Credentials = Stored::credentials(folder.path()).read().unwrap();
        assert_eq!(read.identity(LOCAL, "shop"), Identity::Account { id: "jane", access_token: "a" });
        assert_eq!(read.get("prod", "micro"), Some(&Login::Anonymous));
        assert_eq!(toml::to_string(&read).unwrap(), credentials);
    }

    #[test]
    fn a_damaged_file_is_named_with_the_way_out_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.toml"), "environment = ").unwrap();
        let stored = Stored::config(folder.path());
        let error = stored.change(|_: &mut Config| Ok(())).unwrap_err().to_string();
        assert!(error.contains("config.toml") && error.contains("mv '"), "{error}");
        assert_eq!(std::fs::read_to_string(folder.path().join("config.toml")).unwrap(), "environment = ");
    }

    #[test]
    fn changes_made_at_once_are_all_there() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for number in 0..20 {
                let stored = Stored::config(folder.path());
                scope.spawn(move || {
                    stored
                        .change(|config: &mut Config| {
                            config.namespaces.insert(number.to_string(), "x".into());
                            Ok(())
                        })
                        .unwrap();
                });
            }
        });
        assert_eq!(Stored::config(folder.path()).read::<Config>().unwrap().namespaces.len(), 20);
    }
}
