//! Generated changes, made to a tree and to plain JSON: the two must agree, and every change can be
//! taken back and made again.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::services::config::{
    change::{Change, View},
    path::{Path, below, keys},
    tree::Node,
};

#[derive(Clone, Debug)]
enum Step {
    Set(String, Value),
    Delete(String),
}

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

fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge(old.entry(key).or_insert(Value::from("to be replaced")), value);
            }
        }
        (old, new) => *old = new,
    }
}

fn set(model: &mut Value, path: &str, value: Value) {
    let wrap = |value, key: &str| Value::Object(Map::from_iter([(key.to_owned(), value)]));
    merge(model, keys(path).rev().fold(value, wrap));
}

fn delete(model: &mut Value, path: &str) {
    let (above, last) = path.rsplit_once('.').unwrap_or(("", path));
    let removed = match look_mut(model, above) {
        Some(Value::Object(members)) => members.shift_remove(last),
        _ => None,
    };
    let left = look(model, above).and_then(Value::as_object);
    if removed.is_some() && !above.is_empty() && left.is_some_and(Map::is_empty) {
        delete(model, above);
    }
}

fn look<'a>(model: &'a Value, path: &str) -> Option<&'a Value> {
    keys(path).try_fold(model, |value, key| value.as_object()?.get(key))
}

fn look_mut<'a>(model: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    keys(path).try_fold(model, |value, key| value.as_object_mut()?.get_mut(key))
}

fn value(node: Option<&Arc<Node>>) -> Option<Value> {
    let mut text = String::new();
    let open = |_: &str, _: &str| unreachable!("there are no secrets");
    node?.write(&mut String::new(), &open, &mut text).unwrap();
    Some(serde_json::from_str(&text).unwrap())
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

/// Makes a step in the tree; the change, unless there was nothing to do.
fn make(tree: &mut Arc<Node>, step: &Step) -> Option<Change> {
    let revision = tree.revision() + 1;
    let mut copy = tree.clone();
    let (path, slots) = match step {
        Step::Set(path, value) => {
            let leaf = |_: &str, text: String| Ok(Node::Value(revision, text.into()));
            let node = Node::build(value.clone(), revision, &Path::parse(path).unwrap(), &leaf).unwrap();
            (path, copy.set(path, node))
        }
        Step::Delete(path) => (path, copy.delete(path, revision).into_iter().collect()),
    };
    if slots.is_empty() {
        assert_eq!(value(Some(&copy)), value(Some(tree)));
        return None;
    }
    *tree = copy;
    Some(Change { revision, path: path.clone(), slots })
}

proptest! {
    #[test]
    fn a_tree_does_what_plain_json_does(
        steps in prop::collection::vec(a_step(), 1..20),
        watched in prop::sample::select(paths()),
    ) {
        let (mut tree, mut model) = (Arc::new(Node::nothing()), json!({}));
        let mut view = View::new(&watched, &tree);
        let mut made = vec![(value(view.node.as_ref()), None)];
        for step in &steps {
            let before = tree.clone();
            let change = make(&mut tree, step);
            let touched = match step {
                Step::Set(path, value) => { set(&mut model, path, value.clone()); path }
                Step::Delete(path) => { delete(&mut model, path); path }
            };
            for path in paths() {
                let (old, new) = (before.at(&path), tree.at(&path));
                prop_assert_eq!(value(new), look(&model, &path).cloned(), "{}", &path);
                let apart = below(&path, touched).or(below(touched, &path)).is_none();
                if value(old) != value(new) {
                    prop_assert_eq!(new.map_or(tree.revision(), |node| node.revision()), tree.revision());
                } else if apart {
                    prop_assert_eq!(new.map(|node| node.revision()), old.map(|node| node.revision()));
                }
            }
            let Some(change) = change else { continue };
            let stored = serde_json::to_vec(&change).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Change>(&stored).unwrap(), &change);
            let seen = view.redo(&change);
            let now = value(tree.at(&watched));
            prop_assert_eq!(value(view.node.as_ref()), now.clone());
            prop_assert!(seen || now == made.last().unwrap().0, "a change was not seen");
            made.push((now, Some(change)));
        }
        let stored = serde_json::to_vec(&tree).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<Node>(&stored).unwrap(), &*tree);
        let mut view = View::new(&watched, &tree);
        for (now, change) in made.iter().rev() {
            prop_assert_eq!(&value(view.node.as_ref()), now);
            if let Some(change) = change {
                view.undo(change);
            }
        }
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
