//! How a service learns that the owner of the home calls it, who has no token: by one that proves who it is and
//! lets nobody call.

use std::sync::PoisonError;

use http::HeaderValue;
use micro_sdk::{Error, Result};

use super::{Auth, Caller, life::now, revocation::Ties};

/// The life of what introduces the owner to a service, in seconds; one that has less than half of it left is
/// replaced.
const INTRODUCTION_LIFE: i64 = 600;
/// For how many services it is kept.
const MOST_KEPT: usize = 1024;

/// What tells a service that the owner calls.
pub(super) struct Introduction {
    header: HeaderValue,
    generation: u64,
    /// Unix seconds.
    expiry: u64,
}

impl Introduction {
    /// Whether a call that begins now can still be introduced with it.
    fn is_good(&self, generation: u64) -> bool {
        self.generation == generation && self.expiry > now() + INTRODUCTION_LIFE.unsigned_abs() / 2
    }
}

impl Auth {
    /// What tells this service that the owner of the home calls it, who has no token: it can ask
    /// `Auth.Inspect` whose it is. Nobody can call with it, and no other service is told anything.
    ///
    /// # Errors
    /// 500 when it cannot be signed.
    pub(crate) fn introduce_owner(&self, namespace: &str, service: &str) -> Result<HeaderValue> {
        let owner = Caller::owner();
        let account = owner.account()?;
        let to = format!("{namespace}/{service}");
        // As of a login: a new password ends it.
        let generation = self.0.revocations.floor(&account.issuer, &account.id);
        let mut kept = self.0.introductions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(&to).filter(|known| known.is_good(generation)) {
            return Ok(known.header.clone());
        }
        let ties = Ties { generation, session: String::new() };
        let issued = self.0.tokens.issue_to(account, &ties, INTRODUCTION_LIFE, &to)?;
        let header = HeaderValue::try_from(format!("Bearer {}", issued.text))
            .map_err(|_| Error::internal("a token cannot stand in a header"))?;
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(to, Introduction { header: header.clone(), generation, expiry: issued.expiry });
        Ok(header)
    }
}
