//! The files of a new service, rendered in memory: nothing here touches the disk, so a template that fails
//! leaves nothing behind. The templates themselves stand in `templates/`, one folder each.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use include_dir::{Dir, DirEntry, File, include_dir};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig};

use super::names::Names;

/// What `micro new` writes. Paths and contents are templates; `.jinja` is taken off the end of a path.
static SERVICE: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates/service");

/// How a new package stands to a cargo workspace around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is no workspace around it.
    Alone,
    /// A member: profiles and the lock file belong to the workspace's root.
    Member,
    /// A root of its own, inside a workspace that does not take it.
    Root,
}

/// A file of a new service.
#[derive(Debug)]
pub(super) struct Rendered {
    /// Relative to the service's folder.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Renders every file of a service, sorted by path.
pub(super) fn render(names: &Names, standing: Standing) -> Result<Vec<Rendered>> {
    let environment = environment()?;
    let variables = context! {
        name => names.name.as_str(),
        title => names.title.as_str(),
        package => names.package.as_str(),
        crate_name => names.crate_name.as_str(),
        // As other crates, the program and the tests among them, name it.
        lib => names.crate_name.replace('-', "_"),
        sdk_version => compatible(env!("CARGO_PKG_VERSION")),
        rust_version => env!("CARGO_PKG_RUST_VERSION"),
        member => standing == Standing::Member,
        root => standing == Standing::Root,
    };
    let mut files = Vec::new();
    for file in files_of(&SERVICE) {
        let rendered = rendered(&environment, file, &variables)
            .with_context(|| format!("cannot render the template `{}`", file.path().display()))?;
        if !(standing == Standing::Member && rendered.path.as_os_str() == "Cargo.lock") {
            files.push(rendered);
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn environment() -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?;
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    Ok(environment)
}

fn rendered(environment: &Environment, file: &File, variables: &Value) -> Result<Rendered> {
    let path = file.path().to_str().context("its path is not UTF-8")?;
    let source = file.contents_utf8().context("it is not UTF-8")?;
    let path = environment.render_str(path, variables.clone())?;
    let path = path.strip_suffix(".jinja").unwrap_or(&path);
    let text = environment.render_str(source, variables.clone())?;
    Ok(Rendered { path: path.into(), text: if path == "Cargo.lock" { sorted(&text) } else { text } })
}

/// A lock file with its packages in the order of their names, as cargo insists on: where the new
/// package stands depends on its name.
fn sorted(lock: &str) -> String {
    const PACKAGE: &str = "[[package]]\n";
    let mut parts = lock.split(PACKAGE);
    let head = parts.next().unwrap_or_default();
    let mut packages: Vec<&str> = parts.map(str::trim_end).collect();
    packages.sort_by_key(|package| package.lines().next());
    let packages: Vec<String> = packages.iter().map(|package| format!("{PACKAGE}{package}\n")).collect();
    format!("{head}{}", packages.join("\n"))
}

/// Every file below `folder`, in no particular order.
pub(super) fn files_of<'a>(folder: &'a Dir<'a>) -> Vec<&'a File<'a>> {
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in folder.entries() {
            match entry {
                DirEntry::Dir(inner) => folders.push(inner),
                DirEntry::File(file) => files.push(file),
            }
        }
    }
    files
}

/// The shortest requirement that cargo reads as "compatible with `version`": `0.1` for 0.1.4, `2` for 2.3.1.
fn compatible(version: &str) -> &str {
    let mut dots = version.match_indices('.').map(|(index, _)| index);
    let major = dots.next().unwrap_or(version.len());
    if &version[..major] == "0" {
        &version[..dots.next().unwrap_or(version.len())]
    } else {
        &version[..major]
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::*;

    fn text_of(files: &[Rendered], path: &str) -> String {
        let file = files.iter().find(|file| file.path.as_os_str() == path);
        file.unwrap_or_else(|| panic!("no {path} in {files:?}")).text.clone()
    }

    fn service(name: &str, standing: Standing) -> Vec<Rendered> {
        render(&Names::new(name, &[]).unwrap(), standing).unwrap()
    }

    #[test]
    fn a_service_has_a_manifest_an_interface_a_program_and_a_page_to_read() {
        let files = service("shop.shopping-cart", Standing::Alone);
        let manifest = text_of(&files, "Cargo.toml");
        assert!(manifest.contains("name = \"shop-shopping-cart\"\n"), "{manifest}");
        assert!(manifest.contains("\n[profile.dev]\n"), "{manifest}");
        assert!(!manifest.contains("[workspace]"), "{manifest}");
        let interface = text_of(&files, "proto/shopshoppingcart.proto");
        assert!(interface.contains("\npackage shopshoppingcart;\n"), "{interface}");
        assert!(interface.contains("\nservice ShopShoppingCart {\n"), "{interface}");
        let program = text_of(&files, "src/main.rs");
        assert!(program.contains("Service::new(\"shop.shopping-cart\")"), "{program}");
        assert!(program.contains("shop_shopping_cart::service("), "{program}");
        assert!(text_of(&files, "src/lib.rs").contains("ShopShoppingCartServer::new(ShopShoppingCart)"));
        assert!(text_of(&files, "tests/service.rs").contains("shop_shopping_cart::proto::shopshoppingcart"));
        assert!(text_of(&files, "src/handler.rs").contains("impl shopshoppingcart::ShopShoppingCart for"));
        assert!(text_of(&files, "README.md").starts_with("# ShopShoppingCart\n"));
        assert_eq!(text_of(&files, ".gitignore"), "/target\n/.cargo/config.toml\n");
    }

    #[test]
    fn every_file_ends_with_one_line_break_and_has_no_tag_left_in_it() {
        for standing in [Standing::Alone, Standing::Member, Standing::Root] {
            for Rendered { path, text } in service("helloworld", standing) {
                assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{}", path.display());
                assert!(!text.contains("{%") && !text.contains("{{"), "{}", path.display());
                assert!(!path.to_str().unwrap().contains(['{', '}']), "{}", path.display());
            }
        }
    }

    #[test]
    fn a_member_leaves_profiles_and_the_lock_file_to_the_root_of_its_workspace() {
        let files = service("helloworld", Standing::Member);
        let manifest = text_of(&files, "Cargo.toml");
        assert!(!manifest.contains("[profile") && !manifest.contains("[workspace]"), "{manifest}");
        assert!(files.iter().all(|file| file.path.as_os_str() != "Cargo.lock"));
    }

    #[test]
    fn a_root_of_its_own_says_so_in_its_manifest() {
        let manifest = text_of(&service("helloworld", Standing::Root), "Cargo.toml");
        let document: toml_edit::DocumentMut = manifest.parse().unwrap();
        assert!(document["workspace"].as_table().unwrap().is_empty());
        assert!(document["profile"]["dev"]["debug"].is_str());
    }

    #[test]
    fn the_rust_files_are_as_rustfmt_would_write_them() {
        for name in ["ab", "helloworld", "shopping-cart", "abcdefghijklmnopqrstu"] {
            for Rendered { path, text } in service(name, Standing::Alone) {
                if path.extension().is_some_and(|extension| extension == "rs") {
                    assert_eq!(formatted(&text), text, "{name}: {}", path.display());
                }
            }
        }
    }

    /// What rustfmt makes of `text`, read from standard input so that it does not follow `mod`.
    fn formatted(text: &str) -> String {
        let mut rustfmt = Command::new("rustfmt")
            .args(["--edition", "2024"])
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        rustfmt.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = rustfmt.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_version_asked_of_the_sdk_is_what_cargo_calls_compatible() {
        for (version, asked) in [("0.1.4", "0.1"), ("2.3.1", "2"), ("0.12.0-rc.1", "0.12")] {
            assert_eq!(compatible(version), asked);
        }
    }
}
