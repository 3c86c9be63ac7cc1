//! Telling cargo where the SDK lies: services ask for `micro-sdk` as if from the registry, and one key
//! of `.cargo/config.toml`, which is not committed, sends cargo to the unpacked source. It stands at the
//! root of the service's workspace, where cargo looks from every member.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use toml_edit::{DocumentMut, InlineTable, Item, Table, Value, value};

use super::workspace::{Edit, takes};
use crate::cargo;

/// Where cargo was told of the SDK, and what was done for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PatchOutcome {
    /// Cargo's configuration file, at the root of the workspace.
    pub(crate) config: PathBuf,
    /// Whether the file had to be written.
    pub(crate) written: bool,
    /// How git is kept from it.
    pub(crate) ignored: Ignored,
}

/// What became of `.gitignore`: the configuration names a folder of this machine and should not be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// It names the file already, or there is no git here.
    Unchanged,
    /// It got a line for the file.
    Added,
    /// It was left alone, since the file is committed or holds settings of the user's own: they should know.
    Shared,
}

/// Whether cargo has to be told where the SDK of the package in a folder lies. A patch that nobody needs would
/// end up in the lock file.
///
/// # Errors
/// As [`cargo::needs`].
pub(crate) fn is_needed(project: &Path) -> Result<bool> {
    let Ok(folder) = project.canonicalize() else { return Ok(false) };
    let Some(manifest) = cargo::read(&folder.join("Cargo.toml"))? else { return Ok(false) };
    Ok(cargo::needs(&folder, &manifest)?.sdk)
}

/// Makes plain cargo, started at `project` or anywhere in its workspace, build `micro-sdk` from the folder
/// `sdk`. Sets one key of one file, keeps the rest of it byte for byte, and writes nothing when the key is
/// right.
pub(crate) fn ensure_patch(project: &Path, sdk: &Path) -> Result<PatchOutcome> {
    let project = project.canonicalize().with_context(|| format!("cannot open `{}`", project.display()))?;
    let root = cargo::workspace_root(&project)?;
    cargo::locked(&root)?;
    let folder = root.join(".cargo");
    if !folder.exists() && takes(&root, ".cargo") {
        let manifest = root.join("Cargo.toml");
        bail!(
            "`{}` would take cargo's own folder for a member: add \".cargo\" to its `exclude`",
            manifest.display()
        );
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    // Cargo still prefers the file's former name where both are there.
    let name = if folder.join("config").exists() { "config" } else { "config.toml" };
    let config = folder.join(name);
    let sdk = sdk.to_str().with_context(|| format!("`{}` is not UTF-8, which cargo needs", sdk.display()))?;
    let mut holds_more = false;
    let edit = Edit::prepare(&config, |document| {
        set_patch(document, sdk)?;
        holds_more = !is_only_patch(document);
        Ok(())
    })?;
    let written = edit.is_some();
    edit.map_or(Ok(()), Edit::commit)?;
    let ignored = if holds_more { Ignored::Shared } else { ignore(&root, &format!("/.cargo/{name}"))? };
    Ok(PatchOutcome { config, written, ignored })
}

fn set_patch(document: &mut DocumentMut, sdk: &str) -> Result<()> {
    let registry = child(child(document.as_item_mut(), "patch"), "crates-io")
        .as_table_like_mut()
        .context("`patch.crates-io` is not a table")?;
    let patch = registry
        .entry(cargo::SDK)
        .or_insert_with(|| value(InlineTable::new()))
        .as_table_like_mut()
        .context("`patch.crates-io.micro-sdk` is not a table")?;
    if patch.iter().any(|(key, _)| key != "path") {
        bail!("`patch.crates-io.micro-sdk` holds more than a path: remove it there");
    }
    match patch.get_mut("path") {
        Some(former) if former.as_str() == Some(sdk) => {}
        Some(Item::Value(former)) => {
            let decor = former.decor().clone();
            *former = Value::from(sdk);
            *former.decor_mut() = decor;
        }
        _ => {
            patch.insert("path", value(sdk));
        }
    }
    Ok(())
}

/// The table at `key`, created in the form that `parent` has; left as it is, where it is something else.
pub(super) fn child<'a>(parent: &'a mut Item, key: &str) -> &'a mut Item {
    let inline = parent.is_inline_table();
    if !parent.is_table_like() {
        return parent;
    }
    let table = parent.as_table_like_mut().expect("it is like a table");
    table.entry(key).or_insert_with(|| {
        if inline {
            return value(InlineTable::new());
        }
        let mut implicit = Table::new();
        implicit.set_implicit(true);
        Item::Table(implicit)
    })
}

/// Whether the file holds nothing that someone else put there, comments aside.
fn is_only_patch(document: &DocumentMut) -> bool {
    let mut item = document.as_item();
    for key in ["patch", "crates-io", cargo::SDK, "path"] {
        match item.as_table_like().filter(|table| table.len() == 1).and_then(|table| table.get(key)) {
            Some(inner) => item = inner,
            None => return false,
        }
    }
    true
}

/// Keeps git, if it is used here, from a file of `root` that names folders of this machine.
fn ignore(root: &Path, line: &str) -> Result<Ignored> {
    let path = root.join(".gitignore");
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        read => Some(read.with_context(|| format!("cannot read `{}`", path.display()))?),
    };
    let in_git = || root.ancestors().any(|folder| folder.join(".git").exists());
    if text.as_deref().map_or_else(|| !in_git(), |text| ignores(text, line)) {
        return Ok(Ignored::Unchanged);
    }
    if is_committed(root, line) {
        return Ok(Ignored::Shared);
    }
    let unfinished = text.is_some_and(|text| !text.is_empty() && !text.ends_with('\n'));
    let addition = format!("{}{line}\n", if unfinished { "\n" } else { "" });
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(addition.as_bytes()))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(Ignored::Added)
}

/// Whether a line of `.gitignore` says the same as `wanted`, or names the whole folder.
fn ignores(text: &str, wanted: &str) -> bool {
    let bare = |line: &str| line.trim().trim_matches('/').to_owned();
    text.lines().map(bare).any(|line| line == bare(wanted) || line == ".cargo")
}

fn is_committed(root: &Path, line: &str) -> bool {
    let git = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["ls-files", "--error-unmatch", "--"])
        .arg(line.trim_start_matches('/'))
        .output();
    git.is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: &str = "[patch.crates-io]\nmicro-sdk = { path = \"/data/sdk\" }\n";

    /// A project with a manifest; links in the way to it are resolved.
    fn project() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().canonicalize().unwrap();
        fs::write(project.join("Cargo.toml"), "[package]\nname = \"a\"\n").unwrap();
        (folder, project)
    }

    fn patch(project: &Path) -> PatchOutcome {
        ensure_patch(project, Path::new("/data/sdk")).unwrap()
    }

    /// The configuration after the key was set in one of this text.
    fn patched(before: &str) -> String {
        let (_folder, project) = project();
        fs::create_dir(project.join(".cargo")).unwrap();
        fs::write(project.join(".cargo/config.toml"), before).unwrap();
        let outcome = patch(&project);
        let after = fs::read_to_string(&outcome.config).unwrap();
        assert_eq!(outcome.written, after != before);
        after
    }

    #[test]
    fn the_key_is_added_and_everything_else_kept() {
        assert_eq!(patched(""), EXPECTED);
        let own = "# mine\n[build]   # here\njobs=1\n";
        assert_eq!(patched(own), format!("{own}\n{EXPECTED}"));
        assert_eq!(
            patched("[patch.crates-io]\nother = { path = \"o\" } # why\n"),
            "[patch.crates-io]\nother = { path = \"o\" } # why\nmicro-sdk = { path = \"/data/sdk\" }\n"
        );
        assert_eq!(
            patched("patch.crates-io.other.path = \"o\"\n"),
            "patch.crates-io.other.path = \"o\"\npatch.crates-io.micro-sdk = { path = \"/data/sdk\" }\n"
        );
        assert_eq!(
            patched("patch = {}\n"),
            "patch = { crates-io = { micro-sdk = { path = \"/data/sdk\" } } }\n"
        );
    }

    #[test]
    fn a_former_path_is_replaced_in_whatever_form_it_stands() {
        for form in [
            "[patch.crates-io]\nmicro-sdk = { path = \"P\" } # ours\n",
            "[patch.crates-io.micro-sdk]\npath = \"P\" # ours\n",
            "patch.crates-io.micro-sdk.path = \"P\"   # ours\n",
        ] {
            assert_eq!(patched(&form.replace('P', "/old")), form.replace('P', "/data/sdk"));
        }
    }

    #[test]
    fn a_configuration_that_is_right_is_not_written() {
        let (_folder, project) = project();
        let first = patch(&project);
        assert!(first.written);
        let modified = fs::metadata(&first.config).unwrap().modified().unwrap();
        assert!(!patch(&project).written);
        assert_eq!(fs::metadata(&first.config).unwrap().modified().unwrap(), modified);
    }

    #[test]
    fn a_patch_of_another_kind_is_the_users_and_is_refused() {
        let (_folder, project) = project();
        fs::create_dir(project.join(".cargo")).unwrap();
        let config = project.join(".cargo/config.toml");
        for text in
            ["patch.crates-io.micro-sdk.git = \"x\"\n", "patch = 1\n", "patch.crates-io.micro-sdk = 1\n"]
        {
            fs::write(&config, text).unwrap();
            let error = ensure_patch(&project, Path::new("/data/sdk")).unwrap_err();
            assert!(error.to_string().contains(config.to_str().unwrap()), "{error:#}");
            assert_eq!(fs::read_to_string(&config).unwrap(), text);
        }
    }

    #[test]
    fn the_configuration_stands_at_the_root_of_the_workspace() {
        let (_folder, root) = project();
        fs::write(root.join("Cargo.toml"), "[workspace]\nmembers = [\"services/*\"]\n").unwrap();
        let member = root.join("services/foo");
        fs::create_dir_all(&member).unwrap();
        fs::write(member.join("Cargo.toml"), "[package]\nname = \"foo\"\n").unwrap();
        assert_eq!(patch(&member).config, root.join(".cargo/config.toml"));
    }

    #[test]
    fn a_workspace_that_would_take_the_folder_for_a_member_is_not_broken() {
        let (_folder, root) = project();
        fs::write(root.join("Cargo.toml"), "[workspace]\nmembers = [\"*\"]\n").unwrap();
        let error = ensure_patch(&root, Path::new("/data/sdk")).unwrap_err().to_string();
        assert!(error.ends_with("add \".cargo\" to its `exclude`"), "{error}");
        assert!(!root.join(".cargo").exists());
        fs::write(root.join("Cargo.toml"), "[workspace]\nmembers = [\"*\"]\nexclude = [\".cargo\"]\n")
            .unwrap();
        assert!(patch(&root).written);
    }

    #[test]
    fn the_name_that_cargo_prefers_is_used_where_it_is_there() {
        let (_folder, project) = project();
        fs::create_dir(project.join(".cargo")).unwrap();
        fs::write(project.join(".cargo/config"), "").unwrap();
        assert_eq!(patch(&project).config, project.join(".cargo/config"));
        assert!(!project.join(".cargo/config.toml").exists());
    }

    #[test]
    fn git_is_kept_from_the_file() {
        let (_folder, project) = project();
        fs::write(project.join(".gitignore"), "/target").unwrap();
        assert_eq!(patch(&project).ignored, Ignored::Added);
        assert_eq!(fs::read_to_string(project.join(".gitignore")).unwrap(), "/target\n/.cargo/config.toml\n");
        assert_eq!(patch(&project).ignored, Ignored::Unchanged);
        fs::write(project.join(".gitignore"), ".cargo/\n").unwrap();
        assert_eq!(patch(&project).ignored, Ignored::Unchanged);
    }

    #[test]
    fn a_repository_without_gitignore_gets_one_and_a_plain_folder_does_not() {
        let (_folder, project) = project();
        assert_eq!(patch(&project).ignored, Ignored::Unchanged);
        assert!(!project.join(".gitignore").exists());
        fs::create_dir(project.join(".git")).unwrap();
        assert_eq!(patch(&project).ignored, Ignored::Added);
    }

    #[test]
    fn a_file_with_settings_of_the_users_own_is_not_hidden_from_git() {
        let (_folder, project) = project();
        fs::create_dir(project.join(".cargo")).unwrap();
        fs::write(project.join(".cargo/config.toml"), "[build]\njobs = 1\n").unwrap();
        fs::write(project.join(".gitignore"), "").unwrap();
        assert_eq!(patch(&project).ignored, Ignored::Shared);
        assert_eq!(fs::read_to_string(project.join(".gitignore")).unwrap(), "");
    }

    #[test]
    fn a_file_that_is_committed_is_not_hidden_from_git() {
        let (_folder, project) = project();
        patch(&project);
        for arguments in [&["init", "-q"][..], &["add", "-f", ".cargo/config.toml"]] {
            assert!(Command::new("git").arg("-C").arg(&project).args(arguments).status().unwrap().success());
        }
        assert_eq!(patch(&project).ignored, Ignored::Shared);
    }

    #[test]
    fn a_lock_file_that_takes_the_sdk_from_a_registry_is_refused() {
        let (_folder, project) = project();
        let lock = project.join("Cargo.lock");
        let entry = "[[package]]\nname = \"micro-sdk\"\nversion = \"0.1.0\"\n";
        let other = "\n[[package]]\nname = \"serde\"\nsource = \"registry+https://example.org\"\n";
        fs::write(&lock, format!("{entry}{other}")).unwrap();
        patch(&project);
        fs::write(&lock, format!("{other}\n{entry}source = \"registry+https://example.org\"\n")).unwrap();
        let error = ensure_patch(&project, Path::new("/data/sdk")).unwrap_err().to_string();
        assert!(error.contains(lock.to_str().unwrap()) && error.contains("from `registry+"), "{error}");
    }
}
