//! Accounts of a test, and their tokens.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use micro_proto::auth::{
    Account, AuditRecord, AuditRequest, GenerateRequest, GenerateResponse, InspectRequest, InspectResponse,
    LocalRequest, RevokeTokenRequest, RevokeTokenResponse, RotateKeyRequest, RotateKeyResponse, Token,
    TokenRequest, TokenResponse,
};

use crate::{Context, Error, Result, Sender, blocks::auth::Auth, header::DEFAULT_NAMESPACE};

/// When tokens of a test end, in Unix seconds: never.
const NEVER: i64 = 1 << 40;

/// The accounts, by their tokens.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<String, Account>>);

impl Known {
    /// A token of a person.
    pub(super) fn user(&self, id: &str, scopes: Vec<String>) -> String {
        self.add(id, "user", scopes)
    }

    /// Whether a token is one of an account.
    pub(super) fn has(&self, token: &str) -> bool {
        self.lock().contains_key(token)
    }

    /// Forgets all tokens, as a server does that lost its keys.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn add(&self, id: &str, kind: &str, scopes: Vec<String>) -> String {
        let account = Account {
            id: id.to_owned(),
            name: id.to_owned(),
            r#type: kind.to_owned(),
            scopes,
            issuer: DEFAULT_NAMESPACE.to_owned(),
            ..Account::default()
        };
        let mut accounts = self.lock();
        // No two alike, also after some were forgotten.
        let token = format!("{id}-{:016x}", RandomState::new().build_hasher().finish());
        accounts.insert(token.clone(), account);
        token
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The building block of it.
pub(super) struct AuthFake(pub(super) std::sync::Arc<Known>);

fn absent<T>() -> Result<T> {
    Err(Error::not_implemented("a harness does not do this: test it with a server"))
}

impl Auth for AuthFake {
    async fn generate(&self, _: Context, _: GenerateRequest) -> Result<GenerateResponse> {
        absent()
    }

    async fn inspect(&self, _: Context, request: InspectRequest) -> Result<InspectResponse> {
        let account = self.0.lock().get(&request.token).cloned();
        let unknown = || Error::bad_request("the token is not valid");
        Ok(InspectResponse { account: Some(account.ok_or_else(unknown)?) })
    }

    async fn token(&self, _: Context, _: TokenRequest) -> Result<TokenResponse> {
        absent()
    }

    async fn local(&self, _: Context, request: LocalRequest) -> Result<TokenResponse> {
        let scopes = vec![format!("service:{}", request.service)];
        let access_token = self.0.add(&request.service, "service", scopes);
        Ok(TokenResponse { token: Some(Token { access_token, expiry: NEVER, ..Token::default() }) })
    }

    async fn revoke(&self, _: Context, _: RevokeTokenRequest) -> Result<RevokeTokenResponse> {
        absent()
    }

    async fn rotate_key(&self, _: Context, _: RotateKeyRequest) -> Result<RotateKeyResponse> {
        absent()
    }

    async fn audit(&self, _: Context, _: AuditRequest, _: Sender<AuditRecord>) -> Result<()> {
        absent()
    }
}
