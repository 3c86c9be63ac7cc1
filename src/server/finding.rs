//! Who calls, and which of the services that a path may mean, as far as the caller may know of them.

use http::{HeaderMap, header::AUTHORIZATION};
use micro_sdk::{Error, Result, header};

use super::{peer::Peer, router::Router, target::Target};
use crate::{
    services::{auth::Caller, rules_of},
    sockets,
};

impl Router {
    /// The caller, by the way they came and the token they send.
    ///
    /// # Errors
    /// 401 for a token that is none, or not valid, and for two.
    pub(super) fn authenticate(&self, headers: &HeaderMap, peer: Peer) -> Result<Caller> {
        let (owner, connection) = match peer {
            Peer::Owner => (true, None),
            Peer::Service => (false, None),
            Peer::Program(connection) => (false, Some(connection)),
            // A caller who is not known is not trusted.
            Peer::Unknown => (false, Some(sockets::Connection::unknown())),
        };
        let service = peer == Peer::Service;
        match (headers.get(AUTHORIZATION), owner) {
            (None, true) => Ok(Caller::owner()),
            (None, false) => Ok(Caller { service, connection, ..Caller::default() }),
            (Some(_), _) => {
                let expected =
                    || Error::unauthorized("invalid authorization header: expected `Bearer <token>`");
                // A program that reads the other one would take the caller for somebody else.
                if headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
                    return Err(Error::unauthorized("there are two authorization headers"));
                }
                let token = header::bearer(headers).ok_or_else(expected)?;
                let caller = self.blocks().auth.verify(token).map_err(|e| e.with_id("auth"))?;
                Ok(Caller { owner, service, connection, ..caller })
            }
        }
    }

    /// The first of two targets, unless only the service of the other is known. What the caller may not
    /// call does not count, so that they learn nothing of it.
    pub(super) async fn known(
        &self,
        caller: &Caller,
        namespace: &str,
        first: Target,
        other: Target,
    ) -> Result<Target> {
        let block = self.blocks().find(&other.service).is_some();
        // No service is called before a building block by taking the name of a version of it.
        if block && first.service.rsplit('.').next() == Some(&other.service) {
            return Ok(other);
        }
        let may = |target: &Target, home: &str| {
            self.allows(caller, home, target) || self.may_allow(caller, home, target)
        };
        let goes = match (may(&first, namespace), may(&other, rules_of(block, namespace))) {
            (false, true) => other,
            (true, true) if self.knows(namespace, &first.service).await? => first,
            (true, true) if self.knows(namespace, &other.service).await? => other,
            (_, false) | (true, true) => first,
        };
        Ok(goes)
    }

    /// Whether a service is there, or on its way.
    async fn knows(&self, namespace: &str, service: &str) -> Result<bool> {
        let blocks = &self.blocks();
        Ok(blocks.find(service).is_some()
            || blocks.registry.catalog.knows(namespace, service)
            || blocks.runtime.outlook(namespace, service, None).await?.is_some())
    }

    pub(super) fn allows(&self, caller: &Caller, namespace: &str, target: &Target) -> bool {
        self.blocks().auth.allows(caller, target.in_namespace(namespace))
    }

    /// Whether the call could be allowed once the spelling of its method is known.
    pub(super) fn may_allow(&self, caller: &Caller, namespace: &str, target: &Target) -> bool {
        self.blocks().auth.may_allow(caller, target.in_namespace(namespace))
    }

    /// The refusal of a call, of which the caller spells the endpoint like this.
    pub(super) fn refuse(&self, caller: &Caller, namespace: &str, target: &Target, spelled: &str) -> Error {
        self.blocks().auth.refuse(caller, target.in_namespace(namespace), spelled).with_id("auth")
    }
}
