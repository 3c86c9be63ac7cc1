//! New services: what `micro new` writes, where, and how cargo is made to build it. It works without a
//! server and never runs cargo.

pub(crate) mod generate;
mod names;
pub(crate) mod patch;
pub(crate) mod sdk;
mod template;
pub(crate) mod toolchain;
mod workspace;

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    mem,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

pub(crate) use names::BadName;
use names::Names;
pub(crate) use workspace::Workspace;

/// What is asked of [`new`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options<'a> {
    /// The service's name, or a path that ends in it, relative to `parent` or absolute.
    pub(crate) name: &'a str,
    /// The folder to work in.
    pub(crate) parent: &'a Path,
    /// The names of this program's commands, which would hide a service of the same name.
    pub(crate) commands: &'a [&'a str],
}

/// What [`new`] has written.
#[derive(Debug)]
pub(crate) struct Created {
    /// The service's folder, absolute and without links.
    pub(crate) folder: PathBuf,
    /// The files in it, relative to it, sorted.
    pub(crate) files: Vec<PathBuf>,
    /// What became of the cargo workspace around it.
    pub(crate) workspace: Workspace,
}

/// Writes a new service, with the code generated from its interface, and enters it into the cargo workspace
/// around it. Fails for a name that is not allowed and for a folder that is not empty. A failure leaves
/// nothing behind.
pub(crate) fn new(options: &Options) -> Result<Created> {
    let path = Path::new(options.name);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(options.name);
    let names = Names::new(name, options.commands)?;
    let mut unfinished = Unfinished::default();
    let folder = unfinished.make_project(&options.parent.join(path))?;
    let (workspace, edit) = workspace::join(&folder);
    let rendered = template::render(&names, workspace.standing())?;
    for file in &rendered {
        unfinished.write(&folder, &file.path, &file.text)?;
    }
    let generated = generate::generate(&folder)?;
    if let Some(edit) = edit {
        edit.commit()?;
    }
    unfinished.finish();

    let generated = generated.iter().map(|path| path.strip_prefix(&folder).unwrap_or(path).to_owned());
    let mut files: Vec<PathBuf> = rendered.into_iter().map(|file| file.path).chain(generated).collect();
    files.sort();
    Ok(Created { folder, files, workspace })
}

/// What was made so far. Dropped before [`Unfinished::finish`], it is removed again.
#[derive(Default)]
struct Unfinished {
    /// Folders on the way to the project, outermost first; others may come to use them.
    ancestors: Vec<PathBuf>,
    /// Files and folders of the project alone, each after the folder it is in.
    made: Vec<PathBuf>,
}

impl Unfinished {
    /// Creates the folder of the project, unless it is there and empty, and what is missing on the way to it.
    fn make_project(&mut self, folder: &Path) -> Result<PathBuf> {
        let parent = folder.parent().context("the root of the file system cannot be a service")?;
        let missing: Vec<&Path> = parent.ancestors().take_while(|folder| !folder.exists()).collect();
        for ancestor in missing.into_iter().rev().filter(|path| !path.as_os_str().is_empty()) {
            if create_folder(ancestor)? {
                self.ancestors.push(ancestor.to_owned());
            }
        }
        if create_folder(folder)? {
            self.made.push(folder.to_owned());
        } else {
            let mut entries = fs::read_dir(folder)
                .with_context(|| format!("cannot use `{}` as a folder", folder.display()))?;
            if entries.next().is_some() {
                bail!("`{}` is not empty: choose another name, or another folder", folder.display());
            }
        }
        folder.canonicalize().with_context(|| format!("cannot open `{}`", folder.display()))
    }

    /// Writes a new file of the project, and the folders it is in.
    fn write(&mut self, project: &Path, path: &Path, text: &str) -> Result<()> {
        let mut folder = project.to_owned();
        for part in path.parent().into_iter().flatten() {
            folder.push(part);
            if create_folder(&folder)? {
                self.made.push(folder.clone());
            }
        }
        let path = project.join(path);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut file| {
                self.made.push(path.clone());
                file.write_all(text.as_bytes())
            })
            .with_context(|| format!("cannot write `{}`", path.display()))
    }

    fn finish(mut self) {
        mem::take(&mut self.ancestors);
        mem::take(&mut self.made);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What cannot be removed is not worth hiding the error that led here.
        for path in self.made.iter().rev() {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        for folder in self.ancestors.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Whether the folder is new. Its parent must exist.
fn create_folder(folder: &Path) -> Result<bool> {
    match fs::create_dir(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => {
            let parent = folder.parent().unwrap_or(folder);
            Err(error).with_context(|| format!("cannot create a folder in `{}`", parent.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(parent: &Path, name: &str) -> Result<Created> {
        new(&Options { name, parent, commands: &["run"] })
    }

    /// A temporary folder, and the path of it without links.
    fn parent() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    #[test]
    fn a_new_service_holds_the_files_it_names_and_no_others() {
        let (_guard, parent) = parent();
        let created = create(&parent, "foo-bar").unwrap();
        assert_eq!(created.folder, parent.join("foo-bar"));
        assert_eq!(created.workspace, Workspace::None);
        for expected in
            ["Cargo.toml", "README.md", "proto/foobar.proto", "src/handler.rs", "src/proto/mod.rs"]
        {
            assert!(created.files.contains(&expected.into()), "{expected}");
        }
        let mut found = Vec::new();
        let mut folders = vec![created.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(&created.folder).unwrap().to_owned());
                }
            }
        }
        found.sort();
        assert_eq!(created.files, found);
    }

    #[test]
    fn names_of_short_parts_are_in_the_program_as_they_are_generated() {
        let (_guard, parent) = parent();
        for (name, title) in [
            ("a-b", "Ab"),
            ("x.y", "Xy"),
            ("s3-x", "S3x"),
            ("a1-b2", "A1b2"),
            ("foo-a-b", "FooAb"),
            ("a.b.c", "Abc"),
            ("a-bc", "ABc"),
        ] {
            let folder = create(&parent, name).unwrap().folder;
            let package = name.replace(['.', '-'], "");
            let generated = fs::read_to_string(folder.join(format!("src/proto/{package}.rs"))).unwrap();
            for declared in [format!("pub trait {title}:"), format!("pub struct {title}Server<")] {
                assert!(generated.contains(&declared), "{name}: {declared} is missing in {generated}");
            }
            let program = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
            assert!(program.contains(&format!("{package}::{title}Server;")), "{name}: {program}");
        }
    }

    #[test]
    fn the_last_part_of_a_path_is_the_name() {
        let (_guard, parent) = parent();
        let created = create(&parent, "services/shop/foo/").unwrap();
        assert_eq!(created.folder, parent.join("services/shop/foo"));
        assert!(fs::read_to_string(created.folder.join("Cargo.toml")).unwrap().contains("name = \"foo\""));
    }

    #[test]
    fn an_empty_folder_is_used_and_another_refused() {
        let (_guard, parent) = parent();
        fs::create_dir(parent.join("foo")).unwrap();
        create(&parent, "foo").unwrap();
        let error = create(&parent, "foo").unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{}` is not empty", parent.join("foo").display())), "{error}");
        fs::write(parent.join("file"), "").unwrap();
        let error = create(&parent, "file").unwrap_err().to_string();
        assert!(error.contains(parent.join("file").to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_parent_that_takes_no_folder_is_named() {
        let (_guard, parent) = parent();
        fs::write(parent.join("file"), "").unwrap();
        let error = create(&parent, "file/foo").unwrap_err().to_string();
        assert!(error.ends_with(&format!("`{}`", parent.join("file").display())), "{error}");
    }

    #[test]
    fn a_name_that_is_refused_leaves_nothing_behind() {
        let (_guard, parent) = parent();
        for name in ["HelloWorld", "services/run", "store", ".", "..", "/"] {
            create(&parent, name).unwrap_err();
        }
        assert_eq!(fs::read_dir(parent).unwrap().count(), 0);
    }

    #[test]
    fn what_is_unfinished_is_removed_and_what_was_there_is_kept() {
        let (_guard, parent) = parent();
        let mut unfinished = Unfinished::default();
        let project = unfinished.make_project(&parent.join("a/b/foo")).unwrap();
        unfinished.write(&project, Path::new("src/main.rs"), "").unwrap();
        fs::write(project.join("src/generated.rs"), "").unwrap();
        drop(unfinished);
        assert!(!parent.join("a").exists());

        fs::create_dir(parent.join("foo")).unwrap();
        let mut unfinished = Unfinished::default();
        let project = unfinished.make_project(&parent.join("foo")).unwrap();
        unfinished.write(&project, Path::new("Cargo.toml"), "").unwrap();
        drop(unfinished);
        assert_eq!(fs::read_dir(parent.join("foo")).unwrap().count(), 0);
    }

    #[test]
    fn of_two_who_create_the_same_service_one_succeeds_and_spoils_nothing() {
        let (_guard, parent) = parent();
        let results: Vec<bool> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| create(&parent, "foo").is_ok())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(results.iter().filter(|created| **created).count() <= 1);
        if results.contains(&true) {
            assert!(parent.join("foo/src/proto/mod.rs").is_file());
        }
    }

    #[test]
    fn a_service_in_a_workspace_becomes_a_member() {
        let (_guard, parent) = parent();
        fs::write(parent.join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
        let created = create(&parent, "services/foo").unwrap();
        assert_eq!(created.workspace, Workspace::Member(parent.clone()));
        let manifest = fs::read_to_string(parent.join("Cargo.toml")).unwrap();
        assert_eq!(manifest, "[workspace]\nmembers = [\"services/foo\"]\n");
        assert!(!fs::read_to_string(created.folder.join("Cargo.toml")).unwrap().contains("[profile"));
    }

    #[test]
    fn a_service_that_its_workspace_excludes_is_a_workspace_of_its_own() {
        let (_guard, parent) = parent();
        fs::write(parent.join("Cargo.toml"), "[workspace]\nexclude = [\"foo\"]\n").unwrap();
        let created = create(&parent, "foo").unwrap();
        assert!(matches!(&created.workspace, Workspace::Standalone { root, .. } if *root == parent));
        assert!(fs::read_to_string(created.folder.join("Cargo.toml")).unwrap().ends_with("\n[workspace]\n"));
    }
}
