//! `scripts/install.sh` as people use it: from a clone, and piped into a shell. Cargo is stood in for by a
//! script that notes what it is asked and installs the program under test: a build for people takes minutes.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{BINARY, Home, Outcome, not_run, outcome};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install.sh")
}

/// A machine with this home and these programs on its PATH, beside the system's.
struct Machine {
    home: Home,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { home: Home::new() };
        let cargo = format!(
            "#!/bin/sh\n\
             echo \"$*\" >>\"$NOTES\"\n\
             while [ $# -gt 0 ]; do case $1 in --root) root=$2 ;; --path) path=$2 ;; esac; shift; done\n\
             head -n 1 \"$path/Cargo.toml\" >>\"$NOTES\"\n\
             mkdir -p \"$root/bin\" && ln -sf {BINARY} \"$root/bin/micro\"\n"
        );
        machine.program("cargo", &cargo);
        machine
    }

    fn programs(&self) -> PathBuf {
        self.home.path().join("programs")
    }

    fn program(&self, name: &str, text: &str) {
        fs::create_dir_all(self.programs()).unwrap();
        let path = self.programs().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn shell(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.program("sh");
        command.args(arguments);
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.programs().display());
        command.env("PATH", path).env("HOME", self.home.path()).env("NOTES", self.home.path().join("notes"));
        command.env("TMPDIR", self.temporary()).env_remove("CARGO_HOME");
        command
    }

    /// Where what is fetched is kept meanwhile.
    fn temporary(&self) -> PathBuf {
        let folder = self.home.path().join("temporary");
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Runs the script as `curl … | sh` does.
    fn piped(&self, arguments: &[&str], from: Option<&Path>) -> Outcome {
        let mut command = self.shell(&["-s", "--"]);
        command.args(arguments).stdin(File::open(script()).unwrap());
        if let Some(from) = from {
            command.env("MICRO_REPOSITORY", from);
        }
        outcome(&mut command)
    }

    /// What cargo was asked, and the first line of what it was to build.
    fn notes(&self) -> String {
        fs::read_to_string(self.home.path().join("notes")).unwrap_or_default()
    }

    /// A repository of which the tag `v1` and the default branch differ.
    fn repository(&self) -> Option<PathBuf> {
        let folder = self.home.path().join("origin");
        fs::create_dir(&folder).unwrap();
        let commit = |text: &str| {
            fs::write(folder.join("Cargo.toml"), text).unwrap();
            let words =
                "git init --quiet 2>&1 && git add . && git -c user.name=a -c user.email=a@b commit -qm .";
            outcome(self.home.program("sh").args(["-c", words]).current_dir(&folder))
        };
        if commit("# one\n").code != Some(0) {
            not_run("git is missing, or cannot make a repository");
            return None;
        }
        outcome(self.home.program("git").args(["tag", "v1"]).current_dir(&folder));
        commit("# two\n");
        Some(folder)
    }
}

#[test]
fn piped_into_a_shell_it_builds_the_repository_that_is_named() {
    let machine = Machine::new();
    let Some(origin) = machine.repository() else { return };
    let prefix = machine.home.path().join("prefix");
    let prefix = prefix.to_str().unwrap();

    let url = format!("file://{}", origin.display());
    let done = machine.piped(&["--from", &url, "--prefix", prefix, "--no-completions"], None);
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert!(done.stdout.contains(&format!("Fetching {url}.")), "{done:#?}");
    let notes = machine.notes();
    assert!(notes.contains("--profile release") && notes.ends_with("# two\n"), "{notes}");

    // The environment names it as well; a tag chooses what is built.
    let done =
        machine.piped(&["--tag", "v1", "--dist", "--prefix", prefix, "--no-completions"], Some(&origin));
    assert_eq!(done.code, Some(0), "{done:#?}");
    let notes = machine.notes();
    assert!(notes.contains("--profile dist") && notes.ends_with("# one\n"), "{notes}");
    assert!(Path::new(prefix).join("bin/micro").exists());
    assert_eq!(fs::read_dir(machine.temporary()).unwrap().count(), 0, "what was fetched is left behind");
}

#[test]
fn what_is_missing_is_named_with_the_remedy() {
    let machine = Machine::new();
    let none = machine.piped(&[], None);
    assert!(none.code == Some(1) && none.stderr.contains("name a repository: --from URL"), "{none:#?}");
    let gone = machine.home.path().join("gone");
    let gone = machine.piped(&[], Some(&gone));
    assert!(gone.code == Some(1) && gone.stderr.contains("git could not fetch"), "{gone:#?}");
    let wrong = machine.piped(&["--tag"], None);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("--tag needs the name"), "{wrong:#?}");
    assert_eq!(machine.notes(), "", "nothing was built");

    // Without git, which only a repository from elsewhere needs.
    for program in ["sh", "uname", "cc", "dirname", "mktemp", "head", "mkdir", "ln", "cat", "rm", "mv"] {
        let Ok(found) = which(program) else { continue };
        drop(std::os::unix::fs::symlink(found, machine.programs().join(program)));
    }
    let mut command = machine.shell(&["-s", "--", "--from", "https://example.com/micro"]);
    command.env("PATH", machine.programs()).stdin(File::open(script()).unwrap());
    let missing = outcome(&mut command);
    assert!(missing.code == Some(1) && missing.stderr.contains("git is missing"), "{missing:#?}");

    // Without make, which Linux alone needs; the script goes no further than to look whether git is there.
    if cfg!(target_os = "linux") {
        machine.program("git", "#!/bin/sh\nexit 1\n");
        command.stdin(File::open(script()).unwrap());
        let missing = outcome(&mut command);
        assert!(missing.code == Some(1) && missing.stderr.contains("make is missing"), "{missing:#?}");
    }
}

#[test]
fn a_clone_is_built_and_completions_are_installed() {
    let machine = Machine::new();
    let prefix = machine.home.path().join("prefix");
    let script = script();
    let done = outcome(&mut machine.shell(&[script.to_str().unwrap(), "--prefix", prefix.to_str().unwrap()]));
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert!(
        machine.notes().contains(&format!("--path {}", env!("CARGO_MANIFEST_DIR"))),
        "{}",
        machine.notes()
    );
    let bash = fs::read_to_string(prefix.join("share/bash-completion/completions/micro"));
    if which("bash").is_ok() {
        assert!(bash.unwrap().contains("micro"));
    }
    assert!(done.stdout.contains("Next:"), "{done:#?}");
}

/// Where the system has a program.
fn which(program: &str) -> Result<PathBuf, ()> {
    let folders = ["/usr/bin", "/bin", "/usr/local/bin"].iter();
    folders.map(|folder| Path::new(folder).join(program)).find(|path| path.exists()).ok_or(())
}
