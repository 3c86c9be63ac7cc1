use prost_types::{FileDescriptorProto, MessageOptions, ServiceDescriptorProto};

use super::*;

fn field(name: &str, kind: Type, type_name: &str) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        type_name: Some(type_name.to_owned()).filter(|name| !name.is_empty()),
        ..FieldDescriptorProto::default()
    }
}

fn repeated(name: &str, kind: Type, type_name: &str) -> FieldDescriptorProto {
    FieldDescriptorProto { label: Some(Label::Repeated.into()), ..field(name, kind, type_name) }
}

fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto { name: Some(name.to_owned()), field, ..DescriptorProto::default() }
}

/// The message that protobuf makes of a map.
fn entry(name: &str, value: FieldDescriptorProto) -> DescriptorProto {
    let options = MessageOptions { map_entry: Some(true), ..MessageOptions::default() };
    let fields = vec![field("key", Type::String, ""), value];
    DescriptorProto { options: Some(options), ..message(name, fields) }
}

fn method(name: &str, request: &str, streams: (bool, bool)) -> MethodDescriptorProto {
    MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(request.to_owned()),
        output_type: Some(".shop.Item".to_owned()),
        client_streaming: Some(streams.0),
        server_streaming: Some(streams.1),
        ..MethodDescriptorProto::default()
    }
}

/// The endpoints of a service `Shop` with these messages, besides `Item` and the enum `Kind`.
fn shop(messages: Vec<DescriptorProto>, methods: Vec<MethodDescriptorProto>) -> Vec<Endpoint> {
    let kind = EnumDescriptorProto { name: Some("Kind".to_owned()), ..EnumDescriptorProto::default() };
    let item = message("Item", vec![field("id", Type::String, "")]);
    let service = ServiceDescriptorProto {
        name: Some("Shop".to_owned()),
        method: methods,
        ..ServiceDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        package: Some("shop".to_owned()),
        message_type: [vec![item], messages].concat(),
        enum_type: vec![kind],
        service: vec![service],
        ..FileDescriptorProto::default()
    };
    let set = FileDescriptorSet { file: vec![file] }.encode_to_vec();
    endpoints_of(&set).into_iter().map(|(_, endpoint)| endpoint).collect()
}

/// The endpoint of one method that is asked with this message.
fn asked_with(request: DescriptorProto) -> Endpoint {
    let name = format!(".shop.{}", request.name());
    let mut endpoints = shop(vec![request], vec![method("Buy", &name, (false, false))]);
    assert_eq!(endpoints.len(), 1);
    endpoints.remove(0)
}

/// A tree of values on one line: `name type{children}`.
fn shown(value: &Value) -> String {
    let children: Vec<String> = value.values.iter().map(shown).collect();
    let children = if children.is_empty() { String::new() } else { format!("{{{}}}", children.join(", ")) };
    format!("{} {}{children}", value.name, value.r#type)
}

fn request(endpoint: &Endpoint) -> String {
    endpoint.request.as_ref().map(shown).unwrap_or_default()
}

#[test]
fn scalars_have_the_names_of_go() {
    for (kind, name) in [
        (Type::Double, "float64"),
        (Type::Float, "float32"),
        (Type::Int32, "int32"),
        (Type::Sint32, "int32"),
        (Type::Sfixed32, "int32"),
        (Type::Int64, "int64"),
        (Type::Sint64, "int64"),
        (Type::Sfixed64, "int64"),
        (Type::Uint32, "uint32"),
        (Type::Fixed32, "uint32"),
        (Type::Uint64, "uint64"),
        (Type::Fixed64, "uint64"),
        (Type::Bool, "bool"),
        (Type::String, "string"),
        (Type::Bytes, "[]uint8"),
    ] {
        let endpoint = asked_with(message("Ask", vec![field("one_field", kind, "")]));
        assert_eq!(request(&endpoint), format!("Ask Ask{{one_field {name}}}"), "{kind:?}");
    }
}

#[test]
fn enums_and_messages_go_by_their_names_and_only_messages_have_children() {
    let endpoint = asked_with(message(
        "Ask",
        vec![
            field("kind", Type::Enum, ".shop.Kind"),
            field("elsewhere", Type::Enum, ".other.Kind"),
            field("item", Type::Message, ".shop.Item"),
        ],
    ));
    assert_eq!(request(&endpoint), "Ask Ask{kind Kind, elsewhere int32, item Item{id string}}");
    assert_eq!(endpoint.response.as_ref().map(shown), Some("Item Item{id string}".to_owned()));
    assert!(endpoint.metadata.is_empty());
}

#[test]
fn lists_and_maps_name_what_they_hold_and_have_no_children() {
    let mut ask = message(
        "Ask",
        vec![
            repeated("words", Type::String, ""),
            repeated("kinds", Type::Enum, ".shop.Kind"),
            repeated("items", Type::Message, ".shop.Item"),
            repeated("labels", Type::Message, ".shop.Ask.LabelsEntry"),
            repeated("stock", Type::Message, ".shop.Ask.StockEntry"),
            repeated("files", Type::Message, ".shop.Ask.FilesEntry"),
        ],
    );
    ask.nested_type = vec![
        entry("LabelsEntry", field("value", Type::String, "")),
        entry("StockEntry", field("value", Type::Message, ".shop.Item")),
        entry("FilesEntry", field("value", Type::Bytes, "")),
    ];
    assert_eq!(
        request(&asked_with(ask)),
        "Ask Ask{words []string, kinds []Kind, items []Item, labels map[string]string, \
         stock map[string]Item, files map[string][]uint8}"
    );
}

#[test]
fn the_members_of_a_oneof_are_left_out_and_optional_fields_are_not() {
    let in_oneof = |name: &str, optional: bool| FieldDescriptorProto {
        oneof_index: Some(0),
        proto3_optional: Some(optional),
        ..field(name, Type::Int64, "")
    };
    let endpoint = asked_with(message("Ask", vec![in_oneof("member", false), in_oneof("maybe", true)]));
    assert_eq!(request(&endpoint), "Ask Ask{maybe int64}");
}

#[test]
fn nothing_is_left_out_of_the_whole() {
    let oneof = |name: &str| FieldDescriptorProto {
        oneof_index: Some(0),
        ..field(name, Type::Message, ".shop.Item")
    };
    let item = message("Item", vec![field("sku", Type::String, "")]);
    let ask = message("Ask", vec![oneof("one"), repeated("items", Type::Message, ".shop.Item")]);
    let file = FileDescriptorProto {
        package: Some("shop".into()),
        message_type: vec![item, ask],
        service: vec![ServiceDescriptorProto {
            name: Some("Shop".into()),
            method: vec![method("Buy", ".shop.Ask", (false, true))],
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    let set = FileDescriptorSet { file: vec![file] }.encode_to_vec();
    let endpoints = whole_endpoints_of(&set);
    let (_, endpoint) = &endpoints[0];
    assert_eq!(request(endpoint), "Ask Ask{one Item{sku string}, items []Item{sku string}}");
    assert_eq!(endpoint.metadata["stream"], "true");
}

#[test]
fn a_type_within_a_message_has_the_name_go_gives_it() {
    let mut outer = message("Outer", vec![field("inner", Type::Message, ".shop.Outer.Inner")]);
    let mut inner = message("Inner", vec![field("mood", Type::Enum, ".shop.Outer.Inner.Mood")]);
    inner.enum_type =
        vec![EnumDescriptorProto { name: Some("Mood".to_owned()), ..EnumDescriptorProto::default() }];
    outer.nested_type = vec![inner];
    assert_eq!(request(&asked_with(outer)), "Outer Outer{inner Outer_Inner{mood Outer_Inner_Mood}}");
}

#[test]
fn a_message_within_itself_is_not_followed_again() {
    let of = |name: &str| field(name, Type::Message, ".shop.Tree");
    let endpoint = asked_with(message("Tree", vec![of("left"), of("right"), field("id", Type::Int64, "")]));
    assert_eq!(request(&endpoint), "Tree Tree{left Tree, right Tree, id int64}");
    let ring = [("A", "B"), ("B", "C"), ("C", "A")];
    let ring =
        ring.map(|(name, next)| message(name, vec![field("next", Type::Message, &format!(".shop.{next}"))]));
    let endpoints = shop(ring.to_vec(), vec![method("Buy", ".shop.A", (false, false))]);
    assert_eq!(request(&endpoints[0]), "A A{next B{next C{next A}}}");
}

/// Messages of six levels, each with so many fields of the next one.
fn wide(fields: usize) -> Vec<DescriptorProto> {
    let level = |n: usize| {
        let below = (0..fields).map(|i| field(&format!("f{i}"), Type::Message, &format!(".shop.L{}", n + 1)));
        message(&format!("L{n}"), below.collect())
    };
    (0..6).map(level).chain([message("L6", vec![field("id", Type::Int64, "")])]).collect()
}

fn count(values: &[Value]) -> usize {
    values.iter().map(|value| 1 + count(&value.values)).sum()
}

#[test]
fn messages_that_hold_many_messages_are_followed_less_deep() {
    for (fields, whole_levels) in [(2, 6), (3, 5), (20, 2), (499, 1), (501, 1)] {
        let endpoints = shop(wide(fields), vec![method("Buy", ".shop.L0", (false, false))]);
        let values = &endpoints[0].request.as_ref().unwrap().values;
        let listed: usize = (1..=whole_levels).map(|level| fields.pow(level)).sum();
        assert_eq!(count(values), listed.min(FIELDS), "{fields}");
    }
}

#[test]
fn the_endpoints_of_a_service_fit_into_a_registration() {
    for methods in [200, 1000] {
        let names = (0..methods).map(|n| method(&format!("M{n}"), ".shop.L0", (false, false)));
        let endpoints = shop(wide(3), names.collect());
        let length: usize = endpoints.iter().map(prost::Message::encoded_len).sum();
        assert!(endpoints.len() == methods && length <= BYTES, "{methods}: {length}");
    }
    let names = (0..10_000).map(|n| method(&format!("Method{n}"), ".shop.L0", (false, false)));
    assert_eq!(shop(wide(3), names.collect()).len(), 10_000, "no endpoint is left out");
}

#[test]
fn streams_of_every_direction_look_alike() {
    let methods = [("Down", (false, true)), ("Up", (true, false)), ("Both", (true, true))];
    let methods = methods.map(|(name, streams)| method(name, ".shop.Item", streams));
    let endpoints = shop(Vec::new(), methods.to_vec());
    let names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    assert_eq!(names, ["Shop.Both", "Shop.Down", "Shop.Up"]);
    for endpoint in &endpoints {
        assert_eq!(request(endpoint), "Context Context");
        assert_eq!(endpoint.response.as_ref().map(shown), Some("Stream Stream".to_owned()));
        assert_eq!(endpoint.metadata, HashMap::from([("stream".to_owned(), "true".to_owned())]));
    }
}

#[test]
fn the_example_of_the_reference_comes_out_the_same() {
    let endpoints = endpoints_of(micro_proto::DESCRIPTORS);
    let token =
        endpoints.iter().find(|(package, endpoint)| package == "auth" && endpoint.name == "Auth.Token");
    assert_eq!(
        request(&token.unwrap().1),
        "TokenRequest TokenRequest{id string, secret string, refresh_token string, \
         token_expiry int64, options Options{namespace string}}"
    );
}
