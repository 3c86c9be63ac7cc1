//! `micro update`: by name from anywhere, with another number of instances, and without a build
//! where nothing is built.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    faulty,
    support::{Home, eventually, outcome, project},
};

/// What the greeting of a service answers to a name.
fn answer(home: &Home, service: &str, name: &str) -> String {
    let request = format!("{{\"name\": \"{name}\"}}");
    let answer = home.ok(["call", service, "Helloworld.Call", &request, "-o", "json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["msg"].as_str().unwrap().to_owned()
}

/// Waits until two processes answer, and the status says so.
fn two_instances(home: &Home, service: &str) {
    eventually("two instances to run", || {
        (home.status(service)["metadata"]["instances"] == "2/2").then_some(())
    });
    let mut seen = BTreeSet::new();
    eventually("both to answer", || {
        seen.insert(answer(home, service, "pid"));
        (seen.len() == 2).then_some(())
    });
}

/// A project named `shop` that is built in a moment: its program becomes the one that is built for
/// all tests, and a variable tells the release it was.
fn release(home: &Home, number: u32) -> PathBuf {
    let program = format!(
        "use std::{{os::unix::process::CommandExt, process::Command}};\n\n\
         fn main() {{\n    panic!(\"{{}}\", Command::new({:?}).env(\"RELEASE\", \"{number}\").exec());\n}}\n",
        faulty::program().to_str().unwrap()
    );
    project(home, "shop", &program)
}

#[test]
fn a_service_is_updated_by_its_name_from_anywhere() {
    let home = Home::new();
    let folder = release(&home, 1);
    home.ok_in(&folder, ["run", "."]);
    let runs = |number: u32| {
        let line = format!("RELEASE={number}");
        answer(&home, "shop", "variables").lines().any(|variable| variable == line)
    };
    assert!(runs(1));

    // The folder is remembered; here is none of that name.
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    release(&home, 2);
    home.ok_in(&elsewhere, ["update", "shop", "--instances", "2"]);
    eventually("the old release to leave", || (0..4).all(|_| runs(2)).then_some(()));
    two_instances(&home, "shop");
    let source = home.status("shop")["source"].as_str().unwrap().to_owned();
    assert_eq!(Path::new(&source), fs::canonicalize(&folder).unwrap());

    // The number of instances stays until another one is asked for.
    release(&home, 3);
    home.ok_in(&elsewhere, ["update", "shop@latest"]);
    eventually("the old release to leave", || (0..4).all(|_| runs(3)).then_some(()));
    two_instances(&home, "shop");
}

#[test]
fn what_runs_by_a_command_is_updated_without_generating_or_building_anything() {
    let home = Home::new();
    home.ok(["new", "helloworld"]);
    let folder = home.path().join("helloworld");
    // What a build would stumble over, and what would be generated anew before it.
    fs::write(folder.join("src/main.rs"), "this does not compile").unwrap();
    fs::remove_dir_all(folder.join(".cargo")).unwrap();
    let contract = folder.join("proto/helloworld.proto");
    let text = fs::read_to_string(&contract).unwrap();
    assert!(text.contains("// Who is to be greeted."), "{text}");
    fs::write(&contract, text.replace("// Who is to be greeted.", "// Whoever is greeted.")).unwrap();
    let generated = || fs::read(folder.join("src/proto/helloworld.rs")).unwrap();
    let before = generated();

    home.ok_in(&folder, ["run", ".", "--command", faulty::program().to_str().unwrap()]);
    home.ok_in(&folder, ["update", "."]);
    home.ok_in(&folder, ["update", "helloworld", "--instances", "2"]);
    two_instances(&home, "helloworld");
    assert!(generated() == before, "code was generated");
    assert!(!folder.join(".cargo").exists(), "the way to the SDK was restored");
    let targets = home.path().join("home/cache/targets");
    assert_eq!(fs::read_dir(targets).unwrap().count(), 0, "something was built");
}

#[test]
fn what_an_update_names_is_changed_and_all_else_stays() {
    let home = Home::new();
    faulty::run(&home, &["--env_vars", "ONE=1", "--env_vars", "TWO=2", "--metadata", "team=a"]);
    home.ok([
        "update",
        "helloworld",
        "--env_vars",
        "TWO=zwei",
        "--env_vars",
        "THREE=3",
        "--restart",
        "ended",
    ]);
    let variables = || answer(&home, "helloworld", "variables");
    eventually("the new process to answer", || variables().contains("TWO=zwei").then_some(()));
    let now = variables();
    for line in ["ONE=1", "TWO=zwei", "THREE=3"] {
        assert!(now.lines().any(|variable| variable == line), "no {line} in {now}");
    }
    let metadata = &home.status("helloworld")["metadata"];
    assert_eq!((&metadata["team"], &metadata["restart"]), (&json!("a"), &json!("ended")));
    home.fails(2, ["update", "helloworld", "--env_vars", "no pair"]);
    home.fails(2, ["update", "helloworld", "--restart", "sometimes"]);
}

#[test]
fn more_instances_are_started_though_the_new_build_fails() {
    let home = Home::new();
    let folder = release(&home, 1);
    home.ok_in(&folder, ["run", "."]);
    fs::write(folder.join("src/main.rs"), "this does not compile").unwrap();
    let update = outcome(home.command(["update", ".", "-i", "2"]).current_dir(&folder));
    assert_eq!(update.code, Some(8), "{update:?}");
    two_instances(&home, "shop");
    let seen = home.status("shop");
    assert!(seen["metadata"]["error"].as_str().unwrap().contains("build failed"), "{seen}");
}

#[test]
fn more_than_a_program_can_be_given_is_refused_before_it_is_tried() {
    let home = Home::new();
    let request = |name: &str, options: &Value, metadata: usize| {
        let service = json!({"name": name, "version": "latest", "source": home.path(),
            "metadata": {"note": "m".repeat(metadata)}});
        let request = json!({"resource": {"service": service}, "options": options}).to_string();
        fs::write(home.path().join("request.json"), request).unwrap();
    };
    let variables = |first: char, count: usize, size: usize| -> Vec<String> {
        (0..count).map(|number| format!("{first}{number}={}", "x".repeat(size))).collect()
    };
    let create = ["runtime", "create", "--json", "@request.json"];
    for (options, metadata, said) in [
        (
            json!({"command": ["sleep", "1000"], "env": variables('A', 1, 140_000)}),
            0,
            "at most 131071 in one",
        ),
        (json!({"command": ["sleep", "x".repeat(140_000)]}), 0, "at most 131071 in one"),
        (json!({"command": ["sleep", "1000"], "env": variables('A', 9, 100_000)}), 200_000, "the limit is"),
        (json!({"command": ["sleep", "1000"], "env": ["A=b\0c"]}), 0, "no variable of the form NAME=value"),
        (json!({"command": ["sleep", "1000"], "env": ["=b"]}), 0, "no variable of the form NAME=value"),
    ] {
        request("large", &options, metadata);
        let refused = home.fails(7, create);
        assert!(refused.contains(said), "{refused}");
    }
    assert_eq!(home.ok(["status"]), "", "what was refused leaves nothing");

    // What is added by and by counts together.
    request("large", &json!({"command": ["sleep", "1000"], "env": variables('A', 7, 100_000)}), 0);
    home.ok(create);
    request("large", &json!({"env": variables('B', 5, 100_000)}), 0);
    let refused = home.fails(7, ["runtime", "update", "--json", "@request.json"]);
    assert!(refused.contains("at most 1048576 are possible"), "{refused}");
    assert_eq!(home.status("large")["restarts"], 0);
}
