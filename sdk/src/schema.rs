//! The schema of a service as Micro v4 registers it: endpoints with trees of Go-style type names
//! (reference: its `extractor.go`), read from the descriptors that protobuf has of them.

use std::collections::HashMap;

use micro_proto::registry::{Endpoint, Value};
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use crate::handler::Handler;

/// The key, in the metadata of a service of the registry, of the reason why the registry cannot use its descriptors.
pub const REFUSED: &str = "descriptors_refused";

/// How deep nested messages are followed.
const DEPTH: usize = 6;
/// How many fields a request or an answer lists, those of its messages included.
const FIELDS: usize = 500;
/// How long the endpoints of a service may be altogether, in bytes on the wire: half of what the registry takes of
/// a registration.
const BYTES: usize = 128 << 10;

/// Every descriptor the handlers bring, each file once, with that of the handler every service has,
/// encoded as one set.
pub(crate) fn descriptor_set(handlers: &[Box<dyn Handler>]) -> Vec<u8> {
    let mut own = FileDescriptorSet::decode(micro_proto::DESCRIPTORS).unwrap_or_default();
    own.file.retain(|file| file.package() == "debug");
    let own = own.encode_to_vec();
    let mut merged: Vec<&[u8]> = Vec::new();
    if !handlers.iter().any(|handler| handler.name() == "Debug") {
        merged.push(&own);
    }
    for descriptor in handlers.iter().map(|handler| handler.descriptor()) {
        if !merged.contains(&descriptor) {
            merged.push(descriptor);
        }
    }
    // Encoded messages of one type are merged by putting one behind the other.
    merged.concat()
}

/// The endpoints of these handlers, sorted by handler and method.
pub(crate) fn endpoints(handlers: &[Box<dyn Handler>]) -> Vec<Endpoint> {
    // A descriptor is generated code; one that does not decode offers no endpoints.
    let decoded = |handler: &dyn Handler| FileDescriptorSet::decode(handler.descriptor()).unwrap_or_default();
    let sets: Vec<_> = handlers.iter().map(|handler| (handler.name(), decoded(handler.as_ref()))).collect();
    let sets: Vec<_> = sets.iter().map(|(name, set)| (Some(*name), set)).collect();
    let mut endpoints: Vec<_> = in_budget(&sets, false).into_iter().map(|(_, endpoint)| endpoint).collect();
    endpoints.sort_by(|a, b| a.name.cmp(&b.name));
    endpoints
}

/// Every endpoint of an encoded descriptor set with the package it stands in, sorted. Messages that hold many
/// messages are followed less deep, so that the endpoints stay within what the registry takes.
#[must_use]
pub fn endpoints_of(descriptors: &[u8]) -> Vec<(String, Endpoint)> {
    in_budget(&[(None, &FileDescriptorSet::decode(descriptors).unwrap_or_default())], false)
}

/// As [`endpoints_of`], with what Go's types leave out: the members of oneofs, and the fields of messages in lists.
#[must_use]
pub fn whole_endpoints_of(descriptors: &[u8]) -> Vec<(String, Endpoint)> {
    in_budget(&[(None, &FileDescriptorSet::decode(descriptors).unwrap_or_default())], true)
}

/// The endpoints of these sets, of one handler each where it is named, followed as deep as their budget allows.
fn in_budget(sets: &[(Option<&str>, &FileDescriptorSet)], whole: bool) -> Vec<(String, Endpoint)> {
    let types: Vec<_> = sets.iter().map(|(handler, set)| (*handler, *set, Types::new(set, whole))).collect();
    let at = |depth: usize| -> Option<Vec<(String, Endpoint)>> {
        let (mut endpoints, mut left) = (Vec::new(), BYTES);
        for (handler, set, types) in &types {
            for (package, service, method) in methods(set) {
                if handler.is_some_and(|handler| handler != service) {
                    continue;
                }
                let endpoint = types.endpoint(service, method, depth);
                // Without any fields there is nothing more to leave out.
                left = left.checked_sub(endpoint.encoded_len()).or((depth == 0).then_some(0))?;
                endpoints.push((package.to_owned(), endpoint));
            }
        }
        endpoints.sort_by(|a, b| (&a.0, &a.1.name).cmp(&(&b.0, &b.1.name)));
        Some(endpoints)
    };
    (0..=DEPTH).rev().find_map(at).unwrap_or_default()
}

/// The methods of a set, with their package and handler.
fn methods(set: &FileDescriptorSet) -> impl Iterator<Item = (&str, &str, &MethodDescriptorProto)> {
    set.file.iter().flat_map(|file| {
        let services = file.service.iter();
        services
            .flat_map(|service| service.method.iter().map(|method| (file.package(), service.name(), method)))
    })
}

/// Every message and enum of a descriptor set, by full name.
struct Types<'a> {
    messages: HashMap<String, &'a DescriptorProto>,
    enums: HashMap<String, &'a EnumDescriptorProto>,
    /// Nothing is left out.
    whole: bool,
}

impl<'a> Types<'a> {
    fn new(set: &'a FileDescriptorSet, whole: bool) -> Self {
        let mut types = Self { messages: HashMap::new(), enums: HashMap::new(), whole };
        for file in &set.file {
            let scope =
                if file.package().is_empty() { String::new() } else { format!(".{}", file.package()) };
            types.enums.extend(file.enum_type.iter().map(|e| (format!("{scope}.{}", e.name()), e)));
            for message in &file.message_type {
                types.add(&scope, message);
            }
        }
        types
    }

    fn add(&mut self, scope: &str, message: &'a DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        self.enums.extend(message.enum_type.iter().map(|e| (format!("{name}.{}", e.name()), e)));
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        self.messages.insert(name, message);
    }

    fn endpoint(&self, handler: &str, method: &MethodDescriptorProto, depth: usize) -> Endpoint {
        let streams = method.client_streaming() || method.server_streaming();
        let (request, response, metadata) = if streams && self.whole {
            let metadata = HashMap::from([("stream".to_owned(), "true".to_owned())]);
            (self.root(method.input_type(), depth), self.root(method.output_type(), depth), metadata)
        } else if streams {
            let plain = |name: &str| Value { name: name.into(), r#type: name.into(), values: Vec::new() };
            let metadata = HashMap::from([("stream".to_owned(), "true".to_owned())]);
            (plain("Context"), plain("Stream"), metadata)
        } else {
            (self.root(method.input_type(), depth), self.root(method.output_type(), depth), HashMap::new())
        };
        Endpoint {
            name: format!("{handler}.{}", method.name()),
            request: Some(request),
            response: Some(response),
            metadata,
        }
    }

    /// The name Go gives a type: that of a type within a message goes behind the message's.
    fn go_name(&self, full_name: &str) -> String {
        let mut name = last(full_name).to_owned();
        let mut scope = full_name;
        while let Some((outer, _)) =
            scope.rsplit_once('.').filter(|(outer, _)| self.messages.contains_key(*outer))
        {
            name = format!("{}_{name}", last(outer));
            scope = outer;
        }
        name
    }

    /// A request or an answer, with as many levels of fields as its budget allows, at most `depth`.
    fn root(&self, full_name: &str, depth: usize) -> Value {
        let name = self.go_name(full_name);
        let values = (1..=depth).rev().find_map(|depth| {
            let mut walk = Walk { types: self, depth, left: FIELDS, above: Vec::new() };
            walk.fields(full_name, 1)
        });
        Value { name: name.clone(), r#type: name, values: values.unwrap_or_default() }
    }

    fn map_entry(
        &self,
        field: &FieldDescriptorProto,
    ) -> Option<(&'a FieldDescriptorProto, &'a FieldDescriptorProto)> {
        let entry = self.messages.get(field.type_name())?;
        let is_map = entry.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry);
        is_map.then_some(())?;
        Some((entry.field.first()?, entry.field.get(1)?))
    }

    fn go_type(&self, field: &FieldDescriptorProto) -> String {
        match field.r#type() {
            Type::Double => "float64",
            Type::Float => "float32",
            Type::Int32 | Type::Sint32 | Type::Sfixed32 => "int32",
            Type::Int64 | Type::Sint64 | Type::Sfixed64 => "int64",
            Type::Uint32 | Type::Fixed32 => "uint32",
            Type::Uint64 | Type::Fixed64 => "uint64",
            Type::Bool => "bool",
            Type::String => "string",
            Type::Bytes => "[]uint8",
            Type::Enum => {
                let known = self.enums.contains_key(field.type_name());
                return if known { self.go_name(field.type_name()) } else { "int32".to_owned() };
            }
            Type::Message | Type::Group => return self.go_name(field.type_name()),
        }
        .to_owned()
    }
}

/// A walk through the fields of a request or an answer.
struct Walk<'t, 'a> {
    types: &'t Types<'a>,
    /// How many levels of fields are listed.
    depth: usize,
    /// How many fields may still be listed.
    left: usize,
    /// The messages that the walk is in. None of them is followed again: its fields are shown above.
    above: Vec<&'t str>,
}

impl<'t> Walk<'t, '_> {
    /// The fields of a message; none when there are more than may be listed.
    fn fields(&mut self, full_name: &str, depth: usize) -> Option<Vec<Value>> {
        let types: &'t Types<'_> = self.types;
        let Some((name, message)) = types.messages.get_key_value(full_name).filter(|_| depth <= self.depth)
        else {
            return Some(Vec::new());
        };
        if self.above.contains(&name.as_str()) {
            return Some(Vec::new());
        }
        // The members of a oneof have no JSON tag in Go, so they do not appear there either.
        let fields =
            message.field.iter().filter(|f| types.whole || f.oneof_index.is_none() || f.proto3_optional());
        self.above.push(name);
        // Of a message with more fields than may be listed, the first ones are.
        let values = fields.take(FIELDS).map(|field| self.field(field, depth)).collect();
        self.above.pop();
        values
    }

    fn field(&mut self, field: &FieldDescriptorProto, depth: usize) -> Option<Value> {
        self.left = self.left.checked_sub(1)?;
        let types = self.types;
        let name = field.name().to_owned();
        if field.label() == Label::Repeated {
            if let Some((key, value)) = types.map_entry(field) {
                let r#type = format!("map[{}]{}", types.go_type(key), types.go_type(value));
                return Some(Value { name, r#type, values: Vec::new() });
            }
            // One level of them, so that lists of lists stay readable.
            let below = if types.whole { (depth + 1).max(self.depth) } else { self.depth + 1 };
            let values = self.fields(field.type_name(), below)?;
            return Some(Value { name, r#type: format!("[]{}", types.go_type(field)), values });
        }
        let values = match field.r#type() {
            Type::Message | Type::Group => self.fields(field.type_name(), depth + 1)?,
            _ => Vec::new(),
        };
        Some(Value { name, r#type: types.go_type(field), values })
    }
}

fn last(full_name: &str) -> &str {
    full_name.rsplit('.').next().unwrap_or(full_name)
}

#[cfg(test)]
mod tests;
