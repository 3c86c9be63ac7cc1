//! What may be registered, checked before anything is done with it.

use std::collections::HashMap;

use micro_sdk::{Error, NODE_REFUSED, Result, prost::Message as _, proto::registry::Service, schema};

use crate::names;

/// Bytes of a registration.
const MAX_SIZE: usize = 256 << 10;
/// Nodes in one.
const MOST_NODES: usize = 256;
/// Endpoints in one.
const MOST_ENDPOINTS: usize = 4096;
/// The longest version, id, name of an endpoint or hash, in bytes.
const MAX_NAME: usize = 255;
/// Bytes of the metadata of a service, a node or an endpoint.
const MAX_METADATA: usize = 4 << 10;

/// Refuses what must not be registered, and fills in the default version.
///
/// # Errors
/// 400 for what cannot be registered, 413 for too much of it.
pub(super) fn check(service: &mut Service) -> Result<()> {
    names::check_registered(&service.name).map_err(|e| Error::bad_request(e.to_string()))?;
    let (nodes, endpoints) = (service.nodes.len(), service.endpoints.len());
    if nodes > MOST_NODES || endpoints > MOST_ENDPOINTS {
        let text = format!(
            "{nodes} nodes and {endpoints} endpoints; at most {MOST_NODES} and {MOST_ENDPOINTS} are taken"
        );
        return Err(too_large(service, &text));
    }
    // What the server says of a node or a service is not for them to say.
    for node in &mut service.nodes {
        node.metadata.remove(NODE_REFUSED);
    }
    service.metadata.remove(schema::REFUSED);
    let size = service.encoded_len();
    if size > MAX_SIZE {
        return Err(too_large(service, &format!("{size} bytes; at most {MAX_SIZE} are taken")));
    }
    if service.version.is_empty() {
        names::DEFAULT_VERSION.clone_into(&mut service.version);
    }
    if nodes == 0 {
        return Err(Error::bad_request(format!("service {} has no nodes", service.name)));
    }
    if let Some(node) = service.nodes.iter().find(|node| node.id.is_empty()) {
        let (name, address) = (&service.name, names::shown(&node.address));
        return Err(Error::bad_request(format!("the node of service {name} at `{address}` has no id")));
    }
    let own = [("version", &service.version), ("hash of descriptors", &service.descriptor_hash)];
    let of_nodes = service.nodes.iter().flat_map(|n| [("id of a node", &n.id), ("address", &n.address)]);
    let of_endpoints = service.endpoints.iter().map(|endpoint| ("name of an endpoint", &endpoint.name));
    for (what, text) in own.into_iter().chain(of_nodes).chain(of_endpoints) {
        if text.len() > MAX_NAME || text.contains(char::is_control) {
            let text = names::shown(text);
            return Err(Error::bad_request(format!(
                "the {what} of service {} is `{text}`; it has at most {MAX_NAME} bytes and no control characters",
                service.name
            )));
        }
    }
    let of_nodes = service.nodes.iter().map(|node| &node.metadata);
    let of_endpoints = service.endpoints.iter().map(|endpoint| &endpoint.metadata);
    let mut metadata = std::iter::once(&service.metadata).chain(of_nodes).chain(of_endpoints);
    if metadata.any(|metadata| bytes_of(metadata) > MAX_METADATA) {
        return Err(too_large(service, &format!("metadata of more than {MAX_METADATA} bytes")));
    }
    Ok(())
}

fn bytes_of(metadata: &HashMap<String, String>) -> usize {
    metadata.iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn too_large(service: &Service, what: &str) -> Error {
    Error::too_large(format!("the registration of service {} has {what}", service.name))
}

#[cfg(test)]
mod tests {
    use micro_sdk::proto::registry::{Endpoint, Node};

    use super::*;

    fn service() -> Service {
        let node = Node { id: "x".into(), address: "127.0.0.1:1".into(), ..Node::default() };
        Service { name: "a".into(), nodes: vec![node], ..Service::default() }
    }

    fn code(change: impl FnOnce(&mut Service)) -> i32 {
        let mut service = service();
        change(&mut service);
        check(&mut service).map_or_else(|error| error.code, |()| 200)
    }

    #[test]
    fn a_registration_does_not_say_what_the_server_says_of_it() {
        let mut service = service();
        service.metadata.insert(schema::REFUSED.to_owned(), "x".to_owned());
        service.nodes[0].metadata =
            HashMap::from([NODE_REFUSED, "zone"].map(|name| (name.to_owned(), "x".to_owned())));
        check(&mut service).unwrap();
        assert_eq!(service.nodes[0].metadata.keys().collect::<Vec<_>>(), ["zone"]);
        assert!(service.metadata.is_empty());
    }

    #[test]
    fn a_registration_has_limits_in_every_direction() {
        let long = || "x".repeat(256);
        let pair = |bytes| HashMap::from([("k".to_owned(), "v".repeat(bytes))]);
        assert_eq!(code(|_| {}), 200);
        assert_eq!(code(|s| s.metadata = pair(4000)), 200);
        assert_eq!(code(|s| s.nodes = vec![s.nodes[0].clone(); 257]), 413);
        assert_eq!(code(|s| s.endpoints = vec![Endpoint::default(); 4097]), 413);
        assert_eq!(code(|s| s.metadata = pair(4096)), 413);
        assert_eq!(code(|s| s.nodes[0].metadata = pair(4096)), 413);
        assert_eq!(
            code(|s| s.endpoints = vec![Endpoint { metadata: pair(4096), ..Endpoint::default() }]),
            413
        );
        let many = |s: &mut Service| s.nodes = vec![Node { metadata: pair(3000), ..s.nodes[0].clone() }; 100];
        assert_eq!(code(many), 413);
        assert_eq!(code(|s| s.nodes.clear()), 400);
        assert_eq!(code(|s| s.name = long()), 400);
        assert_eq!(code(|s| s.version = long()), 400);
        assert_eq!(code(|s| s.descriptor_hash = long()), 400);
        assert_eq!(code(|s| s.nodes[0].id = long()), 400);
        assert_eq!(code(|s| s.nodes[0].id.clear()), 400);
        assert_eq!(code(|s| s.nodes[0].address = long()), 400);
        assert_eq!(code(|s| s.version = "1\n2".into()), 400);
        assert_eq!(code(|s| s.endpoints = vec![Endpoint { name: long(), ..Endpoint::default() }]), 400);
    }
}
