//! `NAME=VALUE`, as the flags for variables, metadata and headers take it. A comma belongs to the value: the flag is
//! given again for another pair.

use http::HeaderName;

use super::{failure::Failure, ui::Ui};

/// Takes a pair of this flag apart; `what` is what the pair is.
///
/// # Errors
/// There is no `=`, or nothing before it.
pub(super) fn split<'a>(
    flag: &str,
    what: &str,
    pair: &'a str,
    ui: &Ui,
) -> anyhow::Result<(&'a str, &'a str)> {
    let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
        let text = format!("`{pair}` is no {what} of the form NAME=VALUE");
        return Err(Failure::usage(text).hint(format!("for example --{flag}=NAME=VALUE")).into());
    };
    if let Some(note) = note(flag, what, name, value) {
        ui.say(note);
    }
    Ok((name.trim(), value))
}

/// A header as this flag gives it, its name in lower case.
///
/// # Errors
/// As [`split`], or the name cannot be that of a header.
pub(super) fn header(flag: &str, pair: &str, ui: &Ui) -> anyhow::Result<(HeaderName, String)> {
    let (name, value) = split(flag, "header", pair, ui)?;
    let unusable = |_| Failure::usage(format!("`{name}` cannot be the name of a header"));
    Ok((HeaderName::try_from(name.to_ascii_lowercase()).map_err(unusable)?, value.to_owned()))
}

/// What is said of a value within which another pair seems to stand; none of any other value.
pub(super) fn note(flag: &str, what: &str, name: &str, value: &str) -> Option<String> {
    let rest = another(value)?;
    Some(format!(
        "note: `,{rest}` belongs to the value of {name}; another {what} needs a --{flag} of its own"
    ))
}

/// What follows the first comma after which a value looks like another pair.
pub(super) fn another(value: &str) -> Option<&str> {
    value.match_indices(',').map(|(comma, _)| &value[comma + 1..]).find(|rest| {
        let name = rest.split_once('=').map_or("", |(name, _)| name.trim());
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_before_what_looks_like_a_name_is_noticed() {
        for (value, expected) in [
            ("a:1,b:2", None),
            ("x,b=2", Some("b=2")),
            ("-Da=1,b=2,c", Some("b=2,c")),
            ("x,y z=1", None),
            ("x,=1", None),
            ("x,", None),
            ("a,b, c=1", Some(" c=1")),
        ] {
            assert_eq!(another(value), expected, "{value}");
        }
    }
}
