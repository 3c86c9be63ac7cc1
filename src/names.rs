//! The one rule for names: what a service made here may be called, what the registry takes from
//! elsewhere, and which names belong to the platform.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod look;

pub(crate) use micro_sdk::header::{DEFAULT_NAMESPACE, DEFAULT_VERSION};
use thiserror::Error;

pub(crate) use look::{is_invisible, looks};

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

/// The account that every server begins with, and that the owner of the home is.
pub(crate) const ADMINISTRATOR: &str = "admin";

/// Names of building blocks, of the server's doors, and of what its HTTP API answers itself, reserved in
/// every namespace; so is what begins with `grpc.`, as the handlers of every gRPC server.
const RESERVED: [&str; 15] = [
    ".well-known",
    "api",
    "auth",
    "broker",
    "config",
    "events",
    "favicon.ico",
    "network",
    "openapi.json",
    "proxy",
    "registry",
    "runtime",
    "server",
    "store",
    "web",
];
/// The rule, as an error shows it.
pub(crate) const RULE: &str = "a name is made of lower-case letters, digits and hyphens, starts with a letter, \
     may have several such parts joined by dots, each at most 63 long";

/// A name of which the case does not count. Each letter for itself: `str::to_lowercase` writes a sigma in
/// two ways, depending on what stands around it, so that a part of a name would not be that of the whole.
pub(crate) fn lowered(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

/// An endpoint without what may differ in its spelling: a call finds it, and a rule is about it, in any.
pub(crate) fn folded(endpoint: &str) -> String {
    lowered(endpoint).replace(['-', '_'], "")
}

/// What the spellings of one name have in common, `PingPong`, `ping-pong` and `ping.pong`: no case, no
/// separators.
pub(crate) fn loose(name: &str) -> String {
    lowered(name).replace(['-', '_', '.'], "")
}

/// Why a name is refused.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    /// It breaks the rule.
    #[error("`{}` cannot be a name: {RULE}", shown(.0))]
    Malformed(String),
    /// It is a name of the platform.
    #[error("`{}` is the name of a part of the platform{}", shown(.0), instead(.0, |name| check(name).is_ok()))]
    Reserved(String),
    /// It looks like another name.
    #[error("`{}` looks like `{}`, which is taken: people could not tell them apart", shown(.0), shown(.1))]
    Alike(String, String),
    /// It has characters that no name may have.
    #[error("`{}` cannot be registered: a name is not empty, at most 255 bytes long, does not begin with `-`, has no empty parts between dots, and no `/`, blanks and characters that cannot be seen", shown(.0))]
    Unusable(String),
}

/// A name near a refused one that may be had, as the end of the refusal; nothing where no near one may.
pub(crate) fn instead(name: &str, may_be_had: impl Fn(&str) -> bool) -> String {
    let plain = name.trim_start_matches('.');
    let near = [plain.to_owned(), format!("{plain}-service"), format!("{}-service", plain.replace('.', "-"))];
    let found = near.iter().find(|near| follows_rule(near) && may_be_had(near));
    found.map_or_else(String::new, |near| format!("; try `{near}`"))
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

/// Whether a name belongs to the platform: also with versions of the API before it, since the HTTP API takes
/// `/v1/auth/…` for both `v1.auth` and `auth`.
pub(crate) fn is_reserved(name: &str) -> bool {
    let name = without_versions(name);
    RESERVED.contains(&name) || name == "grpc" || name.starts_with("grpc.")
}

/// A name without `v1.`, `v22.` before it.
fn without_versions(name: &str) -> &str {
    match name.split_once('.') {
        Some((version, rest)) if is_version(version) => without_versions(rest),
        _ => name,
    }
}

/// Whether a part of a name or a path is a version of the API: `v1`, `v22`.
pub(crate) fn is_version(part: &str) -> bool {
    part.strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Refuses a name of the platform, and what looks like one.
fn check_reserved(name: &str) -> Result<(), Refused> {
    if is_reserved(name) {
        return Err(Refused::Reserved(name.to_owned()));
    }
    let looks = looks(without_versions(name));
    if looks.iter().any(|look| look == "grpc" || look.starts_with("grpc.")) {
        return Err(Refused::Alike(name.to_owned(), "grpc".to_owned()));
    }
    match RESERVED.iter().find(|reserved| self::looks(reserved).iter().any(|look| looks.contains(look))) {
        Some(reserved) => Err(Refused::Alike(name.to_owned(), (*reserved).to_owned())),
        None => Ok(()),
    }
}

/// Checks the name of a service that is to be run here.
///
/// # Errors
/// It breaks the rule or is reserved.
pub(crate) fn check(name: &str) -> Result<(), Refused> {
    if !follows_rule(name) {
        return Err(Refused::Malformed(name.to_owned()));
    }
    check_reserved(name)
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
    check_reserved(name)?;
    let unusable = |c: char| c == '/' || c.is_whitespace() || is_hidden(c);
    let bad = name.len() > NAME_LENGTH || name == "*" || name.starts_with('-') || name.contains(unusable);
    if bad || name.split('.').any(str::is_empty) {
        return Err(Refused::Unusable(name.to_owned()));
    }
    Ok(())
}

/// Checks the id or the name of a new account. Lists show them, and rules and commands take them.
///
/// # Errors
/// The words of the refusal.
pub(crate) fn check_account(name: &str) -> Result<(), String> {
    let blank = |c: char| c.is_whitespace() && c != ' ';
    if name.trim() != name || name.starts_with('-') || matches!(name, "*" | "+") {
        return Err(format!(
            "`{}` cannot be an account: it does not begin with `-`, begin or end with a blank, and is not `*` or \
             `+`",
            shown(name)
        ));
    }
    if name.contains(|c| blank(c) || is_hidden(c)) {
        return Err(format!("`{}` cannot be an account: some of it would not be seen", shown(name)));
    }
    Ok(())
}

/// What a reader does not see: joiners are part of some scripts.
fn is_hidden(c: char) -> bool {
    c.is_control() || c == '\u{2800}' || (is_invisible(c) && !matches!(c, '\u{200c}' | '\u{200d}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_fold_to_the_same() {
        for name in ["PingPong", "ping-pong", "ping_pong", "PING-PONG", "pingPong"] {
            assert_eq!(loose(name), "pingpong");
        }
    }

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
            let versioned = [format!("v1.{name}"), format!("v1.v22.{name}")];
            assert!(versioned.iter().all(|name| check_registered(name).is_err()), "{name}");
        }
    }

    #[test]
    fn the_refusal_of_a_reserved_name_suggests_one_that_is_free() {
        for (name, suggested) in [
            ("auth", Some("auth-service")),
            ("v1.auth", Some("v1.auth-service")),
            ("grpc", Some("grpc-service")),
            ("grpc.x", Some("grpc-x-service")),
            ("v1.grpc.health.v1", Some("v1-grpc-health-v1-service")),
            ("openapi.json", Some("openapi.json-service")),
            (".well-known", Some("well-known")),
            ("grpc.X y", None),
            // Of what would do something to a terminal, the message shows the name of it.
            ("grpc.\u{1b}[2J\0", None),
        ] {
            let refused = check_registered(name).unwrap_err().to_string();
            let expected = format!("`{}` is the name of a part of the platform", shown(name));
            assert!(!refused.contains(char::is_control), "{refused:?}");
            match suggested {
                Some(suggested) => {
                    check(suggested).unwrap();
                    assert_eq!(refused, format!("{expected}; try `{suggested}`"));
                }
                None => assert_eq!(refused, expected),
            }
        }
    }

    #[test]
    fn a_name_that_looks_like_one_of_the_platform_is_refused_with_both() {
        for (name, other) in [
            ("Auth", "auth"),
            ("AUTH", "auth"),
            ("auth\u{200b}", "auth"),
            ("au\u{ad}th", "auth"),
            ("аuth", "auth"),
            ("ｓtore", "store"),
            ("c0nfig", "config"),
            ("ApI", "api"),
            ("gRPC.health", "grpc"),
            ("Favicon.ico", "favicon.ico"),
            ("v1.Auth", "auth"),
        ] {
            let refused = check_registered(name).map_err(|refused| refused.to_string());
            let refused = refused.expect_err(name);
            assert!(refused.contains(other) && !refused.contains('\u{200b}'), "{name}: {refused}");
        }
        for name in ["grpc.health.v1", "openapi.json", ".well-known", "-x", "--help"] {
            assert!(check_registered(name).is_err(), "{name}");
        }
        assert!(check("c0nfig").is_err() && check("openapi.json").is_err() && check("grpc.x").is_err());
        for name in [
            "v1.shop",
            "v.auth",
            "shop.auth",
            "v1",
            "google",
            "google.pubsub",
            "authority",
            "grpcweb",
            "stores",
            "käse",
        ] {
            check_registered(name).unwrap();
        }
    }

    #[test]
    fn names_that_look_the_same_are_told() {
        let alike = |one: &str, other: &str| looks(one).iter().any(|look| looks(other).contains(look));
        for (one, other) in [
            ("shop", "Shop"),
            ("shop", "sh\u{2060}op"),
            ("shop", "shοp"),
            ("shopI", "shopl"),
            ("INFO", "info"),
            ("STRASSE", "strasse"),
        ] {
            assert!(alike(one, other), "{one} {other}");
        }
        assert!(!alike("shop", "shops") && !alike("shop", "chop"));
    }

    #[test]
    fn accounts_can_be_read_and_typed() {
        for good in ["jane", "Jane Doe", "jane@shop.example", "käse ☃", "a/b"] {
            check_account(good).unwrap();
        }
        for bad in
            ["admin ", " admin", "-x", "*", "+", "admin\u{200b}", "ja\u{202e}ne", "\u{2800}", "a\u{a0}b"]
        {
            assert!(check_account(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_from_elsewhere_are_looser_but_not_wild() {
        for good in ["Greeter", "go_micro.srv", "a:b", "käse"] {
            check_registered(good).unwrap();
        }
        for bad in [
            "",
            "*",
            "a.",
            ".a",
            "a..b",
            "\u{2800}",
            "a\u{ad}b",
            "a/b",
            "a\0",
            "a\nb",
            "a b",
            &"x".repeat(256),
        ] {
            assert!(check_registered(bad).is_err(), "{bad:?}");
        }
    }
}
