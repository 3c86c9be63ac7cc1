//! A schema from the value trees of a registration (Go type names), for services that send no descriptors.
//! Such a tree does not tell enums from messages that have no fields, nor which way a stream goes.

use super::schema::{Endpoint, Field, Kind, MAX_DEPTH, Service};
use std::collections::{BTreeMap, HashMap};

/// A node of the tree of types that a service registers for a request: `registry.Value`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Value {
    /// The field's name, or the type's name at the root.
    pub(crate) name: String,
    /// The Go name of the type: `string`, `[]int32`, `map[string]string`, `[]uint8`, `TokenRequest`.
    pub(crate) type_name: String,
    /// The fields of a message.
    pub(crate) values: Vec<Value>,
}

/// An endpoint as registered.
#[derive(Clone, Debug)]
pub(crate) struct Registered<'a> {
    /// Handler and method, such as `Helloworld.Call`.
    pub(crate) name: &'a str,
    /// Its metadata; `stream`, `subscriber` and `description` are understood.
    pub(crate) metadata: &'a HashMap<String, String>,
    /// The type of its request, if registered.
    pub(crate) request: Option<Value>,
}

impl Service {
    /// The schema of a service from what it registered; `refused` says why the registry cannot use its descriptors,
    /// if that is so. Subscribers are left out, for nobody calls them.
    pub(crate) fn from_values(
        name: &str,
        version: &str,
        endpoints: &[Registered<'_>],
        refused: &str,
    ) -> Self {
        let is = |endpoint: &Registered<'_>, key: &str| {
            endpoint.metadata.get(key).is_some_and(|value| value == "true")
        };
        let mut described: Vec<Endpoint> = Vec::new();
        for registered in endpoints {
            let known = described.iter().any(|endpoint| endpoint.name == registered.name);
            if known || is(registered, "subscriber") {
                continue;
            }
            let stream = is(registered, "stream");
            // A stream registers its Go parameters, not its messages.
            let request = registered.request.as_ref().filter(|_| !stream);
            described.push(Endpoint {
                name: registered.name.to_owned(),
                about: registered.metadata.get("description").cloned().unwrap_or_default(),
                request_stream: stream,
                response_stream: stream,
                fields: request.map(|request| fields(&request.values, 1)).unwrap_or_default(),
                is_unknown: request.is_none(),
                refused: refused.to_owned(),
            });
        }
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            about: String::new(),
            handlers: BTreeMap::new(),
            endpoints: described,
        }
    }
}

fn fields(values: &[Value], depth: usize) -> Vec<Field> {
    values
        .iter()
        .map(|value| {
            let (kind, repeated) = match value.type_name.strip_prefix("[]") {
                Some(element) if element != "uint8" => (kind(element, &value.values, depth), true),
                _ => (kind(&value.type_name, &value.values, depth), false),
            };
            let (about, excludes) = (String::new(), Vec::new());
            Field { name: value.name.clone(), about, kind, repeated, excludes, deprecated: false }
        })
        .collect()
}

fn kind(type_name: &str, values: &[Value], depth: usize) -> Kind {
    match type_name {
        "bool" => Kind::Bool,
        "int8" | "int16" | "int32" => Kind::Int32,
        "int" | "int64" => Kind::Int64,
        "uint8" | "uint16" | "uint32" => Kind::Uint32,
        "uint" | "uint64" => Kind::Uint64,
        "float32" => Kind::Float,
        "float64" => Kind::Double,
        "string" => Kind::String,
        "[]uint8" => Kind::Bytes,
        _ => {
            if let Some(pointed) = type_name.strip_prefix('*') {
                kind(pointed, values, depth)
            } else if let Some((key, value)) =
                type_name.strip_prefix("map[").and_then(|rest| rest.split_once(']'))
            {
                Kind::Map { key: Box::new(kind(key, &[], depth)), value: Box::new(kind(value, &[], depth)) }
            } else if values.is_empty() {
                Kind::Unknown(type_name.to_owned())
            } else {
                let nested = if depth < MAX_DEPTH { fields(values, depth + 1) } else { Vec::new() };
                let first = values.first().map(|value| value.name.clone()).unwrap_or_default();
                Kind::Message { name: type_name.to_owned(), fields: nested, first }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, type_name: &str, values: Vec<Value>) -> Value {
        Value { name: name.to_owned(), type_name: type_name.to_owned(), values }
    }

    fn field(name: &str, kind: Kind, repeated: bool) -> Field {
        let (about, excludes) = (String::new(), Vec::new());
        Field { name: name.to_owned(), about, kind, repeated, excludes, deprecated: false }
    }

    #[test]
    fn go_type_names_become_kinds() {
        let request = value(
            "TokenRequest",
            "TokenRequest",
            vec![
                value("id", "string", Vec::new()),
                value("expiry", "int64", Vec::new()),
                value("scopes", "[]string", Vec::new()),
                value("secret", "[]uint8", Vec::new()),
                value("parts", "[][]uint8", Vec::new()),
                value("labels", "map[string]float32", Vec::new()),
                value("access", "Access", Vec::new()),
                value("options", "Options", vec![value("namespace", "string", Vec::new())]),
            ],
        );
        let metadata = HashMap::new();
        let registered = [Registered { name: "Auth.Token", metadata: &metadata, request: Some(request) }];
        let service = Service::from_values("auth", "latest", &registered, "");
        let nested = vec![field("namespace", Kind::String, false)];
        let message =
            Kind::Message { name: "Options".to_owned(), fields: nested, first: "namespace".to_owned() };
        assert_eq!(
            service.endpoints[0].fields,
            [
                field("id", Kind::String, false),
                field("expiry", Kind::Int64, false),
                field("scopes", Kind::String, true),
                field("secret", Kind::Bytes, false),
                field("parts", Kind::Bytes, true),
                field(
                    "labels",
                    Kind::Map { key: Box::new(Kind::String), value: Box::new(Kind::Float) },
                    false
                ),
                field("access", Kind::Unknown("Access".to_owned()), false),
                field("options", message, false),
            ]
        );
    }

    #[test]
    fn a_stream_has_no_fields_and_a_subscriber_is_left_out() {
        let context = value("Context", "Context", Vec::new());
        let stream = HashMap::from([("stream".to_owned(), "true".to_owned())]);
        let subscriber = HashMap::from([("subscriber".to_owned(), "true".to_owned())]);
        let registered = [
            Registered { name: "Greeter.Watch", metadata: &stream, request: Some(context.clone()) },
            Registered { name: "Func", metadata: &subscriber, request: Some(context) },
        ];
        let service = Service::from_values("greeter", "latest", &registered, "");
        let [watch] = service.endpoints.as_slice() else { panic!("{:?}", service.endpoints) };
        assert!(watch.request_stream && watch.response_stream && watch.fields.is_empty());
    }
}
