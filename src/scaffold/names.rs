//! What a new service may be called, and the forms its name takes in a crate: package, type, proto package.
//! Names of services written elsewhere are looser and are not judged here.

use thiserror::Error;

use super::generate;
use crate::names::{RULE, follows_rule, instead, is_reserved};

/// Words that Rust or cargo would not take as the name of a module or of a binary.
const LANGUAGE: &str = "abstract alloc as async await become box break build const continue core crate deps \
    do dyn else enum examples extern false final fn for gen if impl in incremental let loop \
    macro match mod move mut override priv procmacro pub ref return self static std struct \
    super test trait true try type typeof unsafe unsized use virtual where while yield";

/// Types and modules that a new service's own code names, beside the type named after the service.
const TAKEN: &str = "Box CallRequest CallResponse Client Clone Context Debug Default Err Error From Future \
    MicroProto MicroSdk None Ok Option Ping Pong Receiver Result Send Sender Service Some \
    StreamRequest StreamResponse String Sync Testing Tests Tokio Vec";

/// Why a name is refused, and one that would do where one is obvious.
#[derive(Debug, Error)]
#[error("`{}` cannot be the name of a service: {reason}", .name.escape_debug())]
pub(crate) struct BadName {
    name: String,
    reason: String,
}

/// The forms of one service's name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// As the registry knows it: `shop.shopping-cart`.
    pub(super) name: String,
    /// As Rust and protobuf name the type: `ShopShoppingCart`.
    pub(super) title: String,
    /// As protobuf names the package and Rust the module: `shopshoppingcart`.
    pub(super) package: String,
    /// As cargo names the package: `shop-shopping-cart`.
    pub(super) crate_name: String,
}

impl Names {
    /// Takes `name` unless it breaks the rule for names, is reserved, is one of `commands`, or could not be
    /// compiled. The error says which and what is allowed.
    pub(super) fn new(name: &str, commands: &[&str]) -> Result<Self, BadName> {
        let refused = |reason| BadName { name: name.to_owned(), reason };
        if !follows_rule(name) {
            let advice = match corrected(name) {
                Some(better) if refusal(&Self::forms(&better), commands).is_none() => {
                    format!("; try `{better}`")
                }
                _ => String::new(),
            };
            return Err(refused(format!("{RULE}{advice}")));
        }
        let names = Self::forms(name);
        if let Some(reason) = refusal(&names, commands) {
            let may_be_had = |name: &str| refusal(&Self::forms(name), commands).is_none();
            return Err(refused(format!("{reason}{}", instead(name, may_be_had))));
        }
        Ok(names)
    }

    fn forms(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            // As the generator writes it: it reads `AB` as one word.
            title: generate::type_name(&name.split(['.', '-']).map(capitalized).collect::<String>()),
            package: name.replace(['.', '-'], ""),
            crate_name: name.replace('.', "-"),
        }
    }
}

fn lists(words: &str, word: &str) -> bool {
    words.split(' ').any(|listed| listed == word)
}

fn refusal(names: &Names, commands: &[&str]) -> Option<&'static str> {
    if is_reserved(&names.name) {
        Some("it belongs to a part of micro itself")
    } else if commands.contains(&names.name.as_str()) {
        Some("it is a command of micro, which would hide the service")
    } else if lists(LANGUAGE, &names.package) {
        Some("it is a word of Rust or cargo")
    } else if lists(TAKEN, &names.title) {
        Some("a type or module of that name is part of every service")
    } else {
        None
    }
}

/// `HelloWorld`, `hello_world` and `Hello World` as `hello-world`; nothing when no valid name is that near.
fn corrected(name: &str) -> Option<String> {
    let mut better = String::with_capacity(name.len() + 4);
    let mut after_lower_case = false;
    for character in name.trim().chars() {
        match character {
            '_' | ' ' | '-' => better.push('-'),
            upper if upper.is_ascii_uppercase() => {
                if after_lower_case {
                    better.push('-');
                }
                better.push(upper.to_ascii_lowercase());
            }
            other => better.push(other),
        }
        after_lower_case = character.is_ascii_lowercase() || character.is_ascii_digit();
    }
    let better = better
        .split('.')
        .map(|part| part.trim_matches('-'))
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(".");
    follows_rule(&better).then_some(better)
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMANDS: &[&str] = &["run", "call", "logs"];

    fn refused(name: &str) -> String {
        Names::new(name, COMMANDS).expect_err(name).to_string()
    }

    #[test]
    fn a_name_takes_the_forms_cargo_rust_and_protobuf_want() {
        let names = Names::new("shop.shopping-cart", COMMANDS).unwrap();
        assert_eq!(
            names,
            Names {
                name: "shop.shopping-cart".to_owned(),
                title: "ShopShoppingCart".to_owned(),
                package: "shopshoppingcart".to_owned(),
                crate_name: "shop-shopping-cart".to_owned(),
            }
        );
        assert_eq!(Names::new("foo-2-", COMMANDS).unwrap().title, "Foo2");
    }

    #[test]
    fn names_that_break_the_rule_are_refused() {
        let long = "a".repeat(64);
        let longer = vec!["a".repeat(63); 5].join(".");
        for name in ["", ".", "..", "a..b", ".a", "a.", "1st", "-a", "a/b", "a\nb", "né", &long, &longer] {
            assert!(refused(name).contains(RULE), "{name}");
        }
        assert!(Names::new(&"a".repeat(63), COMMANDS).is_ok());
    }

    #[test]
    fn a_near_miss_is_told_the_name_that_would_do() {
        for (name, better) in [
            ("HelloWorld", "hello-world"),
            ("hello_world", "hello-world"),
            ("Hello World", "hello-world"),
            ("HTTPServer2Go", "httpserver2-go"),
            ("Shop.Cart", "shop.cart"),
            ("-a", "a"),
        ] {
            assert!(refused(name).ends_with(&format!("; try `{better}`")), "{}", refused(name));
        }
    }

    #[test]
    fn no_name_is_proposed_that_would_be_refused_too() {
        for name in ["1st", "né", "Store", "Run", "Type", "Ping", ""] {
            assert!(refused(name).ends_with(RULE), "{}", refused(name));
        }
    }

    #[test]
    fn names_that_mean_something_else_are_refused_with_the_reason() {
        for (name, reason) in [
            ("store", "part of micro itself"),
            ("web", "part of micro itself"),
            ("logs", "command of micro"),
            ("type", "word of Rust"),
            ("proc-macro", "word of Rust"),
            ("ping", "part of every service"),
            ("call-request", "part of every service"),
        ] {
            let message = refused(name);
            assert!(message.contains(reason), "{message}");
            assert!(message.ends_with(&format!("; try `{name}-service`")), "{message}");
        }
        assert!(refused("grpc.shop").ends_with("; try `grpc-shop-service`"), "{}", refused("grpc.shop"));
        assert!(Names::new("my.store", COMMANDS).is_ok());
    }
}
