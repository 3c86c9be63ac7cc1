//! Commands that exist only at run time: `micro <service> [handler] <method> --field=value`.
//!
//! The way of one call: a [`Schema`] is made from descriptors or from a registration, [`resolve`] turns what was
//! typed into the words that [`command()`] defines, with the part of the schema that they need, clap parses them, [`matched`] names the endpoint and [`request()`]
//! makes the JSON document to send. The same [`command()`] serves completion.
//!
//! Everything here is pure: no network, no printing, and files are read only through a function given by the caller.

mod command;
mod convert;
mod describe;
mod described;
mod descriptors;
mod flags;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod globals;
#[cfg(any(test, fuzzing))]
mod greeter;
mod names;
mod request;
mod schema;
mod suggest;
mod tree;
mod values;
mod words;

#[cfg(test)]
mod tests;

pub(crate) use command::{command, matched};
pub(crate) use described::Schema;
pub(crate) use descriptors::Descriptors;
#[cfg(test)]
pub(crate) use flags::RESERVED;
pub(crate) use flags::escaped;
pub(crate) use globals::{first_word, globals_among};
pub(crate) use request::{Request, headers, is_given, request};
pub(crate) use schema::Service;
pub(crate) use values::{Registered, Value};
pub(crate) use words::{completable, example_call, resolve};

use std::io;

/// Reads the file of a path, or standard input for `-`.
pub(crate) type ReadFile<'a> = dyn Fn(&str) -> io::Result<Vec<u8>> + 'a;

/// Why words do not make a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The service has no such handler or method.
    #[error("{message}")]
    NotFound {
        /// What is missing, and where it was looked for.
        message: String,
        /// What to type instead.
        hint: Option<String>,
    },
    /// The words are wrong: an unknown flag, a value of another type, an ambiguous name.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to type instead.
        hint: Option<String>,
    },
    /// A file named on the command line cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The path as typed, `-` for standard input.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    fn not_found(message: String, hint: String) -> Self {
        Self::NotFound { message, hint: Some(hint) }
    }

    fn usage(message: String, hint: String) -> Self {
        Self::Usage { message, hint: Some(hint) }
    }

    /// What to do about it, to be shown below the message.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::NotFound { hint, .. } | Self::Usage { hint, .. } => hint.as_deref(),
            Self::Read { .. } => None,
        }
    }
}
