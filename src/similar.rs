//! "Did you mean": the known names that are close to a word.

use strsim::osa_distance;

use crate::names::loose;

/// More than this many suggestions do not help.
const MOST: usize = 3;

/// The shortest prefix of a name that counts as a match, in characters.
const PREFIX: usize = 3;

/// A longer word, in characters, is compared with nothing: the work grows with its length.
const LONGEST: usize = 60;

/// The known names close to `typed`, closest first. Case, hyphens, underscores and dots do not count.
pub(crate) fn similar<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let typed = loose(typed);
    let length = typed.chars().count();
    if length > LONGEST {
        return Vec::new();
    }
    let allowed = match length {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    let mut close: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|name| {
            let folded = loose(name);
            let distance = osa_distance(&typed, &folded);
            let begun = length >= PREFIX && folded.starts_with(&typed);
            (distance <= allowed || begun).then_some((distance, name))
        })
        .collect();
    close.sort_by_key(|(distance, _)| *distance);
    close.into_iter().map(|(_, name)| name).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_comes_first() {
        assert_eq!(similar("pin-pong", ["call", "ping-pong", "stream"]), ["ping-pong"]);
        assert_eq!(similar("nmae", ["game", "name"]), ["name"]);
        assert_eq!(similar("publ", ["publish", "public"]), ["public", "publish"]);
    }

    #[test]
    fn a_different_word_suggests_nothing() {
        assert!(similar("delete", ["call", "stream"]).is_empty());
        assert!(similar("x", ["y", "xy"]).is_empty());
        assert!(similar(&"x".repeat(LONGEST + 1), ["xxxx"]).is_empty());
    }
}
