//! A schema from protobuf descriptors, with the doc comments of the `.proto` files. What a line does not ask for is
//! not decoded: most bytes of a set are comments, and most messages belong to other endpoints.

use super::schema::{Endpoint, Field, Kind, Service, Wanted};
use crate::names::loose;
use bytes::Bytes;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FieldOptions, MessageOptions,
    ServiceDescriptorProto, SourceCodeInfo,
};
use std::collections::HashMap;

/// An endpoint shows at most about this many fields; messages that hold many messages, level by level, would else
/// make millions of them.
const MAX_FIELDS: usize = 1000;

/// `google.protobuf.FileDescriptorSet`, with its files still encoded.
#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

/// `google.protobuf.FileDescriptorProto` without its comments.
#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "4")]
    message_type: Vec<DescriptorProto>,
    #[prost(message, repeated, tag = "5")]
    enum_type: Vec<EnumDescriptorProto>,
    #[prost(message, repeated, tag = "6")]
    service: Vec<ServiceDescriptorProto>,
}

/// `google.protobuf.FileDescriptorProto` with nothing but its comments.
#[derive(Clone, PartialEq, prost::Message)]
struct Commented {
    #[prost(message, optional, tag = "9")]
    source_code_info: Option<SourceCodeInfo>,
}

/// A descriptor set.
pub(crate) struct Descriptors(Vec<(Bytes, File)>);

impl Descriptors {
    /// Reads an encoded set.
    ///
    /// # Errors
    /// It is damaged.
    pub(crate) fn decode(set: Vec<u8>) -> Result<Self, prost::DecodeError> {
        let files = Files::decode(Bytes::from(set))?.file.into_iter();
        let decoded = files.map(|bytes| File::decode(bytes.clone()).map(|file| (bytes, file)));
        Ok(Self(decoded.collect::<Result<_, _>>()?))
    }

    /// Leaves out the files of other packages.
    pub(crate) fn of_package(mut self, package: &str) -> Self {
        self.0.retain(|(_, file)| file.package == package);
        self
    }

    /// Every handler of the set, as endpoints of the service registered as `service`, with the fields that are
    /// wanted. Of two handlers with one name, that of the package named like the service counts.
    pub(super) fn describe(&self, service: &str, version: &str, wanted: &Wanted) -> Service {
        let mut reader = Reader::new(self, wanted);
        let files = self.0.iter().enumerate();
        let mut handlers: Vec<(usize, usize, &ServiceDescriptorProto)> = files
            .flat_map(|(at, (_, file))| {
                file.service.iter().enumerate().map(move |(i, handler)| (at, i, handler))
            })
            .collect();
        handlers.sort_by_key(|(at, ..)| self.0[*at].1.package != service);
        let mut described =
            Service { name: service.to_owned(), version: version.to_owned(), ..Service::default() };
        for (at, index, handler) in handlers {
            let path = vec![6, number(index)];
            let about = reader.comment(at, &path);
            if described.owns(handler.name()) && described.about.is_empty() {
                described.about.clone_from(&about);
            }
            described.handlers.entry(handler.name().to_owned()).or_insert(about);
            for (index, method) in handler.method.iter().enumerate() {
                let name = format!("{}.{}", handler.name(), method.name());
                if described.endpoints.iter().any(|endpoint| endpoint.name == name) {
                    continue;
                }
                let fields =
                    if wanted.is_for(&name) { reader.request(method.input_type()) } else { Vec::new() };
                described.endpoints.push(Endpoint {
                    name,
                    about: reader.comment(at, &[&path[..], &[2, number(index)]].concat()),
                    request_stream: method.client_streaming(),
                    response_stream: method.server_streaming(),
                    fields,
                    is_unknown: false,
                    refused: String::new(),
                });
            }
        }
        described
    }
}

/// A place in a path of source code info.
fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

/// A type of the set, with where it stands.
#[derive(Clone)]
enum Item<'a> {
    Message(usize, Vec<i32>, &'a DescriptorProto),
    Enum(&'a EnumDescriptorProto),
}

type Comments = HashMap<Vec<i32>, String>;

/// Reads messages, and remembers what it reads again and again.
struct Reader<'a> {
    set: &'a Descriptors,
    wanted: &'a Wanted,
    /// By name as fields refer to it, with a dot before it.
    types: HashMap<String, Item<'a>>,
    comments: HashMap<usize, Comments>,
    ancestors: Vec<String>,
    fields: usize,
}

impl<'a> Reader<'a> {
    fn new(set: &'a Descriptors, wanted: &'a Wanted) -> Self {
        let mut reader = Self {
            set,
            wanted,
            types: HashMap::new(),
            comments: HashMap::new(),
            ancestors: Vec::new(),
            fields: 0,
        };
        if wanted.has_fields() {
            for (at, (_, file)) in set.0.iter().enumerate() {
                let scope =
                    if file.package.is_empty() { String::new() } else { format!(".{}", file.package) };
                reader.enums(&scope, &file.enum_type);
                for (index, message) in file.message_type.iter().enumerate() {
                    reader.add(at, &scope, vec![4, number(index)], message);
                }
            }
        }
        reader
    }

    fn enums(&mut self, scope: &str, enums: &'a [EnumDescriptorProto]) {
        self.types.extend(enums.iter().map(|e| (format!("{scope}.{}", e.name()), Item::Enum(e))));
    }

    fn add(&mut self, at: usize, scope: &str, path: Vec<i32>, message: &'a DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        self.enums(&name, &message.enum_type);
        for (index, nested) in message.nested_type.iter().enumerate() {
            self.add(at, &name, [&path[..], &[3, number(index)]].concat(), nested);
        }
        self.types.insert(name, Item::Message(at, path, message));
    }

    fn request(&mut self, name: &str) -> Vec<Field> {
        self.fields = 0;
        let name_alone = name.trim_start_matches('.');
        if well_known(name_alone).is_some() { Vec::new() } else { self.message(name, "") }
    }

    /// The fields of a message that stands at a place of the request.
    fn message(&mut self, name: &str, place: &str) -> Vec<Field> {
        let Some(Item::Message(at, path, message)) = self.types.get(name).cloned() else { return Vec::new() };
        self.fields += message.field.len();
        self.ancestors.push(name.to_owned());
        let fields = message.field.iter().enumerate();
        let fields = fields.map(|(index, field)| {
            let kind = self.kind(field, &format!("{place}{}", loose(field.name())));
            Field {
                name: field.name().to_owned(),
                about: self.comment(at, &[&path[..], &[2, number(index)]].concat()),
                repeated: field.label() == Label::Repeated && !matches!(kind, Kind::Map { .. }),
                kind,
                excludes: excluded(message, field),
                deprecated: field.options.as_ref().is_some_and(FieldOptions::deprecated),
            }
        });
        let fields = fields.collect();
        self.ancestors.pop();
        fields
    }

    fn kind(&mut self, field: &FieldDescriptorProto, place: &str) -> Kind {
        match field.r#type() {
            Type::Bool => Kind::Bool,
            Type::Int32 | Type::Sint32 | Type::Sfixed32 => Kind::Int32,
            Type::Int64 | Type::Sint64 | Type::Sfixed64 => Kind::Int64,
            Type::Uint32 | Type::Fixed32 => Kind::Uint32,
            Type::Uint64 | Type::Fixed64 => Kind::Uint64,
            Type::Float => Kind::Float,
            Type::Double => Kind::Double,
            Type::String => Kind::String,
            Type::Bytes => Kind::Bytes,
            Type::Enum | Type::Message | Type::Group => self.named(field, place),
        }
    }

    fn named(&mut self, field: &FieldDescriptorProto, place: &str) -> Kind {
        let name = field.type_name();
        if let Some(kind) = well_known(name.trim_start_matches('.')) {
            return kind;
        }
        match self.types.get(name).cloned() {
            Some(Item::Enum(descriptor)) => Kind::Enum {
                name: descriptor.name().to_owned(),
                values: descriptor.value.iter().map(|value| value.name().to_owned()).collect(),
            },
            Some(Item::Message(.., entry))
                if entry.options.as_ref().is_some_and(MessageOptions::map_entry) =>
            {
                let [key, value] = entry.field.as_slice() else { return Kind::Unknown(name.to_owned()) };
                // Its values are JSON: nothing below them is a flag.
                let (key, value) = (self.kind(key, "\0"), self.kind(value, "\0"));
                Kind::Map { key: Box::new(key), value: Box::new(value) }
            }
            Some(Item::Message(.., message)) => {
                let first = message.field.first().map(|field| field.name().to_owned()).unwrap_or_default();
                let single = field.label() != Label::Repeated;
                let fields =
                    if single && self.expands(name, place) { self.message(name, place) } else { Vec::new() };
                Kind::Message { name: message.name().to_owned(), fields, first }
            }
            None => Kind::Unknown(name.trim_start_matches('.').to_owned()),
        }
    }

    /// Whether the fields of a message at a place are wanted. What was typed may go into a message that holds
    /// itself as deep as it likes; what is listed may not.
    fn expands(&self, name: &str, place: &str) -> bool {
        let recursive = || self.ancestors.iter().any(|ancestor| ancestor == name);
        self.wanted.is_typed_below(place)
            || (self.wanted.shows_below(self.ancestors.len()) && self.fields < MAX_FIELDS && !recursive())
    }

    /// The comment above the element at `path`, else the one at the end of its line.
    fn comment(&mut self, at: usize, path: &[i32]) -> String {
        if !self.wanted.comments {
            return String::new();
        }
        let comments = self.comments.entry(at).or_insert_with(|| comments(&self.set.0[at].0));
        comments.get(path).cloned().unwrap_or_default()
    }
}

/// The other members of a field's oneof, of which only one can be set.
fn excluded(message: &DescriptorProto, field: &FieldDescriptorProto) -> Vec<String> {
    let Some(oneof) = field.oneof_index.filter(|_| !field.proto3_optional()) else { return Vec::new() };
    let others = message.field.iter().filter(|other| other.oneof_index == Some(oneof));
    others.map(|other| other.name().to_owned()).filter(|name| name != field.name()).collect()
}

/// The types whose JSON form is not that of their fields or values.
fn well_known(name: &str) -> Option<Kind> {
    let kind = match name.strip_prefix("google.protobuf.")? {
        "BoolValue" => Kind::Bool,
        "Int32Value" => Kind::Int32,
        "Int64Value" => Kind::Int64,
        "UInt32Value" => Kind::Uint32,
        "UInt64Value" => Kind::Uint64,
        "FloatValue" => Kind::Float,
        "DoubleValue" => Kind::Double,
        "StringValue" => Kind::String,
        "BytesValue" => Kind::Bytes,
        "NullValue" | "Timestamp" | "Duration" | "FieldMask" | "Any" | "Struct" | "Value" | "ListValue" => {
            Kind::Unknown(name.to_owned())
        }
        _ => return None,
    };
    Some(kind)
}

fn comments(file: &Bytes) -> Comments {
    // Without comments a schema is still a schema.
    let Some(source) = Commented::decode(file.clone()).unwrap_or_default().source_code_info else {
        return Comments::new();
    };
    let comments = source.location.into_iter().map(|location| {
        let leading = clean(location.leading_comments());
        let comment = if leading.is_empty() { clean(location.trailing_comments()) } else { leading };
        (location.path, comment)
    });
    comments.filter(|(_, comment)| !comment.is_empty()).collect()
}

fn clean(comment: &str) -> String {
    let lines: Vec<&str> =
        comment.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim().to_owned()
}
