//! What is wrong with JSON that somebody sent, in words.

use serde_json::{Error, error::Category};

/// How many objects and lists may stand one within the other: the parser stops there.
const MOST_LEVELS: usize = 127;

/// Why a text is not taken as JSON.
pub(crate) fn fault(error: &Error) -> String {
    if is_too_deep(error) {
        return format!("objects and lists are nested deeper than {MOST_LEVELS} levels, which is the limit");
    }
    error.to_string()
}

/// Whether a text is not taken because of how deep it nests.
pub(crate) fn is_too_deep(error: &Error) -> bool {
    // The parser does not tell this error from others but by its words.
    error.classify() == Category::Syntax && error.to_string().starts_with("recursion limit exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_too_deep_is_told_by_the_limit_of_the_parser() {
        let parsed = |levels: usize| {
            let text = "[".repeat(levels) + &"]".repeat(levels);
            serde_json::from_str::<serde_json::Value>(&text).map_err(|error| fault(&error))
        };
        assert!(parsed(MOST_LEVELS).is_ok());
        let told = parsed(MOST_LEVELS + 1).unwrap_err();
        assert_eq!(told, "objects and lists are nested deeper than 127 levels, which is the limit");
        let other = serde_json::from_str::<serde_json::Value>("{").unwrap_err();
        assert_eq!(fault(&other), other.to_string());
    }
}
