use super::{order, to_json, to_protobuf};
use crate::transcode::value_to_protobuf;
use proptest::{collection, option, prelude::*, strategy::Union};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use std::collections::HashMap;

/// Levels of messages within messages that are generated.
const LEVELS: usize = 3;

fn scalar(kind: &Kind) -> BoxedStrategy<Value> {
    let finite = any::<f64>().prop_filter("JSON has no NaN that equals itself", |number| number.is_finite());
    let finite32 =
        any::<f32>().prop_filter("JSON has no NaN that equals itself", |number| number.is_finite());
    match kind {
        Kind::Double => finite.prop_map(Value::F64).boxed(),
        Kind::Float => finite32.prop_map(Value::F32).boxed(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => any::<i32>().prop_map(Value::I32).boxed(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => any::<i64>().prop_map(Value::I64).boxed(),
        Kind::Uint32 | Kind::Fixed32 => any::<u32>().prop_map(Value::U32).boxed(),
        Kind::Uint64 | Kind::Fixed64 => any::<u64>().prop_map(Value::U64).boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::String => any::<String>().prop_map(Value::String).boxed(),
        Kind::Bytes => {
            collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())).boxed()
        }
        Kind::Enum(names) if names.full_name() == "google.protobuf.NullValue" => {
            Just(Value::EnumNumber(0)).boxed()
        }
        Kind::Enum(_) => (-3..3).prop_map(Value::EnumNumber).boxed(),
        Kind::Message(_) => unreachable!("a message is no scalar"),
    }
}

fn one(kind: &Kind, levels: usize) -> Option<BoxedStrategy<Value>> {
    let Kind::Message(descriptor) = kind else { return Some(scalar(kind)) };
    match descriptor.full_name() {
        "google.protobuf.Timestamp" | "google.protobuf.Duration" => {
            let descriptor = descriptor.clone();
            let build = move |(seconds, nanos)| {
                let mut time = DynamicMessage::new(descriptor.clone());
                time.set_field_by_name("seconds", Value::I64(seconds));
                time.set_field_by_name("nanos", Value::I32(nanos));
                Value::Message(time)
            };
            Some((0..253_402_300_799_i64, 0..1_000_000_000).prop_map(build).boxed())
        }
        name if name.starts_with("google.protobuf.") && !name.ends_with("Value") => None,
        "google.protobuf.Value" | "google.protobuf.ListValue" => None,
        _ if levels == 0 => None,
        _ => Some(whole(descriptor, levels - 1).prop_map(Value::Message).boxed()),
    }
}

fn field(field: &FieldDescriptor, levels: usize) -> Option<BoxedStrategy<Value>> {
    if field.is_map() {
        let entry = field.kind();
        let entry = entry.as_message().unwrap();
        let keys = scalar(&entry.map_entry_key_field().kind());
        let values = one(&entry.map_entry_value_field().kind(), levels)?;
        let entries = collection::vec((keys, values), 0..3);
        let map = entries.prop_map(|entries| {
            let keyed = entries.into_iter().map(|(key, value)| (key.into_map_key().unwrap(), value));
            Value::Map(keyed.collect::<HashMap<MapKey, Value>>())
        });
        return Some(map.boxed());
    }
    let single = one(&field.kind(), levels)?;
    Some(if field.is_list() { collection::vec(single, 0..3).prop_map(Value::List).boxed() } else { single })
}

/// Any message of the type. Of a oneof the last member generated stays.
fn whole(descriptor: &MessageDescriptor, levels: usize) -> BoxedStrategy<DynamicMessage> {
    let descriptor = descriptor.clone();
    let fields: Vec<_> = descriptor
        .fields()
        .filter_map(|each| {
            let values = option::weighted(0.3, field(&each, levels)?);
            Some(values.prop_map(move |value| (each.clone(), value)))
        })
        .collect();
    fields
        .prop_map(move |fields| {
            let mut message = DynamicMessage::new(descriptor.clone());
            for (field, value) in fields {
                if let Some(value) = value {
                    message.set_field(&field, value);
                }
            }
            message
        })
        .boxed()
}

/// Any JSON, with many names and texts that mean something in an order.
fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let names: Vec<String> = order().fields().map(|field| field.name().to_owned()).collect();
    let name = prop_oneof![
        12 => proptest::sample::select(names),
        1 => proptest::sample::select(vec!["street", "zip", "lines", "seconds", "@type"]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let texts = [
        "",
        "1",
        "-1.0",
        "1e99",
        "true",
        "HAPPY",
        "a,b",
        "[1,2]",
        "{\"zip\":1}",
        "[{}]",
        "[",
        "{",
        "NaN",
        "2006-01-02T15:04:05Z",
        "0000-00-00T00:00:00Z",
        "9999-12-31T23:59:60.999999999Z",
        "1.5s",
        "-9223372036854775808.999999999s",
        "99999999999999999999s",
        "aGk=",
        "shop.Order",
        "a/google.protobuf.Any",
        "a/shop.Order",
    ];
    let leaf = Union::new_weighted(vec![
        (1, Just(Value::Null).boxed()),
        (1, any::<bool>().prop_map(Value::from).boxed()),
        (2, any::<i64>().prop_map(Value::from).boxed()),
        (1, any::<u64>().prop_map(Value::from).boxed()),
        (1, any::<f64>().prop_map(|number| json!(number)).boxed()),
        (1, any::<String>().prop_map(Value::from).boxed()),
        (1, "[0-9T:Z.+-]{1,24}s?".prop_map(Value::from).boxed()),
        (4, proptest::sample::select(texts.to_vec()).prop_map(Value::from).boxed()),
    ]);
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            1 => collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => collection::vec((name.clone(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    // Bytes, and no comparison that prints: `Debug` of a recursive type does not return.
    #[test]
    fn a_message_survives_the_way_through_json(
        protobuf in whole(&order(), LEVELS).prop_map(|message| message.encode_to_vec())
    ) {
        let json = to_json(&order(), &protobuf).unwrap();
        let back = to_protobuf(&order(), &json).unwrap();
        let decode = |bytes: &[u8]| DynamicMessage::decode(order(), bytes).unwrap();
        prop_assert!(decode(&back) == decode(&protobuf), "{:?}", json);
    }

    #[test]
    fn no_json_value_brings_the_edge_down(value in json()) {
        let text = value.to_string();
        let from_text = to_protobuf(&order(), text.as_bytes());
        if let Ok(protobuf) = &from_text {
            prop_assert!(DynamicMessage::decode(order(), &protobuf[..]).is_ok());
        }
        prop_assert_eq!(from_text.is_ok(), value_to_protobuf(&order(), value).is_ok());
    }

    #[test]
    fn every_field_takes_or_refuses_any_value(index in 0..order().fields().len(), value in json()) {
        let field = order().fields().nth(index).unwrap();
        let object = serde_json::json!({ field.name(): value });
        if let Err(refused) = to_protobuf(&order(), object.to_string().as_bytes()) {
            let named = refused.0.contains(field.name()) || refused.0.contains("nested");
            prop_assert!(named, "{}", refused);
        }
    }

    #[test]
    fn no_bytes_bring_the_edge_down(bytes in collection::vec(any::<u8>(), 0..200)) {
        let _ = to_json(&order(), &bytes);
        let _ = to_protobuf(&order(), &bytes);
    }
}
