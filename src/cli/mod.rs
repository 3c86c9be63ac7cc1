//! The command line: words in, calls to the server, words out. A command is a file with its
//! arguments (the doc comments are its help) and a `run`, a `mod` here and a line in [`commands`].

mod arrival;
mod auth;
mod call;
mod clean;
mod commands;
mod completion;
mod config;
mod context;
mod discover;
mod dynamic;
mod elsewhere;
mod env;
mod failure;
mod generate;
mod get;
mod given;
mod invoke;
mod json;
mod kill;
mod known;
mod login;
mod logout;
mod logs;
mod new;
mod pairs;
mod quickstart;
mod run;
mod server;
mod services;
mod source;
mod status;
mod store;
mod stream;
mod ui;
mod update;
mod user;

/// What is fuzzed here.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz {
    pub(crate) use super::{dynamic::fuzz::words, ui::harmless::fuzz::terminal};
}

use std::{mem::ManuallyDrop, path::PathBuf, process::ExitCode, time::Duration};

use clap::{
    ArgMatches, Args, FromArgMatches as _, Parser, builder::StyledStr, error::ErrorKind, parser::ValueSource,
};
use commands::Command;
use context::{Context, Sources};
use failure::exit;
use ui::{Output, Ui};

use crate::paths::Home;

/// Build, run, discover, call and observe services, with nothing else to install.
///
/// Begin with `micro quickstart`, or with `micro new helloworld`, `cd helloworld`, `micro run .`.
///
/// A word that is no command is a service: `micro helloworld call --name=Jane` calls it,
/// `micro helloworld --help` shows what it can be asked.
#[derive(Parser)]
#[command(
    name = "micro",
    version,
    propagate_version = false,
    max_term_width = 100,
    arg_required_else_help = false
)]
#[command(disable_help_subcommand = false, subcommand_required = false)]
#[command(
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 server unreachable, 4 not allowed, 5 not found, \
    6 timed out, 7 the service answered with an error, 8 a build failed or a service does not run, 130 interrupted."
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
}

/// The flags of every command; they may stand anywhere.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct Globals {
    /// The environment to go to (see `micro env`).
    #[arg(short, long, global = true, value_name = "NAME", env = "MICRO_ENV", hide_env_values = true)]
    #[arg(add = completion::environments())]
    env: Option<String>,
    /// The namespace to work in.
    #[arg(short, long, global = true, value_name = "NAME", env = "MICRO_NAMESPACE", hide_env_values = true)]
    namespace: Option<String>,
    /// How data is printed: table, json, jsonl or raw.
    #[arg(short, long, global = true, value_enum, default_value = "table", value_name = "FORM")]
    #[arg(env = "MICRO_OUTPUT", hide_env_values = true, hide_possible_values = true)]
    output: Output,
    /// Say nothing but data and errors.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say where calls go, and as whom.
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Print without colours.
    #[arg(long, global = true)]
    no_color: bool,
    /// How long a call may take, such as 500ms or 2m.
    #[arg(long, global = true, value_name = "DURATION", default_value = "60s", value_parser = timeout)]
    timeout: Duration,
    /// Whether that was asked for.
    #[arg(skip)]
    timeout_given: bool,
    /// Ask nothing; take the default of each question.
    #[arg(short, long, global = true)]
    yes: bool,
    /// Another configuration file.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "MICRO_CONFIG_FILE",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
}

impl Globals {
    /// Reads them.
    ///
    /// # Errors
    /// One has a wrong value.
    fn of(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let timeout_given = matches.value_source("timeout") == Some(ValueSource::CommandLine);
        Ok(Self { timeout_given, ..Self::from_arg_matches(matches)? })
    }
}

/// A duration as flags take it.
///
/// # Errors
/// The words of the refusal.
fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "expected a number with a unit, such as 500ms, 90s or 2h".to_owned())
}

/// A time to wait, longer than nothing.
fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        parsed => parsed,
    }
}

/// The flags of every command whose source is told, each with its variable.
const SOURCES: [(&str, &str); 5] = [
    ("env", "MICRO_ENV"),
    ("namespace", "MICRO_NAMESPACE"),
    ("output", "MICRO_OUTPUT"),
    ("timeout", ""),
    ("config", "MICRO_CONFIG_FILE"),
];

/// Parses the command line, runs it, and returns its exit code.
pub(crate) fn main() -> ExitCode {
    if let Some(code) = completion::answer() {
        return code;
    }
    ui::set_colors(false);
    let line = invoke::help_of_service(std::env::args_os().collect());
    // The program may end before it is taken apart piece by piece.
    let mut tree = ManuallyDrop::new(commands::tree_for(&line[1.min(line.len())..]));
    let parsed = tree.try_get_matches_from_mut(&line).and_then(|matches| {
        let sources = Sources::of_matches(&matches, &SOURCES);
        Ok((Globals::of(&matches)?, Command::of(&matches)?, sources))
    });
    let (globals, command, sources) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    ui::set_colors(globals.no_color);
    let Some(command) = command else {
        ui::fail(
            "No command provided to micro. Please refer to 'micro --help'",
            Some("begin with `micro quickstart`"),
        );
        return exit::USAGE.into();
    };
    // clap leaves the words of a service unparsed: the global flags are picked out of them.
    let globals = match &command {
        Command::Dynamic(_) => match invoke::globals(line.iter().skip(1).cloned()) {
            Ok(globals) => globals,
            Err(error) => {
                let code = usage(&error);
                if let Some(hint) = failure::field(&error, &line) {
                    ui::hint(&hint);
                }
                return code;
            }
        },
        _ => globals,
    };
    match execute(command, globals, sources) {
        Ok(()) => exit::OK.into(),
        Err(error) => match error.downcast_ref::<clap::Error>() {
            Some(error) => usage(error),
            None => report(&error),
        },
    }
}

fn execute(command: Command, globals: Globals, sources: Sources) -> anyhow::Result<()> {
    let serves = matches!(&command, Command::Server(server) if server.in_foreground());
    let runtime = if serves {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    }?;
    let ui = Ui { output: globals.output, quiet: globals.quiet, verbose: globals.verbose, yes: globals.yes };
    let chosen = (globals.env, globals.namespace);
    let mut cx =
        Context::new(Home::find()?, ui, chosen, globals.timeout, globals.config).with_sources(sources);
    for path in cx.home.secure()? {
        cx.ui.warn(format_args!("other users could write to `{}`: it is closed to them now", path.display()));
    }
    cx.limit = globals.timeout_given.then_some(globals.timeout);
    let goes_on = matches!(&command, Command::Run(_) | Command::Update(_));
    let result = runtime.block_on(async {
        if serves {
            return command.run(&cx).await;
        }
        tokio::select! {
            result = command.run(&cx) => result,
            _ = tokio::signal::ctrl_c() => {
                let interrupted = failure::Failure::new(exit::INTERRUPTED, "interrupted");
                let hint = "the server goes on with it: see `micro status`, end it with `micro kill NAME`";
                Err(if goes_on { interrupted.hint(hint) } else { interrupted }.into())
            }
        }
    });
    // A thread that waits for standard input would keep the program from ending.
    runtime.shutdown_background();
    result
}

fn report(error: &anyhow::Error) -> ExitCode {
    let Some(verdict) = failure::judge(error) else { return exit::OK.into() };
    ui::fail(verdict.message, verdict.hint.as_deref());
    verdict.code.into()
}

/// What clap prints, with what the standard library says of numbers in words for people.
fn in_plain_words(error: &clap::Error) -> StyledStr {
    let rendered = error.render();
    let text = rendered.ansi().to_string();
    let words = [
        ("invalid digit found in string", "expected a whole number, such as 10"),
        ("cannot parse integer from empty string", "expected a whole number, such as 10"),
        ("number too large to fit in target type", "the number is too large"),
        ("number too small to fit in target type", "the number is too small"),
    ];
    match words.into_iter().find(|(said, _)| text.contains(said)) {
        Some((said, plain)) => text.replace(said, plain).into(),
        None => rendered,
    }
}

/// Help and versions are data; what is wrong with the command line is not.
fn usage(error: &clap::Error) -> ExitCode {
    let code = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => exit::OK,
        _ => exit::USAGE,
    };
    if let Some(unknown) = failure::unknown_subcommand(error) {
        ui::fail(unknown.message, unknown.hint.as_deref());
        return unknown.code.into();
    }
    // In one piece: clap itself would write line by line.
    ui::text(&in_plain_words(error), error.use_stderr());
    if error.use_stderr()
        && let Some(hint) = failure::hyphen(error, std::env::args().skip(1))
    {
        ui::hint(&hint);
    }
    code.into()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        commands::tree().debug_assert();
    }

    #[test]
    fn flags_of_every_command_are_reserved_in_dynamic_commands() {
        let cli = commands::root();
        let globals = cli.get_arguments().filter(|argument| argument.is_global_set());
        for long in globals.filter_map(|argument| argument.get_long()) {
            assert!(dynamic::RESERVED.contains(&long), "{long} is not in RESERVED");
        }
    }

    /// The flags of every command in a line, read as the program reads them.
    fn parsed(line: &[&str]) -> Globals {
        let line: Vec<OsString> = line.iter().map(OsString::from).collect();
        Globals::of(&commands::tree_for(&line[1..]).try_get_matches_from(&line).unwrap()).unwrap()
    }

    #[test]
    fn flags_of_every_command_may_stand_anywhere() {
        for words in [
            ["micro", "-e", "x", "logs", "a", "-n", "3"],
            ["micro", "logs", "-e", "x", "a", "-n", "3"],
            ["micro", "logs", "a", "-n", "3", "-e", "x"],
        ] {
            let globals = parsed(&words);
            assert_eq!((globals.env.as_deref(), globals.namespace), (Some("x"), None));
        }
        assert_eq!(parsed(&["micro", "logs", "a", "--namespace", "shop"]).namespace.as_deref(), Some("shop"));
    }
}
