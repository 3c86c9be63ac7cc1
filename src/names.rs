//! The one rule for names: what a service made here may be called, what the registry takes from
//! elsewhere, and which names belong to the platform.

use thiserror::Error;

/// The longest part of a name, in bytes.
const PART_LENGTH: usize = 63;
/// The longest name, in bytes.
const NAME_LENGTH: usize = 255;
/// How many characters of a name a message shows.
const SHOWN: usize = 80;
/// The building blocks, in the order `micro services` shows them.
pub(crate) const BLOCKS: [&str; 8] =
    ["auth", "broker", "config", "events", "network", "registry", "runtime", "store"];
/// What a building block is for, in a sentence for help.
pub(crate) fn purpose(block: &str) -> &'static str {
    match block {
        "auth" => "Accounts, tokens and access rules; see also `micro auth --help` and `micro user --help`",
        "broker" => "Messages to those who subscribe to a topic now",
        "config" => "Settings and secrets of a namespace; see also `micro config --help`",
        "events" => "Streams of events that are kept and can be read again",
        "network" => "The way of calls between services and servers; it has no endpoints to be called",
        "registry" => "Which services run, where, and what they can be asked",
        "runtime" => "Builds, runs and supervises services, and keeps their logs",
        "store" => "Records, blobs and snapshots; see also `micro store --help`",
        _ => "",
    }
}

/// Names of building blocks and of the server's doors, reserved in every namespace.
const RESERVED: [&str; 12] = [
    "api", "auth", "broker", "config", "events", "network", "proxy", "registry", "runtime", "server",
    "store", "web",
];
/// The rule, as an error shows it.
pub(crate) const RULE: &str = "a name is made of lower-case letters, digits and hyphens, starts with a letter, \
     may have several such parts joined by dots, each at most 63 long";

/// Why a name is refused.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    /// It breaks the rule.
    #[error("`{}` cannot be a name: {RULE}", shown(.0))]
    Malformed(String),
    /// It is a name of the platform.
    #[error("`{0}` is the name of a part of the platform; try `{0}-service`")]
    Reserved(String),
    /// It has characters that no name may have.
    #[error("`{}` cannot be registered: a name is not empty, at most 255 bytes long, without `/`, blanks and control characters", shown(.0))]
    Unusable(String),
}

/// A name as a message shows it: harmless, and not longer than a line.
pub(crate) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN).collect::<String>().escape_debug().collect();
    if name.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Whether a name follows the rule for services and namespaces made here.
pub(crate) fn follows_rule(name: &str) -> bool {
    name.len() <= NAME_LENGTH && name.split('.').all(part_follows_rule)
}

fn part_follows_rule(part: &str) -> bool {
    part.len() <= PART_LENGTH
        && part.starts_with(|c: char| c.is_ascii_lowercase())
        && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Whether a name belongs to the platform.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Checks the name of a service that is to be run here.
///
/// # Errors
/// It breaks the rule or is reserved.
pub(crate) fn check(name: &str) -> Result<(), Refused> {
    if !follows_rule(name) {
        return Err(Refused::Malformed(name.to_owned()));
    }
    if is_reserved(name) { Err(Refused::Reserved(name.to_owned())) } else { Ok(()) }
}

/// Checks the name of a namespace.
///
/// # Errors
/// It breaks the rule.
pub(crate) fn check_namespace(name: &str) -> Result<(), Refused> {
    if follows_rule(name) { Ok(()) } else { Err(Refused::Malformed(name.to_owned())) }
}

/// Checks a name under which somebody registers; the rule for names from elsewhere is looser.
///
/// # Errors
/// It is unusable or reserved.
pub(crate) fn check_registered(name: &str) -> Result<(), Refused> {
    let unusable = |c: char| c == '/' || c.is_control() || c.is_whitespace();
    if name.is_empty() || name.len() > NAME_LENGTH || name.contains(unusable) {
        return Err(Refused::Unusable(name.to_owned()));
    }
    if is_reserved(name) { Err(Refused::Reserved(name.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_made_here_follow_the_rule() {
        for good in ["a", "helloworld", "foo-bar", "v1.foo", "a.b-2.c"] {
            check(good).unwrap();
        }
        for bad in ["", "A", "1a", "-a", "a_b", "a.", ".a", "a..b", "a/b", "ä", "a b", &"x".repeat(64)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_building_block_has_a_purpose() {
        assert!(BLOCKS.iter().all(|block| !purpose(block).is_empty()));
    }

    #[test]
    fn names_of_the_platform_are_reserved_everywhere() {
        for name in RESERVED {
            assert!(check(name).is_err() && check_registered(name).is_err(), "{name}");
        }
    }

    #[test]
    fn names_from_elsewhere_are_looser_but_not_wild() {
        for good in ["Greeter", "go_micro.srv", "a:b", "käse"] {
            check_registered(good).unwrap();
        }
        for bad in ["", "a/b", "a\0", "a\nb", "a b", &"x".repeat(256)] {
            assert!(check_registered(bad).is_err(), "{bad:?}");
        }
    }
}
