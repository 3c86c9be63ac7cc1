//! What tells a service that the owner of the home calls it, who sends no token.

use std::sync::Arc;

use http::{HeaderMap, header::AUTHORIZATION};
use micro_sdk::Result;

use crate::services::{
    auth::{Auth, Caller},
    registry::CatalogNode as Node,
};

/// Introduces a caller without a token to the service they call, or to nobody where a node would send the proof
/// on with calls of its own, for which it is not good: those of other frameworks.
///
/// # Errors
/// 500 when the proof cannot be signed.
pub(super) fn introduce(
    auth: &Auth,
    caller: &Caller,
    (namespace, service): (&str, &str),
    nodes: &[Arc<Node>],
    headers: &mut HeaderMap,
) -> Result<()> {
    // Who has a token sends that.
    if !caller.owner || caller.ties.is_some() {
        return Ok(());
    }
    if nodes.iter().all(|node| node.metadata.get("sdk").is_some_and(|sdk| sdk == "rust")) {
        headers.insert(AUTHORIZATION, auth.introduce_owner(namespace, service)?);
    } else {
        headers.remove(AUTHORIZATION);
    }
    Ok(())
}
