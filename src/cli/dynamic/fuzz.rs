//! What must hold of any words behind the name of a service.

use super::greeter::{greeter, root};
use super::{Descriptors, Schema, command, completable, matched, request, resolve};
use crate::transcode;
use prost_reflect::DescriptorPool;
use std::ffi::OsString;
use std::io;
use std::sync::LazyLock;

/// The services, by the first byte of an input: one that uses everything, and a building block.
static SCHEMAS: LazyLock<[Schema; 2]> = LazyLock::new(|| {
    let set = micro_sdk::proto::DESCRIPTORS.to_vec();
    let set = Descriptors::decode(set).expect("the contract is compiled by us").of_package("store");
    let (name, version, about) = ("store".to_owned(), String::new(), String::new());
    [greeter(), Schema::Descriptors { set, name, version, about, registered: None }]
});

static CONTRACT: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(micro_sdk::proto::DESCRIPTORS).expect("the contract is compiled by us")
});

/// Any lines as words: a call, help, or an error that says something; and what completion offers begins
/// with what was typed.
pub(crate) fn words(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let schema = &SCHEMAS[usize::from(first & 1)];
    // A command line has no NUL.
    let text = String::from_utf8_lossy(rest).replace('\0', "");
    let words: Vec<String> = text.split('\n').map(str::to_owned).collect();
    called(schema, &words);
    completed(schema, &words);
}

fn called(schema: &Schema, words: &[String]) {
    let resolved = match resolve(schema, words, &root()) {
        Ok(resolved) => resolved,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let line = ["micro".to_owned(), resolved.service.name.clone()].into_iter().chain(resolved.words);
    let parsed = root().subcommand(command(&resolved.service)).try_get_matches_from(line);
    let matches = match parsed {
        Ok(matches) => matches,
        Err(error) => {
            assert!(!error.render().to_string().is_empty());
            return;
        }
    };
    let Some((endpoint, matches)) =
        matches.subcommand().and_then(|(_, below)| matched(&resolved.service, below))
    else {
        return;
    };
    let Ok(request) = request(endpoint, matches, &|_| Err(io::ErrorKind::NotFound.into())) else { return };
    let handler = format!("store.{}", endpoint.handler());
    let method = CONTRACT.get_service_by_name(&handler).and_then(|handler| {
        handler.methods().find(|method| method.name() == endpoint.method()).map(|method| method.input())
    });
    if let Some(message) = method {
        let _ = transcode::value_to_protobuf(&message, request.message);
    }
}

fn completed(schema: &Schema, words: &[String]) {
    let mut command = root().subcommand(completable(schema, words, &root()));
    let line: Vec<OsString> = ["micro", &schema.outline(false).name]
        .into_iter()
        .chain(words.iter().map(String::as_str))
        .map(OsString::from)
        .collect();
    let last = line.len() - 1;
    let Ok(found) = clap_complete::engine::complete(&mut command, line, last, None) else { return };
    let typed = &words[words.len() - 1];
    for candidate in found {
        let value = candidate.get_value().to_string_lossy();
        assert!(value.starts_with(typed.as_str()), "{value:?} for {typed:?}");
    }
}
