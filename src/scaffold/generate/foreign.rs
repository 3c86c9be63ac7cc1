//! Services that a project only calls: their descriptors are kept beside its .proto files, so that
//! their clients are generated again whenever the rest is.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use super::write_if_changed;

/// Keeps what a service registered as `proto/<service>.binpb` of a project, without the files that
/// its `handlers` do not need. Returns the path, and whether anything changed.
///
/// # Errors
/// The descriptors are damaged or lack the handlers, the name is no name of a file, or the file
/// cannot be written.
pub(crate) fn keep(
    project: &Path,
    service: &str,
    handlers: &HashSet<&str>,
    descriptors: &[u8],
) -> Result<(PathBuf, bool)> {
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
    let path = project.join("proto").join(format!("{service}.binpb"));
    let changed = write_if_changed(&path, &set.encode_to_vec())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok((path, changed))
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
