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
use tokio::sync::{OnceCell, Semaphore};

/// How many argon2 computations run at once.
static POOL: Semaphore = Semaphore::const_new(2);
/// The longest secret, in bytes.
const MAX_LENGTH: usize = 1024;
const GENERATED: &str = "sha256:";
/// The hash of a secret that no account has.
static NOBODYS: OnceCell<String> = OnceCell::const_new();

/// 256 random bits as text.
///
/// # Errors
/// 500 when the system has no random numbers.
pub(super) fn generate() -> Result<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("the system has no random numbers"))?;
    Ok(encode(&bytes))
}

/// Bytes as the text of a secret.
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
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

/// Whether a secret is the stored one; without a stored one it never is. What is wrong takes as long
/// to find out whether there is an account or not, and whatever its secret is made of.
///
/// # Errors
/// 500 when the computation cannot be made.
pub(super) async fn matches(secret: &str, stored: Option<&str>) -> Result<bool> {
    let generated = stored.filter(|stored| stored.starts_with(GENERATED));
    // Both are hashes, so where they differ tells nothing about the secret.
    if generated.is_some_and(|stored| digest(secret) == stored) {
        return Ok(true);
    }
    // Longer ones were never taken, so what remains of one is as good as any for taking the time.
    let fits = secret.len() <= MAX_LENGTH;
    let given = if fits { secret.as_bytes().to_vec() } else { Vec::new() };
    let chosen = stored.filter(|_| generated.is_none()).map(str::to_owned);
    let real = fits && chosen.is_some();
    let against = match chosen {
        Some(stored) => stored,
        None => NOBODYS.get_or_try_init(|| hash(GENERATED.to_owned())).await?.clone(),
    };
    let same = in_pool(move || Argon2::default().verify_password(&given, against.as_str()).is_ok()).await?;
    Ok(same && real)
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
            assert_eq!(matches(secret, Some(stored)).await.unwrap(), expected, "{secret}");
            assert!(!matches(secret, None).await.unwrap());
        }
        assert!(!matches(GENERATED, None).await.unwrap());
        assert!(chosen.starts_with("$argon2id$"));
    }

    #[tokio::test]
    async fn a_secret_longer_than_the_limit_is_refused_not_cut() {
        assert_eq!(hash("x".repeat(1025)).await.unwrap_err().code, 400);
        let longest = "x".repeat(1024);
        let stored = hash(longest.clone()).await.unwrap();
        assert!(matches(&longest, Some(&stored)).await.unwrap());
        assert!(!matches(&longest[1..], Some(&stored)).await.unwrap());
        let empty = hash(String::new()).await.unwrap();
        assert!(!matches(&"x".repeat(1025), Some(&empty)).await.unwrap());
    }
}
