//! What a project's manifest says of its generated code.

use std::fs;

use super::{super::*, project};

const SHARED: &str = "syntax = \"proto3\";\npackage money;\nmessage Amount { int64 cents = 1; }\n";
const OWN: &str = "syntax = \"proto3\";\npackage shop;\nimport \"money/amount.proto\";\n\
    service Shop { rpc Price(money.Amount) returns (money.Amount); rpc Prices(money.Amount) returns (stream money.Amount); }\n";

/// A project that imports a file of a folder beside it.
fn sharing() -> tempfile::TempDir {
    let folder = project(&[("shop.proto", OWN)]);
    let shared = folder.path().join("shared/money");
    fs::create_dir_all(&shared).unwrap();
    fs::write(shared.join("amount.proto"), SHARED).unwrap();
    folder
}

fn manifest(folder: &tempfile::TempDir, options: &str) {
    let text = format!("[package]\nname = \"shop\"\n\n[package.metadata.micro]\n{options}\n");
    fs::write(folder.path().join("Cargo.toml"), text).unwrap();
}

#[test]
fn shared_files_are_found_in_the_folders_that_the_manifest_names() {
    let folder = sharing();
    let error = generate(folder.path()).unwrap_err().to_string();
    assert!(error.contains("`include` of `[package.metadata.micro]`"), "{error}");

    manifest(&folder, "include = [\"shared\"]");
    generate(folder.path()).unwrap();
    let generated = |name: &str| fs::read_to_string(folder.path().join("src/proto").join(name)).unwrap();
    assert!(generated("money.rs").contains("pub struct Amount"));
    assert!(generated("shop.rs").contains("super::money::Amount"));
    assert!(!generated("shop.rs").contains("is not implemented"));

    // An error there is told with the path that leads to it.
    fs::write(folder.path().join("shared/money/amount.proto"), "syntax = \"proto3\";\nmessage {").unwrap();
    let error = generate(folder.path()).unwrap_err().to_string();
    assert!(error.starts_with("shared/money/amount.proto:2:"), "{error}");
}

#[test]
fn a_partial_handler_answers_501_where_it_has_no_method() {
    let folder = sharing();
    manifest(&folder, "include = [\"shared\"]\npartial = true");
    generate(folder.path()).unwrap();
    let generated = fs::read_to_string(folder.path().join("src/proto/shop.rs")).unwrap();
    for method in ["Price", "Prices"] {
        assert!(generated.contains(&format!("\"Shop.{method} is not implemented\"")), "{generated}");
    }
}

#[test]
fn what_is_out_of_date_is_told_and_left_as_it_is() {
    let folder = sharing();
    manifest(&folder, "include = [\"shared\"]");
    let all = outdated(folder.path()).unwrap();
    assert!(!folder.path().join("src/proto").exists());
    generate(folder.path()).unwrap();
    assert_eq!(outdated(folder.path()).unwrap(), Vec::<PathBuf>::new());
    fs::write(folder.path().join("shared/money/amount.proto"), SHARED.replace("cents", "pence")).unwrap();
    let names: Vec<String> = (outdated(folder.path()).unwrap().iter())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["money.rs", "descriptors.bin"]);
    assert!(all.len() > names.len());
}

#[test]
fn the_code_of_packages_it_depends_on_is_kept_fresh_too() {
    let folder = sharing();
    manifest(&folder, "include = [\"shared\"]\n\n[dependencies]\nmoney = { path = \"money\" }");
    let money = folder.path().join("money");
    fs::create_dir_all(money.join("proto")).unwrap();
    fs::write(money.join("Cargo.toml"), "[package]\nname = \"money\"\n").unwrap();
    fs::write(money.join("proto/money.proto"), SHARED).unwrap();
    // One that never had generated code gets none.
    assert_eq!(refresh(folder.path()).unwrap(), Vec::<PathBuf>::new());
    generate(&money).unwrap();
    generate(folder.path()).unwrap();
    fs::write(money.join("proto/money.proto"), SHARED.replace("cents", "pence")).unwrap();
    let changed = refresh(folder.path()).unwrap();
    assert!(changed.iter().any(|path| path.ends_with("money/src/proto/money.rs")), "{changed:?}");
}
