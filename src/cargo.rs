//! What the files of a cargo project say, read as cargo does and without running it: where the workspace of
//! a package lies, and whether its build has to be given the SDK.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;
use toml::{Table, Value};

/// The crate every service depends on. It is on no registry, so its source is given to the build, and an
/// entry that would take it from one is refused: the name may be another's.
pub(crate) const SDK: &str = "micro-sdk";

/// Why a file of cargo's cannot be used.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// It cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// It is not what cargo reads.
    #[error("cannot read `{}`: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    /// The lock file takes the SDK from a registry.
    #[error("`{}` takes `{SDK}` from `{from}`, where it is not published; remove that entry and run again", lock.display())]
    Foreign { lock: PathBuf, from: String },
}

/// Reads a manifest or a lock file; none if it is not there.
///
/// # Errors
/// It cannot be read, or is not TOML.
pub(crate) fn read(path: &Path) -> Result<Option<Table>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => match text.parse() {
            Ok(table) => Ok(Some(table)),
            Err(error) => {
                let reason = toml::de::Error::to_string(&error).trim_end().to_owned();
                Err(Error::Syntax { path: path.to_owned(), reason })
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

/// The folder in which cargo, started in `project` (absolute, without links), finds the root of the
/// workspace: `project` itself when it is in none. The lock file lies there, and cargo's configuration.
///
/// # Errors
/// A manifest on the way cannot be read.
pub(crate) fn workspace_root(project: &Path) -> Result<PathBuf, Error> {
    for folder in project.ancestors() {
        let path = folder.join("Cargo.toml");
        let Some(manifest) = read(&path)? else { continue };
        if let Some(workspace) = manifest.get("workspace") {
            if folder == project || !excludes(workspace, folder, project) {
                return Ok(folder.to_owned());
            }
        } else if let Some(named) =
            manifest.get("package").and_then(|package| package.get("workspace")?.as_str())
        {
            let root = folder.join(named);
            return root.canonicalize().map_err(|source| Error::File { path: root, source });
        }
    }
    Ok(project.to_owned())
}

/// Whether a workspace excludes a folder: `exclude` holds path prefixes, not patterns, and a prefix in
/// `members` outweighs it.
fn excludes(workspace: &Value, root: &Path, folder: &Path) -> bool {
    let strings =
        |key| workspace.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    is_excluded(strings("exclude"), strings("members"), root, folder)
}

/// The rule of [`excludes`] over lists that were read elsewhere.
pub(crate) fn is_excluded<'a>(
    mut exclude: impl Iterator<Item = &'a str>,
    mut members: impl Iterator<Item = &'a str>,
    root: &Path,
    folder: &Path,
) -> bool {
    let holds = |path: &str| folder.starts_with(root.join(path));
    exclude.any(holds) && !members.any(holds)
}

/// What a package and its workspace say of the SDK.
#[derive(Debug)]
pub(crate) struct Needs {
    /// Whether cargo would look for the SDK on the registry, so that it has to be told where it lies.
    pub(crate) sdk: bool,
    /// How many packages the lock file names; none before the first build.
    pub(crate) packages: Option<usize>,
}

/// Reads what the build of the package in `folder` (absolute, without links) needs, from its manifest, that
/// of its workspace and the lock file.
///
/// # Errors
/// A file cannot be read, or the lock file takes the SDK from a registry.
pub(crate) fn needs(folder: &Path, manifest: &Table) -> Result<Needs, Error> {
    let root = workspace_root(folder)?;
    let packages = locked(&root)?;
    let root_manifest = if root == folder { None } else { read(&root.join("Cargo.toml"))? };
    let sdk = is_looked_for(manifest, root_manifest.as_ref(), packages.as_deref());
    Ok(Needs { sdk, packages: packages.map(|packages| packages.len()) })
}

/// The packages that the lock file of a workspace names; none if there is no lock file.
///
/// # Errors
/// It cannot be read, or takes the SDK from a registry.
pub(crate) fn locked(root: &Path) -> Result<Option<Vec<Value>>, Error> {
    let path = root.join("Cargo.lock");
    let Some(mut lock) = read(&path)? else { return Ok(None) };
    let Some(Value::Array(packages)) = lock.remove("package") else { return Ok(None) };
    match registry_of_sdk(&packages) {
        Some(from) => Err(Error::Foreign { lock: path, from: from.to_owned() }),
        None => Ok(Some(packages)),
    }
}

fn is_sdk(package: &Value) -> bool {
    package.get("name").and_then(Value::as_str) == Some(SDK)
}

/// The registry from which the lock file takes the SDK, if it does.
fn registry_of_sdk(packages: &[Value]) -> Option<&str> {
    let source = packages.iter().find(|package| is_sdk(package))?.get("source")?.as_str()?;
    ["registry+", "sparse+"].iter().any(|kind| source.starts_with(kind)).then_some(source)
}

/// Whether the SDK would be looked for on the registry. A dependency by path or git is already told where
/// it is.
fn is_looked_for(manifest: &Table, root: Option<&Table>, locked: Option<&[Value]>) -> bool {
    let mut entries = sdk_entries(manifest);
    entries.extend(root.map(sdk_entries).unwrap_or_default());
    if entries.iter().any(|entry| entry.get("path").is_some() || entry.get("git").is_some()) {
        return false;
    }
    !entries.is_empty() || locked.is_some_and(|packages| packages.iter().any(is_sdk))
}

/// What a manifest says about its dependency on the SDK, under whatever name and for whatever target.
fn sdk_entries(manifest: &Table) -> Vec<&Value> {
    let mut places = vec![manifest];
    places.extend(manifest.get("workspace").and_then(Value::as_table));
    let targets = manifest.get("target").and_then(Value::as_table);
    places.extend(targets.into_iter().flat_map(Table::values).filter_map(Value::as_table));
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    places
        .into_iter()
        .flat_map(|place| kinds.map(|kind| place.get(kind).and_then(Value::as_table)))
        .flatten()
        .flatten()
        .filter(|(name, entry)| entry.get("package").and_then(Value::as_str).unwrap_or(name) == SDK)
        .map(|(_, entry)| entry)
        .collect()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Files of these texts, and the folder they are in, without links.
    fn place(files: &[(&str, &str)]) -> (TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().canonicalize().unwrap();
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (place, folder)
    }

    fn needed(files: &[(&str, &str)], folder: &str) -> Result<Needs, Error> {
        let (_place, root) = place(files);
        let folder = root.join(folder).canonicalize().unwrap();
        needs(&folder, &read(&folder.join("Cargo.toml")).unwrap().unwrap())
    }

    fn with_sdk(dependency: &str) -> bool {
        let manifest = format!("[package]\nname = 'a'\n[dependencies]\n{dependency}\n");
        needed(&[("Cargo.toml", &manifest)], ".").unwrap().sdk
    }

    #[test]
    fn the_root_is_the_one_that_cargo_finds() {
        let package = "[package]\nname = 'a'";
        let pointing = "[package]\nname = 'a'\nworkspace = '../..'";
        for (root, above, member, expected) in [
            ("[workspace]", "", package, ""),
            ("[workspace]\nexclude = ['a']", "", package, "a/b"),
            ("[workspace]\nexclude = ['a']\nmembers = ['a/b']", "", package, ""),
            // One that excludes it is no end of the search.
            ("[workspace]", "[workspace]\nexclude = ['b']", package, ""),
            ("[workspace]", "[workspace]", package, "a"),
            ("[workspace]", "", "[package]\nname = 'a'\n[workspace]", "a/b"),
            (package, "", package, "a/b"),
            ("[workspace]\nexclude = ['a']", "", pointing, ""),
        ] {
            let mut files = vec![("Cargo.toml", root), ("a/b/Cargo.toml", member)];
            files.extend((!above.is_empty()).then_some(("a/Cargo.toml", above)));
            let (_place, folder) = place(&files);
            let found = workspace_root(&folder.join("a/b")).unwrap();
            assert_eq!(found, folder.join(expected).canonicalize().unwrap(), "{files:?}");
        }
    }

    #[test]
    fn a_manifest_on_the_way_that_cannot_be_read_is_named() {
        let (_place, folder) =
            place(&[("Cargo.toml", "[workspace"), ("a/Cargo.toml", "[package]\nname = 'a'")]);
        let error = workspace_root(&folder.join("a")).unwrap_err().to_string();
        assert!(error.contains(folder.join("Cargo.toml").to_str().unwrap()), "{error}");
    }

    #[test]
    fn the_sdk_is_given_only_where_it_would_be_looked_for() {
        assert!(with_sdk("micro-sdk = '0.1'"));
        assert!(with_sdk("sdk = { package = 'micro-sdk', version = '0.1' }"));
        assert!(!with_sdk("micro-sdk = { path = '../sdk' }"));
        assert!(!with_sdk("serde = '1'"));
    }

    #[test]
    fn a_lock_file_that_takes_the_sdk_from_a_registry_is_refused() {
        let lock =
            "[[package]]\nname = 'micro-sdk'\nversion = '0.1.0'\nsource = 'registry+https://example.org'\n";
        let files =
            [("Cargo.toml", "[workspace]"), ("a/Cargo.toml", "[package]\nname = 'a'"), ("Cargo.lock", lock)];
        let error = needed(&files, "a").unwrap_err().to_string();
        assert!(error.contains("takes `micro-sdk` from `registry+https://example.org`"), "{error}");
        // A dependency by git is one that its author chose.
        let lock = lock.replace("registry+", "git+");
        assert!(needed(&[files[0], files[1], ("Cargo.lock", &lock)], "a").is_ok());
    }

    #[test]
    fn a_member_that_inherits_the_sdk_by_path_needs_nothing() {
        let root = "[workspace]\n[workspace.dependencies]\nmicro-sdk = { path = 'sdk' }";
        let member = "[package]\nname = 'a'\n[dependencies]\nmicro-sdk.workspace = true";
        let files = [("Cargo.toml", root), ("a/Cargo.toml", member)];
        assert!(!needed(&files, "a").unwrap().sdk);
    }
}
