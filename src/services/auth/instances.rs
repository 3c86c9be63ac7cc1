//! The accounts of services: what a process is given to prove which service it is, and what its account may do.

use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
};

use micro_sdk::{Error, Result, proto::auth::Account};

use super::{Auth, caller::SERVICE, check_words, secret};

/// What one process proves with which service it is.
pub(super) struct Credential {
    instance: String,
    digest: String,
    /// Those of the account, beside the one that names the service.
    scopes: Vec<String>,
}

/// How the scope begins that the account of one service alone has.
const SERVICE_SCOPE: &str = "service:";

/// Refuses the scope of one service, which its account has without being given it.
///
/// # Errors
/// 400.
pub(super) fn check_unnamed(scopes: &[String]) -> Result<()> {
    let names_service = |scope: &&String| {
        scope.get(..SERVICE_SCOPE.len()).is_some_and(|start| start.eq_ignore_ascii_case(SERVICE_SCOPE))
    };
    match scopes.iter().find(names_service) {
        Some(scope) => Err(Error::bad_request(format!(
            "`{scope}` is the scope of the account of one service, which has it without being given it"
        ))),
        None => Ok(()),
    }
}

/// Refuses scopes that a service cannot be given.
///
/// # Errors
/// 400.
pub(crate) fn check_scopes(scopes: &[String]) -> Result<()> {
    check_words("", "", scopes, &HashMap::new())?;
    check_unnamed(scopes)
}

/// Whether an account is that of a service, `namespace/name`.
pub(super) fn is_service(account: &Account, service: &str) -> bool {
    let named = service.split_once('/');
    account.r#type == SERVICE && named == Some((account.issuer.as_str(), account.id.as_str()))
}

/// The account of a service.
pub(super) fn service_account(namespace: &str, service: &str, scopes: Vec<String>) -> Account {
    Account {
        scopes: [vec![format!("{SERVICE_SCOPE}{service}")], scopes].concat(),
        id: service.to_owned(),
        name: service.to_owned(),
        r#type: SERVICE.to_owned(),
        issuer: namespace.to_owned(),
        ..Account::default()
    }
}

impl Auth {
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
        scopes: &[String],
    ) -> Result<(String, String)> {
        let secret = secret::generate()?;
        let (instance, digest) = (instance.to_owned(), secret::digest(&secret));
        let credential = Credential { instance, digest, scopes: scopes.to_owned() };
        let key = (namespace.to_owned(), service.to_owned());
        self.instances().entry(key).or_default().push(credential);
        Ok((service.to_owned(), secret))
    }

    /// The instance is gone: what it was given is worth nothing any more.
    pub(crate) fn end_instance(&self, instance: &str) {
        self.0.revocations.revoke_session(instance);
        self.instances().retain(|_, credentials| {
            credentials.retain(|credential| credential.instance != instance);
            !credentials.is_empty()
        });
    }

    fn instances(&self) -> MutexGuard<'_, HashMap<(String, String), Vec<Credential>>> {
        self.0.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The running instance of a service that has this secret, and the scopes it was given.
    pub(super) fn instance_of(
        &self,
        namespace: &str,
        id: &str,
        secret: &str,
    ) -> Option<(String, Vec<String>)> {
        let digest = secret::digest(secret);
        let key = (namespace.to_owned(), id.to_owned());
        let instances = self.instances();
        let known = instances.get(&key)?.iter().find(|credential| credential.digest == digest)?;
        Some((known.instance.clone(), known.scopes.clone()))
    }
}
