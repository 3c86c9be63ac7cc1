//! JSON text laid out for its reader. Only the blanks between its parts change: numbers, the order of keys and all
//! else stay as they were written.

use serde::de::IgnoredAny;

/// How a JSON document is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Over several lines, indented by tabs.
    Indented,
    /// On one line, with a blank after each `:` and `,`.
    Line,
    /// On one line, as short as it can be.
    Compact,
}

/// Lays out one JSON document.
///
/// # Errors
/// The text is not JSON.
pub(super) fn laid_out(text: &str, layout: Layout) -> serde_json::Result<String> {
    serde_json::from_str::<IgnoredAny>(text)?;
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut characters = text.chars().filter(not_blank_outside_of_text()).peekable();
    let mut in_text = within_text();
    while let Some(character) = characters.next() {
        if in_text(character) {
            out.push(character);
            continue;
        }
        match character {
            '{' | '[' => {
                out.push(character);
                if let Some('}' | ']') = characters.peek() {
                    out.extend(characters.next());
                } else {
                    depth += 1;
                    new_line(&mut out, depth, layout);
                }
            }
            '}' | ']' => {
                depth -= 1;
                new_line(&mut out, depth, layout);
                out.push(character);
            }
            ',' => {
                out.push(character);
                match layout {
                    Layout::Line => out.push(' '),
                    Layout::Indented | Layout::Compact => new_line(&mut out, depth, layout),
                }
            }
            ':' => out.push_str(if layout == Layout::Compact { ":" } else { ": " }),
            _ => out.push(character),
        }
    }
    Ok(out)
}

fn new_line(out: &mut String, depth: usize, layout: Layout) {
    if layout == Layout::Indented {
        out.push('\n');
        out.extend(std::iter::repeat_n('\t', depth));
    }
}

fn not_blank_outside_of_text() -> impl FnMut(&char) -> bool {
    let mut in_text = within_text();
    move |character| in_text(*character) || !character.is_ascii_whitespace()
}

/// Tells of each character of a document whether it belongs to a text, its quotes among them.
fn within_text() -> impl FnMut(char) -> bool {
    let (mut inside, mut escaped) = (false, false);
    move |character| {
        let was_inside = inside;
        if !inside {
            inside = character == '"';
        } else if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else {
            inside = character != '"';
        }
        was_inside || inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_laid_out_and_otherwise_untouched() {
        let text = r#" {"b":[1,{"x":"a, \" b: {"},[]],"n":1.50e400,"m":{ },"b":12345678901234567890123} "#;
        let indented = "{\n\t\"b\": [\n\t\t1,\n\t\t{\n\t\t\t\"x\": \"a, \\\" b: {\"\n\t\t},\n\t\t[]\n\t],\n\
                        \t\"n\": 1.50e400,\n\t\"m\": {},\n\t\"b\": 12345678901234567890123\n}";
        assert_eq!(laid_out(text, Layout::Indented).unwrap(), indented);
        let line =
            r#"{"b": [1, {"x": "a, \" b: {"}, []], "n": 1.50e400, "m": {}, "b": 12345678901234567890123}"#;
        assert_eq!(laid_out(text, Layout::Line).unwrap(), line);
        assert_eq!(laid_out(indented, Layout::Compact).unwrap(), laid_out(text, Layout::Compact).unwrap());
        assert_eq!(laid_out("\n\"a  b\"", Layout::Compact).unwrap(), "\"a  b\"");
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert_eq!(laid_out(&deep, Layout::Compact).unwrap(), deep);
        assert!(laid_out("{", Layout::Line).is_err());
        assert!(laid_out("1 2", Layout::Line).is_err());
    }
}
