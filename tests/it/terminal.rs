//! Commands on a terminal: what they ask for, and what they show while they wait.

use rustix::termios::LocalModes;

use crate::{
    pty::Terminal,
    support::{Home, eventually, outcome},
};

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
fn long_help_on_a_terminal_goes_through_the_pager() {
    let home = Home::new();
    let shows = |words: &[&str], pager: Option<&str>, kind: &str| {
        let mut command = home.command(words);
        command.env("TERM", kind).env("NO_COLOR", "1").env_remove("MICRO_PAGER");
        if let Some(pager) = pager {
            command.env("MICRO_PAGER", pager);
        }
        let mut terminal = Terminal::start(command.env("PAGER", "sed 's/^/PAGED /'"));
        assert_eq!(terminal.ends().code(), Some(0), "{}", terminal.screen());
        terminal.is_read_whole();
        terminal.screen()
    };
    let long = &["server", "--help"][..];
    assert!(shows(long, None, "xterm").contains("PAGED Usage: micro server"));
    assert!(shows(long, Some("sed 's/^/OURS /'"), "xterm").contains("OURS Usage: micro server"));
    for (words, pager, kind) in [
        // One that is not there, none that is wanted, no terminal to turn pages on, nothing to turn.
        (long, Some("no-such-pager"), "xterm"),
        (long, Some("cat"), "xterm"),
        (long, Some(""), "xterm"),
        (long, None, "dumb"),
        (&["env", "get"], None, "xterm"),
    ] {
        let screen = shows(words, pager, kind);
        assert!(!screen.contains("PAGED"), "{words:?} {pager:?} {kind}: {screen}");
        assert!(screen.contains(if words == long { "Usage: micro server" } else { "local" }), "{screen}");
    }
    // What a pager does not read to its end is no failure.
    assert!(shows(long, Some("head -n 1"), "xterm").contains("Run the server"));
    // A pipe gets the text itself.
    let mut command = home.command(long);
    let piped = outcome(command.env("TERM", "xterm").env("MICRO_PAGER", "sed 's/^/PAGED /'"));
    assert!(piped.stdout.contains("\nUsage: micro server"), "{piped:#?}");
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
        terminal.is_read_whole();
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
