//! The keys that are there, while one is typed.

use std::ffi::{OsStr, OsString};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use micro_sdk::{
    Store,
    blocks::store::StoreClient,
    proto::store::{ListOptions, ListRequest},
};

use crate::cli::completion::answered;

/// Keys that are shown at once.
const SHOWN: usize = 100;

/// The keys of records, for arguments that take one.
pub(super) fn keys() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let prefix = typed.to_str().unwrap_or_default().to_owned();
        let found = answered(async |connection| {
            let store: StoreClient = connection.block("store");
            let options = ListOptions {
                database: option("-d", "--database").unwrap_or_else(|| connection.namespace().to_owned()),
                table: option("-t", "--table").unwrap_or_default(),
                prefix,
                limit: SHOWN as u64,
                ..ListOptions::default()
            };
            let mut pages = store.list(ListRequest { options: Some(options) }).await?;
            Ok(pages.next().await?.unwrap_or_default().keys)
        });
        candidates(found)
    })
}

/// The keys of blobs, for arguments that take one.
pub(super) fn blobs() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let prefix = typed.to_str().unwrap_or_default().to_owned();
        let found = answered(async |connection| {
            let blobs = Store::new(connection.block("store"), connection.namespace(), "").blobs();
            let page = blobs.list(&prefix, "").await?;
            Ok(page.into_iter().take(SHOWN).map(|blob| blob.key).collect())
        });
        candidates(found)
    })
}

fn candidates(found: Option<Vec<String>>) -> Vec<CompletionCandidate> {
    found.unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

/// The value of an option on the line that is being typed.
fn option(short: &str, long: &str) -> Option<String> {
    option_among(std::env::args_os().skip_while(|word| word != "--").skip(2), short, long)
}

fn option_among(words: impl Iterator<Item = OsString>, short: &str, long: &str) -> Option<String> {
    let words: Vec<String> = words.filter_map(|word| word.into_string().ok()).collect();
    let behind = words.windows(2).rev().find(|pair| pair[0] == short || pair[0] == long);
    let within = || words.iter().rev().find_map(|word| word.strip_prefix(long)?.strip_prefix('='));
    behind.map(|pair| pair[1].as_str()).or_else(within).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_in_every_form() {
        let table = |line: &str| option_among(line.split(' ').map(OsString::from), "-t", "--table");
        for (line, found) in [
            ("store read -t users k", Some("users")),
            ("store read --table users", Some("users")),
            ("store read --table=users -p", Some("users")),
            ("store read -t", None),
            ("store read k", None),
        ] {
            assert_eq!(table(line).as_deref(), found, "{line}");
        }
    }
}
