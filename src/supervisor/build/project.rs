//! What a cargo project says about itself before it is built.

use std::{
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::{cargo, supervisor::Error};

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
        let Some(manifest) = cargo::read(&manifest_path)? else {
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
        let needs = cargo::needs(&folder, &manifest)?;
        let name = text("name").unwrap_or_default();
        Ok(Self {
            programs: programs(&folder, &manifest, &name),
            name,
            default_run: text("default-run"),
            packages: needs.packages,
            needs_sdk: needs.sdk,
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
}
