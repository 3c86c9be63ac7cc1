//! The README's tour, typed as it stands there: what is printed is compared with what it shows,
//! with a real build of a real scaffold.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{Home, eventually, hello, outcome};

const README: &str = include_str!("../../README.md");

/// A command of the README, and what it is said to print.
struct Step {
    command: String,
    prints: String,
}

/// The console blocks under a heading, up to the next one.
fn blocks(heading: &str) -> Vec<Vec<Step>> {
    let (_, section) = README.split_once(heading).unwrap_or_else(|| panic!("no `{heading}`"));
    let section = section.split("\n##").next().unwrap();
    let blocks = section.split("```console\n").skip(1);
    blocks.map(|block| steps(block.split("```").next().unwrap())).collect()
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        if let Some(command) = line.trim_start().strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), prints: String::new() });
        } else if let Some(step) = steps.last_mut() {
            step.prints += &format!("{line}\n");
        }
    }
    steps
}

/// A text without what is another one each time: numbers, hashes, sockets, the width of columns.
fn masked(text: &str) -> String {
    let word = |word: &str| {
        if word.len() == 7 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return "<hash>".to_owned();
        }
        if word.starts_with("unix:/") {
            return "<socket>".to_owned();
        }
        let mut masked = String::new();
        for character in word.chars() {
            let character = if character.is_ascii_digit() { '0' } else { character };
            if character != '0' || !masked.ends_with('0') {
                masked.push(character);
            }
        }
        masked
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Somebody who types what the README says.
struct Reader<'a> {
    home: &'a Home,
    /// Where they are.
    folder: PathBuf,
}

impl Reader<'_> {
    /// Types a command: what it prints, words and data, and its exit code.
    fn types(&mut self, command: &str) -> (String, Option<i32>) {
        if let Some(folder) = command.strip_prefix("cd ") {
            self.folder.push(folder);
            return (String::new(), Some(0));
        }
        if let Some(path) = command.strip_prefix("curl \"http://localhost:8080") {
            return (self.home.http(path.trim_end_matches('"')).1, Some(0));
        }
        let mut shell = self.home.shell("sh", &format!("{{ {command}\n}} 2>&1"));
        let ended = outcome(shell.current_dir(&self.folder));
        let service = fs::canonicalize(&self.folder).unwrap();
        (ended.stdout.replace(&service.display().to_string(), "/home/jane/helloworld"), ended.code)
    }

    /// Takes a step, which has to print what it is said to; `...` stands for any lines.
    fn takes(&mut self, step: &Step) -> Option<i32> {
        let (printed, code) = self.types(&step.command);
        let (printed, prints) = (masked(&printed), masked(&step.prints));
        let same = match prints.split_once("\n...\n") {
            Some((start, end)) => printed.starts_with(start) && printed.ends_with(end),
            None => printed == prints,
        };
        assert!(same, "$ {}\n{printed}\n\nwhere the README shows\n{prints}", step.command);
        code
    }
}

/// Changes the greeting of a service.
fn greet(folder: &Path, greeting: &str) {
    let handler = folder.join("src/handler.rs");
    let text = fs::read_to_string(&handler).unwrap();
    let line = text.lines().find(|line| line.contains("msg: format!(")).unwrap();
    let changed = text.replacen(line, &format!("            msg: format!(\"{greeting}\", request.name),"), 1);
    fs::write(&handler, changed).unwrap();
}

#[test]
fn the_tour_prints_what_the_readme_shows() {
    let home = Home::new();
    let folder = home.path().join("helloworld");
    let mut reader = Reader { home: &home, folder: home.path().to_owned() };
    let tour = blocks("\n## The tour\n").remove(0);
    let end = tour.iter().position(|step| step.command == "micro kill helloworld").unwrap();
    for step in &tour[..end] {
        if step.command == "micro logs helloworld" {
            eventually("the call to stand in the log", || {
                home.ok(["logs", "helloworld"]).contains("received").then_some(())
            });
        }
        assert_eq!(reader.takes(step), Some(0), "{}", step.command);
    }
    assert_eq!(reader.folder, folder);
    assert_eq!(home.ok(["logs", "helloworld", "-n", "1"]).lines().count(), 1);
    assert!(home.ok(["services"]).contains("helloworld\n"));
    for step in &blocks("\n### Streams, help, near misses\n")[0] {
        reader.takes(step);
    }

    // A changed greeting: the old version serves until the new one is ready.
    let changes = blocks("\n### Change the greeting\n");
    let (good, broken) = (&changes[0], &changes[1]);
    greet(&folder, "Good morning, {}");
    for step in good {
        assert_eq!(reader.takes(step), Some(0), "{}", step.command);
    }
    // A build that fails leaves the old version serving, and shows the compiler's words.
    greet(&folder, "Good morning, {");
    assert_eq!(reader.takes(&broken[0]), Some(8));
    assert_eq!(
        home.ok(["helloworld", "call", "--name=Jane"]),
        hello("Jane").replace("Hello", "Good morning,")
    );
    assert!(home.ok(["status", "helloworld"]).contains("src/handler.rs:"));

    assert_eq!(reader.takes(&tour[end]), Some(0));
    assert_eq!(home.ok(["status"]), "");
    eventually("helloworld to leave the registry", || {
        (!home.ok(["services"]).contains("helloworld")).then_some(())
    });
    for step in &tour[end + 1..] {
        assert_eq!(reader.takes(step), Some(0), "{}", step.command);
    }
    home.fails(3, ["server", "status"]);
}

#[test]
fn config_and_store_behave_as_the_readme_shows() {
    for heading in ["\n## Config and secrets in ten lines\n", "\n## The store in ten lines\n"] {
        let home = Home::new();
        home.ok(["server", "start"]);
        fs::write(home.path().join("logo.png"), vec![0x89; 100_000]).unwrap();
        let mut reader = Reader { home: &home, folder: home.path().to_owned() };
        for step in &blocks(heading)[0] {
            assert_eq!(reader.takes(step), Some(0), "{}", step.command);
        }
        if let Ok(copy) = fs::read(home.path().join("copy.png")) {
            assert_eq!(copy, fs::read(home.path().join("logo.png")).unwrap());
        }
    }
}

#[test]
fn a_home_where_no_server_ever_ran_needs_neither_start_nor_login() {
    let home = Home::new();
    let outcome = home.run(["services"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.stderr.contains("started the micro server"), "{outcome:#?}");
    assert!(outcome.stdout.starts_with("auth\n"));
    home.run_helloworld();
    assert_eq!(home.ok(["helloworld", "call", "--name=Jane"]), hello("Jane"));
}
