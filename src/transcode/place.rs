//! Where in a message the reading stands, so that an error can say `address.lines[2]`. A place borrows
//! the place above it: a message without errors pays nothing for it.

use super::{Invalid, depth::MOST_LEVELS};
use std::{cell::Cell, fmt};

/// More characters than this of what a caller sent are not repeated to them.
const LONGEST_QUOTE: usize = 60;

/// Holds the first thing found wrong, which serde's own errors cannot carry unchanged.
#[derive(Default)]
pub(super) struct Fault(Cell<Option<Invalid>>);

impl Fault {
    /// What was noted, once.
    pub(super) fn take(&self) -> Option<Invalid> {
        self.0.take()
    }

    fn note(&self, invalid: Invalid) {
        let first = self.0.take().unwrap_or(invalid);
        self.0.set(Some(first));
    }
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Item(usize),
    Entry(&'a str),
}

/// A position in the message being read.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    step: Step<'a>,
    above: Option<&'a Place<'a>>,
    /// As [`MOST_LEVELS`] counts them.
    level: usize,
    fault: &'a Fault,
}

impl<'a> Place<'a> {
    /// The message itself; errors are noted in `fault`.
    pub(super) fn root(fault: &'a Fault) -> Self {
        Self { step: Step::Root, above: None, level: 0, fault }
    }

    /// The field `name` of the message here.
    pub(super) fn field(&'a self, name: &'a str) -> Self {
        self.below(Step::Field(name), 1)
    }

    /// The element at `index` of the list here, from 0.
    pub(super) fn item(&'a self, index: usize) -> Self {
        self.below(Step::Item(index), 0)
    }

    /// The value of `key` in the map here.
    pub(super) fn entry(&'a self, key: &'a str) -> Self {
        self.below(Step::Entry(key), 1)
    }

    fn below(&'a self, step: Step<'a>, levels: usize) -> Self {
        Self { step, above: Some(self), level: self.level + levels, fault: self.fault }
    }

    /// Whether a message that reaches so many levels below this place would stand too deep.
    pub(super) fn is_too_deep(&self, levels: usize) -> bool {
        self.level + levels > MOST_LEVELS
    }

    /// Notes what is wrong at this place; the error returned only unwinds the reading.
    pub(super) fn fail<E: serde::de::Error>(&self, what: impl fmt::Display) -> E {
        match self.step {
            Step::Root => self.fail_as(what.to_string()),
            Step::Field(_) | Step::Item(_) | Step::Entry(_) => {
                self.fail_as(format!("field `{self}`: {what}"))
            }
        }
    }

    /// Notes an error text that names its place itself.
    pub(super) fn fail_as<E: serde::de::Error>(&self, text: String) -> E {
        let unwinding = E::custom(&text);
        self.fault.note(Invalid(text));
        unwinding
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            write!(f, "{above}")?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) => {
                let first = self.above.is_none_or(|above| matches!(above.step, Step::Root));
                write!(f, "{}{}", if first { "" } else { "." }, shorten(name))
            }
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Entry(key) => write!(f, "[\"{}\"]", shorten(key)),
        }
    }
}

/// The beginning of a text that came from outside, on one line and fit for a message.
pub(super) fn shorten(text: &str) -> String {
    let mut characters = text.chars();
    let mut short = String::new();
    for character in characters.by_ref().take(LONGEST_QUOTE) {
        if character.is_control() {
            short.extend(character.escape_default());
        } else {
            short.push(character);
        }
    }
    if characters.next().is_some() {
        short.push('…');
    }
    short
}
