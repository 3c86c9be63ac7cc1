//! Which module may name which. Lower layers know nothing of those above them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A module of the root crate, and the ones it may name. Neutral ones name nothing but each other.
const MAY_USE: &[(&str, &[&str])] = &[
    ("names", &[]),
    ("similar", &["names"]),
    ("sockets", &[]),
    ("tasks", &[]),
    ("paths", &["private"]),
    ("private", &[]),
    ("transcode", &["json", "similar"]),
    ("backlog", &[]),
    ("memory", &[]),
    ("weighed", &[]),
    ("editions", &[]),
    ("json", &[]),
    ("cargo", &[]),
    ("backend", &["tasks", "private", "weighed"]),
    ("supervisor", &["backlog", "cargo", "tasks", "private", "weighed"]),
    ("error", &["backend", "private", "supervisor"]),
    ("config", &["paths", "private"]),
    ("scaffold", &["cargo", "editions", "names", "paths", "private"]),
    (
        "services",
        &[
            "backlog",
            "editions",
            "backend",
            "error",
            "json",
            "supervisor",
            "tasks",
            "names",
            "paths",
            "private",
            "sockets",
        ],
    ),
    (
        "server",
        &[
            "services",
            "backend",
            "json",
            "supervisor",
            "transcode",
            "tasks",
            "names",
            "paths",
            "private",
            "sockets",
            "memory",
        ],
    ),
    ("cli", &["server", "config", "json", "paths", "private", "names", "scaffold", "similar", "transcode"]),
    ("fuzzing", &["cli", "config", "names", "scaffold", "server", "services", "sockets", "transcode"]),
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules of the crate that a text names: `crate::a`, and `crate::{a, b::c}`.
fn named(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for part in text.split("crate::").skip(1) {
        if let Some(group) = part.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (index, character) in group.char_indices() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && !c.is_whitespace() => {
                        names.push(word(&group[index..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            names.push(word(part));
        }
    }
    names
}

#[test]
fn modules_name_only_what_lies_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&source, &mut paths);
    let mut wrong = Vec::new();
    for path in paths {
        let within = path.strip_prefix(&source).unwrap();
        let module = within.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let (_, allowed) = MAY_USE
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("module `{module}` is not in the table of layers"));
        for name in named(&fs::read_to_string(&path).unwrap()) {
            let known = MAY_USE.iter().any(|(module, _)| *module == name);
            if known && name != module && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} names {name}", within.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn sql_stands_in_the_backend_alone() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&source, &mut paths);
    for path in paths.iter().filter(|path| !path.starts_with(source.join("backend"))) {
        assert!(!fs::read_to_string(path).unwrap().contains("sqlx"), "{} knows SQL", path.display());
    }
}
