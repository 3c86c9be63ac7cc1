//! What this crate itself has to say, one line each on standard error, where the runtime captures
//! it. Services log however they like.

use std::{fmt, io::Write as _};

pub(crate) fn line(text: fmt::Arguments<'_>) {
    // A closed standard error is no reason to stop serving.
    drop(writeln!(std::io::stderr().lock(), "micro: {text}"));
}
