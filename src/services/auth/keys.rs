//! The keys that tokens are signed with: one that signs, and those it replaced, which still verify
//! until the last token they signed has expired. Public ones are told to anyone, to verify a
//! token without asking (RFC 7517, RFC 8037).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use anyhow::{Context as _, anyhow};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ED25519_PUBLIC_KEY_LEN, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::life::{MAX_LIFE, now};
use crate::private;

/// The key that signs, in its folder (PKCS #8).
const SIGNING: &str = "signing-key.der";
/// The key that successors of refresh tokens are made with; rotation leaves it as it is, since
/// those tokens outlive the keys.
const REFRESH: &str = "refresh-key";
/// Files of keys that were replaced: `retired-<kid>-<until>`, the public key alone.
const RETIRED: &str = "retired-";

/// A key that verifies.
struct Public {
    kid: String,
    bytes: Vec<u8>,
    key: DecodingKey,
    /// When it is forgotten, in Unix seconds; none for the key that signs.
    until: Option<u64>,
}

impl Public {
    fn new(bytes: &[u8], until: Option<u64>) -> Self {
        let kid = hex::encode(&Sha256::digest(bytes)[..8]);
        Self { kid, bytes: bytes.to_vec(), key: DecodingKey::from_ed_der(bytes), until }
    }

    fn counts(&self) -> bool {
        self.until.is_none_or(|until| until > now())
    }
}

/// The keys at one moment.
pub(super) struct Ring {
    /// The header of the tokens that it signs.
    pub(super) header: Header,
    /// The key that signs.
    pub(super) signing: EncodingKey,
    public: Vec<Public>,
    /// The key that signs, as it stands in its file.
    document: Vec<u8>,
}

impl Ring {
    fn new(document: &[u8], pair: &Ed25519KeyPair, retired: Vec<Public>) -> Self {
        let mut public = vec![Public::new(pair.public_key().as_ref(), None)];
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(public[0].kid.clone());
        // A crash within a rotation leaves the key that signs among those it has not replaced.
        public.extend(retired.into_iter().filter(|key| Some(&key.kid) != header.kid.as_ref()));
        Self { header, signing: EncodingKey::from_ed_der(document), public, document: document.to_vec() }
    }

    /// The key of this id, if tokens of it still count.
    pub(super) fn verifying(&self, kid: &str) -> Option<&DecodingKey> {
        self.public.iter().find(|key| key.kid == kid && key.counts()).map(|key| &key.key)
    }
}

/// The keys in their folder.
pub(super) struct Keys {
    folder: PathBuf,
    ring: RwLock<Arc<Ring>>,
    refresh: Vec<u8>,
    rotating: Mutex<()>,
}

impl Keys {
    /// Opens the keys in this folder, or makes one at the first start.
    ///
    /// # Errors
    /// They cannot be read or written, or are damaged; the text says what to do.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        private::create_lasting_folder(folder)?;
        let path = folder.join(SIGNING);
        let document = read_or(&path, || {
            let document = generate()?;
            private::write_file(&path, &document)?;
            Ok(document)
        })?;
        let pair = Ed25519KeyPair::from_pkcs8(&document).map_err(|error| damaged(&path, &error))?;
        let path = folder.join(REFRESH);
        let refresh = read_or(&path, || {
            let key = Sha256::digest([b"refresh", document.as_slice()].concat()).to_vec();
            private::write_file(&path, &key)?;
            Ok(key)
        })?;
        if refresh.len() != 32 {
            return Err(damaged(&path, &format_args!("it has {} bytes instead of 32", refresh.len())));
        }
        let ring = Ring::new(&document, &pair, retired(folder)?);
        Ok(Self {
            folder: folder.to_owned(),
            ring: RwLock::new(Arc::new(ring)),
            refresh,
            rotating: Mutex::default(),
        })
    }

    /// The keys as they are now.
    pub(super) fn ring(&self) -> Arc<Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A key that the successors of refresh tokens are made with; it is the same after a rotation.
    pub(super) fn refresh(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.refresh)
    }

    /// Makes a new key and signs with it from now on; the one before verifies as long as a token
    /// that it signed can live. Returns the new key's id, and when the old one is forgotten, in
    /// Unix seconds. Blocks on the disk.
    ///
    /// # Errors
    /// The keys cannot be written; then all is as it was.
    pub(super) fn rotate(&self) -> anyhow::Result<(String, u64)> {
        let _alone = self.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let document = generate()?;
        let pair = Ed25519KeyPair::from_pkcs8(&document).map_err(|e| anyhow!("the new key is none: {e}"))?;
        let until = now() + MAX_LIFE.as_secs();
        let ring = self.ring();
        let old = &ring.public[0];
        // The old key is safe as a retired one before another takes its place: whatever a crash
        // leaves, each token that was issued can be verified.
        private::write_file(&self.folder.join(retired_name(&old.kid, until)), &old.bytes)?;
        private::write_file(&self.folder.join(SIGNING), &document)?;
        let new = Ring::new(&document, &pair, retired(&self.folder)?);
        let kid = new.public[0].kid.clone();
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok((kid, until))
    }

    /// Writes the files again that were removed: without them all logins would end with the server.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn keep(&self) -> anyhow::Result<()> {
        let _alone = self.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = self.ring();
        let retired = ring
            .public
            .iter()
            .filter(|key| key.counts())
            .filter_map(|key| Some((self.folder.join(retired_name(&key.kid, key.until?)), &key.bytes)));
        let files = [(self.folder.join(SIGNING), &ring.document), (self.folder.join(REFRESH), &self.refresh)];
        for (path, content) in files.into_iter().chain(retired).filter(|(path, _)| !path.exists()) {
            // The folder of the server's own state is not made again: who removed it meant the home.
            private::folder_within(&self.folder)?;
            private::write_file(&path, content)?;
            tracing::warn!(path = %path.display(), "the file of a key was gone, and is written again");
        }
        Ok(())
    }

    /// The public keys, as a JSON web key set.
    pub(super) fn set(&self) -> Value {
        let ring = self.ring();
        let keys: Vec<Value> = ring
            .public
            .iter()
            .filter(|key| key.counts())
            .map(|key| {
                json!({
                    "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid,
                    "x": URL_SAFE_NO_PAD.encode(&key.bytes),
                })
            })
            .collect();
        json!({ "keys": keys })
    }
}

/// The file of a key that was replaced, and is forgotten then, in Unix seconds.
fn retired_name(kid: &str, until: u64) -> String {
    format!("{RETIRED}{kid}-{until}")
}

fn generate() -> anyhow::Result<Vec<u8>> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| anyhow!("the system has no random numbers for a new key"))?;
    Ok(document.as_ref().to_vec())
}

fn read_or(path: &Path, make: impl FnOnce() -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(content) => Ok(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(),
        Err(error) => Err(error).with_context(|| format!("cannot read the key `{}`", path.display())),
    }
}

fn damaged(path: &Path, why: &dyn std::fmt::Display) -> anyhow::Error {
    anyhow!(
        "the key `{0}` is damaged ({why}): put it back from a backup, or move it aside, which logs everybody out:\n  \
         mv '{0}' '{0}.damaged'",
        path.display()
    )
}

/// The keys that were replaced and still count; files of those that do not are removed.
fn retired(folder: &Path) -> anyhow::Result<Vec<Public>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((kid, until)) = name.strip_prefix(RETIRED).and_then(|name| name.split_once('-')) else {
            continue;
        };
        // What a write that was cut short left behind has another ending.
        let Ok(until) = until.parse() else { continue };
        if until <= now() {
            fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let key = Public::new(&bytes, Some(until));
        if bytes.len() != ED25519_PUBLIC_KEY_LEN || key.kid != kid {
            return Err(damaged(&path, &"it is not the key its name says"));
        }
        found.push(key);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_keeps_the_old_key_and_the_one_of_refresh_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path()).unwrap();
        let first = keys.ring().header.kid.clone().unwrap();
        let (second, until) = keys.rotate().unwrap();
        assert!(until >= now() + MAX_LIFE.as_secs() - 5);
        let again = Keys::open(folder.path()).unwrap();
        for keys in [&keys, &again] {
            let ring = keys.ring();
            assert_eq!(ring.header.kid.as_ref(), Some(&second));
            assert!(ring.verifying(&first).is_some() && ring.verifying(&second).is_some());
            assert!(ring.verifying("other").is_none());
        }
        let sign = |keys: &Keys| hmac::sign(&keys.refresh(), b"x").as_ref().to_vec();
        assert_eq!(sign(&keys), sign(&again));
        let kids: Vec<_> =
            again.set()["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
        assert_eq!(kids, [second, first]);
    }

    #[test]
    fn a_key_is_forgotten_when_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path()).unwrap();
        let old = keys.ring().header.kid.clone().unwrap();
        keys.rotate().unwrap();
        let file = || {
            let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
            names.into_iter().find(|path| path.to_string_lossy().contains(RETIRED))
        };
        fs::rename(file().unwrap(), folder.path().join(format!("{RETIRED}{old}-{}", now() - 1))).unwrap();
        assert!(Keys::open(folder.path()).unwrap().ring().verifying(&old).is_none());
        assert_eq!(file(), None);
    }

    /// What a crash leaves between the two files of a rotation.
    #[test]
    fn a_rotation_that_was_cut_short_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path()).unwrap();
        let signing = fs::read(folder.path().join(SIGNING)).unwrap();
        let kid = keys.ring().header.kid.clone().unwrap();
        keys.rotate().unwrap();
        fs::write(folder.path().join(SIGNING), signing).unwrap();
        fs::write(folder.path().join("retired-00.new-1234"), "half").unwrap();
        let again = Keys::open(folder.path()).unwrap();
        assert_eq!(again.ring().header.kid, Some(kid));
        assert_eq!(again.set()["keys"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_damaged_key_is_named_with_the_way_out() {
        for (name, content) in
            [(SIGNING, "garbage"), (REFRESH, "short"), ("retired-0011223344556677-99999999999", "x")]
        {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(name), content).unwrap();
            let error = Keys::open(folder.path()).err().unwrap().to_string();
            assert!(error.contains(&format!("{name}' '")) && error.contains("mv '"), "{error}");
        }
    }
}
