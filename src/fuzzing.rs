//! Functions that take any bytes, and check what must hold of them: for tests, which try some inputs, and
//! for cargo-fuzz, which tries many (see `fuzz/README.md`). They stand beside what they attack, in modules
//! called `fuzz`; no build for use has them.

#[cfg(test)]
mod runner;

use crate::{
    cli, config, names,
    scaffold::generate,
    server,
    services::{self, auth, store},
    sockets, transcode,
};

type Target = fn(&[u8]);

/// Every target by its name, which is also that of its folder of inputs.
const TARGETS: &[(&str, Target)] = &[
    ("proto", generate::fuzz::proto),
    ("json", transcode::fuzz::json),
    ("protobuf", transcode::fuzz::protobuf),
    ("frames", transcode::fuzz::frames),
    ("weight", transcode::fuzz::weight),
    ("path", server::fuzz::path),
    ("parameters", server::fuzz::parameters),
    ("headers", server::fuzz::headers),
    ("token", auth::fuzz::token),
    ("rules", auth::fuzz::rules),
    ("records", store::fuzz::records),
    ("config", services::config::fuzz::config),
    ("snapshot", store::fuzz::snapshot),
    ("command", cli::fuzz::words),
    ("name", names::fuzz::name),
    ("terminal", cli::fuzz::terminal),
    ("files", config::fuzz::files),
    ("sockets", sockets::fuzz::sockets),
];

/// Gives an input to a target.
///
/// # Panics
/// Something that must hold does not, or there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.unwrap_or_else(|| panic!("there is no target `{name}`"));
    target(input);
}
