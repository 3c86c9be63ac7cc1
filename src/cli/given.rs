//! Contents that are not given on the command line itself: `@FILE`, and `-` for standard input.

use std::{
    fs,
    io::{self, Read as _},
};

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

/// That place, in the words of an error.
pub(super) fn name(place: &str) -> String {
    if place == INPUT { "standard input".to_owned() } else { format!("`{place}`") }
}

/// The place that a word names; none for a word that is the content itself.
pub(super) fn place(word: &str) -> Option<&str> {
    if word == INPUT { Some(word) } else { word.strip_prefix('@') }
}
