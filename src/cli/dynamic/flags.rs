//! The flags of an endpoint: its fields, with nested messages flattened, and all the spellings of each.

use super::names::kebab;
use super::schema::{Endpoint, Field, Kind};
use crate::names::loose;
use std::collections::{HashMap, HashSet};

/// The long flags that every command has. A field of such a name is `--field.<name>`.
pub(crate) const RESERVED: [&str; 13] = [
    "json",
    "header",
    "config",
    "help",
    "env",
    "namespace",
    "output",
    "timeout",
    "quiet",
    "verbose",
    "yes",
    "no-color",
    "version",
];

/// What is put before the name of a field that would else be taken for another flag.
const ESCAPE: &str = "field.";

/// How a field is set whose name is that of a flag of every command, without `--`.
pub(crate) fn escaped(name: &str) -> String {
    format!("{ESCAPE}{name}")
}

/// A field of a request as a flag.
#[derive(Debug, PartialEq)]
pub(super) struct Flag<'a> {
    /// The names from the request down to the field.
    pub(super) path: Vec<&'a str>,
    /// The field.
    pub(super) field: &'a Field,
    /// The documented name, without `--`: `user_email`, `address.zip`.
    pub(super) long: String,
    /// Other spellings, not documented.
    pub(super) aliases: Vec<String>,
}

impl Flag<'_> {
    /// The name by which clap knows it, never that of a global flag.
    pub(super) fn id(&self) -> String {
        format!("field:{}", self.long)
    }

    /// Whether the flag needs no value.
    pub(super) fn is_switch(&self) -> bool {
        let alone = self.field.kind == Kind::Bool || self.field.kind.is_empty_message();
        alone && !self.field.repeated
    }

    /// Whether the name was changed, for it means something else.
    pub(super) fn is_escaped(&self) -> bool {
        self.long != self.path.join(".")
    }
}

/// The flags of `endpoint`, parents before children. A field whose name cannot be typed as a flag has none.
pub(super) fn flags(endpoint: &Endpoint) -> Vec<Flag<'_>> {
    let mut flags = Vec::new();
    flatten(&endpoint.fields, &[], &mut flags);
    let mut taken: HashSet<String> = HashSet::new();
    for flag in &mut flags {
        while is_reserved(&flag.long) || taken.contains(&flag.long) {
            flag.long = escaped(&flag.long);
        }
        taken.insert(flag.long.clone());
    }
    // A spelling that two flags share belongs to neither.
    let wanted: Vec<Vec<String>> = flags.iter().map(|flag| spellings(&flag.long)).collect();
    let mut users: HashMap<&str, usize> = HashMap::new();
    for spelling in wanted.iter().flatten() {
        *users.entry(spelling).or_default() += 1;
    }
    for (flag, wanted) in flags.iter_mut().zip(&wanted) {
        let free = |spelling: &&String| {
            users[spelling.as_str()] == 1 && !taken.contains(*spelling) && !is_reserved(spelling)
        };
        flag.aliases = wanted.iter().filter(free).cloned().collect();
    }
    flags
}

/// The flag that is meant by `typed` (without `--`), or, as an error, the flags that may be meant.
pub(super) fn find<'f, 'a>(flags: &'f [Flag<'a>], typed: &str) -> Result<Option<&'f Flag<'a>>, Vec<&'f str>> {
    let exact = |flag: &&Flag<'_>| flag.long == typed || flag.aliases.iter().any(|alias| alias == typed);
    if let Some(flag) = flags.iter().find(exact) {
        return Ok(Some(flag));
    }
    let folded = loose(typed);
    let close: Vec<&Flag<'_>> = flags.iter().filter(|flag| loose(&flag.long) == folded).collect();
    match close.as_slice() {
        [] => Ok(None),
        [flag] => Ok(Some(flag)),
        several => Err(several.iter().map(|flag| flag.long.as_str()).collect()),
    }
}

fn flatten<'a>(fields: &'a [Field], above: &[&'a str], flags: &mut Vec<Flag<'a>>) {
    for field in fields {
        let unusable =
            |character: char| character == '=' || character.is_whitespace() || character.is_control();
        if field.name.is_empty() || field.name.starts_with('-') || field.name.contains(unusable) {
            continue;
        }
        let path: Vec<&str> = above.iter().copied().chain([field.name.as_str()]).collect();
        flags.push(Flag { long: path.join("."), path: path.clone(), field, aliases: Vec::new() });
        if let (Kind::Message { fields, .. }, false) = (&field.kind, field.repeated) {
            flatten(fields, &path, flags);
        }
    }
}

fn is_reserved(long: &str) -> bool {
    RESERVED.contains(&long.to_lowercase().replace('_', "-").as_str())
}

fn spellings(long: &str) -> Vec<String> {
    let hyphens = long.replace(['_', '.'], "-");
    let mut spellings =
        vec![hyphens.replace('-', "_"), long.replace('_', "-"), kebab(long).replace('.', "-"), hyphens];
    spellings.sort();
    spellings.dedup();
    spellings.retain(|spelling| spelling != long);
    spellings
}
