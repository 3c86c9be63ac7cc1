//! What the manifest of a project says about its generated code, under `[package.metadata.micro]`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use toml::{Table, Value};

use crate::cargo;

/// Where the options stand.
const PLACE: &str = "package.metadata.micro";

/// The options of a project.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// Folders beside `proto/` in which imports are looked for.
    pub(super) include: Vec<Include>,
    /// Methods that a handler does not have answer 501.
    pub(super) partial: bool,
}

/// A folder in which imports are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Include {
    pub(super) folder: PathBuf,
    /// As the manifest names it.
    pub(super) shown: String,
}

/// Reads the options of the project in a folder; those of a folder without a manifest are the default.
///
/// # Errors
/// The manifest cannot be read, has an option that is not known, or names a folder that is not there.
pub(super) fn read(project: &Path) -> Result<Options> {
    let path = project.join("Cargo.toml");
    let manifest = cargo::read(&path)?.unwrap_or_default();
    let stated = manifest.get("package").and_then(|package| package.get("metadata")?.get("micro"));
    let Some(stated) = stated else { return Ok(Options::default()) };
    let table = stated.as_table().with_context(|| format!("{}: `{PLACE}` is no table", path.display()))?;
    parsed(project, table).with_context(|| format!("{}: `{PLACE}`", path.display()))
}

fn parsed(project: &Path, table: &Table) -> Result<Options> {
    let mut options = Options::default();
    for (key, value) in table {
        match (key.as_str(), value) {
            ("include", Value::Array(folders)) => {
                options.include =
                    folders.iter().map(|folder| included(project, folder)).collect::<Result<_>>()?;
            }
            ("include", _) => bail!("`include` is a list of folders, such as `include = [\"../proto\"]`"),
            ("partial", Value::Boolean(partial)) => options.partial = *partial,
            ("partial", _) => bail!("`partial` is `true` or `false`"),
            (other, _) => bail!("there is no option `{other}`; there are `include` and `partial`"),
        }
    }
    Ok(options)
}

fn included(project: &Path, folder: &Value) -> Result<Include> {
    let shown = folder.as_str().context("a folder in `include` is no text")?.trim_end_matches('/').to_owned();
    let folder = project.join(&shown);
    if shown.is_empty() || !folder.is_dir() {
        bail!("there is no folder `{shown}`");
    }
    Ok(Include { folder, shown })
}

/// The tables of a manifest in which dependencies stand.
const DEPENDENCIES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// The packages that the one in a folder (absolute, without links) depends on by a path, and those that they do, each once.
///
/// # Errors
/// A manifest cannot be read.
pub(super) fn path_dependencies(project: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut waiting = vec![project.to_owned()];
    while let Some(folder) = waiting.pop() {
        let Some(manifest) = cargo::read(&folder.join("Cargo.toml"))? else { continue };
        let root = cargo::workspace_root(&folder)?;
        let shared = cargo::read(&root.join("Cargo.toml"))?.unwrap_or_default();
        let shared = shared.get("workspace").and_then(|workspace| workspace.get("dependencies"));
        let of_targets = manifest.get("target").and_then(Value::as_table).into_iter().flatten();
        let tables = std::iter::once(&manifest).chain(of_targets.filter_map(|(_, target)| target.as_table()));
        let named =
            tables.flat_map(|table| DEPENDENCIES.iter().filter_map(|name| table.get(*name)?.as_table()));
        for (name, dependency) in named.flatten() {
            let inherits = dependency.get("workspace").and_then(Value::as_bool).unwrap_or_default();
            let (base, dependency) = match shared.and_then(|shared| shared.get(name)) {
                Some(shared) if inherits => (&root, shared),
                _ => (&folder, dependency),
            };
            let Some(path) = dependency.get("path").and_then(Value::as_str) else { continue };
            // One that is not there is for cargo to tell.
            let Ok(path) = base.join(path).canonicalize() else { continue };
            if path != project && !found.contains(&path) {
                found.push(path.clone());
                waiting.push(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn project(manifest: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let project = path.join("a");
        fs::create_dir_all(project.join("x")).unwrap();
        fs::create_dir(path.join("shared")).unwrap();
        fs::write(project.join("Cargo.toml"), manifest).unwrap();
        (folder, project)
    }

    #[test]
    fn options_are_read_and_what_is_none_is_refused() {
        let (_guard, folder) = project("[package]\nname = \"a\"\n");
        assert_eq!(read(&folder).unwrap(), Options::default());
        let (_guard, folder) =
            project("[package.metadata.micro]\ninclude = [\"../shared/\", \"x\"]\npartial = true\n");
        let options = read(&folder).unwrap();
        let shown: Vec<&str> = options.include.iter().map(|include| include.shown.as_str()).collect();
        assert_eq!((shown, options.partial), (vec!["../shared", "x"], true));
        for (options, said) in [
            ("include = \"../shared\"", "a list of folders"),
            ("include = [1]", "is no text"),
            ("include = [\"nowhere\"]", "there is no folder `nowhere`"),
            ("include = [\"\"]", "there is no folder ``"),
            ("partial = 1", "`true` or `false`"),
            ("includes = []", "no option `includes`"),
        ] {
            let (_guard, folder) = project(&format!("[package.metadata.micro]\n{options}\n"));
            let error = format!("{:#}", read(&folder).unwrap_err());
            assert!(error.contains(said) && error.contains("Cargo.toml"), "{options}: {error}");
        }
    }

    #[test]
    fn packages_are_found_by_their_paths_however_far_and_in_circles() {
        let (_guard, folder) = project(
            "[dependencies]\nb = { workspace = true }\nserde = \"1\"\ngone = { path = \"../gone\" }\n\n\
             [target.'cfg(unix)'.dev-dependencies]\nc = { path = \"../c\" }\n",
        );
        let parent = folder.parent().unwrap();
        for (name, manifest) in [
            ("b", "[dependencies]\nc = { path = \"../c\" }\n"),
            ("c", "[dependencies]\na = { path = \"../a\" }\n"),
        ] {
            fs::create_dir(parent.join(name)).unwrap();
            fs::write(parent.join(name).join("Cargo.toml"), manifest).unwrap();
        }
        let root = "[workspace]\nmembers = [\"*\"]\n\n[workspace.dependencies]\nb = { path = \"b\" }\n";
        fs::write(parent.join("Cargo.toml"), root).unwrap();
        let mut found = path_dependencies(&folder).unwrap();
        found.sort();
        assert_eq!(found, [parent.join("b"), parent.join("c")]);
    }
}
