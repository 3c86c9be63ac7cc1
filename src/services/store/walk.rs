//! Walking through a table: which keys, in which order, how many, page by page. What is skipped and
//! what does not match is never in memory beyond its page.

use micro_sdk::{Error, Result};

use super::shown;
use crate::backend::{Entry, Kv, MAX_PAGE, Range};

/// Which entries of a table are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) prefix: String,
    pub(super) suffix: String,
    /// At most so many; 0 means all.
    pub(super) limit: u64,
    /// So many are skipped.
    pub(super) offset: u64,
    pub(super) descending: bool,
    /// Only what follows this key; empty means from the beginning.
    pub(super) after: String,
}

/// Whether the order a request asks for is the descending one.
///
/// # Errors
/// 400 for a word that is no order.
pub(super) fn descending(order: &str) -> Result<bool> {
    match order {
        "" | "asc" => Ok(false),
        "desc" => Ok(true),
        other => {
            let text = format!("`{}` is no order: it is `asc` or `desc`", shown(other));
            Err(Error::bad_request(text))
        }
    }
}

/// A walk that has got somewhere.
pub(super) struct Walk<'a> {
    kv: &'a dyn Kv,
    table: String,
    selection: Selection,
    /// The last key that was passed.
    after: Option<Vec<u8>>,
    /// How many are wanted still; none for all.
    left: Option<u64>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(kv: &'a dyn Kv, table: String, selection: Selection) -> Self {
        let after = (!selection.after.is_empty()).then(|| selection.after.clone().into_bytes());
        let left = (selection.limit > 0).then_some(selection.limit);
        Self { kv, table, selection, after, left }
    }

    /// The next page; an empty one is the end.
    pub(super) async fn page(&mut self, keys_only: bool) -> Result<Vec<Entry>> {
        self.skip().await?;
        while self.left != Some(0) {
            let mut page = self.pass(self.left, keys_only).await?;
            let Some(last) = page.last() else { break };
            self.after = Some(last.key.clone());
            page.retain(|entry| self.is_wanted(entry));
            if let Some(left) = &mut self.left {
                page.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= page.len() as u64;
            }
            if !page.is_empty() {
                return Ok(page);
            }
        }
        Ok(Vec::new())
    }

    async fn skip(&mut self) -> Result<()> {
        while self.selection.offset > 0 {
            let page = self.pass(Some(self.selection.offset), true).await?;
            if page.is_empty() {
                break;
            }
            for entry in page {
                if self.selection.offset == 0 {
                    break;
                }
                self.selection.offset -= u64::from(self.is_wanted(&entry));
                self.after = Some(entry.key);
            }
        }
        Ok(())
    }

    /// The next entries with the prefix, not more than can be of use.
    async fn pass(&self, useful: Option<u64>, keys_only: bool) -> Result<Vec<Entry>> {
        let mut range = Range::prefix(&self.selection.prefix);
        if let Some(useful) = useful.filter(|_| self.selection.suffix.is_empty()) {
            range = range.limit(usize::try_from(useful).unwrap_or(MAX_PAGE));
        }
        if let Some(after) = &self.after {
            range = range.after(after.clone());
        }
        if self.selection.descending {
            range = range.descending();
        }
        if keys_only {
            range = range.keys_only();
        }
        Ok(self.kv.list(&self.table, &range).await?)
    }

    fn is_wanted(&self, entry: &Entry) -> bool {
        entry.key.ends_with(self.selection.suffix.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Commit, open};

    async fn walked(kv: &dyn Kv, selection: Selection) -> Vec<String> {
        let mut walk = Walk::new(kv, "t".to_owned(), selection);
        let mut keys = Vec::new();
        loop {
            let page = walk.page(false).await.unwrap();
            if page.is_empty() {
                return keys;
            }
            assert!(page.len() <= MAX_PAGE && page.iter().all(|entry| !entry.value.is_empty()));
            keys.extend(page.into_iter().map(|entry| String::from_utf8(entry.key).unwrap()));
        }
    }

    #[tokio::test]
    async fn every_selection_is_what_a_filter_of_all_keys_would_be() {
        let kv = open("memory:").await.unwrap();
        let all: Vec<String> = (0..2_500).map(|number| format!("{}/{number:04}", number % 2)).collect();
        let mut all_sorted = all.clone();
        all_sorted.sort();
        let commit = all.iter().fold(Commit::new(), |commit, key| commit.put("t", key.clone(), "v"));
        kv.commit(commit).await.unwrap();
        let numbers = [0, 1, 999, 1000, 1001, 5_000];
        for prefix in ["", "0/", "1/00", "2"] {
            for suffix in ["", "7", "00", "1/0001", "x"] {
                for descending in [false, true] {
                    for after in ["", "0/1", "1/0003", "9"] {
                        for (limit, offset) in numbers.iter().flat_map(|l| numbers.map(|o| (*l, o))) {
                            let ordered: Vec<&String> = if descending {
                                all_sorted.iter().rev().collect()
                            } else {
                                all_sorted.iter().collect()
                            };
                            let follows = |key: &str| match (after, descending) {
                                ("", _) => true,
                                (after, false) => key > after,
                                (after, true) => key < after,
                            };
                            let expected = ordered
                                .into_iter()
                                .filter(|key| {
                                    key.starts_with(prefix) && key.ends_with(suffix) && follows(key)
                                })
                                .skip(offset as usize)
                                .take(if limit == 0 { usize::MAX } else { limit as usize });
                            let selection = Selection {
                                prefix: prefix.into(),
                                suffix: suffix.into(),
                                limit,
                                offset,
                                descending,
                                after: after.into(),
                            };
                            let found = walked(&*kv, selection.clone()).await;
                            assert!(found.iter().eq(expected), "{selection:?}: {found:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_order_is_one_of_two_words() {
        assert!(!descending("").unwrap() && !descending("asc").unwrap() && descending("desc").unwrap());
        for word in ["DESC", "up", "\0"] {
            assert_eq!(descending(word).unwrap_err().code, 400, "{word:?}");
        }
    }
}
