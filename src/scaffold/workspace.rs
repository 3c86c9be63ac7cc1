//! The cargo workspace around a service: whether there is one, whether it takes the service as a member,
//! and where cargo therefore looks for its configuration. It follows the search that cargo does and never
//! runs cargo.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use glob::{MatchOptions, Pattern};
use toml_edit::{Array, DocumentMut, TableLike, Value, value};

use super::template::Standing;
use crate::cargo;

/// What a new service is to the cargo workspace around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Workspace {
    /// There is none.
    None,
    /// A member of the workspace with this root folder.
    Member(PathBuf),
    /// A workspace of its own, by an empty `[workspace]`, within the one with this root folder.
    Standalone {
        /// Where the workspace is that does not have it.
        root: PathBuf,
        /// Why it is no member.
        reason: String,
    },
}

impl Workspace {
    pub(super) fn standing(&self) -> Standing {
        match self {
            Self::None => Standing::Alone,
            Self::Member(_) => Standing::Member,
            Self::Standalone { .. } => Standing::Root,
        }
    }
}

/// Finds what a package in `folder` (absolute, without links) will be. For a member that the workspace does
/// not list yet there is also the edit of its manifest, to be committed when the package is there.
pub(super) fn join(folder: &Path) -> (Workspace, Option<Edit>) {
    for root in folder.ancestors().skip(1) {
        let manifest = root.join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        let document = read(&manifest);
        if document.as_ref().is_ok_and(|document| section(document).is_none()) {
            continue;
        }
        return match document.and_then(|document| enter(&document, root, folder)) {
            Ok(edit) => (Workspace::Member(root.to_owned()), edit),
            Err(error) => {
                let reason = format!("{error:#}");
                (Workspace::Standalone { root: root.to_owned(), reason }, None)
            }
        };
    }
    (Workspace::None, None)
}

/// The edit that makes `folder` a member, if one is needed; an error when the workspace cannot take it.
fn enter(document: &DocumentMut, root: &Path, folder: &Path) -> Result<Option<Edit>> {
    let manifest = root.join("Cargo.toml");
    if section(document).is_some_and(|workspace| excludes(workspace, root, folder)) {
        bail!("`{}` excludes it", manifest.display());
    }
    let member = folder
        .strip_prefix(root)
        .expect("an ancestor is a prefix")
        .to_str()
        .context("its path is not UTF-8")?;
    Edit::prepare(&manifest, |document| add_member(document, member))
}

/// Whether the workspace at `root` takes its folder `name` for a member, and so cannot be read unless there
/// is a package in it.
pub(super) fn takes(root: &Path, name: &str) -> bool {
    read(&root.join("Cargo.toml")).is_ok_and(|document| {
        section(&document).is_some_and(|workspace| {
            let covered = strings(workspace, "members").any(|pattern| covers(pattern, Path::new(name)));
            covered && !excludes(workspace, root, &root.join(name))
        })
    })
}

fn read(manifest: &Path) -> Result<DocumentMut> {
    let text =
        fs::read_to_string(manifest).with_context(|| format!("cannot read `{}`", manifest.display()))?;
    parse(manifest, &text)
}

fn parse(path: &Path, text: &str) -> Result<DocumentMut> {
    text.parse().with_context(|| format!("`{}` is not valid TOML", path.display()))
}

fn section(document: &DocumentMut) -> Option<&dyn TableLike> {
    document.get("workspace")?.as_table_like()
}

fn excludes(workspace: &dyn TableLike, root: &Path, folder: &Path) -> bool {
    cargo::is_excluded(strings(workspace, "exclude"), strings(workspace, "members"), root, folder)
}

fn strings<'a>(workspace: &'a dyn TableLike, key: &str) -> impl Iterator<Item = &'a str> {
    let list = workspace.get(key).and_then(|item| item.as_array());
    list.into_iter().flatten().filter_map(Value::as_str)
}

fn add_member(document: &mut DocumentMut, member: &str) -> Result<()> {
    let workspace = document
        .get_mut("workspace")
        .and_then(|item| item.as_table_like_mut())
        .context("it has no `[workspace]` any more")?;
    if strings(workspace, "members").any(|pattern| covers(pattern, Path::new(member))) {
        return Ok(());
    }
    let members = workspace
        .entry("members")
        .or_insert_with(|| value(Array::new()))
        .as_array_mut()
        .context("`workspace.members` is not a list")?;
    append(members, member);
    Ok(())
}

/// Whether a pattern of `members` takes in the folder at `member`, relative to the root.
fn covers(pattern: &str, member: &Path) -> bool {
    let pattern: PathBuf =
        Path::new(pattern).components().filter(|component| *component != Component::CurDir).collect();
    let by_component = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    pattern.to_str().is_some_and(|pattern| {
        Pattern::new(pattern).is_ok_and(|pattern| pattern.matches_path_with(member, by_component))
    })
}

/// Adds an element in the manner of the others: on a line of its own if they are, and before no one's
/// comment.
fn append(array: &mut Array, text: &str) {
    let raw = |string: Option<&toml_edit::RawString>| {
        string.and_then(|raw| raw.as_str()).unwrap_or_default().to_owned()
    };
    let had_comma = array.trailing_comma();
    let last = array.len().checked_sub(1);
    let own_line = array
        .get(0)
        .and_then(|first| raw(first.decor().prefix()).rsplit_once('\n').map(|(_, indent)| indent.to_owned()));
    let mut between = String::new();
    if let Some(last) = last.and_then(|index| array.get_mut(index)) {
        between = raw(last.decor().suffix());
        last.decor_mut().set_suffix("");
    }
    between.push_str(&raw(Some(array.trailing())));
    let (prefix, trailing) = match between.rsplit_once('\n') {
        Some((comments, closing)) => {
            let indent = own_line.unwrap_or_else(|| format!("{closing}    "));
            (format!("{comments}\n{indent}"), format!("\n{closing}"))
        }
        None if last.is_some() => (" ".to_owned(), between),
        None => (String::new(), between),
    };
    array.push_formatted(Value::from(text).decorated(prefix, ""));
    array.set_trailing(trailing);
    array.set_trailing_comma(had_comma);
}

/// A change of a TOML file, written beside it and not yet in its place. Dropped without [`Edit::commit`],
/// it never was. While it lives, no other edit is prepared in the same folder.
#[derive(Debug)]
pub(super) struct Edit {
    path: PathBuf,
    temporary: PathBuf,
    _lock: File,
}

impl Edit {
    /// Applies `change` to the file at `path`, taken as empty where there is none; nothing when that
    /// changes nothing. What `change` does not touch stays byte for byte. The folder must exist.
    pub(super) fn prepare(
        path: &Path,
        change: impl FnOnce(&mut DocumentMut) -> Result<()>,
    ) -> Result<Option<Self>> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("`{}` is not the path of a file", path.display());
        };
        let lock = File::open(folder).with_context(|| format!("cannot open `{}`", folder.display()))?;
        match lock.lock() {
            Err(error) if error.kind() != ErrorKind::Unsupported => {
                return Err(error).with_context(|| format!("cannot lock `{}`", folder.display()));
            }
            _ => {}
        }
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("cannot read `{}`", path.display()))?,
        };
        let mut document = parse(&path, &text)?;
        let before = document.to_string();
        change(&mut document).with_context(|| format!("cannot edit `{}`", path.display()))?;
        let after = document.to_string();
        if after == before {
            return Ok(None);
        }
        let permissions = fs::metadata(&path).ok().map(|metadata| metadata.permissions());
        if permissions.as_ref().is_some_and(fs::Permissions::readonly) {
            bail!("`{}` is read-only", path.display());
        }
        let mut temporary_name = name.to_owned();
        temporary_name.push(".micro-edit");
        let edit = Self { temporary: folder.join(temporary_name), path, _lock: lock };
        fs::write(&edit.temporary, spliced(&text, &before, &after))
            .and_then(|()| permissions.map_or(Ok(()), |same| fs::set_permissions(&edit.temporary, same)))
            .with_context(|| format!("cannot write `{}`", edit.temporary.display()))?;
        Ok(Some(edit))
    }

    /// Puts the changed file in the place of the old one.
    pub(super) fn commit(self) -> Result<()> {
        fs::rename(&self.temporary, &self.path)
            .with_context(|| format!("cannot replace `{}`", self.path.display()))
    }
}

impl Drop for Edit {
    fn drop(&mut self) {
        // After a commit there is nothing to remove; otherwise a file that stays is overwritten by the next
        // edit.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// The change from `before` to `after`, made in `text`: `before` is `text` as `toml_edit` writes it, which
/// has the same lines but not the same line breaks.
fn spliced(text: &str, before: &str, after: &str) -> String {
    let [text, before, after] =
        [text, before, after].map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
    let same = |(old, new): &(&&str, &&str)| old == new;
    let head = before.iter().zip(&after).take_while(same).count();
    let tail = before[head..].iter().rev().zip(after[head..].iter().rev()).take_while(same).count();
    let neighbour = text[..head].iter().rfind(|line| line.ends_with('\n'));
    let line_break = if neighbour.is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" };
    let mut result = text[..head].concat();
    if !result.is_empty() && !result.ends_with('\n') {
        result.push_str(line_break);
    }
    result.push_str(&after[head..after.len() - tail].concat().replace('\n', line_break));
    result.push_str(&text[text.len() - tail..].concat());
    result
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    /// A folder with a `Cargo.toml` of this text; links in the way to it are resolved.
    fn root_with(manifest: &str) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::write(root.join("Cargo.toml"), manifest).unwrap();
        (folder, root)
    }

    /// The manifest after `member` has joined.
    fn joined(manifest: &str, member: &str) -> String {
        let (_folder, root) = root_with(manifest);
        let (workspace, edit) = join(&root.join(member));
        assert_eq!(workspace, Workspace::Member(root.clone()), "{manifest}");
        if let Some(edit) = edit {
            edit.commit().unwrap();
        }
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1, "a temporary file is left");
        fs::read_to_string(root.join("Cargo.toml")).unwrap()
    }

    fn reason(manifest: &str, member: &str) -> String {
        let (_folder, root) = root_with(manifest);
        let (workspace, edit) = join(&root.join(member));
        assert!(edit.is_none());
        assert_eq!(fs::read_to_string(root.join("Cargo.toml")).unwrap(), manifest);
        match workspace {
            Workspace::Standalone { root: given, reason } if given == root => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pattern_that_covers_the_folder_needs_no_edit() {
        for pattern in ["services/*", "./services/*/", "services/foo", "**", "services/[a-f]oo", "*/f?o"] {
            let manifest = format!("[workspace]\nmembers = [\"{pattern}\"]\n");
            assert_eq!(joined(&manifest, "services/foo"), manifest);
        }
    }

    #[test]
    fn a_star_covers_one_level_only() {
        assert_eq!(
            joined("[workspace]\nmembers = [\"*\"]\n", "services/foo"),
            "[workspace]\nmembers = [\"*\", \"services/foo\"]\n"
        );
    }

    #[test]
    fn a_member_is_added_in_the_manner_of_the_list() {
        for (before, after) in [
            ("[]", r#"["foo"]"#),
            (r#"["a"]"#, r#"["a", "foo"]"#),
            (r#"[ "a" ]"#, r#"[ "a", "foo" ]"#),
            (r#"["a",]"#, r#"["a", "foo",]"#),
            ("[\n    \"a\",\n    \"b\",\n]", "[\n    \"a\",\n    \"b\",\n    \"foo\",\n]"),
            ("[\n  \"a\"\n]", "[\n  \"a\",\n  \"foo\"\n]"),
            (
                "[\n  \"a\", # one\n  \"b\", # two\n  # end\n]",
                "[\n  \"a\", # one\n  \"b\", # two\n  # end\n  \"foo\",\n]",
            ),
            ("[\n  \"a\" # one\n]", "[\n  \"a\", # one\n  \"foo\"\n]"),
            ("[\r\n  \"a\",\r\n]", "[\r\n  \"a\",\r\n  \"foo\",\r\n]"),
            ("[\n]", "[\n    \"foo\"\n]"),
        ] {
            let file = |list: &str| {
                format!("# root\n[workspace] # here\nmembers = {list} # all\nresolver = '3'\n\n[a]\nb=1\n")
            };
            assert_eq!(joined(&file(before), "foo"), file(after));
        }
    }

    #[test]
    fn line_breaks_stay_as_they_are() {
        for (before, after) in [
            ("[workspace]\r\nmembers = []\r\n\r\n", "[workspace]\r\nmembers = [\"foo\"]\r\n\r\n"),
            ("[workspace]\n# a\r\nmembers = [] # b", "[workspace]\n# a\r\nmembers = [\"foo\"] # b\r\n"),
            ("[workspace]\r\nresolver = '3'", "[workspace]\r\nresolver = '3'\r\nmembers = [\"foo\"]\r\n"),
        ] {
            assert_eq!(joined(before, "foo"), after);
        }
    }

    #[test]
    fn a_workspace_without_a_list_gets_one() {
        assert_eq!(
            joined("[package]\nname = \"a\"\n\n[workspace]\n", "foo"),
            "[package]\nname = \"a\"\n\n[workspace]\nmembers = [\"foo\"]\n"
        );
        assert_eq!(
            joined("workspace = { members = [\"a\"] }\n", "foo"),
            "workspace = { members = [\"a\", \"foo\"] }\n"
        );
    }

    #[test]
    fn the_nearest_workspace_counts_and_a_mere_package_does_not() {
        let (_folder, root) = root_with("[workspace]\nmembers = []\n");
        let inner = root.join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("Cargo.toml"), "[package]\nname = \"inner\"\n").unwrap();
        assert_eq!(join(&inner.join("foo")).0, Workspace::Member(root.clone()));
        fs::write(inner.join("Cargo.toml"), "[workspace]\n").unwrap();
        assert_eq!(join(&inner.join("foo")).0, Workspace::Member(inner));
    }

    #[test]
    fn a_workspace_that_cannot_take_it_is_left_alone_and_the_reason_is_told() {
        assert!(
            reason("[workspace]\nmembers = [\"*\"]\nexclude = [\"foo\"]\n", "foo").ends_with("excludes it")
        );
        assert!(reason("[workspace]\nexclude = [\"old\"]\n", "old/foo").ends_with("excludes it"));
        assert!(reason("[workspace]\nmembers = \"all\"\n", "foo").contains("is not a list"));
        assert!(reason("[workspace\n", "foo").contains("is not valid TOML"));
    }

    #[test]
    fn a_member_named_outright_outweighs_exclude() {
        let manifest = "[workspace]\nmembers = [\"old/foo\"]\nexclude = [\"old\"]\n";
        assert_eq!(joined(manifest, "old/foo"), manifest);
    }

    #[test]
    fn a_read_only_manifest_is_not_edited() {
        let (_folder, root) = root_with("[workspace]\n");
        fs::set_permissions(root.join("Cargo.toml"), fs::Permissions::from_mode(0o444)).unwrap();
        let Workspace::Standalone { reason, .. } = join(&root.join("foo")).0 else {
            panic!("a read-only manifest was edited");
        };
        assert!(reason.ends_with("is read-only"), "{reason}");
    }

    #[test]
    fn an_edit_that_is_dropped_never_was_and_one_that_is_committed_keeps_the_permissions() {
        let (_folder, root) = root_with("[workspace]\n");
        let manifest = root.join("Cargo.toml");
        fs::set_permissions(&manifest, fs::Permissions::from_mode(0o640)).unwrap();
        drop(join(&root.join("foo")));
        assert_eq!(fs::read_to_string(&manifest).unwrap(), "[workspace]\n");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
        join(&root.join("foo")).1.unwrap().commit().unwrap();
        assert_eq!(fs::metadata(&manifest).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn members_that_join_at_once_are_all_listed() {
        let (_folder, root) = root_with("[workspace]\nmembers = []\n");
        std::thread::scope(|scope| {
            for number in 0..10 {
                let folder = root.join(format!("foo{number}"));
                scope.spawn(move || join(&folder).1.unwrap().commit().unwrap());
            }
        });
        let document = read(&root.join("Cargo.toml")).unwrap();
        assert_eq!(strings(section(&document).unwrap(), "members").count(), 10);
    }
}
