//! What a cargo project says about itself before it is built.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::supervisor::Error;

/// The crate every service depends on. It is not on the crate registry, so its source is given to
/// the build, and an entry that would take it from there is refused: the name may be another's.
pub(super) const SDK: &str = "micro-sdk";

/// A package that can be built.
#[derive(Debug)]
pub(super) struct Project {
    /// Its folder, without symbolic links.
    pub(super) folder: PathBuf,
    /// The name of the package.
    pub(super) name: String,
    /// The program `cargo run` would choose.
    pub(super) default_run: Option<String>,
    /// The names of its programs, sorted.
    pub(super) programs: Vec<String>,
    /// How many packages the lock file names; none before the first build.
    pub(super) packages: Option<usize>,
    /// Whether the source of the SDK has to be given to the build.
    pub(super) needs_sdk: bool,
}

impl Project {
    pub(super) fn read(folder: &Path) -> Result<Self, Error> {
        let folder = folder.canonicalize().map_err(|error| Error::file("open", folder, error))?;
        let manifest_path = folder.join("Cargo.toml");
        let Some(manifest) = read(&manifest_path)? else {
            return Err(Error::source(format!(
                "there is no `Cargo.toml` in `{}`; `micro new <name>` makes a service",
                folder.display()
            )));
        };
        let Some(package) = manifest.get("package").and_then(Value::as_table) else {
            return Err(Error::source(format!(
                "`{}` is a workspace without a package; run one of its members",
                manifest_path.display()
            )));
        };
        let text = |key| Some(package.get(key)?.as_str()?.to_owned());
        let root = workspace_root(&folder, &manifest)?;
        let lock_path = root.join("Cargo.lock");
        let lock = read(&lock_path)?;
        let locked = lock.as_ref().and_then(|lock| lock.get("package")?.as_array());
        if let Some(source) = locked.and_then(|packages| sdk_source(packages)) {
            return Err(Error::source(format!(
                "`{}` takes `{SDK}` from `{source}`, where it is not published; remove that entry and run again",
                lock_path.display()
            )));
        }
        let root_manifest = if root == folder { None } else { read(&root.join("Cargo.toml"))? };
        let name = text("name").unwrap_or_default();
        Ok(Self {
            programs: programs(&folder, &manifest, &name),
            name,
            default_run: text("default-run"),
            packages: locked.map(Vec::len),
            needs_sdk: needs_sdk(&manifest, root_manifest.as_ref(), locked),
            folder,
        })
    }
}

impl Project {
    /// The program to build: the one asked for, else the only one, the one `cargo run` chooses, or the one
    /// named as its package.
    pub(super) fn program(&self, wanted: Option<&str>) -> Result<&str, Error> {
        let package = &self.name;
        let listed = self.programs.join(", ");
        if self.programs.is_empty() {
            return Err(Error::source(format!(
                "the package `{package}` has no program, so it is no service: it needs a `src/main.rs`"
            )));
        }
        let has = |name: &str| self.programs.iter().find(|program| *program == name);
        if let Some(wanted) = wanted {
            return has(wanted).map(String::as_str).ok_or_else(|| {
                Error::source(format!("the package `{package}` has no program `{wanted}`; it has: {listed}"))
            });
        }
        let only = self.programs.first().filter(|_| self.programs.len() == 1);
        let chosen = only.or_else(|| has(self.default_run.as_deref()?)).or_else(|| has(package));
        chosen.map(String::as_str).ok_or_else(|| {
            Error::source(format!(
                "the package `{package}` has several programs: {listed}; choose one, such as `--bin {}`",
                self.programs[0]
            ))
        })
    }
}

/// The programs of a package, as cargo finds them: what the manifest names, `src/main.rs`, and what lies in
/// `src/bin`.
fn programs(folder: &Path, manifest: &Table, package: &str) -> Vec<String> {
    let declared: Vec<&Value> = manifest.get("bin").and_then(Value::as_array).into_iter().flatten().collect();
    let text = |bin: &Value, key: &str| Some(bin.get(key)?.as_str()?.to_owned());
    let mut names: Vec<String> = declared.iter().filter_map(|bin| text(bin, "name")).collect();
    let paths: Vec<PathBuf> =
        declared.iter().filter_map(|bin| Some(folder.join(text(bin, "path")?))).collect();
    let settings = manifest.get("package").and_then(|package| package.get("autobins"));
    if settings.and_then(Value::as_bool).unwrap_or(true) {
        let mut found = vec![(package.to_owned(), folder.join("src/main.rs"))];
        for entry in fs::read_dir(folder.join("src/bin")).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                found.push((name, path.join("main.rs")));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((name, path));
            }
        }
        found.retain(|(name, path)| path.is_file() && !names.contains(name) && !paths.contains(path));
        names.extend(found.into_iter().map(|(name, _)| name));
    }
    names.sort();
    names
}

/// Where the lock file lies: the workspace the package belongs to, or its own folder.
fn workspace_root(folder: &Path, manifest: &Table) -> Result<PathBuf, Error> {
    if manifest.contains_key("workspace") {
        return Ok(folder.to_owned());
    }
    if let Some(named) = manifest.get("package").and_then(|package| package.get("workspace")?.as_str()) {
        let root = folder.join(named);
        return root.canonicalize().map_err(|error| Error::file("open", &root, error));
    }
    for above in folder.ancestors().skip(1) {
        let Some(root) = read(&above.join("Cargo.toml"))? else { continue };
        let Some(workspace) = root.get("workspace") else { continue };
        let excluded = workspace.get("exclude").and_then(Value::as_array).is_some_and(|paths| {
            paths.iter().filter_map(Value::as_str).any(|path| folder.starts_with(above.join(path)))
        });
        return Ok(if excluded { folder.to_owned() } else { above.to_owned() });
    }
    Ok(folder.to_owned())
}

/// From where the lock file takes the SDK, unless it is given.
fn sdk_source(packages: &[Value]) -> Option<&str> {
    let sdk = packages.iter().find(|package| package.get("name").and_then(Value::as_str) == Some(SDK))?;
    sdk.get("source")?.as_str()
}

/// Whether the SDK would be looked for on the registry. A dependency by path or git is already told
/// where it is.
fn needs_sdk(manifest: &Table, root: Option<&Table>, locked: Option<&Vec<Value>>) -> bool {
    let mut entries = sdk_entries(manifest);
    entries.extend(root.map(sdk_entries).unwrap_or_default());
    if entries.iter().any(|entry| entry.get("path").is_some() || entry.get("git").is_some()) {
        return false;
    }
    let is_sdk = |package: &Value| package.get("name").and_then(Value::as_str) == Some(SDK);
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

/// Reads a file of cargo's; none if it is not there.
fn read(path: &Path) -> Result<Option<Table>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let parsed = text.parse().map_err(|error: toml::de::Error| {
                let reason = error.to_string();
                Error::source(format!("cannot read `{}`: {}", path.display(), reason.trim_end()))
            });
            parsed.map(Some)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)], folder: &str) -> Result<Project, Error> {
        let place = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        Project::read(&place.path().join(folder))
    }

    fn with_sdk(dependency: &str) -> bool {
        let manifest = format!("[package]\nname = 'a'\n[dependencies]\n{dependency}\n");
        project(&[("Cargo.toml", &manifest)], ".").expect("a project").needs_sdk
    }

    #[test]
    fn a_folder_without_a_manifest_says_what_was_looked_for() {
        let error = project(&[("main.go", "")], ".").expect_err("no project").to_string();
        assert!(
            error.starts_with("there is no `Cargo.toml` in `/") && error.contains("micro new"),
            "{error}"
        );
    }

    #[test]
    fn a_workspace_without_a_package_is_no_service() {
        let error = project(&[("Cargo.toml", "[workspace]")], ".").expect_err("no project").to_string();
        assert!(error.contains("run one of its members"), "{error}");
    }

    #[test]
    fn the_programs_of_a_package_are_those_that_cargo_finds() {
        let manifest =
            "[package]\nname = 'a'\n[[bin]]\nname = 'first'\npath = 'src/main.rs'\n[[bin]]\nname = 'one'";
        let several = [
            ("Cargo.toml", manifest),
            ("src/main.rs", ""),
            ("src/bin/one.rs", ""),
            ("src/bin/two/main.rs", ""),
            ("src/bin/two/part.rs", ""),
            ("src/bin/no/part.rs", ""),
        ];
        let read = project(&several, ".").expect("a project");
        assert_eq!(read.programs, ["first", "one", "two"]);
        assert_eq!(read.program(Some("two")).expect("there"), "two");
        for (wanted, text) in [
            (None, "first, one, two; choose one, such as `--bin first`"),
            (Some("b"), "no program `b`; it has: first, one, two"),
        ] {
            let error = read.program(wanted).expect_err("refused").to_string();
            assert!(error.contains(text), "{error}");
        }
        let named = |extra: &str, files: &[(&str, &str)]| {
            let manifest = format!("[package]\nname = 'a'\n{extra}");
            let files = [&[("Cargo.toml", manifest.as_str())], files].concat();
            let read = project(&files, ".").expect("a project");
            read.program(None).map(str::to_owned).map_err(|error| error.to_string())
        };
        let two = [("src/main.rs", ""), ("src/bin/b.rs", "")];
        assert_eq!(named("", &two).as_deref(), Ok("a"));
        assert_eq!(named("default-run = 'b'", &two).as_deref(), Ok("b"));
        assert_eq!(named("autobins = false\n[[bin]]\nname = 'b'", &two).as_deref(), Ok("b"));
        assert!(named("", &[("src/lib.rs", "")]).expect_err("a library").contains("no program"));
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
        let error = project(&files, "a").expect_err("refused").to_string();
        assert!(error.contains("takes `micro-sdk` from `registry+https://example.org`"), "{error}");
    }

    #[test]
    fn a_member_that_inherits_the_sdk_by_path_needs_nothing() {
        let root = "[workspace]\n[workspace.dependencies]\nmicro-sdk = { path = 'sdk' }";
        let member = "[package]\nname = 'a'\n[dependencies]\nmicro-sdk.workspace = true";
        let files = [("Cargo.toml", root), ("a/Cargo.toml", member)];
        assert!(!project(&files, "a").expect("a project").needs_sdk);
    }
}
