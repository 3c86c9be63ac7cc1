//! A service for tests and for fuzzing: every type, streams, several handlers and reserved names.

use super::{Descriptors, Schema};
use clap::{Arg, ArgAction, Command};

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
pub(super) fn greeter() -> Schema {
    schema(GREETER, "greeter", "1.0")
}

/// The schema of a service in one file.
pub(super) fn schema(source: &str, name: &str, version: &str) -> Schema {
    let (name, version, about) = (name.to_owned(), version.to_owned(), String::new());
    Schema::Descriptors { set: descriptors(source), name, version, about, registered: None }
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

/// The compiled file.
pub(super) fn descriptors(source: &str) -> Descriptors {
    let mut compiler = protox::Compiler::with_file_resolver(Source(source.to_owned()));
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file(FILE).expect("a schema");
    Descriptors::decode(compiler.encode_file_descriptor_set()).expect("a set")
}

/// The root command with the global flags of the real one.
pub(super) fn root() -> Command {
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
