//! Completion as people use it: keys pressed in the real bash, zsh and fish.

use std::{fs, path::Path, process::Command};

use crate::{
    pty::Terminal,
    support::{Home, eventually, not_run, outcome},
};

/// An interactive shell. Ctrl-X appends the line that is being typed to a file.
struct Shell<'a> {
    home: &'a Home,
    terminal: Terminal,
}

impl<'a> Shell<'a> {
    /// A shell without anybody's settings, started by these words, in which these lines are run.
    fn start(home: &'a Home, words: &[&str], lines: &[String]) -> Self {
        let mut command = home.shell("true", "");
        let path = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path).unwrap();
        let path = path.to_owned();
        command = home.program("setsid");
        command.arg("--ctty").args(words).env("PATH", path).env("TERM", "xterm").env("PS1", "> ");
        command
            .env("XDG_CONFIG_HOME", home.path().join("shell"))
            .env("XDG_DATA_HOME", home.path().join("data"));
        let mut shell = Self { home, terminal: Terminal::start(&mut command) };
        for line in lines {
            shell.terminal.types(&format!("{line}\r"));
        }
        // Printed in two parts, so that the echo of the line is not taken for its output.
        shell.terminal.types("printf '%s%s\\n' rea dy\r");
        shell.terminal.shows("ready");
        shell
    }

    fn bash(home: &'a Home) -> Self {
        let dump = r#"bind -x '"\C-x": printf "%s\n" "$READLINE_LINE" >> dumped'"#.to_owned();
        let source = format!("source '{}'", script("bash").display());
        Self::start(home, &["bash", "--noprofile", "--norc", "-i"], &[dump, source])
    }

    fn zsh(home: &'a Home, load: &str) -> Self {
        let dump = r#"dump() { print -r -- "$BUFFER" >> dumped }; zle -N dump; bindkey '^X' dump"#.to_owned();
        Self::start(home, &["zsh", "-f", "-i"], &[dump, load.to_owned()])
    }

    fn fish(home: &'a Home, load: &str) -> Self {
        let dump = r"bind \cx 'commandline >> dumped'".to_owned();
        Self::start(home, &["fish", "-i"], &[dump, load.to_owned()])
    }

    /// What stands on the line after these keys, which are then taken back.
    fn line_after(&mut self, keys: &str) -> String {
        let file = self.home.path().join("dumped");
        drop(fs::remove_file(&file));
        self.terminal.types(&format!("{keys}\u{18}"));
        let what = format!("the line after {keys:?}: {}", self.terminal.screen());
        let line = eventually(&what, || fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n')));
        // Ctrl-U clears the line, in fish and bash up to the cursor, which stands at its end.
        self.terminal.types("\u{15}");
        line.trim_end_matches('\n').trim_end().to_owned()
    }
}

fn script(shell: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(format!("micro.{shell}"))
}

/// Whether the shells are there; in CI they have to be.
fn installed() -> bool {
    let made = outcome(&mut Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/shells")));
    if made.code == Some(0) {
        return true;
    }
    not_run(&format!("scripts/shells failed: {}", made.stderr));
    false
}

/// A home with a server, a service whose names want care, and files to be named.
fn prepared() -> Home {
    let home = Home::new();
    home.ok(["server", "start"]);
    let registered = serde_json::json!({
        "name": "shop:eu", "version": "1", "nodes": [{"id": "1", "address": "127.0.0.1:1"}],
        "endpoints": [
            {"name": "Shop.$(touch${IFS}owned)"},
            {"name": "Shop.Buy", "request": {"name": "R", "values": [{"name": "amount", "type": "int64"}]}},
        ],
        "options": {"ttl": "600"},
    });
    home.ok(["call", "registry", "Registry.Register", &registered.to_string()]);
    fs::create_dir_all(home.path().join("my folder/inner")).unwrap();
    fs::write(home.path().join("mine.json"), "{}").unwrap();
    // So that they are offered from the first key press on, however busy the machine is.
    home.ok(["services"]);
    home.fails(2, ["shop:eu", "shop", "buy", "--amount=x"]);
    home
}

/// Keys, and the line they have to make in each shell. Blanks at the end do not count.
const LINES: [(&str, &str); 12] = [
    ("micro serve\t", "micro server"),
    ("micro server sta\t", "micro server sta"),
    ("micro --env=lo\t", "micro --env=local"),
    ("micro -e lo\t", "micro -e local"),
    ("micro nope ser\t", "micro nope ser"),
    ("micro shop:e\t", "micro shop:eu"),
    ("micro call shop:\t", "micro call shop:eu"),
    ("micro shop:eu shop buy --amo\t", "micro shop:eu shop buy --amount"),
    ("micro store write k @min\t", "micro store write k @mine.json"),
    ("micro shop:eu shop buy --json @min\t", "micro shop:eu shop buy --json @mine.json"),
    ("micro shop:eu shop buy --json=@min\t", "micro shop:eu shop buy --json=@mine.json"),
    ("micro run my\t", r"micro run my\ folder/"),
];

#[test]
fn bash_completes() {
    if !installed() {
        return;
    }
    let home = prepared();
    let mut bash = Shell::bash(&home);
    for (keys, line) in LINES {
        assert_eq!(bash.line_after(keys), line, "{}", bash.terminal.screen());
    }
    for (keys, line) in [
        ("micro run \"my f\t", "micro run \"my folder/\""),
        ("micro run my\\ folder/in\t", r"micro run my\ folder/inner/"),
        ("micro call shop:eu Shop.$\t", r"micro call shop:eu Shop.\$\(touch\$\{IFS\}owned\)"),
        ("micro -o=js\t", "micro -o=json"),
        ("FOO=1 micro --env=lo\t", "FOO=1 micro --env=local"),
    ] {
        assert_eq!(bash.line_after(keys), line, "{}", bash.terminal.screen());
    }
    assert!(!home.path().join("owned").exists());
}

#[test]
fn zsh_completes_from_the_first_key_press_on() {
    if !installed() {
        return;
    }
    let home = prepared();
    let folder = home.path().join("functions");
    fs::create_dir(&folder).unwrap();
    fs::copy(script("zsh"), folder.join("_micro")).unwrap();
    let found = format!("fpath=({} $fpath); autoload -Uz compinit; compinit -u -D", folder.display());
    let sourced = format!("autoload -Uz compinit; compinit -u -D; source {}", script("zsh").display());
    for load in [found, sourced] {
        let mut zsh = Shell::zsh(&home, &load);
        for (keys, line) in LINES {
            assert_eq!(zsh.line_after(keys), line, "{}", zsh.terminal.screen());
        }
        let line = zsh.line_after("micro call shop:eu Shop.\\$\t");
        assert_eq!(line, r"micro call shop:eu Shop.\$\(touch\$\{IFS\}owned\)");
    }
    assert!(!home.path().join("owned").exists());
}

#[test]
fn fish_completes_micro_and_not_the_editor_of_that_name() {
    if !installed() {
        return;
    }
    let home = prepared();
    // As Debian ships them for the editor.
    let shipped = home.path().join("data/vendor_completions.d");
    fs::create_dir_all(&shipped).unwrap();
    fs::create_dir_all(home.path().join("shell/fish/completions")).unwrap();
    let sourced = format!("source {}", script("fish").display());
    fs::copy(script("fish"), home.path().join("shell/fish/completions/micro.fish")).unwrap();
    for load in ["true".to_owned(), sourced] {
        let mut fish = Shell::fish(&home, &load);
        for (keys, line) in LINES {
            assert_eq!(fish.line_after(keys), line, "{}", fish.terminal.screen());
        }
        let line = fish.line_after("micro call shop:eu Shop.\\$\t");
        assert_eq!(line, r"micro call shop:eu Shop.\$\(touch\$\{IFS\}owned\)");
        // The editor has an option -plugin, micro has none.
        assert_eq!(fish.line_after("micro -plug\t"), "micro -plug");
        drop(fs::remove_file(home.path().join("shell/fish/completions/micro.fish")));
    }
    assert!(!home.path().join("owned").exists());
}
