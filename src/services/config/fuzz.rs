//! What must hold of any changes of a tree: they do what they do to plain JSON, and each can be taken back
//! and made again.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Value, json};

use super::{
    change::{Change, View},
    given,
    path::{Path, below, keys},
    tree::Node,
};

/// A change.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Set(String, Value),
    Delete(String),
}

/// Keys, some of which are nearly paths.
const KEYS: [&str; 8] = ["a", "b", "c", "aa", "ä", " ", "[0]", "\\"];

/// Any text as a path and as a value, and some changes of a tree.
pub(crate) fn config(input: &[u8]) {
    let mut lines = input.splitn(2, |byte| *byte == b'\n').map(String::from_utf8_lossy);
    let (path, data) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    set_and_get(&path, &data);
    // Where the bytes end, so do the changes.
    let _ = changed(&mut Unstructured::new(input));
}

/// What is set at a path is there afterwards, in the same words.
fn set_and_get(path: &str, data: &str) {
    let Ok(path) = Path::parse(path) else { return };
    assert_eq!(keys(path.as_str()).collect::<Vec<_>>().join("."), path.as_str());
    let data = micro_sdk::proto::config::Value { data: data.to_owned(), ..Default::default() };
    let Ok(json) = given(Some(data), &path) else { return };
    let leaf = |_: &str, text: String| Ok(Node::Value(1, text.into()));
    let Ok(node) = Node::build(json.clone(), 1, &path, &leaf) else { return };
    let mut tree = Arc::new(Node::nothing());
    tree.set(path.as_str(), node);
    let expected =
        if path.is_whole() || json != json!({}) { Some(json) } else { value(tree.at(path.as_str())) };
    assert_eq!(value(tree.at(path.as_str())), expected);
    if !path.is_whole() {
        tree.delete(path.as_str(), 2);
        assert_eq!(value(tree.at(path.as_str())), None);
        assert_eq!(value(Some(&tree)), Some(json!({})), "nothing empty is left behind");
    }
}

fn changed(choice: &mut Unstructured<'_>) -> Result<()> {
    let count = choice.int_in_range(1..=8)?;
    let steps = (0..count).map(|_| step(choice)).collect::<Result<Vec<_>>>()?;
    let mut paths = vec![String::new()];
    for step in &steps {
        let (Step::Set(path, _) | Step::Delete(path)) = step;
        for (end, _) in path.match_indices('.').chain([(path.len(), "")]) {
            paths.extend(["", ".a", ".b.c"].map(|more| format!("{}{more}", &path[..end])));
        }
    }
    paths.retain(|path| !path.starts_with('.'));
    paths.dedup();
    let watched = choice.choose(&paths)?.clone();
    compare(&steps, &watched, &paths);
    Ok(())
}

fn path(choice: &mut Unstructured<'_>) -> Result<String> {
    let keys = (0..choice.int_in_range(1..=4)?).map(|_| choice.choose(&KEYS).copied());
    Ok(keys.collect::<Result<Vec<_>>>()?.join("."))
}

fn step(choice: &mut Unstructured<'_>) -> Result<Step> {
    Ok(match choice.int_in_range(0..=5)? {
        0 | 1 => Step::Delete(path(choice)?),
        2 => {
            let member = (*choice.choose(&KEYS)?).to_owned();
            Step::Set(String::new(), Value::Object(Map::from_iter([(member, content(choice, 3)?)])))
        }
        _ => Step::Set(path(choice)?, content(choice, 3)?),
    })
}

fn content(choice: &mut Unstructured<'_>, levels: u32) -> Result<Value> {
    Ok(match choice.int_in_range(0..=7)? {
        0 => Value::Null,
        1 => json!(choice.arbitrary::<bool>()?),
        2 => json!(choice.arbitrary::<i32>()?),
        3 => json!([1, {"b": {}, "a.b": null}, []]),
        4 => json!(choice.arbitrary::<&str>()?),
        _ if levels == 0 => json!({}),
        _ => {
            let members = (0..choice.int_in_range(0..=2)?)
                .map(|_| Ok(((*choice.choose(&KEYS)?).to_owned(), content(choice, levels - 1)?)));
            Value::Object(members.collect::<Result<_>>()?)
        }
    })
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

/// What a node says.
pub(super) fn value(node: Option<&Arc<Node>>) -> Option<Value> {
    let mut text = String::new();
    let open = |_: &str, _: &str| unreachable!("there are no secrets");
    node?.write(&mut String::new(), &open, &mut text).expect("there are no secrets");
    Some(serde_json::from_str(&text).expect("a tree is written as JSON"))
}

/// Makes a step in the tree; the change, unless there was nothing to do.
pub(super) fn make(tree: &mut Arc<Node>, step: &Step) -> Option<Change> {
    let revision = tree.revision() + 1;
    let mut copy = tree.clone();
    let (path, slots) = match step {
        Step::Set(path, value) => {
            let leaf = |_: &str, text: String| Ok(Node::Value(revision, text.into()));
            let node = Node::build(value.clone(), revision, &Path::parse(path).expect("a path"), &leaf)
                .expect("a value");
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

/// Makes the steps in a tree and in plain JSON, and looks at these paths after each.
pub(super) fn compare(steps: &[Step], watched: &str, paths: &[String]) {
    let (mut tree, mut model) = (Arc::new(Node::nothing()), json!({}));
    let mut view = View::new(watched, &tree);
    let mut made = vec![(value(view.node.as_ref()), None)];
    for step in steps {
        let before = tree.clone();
        let change = make(&mut tree, step);
        let touched = match step {
            Step::Set(path, value) => {
                set(&mut model, path, value.clone());
                path
            }
            Step::Delete(path) => {
                delete(&mut model, path);
                path
            }
        };
        for path in paths {
            let (old, new) = (before.at(path), tree.at(path));
            assert_eq!(value(new), look(&model, path).cloned(), "{path}");
            let apart = below(path, touched).or(below(touched, path)).is_none();
            if value(old) != value(new) {
                assert_eq!(new.map_or(tree.revision(), |node| node.revision()), tree.revision());
            } else if apart {
                assert_eq!(new.map(|node| node.revision()), old.map(|node| node.revision()));
            }
        }
        let Some(change) = change else { continue };
        let stored = serde_json::to_vec(&change).expect("a change can be stored");
        assert_eq!(&serde_json::from_slice::<Change>(&stored).expect("a change was stored"), &change);
        let seen = view.redo(&change);
        let now = value(tree.at(watched));
        assert_eq!(value(view.node.as_ref()), now.clone());
        assert!(seen || now == made.last().expect("the beginning").0, "a change was not seen");
        made.push((now, Some(change)));
    }
    let stored = serde_json::to_vec(&tree).expect("a tree can be stored");
    assert_eq!(&serde_json::from_slice::<Node>(&stored).expect("a tree was stored"), &*tree);
    let mut view = View::new(watched, &tree);
    for (now, change) in made.iter().rev() {
        assert_eq!(&value(view.node.as_ref()), now);
        if let Some(change) = change {
            view.undo(change);
        }
    }
}
