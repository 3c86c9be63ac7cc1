//! How what is secret is kept, values of the config and environments of services: encrypted by XChaCha20-Poly1305, with a key of this server that is
//! not in the database. Namespace and path are bound in, so that one value cannot stand in for
//! another. Who may see a secret is decided above.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    XChaCha20Poly1305,
    aead::{Aead as _, KeyInit as _, Payload},
};
use micro_sdk::{Error, Result};
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};

use crate::{error::of_file, private};

/// The variable that brings a key.
pub(crate) const VARIABLE: &str = "MICRO_CONFIG_SECRET_KEY";
/// Bytes of a nonce, which stands before what it encrypted.
const NONCE: usize = 24;

/// Encrypts and decrypts with the key of this server, made when the first secret is set.
pub(crate) struct Secrets {
    file: PathBuf,
    key: OnceLock<Key>,
    making: Mutex<()>,
    /// What stands in the file, if the key stands there.
    written: OnceLock<String>,
}

struct Key {
    /// Tells keys apart without telling them.
    id: String,
    cipher: XChaCha20Poly1305,
}

impl Key {
    fn new(bytes: [u8; 32]) -> Self {
        let id = hex::encode(&Sha256::digest(bytes)[..4]);
        Self { id, cipher: XChaCha20Poly1305::new(&bytes.into()) }
    }

    /// A key as it is written down: 32 bytes in base64.
    fn read(text: &[u8]) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim_ascii()).ok()?;
        Some(Self::new(bytes.try_into().ok()?))
    }
}

impl Secrets {
    /// Takes the key that was given, else the one in this folder, if there is one yet.
    ///
    /// # Errors
    /// It cannot be read, or is no key; the text says what to do.
    pub(crate) fn open(folder: &Path, given: Option<OsString>) -> anyhow::Result<Self> {
        let file = folder.join("config.key");
        let keys = Self { file, key: OnceLock::new(), making: Mutex::default(), written: OnceLock::new() };
        let shown = keys.file.display();
        let key = match given.filter(|text| !text.is_empty()) {
            Some(text) => Some(Key::read(text.as_encoded_bytes()).with_context(|| {
                format!("{VARIABLE} is no key: it is 32 bytes in base64; `openssl rand -base64 32` makes one")
            })?),
            None => match fs::read(&keys.file) {
                Ok(text) => match Key::read(&text) {
                    Some(key) => {
                        drop(keys.written.set(String::from_utf8_lossy(&text).into_owned()));
                        Some(key)
                    }
                    None => bail!(
                        "the key `{shown}` is damaged: put it back from a backup, or move it aside, which \
                         loses the secrets of the config:\n  mv '{shown}' '{shown}.damaged'"
                    ),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error).with_context(|| format!("cannot read the key `{shown}`")),
            },
        };
        if let Some(key) = key {
            // A fresh cell takes what it is given.
            drop(keys.key.set(key));
        }
        Ok(keys)
    }

    /// Encrypts the value of a path.
    ///
    /// # Errors
    /// 500 when there is no key yet and none can be made.
    pub(crate) fn seal(&self, namespace: &str, path: &str, text: &str) -> Result<String> {
        let key = self.key()?;
        let mut nonce = [0; NONCE];
        fill(&mut nonce)?;
        let payload = Payload { msg: text.as_bytes(), aad: &place(namespace, path) };
        let sealed = key.cipher.encrypt(&nonce.into(), payload);
        let sealed = sealed.map_err(|_| Error::internal(format!("cannot encrypt the value of `{path}`")))?;
        Ok(format!("{}.{}", key.id, STANDARD.encode([&nonce[..], &sealed].concat())))
    }

    /// Decrypts the value of a path.
    ///
    /// # Errors
    /// 500 when it is damaged, or was encrypted for another path or with another key.
    pub(crate) fn open_sealed(&self, namespace: &str, path: &str, sealed: &str) -> Result<String> {
        let failed = |why: &str| {
            tracing::error!(namespace, path, why, "a secret cannot be read");
            Error::internal(format!(
                "the secret `{path}` of namespace {namespace} {why}: put back what was lost, or set it again \
                 with `micro config set {path} VALUE --secret`"
            ))
        };
        let Some((id, text)) = sealed.split_once('.') else { return Err(failed("is damaged")) };
        let Some(key) = self.key.get().filter(|key| key.id == id) else {
            let file = self.file.display();
            return Err(failed(&format!(
                "was encrypted with another key than the one in use (of {VARIABLE}, else of `{file}`)"
            )));
        };
        let bytes = STANDARD.decode(text).unwrap_or_default();
        let plain = bytes.split_first_chunk::<NONCE>().and_then(|(nonce, sealed)| {
            let payload = Payload { msg: sealed, aad: &place(namespace, path) };
            key.cipher.decrypt(&(*nonce).into(), payload).ok()
        });
        plain.and_then(|plain| String::from_utf8(plain).ok()).ok_or_else(|| failed("is damaged"))
    }

    fn key(&self) -> Result<&Key> {
        let _one_at_a_time = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let mut bytes = [0; 32];
        fill(&mut bytes)?;
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let text = format!("{}\n", STANDARD.encode(bytes));
        private::create_lasting_folder(folder)
            .and_then(|()| private::write_file(&self.file, text.as_bytes()))
            .map_err(|error| of_file(&error.context("there is no key for secrets yet")))?;
        drop(self.written.set(text));
        Ok(self.key.get_or_init(|| Key::new(bytes)))
    }

    /// Writes the file of the key again if it was removed: without it the secrets would be lost with
    /// the server.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn keep_key(&self) -> anyhow::Result<()> {
        let Some(text) = self.written.get().filter(|_| !self.file.exists()) else { return Ok(()) };
        private::folder_within(self.file.parent().unwrap_or(Path::new(".")))?;
        private::write_file(&self.file, text.as_bytes())?;
        tracing::warn!(path = %self.file.display(), "the file of a key was gone, and is written again");
        Ok(())
    }
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| Error::internal("the system has no random numbers"))
}

/// What a value is bound to; neither part has a zero byte.
fn place(namespace: &str, path: &str) -> Vec<u8> {
    [namespace.as_bytes(), b"\0", path.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn keys(folder: &Path) -> Secrets {
        Secrets::open(folder, None).unwrap()
    }

    #[test]
    fn a_secret_is_read_again_also_after_a_restart_and_only_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let first = keys(folder.path());
        assert!(!first.file.exists(), "the key is made when it is needed");
        let sealed = first.seal("shop", "a.b", "\"hunter2\"").unwrap();
        assert!(!sealed.contains("hunter2"));
        assert_ne!(
            sealed,
            first.seal("shop", "a.b", "\"hunter2\"").unwrap(),
            "the same text looks different"
        );
        let again = keys(folder.path());
        assert_eq!(again.open_sealed("shop", "a.b", &sealed).unwrap(), "\"hunter2\"");
        for (namespace, path) in [("shop", "a.c"), ("other", "a.b"), ("shop", "a"), ("shop\0a", "b")] {
            let error = again.open_sealed(namespace, path, &sealed).unwrap_err();
            assert_eq!(error.code, 500);
        }
    }

    #[test]
    fn the_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        keys(folder.path()).seal("a", "b", "1").unwrap();
        let mode = fs::metadata(folder.path().join("config.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_secret_is_named_and_nothing_panics() {
        let folder = tempfile::tempdir().unwrap();
        let keys = keys(folder.path());
        let sealed = keys.seal("shop", "a.b", "1").unwrap();
        let mut damaged: Vec<String> = (0..sealed.len()).map(|at| sealed[..at].to_owned()).collect();
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            damaged.push(String::from_utf8(bytes).unwrap());
        }
        let id = sealed.split('.').next().unwrap();
        damaged.extend(["", ".", "ä.ß", &format!("{id}."), &format!("{id}.AAAA")].map(str::to_owned));
        for text in damaged {
            let error = keys.open_sealed("shop", "a.b", &text).unwrap_err();
            assert!(
                error.code == 500 && error.detail.contains("`a.b` of namespace shop"),
                "{text}: {error:?}"
            );
        }
    }

    #[test]
    fn a_key_that_is_given_wins_and_is_never_written() {
        let folder = tempfile::tempdir().unwrap();
        let given = || Some(STANDARD.encode([7; 32]).into());
        let sealed = Secrets::open(folder.path(), given()).unwrap().seal("a", "b", "1").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let own = keys(folder.path());
        let error = own.open_sealed("a", "b", &sealed).unwrap_err();
        assert!(error.detail.contains("another key") && error.detail.contains(VARIABLE), "{error}");
        own.seal("a", "b", "2").unwrap();
        let before = fs::read(&own.file).unwrap();
        let both = Secrets::open(folder.path(), given()).unwrap();
        assert_eq!(both.open_sealed("a", "b", &sealed).unwrap(), "1");
        both.seal("a", "b", "3").unwrap();
        assert_eq!(fs::read(&own.file).unwrap(), before);
        for bad in ["x", "AAAA", &STANDARD.encode([7; 31]), "\u{fffd}"] {
            let error = Secrets::open(folder.path(), Some(bad.into())).err().unwrap().to_string();
            assert!(error.contains("openssl rand") && !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn a_damaged_key_is_named_with_the_way_out_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for damaged in ["", "garbage", "QUJD\n", "ä"] {
            let file = folder.path().join("config.key");
            fs::write(&file, damaged).unwrap();
            let error = Secrets::open(folder.path(), None).err().unwrap().to_string();
            assert!(error.contains("config.key' '") && error.contains("mv '"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
        }
    }
}
