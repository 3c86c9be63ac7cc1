//! How a service learns that the owner of the home calls it, who has no token: by one that proves who it is and
//! lets nobody call.

use std::sync::PoisonError;

use http::HeaderValue;
use micro_sdk::{Error, Result};

use super::{Auth, Caller, life::now, revocation::Ties, token::Use};

/// The life of what introduces the owner to a service, in seconds; one that has less than half of it left is
/// replaced.
const INTRODUCTION_LIFE: i64 = 600;
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
    /// What tells a service that the owner of the home calls it, who has no token: good for
    /// `Auth.Inspect`, and for no call, so that a service cannot act as the owner with it.
    ///
    /// # Errors
    /// 500 when it cannot be signed.
    pub(crate) fn introduce_owner(&self) -> Result<HeaderValue> {
        let owner = Caller::owner();
        let account = owner.account()?;
        // As of a login: a new password ends it.
        let generation = self.0.revocations.floor(&account.issuer, &account.id);
        let mut kept = self.0.introduction.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.as_ref().filter(|known| known.is_good(generation)) {
            return Ok(known.header.clone());
        }
        let ties = Ties { generation, session: String::new() };
        let issued = self.0.tokens.issue_for(account, &ties, INTRODUCTION_LIFE, Use::Introduce)?;
        let header = HeaderValue::try_from(format!("Bearer {}", issued.text))
            .map_err(|_| Error::internal("a token cannot stand in a header"))?;
        *kept = Some(Introduction { header: header.clone(), generation, expiry: issued.expiry });
        Ok(header)
    }
}
