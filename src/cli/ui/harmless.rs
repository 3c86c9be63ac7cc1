//! What others wrote, made harmless for a terminal: characters that control it, that change the
//! direction in which it writes, or that cannot be seen.
//!
//! Names, comments, errors, logs and build output come from services and from other accounts. On a
//! terminal each of them could move the cursor, set the title, fill the clipboard or look like
//! another text (Unicode Technical Report 36, sections 2.5 and 3.7). Pipes and files are given what
//! was written.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::borrow::Cow;

use crate::names::is_invisible;

/// What stands in the place of a character that is not shown.
const REPLACED: char = char::REPLACEMENT_CHARACTER;
/// The sequences by which clap styles its texts: none, bold, underlined, red, green, yellow.
const STYLES: [&str; 6] = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[4m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"];

/// Whether a terminal acts on this character, or shows the text beside it in another order, or the character not at
/// all, when `previous` stands before it. The joiners that scripts and emoji need (U+200C, U+200D) are left, and a
/// choice of presentation (U+FE0E, U+FE0F) behind a symbol.
fn harms(previous: char, c: char) -> bool {
    match c {
        '\u{200c}' | '\u{200d}' => false,
        '\u{fe0e}' | '\u{fe0f}' => {
            previous.is_ascii() || previous.is_alphanumeric() || is_invisible(previous)
        }
        '\u{2028}' | '\u{2029}' | '\u{2800}' | '\u{fff9}'..='\u{fffb}' => true,
        _ => c.is_control() || is_invisible(c),
    }
}

/// The characters of a text, each with whether it does harm.
fn judged(text: &str) -> impl Iterator<Item = (char, bool)> {
    text.chars().scan('\0', |previous, c| {
        let harms = harms(*previous, c);
        // What is replaced is no symbol.
        *previous = if harms { '\0' } else { c };
        Some((c, harms))
    })
}

/// Whether a text has harmful characters, those excepted that are to stay.
fn has_harm(text: &str, stays: impl Fn(char) -> bool) -> bool {
    // Nothing but ASCII that prints is the common case, and does no harm.
    !text.bytes().all(|b| matches!(b, b' '..=b'~')) && judged(text).any(|(c, harms)| harms && !stays(c))
}

/// A text with its harmful characters replaced, those excepted that are to stay.
fn replaced(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !has_harm(text, &stays) {
        return text.into();
    }
    judged(text).map(|(c, harms)| if harms && !stays(c) { REPLACED } else { c }).collect::<String>().into()
}

/// What lays a text of several lines out.
fn is_layout(c: char) -> bool {
    matches!(c, '\n' | '\t')
}

/// A text for one line: ends of lines are replaced as well.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    replaced(text, |_| false)
}

/// A text of several lines: ends of lines and tabs stay, a carriage return before an end of line
/// goes, since alone it would let a line write over another one.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    if text.contains("\r\n") {
        return replaced(&text.replace("\r\n", "\n"), is_layout).into_owned().into();
    }
    replaced(text, is_layout)
}

/// A text of which all lines but the first are indented, so that none of them looks like a line of ours, such as one
/// that begins with `hint:`.
pub(crate) fn indented(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return text.into();
    }
    let mut indented = String::with_capacity(text.len() + 16);
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            indented.push('\n');
        }
        if number > 0 && !line.is_empty() {
            indented.push_str("  ");
        }
        indented.push_str(line);
    }
    indented.into()
}

/// A JSON text, in which such characters stand within strings only: they are escaped, so that the
/// document stays the same (RFC 8259, section 7).
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    if !has_harm(text, is_layout) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for (c, harms) in judged(text) {
        if harms && !is_layout(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

/// A text that clap styled: its own styles stay.
pub(crate) fn styled(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        shown.push_str(&lines(&rest[..at]));
        rest = &rest[at..];
        let style = STYLES.iter().find(|style| rest.starts_with(**style));
        let length = style.map_or(1, |style| style.len());
        shown.push_str(style.copied().unwrap_or("\u{fffd}"));
        rest = &rest[length..];
    }
    shown.push_str(&lines(rest));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_does_nothing_to_a_terminal() {
        for (text, shown) in [
            ("käse 1/2", "käse 1/2"),
            ("\u{1b}]0;pwn\u{7}k", "\u{fffd}]0;pwn\u{fffd}k"),
            ("a\nb", "a\u{fffd}b"),
            ("safe\u{202e}gpj.exe", "safe\u{fffd}gpj.exe"),
            ("\u{2068}x\u{2069}", "\u{fffd}x\u{fffd}"),
            ("\u{9b}2Jx\u{7f}", "\u{fffd}2Jx\u{fffd}"),
            ("pay\u{200b}pal", "pay\u{fffd}pal"),
            ("👩\u{200d}🔧", "👩\u{200d}🔧"),
            ("⚠\u{fe0f} hot", "⚠\u{fe0f} hot"),
            ("lab\u{fe0f}", "lab\u{fffd}"),
        ] {
            assert_eq!(line(text), shown);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_shown_as_replaced() {
        for c in "\u{ad}\u{34f}\u{115f}\u{1160}\u{17b4}\u{180b}\u{180f}\u{2028}\u{2800}\u{3164}\u{fe00}\u{ffa0}\u{e0100}\u{e01ef}"
            .chars()
        {
            assert_eq!(line(&format!("a{c}b")), "a\u{fffd}b", "{c:?}");
        }
    }

    #[test]
    fn the_lines_of_a_text_look_like_none_of_ours() {
        for (text, shown) in
            [("boom", "boom"), ("boom\nhint: run x\n\nerror: y\n", "boom\n  hint: run x\n\n  error: y\n")]
        {
            assert_eq!(indented(text), shown);
        }
    }

    #[test]
    fn lines_keep_their_ends_and_never_write_over_each_other() {
        for (text, shown) in [
            ("a\n\tb\n", "a\n\tb\n"),
            ("a\r\nb\r\n", "a\nb\n"),
            ("secret\rpublic", "secret\u{fffd}public"),
            ("\u{1b}[2J\u{1b}[1;1Hx", "\u{fffd}[2J\u{fffd}[1;1Hx"),
            ("\u{8}\u{b}\u{c}", "\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(lines(text), shown);
        }
    }

    #[test]
    fn json_stays_the_same_document() {
        let value = serde_json::json!({"a\u{202e}": "\u{9b}\u{7f}\u{e0041}\u{1b}[2J", "b": ["\n\t"]});
        for text in [value.to_string(), format!("{value:#}")] {
            let shown = json(&text);
            assert!(shown.contains("\\u202e") && shown.contains("\\udb40\\udc41"), "{shown}");
            assert!(!has_harm(&shown, is_layout), "{shown:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }

    #[test]
    fn only_the_styles_of_clap_pass() {
        let text = "\u{1b}[1m\u{1b}[4mUsage:\u{1b}[0m\u{1b}[0m x\u{1b}]0;t\u{7}\u{1b}[8mhidden\u{1b}[31mred";
        let shown =
            "\u{1b}[1m\u{1b}[4mUsage:\u{1b}[0m\u{1b}[0m x\u{fffd}]0;t\u{fffd}\u{fffd}[8mhidden\u{1b}[31mred";
        assert_eq!(styled(text), shown);
        let help =
            clap::Command::new("x").about("\u{1b}[2Jy").arg(clap::Arg::new("a").long("a")).render_help();
        let shown = styled(&help.ansi().to_string());
        assert!(shown.contains("\u{fffd}[2Jy"), "{shown:?}");
        assert_eq!(
            shown.replace("\u{fffd}[2J", "\u{1b}[2J"),
            help.ansi().to_string(),
            "all styles of clap are known"
        );
    }
}
