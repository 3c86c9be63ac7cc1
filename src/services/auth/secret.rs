//! How secrets are kept: what a person chose by argon2id, what this server generated, 256 random
//! bits, by SHA-256.

use argon2::{
    Algorithm, Argon2, Block, Params, PasswordHash, Version,
    password_hash::{
        self,
        phc::{Output, ParamsString, Salt},
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use micro_sdk::{Error, Result};
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};

use super::turns::Turn;

/// The longest secret, in bytes.
pub(super) const MAX_LENGTH: usize = 1024;
const GENERATED: &str = "sha256:";

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

/// Whether a secret is the generated one that is stored. Both are hashes, so where they differ tells
/// nothing about the secret.
pub(super) fn is_generated(secret: &str, stored: &str) -> bool {
    stored.starts_with(GENERATED) && digest(secret) == stored
}

/// The stored form of a chosen secret, of [`MAX_LENGTH`] bytes at most.
///
/// # Errors
/// 500 when the system has no random numbers.
pub(super) async fn hash(turn: Turn, chosen: String) -> Result<String> {
    let mut salt = [0; argon2::RECOMMENDED_SALT_LEN];
    SystemRandom::new().fill(&mut salt).map_err(|_| Error::internal("the system has no random numbers"))?;
    let compute = move |memory: &mut Vec<Block>| {
        let salt = Salt::new(&salt)?;
        let output = argon2id(chosen.as_bytes(), &salt, Version::default(), Params::default(), memory)?;
        Ok::<_, password_hash::Error>(phc(salt, output)?.to_string())
    };
    let (hashed, _) = in_turn(turn, compute).await?;
    hashed.map_err(|e| Error::internal(format!("cannot hash a secret: {e}")))
}

/// Whether a secret is the stored one; without a stored one it never is. What is wrong takes as long
/// to find out whether there is an account or not, and whatever its secret is made of. The turn comes
/// back, for who has to note the outcome before others begin.
///
/// # Errors
/// 500 when the computation cannot be made.
pub(super) async fn matches(turn: Turn, secret: String, stored: Option<&str>) -> Result<(bool, Turn)> {
    // One that was generated was compared before; the time is taken all the same.
    let chosen = stored.filter(|stored| !stored.starts_with(GENERATED)).map(str::to_owned);
    let compute = move |memory: &mut Vec<Block>| {
        let against = match &chosen {
            Some(stored) => PasswordHash::new(stored)?,
            None => nobodys()?,
        };
        let (Some(salt), Some(expected)) = (against.salt, against.hash) else { return Ok(false) };
        let version = against.version.map(Version::try_from).transpose()?.unwrap_or_default();
        let computed = argon2id(secret.as_bytes(), &salt, version, Params::try_from(&against)?, memory)?;
        // Outputs are compared in constant time.
        Ok::<_, password_hash::Error>(computed == expected && chosen.is_some())
    };
    let (same, turn) = in_turn(turn, compute).await?;
    let damaged = |e| Error::internal(format!("the stored form of a secret is damaged: {e}"));
    Ok((same.map_err(damaged)?, turn))
}

/// A form of a secret that no account has.
fn nobodys() -> password_hash::Result<PasswordHash> {
    phc(Salt::new(&[0; argon2::RECOMMENDED_SALT_LEN])?, Output::new(&[0; Params::DEFAULT_OUTPUT_LEN])?)
}

fn phc(salt: Salt, output: Output) -> password_hash::Result<PasswordHash> {
    Ok(PasswordHash {
        algorithm: argon2::ARGON2ID_IDENT,
        version: Some(Version::default().into()),
        params: ParamsString::try_from(&Params::default())?,
        salt: Some(salt),
        hash: Some(output),
    })
}

fn argon2id(
    secret: &[u8],
    salt: &Salt,
    version: Version,
    params: Params,
    memory: &mut Vec<Block>,
) -> password_hash::Result<Output> {
    memory.resize(memory.len().max(params.block_count()), Block::new());
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    Argon2::new(Algorithm::Argon2id, version, params).hash_password_into_with_memory(
        secret,
        salt,
        &mut output,
        memory,
    )?;
    Ok(Output::new(&output)?)
}

/// Computes away from the threads that serve calls, also when nobody waits for it any more.
async fn in_turn<T: Send + 'static>(
    mut turn: Turn,
    compute: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
) -> Result<(T, Turn)> {
    let computed = tokio::task::spawn_blocking(move || (compute(&mut turn.memory), turn));
    computed.await.map_err(|e| Error::internal(e.to_string()))
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

    use super::{
        super::{place::Place, turns::Turns},
        *,
    };

    async fn matches(secret: &str, stored: Option<&str>) -> bool {
        let turn = Turns::default().take(Place::Owner).await.unwrap();
        super::matches(turn, secret.to_owned(), stored).await.unwrap().0
    }

    #[tokio::test]
    async fn only_the_right_secret_matches() {
        let turns = Turns::default();
        let chosen = hash(turns.take(Place::Owner).await.unwrap(), "micro".into()).await.unwrap();
        let generated = generate().unwrap();
        for (secret, expected) in [("micro", true), ("Micro", false), ("", false), (chosen.as_str(), false)] {
            assert_eq!(matches(secret, Some(&chosen)).await, expected, "{secret}");
            assert!(!matches(secret, None).await);
        }
        assert!(is_generated(&generated, &digest(&generated)));
        assert!(!is_generated("x", &digest(&generated)));
        assert!(!is_generated(&chosen, &chosen));
        assert!(!matches("x", Some(&digest(&generated))).await);
        assert!(chosen.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{chosen}");
    }

    #[tokio::test]
    async fn the_stored_form_is_that_of_the_standard() {
        let theirs = Argon2::default().hash_password(b"micro").unwrap().to_string();
        assert!(matches("micro", Some(&theirs)).await);
        assert!(!matches("other", Some(&theirs)).await);
        let ours = hash(Turns::default().take(Place::Owner).await.unwrap(), "micro".into()).await.unwrap();
        Argon2::default().verify_password(b"micro", ours.as_str()).unwrap();
    }
}
