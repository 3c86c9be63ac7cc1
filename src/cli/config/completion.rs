//! Completion of the keys of the config; none when the server is away.

use std::collections::BTreeSet;

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use crate::cli::completion::answered;

/// The keys of the config and the objects above them, for arguments that take one.
pub(super) fn keys() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let entries = answered(async |connection| super::list(&connection, String::new(), false).await);
        let mut keys = BTreeSet::new();
        for entry in entries.unwrap_or_default() {
            keys.extend(entry.path.match_indices('.').map(|(end, _)| entry.path[..end].to_owned()));
            keys.insert(entry.path);
        }
        keys.into_iter().map(CompletionCandidate::new).collect()
    })
}
