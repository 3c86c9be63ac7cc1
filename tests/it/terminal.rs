//! Commands on a terminal: what they ask for, and what they show while they wait.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

use crate::support::{Home, eventually};

/// A command with a terminal of its own.
struct Terminal {
    /// The side of whoever sits before it.
    person: File,
    /// The side of the command.
    side: OwnedFd,
    screen: Arc<Mutex<Vec<u8>>>,
    command: Child,
}

impl Terminal {
    fn start(command: &mut Command) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::<u8>::new()).unwrap();
        let side = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let stdio = || Stdio::from(side.try_clone().unwrap());
        let command = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();

        let person = File::from(person);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, seen) = (person.try_clone().unwrap(), screen.clone());
        // Ends with the other side.
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                seen.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self { person, side, screen, command }
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    fn modes(&self) -> LocalModes {
        tcgetattr(&self.side).unwrap().local_modes
    }

    /// Waits until this stands on the screen.
    fn shows(&self, text: &str) {
        eventually(&format!("the terminal to show `{text}`"), || self.screen().contains(text).then_some(()));
    }

    /// Waits until this is asked and the answer is awaited: what is typed is not echoed any more.
    fn asks(&self, prompt: &str) {
        eventually(&format!("the terminal to ask `{prompt}`"), || {
            (self.screen().contains(prompt) && !self.modes().contains(LocalModes::ECHO)).then_some(())
        });
    }

    fn types(&mut self, text: &str) {
        self.person.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the end of the command.
    fn ends(&mut self) -> ExitStatus {
        eventually("the command to end", || self.command.try_wait().unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that still asks would ask for ever.
        drop(self.command.kill());
        drop(self.command.wait());
    }
}

#[test]
fn a_login_asks_for_the_name_and_for_a_password_that_is_not_shown() {
    let home = Home::new();
    home.ok(["server", "start"]);
    for (password, code, words) in
        [("not-the-password", 4, "error: no account admin"), ("micro", 0, "Successfully logged in.")]
    {
        let mut terminal = Terminal::start(&mut home.command(["login"]));
        terminal.asks("Enter username");
        terminal.types("admin\r");
        terminal.asks("Enter password");
        terminal.types(&format!("{password}\r"));
        assert_eq!(terminal.ends().code(), Some(code), "{}", terminal.screen());
        terminal.shows(words);
        let screen = terminal.screen();
        assert!(screen.contains("admin") && !screen.contains(password), "{screen:?}");
        let as_before = LocalModes::ECHO | LocalModes::ICANON;
        assert!(terminal.modes().contains(as_before), "the terminal is left in another mode");
    }
    assert_eq!(home.ok(["user"]), "admin\n");
    assert_eq!(home.ok(["user", "token"]).matches('.').count(), 2);
}

#[test]
fn what_is_given_by_a_flag_is_not_asked_for_and_yes_asks_nothing() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let mut terminal = Terminal::start(&mut home.command(["login", "--username", "admin"]));
    terminal.asks("Enter password");
    assert!(!terminal.screen().contains("Enter username"), "{}", terminal.screen());
    terminal.types("micro\r");
    assert_eq!(terminal.ends().code(), Some(0), "{}", terminal.screen());

    let mut terminal = Terminal::start(&mut home.command(["--yes", "login"]));
    assert_eq!(terminal.ends().code(), Some(2));
    terminal.shows("--username is missing");
}

#[test]
fn a_run_shows_what_it_waits_for_and_clears_it_away() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let mut command = home.command(["run", ".", "--name", "slow", "--command", "sleep 1000"]);
    let mut terminal = Terminal::start(command.env("TERM", "xterm"));
    terminal.shows("slow: starting");
    home.ok(["kill", "slow"]);
    assert_eq!(terminal.ends().code(), Some(8), "{}", terminal.screen());
    terminal.shows("slow was stopped");
    // A line that is cleared begins anew; the words stand alone on the last one.
    let screen = terminal.screen();
    let (spinner, words) = screen.rsplit_once("\u{1b}[2K").unwrap();
    assert!(spinner.contains("slow: starting") && !words.contains("slow: starting"), "{screen:?}");
}

#[test]
fn what_others_wrote_does_nothing_to_the_terminal_and_pipes_carry_the_truth() {
    const TITLE: &str = "\u{1b}]0;owned\u{7}";
    const TEXT: &str = "\u{1b}[2J\u{9b}31m\u{202e}gpj\u{7f}";
    let home = Home::new();
    home.ok(["server", "start"]);
    let evil = format!("{TITLE}{TEXT}");
    let shop = serde_json::json!({
        "name": "shop", "version": "1", "metadata": {"note": evil},
        "nodes": [{"id": "1", "address": "127.0.0.1:1", "metadata": {"note": evil}}],
        "endpoints": [{
            "name": "Shop.Buy", "metadata": {"description": evil},
            "request": {"name": "BuyRequest", "type": "BuyRequest", "values": [{"name": "what", "type": evil}]},
        }],
        "options": {"ttl": "600"},
    });
    home.ok(["call", "registry", "Registry.Register", &shop.to_string()]);
    let script = format!("printf '%s\\n' '{evil}'; exec sleep 1000");
    let command = format!("sh -c \"{script}\"");
    home.ok(["run", ".", "--name", "loud", "--command", &command, "--detach"]);
    eventually("the line to be logged", || home.ok(["logs", "loud"]).contains("owned").then_some(()));
    home.ok(["config", "set", "note", &serde_json::Value::from(evil.as_str()).to_string()]);
    home.ok(["store", "write", "note", &evil]);

    for words in [
        &["get", "service", "shop"][..],
        &["-o", "json", "get", "service", "shop"],
        &["shop", "--help"],
        &["shop", "buy", "--help"],
        &["shop", "buy", "--what=1"],
        &["shop", &evil],
        &["call", "shop", &evil],
        &["logs", "loud"],
        &["-o", "json", "logs", "loud"],
        &["status", "loud"],
        &["config", "get", "note"],
        &["-o", "jsonl", "config", "list"],
        &["store", "read", "note"],
        &["-o", "json", "store", "read", "note"],
    ] {
        let mut terminal = Terminal::start(home.command(words).env("TERM", "xterm"));
        terminal.ends();
        let marker = "the end is seen";
        terminal.person.flush().unwrap();
        rustix::io::write(&terminal.side, marker.as_bytes()).unwrap();
        terminal.shows(marker);
        let screen = terminal.screen();
        for harm in ["\u{1b}]0;", "\u{1b}[2J", "\u{9b}", "\u{202e}", "\u{7f}", "\u{7}"] {
            assert!(!screen.contains(harm), "{words:?} writes {harm:?}: {screen:?}");
        }
    }
    assert_eq!(home.ok(["logs", "loud", "-n", "1"]), format!("{evil}\n"));
    assert_eq!(home.ok(["store", "read", "note"]), format!("{evil}\n"));
    assert_eq!(home.ok(["config", "get", "note"]), format!("{evil}\n"));
    let mut terminal = Terminal::start(&mut home.command(["-o", "raw", "store", "read", "note"]));
    terminal.ends();
    terminal.shows(TITLE);
}
