//! How deep messages hold each other. rustc looks through all of them to see that a message may go from one
//! thread to another, and gives up (E0275) at a depth that a crate can raise.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

use anyhow::{Result, bail};
use prost_types::{
    DescriptorProto, FieldDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use super::{names::is_map_entry, sources::Source};

/// The depth that every crate has, 128, less what a service has around its messages.
const MOST: usize = 96;
/// The levels of a field that holds a message, with that message's own.
const SINGLE: usize = 2;
const BOXED: usize = 4;
const LIST: usize = 4;
const MAP: usize = 5;
/// What a oneof adds to that.
const ONEOF: usize = 1;

/// Refuses messages that hold each other deeper than rustc looks, unless the project tells it to.
///
/// # Errors
/// The text has the place of the method that takes or returns such a message, and the remedy.
pub(super) fn check(sources: &[Source], project: &Path) -> Result<()> {
    let mut messages = HashMap::new();
    for source in sources {
        let package = source.file.package();
        let scope = if package.is_empty() { String::new() } else { format!(".{package}") };
        collect(&scope, &source.file.message_type, &mut messages);
    }
    let mut walk = Walk { messages, seen: HashSet::new(), boxed: HashMap::new() };
    let mut checked = HashSet::new();
    for source in sources {
        let services = source.file.service.iter().enumerate();
        let methods = services.flat_map(|(service, declared)| {
            declared
                .method
                .iter()
                .enumerate()
                .map(move |(method, declared)| ([6, service, 2, method], declared))
        });
        for (path, method) in methods {
            for name in [method.input_type(), method.output_type()] {
                walk.seen.clear();
                if checked.insert(name) && walk.is_too_deep(name, 1) && !is_told(project) {
                    let path = path.map(|part| i32::try_from(part).unwrap_or(i32::MAX));
                    bail!(
                        "{}: the messages below `{}` hold each other deeper than rustc looks: write `#![recursion_limit = \"1024\"]` into the first line of `src/main.rs`",
                        source.place(&path),
                        name.trim_start_matches('.')
                    );
                }
            }
        }
    }
    Ok(())
}

fn collect<'a>(
    scope: &str,
    declared: &'a [DescriptorProto],
    messages: &mut HashMap<String, &'a DescriptorProto>,
) {
    for message in declared {
        let name = format!("{scope}.{}", message.name());
        collect(&name, &message.nested_type, messages);
        messages.insert(name, message);
    }
}

/// Whether the project raises the depth itself.
fn is_told(project: &Path) -> bool {
    let roots = ["src/main.rs", "src/lib.rs"].map(|root| fs::read_to_string(project.join(root)));
    roots.into_iter().flatten().any(|text| text.contains("#![recursion_limit"))
}

/// The way rustc takes from one message.
struct Walk<'a> {
    messages: HashMap<String, &'a DescriptorProto>,
    /// What it has come by, which it does not look at again.
    seen: HashSet<&'a str>,
    /// Whether a message leads back to another.
    boxed: HashMap<(&'a str, &'a str), bool>,
}

impl<'a> Walk<'a> {
    fn is_too_deep(&mut self, name: &'a str, depth: usize) -> bool {
        let Some(message) = self.messages.get(name).copied() else { return false };
        if depth > MOST {
            return true;
        }
        self.seen.insert(name)
            && message.field.iter().any(|field| {
                let Some((held, levels)) = self.held(name, field) else { return false };
                self.is_too_deep(held, depth + levels)
            })
    }

    /// The message that a field of `name` holds, and the levels to it.
    fn held(&mut self, name: &'a str, field: &'a FieldDescriptorProto) -> Option<(&'a str, usize)> {
        if !matches!(field.r#type(), Type::Message | Type::Group) {
            return None;
        }
        let held = field.type_name();
        if field.label() == Label::Repeated {
            let entry = self.messages.get(held).copied();
            return match entry.filter(|entry| is_map_entry(entry)) {
                Some(entry) => Some((entry.field.get(1)?.type_name(), MAP)),
                None => Some((held, LIST)),
            };
        }
        let is_boxed = field.r#type() == Type::Group || self.leads_to(held, name);
        let levels = if is_boxed { BOXED } else { SINGLE };
        let in_oneof = field.oneof_index.is_some() && !field.proto3_optional();
        Some((held, levels + if in_oneof { ONEOF } else { 0 }))
    }

    /// Whether one message holds another by single fields, which are in boxes then.
    fn leads_to(&mut self, from: &'a str, to: &'a str) -> bool {
        if let Some(known) = self.boxed.get(&(from, to)) {
            return *known;
        }
        let (mut seen, mut wanted) = (HashSet::new(), vec![from]);
        let mut found = false;
        while let Some(name) = wanted.pop().filter(|_| !found) {
            found = name == to;
            if let Some(message) = self.messages.get(name).filter(|_| seen.insert(name)) {
                let single = message.field.iter().filter(|field| field.label() != Label::Repeated);
                let held = single.filter(|field| field.r#type() == Type::Message);
                wanted.extend(held.map(FieldDescriptorProto::type_name));
            }
        }
        self.boxed.insert((from, to), found);
        found
    }
}
