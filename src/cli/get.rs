//! `micro get service`: what the registry knows of a service.

use clap::{Args, Subcommand};
use micro_sdk::{
    NODE_REFUSED,
    blocks::registry::RegistryClient,
    proto::registry::{Endpoint, GetRequest, Options, Service, Value},
    schema,
};
use serde_json::json;

use super::{
    completion,
    context::{Connection, Context},
    discover,
    ui::{Output, harmless::line},
};
use crate::names::{BLOCKS, DEFAULT_NAMESPACE};

/// Show one thing in detail.
#[derive(Args)]
pub(super) struct Get {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Show a service: its versions, nodes and endpoints.
    Service {
        /// The name of the service.
        #[arg(add = completion::services())]
        name: String,
    },
}

impl Get {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let What::Service { name } = self.what;
        let connection = cx.connect().await?;
        let namespace =
            if BLOCKS.contains(&name.as_str()) { DEFAULT_NAMESPACE } else { connection.namespace() };
        let registry: RegistryClient = connection.block("registry");
        let options = Some(Options { domain: namespace.to_owned(), ..Options::default() });
        let mut services =
            registry.get_service(GetRequest { service: name.clone(), options }).await?.services;
        for service in &mut services {
            complete(cx, &connection, service, namespace).await;
        }
        if cx.ui.output != Output::Table {
            let records: Vec<_> = services.iter().map(record).collect();
            return cx.ui.records(&records, &[], |_| Vec::new());
        }
        cx.ui.line(format_args!("service  {}", line(&name)))?;
        for service in &services {
            cx.ui.line(format_args!(
                "\nversion {}{}\n",
                line(&service.version),
                if is_known_not_ready(service) { " (not ready)" } else { "" }
            ))?;
            let mut rows = vec![vec!["ID".to_owned(), "Address".to_owned(), "Metadata".to_owned()]];
            rows.extend(service.nodes.iter().map(|node| {
                let shown = node.metadata.iter().filter(|(key, _)| *key != NODE_REFUSED);
                let mut pairs: Vec<String> = shown.map(|(key, value)| format!("{key}={value}")).collect();
                pairs.sort();
                vec![node.id.clone(), node.address.clone(), pairs.join(",")]
            }));
            cx.ui.columns(&rows)?;
            for node in &service.nodes {
                if let Some(why) = node.metadata.get(NODE_REFUSED) {
                    cx.ui.line(format_args!("\nnode {} gets no calls: {}", line(&node.id), line(why)))?;
                }
            }
            if let Some(why) = service.metadata.get(schema::REFUSED) {
                cx.ui.line(format_args!("\nthe registry does not know the messages: {}", line(why)))?;
            }
            for endpoint in &service.endpoints {
                cx.ui.line(describe(endpoint))?;
            }
        }
        Ok(())
    }
}

/// Puts what the descriptors say in the place of what was registered, which leaves out what Go's types leave out.
async fn complete(cx: &Context, connection: &Connection, service: &mut Service, namespace: &str) {
    if service.descriptor_hash.is_empty() {
        return;
    }
    // What was registered is shown where the descriptors cannot be had.
    let set = discover::descriptors(cx, connection, &service.descriptor_hash, namespace).await;
    let mut whole = schema::whole_endpoints_of(&set.unwrap_or_default());
    // Of two handlers with one name, that of the package named like the service counts.
    whole.sort_by_key(|(package, _)| *package != service.name);
    for endpoint in &mut service.endpoints {
        if let Some((_, whole)) = whole.iter().find(|(_, whole)| whole.name == endpoint.name) {
            endpoint.request.clone_from(&whole.request);
            endpoint.response.clone_from(&whole.response);
        }
    }
}

/// Only a server that keeps descriptors says whether a service is ready.
fn is_known_not_ready(service: &Service) -> bool {
    !service.ready && !service.descriptor_hash.is_empty()
}

/// An endpoint over several lines, none of which the service could have written itself.
fn describe(endpoint: &Endpoint) -> String {
    let mut text = format!("\nEndpoint: {}\n", line(&endpoint.name));
    let mut pairs: Vec<String> =
        endpoint.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.sort();
    if !pairs.is_empty() {
        text += &format!("\nMetadata: {}\n", line(&pairs.join(",")));
    }
    for (title, value) in [("Request", &endpoint.request), ("Response", &endpoint.response)] {
        let fields = value.as_ref().map_or(&[][..], |value| &value.values);
        text += &format!("\n{title}: {}\n", group(fields, 0));
    }
    text.trim_end().to_owned()
}

fn group(fields: &[Value], depth: usize) -> String {
    if fields.is_empty() {
        return "{}".to_owned();
    }
    let indent = "\t".repeat(depth + 1);
    let lines = fields.iter().map(|field| {
        let Value { name, r#type, values } = field;
        let (name, r#type) = (line(name), line(r#type));
        if values.is_empty() {
            format!("{indent}{name} {type}\n")
        } else {
            format!("{indent}{name} {type} {}\n", group(values, depth + 1))
        }
    });
    format!("{{\n{}{}}}", lines.collect::<String>(), "\t".repeat(depth))
}

fn record(service: &Service) -> serde_json::Value {
    json!({
        "name": service.name,
        "version": service.version,
        "descriptors_refused": service.metadata.get(schema::REFUSED),
        "ready": (service.ready || is_known_not_ready(service)).then_some(service.ready),
        "nodes": service.nodes.iter()
            .map(|node| json!({"id": node.id, "address": node.address, "metadata": node.metadata})).collect::<Vec<_>>(),
        "endpoints": service.endpoints.iter().map(|endpoint| json!({
            "name": endpoint.name,
            "metadata": endpoint.metadata,
            "request": endpoint.request.as_ref().map(record_value),
            "response": endpoint.response.as_ref().map(record_value),
        })).collect::<Vec<_>>(),
    })
}

fn record_value(value: &Value) -> serde_json::Value {
    json!({"name": value.name, "type": value.r#type, "values": value.values.iter().map(record_value).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_service_writes_no_lines_of_its_own() {
        let forged = "x\n\nEndpoint: Admin.Pay";
        let field = Value { name: forged.into(), r#type: forged.into(), values: Vec::new() };
        let above = Value { name: forged.into(), r#type: forged.into(), values: vec![field] };
        let endpoint = Endpoint {
            name: forged.into(),
            request: Some(Value { values: vec![above], ..Value::default() }),
            metadata: HashMap::from([(forged.to_owned(), forged.to_owned())]),
            ..Endpoint::default()
        };
        let shown = describe(&endpoint);
        let lines: Vec<&str> = shown.lines().filter(|line| line.starts_with("Endpoint:")).collect();
        assert_eq!(lines, ["Endpoint: x\u{fffd}\u{fffd}Endpoint: Admin.Pay"], "{shown}");
    }
}
