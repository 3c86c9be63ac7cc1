//! What must hold of any name.

use super::{RESERVED, check, check_namespace, check_registered, follows_rule, is_invisible, looks, shown};

/// Any text as a name, and any change of a name of the platform: what may be registered is no name of the
/// platform however it is looked at, and what a message shows is harmless.
pub(crate) fn name(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let registered = check_registered(&text);
    if check(&text).is_ok() {
        assert!(registered.is_ok(), "{text} may be made here and not elsewhere");
        assert!(follows_rule(&text) && check_namespace(&text).is_ok());
    }
    let looks_like = looks(&text);
    match registered {
        Ok(()) => {
            assert!(!text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '/'), "{text:?}");
            assert!(!text.starts_with('-') && !text.is_empty() && text.len() <= 255);
            let alike = RESERVED.iter().find(|name| looks(name).iter().any(|look| looks_like.contains(look)));
            assert_eq!(alike, None, "{text:?} looks like a name of the platform");
        }
        Err(refused) => {
            let message = refused.to_string();
            assert!(!message.contains(char::is_control) && message.len() < 4096, "{message:?}");
        }
    }
    assert!(!shown(&text).contains(char::is_control));
    // What is not seen makes no difference, nor does the case of a name in ASCII.
    let seen: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    assert_eq!(looks(&seen), looks_like, "{text:?}");
    if text.is_ascii() {
        let shouted = looks(&text.to_uppercase());
        assert!(shouted.iter().any(|look| looks_like.contains(look)), "{text:?}: {looks_like:?} {shouted:?}");
    }
}
