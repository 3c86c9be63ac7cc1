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

/// How deep nested messages are followed.
const DEPTH: usize = 6;

/// Every descriptor the handlers bring, each file once, encoded as one set.
pub(crate) fn descriptor_set(handlers: &[Box<dyn Handler>]) -> Vec<u8> {
    let mut merged: Vec<&[u8]> = Vec::new();
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
    let mut endpoints = Vec::new();
    for handler in handlers {
        let prefix = format!("{}.", handler.name());
        let all = endpoints_of(handler.descriptor()).into_iter().map(|(_, endpoint)| endpoint);
        endpoints.extend(all.filter(|endpoint| endpoint.name.starts_with(&prefix)));
    }
    endpoints.sort_by(|a, b| a.name.cmp(&b.name));
    endpoints
}

/// Every endpoint of an encoded descriptor set with the package it stands in, sorted.
#[must_use]
pub fn endpoints_of(descriptors: &[u8]) -> Vec<(String, Endpoint)> {
    // A descriptor is generated code; one that does not decode offers no endpoints.
    let set = FileDescriptorSet::decode(descriptors).unwrap_or_default();
    let types = Types::new(&set);
    let mut endpoints = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let all = service.method.iter().map(|method| types.endpoint(service.name(), method));
            endpoints.extend(all.map(|endpoint| (file.package().to_owned(), endpoint)));
        }
    }
    endpoints.sort_by(|a, b| (&a.0, &a.1.name).cmp(&(&b.0, &b.1.name)));
    endpoints
}

/// Every message and enum of a descriptor set, by full name.
struct Types<'a> {
    messages: HashMap<String, &'a DescriptorProto>,
    enums: HashMap<String, &'a EnumDescriptorProto>,
}

impl<'a> Types<'a> {
    fn new(set: &'a FileDescriptorSet) -> Self {
        let mut types = Self { messages: HashMap::new(), enums: HashMap::new() };
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

    fn endpoint(&self, handler: &str, method: &MethodDescriptorProto) -> Endpoint {
        let streams = method.client_streaming() || method.server_streaming();
        let (request, response, metadata) = if streams {
            let plain = |name: &str| Value { name: name.into(), r#type: name.into(), values: Vec::new() };
            let metadata = HashMap::from([("stream".to_owned(), "true".to_owned())]);
            (plain("Context"), plain("Stream"), metadata)
        } else {
            (self.root(method.input_type()), self.root(method.output_type()), HashMap::new())
        };
        Endpoint {
            name: format!("{handler}.{}", method.name()),
            request: Some(request),
            response: Some(response),
            metadata,
        }
    }

    fn root(&self, full_name: &str) -> Value {
        let name = go_name(full_name);
        Value { name: name.clone(), r#type: name, values: self.fields(full_name, 1) }
    }

    fn fields(&self, full_name: &str, depth: usize) -> Vec<Value> {
        let Some(message) = self.messages.get(full_name).filter(|_| depth <= DEPTH) else {
            return Vec::new();
        };
        // The members of a oneof have no JSON tag in Go, so they do not appear there either.
        let fields = message.field.iter().filter(|f| f.oneof_index.is_none() || f.proto3_optional());
        fields.map(|field| self.field(field, depth)).collect()
    }

    fn field(&self, field: &FieldDescriptorProto, depth: usize) -> Value {
        let name = field.name().to_owned();
        if field.label() == Label::Repeated {
            let r#type = match self.map_entry(field) {
                Some((key, value)) => format!("map[{}]{}", self.go_type(key), self.go_type(value)),
                None => format!("[]{}", self.go_type(field)),
            };
            return Value { name, r#type, values: Vec::new() };
        }
        let values = match field.r#type() {
            Type::Message | Type::Group => self.fields(field.type_name(), depth + 1),
            _ => Vec::new(),
        };
        Value { name, r#type: self.go_type(field), values }
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
                return if known { go_name(field.type_name()) } else { "int32".to_owned() };
            }
            Type::Message | Type::Group => return go_name(field.type_name()),
        }
        .to_owned()
    }
}

/// The last part of a full name, as Go shortens it.
fn go_name(full_name: &str) -> String {
    full_name.rsplit('.').next().unwrap_or(full_name).to_owned()
}
