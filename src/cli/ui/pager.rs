//! Long help on a terminal goes through the user's pager, as git's does.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    process::{Command, Stdio},
};

use console::Term;

/// What a shell answers for a program that is not there, or cannot be run.
const NOT_RUN: [i32; 2] = [126, 127];

/// Shows a text in the pager, on a terminal that has one; false if it is still to be printed.
pub(super) fn page(text: &str) -> bool {
    let plain = env::var("TERM").map_or(true, |kind| kind.is_empty() || kind == "dumb");
    if plain || !io::stdout().is_terminal() || text.lines().count() < usize::from(Term::stdout().size().0) {
        return false;
    }
    let chosen = ["MICRO_PAGER", "PAGER"].iter().find_map(|name| env::var(name).ok());
    let pager = chosen.unwrap_or_else(|| "less".to_owned());
    if matches!(pager.trim(), "" | "cat") {
        return false;
    }
    let mut command = Command::new("sh");
    command.args(["-c", &pager]).stdin(Stdio::piped());
    if env::var_os("LESS").is_none() {
        // It ends by itself when all fits on one screen, keeps colours, and leaves the text there.
        command.env("LESS", "FRX");
    }
    let Ok(mut child) = command.spawn() else { return false };
    if let Some(mut input) = child.stdin.take() {
        // Who has read enough closes it.
        drop(input.write_all(text.as_bytes()));
    }
    let ended = child.wait();
    !ended.is_ok_and(|status| status.code().is_some_and(|code| NOT_RUN.contains(&code)))
}
