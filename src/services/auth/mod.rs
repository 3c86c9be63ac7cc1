//! The building block `auth`: accounts, logins, tokens, and who may call what.

mod accounts;
mod attempts;
mod audit;
mod caller;
mod decision;
mod ended;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod instances;
mod introduction;
mod keys;
mod life;
mod login;
mod management;
mod place;
mod revocation;
mod rules;
mod secret;
mod token;
mod turns;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};

use micro_sdk::{
    Context, Error, Result, Sender, blocks,
    handler::Handler,
    proto::auth::{
        Account, AuditRecord, AuditRequest, GenerateRequest, GenerateResponse, InspectRequest,
        InspectResponse, LocalRequest, Options, RevokeTokenRequest, RevokeTokenResponse, RotateKeyRequest,
        RotateKeyResponse, Token, TokenRequest, TokenResponse,
    },
};

use super::{PLATFORM, namespace_or, namespace_or_default};
use crate::{
    backend::{Database, Kv},
    names,
    tasks::Tasks,
};

use accounts::{Accounts, Record, Renewed};
use attempts::Attempts;
use audit::{Audit, Note};
use caller::USER;
pub(crate) use caller::{Caller, Holder, Kind, Resource, Thing};
pub(crate) use instances::check_scopes;
use instances::{Credential, check_unnamed, is_service, service_account};
use introduction::Introduction;
use life::now;
use place::Place;
use revocation::Revocations;
pub(crate) use revocation::Ties;
use rules::Rules;
use token::Tokens;
use turns::Turns;

/// The longest id, name, type or scope of an account, in bytes.
const MAX_NAME: usize = 255;
/// The life of a token for a service that was started by hand and asks for no other, in seconds.
const SERVICE_LIFE: i64 = 3600;
/// Bytes of what an account carries into its tokens, beside its names.
const MAX_WORDS: usize = 2 << 10;

/// A handle on the building block, cheap to clone.
#[derive(Clone)]
pub(crate) struct Auth(Arc<Inner>);

struct Inner {
    tokens: Tokens,
    accounts: Accounts,
    rules: Rules,
    revocations: Revocations,
    attempts: Attempts,
    turns: Turns,
    audit: Audit,
    /// The digests of the secrets that running instances were given, by namespace and service.
    instances: Mutex<HashMap<(String, String), Vec<Credential>>>,
    /// What introduces the owner, by the service, `namespace/name`.
    introductions: Mutex<HashMap<String, Introduction>>,
}

/// The namespace that a request is about.
///
/// # Errors
/// 400 for what cannot be one.
fn namespace(options: Option<&Options>) -> Result<&str> {
    namespace_or_default(options.map_or("", |options| options.namespace.as_str()))
}

/// Refuses the id of an account that none has, before anything is done with it.
fn check_id(id: &str) -> Result<()> {
    if id.is_empty() || id.len() > MAX_NAME || id.contains(char::is_control) {
        let text = format!("the id of an account has 1 to {MAX_NAME} bytes and no control characters");
        return Err(Error::bad_request(text));
    }
    Ok(())
}

/// Refuses a secret, or a refresh token, that is too long.
fn check_secret(secret: &str) -> Result<()> {
    if secret.len() > secret::MAX_LENGTH {
        let text = format!("a secret is at most {} bytes long", secret::MAX_LENGTH);
        return Err(Error::bad_request(text));
    }
    Ok(())
}

/// Refuses what would make a token that is too long, or a line of the log that is not one.
fn check_words(
    name: &str,
    r#type: &str,
    scopes: &[String],
    metadata: &HashMap<String, String>,
) -> Result<()> {
    let named = [("name", name), ("type", r#type)];
    for (what, text) in named.into_iter().chain(scopes.iter().map(|scope| ("scope", scope.as_str()))) {
        if text.len() > MAX_NAME || text.contains(char::is_control) {
            let text =
                format!("the {what} of an account has at most {MAX_NAME} bytes and no control characters");
            return Err(Error::bad_request(text));
        }
    }
    let bytes = scopes.iter().map(|scope| scope.len() + 4).sum::<usize>()
        + metadata.iter().map(|(key, value)| key.len() + value.len() + 8).sum::<usize>();
    if bytes > MAX_WORDS {
        let text =
            format!("the scopes and the metadata of an account are at most {MAX_WORDS} bytes together");
        return Err(Error::bad_request(text));
    }
    Ok(())
}

impl Auth {
    /// Opens it, with the keys of tokens in a folder. What it notes is written in the background.
    ///
    /// # Errors
    /// A key cannot be read, written or used, or the rules cannot be read.
    pub(crate) async fn open(
        database: &Arc<dyn Database>,
        keys: &Path,
        background: &Tasks,
    ) -> anyhow::Result<Self> {
        let kv: Arc<dyn Kv> = database.clone();
        let tokens = Tokens::open(keys)?;
        let turns = Turns::default();
        turns.tidy(background);
        Ok(Self(Arc::new(Inner {
            accounts: Accounts::new(kv.clone(), tokens.keys.refresh(), turns.clone()),
            tokens,
            rules: Rules::open(kv.clone()).await?,
            revocations: Revocations::open(&kv).await?,
            attempts: Attempts::new()?,
            turns,
            audit: Audit::open(database.clone(), background),
            instances: Mutex::default(),
            introductions: Mutex::default(),
        })))
    }

    pub(crate) fn handlers(&self) -> Vec<Box<dyn Handler>> {
        vec![
            Box::new(blocks::auth::AuthServer::new(self.clone())),
            Box::new(blocks::auth::AccountsServer::new(self.clone())),
            Box::new(blocks::auth::RulesServer::new(self.clone())),
        ]
    }

    /// Who calls with this token.
    ///
    /// # Errors
    /// 401 for a token that is not valid or was revoked.
    pub(crate) fn verify(&self, token: &str) -> Result<Caller> {
        self.verify_for(token, None)
    }

    /// Who a token belongs to, for an account that may be told so though it could not call with it.
    fn verify_for(&self, token: &str, asking: Option<&Account>) -> Result<Caller> {
        let proof = self.0.tokens.verify(token)?;
        if !proof.to.is_empty() && !asking.is_some_and(|asking| is_service(asking, &proof.to)) {
            return Err(token::invalid());
        }
        let account = &proof.account;
        if !self.0.revocations.allow(&account.issuer, &account.id, &proof.ties) {
            return Err(token::invalid());
        }
        Ok(Caller { account: Some(account.clone()), ties: Some(proof.ties.clone()), ..Caller::default() })
    }

    /// Whether the token of a caller still counts; a caller without a token has none to lose.
    pub(crate) fn still_counts(&self, caller: &Caller) -> bool {
        let (Some(account), Some(ties)) = (&caller.account, &caller.ties) else { return true };
        self.0.revocations.allow(&account.issuer, &account.id, ties)
    }

    /// Writes the files of the keys again that were removed.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn keep_keys(&self) -> anyhow::Result<()> {
        self.0.tokens.keys.keep()
    }

    /// The public keys that tokens are verified with, as a JSON web key set (RFC 7517).
    pub(crate) fn public_keys(&self) -> serde_json::Value {
        self.0.tokens.keys.set()
    }

    /// Changes whenever a token may have ceased to count, or a rule to allow a call.
    pub(crate) fn revocations(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.revocations.changed()
    }

    /// Another one after each such change.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.revocations.epoch()
    }

    /// Notes a change that was made.
    fn note_change(&self, caller: &Caller, namespace: &str, action: &str, subject: &str) {
        self.0.audit.note(Note::new(caller, namespace, action, true, subject));
    }

    /// A token with which the owner of the server goes by TCP. A new password of the administrator
    /// ends it, as it ends a login.
    fn owner_token(&self, request: &LocalRequest) -> Result<TokenResponse> {
        let life = checked_life(request.token_expiry)?;
        let owner = Caller::owner();
        let account = owner.account()?;
        let generation = self.0.revocations.floor(&account.issuer, &account.id);
        let answer =
            self.answer(account, &Ties { generation, session: String::new() }, life, String::new())?;
        self.note_change(&owner, &account.issuer, "token.create", &account.id);
        Ok(answer)
    }

    fn answer(
        &self,
        account: &Account,
        ties: &Ties,
        life: i64,
        refresh_token: String,
    ) -> Result<TokenResponse> {
        let issued = self.0.tokens.issue(account, ties, life)?;
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

/// The seconds that a token is asked to live.
fn checked_life(seconds: i64) -> Result<i64> {
    if seconds < 0 {
        return Err(Error::bad_request("the life of a token cannot be negative"));
    }
    Ok(seconds)
}

impl blocks::auth::Auth for Auth {
    async fn generate(&self, cx: Context, request: GenerateRequest) -> Result<GenerateResponse> {
        let asked = request.options.as_ref().map_or("", |options| options.namespace.as_str());
        let namespace = namespace_or(asked, cx.namespace())?;
        Caller::of(&cx).may_administer(namespace)?;
        let GenerateRequest { id, name, r#type, secret: chosen, scopes, metadata, .. } = request;
        check_id(&id)?;
        for name in [&id, &name] {
            names::check_account(name).map_err(Error::bad_request)?;
        }
        check_secret(&chosen)?;
        check_words(&name, &r#type, &scopes, &metadata)?;
        check_unnamed(&scopes)?;
        let (plain, stored) = if chosen.is_empty() {
            let generated = secret::generate()?;
            (generated.clone(), secret::digest(&generated))
        } else {
            let turn = self.0.turns.take(Place::of(&Caller::of(&cx)).await).await?;
            (chosen.clone(), secret::hash(turn, chosen).await?)
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
            incarnation: accounts::unique(),
            generation: 0,
        };
        record.generation = self.0.revocations.floor(namespace, &record.id);
        record.metadata.entry("created".to_owned()).or_insert_with(|| now().to_string());
        self.0.accounts.create(namespace, &record).await?;
        self.note_change(&Caller::of(&cx), namespace, "account.create", &record.id);
        let account = Account { secret: plain, ..record.account(namespace) };
        Ok(GenerateResponse { account: Some(account) })
    }

    async fn inspect(&self, cx: Context, request: InspectRequest) -> Result<InspectResponse> {
        let asking = Caller::of(&cx);
        let owner = self.verify_for(&request.token, asking.account.as_deref());
        let owner = owner.map_err(|e| Error::bad_request(e.detail))?;
        Ok(InspectResponse { account: owner.account.as_deref().cloned() })
    }

    async fn token(&self, cx: Context, request: TokenRequest) -> Result<TokenResponse> {
        let namespace = namespace(request.options.as_ref())?;
        let life = checked_life(request.token_expiry)?;
        check_secret(&request.refresh_token)?;
        check_secret(&request.secret)?;
        let caller = Caller::of(&cx);
        self.0.accounts.ensure_default(&self.0.revocations, Place::of(&caller).await).await?;
        if !request.refresh_token.is_empty() {
            let renewed =
                self.0.accounts.renew(namespace, &request.refresh_token, &self.0.revocations).await?;
            let Renewed { record, ties, successor } = renewed;
            return self.answer(&record.account(namespace), &ties, life, successor);
        }
        if request.id.is_empty() || request.secret.is_empty() {
            return Err(Error::bad_request("an id and a secret, or a refresh token, are required"));
        }
        check_id(&request.id)?;
        if let Some((session, scopes)) = self.instance_of(namespace, &request.id, &request.secret) {
            // Its tokens end with the instance.
            let ties = Ties::of_process(&session);
            let account = service_account(namespace, &request.id, scopes);
            return self.answer(&account, &ties, life, String::new());
        }
        let record = self.log_in(&caller, namespace, &request.id, &request.secret).await?;
        let (refresh_token, ties) =
            self.0.accounts.begin_session(namespace, &record, &self.0.revocations).await?;
        self.answer(&record.account(namespace), &ties, life, refresh_token)
    }

    async fn local(&self, cx: Context, request: LocalRequest) -> Result<TokenResponse> {
        if !Caller::of(&cx).owner {
            return Err(Error::forbidden("a token without a secret is given on the local socket only"));
        }
        if request.service.is_empty() {
            return self.owner_token(&request);
        }
        let namespace = namespace_or_default(&request.namespace)?;
        names::check_registered(&request.service).map_err(|e| Error::bad_request(e.to_string()))?;
        let life = match checked_life(request.token_expiry)? {
            0 => SERVICE_LIFE,
            life => life,
        };
        let account = service_account(namespace, &request.service, Vec::new());
        self.answer(&account, &Ties::of_process(""), life, String::new())
    }

    async fn rotate_key(&self, cx: Context, _: RotateKeyRequest) -> Result<RotateKeyResponse> {
        let caller = Caller::of(&cx);
        caller.may_administer(PLATFORM)?;
        let auth = self.clone();
        let rotated = tokio::task::spawn_blocking(move || auth.0.tokens.keys.rotate()).await;
        let rotated = rotated.map_err(anyhow::Error::from).flatten();
        let (kid, until) =
            rotated.map_err(|e| crate::error::of_file(&e.context("the signing key was not changed")))?;
        self.note_change(&caller, PLATFORM, "key.rotate", &kid);
        Ok(RotateKeyResponse { kid, old_key_until: until.try_into().unwrap_or(i64::MAX) })
    }

    async fn audit(&self, cx: Context, request: AuditRequest, replies: Sender<AuditRecord>) -> Result<()> {
        self.send_audit(&cx, &request, replies).await
    }

    async fn revoke(&self, _: Context, request: RevokeTokenRequest) -> Result<RevokeTokenResponse> {
        let namespace = namespace(request.options.as_ref())?;
        check_secret(&request.refresh_token)?;
        self.0.accounts.revoke(namespace, &request.refresh_token, &self.0.revocations).await?;
        Ok(RevokeTokenResponse {})
    }
}
