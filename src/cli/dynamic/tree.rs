//! Where each endpoint stands in the tree of commands: methods of the service's own handler directly below the
//! service, those of any other handler one level down.

use super::names::kebab;
use super::schema::{Endpoint, Service};
use std::collections::HashSet;

/// An endpoint and the words that lead to it.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    /// The words after the service: `ping-pong`, or `stream publish`.
    pub(super) path: Vec<String>,
    /// The endpoint there.
    pub(super) endpoint: &'a Endpoint,
}

impl Place<'_> {
    /// The whole command, to be shown.
    pub(super) fn command(&self, service: &Service) -> String {
        format!("micro {} {}", service.name, self.path.join(" "))
    }
}

/// Every endpoint of `service` at its place. Places are unique: of two methods that differ only in hyphens, the second
/// stands there with its full name.
pub(super) fn places(service: &Service) -> Vec<Place<'_>> {
    let mut taken = HashSet::new();
    service
        .endpoints
        .iter()
        .filter_map(|endpoint| {
            let path = if service.owns(endpoint.handler()) {
                vec![kebab(endpoint.method())]
            } else {
                vec![kebab(endpoint.handler()), kebab(endpoint.method())]
            };
            let path =
                [path, vec![endpoint.name.clone()]].into_iter().find(|path| taken.insert(path.clone()))?;
            Some(Place { path, endpoint })
        })
        .collect()
}
