//! Schemas for tests and for fuzzing, compiled from their text.

use prost_reflect::DescriptorPool;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

/// One message that has every kind of field.
pub(super) const SCHEMA: &str = r#"
    syntax = "proto3";
    package shop;
    import "google/protobuf/any.proto";
    import "google/protobuf/duration.proto";
    import "google/protobuf/empty.proto";
    import "google/protobuf/field_mask.proto";
    import "google/protobuf/struct.proto";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";

    enum Mood { MOOD_UNKNOWN = 0; HAPPY = 1; SAD = -2; }

    message Address { string street = 1; int32 zip = 2; repeated string lines = 3; }

    message Order {
        string name = 1;
        bool is_paid = 2;
        int32 small = 3;
        int64 big = 4;
        uint32 count = 5;
        uint64 huge = 6;
        sint64 zigzag = 7;
        fixed32 fixed = 8;
        sfixed64 signed_fixed = 9;
        float ratio = 10;
        double price = 11;
        bytes data = 12;
        Mood mood = 13;
        Address address = 14;
        repeated string tags = 15;
        repeated int64 ids = 16;
        repeated Address stops = 17;
        repeated Mood moods = 18;
        map<string, string> labels = 19;
        map<int32, Address> places = 20;
        map<bool, uint64> votes = 21;
        oneof payment { string card = 22; int64 cash = 23; Address cheque = 24; }
        optional int32 maybe = 25;
        Order child = 26;
        google.protobuf.Timestamp at = 27;
        google.protobuf.Duration took = 28;
        google.protobuf.Int64Value wrapped = 29;
        google.protobuf.StringValue wrapped_text = 30;
        google.protobuf.Struct object = 31;
        google.protobuf.Value value = 32;
        google.protobuf.ListValue list = 33;
        google.protobuf.FieldMask mask = 34;
        google.protobuf.Empty nothing = 35;
        google.protobuf.Any any = 36;
        google.protobuf.NullValue null = 37;
        repeated google.protobuf.Timestamp times = 38;
        google.protobuf.BytesValue wrapped_bytes = 39;
        string customName = 40 [json_name = "renamed"];
        repeated double weights = 41;
        google.protobuf.DoubleValue wrapped_price = 42;
        map<string, double> rates = 43;
        repeated google.protobuf.Any anys = 44;
        repeated google.protobuf.Int64Value limits = 45;
        map<string, Order> labelled = 46;
        repeated Order orders = 47;
    }
"#;

/// The one file of a schema; the others are those of protobuf itself.
struct Schema(&'static str);

impl FileResolver for Schema {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "schema.proto" => File::from_source(name, self.0),
            other => Err(protox::Error::file_not_found(other)),
        }
    }
}

/// The descriptors of a schema in one file, which may import the files of protobuf itself.
pub(crate) fn pool(schema: &'static str) -> DescriptorPool {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Schema(schema));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("schema.proto").expect("a schema");
    compiler.descriptor_pool()
}
