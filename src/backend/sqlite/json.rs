//! Rows as one JSON text, which a statement takes apart again (`json_each`): one parameter for any
//! number of rows. Bytes travel in hexadecimal.

/// An array of arrays; `push` writes what is inside of each.
pub(super) fn array<T>(items: impl Iterator<Item = T>, push: impl Fn(&mut String, T)) -> String {
    let mut json = String::from("[");
    for item in items {
        if json.len() > 1 {
            json.push(',');
        }
        json.push('[');
        push(&mut json, item);
        json.push(']');
    }
    json.push(']');
    json
}

/// A text, quoted.
pub(super) fn push_text(json: &mut String, text: &str) {
    json.push_str(&serde_json::Value::from(text).to_string());
}

/// The digits of bytes, without quotes.
pub(super) fn push_hex(json: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    json.reserve(bytes.len() * 2);
    for byte in bytes {
        json.push(char::from(DIGITS[usize::from(byte >> 4)]));
        json.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}
