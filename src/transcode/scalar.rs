//! A scalar of JSON before it is known which type it has to have.

use std::{borrow::Cow, fmt};

use super::place::shorten;

/// A scalar as the JSON parser found it.
pub(super) enum Scalar<'a> {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(Cow<'a, str>),
}

/// As it is shown in an error, in backquotes.
impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(truth) => write!(f, "`{truth}`"),
            Self::Signed(number) => write!(f, "`{number}`"),
            Self::Unsigned(number) => write!(f, "`{number}`"),
            Self::Float(number) => write!(f, "`{number:?}`"),
            Self::Text(text) => write!(f, "`{}`", shorten(text)),
        }
    }
}
