//! A schema from protobuf descriptors, with the doc comments of the `.proto` files.

use super::schema::{Endpoint, Field, Kind, MAX_DEPTH, Service};
use prost_reflect::{DescriptorPool, FieldDescriptor, FileDescriptor, MessageDescriptor, ServiceDescriptor};
use std::collections::HashMap;

/// An endpoint has at most about this many flags; further messages are given as JSON. Messages that hold many
/// messages, level by level, would else make a command of millions of flags.
const MAX_FIELDS: usize = 1000;

impl Service {
    /// The schema of every service in `pool`, except those of Google and gRPC themselves, as endpoints of the
    /// service registered as `service`. Of two handlers with one name, that of the package named like the service
    /// counts.
    pub(crate) fn from_descriptors(pool: &DescriptorPool, service: &str, version: &str) -> Self {
        let mut reader = Reader::default();
        let mut handlers: Vec<ServiceDescriptor> =
            pool.services().filter(|handler| !is_foreign(handler.package_name())).collect();
        handlers.sort_by_key(|handler| handler.package_name() != service);
        let mut described = Self { name: service.to_owned(), version: version.to_owned(), ..Self::default() };
        for handler in handlers {
            if described.owns(handler.name()) && described.about.is_empty() {
                described.about = reader.comment(&handler.parent_file(), handler.path());
            }
            for method in handler.methods() {
                let name = format!("{}.{}", handler.name(), method.name());
                if described.endpoints.iter().any(|endpoint| endpoint.name == name) {
                    continue;
                }
                described.endpoints.push(Endpoint {
                    name,
                    about: reader.comment(&handler.parent_file(), method.path()),
                    request_stream: method.is_client_streaming(),
                    response_stream: method.is_server_streaming(),
                    fields: reader.request(&method.input()),
                });
            }
        }
        described
    }
}

fn is_foreign(package: &str) -> bool {
    ["google", "grpc"]
        .iter()
        .any(|owner| package.strip_prefix(owner).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

type Comments = HashMap<Vec<i32>, String>;

/// Reads messages, and remembers what it reads again and again.
#[derive(Default)]
struct Reader {
    comments: HashMap<String, Comments>,
    ancestors: Vec<String>,
    fields: usize,
}

impl Reader {
    fn request(&mut self, message: &MessageDescriptor) -> Vec<Field> {
        self.fields = 0;
        if well_known(message.full_name()).is_some() { Vec::new() } else { self.message(message) }
    }

    fn message(&mut self, message: &MessageDescriptor) -> Vec<Field> {
        // A message inside itself has no end, and as JSON it can be as deep as one likes.
        let recursive = self.ancestors.iter().any(|ancestor| ancestor == message.full_name());
        if recursive || self.ancestors.len() >= MAX_DEPTH || self.fields >= MAX_FIELDS {
            return Vec::new();
        }
        self.fields += message.fields().len();
        self.ancestors.push(message.full_name().to_owned());
        let fields = message.fields().map(|field| self.field(&field)).collect();
        self.ancestors.pop();
        fields
    }

    fn field(&mut self, field: &FieldDescriptor) -> Field {
        Field {
            name: field.name().to_owned(),
            about: self.comment(&field.parent_file(), field.path()),
            kind: self.kind(field),
            repeated: field.is_list(),
        }
    }

    fn kind(&mut self, field: &FieldDescriptor) -> Kind {
        use prost_reflect::Kind as Proto;
        match field.kind() {
            Proto::Bool => Kind::Bool,
            Proto::Int32 | Proto::Sint32 | Proto::Sfixed32 => Kind::Int32,
            Proto::Int64 | Proto::Sint64 | Proto::Sfixed64 => Kind::Int64,
            Proto::Uint32 | Proto::Fixed32 => Kind::Uint32,
            Proto::Uint64 | Proto::Fixed64 => Kind::Uint64,
            Proto::Float => Kind::Float,
            Proto::Double => Kind::Double,
            Proto::String => Kind::String,
            Proto::Bytes => Kind::Bytes,
            Proto::Enum(descriptor) if descriptor.full_name() == "google.protobuf.NullValue" => {
                Kind::Unknown(descriptor.full_name().to_owned())
            }
            Proto::Enum(descriptor) => Kind::Enum {
                name: descriptor.name().to_owned(),
                values: descriptor.values().map(|value| value.name().to_owned()).collect(),
            },
            Proto::Message(entry) if field.is_map() => Kind::Map {
                key: Box::new(self.kind(&entry.map_entry_key_field())),
                value: Box::new(self.kind(&entry.map_entry_value_field())),
            },
            Proto::Message(message) => well_known(message.full_name()).unwrap_or_else(|| Kind::Message {
                name: message.name().to_owned(),
                fields: self.message(&message),
            }),
        }
    }

    /// The comment above the element at `path`, else the one at the end of its line.
    fn comment(&mut self, file: &FileDescriptor, path: &[i32]) -> String {
        if let Some(comments) = self.comments.get(file.name()) {
            return comments.get(path).cloned().unwrap_or_default();
        }
        let comments = comments(file);
        let comment = comments.get(path).cloned().unwrap_or_default();
        self.comments.insert(file.name().to_owned(), comments);
        comment
    }
}

/// The messages whose JSON form is not an object of their fields.
fn well_known(message: &str) -> Option<Kind> {
    let kind = match message.strip_prefix("google.protobuf.")? {
        "BoolValue" => Kind::Bool,
        "Int32Value" => Kind::Int32,
        "Int64Value" => Kind::Int64,
        "UInt32Value" => Kind::Uint32,
        "UInt64Value" => Kind::Uint64,
        "FloatValue" => Kind::Float,
        "DoubleValue" => Kind::Double,
        "StringValue" => Kind::String,
        "BytesValue" => Kind::Bytes,
        "Timestamp" | "Duration" | "FieldMask" | "Any" | "Struct" | "Value" | "ListValue" => {
            Kind::Unknown(message.to_owned())
        }
        _ => return None,
    };
    Some(kind)
}

fn comments(file: &FileDescriptor) -> Comments {
    let Some(source) = &file.file_descriptor_proto().source_code_info else { return Comments::new() };
    source
        .location
        .iter()
        .map(|location| {
            let leading = clean(location.leading_comments());
            let comment = if leading.is_empty() { clean(location.trailing_comments()) } else { leading };
            (location.path.clone(), comment)
        })
        .filter(|(_, comment)| !comment.is_empty())
        .collect()
}

fn clean(comment: &str) -> String {
    let lines: Vec<&str> =
        comment.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim().to_owned()
}
