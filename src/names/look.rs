//! What a name looks like to a reader.

use std::cmp::Ordering;

use unicode_normalization::UnicodeNormalization as _;

/// The characters that can be taken for others, one a line in the order of their code points: the character,
/// and behind it its prototype (Unicode Technical Standard 39, section 4). As text it needs no pointers,
/// each of which would be relocated when the program starts.
const CONFUSABLES: &str = include_str!("confusables.txt");

/// What a name looks like: two that have one of these in common are hard to tell apart. Case does
/// not count, nor what cannot be seen, nor which of several signs of one form was taken (Unicode
/// Technical Standard 39, section 4).
pub(crate) fn looks(name: &str) -> [String; 2] {
    let seen: String = name.chars().filter(|c| !is_invisible(*c)).collect();
    // `I` is the lower-case `i`, and looks like `l`.
    [skeleton(&seen.to_lowercase()), skeleton(&skeleton(&seen).to_lowercase())]
}

/// The code points that are not shown (Unicode Character Database, `Default_Ignorable_Code_Point`).
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The prototypes of what can be seen of a text, in canonical decomposition; so is the text before (Unicode
/// Technical Standard 39, section 4, `internalSkeleton`).
fn skeleton(text: &str) -> String {
    let seen = text.nfd().filter(|c| !is_invisible(*c));
    let prototypes = seen.flat_map(|c| {
        let other = prototype(c);
        let same = other.is_none().then_some(c);
        same.into_iter().chain(other.unwrap_or_default().chars())
    });
    prototypes.nfd().collect()
}

/// What a character can be taken for.
fn prototype(c: char) -> Option<&'static str> {
    let (mut rest, table) = (0..CONFUSABLES.len(), CONFUSABLES.as_bytes());
    while !rest.is_empty() {
        let middle = rest.start + rest.len() / 2;
        let line = table[rest.start..middle].iter().rposition(|byte| *byte == b'\n');
        let line = line.map_or(rest.start, |before| rest.start + before + 1);
        let (text, _) = CONFUSABLES[line..].split_once('\n')?;
        let mut characters = text.chars();
        let first = characters.next()?;
        match first.cmp(&c) {
            Ordering::Equal => return Some(characters.as_str()),
            Ordering::Less => rest.start = line + text.len() + 1,
            Ordering::Greater => rest.end = line,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_security::confusable_detection as reference;

    use super::*;

    /// The table, from the library that has it from the Unicode Consortium.
    fn table() -> String {
        let mut table = String::new();
        for c in (0..=0x0010_ffff).filter_map(char::from_u32) {
            // Of those that decompose, the parts are looked up.
            let (whole, text) = (c.to_string().nfd().eq([c]), c.to_string());
            let prototype: String = reference::skeleton(&text).collect();
            if whole && prototype != text && !is_invisible(c) {
                assert!(c != '\n' && !prototype.contains('\n'));
                table += &format!("{c}{prototype}\n");
            }
        }
        table
    }

    #[test]
    fn the_table_is_that_of_the_library() {
        let table = table();
        if std::env::var_os("MICRO_REGENERATE").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/names/confusables.txt"), &table)
                .unwrap();
        }
        assert!(table == CONFUSABLES, "src/names/confusables.txt is out of date: run `scripts/generate`");
    }

    #[test]
    fn every_character_looks_as_the_library_says() {
        for c in (0..=0x0010_ffff).filter_map(char::from_u32) {
            let text = c.to_string();
            assert!(reference::skeleton(&text).eq(skeleton(&text).chars()), "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn every_text_looks_as_the_library_says(text in ".*") {
            prop_assert_eq!(reference::skeleton(&text).collect::<String>(), skeleton(&text));
        }
    }
}
