use micro_sdk::prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, field_descriptor_proto,
};

use super::*;
use crate::backend;

fn hash(set: &[u8]) -> String {
    hex::encode(Sha256::digest(set))
}

/// A valid set with so many messages, different for each name.
fn set(name: &str, messages: usize) -> Vec<u8> {
    let message = |number| DescriptorProto { name: Some(format!("M{number}")), ..DescriptorProto::default() };
    let file = FileDescriptorProto {
        name: Some(name.to_owned()),
        message_type: (0..messages).map(message).collect(),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

async fn put(descriptors: &Descriptors, set: &[u8]) -> i32 {
    descriptors.put(&hash(set), set.to_vec()).await.map_or_else(|error| error.code, |()| 200)
}

async fn open() -> Descriptors {
    Descriptors::open(backend::open("memory:").await.unwrap()).await.unwrap()
}

#[test]
fn everything_with_a_length_is_counted_at_every_level() {
    // Two messages with names of two letters, in a file with a name, in a set.
    assert_eq!(elements(&set("a", 2)).unwrap(), 6);
    assert_eq!(elements(&[0x0a, 4, 0x22, 0, 0x22, 0]).unwrap(), 3);
    assert!(elements(micro_sdk::proto::DESCRIPTORS).unwrap() > 1000);
    for broken in [&[0x0a, 4, 0][..], &[0xff], &[0x07], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        assert_eq!(elements(broken).unwrap_err().code, 400, "{broken:?}");
    }
}

#[tokio::test]
async fn what_would_weigh_too_much_is_refused_before_it_is_decoded() {
    let descriptors = open().await;
    // One file of empty messages, and as many empty files.
    let messages = [&[0x0a, 0x80, 0x80, 0x80, 0x01][..], &[0x22, 0].repeat(1 << 20)].concat();
    for dense in [messages, [0x0a, 0].repeat(1 << 20)] {
        assert_eq!(put(&descriptors, &dense).await, 413);
    }
    assert_eq!(put(&descriptors, &set("a", 2)).await, 200);
    assert_eq!(put(&descriptors, &vec![0; MAX_SIZE + 1]).await, 413);
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_by_the_file_and_remembered() {
    let descriptors = open().await;
    let file = |name: &str, syntax: &str| FileDescriptorProto {
        name: Some(name.to_owned()),
        syntax: Some(syntax.to_owned()),
        ..FileDescriptorProto::default()
    };
    let edition = FileDescriptorSet { file: vec![file("a.proto", "proto3"), file("b.proto", "editions")] };
    let edition = edition.encode_to_vec();
    let error = descriptors.put(&hash(&edition), edition.clone()).await.unwrap_err();
    assert_eq!(error.code, 400);
    assert!(error.detail.contains("`b.proto` has the syntax `editions`"), "{error}");
    assert!(error.detail.contains("syntax = \"proto3\";"), "{error}");
    assert_eq!(descriptors.unusable(&hash(&edition)).as_deref(), Some(&*error.detail));
    assert!(!descriptors.has(&hash(&edition)));
    // protoc takes such names.
    let field = |name: &str, number: i32| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(field_descriptor_proto::Type::Bool.into()),
        ..FieldDescriptorProto::default()
    };
    let alike = DescriptorProto {
        name: Some("M".to_owned()),
        field: vec![field("ab", 1), field("a_b", 2)],
        ..DescriptorProto::default()
    };
    let alike = FileDescriptorProto { message_type: vec![alike], ..file("c.proto", "proto3") };
    let alike = FileDescriptorSet { file: vec![alike] }.encode_to_vec();
    assert_eq!(put(&descriptors, &alike).await, 400);
    assert!(descriptors.unusable(&hash(&alike)).is_some());
    let large = vec![0; MAX_SIZE + 1];
    assert_eq!(put(&descriptors, &large).await, 413);
    assert!(descriptors.unusable(&hash(&large)).is_some());
    // Of what came under another's hash nothing is remembered.
    let valid = set("a", 1);
    assert_eq!(descriptors.put(&hash(&valid), edition).await.unwrap_err().code, 400);
    assert!(descriptors.unusable(&hash(&valid)).is_none());
    assert_eq!(put(&descriptors, &valid).await, 200);
}

#[tokio::test]
async fn what_is_kept_decoded_is_bounded_by_its_weight() {
    let descriptors = open().await;
    let sets: Vec<_> = (0..4).map(|number| set(&number.to_string(), 40_000)).collect();
    let one = weight(&sets[0]).unwrap();
    assert!(one * 4 > DECODED && one <= DECODED);
    for set in &sets {
        assert_eq!(put(&descriptors, set).await, 200);
    }
    let kept = descriptors.decoded().kept.len();
    assert_eq!(descriptors.decoded().weight, kept * one);
    assert!((1..4).contains(&kept) && kept * one <= DECODED, "{kept}");
    // What was given up is decoded again.
    descriptors.schema(&hash(&sets[0])).await.unwrap();
}

#[tokio::test]
async fn of_what_was_replaced_the_oldest_is_removed_where_it_is_too_much() {
    let descriptors = open().await;
    // The bytes of a set without elements: one file with a long name.
    let long = |number: usize| {
        let file = FileDescriptorProto {
            name: Some(format!("{number}{}", "x".repeat(MAX_SIZE - 100))),
            ..FileDescriptorProto::default()
        };
        FileDescriptorSet { file: vec![file] }.encode_to_vec()
    };
    let mut hashes = Vec::new();
    for number in 0..12 {
        let set = long(number);
        hashes.push(hash(&set));
        assert_eq!(put(&descriptors, &set).await, 200);
        let promised = HashSet::from([hash(&set)]);
        descriptors.sweep(&promised, Instant::now()).await.unwrap();
    }
    let there: Vec<_> = hashes.iter().map(|hash| descriptors.has(hash)).collect();
    assert_eq!(there, [vec![false; 3], vec![true; 9]].concat());
    for (hash, there) in hashes.iter().zip(there) {
        assert_eq!(descriptors.bytes(hash).await.is_ok(), there);
    }
}

#[tokio::test]
async fn what_no_service_has_is_removed_after_a_day() {
    let descriptors = open().await;
    let (kept, gone) = (set("kept", 1), set("gone", 1));
    assert_eq!((put(&descriptors, &kept).await, put(&descriptors, &gone).await), (200, 200));
    let (promised, now) = (HashSet::from([hash(&kept)]), Instant::now());
    for (later, there) in [(Duration::ZERO, true), (KEPT_FOR / 2, true), (KEPT_FOR, false)] {
        descriptors.sweep(&promised, now + later).await.unwrap();
        assert_eq!(descriptors.has(&hash(&gone)), there);
    }
    assert!(descriptors.has(&hash(&kept)));
    descriptors.schema(&hash(&kept)).await.unwrap();
    assert_eq!(descriptors.bytes(&hash(&gone)).await.unwrap_err().code, 404);
    assert!(descriptors.schema(&hash(&gone)).await.is_err());
}
