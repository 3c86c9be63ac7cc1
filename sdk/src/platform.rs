//! The server this service belongs to: the way there, and the service's own identity on it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use micro_proto::auth::{Account, InspectRequest, LocalRequest, Options, Token, TokenRequest};
use sha2::{Digest as _, Sha256};

use crate::{Channel, Client, Error, Result, blocks::auth::AuthClient, header};

/// The life of a token that is asked for, in seconds, and the variable that sets another.
pub(crate) const TOKEN_LIFE: (&str, u32) = ("MICRO_SERVICE_TOKEN_LIFE", 3600);
/// A token that ends sooner than this, or than a quarter of its life, is replaced before it is used.
const TOKEN_MARGIN: Duration = Duration::from_mins(1);
/// How long an answer of `Auth.Inspect` is believed.
const INSPECTED_LIFE: Duration = Duration::from_secs(30);
/// For how many tokens an answer is kept.
const MOST_INSPECTED: usize = 1024;

/// How a service proves who it is.
#[derive(Clone, Debug)]
pub(crate) enum Credentials {
    /// An account and its secret, handed over by the runtime.
    Secret { id: String, secret: String },
    /// Started by hand: the server's local socket gives out a token of the service's name.
    Local { service: String },
}

/// A handle on the server, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Platform(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    channel: Channel,
    namespace: String,
    credentials: Credentials,
    /// For how many seconds tokens are asked for.
    life: u32,
    token: Mutex<Option<Token>>,
    /// The accounts that tokens prove, by the SHA-256 of a token, since callers choose how long it is.
    accounts: Mutex<HashMap<[u8; 32], (Account, Instant)>>,
}

impl Platform {
    pub(crate) fn new(channel: Channel, namespace: String, credentials: Credentials, life: u32) -> Self {
        Self(Arc::new(Inner {
            channel,
            namespace,
            credentials,
            life,
            token: Mutex::default(),
            accounts: Mutex::default(),
        }))
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.0.channel
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The name this service has for the server.
    pub(crate) fn service(&self) -> &str {
        match &self.0.credentials {
            Credentials::Secret { id, .. } => id,
            Credentials::Local { service } => service,
        }
    }

    /// A client of a service of this namespace, with this service's identity.
    pub(crate) fn client(&self, service: &str) -> Client {
        let client = Client::new(self.0.channel.clone(), service).with_identity(self.clone());
        client.with_namespace(&self.0.namespace)
    }

    /// The token to call with.
    ///
    /// # Errors
    /// There is none: a call without one would be nobody's, and on the local socket the owner's.
    pub(crate) async fn token(&self) -> Result<String> {
        if let Some(token) = lock(&self.0.token).as_ref().filter(|token| lasts(token, self.0.life)) {
            return Ok(token.access_token.clone());
        }
        // A call asks for a token, which is a call: the cycle has to be boxed somewhere.
        let token = Box::pin(self.exchange()).await?;
        let text = token.access_token.clone();
        *lock(&self.0.token) = Some(token);
        Ok(text)
    }

    /// Forgets the token, so that the next call asks for a new one.
    pub(crate) fn forget_token(&self) {
        *lock(&self.0.token) = None;
    }

    async fn exchange(&self) -> Result<Token> {
        let auth = AuthClient::from(Client::new(self.0.channel.clone(), "auth"));
        let (namespace, token_expiry) = (self.0.namespace.clone(), self.0.life.into());
        let response = match &self.0.credentials {
            Credentials::Secret { id, secret } => {
                let request = TokenRequest {
                    id: id.clone(),
                    secret: secret.clone(),
                    token_expiry,
                    options: Some(Options { namespace }),
                    ..TokenRequest::default()
                };
                auth.token(request).await?
            }
            Credentials::Local { service } => {
                auth.local(LocalRequest { service: service.clone(), namespace, token_expiry }).await?
            }
        };
        let token = response.token.filter(|token| !token.access_token.is_empty());
        token.ok_or_else(|| Error::internal("the server answered without a token"))
    }

    /// Who a token belongs to, verified by the server.
    pub(crate) async fn inspect(&self, token: &str) -> Result<Account> {
        let digest = Sha256::digest(token).into();
        let known = lock(&self.0.accounts).get(&digest).filter(|(_, until)| *until > Instant::now()).cloned();
        if let Some((account, _)) = known {
            return Ok(account);
        }
        let auth = Client::new(self.0.channel.clone(), "auth").with_identity(self.clone());
        let auth = AuthClient::from(auth);
        let request = InspectRequest { token: token.to_owned(), options: None };
        let refused = |error: Error| match error.code {
            // The block answers so for what is no token; here it is the caller's.
            400 => Error::unauthorized(error.detail),
            _ => error,
        };
        let account = auth.inspect(request).await.map_err(refused)?.account.unwrap_or_default();
        let mut accounts = lock(&self.0.accounts);
        if accounts.len() >= MOST_INSPECTED {
            accounts.clear();
        }
        accounts.insert(digest, (account.clone(), Instant::now() + INSPECTED_LIFE));
        Ok(account)
    }
}

/// Whether a token, which was asked for with a life of so many seconds, can still be used.
fn lasts(token: &Token, life: u32) -> bool {
    let margin = TOKEN_MARGIN.min(Duration::from_secs(life.into()) / 4);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(token.expiry).is_ok_and(|expiry| Duration::from_secs(expiry) > now + margin)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is replaced whole, so a panic elsewhere cannot have torn it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The namespace this process was started in.
pub(crate) fn namespace() -> String {
    variable("MICRO_NAMESPACE").unwrap_or_else(|| header::DEFAULT_NAMESPACE.to_owned())
}

/// A number of seconds, by this variable or by default.
///
/// # Errors
/// The variable has something else.
pub(crate) fn seconds((name, default): (&str, u32)) -> Result<u32> {
    let wrong = |text: &str| Error::internal(format!("{name} is `{text}`, which is no number of seconds"));
    match variable(name) {
        Some(text) => text.parse().ok().filter(|seconds| *seconds > 0).ok_or_else(|| wrong(&text)),
        None => Ok(default),
    }
}

/// An environment variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
