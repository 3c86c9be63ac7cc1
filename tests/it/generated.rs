//! Generated files are what their sources say. With `MICRO_REGENERATE=1` they are written instead.

use std::{fs, path::Path, process::Command};

use crate::support::{Home, outcome};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is(path: &Path, content: &[u8]) {
    if std::env::var_os("MICRO_REGENERATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let present = fs::read(path).unwrap_or_default();
    assert!(present == content, "{} is out of date: run `scripts/generate`", path.display());
}

#[test]
fn the_contract_is_generated_from_its_proto_files() {
    for (path, content) in micro::contract(repository()).unwrap() {
        is(&repository().join(path), &content);
    }
}

#[test]
fn the_example_calls_the_service_of_the_scaffold_by_code_of_this_version() {
    let folder = tempfile::tempdir().unwrap();
    let micro = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_micro"));
        command.args(words).current_dir(folder.path()).env("MICRO_HOME", folder.path().join("home"));
        assert!(command.output().unwrap().status.success(), "{words:?}");
    };
    micro(&["new", "helloworld"]);
    let example = repository().join("sdk/examples/caller");
    let scaffold = folder.path().join("helloworld");
    let interface = fs::read(scaffold.join("proto/helloworld.proto")).unwrap();
    is(&example.join("proto/helloworld.proto"), &interface);
    for entry in fs::read_dir(scaffold.join("src/proto")).unwrap().map(Result::unwrap) {
        is(&example.join("src/proto").join(entry.file_name()), &fs::read(entry.path()).unwrap());
    }
}

#[test]
fn the_services_of_the_shop_have_the_code_of_this_version() {
    for service in ["catalog", "orders"] {
        let folder = repository().join("sdk/examples/shop").join(service);
        let home = Home::new();
        if std::env::var_os("MICRO_REGENERATE").is_some() {
            home.ok_in(&folder, ["gen"]);
        }
        assert_eq!(home.ok_in(&folder, ["gen", "--check"]), "");
    }
}

#[test]
fn code_that_is_out_of_date_is_told_by_a_check_that_changes_nothing() {
    let home = Home::new();
    home.ok(["new", "shop"]);
    let project = home.path().join("shop");
    home.ok_in(&project, ["gen", "--check"]);
    let proto = project.join("proto/shop.proto");
    let text = fs::read_to_string(&proto).unwrap().replace("string name", "string title");
    fs::write(&proto, text).unwrap();
    let mut command = home.command(["gen", "--check"]);
    let said = outcome(command.current_dir(&project));
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains("`src/proto/shop.rs`") && said.stderr.contains("hint: run `micro gen`"),
        "{said:#?}"
    );
    assert!(!fs::read_to_string(project.join("src/proto/shop.rs")).unwrap().contains("title"));
}

#[test]
fn a_wrong_interface_is_shown_with_its_place_and_changes_nothing() {
    let home = Home::new();
    home.ok(["new", "shop"]);
    let project = home.path().join("shop");
    let (file, code) = (project.join("proto/shop.proto"), project.join("src/proto/shop.rs"));
    let (good, generated) = (fs::read_to_string(&file).unwrap(), fs::read(&code).unwrap());
    for (text, place) in [
        (good.replace("string name = 1;", "strin name = 1;"), "proto/shop.proto:"),
        (good.replace("string name = 1;", "string name = 1; string other = 1;"), "proto/shop.proto:"),
        (good.replace("package shop;", "package shop; import \"no/such.proto\";"), "proto/shop.proto:"),
        (good.replace("package shop;", ""), "package"),
        ("message".to_owned(), "proto/shop.proto:1:"),
        ("\0\u{feff}".to_owned(), "proto/shop.proto"),
    ] {
        fs::write(&file, text).unwrap();
        for words in [["gen", "shop"], ["run", "shop"]] {
            let said = home.run(words);
            assert_eq!(said.code, Some(1), "{said:#?}");
            assert!(said.stderr.contains(place) && !said.stderr.contains("panicked"), "{place}: {said:#?}");
        }
        assert!(fs::read(&code).unwrap() == generated);
    }
}

#[test]
fn the_binary_prints_the_completion_scripts_it_was_built_with() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_micro")).args(["completion", shell]).output().unwrap();
        assert!(output.status.success());
        is(&repository().join(format!("completions/micro.{shell}")), &output.stdout);
    }
}
