//! Following a path: what stands there, then each change of it, in order, none twice, and none left
//! out as far as the history reaches.

use micro_sdk::{
    Result, Sender,
    proto::config::{Value, WatchResponse},
};

use super::{
    change::{Change, View},
    path::Path,
    space::{Since, Space},
    tree::Open,
};

/// Sends what happens at `path` until the other side has gone. Without `after` the value as it is
/// comes first; with it, what happened since.
///
/// # Errors
/// The other side has gone, the history cannot be read, or a secret cannot be shown.
pub(super) async fn follow(
    space: &Space,
    path: &Path,
    after: Option<u64>,
    open: Open<'_>,
    replies: &Sender<WatchResponse>,
) -> Result<()> {
    let mut changed = space.changed();
    let mut revision = match after {
        Some(after) => {
            space.load_history().await?;
            after
        }
        None => space.tree().revision(),
    };
    let Since { tree, changes } = space.since(revision);
    let mut view = View::new(path.as_str(), &tree);
    if let (Some(_), Some(changes)) = (after, changes) {
        for change in changes.iter().rev() {
            view.undo(change);
        }
    } else {
        revision = tree.revision();
        replies.send(message(&view, path, revision, "", open)?).await?;
    }
    loop {
        changed.mark_unchanged();
        let Since { tree, changes } = space.since(revision);
        if changes.is_none() {
            revision = tree.revision();
            view = View::new(path.as_str(), &tree);
            replies.send(message(&view, path, revision, "", open)?).await?;
        }
        for change in changes.unwrap_or_default() {
            let Change { revision: now, path: at, .. } = &*change;
            revision = *now;
            if view.redo(&change) {
                replies.send(message(&view, path, revision, at, open)?).await?;
            }
        }
        if changed.changed().await.is_err() {
            return Ok(());
        }
    }
}

fn message(view: &View, path: &Path, revision: u64, changed: &str, open: Open<'_>) -> Result<WatchResponse> {
    let mut data = String::new();
    match &view.node {
        Some(node) => node.write(&mut path.as_str().to_owned(), open, &mut data)?,
        None => data.push_str("null"),
    }
    Ok(WatchResponse {
        value: Some(Value { data, format: String::new() }),
        revision,
        found: view.node.is_some(),
        changed: changed.to_owned(),
    })
}
