//! Programs that do not build, do not start, do not register or do not answer, and names that
//! nobody may have: each ends in words, and in a status that says the same.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    faulty,
    support::{Home, Outcome, eventually, hello, outcome, project},
};

fn status(home: &Home, name: &str) -> Value {
    look(home, name).unwrap_or_else(|| panic!("no service {name} was run"))
}

/// The status of a service, if it was run already.
fn look(home: &Home, name: &str) -> Option<Value> {
    let outcome = home.run(["status", name, "-o", "json"]);
    if outcome.code == Some(5) {
        return None;
    }
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let mut services: Vec<Value> = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(services.len(), 1, "{outcome:#?}");
    Some(services.remove(0))
}

fn run_command(home: &Home, name: &str, command: &str) -> Outcome {
    home.run(["run", ".", "--name", name, "--command", command])
}

#[test]
fn a_folder_without_a_project_and_bad_names_are_refused() {
    let home = Home::new();
    fs::create_dir(home.path().join("empty")).unwrap();
    let said = home.fails(1, ["run", "empty"]);
    assert!(said.contains("no Cargo.toml") && said.contains("micro new"), "{said}");
    let said = home.fails(1, ["run", "nowhere"]);
    assert!(said.contains("there is no folder `nowhere`") && said.contains("micro new nowhere"), "{said}");
    assert!(home.fails(1, ["run", "github.com/micro/services/helloworld"]).contains("clone it"));
    for name in [
        "auth", "store", "api", "web", "proxy", "server", "Upper", "1st", "a_b", "-x", "a..b", "../up", "",
        "a/b",
    ] {
        // `--name=` for names that look like flags.
        let said = home.fails(2, ["run", ".", "--command", "true", &format!("--name={name}")]);
        assert!(said.contains("--name"), "{name}: {said}");
        // To `new` they may be paths.
        if !name.contains('/') {
            home.fails(2, ["new", "--", name]);
        }
    }
    let long = "a".repeat(300);
    home.fails(2, ["run", ".", "--command", "true", "--name", &long]);
    assert_eq!(home.ok(["status"]), "", "nothing of it was accepted");
    assert!(fs::read_dir(home.path()).unwrap().flatten().all(|e| e.file_name() != "auth"));
    for words in
        [["--instances", "-1"], ["--instances", "101"], ["--instances", "x"], ["--metadata", "source=x"]]
    {
        let said = home.run(["run", ".", "--name", "a", "--command", "true"].iter().chain(&words));
        assert!(matches!(said.code, Some(2 | 7)), "{words:?}: {said:#?}");
    }
    home.fails(5, ["kill", "nobody"]);
    home.fails(5, ["update", ".", "--name", "nobody"]);
}

#[test]
fn a_project_that_does_not_compile_shows_the_compilers_words() {
    let home = Home::new();
    let folder = project(&home, "broken", "fn main() { let x: u32 = \"text\"; }\n");
    let ended = outcome(home.command(["run", "."]).current_dir(&folder));
    assert_eq!(ended.code, Some(8), "{ended:#?}");
    for part in ["mismatched types", "src/main.rs:1", "then `micro run` it again"] {
        assert!(ended.stderr.contains(part), "{part} in {ended:#?}");
    }
    let shown = home.ok(["status", "broken"]);
    assert!(shown.contains("failed") && shown.contains("mismatched types"), "{shown}");
    assert!(home.ok(["status"]).contains("failed"));
    let ended = outcome(home.command(["run", "."]).current_dir(&folder));
    assert_eq!(ended.code, Some(8), "again: {ended:#?}");

    // A manifest that is none, and a project without a program, are refused and leave what there was.
    fs::write(folder.join("Cargo.toml"), "nonsense").unwrap();
    let ended = outcome(home.command(["run", "."]).current_dir(&folder));
    assert!(ended.code == Some(7) && ended.stderr.contains("Cargo.toml"), "{ended:#?}");
    let library = project(&home, "library", "");
    fs::rename(library.join("src/main.rs"), library.join("src/lib.rs")).unwrap();
    let ended = outcome(home.command(["run", "."]).current_dir(&library));
    assert!(ended.code == Some(7) && ended.stderr.contains("has no program"), "{ended:#?}");
    home.fails(5, ["status", "library"]);
    home.ok(["kill", "broken"]);
    home.fails(5, ["status", "broken"]);
}

#[test]
fn a_program_that_exits_at_once_fails_with_its_last_words() {
    let home = Home::new();
    fs::write(home.path().join("exit.sh"), "echo starting; echo 'no database' >&2; exit 3").unwrap();
    let ended = run_command(&home, "exits", "sh exit.sh");
    assert_eq!(ended.code, Some(8), "{ended:#?}");
    assert!(ended.stderr.contains("no database") && ended.stderr.contains('3'), "{ended:#?}");
    let seen = status(&home, "exits");
    assert_eq!(seen["status"], "failed", "{seen}");
    assert_eq!(seen["metadata"]["restarts"], "4", "five quick failures are final: {seen}");
    let starts = home.ok(["logs", "exits"]).lines().filter(|line| *line == "starting").count();
    assert_eq!(starts, 5);

    let ended = run_command(&home, "absent", "/no/such/program");
    assert_eq!(ended.code, Some(8), "{ended:#?}");
    assert!(ended.stderr.contains("/no/such/program"), "{ended:#?}");
    // One that ended well has ended, too.
    let ended = run_command(&home, "quiet", "true");
    assert_eq!(ended.code, Some(8), "{ended:#?}");
    // It can be mended.
    faulty::run(&home, &[]);
    assert!(home.ok(["status"]).contains("running"));
}

#[test]
fn a_program_that_never_registers_or_never_answers_fails_in_time() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let start = |name: &str, command: &str| {
        let mut command = home.command(["run", ".", "--name", name, "--command", command]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let silent = start("silent", "sh -c 'echo thinking; exec sleep 1000'");
    // The other one is registered, and its address accepts connections; nobody reads them.
    let deaf = start("deaf", "sleep 1000");
    eventually("its process to run", || look(&home, "deaf").filter(|seen| seen["status"] == "starting"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let node = json!({"name": "deaf", "version": "latest", "nodes": [{"id": "deaf-1", "address": address}]});
    home.ok(["call", "registry", "Registry.Register", &node.to_string()]);
    for (name, child, words) in
        [("silent", silent, "did not register within 30 s"), ("deaf", deaf, "did not answer within")]
    {
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(8), "{name}: {said}");
        assert!(said.contains(words), "{name}: {said}");
        assert_eq!(status(&home, name)["status"], "failed");
    }
    assert!(home.ok(["status", "silent"]).contains("thinking"), "its last lines are shown");
}

#[test]
fn calls_go_past_an_instance_that_hangs_and_none_waits_for_a_service_that_does() {
    let home = Home::new();
    faulty::run(&home, &["--instances", "2"]);
    let pid = || {
        let answer: Value =
            serde_json::from_str(&home.ok(["helloworld", "call", "--name=pid", "-o", "raw"])).unwrap();
        answer["msg"].as_str().unwrap().to_owned()
    };
    let one = pid();
    let other = eventually("the other one to answer", || Some(pid()).filter(|pid| *pid != one));
    let signal = |name: &str, pid: &str| {
        assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
    };
    let hurried = ["helloworld", "call", "--name=Jane", "--timeout=500ms"];
    signal("-STOP", &one);
    signal("-STOP", &other);
    let seen = eventually("it to be called unhealthy", || {
        let said = home.run(hurried).stderr;
        let seen = status(&home, "helloworld");
        (seen["status"] == "unhealthy" && said.contains("is unhealthy")).then_some(seen)
    });
    assert!(seen["metadata"]["error"].as_str().unwrap().contains("did not answer"), "{seen}");
    // At once, not when a deadline has passed.
    assert!(home.fails(8, hurried).contains("helloworld is unhealthy"));
    let (code, body) = home.http("/helloworld/Call?name=Jane");
    assert!(code == 503 && body.contains("helloworld is unhealthy"), "{code} {body}");
    signal("-CONT", &one);
    eventually("the one to be called again", || (home.run(hurried).code == Some(0)).then_some(()));
    for _ in 0..4 {
        assert_eq!(pid(), one, "calls go past the one that hangs");
    }
    signal("-CONT", &other);
    eventually("it to be well again", || (status(&home, "helloworld")["status"] == "running").then_some(()));
    assert_eq!(home.ok(["helloworld", "call", "--name=Jane"]), hello("Jane"));
}

/// A project named `slow`, whose build goes on until it is stopped.
fn endless(home: &Home) -> PathBuf {
    let folder = project(home, "slow", "fn main() {}\n");
    let build = "fn main() { println!(\"cargo::warning=building\"); loop { std::thread::park(); } }\n";
    fs::write(folder.join("build.rs"), build).unwrap();
    folder
}

#[test]
fn a_run_that_is_not_waited_for_returns_while_the_build_goes_on() {
    let home = Home::new();
    let folder = endless(&home);
    home.ok(["server", "start"]);
    let run = outcome(home.command(["run", ".", "--detach"]).current_dir(&folder));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), "slow was accepted; see `micro status slow`\n"));
    eventually("the build script to run", || script(&home).then_some(()));
    assert_eq!(status(&home, "slow")["status"], "building");
    home.ok(["kill", "slow"]);
    eventually("the whole build to end", || (!script(&home)).then_some(()));
    home.fails(5, ["status", "slow"]);
}

#[test]
fn a_build_can_be_killed_and_two_services_start_at_once() {
    let home = Home::new();
    let slow = endless(&home);
    home.ok(["server", "start"]);
    let mut waiting = home.command(["run", "."]);
    let waiting = waiting.current_dir(&slow).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    eventually("the build script to run", || script(&home).then_some(()));
    assert_eq!(status(&home, "slow")["status"], "building");
    home.ok(["kill", "slow"]);
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(8));
    eventually("the whole build to end", || (!script(&home)).then_some(()));
    home.fails(5, ["status", "slow"]);

    let command = faulty::program().display().to_string();
    let start = |name: &str| {
        let mut command = home.command(["run", ".", "--name", name, "--command", &command]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [("one", start("one")), ("two", start("two"))];
    for (name, child) in both {
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{name}: {}", String::from_utf8_lossy(&ended.stderr));
        let path = format!("/{name}/helloworld/call?name=Jane");
        assert_eq!(home.http(&path), (200, "{\"msg\":\"Hello Jane\"}".to_owned()));
    }
}

/// Whether the build script of this home's project runs.
fn script(home: &Home) -> bool {
    let mark = home.path().as_os_str().as_encoded_bytes();
    fs::read_dir("/proc").unwrap().flatten().any(|process| {
        fs::read(process.path().join("cmdline")).is_ok_and(|line| {
            line.windows(mark.len()).any(|part| part == mark)
                && line.windows(12).any(|part| part == b"build-script")
        })
    })
}

#[test]
fn an_answer_that_is_too_large_is_told_with_what_to_do_and_one_that_is_large_as_json_arrives() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let said = home.fails(7, ["helloworld", "call", "--name=large"]);
    let words = ["Helloworld.Call answers with 200000", "at most 16777216", "as a stream", "as a blob"];
    for word in words {
        assert!(said.contains(word), "no {word} in {said}");
    }
    let raw = home.ok(["helloworld", "call", "--name=wide", "-o", "raw"]);
    let answer: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(answer["msg"].as_str().unwrap().len(), 3_000_000);
    let said = home.fails(7, ["helloworld", "call", "--name=panic"]);
    assert!(said.contains("the handler of Helloworld.Call panicked"), "{said}");
    assert!(
        home.ok(["logs", "helloworld"])
            .contains("the handler of Helloworld.Call panicked: the handler gave up")
    );
}
