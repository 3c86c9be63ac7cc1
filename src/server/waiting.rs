//! Calls to a service that is on its way: what starts, is built, or is brought back after it ended
//! is waited for, by few calls and for a short time, before any of the call's body is read.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use micro_sdk::{Error, Result, Unsent, header};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;

use super::{
    introduce::introduce,
    revocable::Granted,
    upstream::{self, Forwarded},
};
use crate::{
    names,
    services::{
        Blocks,
        auth::Caller,
        registry::{Catalog, Missing, Target},
    },
};

/// How long a call waits at most.
const LONGEST: Duration = Duration::from_secs(10);
/// How many calls wait for a service at a time.
const MOST: usize = 256;
/// After how many seconds who waited in vain may try again.
pub(super) const RETRY_AFTER: u32 = 1;
/// Who says that a service that is known does not run.
pub(super) const ID: &str = "micro.runtime";

type Name = (String, String);

/// The calls that wait for a service.
pub(super) struct Waiting {
    blocks: Arc<Blocks>,
    counts: Counts,
}

/// How many calls wait for which service.
#[derive(Default)]
struct Counts(Mutex<HashMap<Name, usize>>);

/// The place of a call that waits.
struct Place<'a> {
    counts: &'a Counts,
    name: Name,
}

impl Waiting {
    pub(super) fn new(blocks: Arc<Blocks>) -> Self {
        Self { blocks, counts: Counts::default() }
    }

    /// Waits until the service can be called.
    ///
    /// # Errors
    /// 404 for a service that nobody knows; 503 for one that does not run, is not there in time,
    /// or is waited for by too many.
    pub(super) async fn find(&self, lost: Lost<'_>) -> Result<Target> {
        let Lost { caller, namespace, service, version, patience, refused } = lost;
        let deadline = Instant::now() + patience.map_or(LONGEST, |patience| patience.min(LONGEST));
        let blocks = &self.blocks;
        let detailed = caller.may_administer(namespace).is_ok();
        let unavailable = |text: String| Error::unavailable(text).with_id(ID);
        let later = |text: String| unavailable(text).with_retry_after(RETRY_AFTER);
        // Listened for before anything is looked at, so that no change can be missed.
        let mut changes = blocks.runtime.changes();
        let mut registrations = blocks.registry.catalog.watch(namespace);
        let mut place = None;
        loop {
            let missing = match blocks.registry.catalog.route(namespace, service, version) {
                Ok(target) => return Ok(target),
                Err(missing) => missing,
            };
            let outlook = blocks.runtime.outlook(namespace, service, version).await?;
            let words = match &outlook {
                Some(outlook) if missing == Missing::Healthy => return Err(later(outlook.words(detailed))),
                Some(outlook) if !outlook.is_coming() => return Err(unavailable(outlook.words(detailed))),
                Some(outlook) => outlook.words(detailed),
                None if missing == Missing::Ready => format!("{service} is registered but not ready yet"),
                None => match refused {
                    Some(refused) => refused.detail.clone(),
                    None => return Err(absent(missing, service, namespace, version)),
                },
            };
            if place.is_none() {
                let Some(taken) = self.counts.place(namespace, service) else {
                    return Err(later(format!("{words}, and {MOST} calls wait for it: try again later")));
                };
                place = Some(taken);
            }
            let change = async {
                tokio::select! {
                    () = changes.of(namespace, service) => {}
                    () = Catalog::next_change(&mut registrations, namespace, service) => {}
                }
            };
            match timeout_at(deadline, blocks.runtime.unless_stopping(change)).await {
                Ok(Some(())) => {}
                Ok(None) => return Err(later("the server is stopping: try again".to_owned())),
                Err(_) => return Err(later(format!("{words}: try again"))),
            }
        }
    }

    /// Sends a call, of which no byte was sent since all nodes of this version of its service are dead, to a
    /// node of that version that comes in their place.
    ///
    /// # Errors
    /// As [`Waiting::find`], and as [`upstream::forward`].
    pub(super) async fn send_again(
        &self,
        granted: &Granted,
        mut refused: Error,
        mut request: Request<Body>,
    ) -> Result<Response<Forwarded>> {
        let deadline =
            Instant::now() + header::timeout(request.headers()).map_or(LONGEST, |time| time.min(LONGEST));
        loop {
            let since = Instant::now();
            let lost = Lost {
                caller: &granted.caller,
                namespace: &granted.namespace,
                service: &granted.target.service,
                version: granted.service.as_ref().map(|service| service.version.as_str()),
                patience: Some(deadline.saturating_duration_since(since)),
                refused: Some(&refused),
            };
            let found = self.find(lost).await?;
            granted.still()?;
            header::elapse(request.headers_mut(), since.elapsed());
            let called = (granted.namespace.as_str(), granted.target.service.as_str());
            introduce(&granted.auth, &granted.caller, called, &found.nodes, request.headers_mut())?;
            match upstream::forward(&self.blocks.registry, found.nodes, request).await {
                Ok(response) => return Ok(response),
                Err(Unsent { error, request: Some(unsent) }) => (refused, request) = (error, *unsent),
                Err(Unsent { error, request: None }) => return Err(error),
            }
        }
    }
}

impl Counts {
    /// A place to wait for a service; none when too many calls wait for it.
    fn place(&self, namespace: &str, service: &str) -> Option<Place<'_>> {
        let name = (namespace.to_owned(), service.to_owned());
        let mut counts = self.lock();
        let count = counts.entry(name.clone()).or_default();
        if *count >= MOST {
            return None;
        }
        *count += 1;
        Some(Place { counts: self, name })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.name);
            }
        }
    }
}

/// A call that found no node to go to.
pub(super) struct Lost<'a> {
    pub(super) caller: &'a Caller,
    pub(super) namespace: &'a str,
    pub(super) service: &'a str,
    pub(super) version: Option<&'a str>,
    /// How long the caller waits, if they say so.
    pub(super) patience: Option<Duration>,
    /// Why it did not reach the nodes that were there, if there were some: one of them may come back,
    /// also where nobody but itself runs it.
    pub(super) refused: Option<&'a Error>,
}

fn absent(missing: Missing, service: &str, namespace: &str, version: Option<&str>) -> Error {
    let (service, version) = (names::shown(service), version.map(names::shown).unwrap_or_default());
    let error = match missing {
        // The first words are what clients of Micro v4 look for.
        Missing::Service => Error::not_found(format!(
            "service {service}: route not found: it is not registered in namespace {namespace}"
        )),
        Missing::Version => Error::not_found(format!(
            "service {service}: route not found: it has no version {version} in namespace {namespace}",
        )),
        Missing::Healthy => Error::unavailable(format!("service {service} does not answer")),
        Missing::Ready => Error::unavailable(format!("service {service} is registered but not ready yet")),
    };
    error.with_id("micro.network")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_calls_wait_for_a_service_and_no_more() {
        let waiting = Counts::default();
        let mut places: Vec<_> = (0..MOST).map(|_| waiting.place("n", "a").unwrap()).collect();
        assert!(waiting.place("n", "a").is_none());
        assert!(waiting.place("n", "b").is_some(), "each service has places of its own");
        places.pop();
        assert!(waiting.place("n", "a").is_some());
        drop(places);
        assert!(waiting.lock().is_empty(), "nothing is kept of a service that nobody waits for");
    }
}
