//! The types that protobuf brings along: `google.protobuf.Timestamp` and so on. They are not generated: the
//! SDK has them, with conversions.

use prost_build::Config;
use prost_types::{FileDescriptorProto, field_descriptor_proto::Type};

const PACKAGE: &str = "google.protobuf";

/// The packages of protobuf itself.
pub(super) const PACKAGES: [&str; 2] = [PACKAGE, "google.protobuf.compiler"];

/// Wrappers, which are the bare values in Rust.
const WRAPPERS: [(&str, &str); 7] = [
    ("BoolValue", "bool"),
    ("DoubleValue", "f64"),
    ("FloatValue", "f32"),
    ("Int32Value", "i32"),
    ("Int64Value", "i64"),
    ("UInt32Value", "u32"),
    ("UInt64Value", "u64"),
];

/// What the crate `prost-types` has whole. Of `descriptor.proto`, `type.proto` and `api.proto` it has what
/// they were some years ago; what has come since would be lost on the way, so they are generated where a
/// project uses them.
const TYPES: [&str; 9] = [
    "Any",
    "Duration",
    "FieldMask",
    "ListValue",
    "NullValue",
    "SourceContext",
    "Struct",
    "Timestamp",
    "Value",
];

/// Tells prost where the types are: in `prost` and `types`, the paths of the crates.
pub(super) fn configure(config: &mut Config, prost: &str, types: &str) {
    config.compile_well_known_types();
    for name in TYPES {
        config.extern_path(format!(".{PACKAGE}.{name}"), format!("{types}::{name}"));
    }
    for (name, rust) in WRAPPERS {
        config.extern_path(format!(".{PACKAGE}.{name}"), rust);
    }
    config.extern_path(format!(".{PACKAGE}.Empty"), "()");
    config.extern_path(format!(".{PACKAGE}.StringValue"), format!("{prost}::alloc::string::String"));
    config.extern_path(format!(".{PACKAGE}.BytesValue"), format!("{prost}::alloc::vec::Vec<u8>"));
}

/// Whether a file is in a package of protobuf itself.
pub(super) fn is_standard(file: &FileDescriptorProto) -> bool {
    PACKAGES.contains(&file.package())
}

/// Whether the other files use a type of these that the SDK does not have.
pub(super) fn is_generated<'a>(files: impl Iterator<Item = &'a FileDescriptorProto>) -> bool {
    let mut own = files.filter(|file| !is_standard(file));
    own.any(|file| {
        let methods = file.service.iter().flat_map(|service| &service.method);
        let mut used: Vec<&str> =
            methods.flat_map(|method| [method.input_type(), method.output_type()]).collect();
        let mut messages: Vec<_> = file.message_type.iter().collect();
        while let Some(message) = messages.pop() {
            messages.extend(&message.nested_type);
            let fields = message.field.iter();
            let typed =
                fields.filter(|field| matches!(field.r#type(), Type::Message | Type::Enum | Type::Group));
            used.extend(typed.map(prost_types::FieldDescriptorProto::type_name));
        }
        used.into_iter().any(is_missing)
    })
}

fn is_missing(full_name: &str) -> bool {
    let Some(name) = full_name.strip_prefix(".google.protobuf.") else { return false };
    let first = name.split('.').next().unwrap_or_default();
    let known = TYPES.contains(&first)
        || WRAPPERS.iter().any(|(wrapper, _)| *wrapper == first)
        || ["Empty", "StringValue", "BytesValue"].contains(&first);
    !known
}
