//! The SDK's source, carried in this binary and unpacked where cargo can build it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use include_dir::{Dir, include_dir};
use sha2::{Digest as _, Sha256};
use toml_edit::{Array, DocumentMut, Item, value};

use super::{patch::child, template::files_of};
use crate::private;

const MANIFEST: &str = include_str!("../../Cargo.toml");

/// A crate a service needs.
struct Crate {
    /// Its folder in this repository and in the unpacked workspace.
    name: &'static str,
    manifest: &'static str,
    source: Dir<'static>,
}

/// Their sources alone: tests and examples are for those who read this repository.
static CRATES: [Crate; 2] = [
    Crate {
        name: "proto",
        manifest: include_str!("../../proto/Cargo.toml"),
        source: include_dir!("$CARGO_MANIFEST_DIR/proto/src"),
    },
    Crate {
        name: "sdk",
        manifest: include_str!("../../sdk/Cargo.toml"),
        source: include_dir!("$CARGO_MANIFEST_DIR/sdk/src"),
    },
];

/// Parts of a crate's manifest that are of use only to those who work on that crate.
const FOR_ITS_AUTHORS: [&str; 4] = ["dev-dependencies", "test", "bench", "example"];

type Files = BTreeMap<PathBuf, Cow<'static, [u8]>>;

/// Where [`unpack`] puts the SDK below `data`, `sdk/<version>-<hash>/sdk`, whether it is there or not.
pub(crate) fn folder(data: &Path) -> Result<PathBuf> {
    Ok(place(data, &files()?).join("sdk"))
}

fn place(data: &Path, files: &Files) -> PathBuf {
    let version = env!("CARGO_PKG_VERSION");
    data.join("sdk").join(format!("{version}-{}", fingerprint(files)))
}

/// Unpacks the SDK below `data` unless it lies there, and returns its folder, `sdk/<version>-<hash>/sdk`.
/// A folder of that name is always whole and never written again, however many processes do this at once.
pub(crate) fn unpack(data: &Path) -> Result<PathBuf> {
    let files = files()?;
    let folder = place(data, &files);
    if !folder.is_dir() {
        let temporary = folder.with_file_name(format!(".{}", uuid::Uuid::new_v4()));
        let unpacked = write(&files, &temporary).and_then(|()| match fs::rename(&temporary, &folder) {
            Err(_) if folder.is_dir() => Ok(()),
            renamed => renamed.with_context(|| format!("cannot create `{}`", folder.display())),
        });
        // There is something to remove only after an error, returned below, or when another process was
        // first.
        let _ = fs::remove_dir_all(&temporary);
        unpacked?;
    }
    Ok(folder.join("sdk"))
}

/// What is unpacked: both crates, and a workspace manifest with what they inherit.
fn files() -> Result<Files> {
    let mut files = Files::new();
    let mut inherited = BTreeSet::new();
    for Crate { name, manifest, source } in &CRATES {
        for file in files_of(source) {
            files.insert(Path::new(name).join("src").join(file.path()), file.contents().into());
        }
        let manifest = crate_manifest(manifest)?;
        if let Some(dependencies) = manifest.get("dependencies").and_then(Item::as_table_like) {
            inherited.extend(dependencies.iter().map(|(name, _)| name.to_owned()));
        }
        files.insert(Path::new(name).join("Cargo.toml"), manifest.to_string().into_bytes().into());
    }
    let manifest = workspace_manifest(MANIFEST, &inherited)?;
    files.insert("Cargo.toml".into(), manifest.to_string().into_bytes().into());
    Ok(files)
}

fn crate_manifest(text: &str) -> Result<DocumentMut> {
    let mut manifest: DocumentMut = text.parse()?;
    for key in FOR_ITS_AUTHORS {
        manifest.remove(key);
    }
    Ok(manifest)
}

/// The manifest of this repository, reduced to a workspace of the embedded crates. Its lints are silenced:
/// what a later compiler finds in the SDK is nothing the author of a service can mend.
fn workspace_manifest(text: &str, inherited: &BTreeSet<String>) -> Result<DocumentMut> {
    let mut manifest: DocumentMut = text.parse()?;
    manifest.retain(|key, _| key == "workspace");
    let workspace = manifest.get_mut("workspace").and_then(Item::as_table_mut);
    let workspace = workspace.context("the embedded manifest has no `[workspace]`")?;
    workspace.retain(|key, _| ["resolver", "package", "dependencies"].contains(&key));
    workspace.insert("members", value(CRATES.iter().map(|embedded| embedded.name).collect::<Array>()));
    if let Some(dependencies) = workspace.get_mut("dependencies").and_then(Item::as_table_mut) {
        dependencies.retain(|name, _| inherited.contains(name));
    }
    let lints = child(child(&mut manifest["workspace"], "lints"), "rust");
    lints["warnings"] = value("allow");
    Ok(manifest)
}

/// Twelve hexadecimal digits that differ when any path or content does.
fn fingerprint(files: &Files) -> String {
    let mut digest = Sha256::new();
    for (path, contents) in files {
        for part in [path.as_os_str().as_encoded_bytes(), contents] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    }
    hex::encode(&digest.finalize()[..6])
}

/// Writes every file through to the disk, so that the rename that follows cannot outlive what it names.
fn write(files: &Files, folder: &Path) -> Result<()> {
    for (path, contents) in files {
        let path = folder.join(path);
        let parent = path.parent().expect("every file is in a folder");
        private::create_folder(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
        private::create_file(&path)
            .and_then(|mut file| file.write_all(contents).and_then(|()| file.sync_all()))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_sdk_is_unpacked_once_and_never_written_again() {
        let data = tempfile::tempdir().unwrap();
        let sdk = unpack(data.path()).unwrap();
        let name = sdk.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let (version, hash) = name.split_once('-').unwrap();
        assert_eq!((version, hash.len()), (env!("CARGO_PKG_VERSION"), 12));
        let source = sdk.join("src/lib.rs");
        fs::write(&source, "changed").unwrap();
        assert_eq!(unpack(data.path()).unwrap(), sdk);
        assert_eq!(fs::read_to_string(source).unwrap(), "changed");
    }

    #[test]
    fn ten_at_once_unpack_one_whole_sdk_and_leave_nothing_beside_it() {
        let data = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| assert!(unpack(data.path()).unwrap().join("src/lib.rs").is_file()));
            }
        });
        assert_eq!(fs::read_dir(data.path().join("sdk")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_unpacked_is_a_workspace_that_cargo_can_read() {
        let data = tempfile::tempdir().unwrap();
        let sdk = unpack(data.path()).unwrap();
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
            .current_dir(&sdk)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata = String::from_utf8(output.stdout).unwrap();
        for name in ["micro-sdk", "micro-proto"] {
            assert!(metadata.contains(&format!("\"name\":\"{name}\"")), "{metadata}");
        }
    }

    #[test]
    fn the_workspace_manifest_holds_what_the_crates_inherit_and_no_more() {
        let text = "[workspace]\nmembers = [\".\"]\nresolver = \"3\"\nexclude = [\"x\"]\n\
                    [workspace.package]\nversion = \"1.0.0\"\n[workspace.dependencies]\nbytes = \"1\"\nclap = \"4\"\n\
                    [workspace.lints.rust]\nmissing_docs = \"warn\"\n[package]\nname = \"micro\"\n";
        let manifest = workspace_manifest(text, &BTreeSet::from(["bytes".to_owned()])).unwrap();
        assert_eq!(
            manifest.to_string(),
            "[workspace]\nresolver = \"3\"\nmembers = [\"proto\", \"sdk\"]\n\
             [workspace.package]\nversion = \"1.0.0\"\n[workspace.dependencies]\nbytes = \"1\"\n\n\
             [workspace.lints.rust]\nwarnings = \"allow\"\n"
        );
    }
}
