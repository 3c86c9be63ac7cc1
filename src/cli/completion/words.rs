//! Words as they stand on the line of a shell: quotes, backslashes, and the home folder.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The quote that is open where the cursor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    None,
    Single,
    Double,
}

impl Quote {
    /// A word as bash reads it back, from the open quote on; none when it cannot be written so.
    pub(super) fn apply(self, word: &str) -> Option<String> {
        let mut written = String::new();
        match self {
            Self::None => {
                // Of what begins with `~`, bash takes a name behind it for a user's.
                let home = word.starts_with("~/");
                for (at, c) in word.char_indices() {
                    let plain = c.is_alphanumeric() || "_-./:=@%+,".contains(c) || (home && at == 0);
                    if !plain {
                        written.push('\\');
                    }
                    written.push(c);
                }
            }
            // Between double quotes `!` recalls a line of the history, with a backslash before it too.
            Self::Double if word.contains('!') => return None,
            Self::Single if word.contains('\'') => return None,
            Self::Single => {
                written.push('\'');
                written.push_str(word);
            }
            Self::Double => {
                written.push('"');
                for c in word.chars() {
                    if "\"$`\\".contains(c) {
                        written.push('\\');
                    }
                    written.push(c);
                }
            }
        }
        Some(written)
    }
}

/// Takes the quotes and backslashes from words as bash hands them to a completion function, and
/// returns the quote that the last one leaves open.
pub(super) fn unquote(words: &mut [OsString]) -> Quote {
    let mut open = Quote::None;
    for word in words {
        if let Some(text) = word.to_str() {
            let (plain, left) = unquoted(text);
            open = left;
            *word = plain.into();
        }
    }
    open
}

fn unquoted(text: &str) -> (String, Quote) {
    let (mut plain, mut open) = (String::new(), Quote::None);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (open, c) {
            (Quote::None, '\'') => open = Quote::Single,
            (Quote::None, '"') => open = Quote::Double,
            (Quote::Single, '\'') | (Quote::Double, '"') => open = Quote::None,
            (Quote::None, '\\') => plain.extend(characters.next()),
            (Quote::Double, '\\') if characters.peek().is_some_and(|next| "\"$`\\".contains(*next)) => {
                plain.extend(characters.next());
            }
            (_, c) => plain.push(c),
        }
    }
    (plain, open)
}

/// The home folder, where the word that is being typed began with `~/`.
pub(super) struct Abbreviated(Option<PathBuf>);

/// Writes the home folder out in a word that begins with `~/`, as shells do.
pub(super) fn expand_home(word: &mut OsString) -> Abbreviated {
    let below = word.to_str().and_then(|text| text.strip_prefix("~/"));
    let (Some(below), Some(home)) = (below, std::env::home_dir()) else { return Abbreviated(None) };
    // Joined as text: a path that ends in `/` names the folder's content.
    let expanded = format!("{}/{below}", home.display());
    *word = expanded.into();
    Abbreviated(Some(home))
}

impl Abbreviated {
    /// Puts `~` back in the place of the home folder.
    pub(super) fn abbreviate(&self, value: &str) -> String {
        let below = self.0.as_deref().and_then(Path::to_str).and_then(|home| value.strip_prefix(home));
        below.map_or_else(|| value.to_owned(), |below| format!("~{below}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_their_quotes_and_get_them_back() {
        for (typed, plain, open) in [
            ("--name=Jane", "--name=Jane", Quote::None),
            (r"my\ folder/", "my folder/", Quote::None),
            (r#""my fo"#, "my fo", Quote::Double),
            (r#""a\"b\c"#, "a\"b\\c", Quote::Double),
            ("'a b", "a b", Quote::Single),
            ("'a'\"b\"c", "abc", Quote::None),
        ] {
            assert_eq!(unquoted(typed), (plain.to_owned(), open), "{typed}");
        }
    }

    #[test]
    fn nothing_that_is_offered_is_expanded_by_bash() {
        for word in
            ["*", "$(id)", "a b", "`id`", "x;y", "{a,b}", "!x", "~root", "käse", "a\\b", "q\"", "[x]?"]
        {
            for quote in [Quote::None, Quote::Single, Quote::Double] {
                let Some(written) = quote.apply(word) else { continue };
                assert_eq!(unquoted(&written), (word.to_owned(), quote), "{word} {quote:?}");
            }
        }
        for (word, written) in [("$(id) *", r"\$\(id\)\ \*"), ("~root", r"\~root"), ("~/a~b/", r"~/a\~b/")] {
            assert_eq!(Quote::None.apply(word).as_deref(), Some(written));
        }
        assert_eq!(Quote::Single.apply("it's"), None);
    }
}
