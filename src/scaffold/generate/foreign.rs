//! Services that a project only calls: their descriptors are kept beside its .proto files, so that
//! their clients are generated again whenever the rest is. Nobody here can edit what they declare, so names
//! that Rust does not tell apart get a number.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use heck::ToSnakeCase as _;
use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

use super::names;

/// What a service registered as `proto/<service>.binpb` of a project, without the files that its `handlers`
/// do not need: the path from the project's root, and the content.
///
/// # Errors
/// The descriptors are damaged or lack the handlers, or the name is no name of a file.
pub(crate) fn fetched(
    service: &str,
    handlers: &HashSet<&str>,
    descriptors: &[u8],
) -> Result<(PathBuf, Vec<u8>)> {
    if service.starts_with('.') || service.contains(['/', '\0']) {
        bail!("`{}` cannot be the name of a file", service.escape_debug());
    }
    let mut set = FileDescriptorSet::decode(descriptors)
        .with_context(|| format!("the descriptors of `{service}` are damaged"))?;
    let needed = needed(&set, handlers);
    set.file.retain(|file| needed.contains(file.name()));
    if set.file.is_empty() {
        bail!("the descriptors of `{service}` do not describe its handlers");
    }
    Ok((Path::new("proto").join(format!("{service}.binpb")), set.encode_to_vec()))
}

/// The files that declare a handler, and what they import.
fn needed(set: &FileDescriptorSet, handlers: &HashSet<&str>) -> HashSet<String> {
    let declares =
        |file: &&FileDescriptorProto| file.service.iter().any(|service| handlers.contains(service.name()));
    let mut wanted: Vec<&FileDescriptorProto> = set.file.iter().filter(declares).collect();
    let mut needed = HashSet::new();
    while let Some(file) = wanted.pop() {
        if needed.insert(file.name().to_owned()) {
            wanted.extend(
                set.file.iter().filter(|other| file.dependency.iter().any(|name| name == other.name())),
            );
        }
    }
    needed
}

/// Gives fields, oneofs and values of enums a number behind their names where they would be one in Rust. On
/// the wire they have no names.
pub(super) fn make_distinct(file: &mut FileDescriptorProto) {
    let is_proto3 = file.syntax() == "proto3";
    file.message_type.iter_mut().for_each(|message| of_message(is_proto3, message));
    file.enum_type.iter_mut().for_each(of_enum);
}

fn of_message(is_proto3: bool, message: &mut DescriptorProto) {
    let (mut members, mut accessors) = (HashSet::new(), HashSet::new());
    for index in 0..message.field.len() {
        let declared = message.field[index].name().to_owned();
        for number in 2.. {
            let names::Field { member, accessors: own } =
                names::Field::of(is_proto3, message, &message.field[index]);
            let is_free = !member.is_empty()
                && !members.contains(&member)
                && own.iter().all(|name| !accessors.contains(name));
            if is_free {
                members.insert(member);
                accessors.extend(own);
                break;
            }
            message.field[index].name = Some(numbered(&declared, number));
        }
    }
    for oneof in &mut message.oneof_decl {
        let declared = oneof.name().to_owned();
        for number in 2.. {
            let member = oneof.name().to_snake_case();
            if !member.is_empty() && members.insert(member) {
                break;
            }
            oneof.name = Some(numbered(&declared, number));
        }
    }
    message.nested_type.iter_mut().for_each(|nested| of_message(is_proto3, nested));
    message.enum_type.iter_mut().for_each(of_enum);
}

fn of_enum(declared: &mut EnumDescriptorProto) {
    let name = declared.name().to_owned();
    let (mut variants, mut numbers) = (HashSet::new(), HashSet::new());
    for value in &mut declared.value {
        // Another name of a number that has one is left out.
        if !numbers.insert(value.number()) {
            continue;
        }
        let first = value.name().to_owned();
        for number in 2.. {
            let variant = names::variant(&name, value.name());
            if !variant.is_empty() && variants.insert(variant) {
                break;
            }
            value.name = Some(numbered(&first, number));
        }
    }
}

/// `name_2`, or `unnamed_2` where the name has no letter or digit.
fn numbered(name: &str, number: u32) -> String {
    let name = if name.to_snake_case().is_empty() { "unnamed" } else { name };
    format!("{name}_{number}")
}
