//! Which program of a package runs, and what is refused before anything is compiled.

use std::{fs, path::Path};

use crate::support::{Home, eventually, outcome, project};

fn saying(text: &str) -> String {
    format!("fn main() {{ println!(\"I am {text}\"); loop {{ std::thread::park(); }} }}")
}

/// Adds a program to a package.
fn program(folder: &Path, name: &str) {
    fs::create_dir_all(folder.join("src/bin")).unwrap();
    fs::write(folder.join("src/bin").join(format!("{name}.rs")), saying(name)).unwrap();
}

fn says(home: &Home, count: usize, text: &str) {
    eventually(&format!("{count} times {text}"), || {
        let log = home.ok(["logs", "shop", "-n", "100"]);
        (log.matches(text).count() == count).then_some(())
    });
}

#[test]
fn of_several_programs_the_one_that_was_chosen_runs_also_after_a_restart() {
    let home = Home::new();
    let folder = project(&home, "shop", "");
    fs::remove_file(folder.join("src/main.rs")).unwrap();
    program(&folder, "one");
    program(&folder, "two");

    let said = home.run(["run", "shop", "--detach"]);
    assert_ne!(said.code, Some(0));
    for part in ["`shop` has several programs: one, two", "--bin one"] {
        assert!(said.stderr.contains(part), "{said:#?}");
    }
    assert!(home.run(["run", "shop", "--bin", "three", "--detach"]).stderr.contains("no program `three`"));
    home.fails(2, ["run", "shop", "--bin", "one", "--command", "true"]);
    assert_eq!(home.ok(["status"]), "", "what was refused leaves nothing");
    assert!(
        !home.path().join("home/cache/targets").exists() || is_empty(&home.path().join("home/cache/targets"))
    );

    home.ok(["run", "shop", "--bin", "two", "--detach"]);
    says(&home, 1, "I am two");
    home.ok(["server", "restart"]);
    says(&home, 2, "I am two");
    // A change of the source is built for the program that was chosen.
    fs::write(folder.join("src/bin/two.rs"), saying("two, changed")).unwrap();
    home.ok(["update", "shop", "--detach"]);
    says(&home, 1, "I am two, changed");
    let said = home.run(["update", "shop", "--bin", "three", "--detach"]);
    assert!(said.code != Some(0) && said.stderr.contains("it has: one, two"), "{said:#?}");
    home.ok(["update", "shop", "--bin", "one", "--detach"]);
    says(&home, 1, "I am one");
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn what_is_no_service_is_refused_before_it_is_compiled_and_leaves_nothing() {
    let home = Home::new();
    let library = project(&home, "library", "");
    fs::rename(library.join("src/main.rs"), library.join("src/lib.rs")).unwrap();
    let root = home.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
    for (folder, reason) in [("library", "has no program"), ("root", "run one of its members")] {
        let said = home.run(["run", folder]);
        assert!(said.code != Some(0) && said.stderr.contains(reason), "{said:#?}");
    }
    assert_eq!(home.ok(["status"]), "");
    assert!(!library.join("Cargo.lock").exists(), "cargo was not run");
}

#[test]
fn below_a_project_its_folder_is_named() {
    let home = Home::new();
    let shop = project(&home, "shop", "fn main() {}");
    let deep = shop.join("src/Not_A_Name");
    fs::create_dir_all(&deep).unwrap();
    let refused = |folder: &Path, words: &[&str], hint: &str| {
        let seen = outcome(home.command(words).current_dir(folder));
        assert!(seen.code != Some(0) && seen.stderr.contains(hint), "{words:?}: {seen:#?}");
    };
    refused(&shop.join("src"), &["run"], "`micro run ..`");
    refused(&deep, &["run", "."], "`micro run ../..`");
    refused(&deep, &["gen"], "`micro gen ../..`");
    refused(home.path(), &["run", "shop/src"], "/shop`");
    refused(home.path(), &["run"], "`micro new NAME`");
    assert!(!home.data().exists(), "a typing error has started a server");
    refused(&deep, &["update"], "`micro update ../..`");
}

#[test]
fn a_toolchain_that_has_to_be_downloaded_is_announced() {
    let home = Home::new();
    let folder = project(&home, "library", "");
    fs::rename(folder.join("src/main.rs"), folder.join("src/lib.rs")).unwrap();
    fs::write(folder.join("rust-toolchain.toml"), "[toolchain]\nchannel = \"1.80.0\"\n").unwrap();
    let rustup = home.path().join("rustup");
    fs::create_dir_all(rustup.join("toolchains")).unwrap();
    let run = || {
        let mut command = home.command(["run", "library"]);
        outcome(command.env_remove("RUSTUP_TOOLCHAIN").env("RUSTUP_HOME", &rustup)).stderr
    };
    let said = run();
    assert!(said.contains("the toolchain `1.80.0`") && said.contains("rust-toolchain.toml"), "{said}");
    fs::create_dir(rustup.join("toolchains/1.80.0-x86_64-unknown-linux-gnu")).unwrap();
    assert!(!run().contains("toolchain"));
}
