//! What a caller may do: calls by the rules, and what is kept for a namespace by its rules and its owner.

use micro_sdk::{Error, Result};

use super::{Auth, Caller, Resource, Thing};
use crate::names;

impl Auth {
    /// Decides each call, at every door, before it is routed, by the rules of the namespace the
    /// service lives in.
    ///
    /// # Errors
    /// As [`Auth::refuse`], for a call that is not allowed.
    pub(crate) fn authorise(&self, caller: &Caller, resource: Resource<'_>) -> Result<()> {
        if self.allows(caller, resource) {
            return Ok(());
        }
        Err(self.refuse(caller, resource, resource.endpoint))
    }

    /// Whether a call is allowed. An administrator who mends the rules of the platform cannot be shut out
    /// by them.
    pub(crate) fn allows(&self, caller: &Caller, resource: Resource<'_>) -> bool {
        let Resource { namespace, service, .. } = resource;
        self.0.rules.allow(caller.account.as_deref(), resource.subject(), namespace)
            || (service == "auth" && caller.is_platform_admin())
    }

    /// Whether a call could be allowed if the method were spelled otherwise, in case, `-` and `_`: before
    /// the schema is known, the caller's spelling is all there is.
    pub(crate) fn may_allow(&self, caller: &Caller, resource: Resource<'_>) -> bool {
        self.0.rules.may_allow(caller.account.as_deref(), resource.subject(), resource.namespace)
    }

    /// The refusal of a call, which is noted. It shows the endpoint as the caller spelled it.
    ///
    /// # Errors
    /// 401 for an anonymous call, 403 for that of an account.
    pub(crate) fn refuse(&self, caller: &Caller, resource: Resource<'_>, spelled: &str) -> Error {
        let Resource { namespace, service, endpoint } = resource;
        self.note_refusal(caller, namespace, &format!("{service}.{endpoint}"), "a rule");
        let words = format!("{} {}", names::shown(service), names::shown(spelled));
        match caller.account.as_deref() {
            None => Error::unauthorized(format!("{words} is not open to everybody: log in first")),
            Some(account) => Error::forbidden(format!(
                "the rules of namespace {namespace} do not let account {} call {words}",
                account.id
            )),
        }
    }
}

impl Auth {
    /// Whether a caller may do this with a thing that is kept for a namespace. A rule of the
    /// namespace that names the thing decides; without one its administrators may, and a service
    /// with what is its own. No rule opens a thing to another namespace, and none shuts out the
    /// administrators of the platform.
    ///
    /// # Errors
    /// 401 for an anonymous call, 403 for a caller that may not.
    pub(crate) fn permit(&self, caller: &Caller, namespace: &str, thing: Thing<'_>) -> Result<()> {
        let account = caller.may_enter(namespace)?;
        if caller.is_platform_admin() {
            return Ok(());
        }
        let own = || {
            caller.may_administer(namespace).is_ok()
                || caller.service_of(namespace).is_some_and(|service| thing.belongs_to(service))
        };
        let Thing { kind, name, method } = thing;
        // What is refused is put into words only then.
        let refused = |why: &str| {
            let (id, words) = (&account.id, thing.words());
            let text =
                format!("account {id} may not call {method} on {words} of namespace {namespace}: {why}");
            Err(Error::forbidden(text))
        };
        if !self.0.rules.say(account, thing.subject(), namespace).unwrap_or_else(own) {
            let (kind, name) = (kind.name(), if name.is_empty() || name.len() > 100 { "*" } else { name });
            return refused(&format!(
                "its administrators can let it, with a rule for `{kind}:{name}:{method}`"
            ));
        }
        // Nobody gets as a part of something what is refused to them alone.
        if thing.is_whole()
            && let Some(below) = self.0.rules.refused_below(account, thing.subject(), namespace)
        {
            return refused(&format!("a rule refuses `{below}`, which is part of it"));
        }
        Ok(())
    }
}

impl Auth {
    /// Waits until [`Auth::permit`] refuses what it has permitted, and returns how.
    pub(crate) async fn until_refused(&self, caller: &Caller, namespace: &str, thing: Thing<'_>) -> Error {
        let mut changes = self.revocations();
        loop {
            if let Err(error) = self.permit(caller, namespace, thing) {
                return error;
            }
            // The sender lives as long as the building block.
            drop(changes.changed().await);
        }
    }
}
