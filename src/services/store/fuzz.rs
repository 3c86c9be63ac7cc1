//! What must hold of any listing, and of any snapshot.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use tokio::runtime;

pub(crate) use super::snapshot::fuzz::snapshot;
use super::{
    record::check_key,
    walk::{Selection, Walk},
};
use crate::backend::{Commit, Kv, open};

/// Parts of keys: what is next to each other in the order of bytes, and what prefixes may go wrong at.
const PARTS: [&str; 10] = ["a", "b", "a/", "/", "\u{1}", "\u{7f}", "\u{80}", "ÿ", "\u{10ffff}", "~"];

thread_local! {
    static RUNTIME: runtime::Runtime = runtime::Builder::new_current_thread().build().expect("a runtime");
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// Some records, and walks through them: each finds what a look at all of them finds, in any pages.
pub(crate) fn records(input: &[u8]) {
    let _ = walked(&mut Unstructured::new(input));
}

fn key(choice: &mut Unstructured<'_>) -> Result<String> {
    let count = choice.int_in_range(0..=4)?;
    (0..count).map(|_| choice.choose(&PARTS).copied()).collect()
}

fn walked(choice: &mut Unstructured<'_>) -> Result<()> {
    let kv = block_on(open("memory:")).expect("memory is always there");
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for number in 0..choice.int_in_range(0..=24_u8)? {
        let key = key(choice)?;
        if check_key(&key).is_err() {
            continue;
        }
        let commit = if choice.ratio(1, 5)? {
            model.remove(key.as_bytes());
            Commit::new().delete("t", key.as_str())
        } else {
            model.insert(key.clone().into_bytes(), vec![number]);
            Commit::new().put("t", key.as_str(), vec![number])
        };
        block_on(kv.commit(commit)).expect("nothing is required");
    }
    for _ in 0..3 {
        let selection = Selection {
            prefix: key(choice)?,
            suffix: if choice.arbitrary()? { key(choice)? } else { String::new() },
            limit: choice.int_in_range(0..=6)?,
            offset: choice.int_in_range(0..=4)?,
            descending: choice.arbitrary()?,
            after: if choice.ratio(1, 3)? { key(choice)? } else { String::new() },
        };
        let found = found(&*kv, selection.clone(), choice.arbitrary()?);
        assert_eq!(found, expected(&model, &selection), "{selection:?} of {model:?}");
    }
    Ok(())
}

fn found(kv: &dyn Kv, selection: Selection, keys_only: bool) -> Vec<Vec<u8>> {
    let mut walk = Walk::new(kv, "t".to_owned(), selection);
    let mut keys = Vec::new();
    loop {
        let page = block_on(walk.page(keys_only)).expect("memory can be read");
        if page.is_empty() {
            return keys;
        }
        assert!(page.iter().all(|entry| entry.value.is_empty() == keys_only));
        keys.extend(page.into_iter().map(|entry| entry.key));
    }
}

fn expected(model: &BTreeMap<Vec<u8>, Vec<u8>>, selection: &Selection) -> Vec<Vec<u8>> {
    let after = selection.after.as_bytes();
    let mut keys: Vec<&Vec<u8>> = model
        .keys()
        .filter(|key| {
            key.starts_with(selection.prefix.as_bytes()) && key.ends_with(selection.suffix.as_bytes())
        })
        .filter(|key| match (after, selection.descending) {
            (b"", _) => true,
            (after, false) => key.as_slice() > after,
            (after, true) => key.as_slice() < after,
        })
        .collect();
    if selection.descending {
        keys.reverse();
    }
    let limit = if selection.limit == 0 { usize::MAX } else { selection.limit as usize };
    keys.into_iter().skip(selection.offset as usize).take(limit).cloned().collect()
}
