//! What must hold of any JSON, any protobuf and any body of gRPC that reaches the edge.

use std::{any::Any, sync::LazyLock};

use arbitrary::Unstructured;
use bytes::Bytes;
use micro_sdk::proto::{DESCRIPTORS, auth, broker, config, events, registry, runtime, store};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;

use super::{
    Weights,
    frames::{Frames, HEAD},
    schema::{SCHEMA, pool},
    to_json, to_protobuf, value_to_protobuf,
};

/// What only an older syntax has.
const OLD: &str = r#"
    syntax = "proto2";
    package old;
    import "google/protobuf/any.proto";
    import "google/protobuf/descriptor.proto";

    enum Level { LOW = 1; HIGH = 7; }

    message Old {
        required int32 id = 1;
        optional Level level = 2 [default = HIGH];
        repeated Level levels = 3 [packed = true];
        repeated sint32 numbers = 4 [packed = true];
        optional group Inner = 5 { optional string text = 1; repeated Old olds = 2; }
        repeated group Items = 6 { optional bytes data = 1; }
        optional float ratio = 7 [default = -0.0];
        map<sint64, Level> by_number = 8;
        map<fixed32, Old> olds = 9;
        oneof one { string name = 10; Level rank = 11; }
        optional google.protobuf.Any any = 12;
        optional google.protobuf.FileDescriptorProto file = 13;
        extensions 100 to 199;
    }

    extend Old { optional double weight = 100; repeated Old more = 101; optional string note = 102; }
"#;

/// JSON beyond this many bytes is not written.
const LIMIT: usize = 1 << 20;

/// The messages that are read and written, by the first byte of an input.
static MESSAGES: LazyLock<Vec<MessageDescriptor>> = LazyLock::new(|| {
    let named = |pool: DescriptorPool, names: &[&str]| {
        names.iter().filter_map(|name| pool.get_message_by_name(name)).collect::<Vec<_>>()
    };
    let new = named(
        pool(SCHEMA),
        &[
            "shop.Order",
            "shop.Address",
            "google.protobuf.Any",
            "google.protobuf.Struct",
            "google.protobuf.Value",
            "google.protobuf.ListValue",
            "google.protobuf.Timestamp",
            "google.protobuf.Duration",
            "google.protobuf.FieldMask",
            "google.protobuf.DoubleValue",
            "google.protobuf.Empty",
        ],
    );
    [new, named(pool(OLD), &["old.Old", "google.protobuf.FileDescriptorProto"])].concat()
});

/// The message that a number stands for.
pub(crate) fn message_of(number: u8) -> &'static MessageDescriptor {
    &MESSAGES[usize::from(number) % MESSAGES.len()]
}

fn message(input: &[u8]) -> Option<(&'static MessageDescriptor, &[u8])> {
    let (first, rest) = input.split_first()?;
    Some((message_of(*first), rest))
}

/// Any text as the JSON of a message: the two ways of reading agree, and what was read is written and
/// read again without loss.
pub(crate) fn json(input: &[u8]) {
    let Some((message, json)) = message(input) else { return };
    let read = to_protobuf(message, json);
    if let Ok(value) = serde_json::from_slice::<Value>(super::without_mark(json)) {
        let text = value.to_string();
        let by_text = to_protobuf(message, text.as_bytes());
        let by_value = value_to_protobuf(message, value);
        assert_eq!(by_text.is_ok(), by_value.is_ok(), "{text}: {by_text:?}, {by_value:?}");
        if let (Ok(one), Ok(other)) = (by_text, by_value) {
            assert_eq!(one, other, "{text}");
        }
    }
    if let Ok(protobuf) = read {
        again(message, &protobuf);
    }
}

/// Any bytes as a message: either they are refused, or their JSON stands for the same message.
pub(crate) fn protobuf(input: &[u8]) {
    let Some((message, protobuf)) = message(input) else { return };
    let Ok(json) = to_json(message, protobuf, LIMIT) else { return };
    let read = to_protobuf(message, &json).unwrap_or_else(|error| panic!("{error}: {json:?}"));
    again(message, &read);
}

/// What was read is written, and is the same once it is read again.
fn again(message: &MessageDescriptor, protobuf: &Bytes) {
    let json = match to_json(message, protobuf, LIMIT) {
        Ok(json) => json,
        Err(error) if error.0.starts_with("larger than") => return,
        Err(error) => panic!("{error}: {protobuf:?}"),
    };
    assert!(json.len() <= LIMIT);
    let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(&json);
    assert!(parsed.is_ok(), "{parsed:?}: {json:?}");
    let read = to_protobuf(message, &json).unwrap_or_else(|error| panic!("{error}: {json:?}"));
    // A `google.protobuf.Value` of nothing is `null`, as one that holds `null` is.
    assert!(read == *protobuf || contains(&json, b"null"), "{json:?}: {protobuf:?} became {read:?}");
    assert_eq!(to_json(message, &read, LIMIT).as_ref(), Ok(&json), "{read:?}");
    assert!(DynamicMessage::decode(message.clone(), &read[..]).is_ok(), "{read:?}");
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Any bytes as the body of a call, in pieces of any size: the messages do not depend on the pieces.
pub(crate) fn frames(input: &[u8]) {
    let mut choice = Unstructured::new(input);
    let (Ok(limit), Ok(seed)) = (choice.int_in_range(0..=300_usize), choice.arbitrary::<u8>()) else {
        return;
    };
    let body = choice.take_rest();
    let (mut expected, mut rest) = (Vec::new(), body);
    let fails = loop {
        let Some(([flag, length @ ..], after)) = rest.split_first_chunk::<HEAD>() else { break false };
        let length = u32::from_be_bytes(*length) as usize;
        if *flag != 0 || length > limit {
            break true;
        }
        let Some((message, after)) = after.split_at_checked(length) else { break false };
        expected.push(message);
        rest = after;
    };
    for piece in [1, usize::from(seed) + 1, body.len().max(1)] {
        let (mut frames, mut found, mut failed) = (Frames::new(limit), Vec::new(), false);
        'body: for chunk in body.chunks(piece) {
            frames.push(Bytes::copy_from_slice(chunk));
            loop {
                match frames.next() {
                    Ok(Some(message)) => found.push(message),
                    Ok(None) => break,
                    Err(_) => {
                        failed = true;
                        break 'body;
                    }
                }
            }
        }
        assert_eq!(found, expected, "in pieces of {piece}");
        assert_eq!(failed, fails, "in pieces of {piece}");
        assert!(failed || frames.is_partial() != rest.is_empty());
    }
}

/// Decodes a request as the server does.
type Decode = fn(&[u8]) -> Option<Box<dyn Any>>;

/// The requests of the platform, and how the server decodes them.
static REQUESTS: [(&str, Decode); 14] = [
    ("auth.GenerateRequest", decode::<auth::GenerateRequest>),
    ("auth.CreateRequest", decode::<auth::CreateRequest>),
    ("auth.TokenRequest", decode::<auth::TokenRequest>),
    ("broker.PublishRequest", decode::<broker::PublishRequest>),
    ("config.SetRequest", decode::<config::SetRequest>),
    ("events.PublishRequest", decode::<events::PublishRequest>),
    ("events.WriteRequest", decode::<events::WriteRequest>),
    ("registry.Service", decode::<registry::Service>),
    ("registry.Value", decode::<registry::Value>),
    ("registry.GetRequest", decode::<registry::GetRequest>),
    ("runtime.CreateRequest", decode::<runtime::CreateRequest>),
    ("runtime.LogsRequest", decode::<runtime::LogsRequest>),
    ("store.BatchRequest", decode::<store::BatchRequest>),
    ("store.WriteRequest", decode::<store::WriteRequest>),
];

fn decode<T: Message + Default + 'static>(bytes: &[u8]) -> Option<Box<dyn Any>> {
    T::decode(bytes).ok().map(|message| Box::new(message) as Box<dyn Any>)
}

/// The requests with their numbers, and the weights of their contract.
static WEIGHTS: LazyLock<(Weights, Vec<usize>)> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("the contract is compiled by us");
    let weights = Weights::of(&pool);
    let number = |(name, _): &(&str, Decode)| {
        let message = pool.get_message_by_name(name).unwrap_or_else(|| panic!("there is no `{name}`"));
        weights.number(&message).expect("every message has a number")
    };
    let numbers = REQUESTS.iter().map(number).collect();
    (weights, numbers)
});

/// Bytes of the structure of a request, which is no part of its weight.
const OUTERMOST: usize = 1024;

/// Any bytes as a request of the platform: decoding takes no more memory than was said before.
pub(crate) fn weight(input: &[u8]) {
    let mut choice = Unstructured::new(input);
    let (Ok(which), Ok(times)) = (choice.choose_index(REQUESTS.len()), choice.int_in_range(1..=64_usize))
    else {
        return;
    };
    // What is small on the wire weighs most where there is much of it.
    let bytes = choice.take_rest().repeat(times);
    let (weights, numbers) = &*WEIGHTS;
    let weight = weights.weigh(numbers[which], &bytes, usize::MAX);
    let mut decoded = None;
    let taken = allocation_counter::measure(|| decoded = REQUESTS[which].1(&bytes));
    let name = REQUESTS[which].0;
    let Ok(weight) = weight else {
        assert!(decoded.is_none(), "{name}: decoded, but not weighed");
        return;
    };
    let kept = usize::try_from(taken.bytes_current).expect("more is taken than given back");
    let length = bytes.len();
    assert!(kept <= weight + OUTERMOST, "{name}: {length} bytes take {kept}, and were said to take {weight}");
    // A list that grows is there twice for a moment.
    let most = taken.bytes_max as usize;
    assert!(
        most <= 2 * weight + OUTERMOST,
        "{name}: {length} bytes take {most} for a moment, said were {weight}"
    );
}
