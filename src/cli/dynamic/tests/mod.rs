//! The whole way of a dynamic command: typed words, resolved, parsed by clap, made into a request.

mod cases;
mod help;
mod names;

use super::schema::{Endpoint, Field, Kind, MAX_DEPTH, Wanted};
use super::{Descriptors, Error, Schema, Service, command, completable, matched, request, resolve};
use clap::{Arg, ArgAction, Command};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "greeter.proto";

const GREETER: &str = r#"
syntax = "proto3";
package greeter;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/empty.proto";

// Greets people.
service Greeter {
  // Say hello.
  //
  // At length.
  rpc Call(Request) returns (Request);
  rpc PingPong(stream Request) returns (stream Request);
  rpc Nothing(google.protobuf.Empty) returns (Request);
}

// Keeps watch.
service Stream {
  rpc Publish(Tree) returns (Request);
  rpc Status(Tree) returns (stream Request);
}

service Other {
  rpc Status(Tree) returns (Request);
  rpc Reset(Reserved) returns (Request);
}

enum Size { UNKNOWN = 0; SMALL = 1; VERY_LARGE = 2; }

message Address {
  string zip_code = 1;
  repeated string lines = 2;
  Place place = 3;
}

message Place { double latitude = 1; }

message Request {
  // The name to greet.
  string name = 1;
  bool loud = 2;
  int32 small = 3;
  sint64 large = 4;
  uint32 count = 5;
  fixed64 total = 6;
  float ratio = 7;
  double exact = 8;
  bytes data = 9;
  Size size = 10; // How large.
  Address address = 11;
  repeated Address addresses = 12;
  map<string, string> labels = 13;
  map<int32, Size> sizes = 14;
  repeated string tags = 15;
  repeated bytes parts = 16;
  repeated Size all_sizes = 17;
  google.protobuf.Timestamp created = 18;
  google.protobuf.Int64Value limit = 19;
  map<string, Address> homes = 20;
}

message Tree { string label = 1; Tree left = 2; Tree right = 3; }

message Reserved {
  string json = 1; string header = 2; string help = 3; string env = 4; string namespace = 5; string output = 6;
  int32 timeout = 7; bool quiet = 8; bool verbose = 9; bool yes = 10; bool no_color = 11; string version = 12;
  Place no = 13; string a_b = 14; Nested a = 15;
}

message Nested { string b = 1; string color = 2; }
"#;

/// A service with every type, streams, several handlers and reserved names.
fn greeter() -> Schema {
    schema(GREETER, "greeter", "1.0")
}

fn schema(source: &str, name: &str, version: &str) -> Schema {
    let (name, version, about) = (name.to_owned(), version.to_owned(), String::new());
    Schema::Descriptors { set: descriptors(source), name, version, about, registered: None }
}

/// A service with the fields of this endpoint on all levels.
fn whole(schema: &Schema, endpoint: &str) -> Service {
    let endpoint = Some(endpoint.to_owned());
    schema.describe(&Wanted { endpoint, levels: MAX_DEPTH, comments: true, ..Wanted::default() })
}

struct Source(String);

impl protox::file::FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        if name == FILE {
            protox::file::File::from_source(name, &self.0)
        } else {
            protox::file::GoogleFileResolver::new().open_file(name)
        }
    }
}

fn descriptors(source: &str) -> Descriptors {
    let mut compiler = protox::Compiler::with_file_resolver(Source(source.to_owned()));
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file(FILE).unwrap();
    Descriptors::decode(compiler.encode_file_descriptor_set()).unwrap()
}

fn field(name: &str, kind: Kind, repeated: bool) -> Field {
    Field { name: name.to_owned(), about: String::new(), kind, repeated, excludes: Vec::new() }
}

/// A service `foo` with the one endpoint `Foo.Call`.
fn service_with(fields: Vec<Field>) -> Schema {
    let call = Endpoint { name: "Foo.Call".to_owned(), fields, ..Endpoint::default() };
    Schema::Whole(Service { name: "foo".to_owned(), endpoints: vec![call], ..Service::default() })
}

/// The root command with the global flags of the real one.
fn root() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).global(true);
    Command::new("micro").args([
        flag("env").short('e'),
        flag("namespace").short('n'),
        flag("output").short('o'),
        flag("timeout"),
        flag("quiet").short('q').action(ArgAction::SetTrue),
        flag("verbose").short('v').action(ArgAction::Count),
        flag("yes").action(ArgAction::SetTrue),
        flag("no-color").action(ArgAction::SetTrue),
    ])
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
    let value = request(endpoint, matches, &read_file)?;
    Ok((endpoint.name.clone(), value))
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
