//! Generated changes, made to a tree and to plain JSON: the two must agree, and every change can be
//! taken back and made again.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::services::config::{
    change::Change,
    fuzz::{Step, compare, make, value},
    path::Path,
    tree::Node,
};

fn a_key() -> impl Strategy<Value = String> {
    prop::sample::select(&["a", "b", "c"][..]).prop_map(str::to_owned)
}

fn a_path() -> impl Strategy<Value = String> {
    prop::collection::vec(a_key(), 1..4).prop_map(|keys| keys.join("."))
}

fn a_value() -> impl Strategy<Value = Value> {
    let leaf = prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(-7),
        json!(2.5),
        json!("text \"<>\" ä"),
        json!([1, {"b": {}, "a.b": null}, []]),
        json!({}),
    ]);
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop::collection::btree_map(a_key(), inner, 0..3)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    })
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (a_path(), a_value()).prop_map(|(path, value)| Step::Set(path, value)),
        1 => a_value().prop_filter("the whole tree is an object", Value::is_object)
            .prop_map(|value| Step::Set(String::new(), value)),
        2 => a_path().prop_map(Step::Delete),
    ]
}

fn paths() -> Vec<String> {
    let mut paths = vec![String::new()];
    for length in 1..4 {
        for number in 0..3_usize.pow(length) {
            let key = |at: u32| ["a", "b", "c"][number / 3_usize.pow(at) % 3];
            paths.push((0..length).map(key).collect::<Vec<_>>().join("."));
        }
    }
    paths
}

proptest! {
    #[test]
    fn a_tree_does_what_plain_json_does(
        steps in prop::collection::vec(a_step(), 1..20),
        watched in prop::sample::select(paths()),
    ) {
        compare(&steps, &watched, &paths());
    }
}

#[test]
fn the_deepest_tree_is_stored_and_read_again() {
    let path = ["k"; 32].join(".");
    let mut tree = Arc::new(Node::nothing());
    let change = make(&mut tree, &Step::Set(path.clone(), json!([[[1]]]))).unwrap();
    for _ in 0..2 {
        let text = serde_json::to_vec(&change).unwrap();
        assert_eq!(serde_json::from_slice::<Change>(&text).unwrap(), change);
    }
    let text = serde_json::to_vec(&tree).unwrap();
    assert_eq!(serde_json::from_slice::<Node>(&text).unwrap(), *tree);
    assert_eq!(value(tree.at(&path)), Some(json!([[[1]]])));
    let deep = Path::parse(&path).unwrap();
    let leaf = |_: &str, text: String| Ok(Node::Value(1, text.into()));
    assert_eq!(Node::build(json!({"k": 1}), 1, &deep, &leaf).unwrap_err().code, 400);
}

#[test]
fn a_deletion_takes_the_objects_it_leaves_empty_with_it() {
    let mut tree = Arc::new(Node::nothing());
    make(&mut tree, &Step::Set("a.b.c".into(), json!(1)));
    make(&mut tree, &Step::Set("a.x".into(), json!({})));
    let change = make(&mut tree, &Step::Delete("a.b.c".into())).unwrap();
    assert_eq!(change.slots[0].path, "a.b");
    assert_eq!(value(Some(&tree)), Some(json!({"a": {"x": {}}})));
    make(&mut tree, &Step::Delete("a.x".into()));
    assert_eq!(value(Some(&tree)), Some(json!({})));
    assert!(make(&mut tree, &Step::Delete("a.x".into())).is_none());
}
