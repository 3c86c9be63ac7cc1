//! What the files of the repository say of each other.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The files below a folder with this ending.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
}

#[test]
fn the_oldest_rust_is_the_same_everywhere() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(read("README.md").contains(&format!("Needed: Rust {version} or newer")));
    let workflow = read(".github/workflows/ci.yml");
    let installed = workflow.split("rustup toolchain install ").skip(1);
    let installed: Vec<&str> = installed.filter_map(|rest| rest.split(' ').next()).collect();
    assert!(!installed.is_empty() && installed.iter().all(|found| *found == version), "{installed:?}");
    assert_eq!(workflow.matches(&format!("rustup default {version}")).count(), installed.len());
    // Services are told by the template, which the version is put into.
    assert!(read("templates/service/Cargo.toml.jinja").contains("rust-version = \"{{ rust_version }}\""));

    let mut manifests = vec![root().join("Cargo.toml")];
    for folder in ["benches", "proto", "sdk"] {
        files(&root().join(folder), "toml", &mut manifests);
    }
    // It is no member of the workspace, and its folder of builds has manifests of others.
    manifests.push(root().join("fuzz/Cargo.toml"));
    manifests.retain(|path| path.ends_with("Cargo.toml"));
    assert!(manifests.len() > 5, "{manifests:?}");
    for path in manifests {
        let manifest: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let workspace = manifest.get("workspace").and_then(|workspace| workspace.get("package"));
        let told = [manifest.get("package"), workspace].into_iter().flatten();
        for told in told {
            let told = told.get("rust-version").unwrap_or_else(|| panic!("{}: none", path.display()));
            let inherited = told.get("workspace").and_then(toml::Value::as_bool) == Some(true);
            assert!(inherited || told.as_str() == Some(version), "{}: {told}", path.display());
        }
    }
}

#[test]
fn no_source_file_is_longer_than_can_be_read_at_once() {
    let mut found = Vec::new();
    for folder in ["src", "sdk/src", "tests/it", "benches/load/src", "proto/src"] {
        files(&root().join(folder), "rs", &mut found);
    }
    assert!(found.len() > 200, "{}", found.len());
    for path in found {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 500, "{} has {lines} lines", path.display());
    }
}

/// The relative links of the documents lead to files.
#[test]
fn the_documents_link_to_what_is_there() {
    let mut documents = vec![root().join("fuzz/README.md")];
    files(&root().join("docs"), "md", &mut documents);
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    documents.extend(top.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    assert!(documents.len() > 8, "{documents:?}");
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with('#') || link.contains(' ') {
                continue;
            }
            let path = document.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(path.exists(), "{}: {link}", document.display());
        }
    }
}

/// What the map of the code names is there: files, folders, and functions and types written as `Type::function`.
#[test]
fn the_map_of_the_code_names_what_is_there() {
    let mut sources = Vec::new();
    for folder in ["src", "sdk/src", "proto/src", "tests/it"] {
        files(&root().join(folder), "rs", &mut sources);
    }
    let texts: Vec<String> = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let is_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
    let map = read("docs/architecture.md");
    // Drawings have no marks.
    let prose = map.split("```").step_by(2).flat_map(|part| part.split('`').skip(1).step_by(2));
    let (mut seen, mut wrong) = ([0; 3], Vec::new());
    for name in prose {
        let (kind, there) = if let Some((_, item)) = name.rsplit_once("::") {
            let defined = ["fn", "struct", "enum", "trait"].map(|word| format!("{word} {item}"));
            let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            let is = |text: &str| defined.iter().any(|def| text.split(def.as_str()).skip(1).any(ends));
            (0, texts.iter().any(|text| is(text)))
        } else if !name.chars().all(is_path) || name.ends_with('/') {
            continue;
        } else if Path::new(name).extension().is_some_and(|extension| extension == "rs") {
            (1, sources.iter().any(|path| path.ends_with(name)))
        } else if name.contains('/') {
            (2, ["", "src"].iter().any(|folder| root().join(folder).join(name).exists()))
        } else {
            continue;
        };
        seen[kind] += 1;
        if !there {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(seen.iter().all(|number| *number > 10), "{seen:?}");
}
