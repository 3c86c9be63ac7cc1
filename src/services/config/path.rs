//! Where a value stands: keys joined by dots. What is a path here has been checked; what comes from
//! outside becomes one in this file and nowhere else.

use micro_sdk::{Error, Result};

/// Bytes a path may have.
pub(super) const MAX_PATH: usize = 1024;
/// Keys a path may have.
pub(super) const MAX_DEPTH: usize = 32;

/// A path; empty for the whole tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path {
    text: String,
    depth: usize,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// 400 for an empty key, a control character, or what is beyond a limit.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > MAX_PATH {
            return Err(too_long(text.len()));
        }
        text.split('.').try_fold(Self::default(), |path, key| {
            path.child(key).map_err(|error| match key {
                "" => Error::bad_request(format!("the path `{}` has an empty key", text.escape_debug())),
                _ => error,
            })
        })
    }

    /// The path of a key below this one.
    ///
    /// # Errors
    /// 400 for a key that no path can name, and for what is beyond a limit.
    pub(super) fn child(&self, key: &str) -> Result<Self> {
        if key.is_empty() || key.contains(|c: char| c == '.' || c.is_control()) {
            let shown: String = key.chars().take(80).collect();
            return Err(Error::bad_request(format!(
                "`{}`, below `{}`, cannot be a key: a key is not empty and has no dot and no control \
                 characters; such keys can stand within an array",
                shown.escape_debug(),
                self.text
            )));
        }
        let text = if self.is_whole() { key.to_owned() } else { format!("{}.{key}", self.text) };
        if text.len() > MAX_PATH {
            return Err(too_long(text.len()));
        }
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(Error::bad_request(format!(
                "more than {MAX_DEPTH} keys on the way to a value, which is the limit: `{text}`"
            )));
        }
        Ok(Self { text, depth })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The first part of it that is written like an element of an array, `list[0]`, and the part before that: no
    /// path leads into an array.
    pub(super) fn element(&self) -> Option<(&str, &str)> {
        let ends = self.text.match_indices('.').map(|(end, _)| end).chain([self.text.len()]);
        ends.map(|end| &self.text[..end]).find_map(|above| {
            let (list, index) = above.strip_suffix(']')?.rsplit_once('[')?;
            let is_index = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
            (is_index && !list.is_empty()).then_some((above, list))
        })
    }

    /// Whether it means the whole tree.
    pub(super) fn is_whole(&self) -> bool {
        self.text.is_empty()
    }
}

fn too_long(length: usize) -> Error {
    Error::bad_request(format!("a path of {length} bytes; the limit is {MAX_PATH}"))
}

/// The keys of a path.
pub(super) fn keys(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('.').filter(|key| !key.is_empty())
}

/// The rest of `path` below `above`, empty if they are the same; none if it is not below it.
pub(super) fn below<'a>(path: &'a str, above: &str) -> Option<&'a str> {
    match path.strip_prefix(above)? {
        "" => Some(""),
        rest if above.is_empty() => Some(rest),
        rest => rest.strip_prefix('.'),
    }
}

/// Adds a key to a path that is being walked.
pub(super) fn push(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_keys_joined_by_dots() {
        for good in ["", "a", "a.b", "käse.ß/x", "..".trim_matches('.'), &["k"; 32].join(".")] {
            assert_eq!(Path::parse(good).unwrap().as_str(), good);
        }
        for (bad, word) in [
            (".", "empty key"),
            ("a..b", "empty key"),
            (".a", "empty key"),
            ("a.", "empty key"),
            ("a\0b", "control"),
            ("a.\n", "control"),
            (&["k"; 33].join("."), "32"),
            (&"x".repeat(10_000), "1024"),
        ] {
            let error = Path::parse(bad).unwrap_err();
            assert!(error.code == 400 && error.detail.contains(word), "{bad:?}: {error:?}");
            assert!(error.detail.len() < 2048);
        }
    }

    #[test]
    fn a_key_written_like_an_element_is_noticed() {
        for (path, element) in [
            ("list[0]", Some(("list[0]", "list"))),
            ("a.list[12].x", Some(("a.list[12]", "a.list"))),
            ("list[0][1]", Some(("list[0][1]", "list[0]"))),
            ("list[x]", None),
            ("list[]", None),
            ("[0]", None),
            ("list.0", None),
            ("", None),
        ] {
            assert_eq!(Path::parse(path).unwrap().element(), element, "{path}");
        }
    }

    #[test]
    fn a_path_is_below_another_by_whole_keys() {
        assert_eq!(below("a.b.c", "a.b"), Some("c"));
        assert_eq!(below("a.b", "a.b"), Some(""));
        assert_eq!(below("a.b", ""), Some("a.b"));
        assert_eq!(below("a.bc", "a.b"), None);
        assert_eq!(below("a", "a.b"), None);
    }
}
