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

/// What stands in the place of a character that is not shown.
const REPLACED: char = char::REPLACEMENT_CHARACTER;
/// The sequences by which clap styles its texts: none, bold, underlined, red, green, yellow.
const STYLES: [&str; 6] = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[4m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"];

/// Whether a terminal acts on this character, or shows the text beside it in another order or not
/// at all. The joiners that scripts and emoji need (U+200C, U+200D) are left.
fn harms(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A text for one line: ends of lines are replaced as well.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if text.contains(harms) {
        text.replace(harms, REPLACED.encode_utf8(&mut [0; 4])).into()
    } else {
        text.into()
    }
}

/// A text of several lines: ends of lines and tabs stay, a carriage return before an end of line
/// goes, since alone it would let a line write over another one.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    let keeps = |c: char| matches!(c, '\n' | '\t');
    if !text.contains(|c: char| harms(c) && !keeps(c)) {
        return text.into();
    }
    let unix = text.replace("\r\n", "\n");
    unix.chars().map(|c| if harms(c) && !keeps(c) { REPLACED } else { c }).collect::<String>().into()
}

/// A JSON text, in which such characters stand within strings only: they are escaped, so that the
/// document stays the same (RFC 8259, section 7).
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    let layout = |c: char| matches!(c, '\n' | '\t');
    if !text.contains(|c: char| harms(c) && !layout(c)) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harms(c) && !layout(c) {
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
        ] {
            assert_eq!(line(text), shown);
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
            assert!(!shown.contains(|c: char| harms(c) && c != '\n'), "{shown:?}");
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
