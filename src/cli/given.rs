//! Contents that are not given on the command line itself: `@FILE`, and `-` for standard input.

use std::{
    fs,
    io::{self, Read as _},
};

use super::context::Context;

/// The word for standard input.
pub(super) const INPUT: &str = "-";

/// What stands in a file, or comes by standard input to its end.
///
/// # Errors
/// It cannot be read.
pub(super) fn content(place: &str) -> io::Result<Vec<u8>> {
    if place != INPUT {
        return fs::read(place);
    }
    let mut content = Vec::new();
    io::stdin().lock().read_to_end(&mut content)?;
    Ok(content)
}

/// A secret that was given, stands on standard input, or is asked for.
///
/// # Errors
/// It cannot be read, or asked for.
pub(super) async fn secret(
    given: Option<String>,
    prompt: &'static str,
    flag: &str,
    cx: &Context,
) -> anyhow::Result<String> {
    match given {
        Some(given) if given == INPUT => cx.ui.line_of_input().await,
        Some(given) => Ok(given),
        None => cx.ui.ask_secret(prompt, flag).await,
    }
}

/// That place, in the words of an error.
pub(super) fn name(place: &str) -> String {
    if place == INPUT { "standard input".to_owned() } else { format!("`{place}`") }
}

/// The place that a word names; none for a word that is the content itself. As for curl, `@-` is standard
/// input and `@./-` a file of that name.
pub(super) fn place(word: &str) -> Option<&str> {
    if word == INPUT { Some(word) } else { word.strip_prefix('@') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_file_standard_input_or_the_content() {
        for (word, expected) in [
            ("@f", Some("f")),
            ("-", Some("-")),
            ("@-", Some("-")),
            ("@./-", Some("./-")),
            ("f", None),
            ("", None),
            ("--", None),
        ] {
            assert_eq!(place(word), expected, "{word}");
        }
        assert_eq!((name("-"), name("f")), ("standard input".to_owned(), "`f`".to_owned()));
    }
}
