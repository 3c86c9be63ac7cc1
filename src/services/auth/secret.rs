//! How secrets are kept: what a person chose by argon2id, in a bounded pool since it costs 19 MiB
//! and 20 ms on purpose; what this server generated, 256 random bits, by SHA-256.

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use micro_sdk::{Error, Result};
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

/// How many argon2 computations run at once.
static POOL: Semaphore = Semaphore::const_new(2);
/// The longest secret, in bytes.
const MAX_LENGTH: usize = 1024;
const GENERATED: &str = "sha256:";

/// 256 random bits as text.
///
/// # Errors
/// 500 when the system has no random numbers.
pub(super) fn generate() -> Result<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("the system has no random numbers"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The stored form of a generated secret.
pub(super) fn digest(generated: &str) -> String {
    let hash = Sha256::digest(generated);
    format!("{GENERATED}{}", URL_SAFE_NO_PAD.encode(hash))
}

/// The stored form of a chosen secret.
///
/// # Errors
/// 400 for one that is too long.
pub(super) async fn hash(chosen: String) -> Result<String> {
    if chosen.len() > MAX_LENGTH {
        return Err(Error::bad_request(format!("a secret is at most {MAX_LENGTH} bytes long")));
    }
    in_pool(move || Argon2::default().hash_password(chosen.as_bytes()).map(|hash| hash.to_string()))
        .await?
        .map_err(|e| Error::internal(format!("cannot hash a secret: {e}")))
}

/// Whether a secret is the stored one.
///
/// # Errors
/// 500 when the stored form is damaged.
pub(super) async fn matches(secret: &str, stored: &str) -> Result<bool> {
    if stored.starts_with(GENERATED) {
        // Both are hashes, so where they differ tells nothing about the secret.
        return Ok(digest(secret) == stored);
    }
    if secret.len() > MAX_LENGTH {
        return Ok(false);
    }
    let (secret, stored) = (secret.to_owned(), stored.to_owned());
    in_pool(move || Argon2::default().verify_password(secret.as_bytes(), stored.as_str()).is_ok()).await
}

async fn in_pool<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let _permit = POOL.acquire().await.map_err(|e| Error::internal(e.to_string()))?;
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_secret_matches() {
        let chosen = hash("micro".into()).await.unwrap();
        let generated = generate().unwrap();
        for (secret, stored, expected) in [
            ("micro", &chosen, true),
            ("Micro", &chosen, false),
            ("", &chosen, false),
            (generated.as_str(), &digest(&generated), true),
            ("x", &digest(&generated), false),
        ] {
            assert_eq!(matches(secret, stored).await.unwrap(), expected, "{secret}");
        }
        assert!(chosen.starts_with("$argon2id$"));
    }

    #[tokio::test]
    async fn a_secret_longer_than_the_limit_is_refused_not_cut() {
        assert_eq!(hash("x".repeat(1025)).await.unwrap_err().code, 400);
        let longest = "x".repeat(1024);
        let stored = hash(longest.clone()).await.unwrap();
        assert!(matches(&longest, &stored).await.unwrap());
        assert!(!matches(&longest[1..], &stored).await.unwrap());
    }
}
