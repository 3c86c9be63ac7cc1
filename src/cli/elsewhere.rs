//! Names that comparable tools (Docker, Compose, Kubernetes, Dapr, Encore, Cargo, Git) have for what
//! is called otherwise here, for people who type them. An entry goes when its command comes.

/// What is typed elsewhere, and the command here.
const COMMANDS: [(&str, &str); 55] = [
    ("add", "new"),
    ("apply", "run"),
    ("attach", "logs -f"),
    ("build", "run"),
    ("completions", "completion"),
    ("context", "env"),
    ("create", "new"),
    ("ctx", "env"),
    ("curl", "call"),
    ("daemon", "server"),
    ("delete", "kill"),
    ("deploy", "run"),
    ("describe", "get service"),
    ("destroy", "kill"),
    ("dev", "run"),
    ("down", "kill"),
    ("exec", "call"),
    ("generate", "gen"),
    ("health", "status"),
    ("info", "get service"),
    ("init", "new"),
    ("inspect", "get service"),
    ("invoke", "call"),
    ("kv", "store"),
    ("list", "services"),
    ("log", "logs"),
    ("ls", "services"),
    ("namespace", "user config set namespace"),
    ("ns", "user config set namespace"),
    ("proto", "gen"),
    ("ps", "status"),
    ("publish", "call broker Broker.Publish"),
    ("query", "call"),
    ("register", "run"),
    ("remove", "kill"),
    ("request", "call"),
    ("restart", "update"),
    ("rm", "kill"),
    ("scaffold", "new"),
    ("scale", "run --instances=2"),
    ("secret", "config set --secret"),
    ("secrets", "config set --secret"),
    ("serve", "server"),
    ("service", "get service"),
    ("shutdown", "server stop"),
    ("start", "run"),
    ("stop", "kill"),
    ("subscribe", "stream"),
    ("tail", "logs -f"),
    ("test", "run"),
    ("token", "user token"),
    ("top", "status"),
    ("up", "run"),
    ("version", "--version"),
    ("whoami", "user"),
];

/// What Micro v4 has programs of its own for (`micro api`, `micro proxy`, `micro web`), and what stands in their
/// place here.
const PARTS: [(&str, &str); 3] = [
    ("api", "the HTTP API is a part of `micro server`, at localhost:8080 unless told otherwise"),
    ("proxy", "the gRPC proxy is a part of `micro server`, at localhost:8081 unless told otherwise"),
    (
        "web",
        "there are no web pages; web clients call the HTTP API, a part of `micro server`, at localhost:8080 unless told otherwise",
    ),
];

/// What to type for a name that other tools have, as a hint.
pub(super) fn hint(name: &str) -> Option<String> {
    let found = |table: &[(&'static str, &'static str)]| {
        table.iter().find(|(elsewhere, _)| name.eq_ignore_ascii_case(elsewhere)).map(|(_, here)| *here)
    };
    match found(&PARTS) {
        Some(part) => Some(format!("{part}; see `micro server status`")),
        None => found(&COMMANDS).map(instead),
    }
}

/// The command that may have been meant, as a hint.
pub(super) fn instead(command: &str) -> String {
    format!("did you mean `micro {command}`?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands;

    #[test]
    fn each_entry_leads_to_a_command_and_is_none_itself() {
        assert!(COMMANDS.is_sorted(), "sorted, so that none stands twice unseen");
        let root = commands::tree();
        for (elsewhere, here) in COMMANDS {
            assert!(root.find_subcommand(elsewhere).is_none(), "`{elsewhere}` is a command by now");
            let line = ["micro"].into_iter().chain(here.split(' '));
            // Arguments may be missing; the words themselves have to be known.
            let parsed = commands::tree().allow_external_subcommands(false).try_get_matches_from(line);
            if let Err(error) = parsed {
                use clap::error::ErrorKind::{
                    DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion, MissingRequiredArgument,
                };
                let missing =
                    [MissingRequiredArgument, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion];
                assert!(missing.contains(&error.kind()), "`micro {here}`: {error}");
            }
        }
        assert_eq!(hint("PS").as_deref(), Some("did you mean `micro status`?"));
        assert!(PARTS.iter().all(|(part, _)| root.find_subcommand(part).is_none()));
    }
}
