//! The whole way of a dynamic command: typed words, resolved, parsed by clap, made into a request.

mod cases;
mod help;
mod names;

use super::greeter::{greeter, root, schema};
use super::schema::{Endpoint, Field, Kind, MAX_DEPTH, Wanted};
use super::{Error, Schema, Service, command, completable, matched, request, resolve};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};

/// A service with the fields of this endpoint on all levels.
fn whole(schema: &Schema, endpoint: &str) -> Service {
    let endpoint = Some(endpoint.to_owned());
    schema.describe(&Wanted { endpoint, levels: MAX_DEPTH, comments: true, ..Wanted::default() })
}

fn field(name: &str, kind: Kind, repeated: bool) -> Field {
    let (about, excludes) = (String::new(), Vec::new());
    Field { name: name.to_owned(), about, kind, repeated, excludes, deprecated: false }
}

/// A service `foo` with the one endpoint `Foo.Call`.
fn service_with(fields: Vec<Field>) -> Schema {
    let call = Endpoint { name: "Foo.Call".to_owned(), fields, ..Endpoint::default() };
    Schema::Whole(Service { name: "foo".to_owned(), endpoints: vec![call], ..Service::default() })
}

fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|word| (*word).to_owned()).collect()
}

/// Resolves and parses; clap's own errors are text.
fn parse(schema: &Schema, line: &[&str]) -> Result<(Service, Result<clap::ArgMatches, clap::Error>), Error> {
    let resolved = resolve(schema, &words(line), &root())?;
    let words = ["micro".to_owned(), resolved.service.name.clone()].into_iter().chain(resolved.words);
    let parsed = root().subcommand(command(&resolved.service)).try_get_matches_from(words);
    Ok((resolved.service, parsed))
}

/// The endpoint called and its request.
fn call(schema: &Schema, line: &[&str]) -> Result<(String, Value), Error> {
    let (service, matches) = parse(schema, line)?;
    let matches = matches.unwrap_or_else(|error| panic!("{line:?}: {error}"));
    let (_, matches) = matches.subcommand().unwrap();
    let (endpoint, matches) = matched(&service, matches).unwrap();
    let request = request(endpoint, matches, &read_file)?;
    Ok((endpoint.name.clone(), request.message))
}

fn sent(service: &Schema, line: &[&str]) -> Value {
    call(service, line).unwrap_or_else(|error| panic!("{line:?}: {error}")).1
}

fn refused(service: &Schema, line: &[&str]) -> (String, String) {
    match call(service, line) {
        Ok((endpoint, value)) => panic!("{line:?} calls {endpoint} with {value}"),
        Err(error) => (error.to_string(), error.hint().unwrap_or_default().to_owned()),
    }
}

fn read_file(path: &str) -> io::Result<Vec<u8>> {
    match path {
        "-" => Ok(br#"{"name": "from stdin"}"#.to_vec()),
        "request.json" => Ok(br#"{"name": "from file", "address": {"zipCode": "1"}}"#.to_vec()),
        "picture" => Ok(vec![0xff, 0xfe, 0xfd]),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// A folder for completion, which nothing reads here.
fn folder() -> PathBuf {
    Path::new(".").to_owned()
}
