//! What must hold of any text that is shown on a terminal.

use serde_json::Value;

use super::{STYLES, has_harm, is_layout, json, line, lines, styled};

/// Any text: what is left does nothing to a terminal, what was harmless stays, and doing it twice changes
/// nothing.
pub(crate) fn terminal(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let shown = line(&text);
    assert!(!has_harm(&shown, |_| false), "{shown:?}");
    assert_eq!(shown.chars().count(), text.chars().count());
    assert_eq!(line(&shown), shown);
    assert!(has_harm(&text, |_| false) || shown == text);

    let shown = lines(&text);
    assert!(!has_harm(&shown, is_layout), "{shown:?}");
    assert_eq!(lines(&shown), shown);
    assert_eq!(shown.matches('\n').count(), text.matches('\n').count());

    let shown = styled(&text);
    let plain = STYLES.iter().fold(shown.clone(), |plain, style| plain.replace(style, ""));
    assert!(!has_harm(&plain, is_layout), "{shown:?}");
    assert_eq!(styled(&shown), shown);

    for value in [Value::from(&*text), serde_json::from_str(&text).unwrap_or_default()] {
        for document in [value.to_string(), format!("{value:#}")] {
            let shown = json(&document);
            assert!(!has_harm(&shown, is_layout), "{shown:?}");
            assert_eq!(serde_json::from_str::<Value>(&shown).ok().as_ref(), Some(&value), "{shown:?}");
            assert_eq!(json(&shown), shown);
        }
    }
}
