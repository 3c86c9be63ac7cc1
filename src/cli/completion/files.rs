//! Files and folders, for arguments that take one.

use std::ffi::{OsStr, OsString};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _};

/// Folders, for arguments that take one.
pub(in crate::cli) fn folders() -> ArgValueCompleter {
    ArgValueCompleter::new(PathCompleter::dir())
}

/// Files behind an `@`, for arguments that take a text or `@FILE`.
pub(in crate::cli) fn contents() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| -> Vec<CompletionCandidate> {
        let Some(file) = typed.to_str().and_then(|text| text.strip_prefix('@')) else { return Vec::new() };
        // Two begin a text with an `@`.
        if file.starts_with('@') {
            return Vec::new();
        }
        let found = PathCompleter::any().complete(OsStr::new(file));
        found.into_iter().map(|candidate| candidate.add_prefix(OsString::from("@"))).collect()
    })
}
