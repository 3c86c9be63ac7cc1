//! The flags of the root command among the words of a service: which they are, and how many words each takes.

use clap::{Arg, Command};

/// Asks for help with the fields of all levels.
pub(super) const HELP_ALL: &str = "--help=all";

/// The flags of a root command, which may stand anywhere.
pub(super) struct Globals<'a>(pub(super) &'a Command);

impl Globals<'_> {
    /// How many words the flag at `word` takes, with its value; none if it is no global flag.
    pub(super) fn width(&self, word: &str, below: &[String]) -> usize {
        if is_help(word) {
            return 1;
        }
        let with_value = if below.is_empty() { 1 } else { 2 };
        if let Some(long) = word.strip_prefix("--") {
            let (name, attached) = long.split_once('=').map_or((long, false), |(name, _)| (name, true));
            return match self.0.get_arguments().find(|argument| has_long(argument, name)) {
                Some(argument) if needs_value(argument) && !attached => with_value,
                Some(_) => 1,
                None => 0,
            };
        }
        let Some(cluster) = word.strip_prefix('-').filter(|cluster| !cluster.is_empty()) else { return 0 };
        for (index, short) in cluster.char_indices() {
            let Some(argument) = self.0.get_arguments().find(|argument| has_short(argument, short)) else {
                return 0;
            };
            if needs_value(argument) {
                return if index + short.len_utf8() == cluster.len() { with_value } else { 1 };
            }
        }
        1
    }
}

/// The global flags among `words`, each with its value, for a parser that knows nothing else.
pub(crate) fn globals_among(root: &Command, words: &[String]) -> Vec<String> {
    let globals = Globals(root);
    let mut found = Vec::new();
    let mut rest = words;
    while let [word, below @ ..] = rest {
        let taken = if is_help(word) { 0 } else { globals.width(word, below) };
        found.extend_from_slice(&rest[..taken]);
        rest = &rest[taken.max(1)..];
    }
    found
}

/// The first of `words` that is no global flag and no value of one.
pub(crate) fn first_word<'a>(root: &Command, words: &'a [String]) -> Option<&'a str> {
    let globals = Globals(root);
    let mut rest = words;
    while let [word, below @ ..] = rest {
        match globals.width(word, below) {
            0 => return Some(word),
            taken => rest = &rest[taken..],
        }
    }
    None
}

fn has_long(argument: &Arg, name: &str) -> bool {
    !name.is_empty()
        && (argument.get_long() == Some(name)
            || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&name)))
}

fn has_short(argument: &Arg, short: char) -> bool {
    argument.get_short() == Some(short)
        || argument.get_all_short_aliases().is_some_and(|aliases| aliases.contains(&short))
}

fn needs_value(argument: &Arg) -> bool {
    argument.get_action().takes_values()
        && !argument.is_require_equals_set()
        && argument.get_num_args().is_none_or(|range| range.min_values() > 0)
}

/// Whether `word` asks for text that clap prints instead of doing anything.
pub(super) fn is_help(word: &str) -> bool {
    matches!(word, "--help" | HELP_ALL | "-h" | "--version" | "-V")
}
