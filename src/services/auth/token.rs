//! Access tokens: JSON web tokens signed with Ed25519 by a key of this server (RFC 8037), checked
//! once and then remembered until they expire.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex, Once, PoisonError},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::ErrorKind,
};
use lru::LruCache;
use micro_sdk::{Error, Result, proto::auth::Account};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use signature::{Signer, Verifier};

use super::{
    keys::Keys,
    life::{MAX_LIFE, now},
    revocation::Ties,
};

/// How long a token lives that is asked for without a time.
const DEFAULT_LIFE: Duration = Duration::from_mins(15);
/// A longer text is no token of ours and is not looked at.
const MAX_LENGTH: usize = 8 << 10;
/// How many verified tokens are remembered.
const MOST_VERIFIED: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not zero");
/// How many bytes they have in all.
const VERIFIED_BYTES: usize = 4 << 20;

/// The claims of Micro v4's tokens, in its order, and what ties a token to its login.
#[derive(Deserialize, Serialize)]
struct Claims {
    r#type: String,
    scopes: Vec<String>,
    #[serde(default)]
    metadata: std::collections::BTreeMap<String, String>,
    name: String,
    exp: u64,
    iss: String,
    sub: String,
    #[serde(default, rename = "gen")]
    generation: u64,
    #[serde(default, rename = "sid", skip_serializing_if = "String::is_empty")]
    session: String,
    /// The service it introduces its account to, `namespace/name`; empty for a token to call with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    to: String,
}

/// Who a token belongs to, and what its worth depends on.
#[derive(Debug, PartialEq)]
pub(crate) struct Proof {
    pub(crate) account: Arc<Account>,
    pub(super) ties: Ties,
    /// The service it introduces the account to, and is good for nothing else; empty for a token to call with.
    pub(super) to: String,
}

/// An issued token.
pub(crate) struct Issued {
    pub(crate) text: String,
    /// Unix seconds.
    pub(crate) created: u64,
    /// Unix seconds.
    pub(crate) expiry: u64,
}

/// The tokens that were verified last.
struct Verified {
    /// By their SHA-256: the account each proves, until when in Unix seconds, and its length.
    tokens: LruCache<[u8; 32], (Arc<Proof>, u64, usize)>,
    bytes: usize,
}

impl Verified {
    fn new() -> Self {
        Self { tokens: LruCache::new(MOST_VERIFIED), bytes: 0 }
    }

    fn put(&mut self, digest: [u8; 32], proof: Arc<Proof>, until: u64, length: usize) {
        self.bytes += length;
        // The one before it, or the one that was used longest ago.
        if let Some((_, (.., length))) = self.tokens.push(digest, (proof, until, length)) {
            self.bytes -= length;
        }
        while self.bytes > VERIFIED_BYTES
            && let Some((_, (.., length))) = self.tokens.pop_lru()
        {
            self.bytes -= length;
        }
    }
}

/// Issues and verifies tokens.
pub(crate) struct Tokens {
    pub(super) keys: Keys,
    validation: Validation,
    verified: Mutex<Verified>,
}

impl Tokens {
    /// Opens the keys in this folder, or makes one at the first start.
    ///
    /// # Errors
    /// As [`Keys::open`].
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        install_provider();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        Ok(Self { keys: Keys::open(folder)?, validation, verified: Mutex::new(Verified::new()) })
    }

    /// A token for this account. `life` is in seconds; 0 means 15 minutes, 24 hours is the most.
    ///
    /// # Errors
    /// 500 when it cannot be signed.
    pub(crate) fn issue(&self, account: &Account, ties: &Ties, life: i64) -> Result<Issued> {
        self.issue_to(account, ties, life, "")
    }

    /// As [`Tokens::issue`], to introduce the account to a service, `namespace/name`.
    ///
    /// # Errors
    /// As [`Tokens::issue`].
    pub(super) fn issue_to(&self, account: &Account, ties: &Ties, life: i64, to: &str) -> Result<Issued> {
        let life = match u64::try_from(life) {
            Ok(0) | Err(_) => DEFAULT_LIFE,
            Ok(seconds) => Duration::from_secs(seconds).min(MAX_LIFE),
        };
        let created = now();
        let expiry = created + life.as_secs();
        let claims = Claims {
            r#type: account.r#type.clone(),
            scopes: account.scopes.clone(),
            metadata: account.metadata.clone().into_iter().collect(),
            name: account.name.clone(),
            exp: expiry,
            iss: account.issuer.clone(),
            sub: account.id.clone(),
            generation: ties.generation,
            session: ties.session.clone(),
            to: to.to_owned(),
        };
        let ring = self.keys.ring();
        let text = jsonwebtoken::encode(&ring.header, &claims, &ring.signing)
            .map_err(|e| Error::internal(format!("cannot sign a token: {e}")))?;
        Ok(Issued { text, created, expiry })
    }

    /// What a token proves, unless it was revoked.
    ///
    /// # Errors
    /// 401, with the same words for whatever is wrong with it.
    pub(crate) fn verify(&self, text: &str) -> Result<Arc<Proof>> {
        if text.len() > MAX_LENGTH {
            return Err(invalid());
        }
        let digest: [u8; 32] = Sha256::digest(text).into();
        let known = self.verified().tokens.get(&digest).cloned();
        if let Some((proof, expiry, _)) = known {
            return if expiry > now() { Ok(proof) } else { Err(invalid()) };
        }
        let header = jsonwebtoken::decode_header(text).map_err(|_| invalid())?;
        // All that is issued here has the same header but for the key: nothing in another one is worth
        // understanding.
        let ring = self.keys.ring();
        let key = header.kid.as_deref().and_then(|kid| ring.verifying(kid)).ok_or_else(invalid)?;
        if (Header { kid: header.kid.clone(), ..ring.header.clone() }) != header {
            return Err(invalid());
        }
        let claims: Claims = jsonwebtoken::decode(text, key, &self.validation).map_err(|_| invalid())?.claims;
        // The library takes a token in the very second in which it ends; RFC 7519, section 4.1.4, does not.
        if claims.exp <= now() {
            return Err(invalid());
        }
        let account = Arc::new(Account {
            id: claims.sub,
            r#type: claims.r#type,
            metadata: claims.metadata.into_iter().collect(),
            scopes: claims.scopes,
            issuer: claims.iss,
            name: claims.name,
            secret: String::new(),
        });
        let ties = Ties { generation: claims.generation, session: claims.session };
        let proof = Arc::new(Proof { account, ties, to: claims.to });
        self.verified().put(digest, proof.clone(), claims.exp, text.len());
        Ok(proof)
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of every token that proves nothing.
pub(super) fn invalid() -> Error {
    Error::unauthorized("the token is not valid or has expired: log in again")
}

/// jsonwebtoken over ring, with Ed25519 and nothing else, so that no other algorithm can be
/// confused with it.
fn install_provider() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| match algorithm {
            Algorithm::EdDSA => {
                let pair =
                    Ed25519KeyPair::from_pkcs8(key.as_bytes()).map_err(|_| ErrorKind::InvalidEddsaKey)?;
                Ok(Box::new(Signing(pair)) as Box<dyn JwtSigner>)
            }
            _ => Err(ErrorKind::InvalidAlgorithm.into()),
        },
        verifier_factory: |algorithm, key| match algorithm {
            Algorithm::EdDSA => {
                Ok(Box::new(Verifying(key.try_get_as_bytes()?.to_vec())) as Box<dyn JwtVerifier>)
            }
            _ => Err(ErrorKind::InvalidAlgorithm.into()),
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The only failure is that one is installed already.
        let _ = PROVIDER.install_default();
    });
}

struct Signing(Ed25519KeyPair);

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct Verifying(Vec<u8>);

impl Verifier<Vec<u8>> for Verifying {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verifying {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn account() -> Account {
        Account {
            id: "jane".into(),
            name: "Jane".into(),
            r#type: "user".into(),
            issuer: "shop".into(),
            ..Account::default()
        }
    }

    #[test]
    fn verified_tokens_are_remembered_by_their_bytes() {
        let proof =
            Arc::new(Proof { account: Arc::new(account()), ties: Ties::default(), to: String::new() });
        let mut verified = Verified::new();
        for number in 0..2000_u32 {
            let digest: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
            verified.put(digest, proof.clone(), 0, MAX_LENGTH);
            // The same one again counts once.
            verified.put(digest, proof.clone(), 0, MAX_LENGTH);
        }
        assert_eq!((verified.tokens.len(), verified.bytes), (VERIFIED_BYTES / MAX_LENGTH, VERIFIED_BYTES));
        for number in 0..10_000_u32 {
            verified.put(Sha256::digest(number.to_be_bytes()).into(), proof.clone(), 0, 100);
        }
        assert_eq!((verified.tokens.len(), verified.bytes), (MOST_VERIFIED.get(), MOST_VERIFIED.get() * 100));
    }

    #[test]
    fn a_token_proves_its_account_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let issued = Tokens::open(folder.path()).unwrap().issue(&account(), &Ties::default(), 60).unwrap();
        assert_eq!(issued.text.matches('.').count(), 2);
        let again = Tokens::open(folder.path()).unwrap();
        for _ in 0..2 {
            assert_eq!(*again.verify(&issued.text).unwrap().account, account());
        }
    }

    #[test]
    fn the_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        Tokens::open(folder.path()).unwrap();
        let mode = fs::metadata(folder.path().join("signing-key.der")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_token_outlives_the_rotation_of_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(folder.path()).unwrap();
        let issue = || tokens.issue(&account(), &Ties::default(), 60).unwrap().text;
        let old = issue();
        tokens.keys.rotate().unwrap();
        let new = issue();
        assert_ne!(old.split('.').next(), new.split('.').next());
        for tokens in [&tokens, &Tokens::open(folder.path()).unwrap()] {
            assert!(tokens.verify(&old).is_ok() && tokens.verify(&new).is_ok());
        }
    }

    #[test]
    fn an_expired_token_is_refused_though_it_was_verified_before() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(folder.path()).unwrap();
        let text = tokens.issue(&account(), &Ties::default(), 60).unwrap().text;
        tokens.verify(&text).unwrap();
        for (_, value) in &mut tokens.verified().tokens {
            value.1 = now() - 1;
        }
        assert!(tokens.verify(&text).is_err());
    }

    #[test]
    fn the_life_of_a_token_has_a_default_and_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(folder.path()).unwrap();
        for (asked, granted) in [(0, 900), (-5, 900), (60, 60), (i64::MAX, 86_400)] {
            let issued = tokens.issue(&account(), &Ties::default(), asked).unwrap();
            assert_eq!(issued.expiry - issued.created, granted);
        }
    }
}
