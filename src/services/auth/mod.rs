//! The building block `auth`: accounts, logins, tokens, and who may call what.

mod accounts;
mod caller;
mod secret;
mod token;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use micro_sdk::{
    Context, Error, Result, Sender, blocks,
    handler::Handler,
    proto::auth::{
        Account, AuditRecord, AuditRequest, GenerateRequest, GenerateResponse, InspectRequest, InspectResponse, LocalRequest, Options,
        RevokeTokenRequest, RevokeTokenResponse, RotateKeyRequest, RotateKeyResponse, Token, TokenRequest, TokenResponse,
    },
};

use super::{absent, namespace_or_default};
use crate::{backend::Kv, names};

use accounts::{Accounts, Record};
pub(crate) use caller::{Caller, Kind, Resource, Thing, authorise};
use caller::{SERVICE, USER};
use token::{Tokens, now};

/// A handle on the building block, cheap to clone.
#[derive(Clone)]
pub(crate) struct Auth(Arc<Inner>);

struct Inner {
    tokens: Tokens,
    accounts: Accounts,
    /// The digests of the secrets that running instances were given, by namespace and service.
    instances: Mutex<HashMap<(String, String), Vec<Credential>>>,
}

struct Credential {
    instance: String,
    digest: String,
}

fn namespace(options: Option<&Options>) -> &str {
    namespace_or_default(options.map_or("", |options| options.namespace.as_str()))
}

fn service_account(namespace: &str, service: &str) -> Account {
    Account {
        id: service.to_owned(),
        name: service.to_owned(),
        r#type: SERVICE.to_owned(),
        issuer: namespace.to_owned(),
        ..Account::default()
    }
}

impl Auth {
    /// Opens it, with the signing key in `keys`.
    ///
    /// # Errors
    /// The key cannot be read, written or used.
    pub(crate) fn open(kv: Arc<dyn Kv>, keys: &Path) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Inner {
            tokens: Tokens::open(keys)?,
            accounts: Accounts::new(kv),
            instances: Mutex::default(),
        })))
    }

    pub(crate) fn handlers(&self) -> Vec<Box<dyn Handler>> {
        let mut handlers: Vec<Box<dyn Handler>> = vec![Box::new(blocks::auth::AuthServer::new(self.clone()))];
        handlers.extend(absent::handlers("the management of accounts and rules", &["Accounts", "Rules"]));
        handlers
    }

    /// Who a token belongs to.
    ///
    /// # Errors
    /// 401 for a token that is not valid.
    pub(crate) fn verify(&self, token: &str) -> Result<Arc<Account>> {
        self.0.tokens.verify(token)
    }

    /// The id and secret with which a new process of a service proves who it is. They end with
    /// the instance, and with this server.
    ///
    /// # Errors
    /// 500 when the system has no random numbers.
    pub(crate) fn begin_instance(
        &self,
        namespace: &str,
        service: &str,
        instance: &str,
    ) -> Result<(String, String)> {
        let secret = secret::generate()?;
        let credential = Credential { instance: instance.to_owned(), digest: secret::digest(&secret) };
        let key = (namespace.to_owned(), service.to_owned());
        self.instances().entry(key).or_default().push(credential);
        Ok((service.to_owned(), secret))
    }

    /// The instance is gone: what it was given is worth nothing any more.
    pub(crate) fn end_instance(&self, instance: &str) {
        self.instances().retain(|_, credentials| {
            credentials.retain(|credential| credential.instance != instance);
            !credentials.is_empty()
        });
    }

    fn instances(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Vec<Credential>>> {
        self.0.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_instance(&self, namespace: &str, id: &str, secret: &str) -> bool {
        let digest = secret::digest(secret);
        let key = (namespace.to_owned(), id.to_owned());
        self.instances().get(&key).is_some_and(|all| all.iter().any(|credential| credential.digest == digest))
    }

    /// The account that these credentials prove, and whether it is stored.
    async fn log_in(&self, namespace: &str, id: &str, given: &str) -> Result<Option<Record>> {
        if self.is_instance(namespace, id, given) {
            return Ok(None);
        }
        let Some(record) = self.0.accounts.find(namespace, id).await? else {
            return Err(Error::bad_request(format!(
                "no account {id} in namespace {namespace}, or another secret"
            )));
        };
        if secret::matches(given, &record.secret).await? {
            return Ok(Some(record));
        }
        Err(Error::bad_request(format!("no account {id} in namespace {namespace}, or another secret")))
    }

    fn answer(&self, account: &Account, life: i64, refresh_token: String) -> Result<TokenResponse> {
        let issued = self.0.tokens.issue(account, life)?;
        let seconds = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        let token = Token {
            access_token: issued.text,
            refresh_token,
            created: seconds(issued.created),
            expiry: seconds(issued.expiry),
        };
        Ok(TokenResponse { token: Some(token) })
    }
}

impl Auth {
    /// Whether a caller may do this with a thing that is kept for a namespace: its administrators
    /// may, a service with what is its own, whoever else only where a rule names the thing.
    ///
    /// # Errors
    /// 401 for an anonymous call, 403 for a caller that may not.
    #[expect(clippy::unused_self, reason = "rules decide too")]
    pub(crate) fn permit(&self, caller: &Caller, namespace: &str, thing: Thing<'_>) -> Result<()> {
        let refused = match caller.may_administer(namespace) {
            Ok(_) => return Ok(()),
            Err(refused) => refused,
        };
        let account = caller.account()?;
        if account.r#type == SERVICE && account.issuer == namespace && thing.belongs_to(&account.id) {
            return Ok(());
        }
        Err(refused)
    }
}

impl blocks::auth::Auth for Auth {
    async fn generate(&self, cx: Context, request: GenerateRequest) -> Result<GenerateResponse> {
        let asked = request.options.as_ref().map_or("", |options| options.namespace.as_str());
        let namespace = if asked.is_empty() { cx.namespace() } else { asked };
        names::check_namespace(namespace).map_err(|e| Error::bad_request(e.to_string()))?;
        Caller::of(&cx).may_administer(namespace)?;
        let GenerateRequest { id, name, r#type, secret: chosen, scopes, metadata, .. } = request;
        if id.is_empty() || id.len() > 255 || id.contains(char::is_control) {
            return Err(Error::bad_request(
                "an account needs an id of 1 to 255 bytes without control characters",
            ));
        }
        let (plain, stored) = if chosen.is_empty() {
            let generated = secret::generate()?;
            (generated.clone(), secret::digest(&generated))
        } else {
            (chosen.clone(), secret::hash(chosen).await?)
        };
        let or = |value: String, default: &str| if value.is_empty() { default.to_owned() } else { value };
        let mut record = Record {
            name: or(name, &id),
            r#type: or(r#type, USER),
            id,
            scopes,
            metadata: metadata.into_iter().collect(),
            secret: stored,
            default_secret: false,
        };
        record.metadata.entry("created".to_owned()).or_insert_with(|| now().to_string());
        self.0.accounts.create(namespace, &record).await?;
        let account = Account { secret: plain, ..record.account(namespace) };
        Ok(GenerateResponse { account: Some(account) })
    }

    async fn inspect(&self, _: Context, request: InspectRequest) -> Result<InspectResponse> {
        let account = self.verify(&request.token).map_err(|e| Error::bad_request(e.detail))?;
        Ok(InspectResponse { account: Some(Account::clone(&account)) })
    }

    async fn token(&self, cx: Context, request: TokenRequest) -> Result<TokenResponse> {
        let namespace = namespace(request.options.as_ref());
        self.0.accounts.ensure_default().await?;
        let life = request.token_expiry;
        if !request.refresh_token.is_empty() {
            let Some(record) = self.0.accounts.refresh(namespace, &request.refresh_token).await? else {
                return Err(Error::bad_request(
                    "the refresh token is not valid or has expired: log in again",
                ));
            };
            return self.answer(&record.account(namespace), life, request.refresh_token);
        }
        if request.id.is_empty() || request.secret.is_empty() {
            return Err(Error::bad_request("an id and a secret, or a refresh token, are required"));
        }
        match self.log_in(namespace, &request.id, &request.secret).await? {
            None => self.answer(&service_account(namespace, &request.id), life, String::new()),
            Some(record) if record.default_secret && Caller::of(&cx).remote => Err(Error::forbidden(
                "the account of a fresh server can be used on its own machine only, until its secret is changed",
            )),
            Some(record) => {
                let refresh_token = self.0.accounts.new_refresh_token(namespace, &record.id).await?;
                self.answer(&record.account(namespace), life, refresh_token)
            }
        }
    }

    async fn local(&self, cx: Context, request: LocalRequest) -> Result<TokenResponse> {
        if !Caller::of(&cx).owner {
            return Err(Error::forbidden("a token without a secret is given on the local socket only"));
        }
        let namespace = namespace_or_default(&request.namespace);
        names::check_namespace(namespace).map_err(|e| Error::bad_request(e.to_string()))?;
        names::check_registered(&request.service).map_err(|e| Error::bad_request(e.to_string()))?;
        self.answer(&service_account(namespace, &request.service), 3600, String::new())
    }

    async fn rotate_key(&self, _: Context, _: RotateKeyRequest) -> Result<RotateKeyResponse> {
        super::not_yet("changing the signing key")
    }

    async fn audit(&self, _: Context, _: AuditRequest, _: Sender<AuditRecord>) -> Result<()> {
        super::not_yet("the audit log")
    }

    async fn revoke(&self, _: Context, request: RevokeTokenRequest) -> Result<RevokeTokenResponse> {
        self.0.accounts.revoke(namespace(request.options.as_ref()), &request.refresh_token).await?;
        Ok(RevokeTokenResponse {})
    }
}
