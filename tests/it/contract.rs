//! The contract is that of Micro v4: all that stands in `contract.txt` is as it says, and what was
//! added cannot be taken for it.

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind};

/// The methods that Micro v4 does not have.
const ADDITIONS: [&str; 15] = [
    "auth.Auth.Audit",
    "auth.Auth.Local",
    "auth.Auth.Revoke",
    "auth.Auth.RotateKey",
    "config.Config.List",
    "config.Config.Watch",
    "debug.Debug.Health",
    "debug.Debug.Stats",
    "registry.Registry.Describe",
    "registry.Registry.Descriptors",
    "runtime.Runtime.Clean",
    "runtime.Runtime.Watch",
    "store.Store.Batch",
    "store.Store.Restore",
    "store.Store.Snapshot",
];
/// Where the numbers of added fields begin.
const ADDED: u32 = 100;

/// Full names and what they stand for: a method `(Request) Response`, a field `type=number`, the
/// number of an enum's value, or the words `message` and `enum`.
type Facts = BTreeMap<String, String>;

/// What Micro v4 has.
fn wanted() -> Facts {
    let mut facts = Facts::new();
    let mut package = String::new();
    for line in include_str!("contract.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("package ") {
            package = format!("{name}.");
        } else if let Some((name, form)) = line.split_once('(') {
            facts.insert(format!("{package}{name}"), format!("({form}"));
        } else {
            let (kind, line) = line.strip_prefix("enum ").map_or(("message", line), |rest| ("enum", rest));
            let (name, parts) = line.split_once(" {").expect(line);
            let name = format!("{package}{name}");
            let parts = parts.trim_end_matches('}').split(", ").map(str::trim);
            for part in parts.filter(|part| !part.is_empty()) {
                let (part, form) = part.split_once([':', '=']).expect(line);
                facts.insert(format!("{name}.{part}"), form.to_owned());
            }
            facts.insert(name, kind.to_owned());
        }
    }
    facts
}

/// What is there.
fn present() -> Facts {
    let pool = DescriptorPool::decode(micro_sdk::proto::DESCRIPTORS).unwrap();
    let mut facts = Facts::new();
    for service in pool.services() {
        for method in service.methods() {
            let stream = |streams: bool| if streams { "stream " } else { "" };
            let form = format!(
                "({}{}) {}{}",
                stream(method.is_client_streaming()),
                within(service.package_name(), method.input().full_name()),
                stream(method.is_server_streaming()),
                within(service.package_name(), method.output().full_name()),
            );
            facts.insert(method.full_name().to_owned(), form);
        }
    }
    for message in pool.all_messages().filter(|message| !message.is_map_entry()) {
        for field in message.fields() {
            let form = format!("{}={}", type_of(&field), field.number());
            facts.insert(field.full_name().to_owned(), form);
        }
        facts.insert(message.full_name().to_owned(), "message".to_owned());
    }
    for kind in pool.all_enums() {
        for value in kind.values() {
            facts.insert(format!("{}.{}", kind.full_name(), value.name()), value.number().to_string());
        }
        facts.insert(kind.full_name().to_owned(), "enum".to_owned());
    }
    facts
}

/// A name as it is written inside its package.
fn within(package: &str, name: &str) -> String {
    name.strip_prefix(package).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name).to_owned()
}

fn type_of(field: &FieldDescriptor) -> String {
    let package = field.parent_message().package_name();
    let plain = |field: &FieldDescriptor| within(package, &format!("{:?}", field.kind()));
    match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            format!("map<{},{}>", plain(&key), plain(&value))
        }
        _ if field.is_list() => format!("repeated {}", plain(field)),
        _ if field.containing_oneof().is_some() => format!("one of {}", plain(field)),
        _ => plain(field),
    }
}

#[test]
fn all_of_micro_v4_is_there_and_what_was_added_stands_apart() {
    let (wanted, present) = (wanted(), present());
    assert!(wanted.len() > 400, "contract.txt was not read whole: {}", wanted.len());
    let mut wrong = Vec::new();
    for (name, form) in &wanted {
        if present.get(name) != Some(form) {
            wrong.push(format!("{name} is {:?}, in Micro v4 {form}", present.get(name)));
        }
    }
    for (name, form) in present.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
        let parent = name.rsplit_once('.').map_or("", |(parent, _)| parent);
        let number = form.rsplit_once('=').map(|(_, number)| number.parse::<u32>().unwrap());
        let apart = if form.starts_with('(') {
            ADDITIONS.contains(&name.as_str())
        } else {
            number.is_some_and(|number| number >= ADDED) || !wanted.contains_key(parent)
        };
        if !apart {
            wrong.push(format!("{name} is {form}, which Micro v4 does not have"));
        }
    }
    for name in ADDITIONS {
        if wanted.contains_key(name) || !present.contains_key(name) {
            wrong.push(format!("{name} is no addition"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
