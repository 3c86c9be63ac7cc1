//! From an error to what the user is told, the next command to type, and the exit code.

use std::{ffi::OsString, io};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use micro_sdk::{Error, Kind, Origin};
use thiserror::Error as ThisError;

use crate::{names::BLOCKS, private, server::RunsAlready};

use super::dynamic;

/// The exit codes, a documented promise.
pub(crate) mod exit {
    /// All went well.
    pub(crate) const OK: u8 = 0;
    /// It failed.
    pub(crate) const FAILED: u8 = 1;
    /// The command line is wrong.
    pub(crate) const USAGE: u8 = 2;
    /// The server cannot be reached.
    pub(crate) const UNREACHABLE: u8 = 3;
    /// Not logged in, or not allowed.
    pub(crate) const NOT_ALLOWED: u8 = 4;
    /// No such service, endpoint or key.
    pub(crate) const NOT_FOUND: u8 = 5;
    /// It took too long.
    pub(crate) const TIMED_OUT: u8 = 6;
    /// The service answered with an error.
    pub(crate) const SERVICE_ERROR: u8 = 7;
    /// A service does not run: its build or its process failed, ended meanwhile, or it was stopped.
    pub(crate) const ENDED_BADLY: u8 = 8;
    /// Interrupted by Ctrl-C.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// A failure that knows its exit code, and perhaps what to do.
#[derive(Debug, ThisError)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What a failed command says and returns.
pub(crate) struct Verdict {
    pub(crate) code: u8,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// Judges an error; none when the reader of our output has gone, which is no failure.
pub(crate) fn judge(error: &anyhow::Error) -> Option<Verdict> {
    if error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
    {
        return None;
    }
    let (code, hint) = classify(error);
    Some(Verdict { code, message: format!("{error:#}"), hint })
}

fn classify(error: &anyhow::Error) -> (u8, Option<String>) {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return (failure.code, failure.hint.clone());
        }
        if let Some(error) = cause.downcast_ref::<Error>() {
            return of_wire(error);
        }
        if let Some(error) = cause.downcast_ref::<dynamic::Error>() {
            let code = match error {
                dynamic::Error::NotFound { .. } => exit::NOT_FOUND,
                dynamic::Error::Usage { .. } => exit::USAGE,
                dynamic::Error::Read { .. } => exit::FAILED,
            };
            return (code, error.hint().map(str::to_owned));
        }
        if cause.downcast_ref::<io::Error>().is_some_and(private::is_full) {
            return (exit::FAILED, Some("free some disk space, then try again".to_owned()));
        }
        if cause.is::<RunsAlready>() {
            let hint = "see `micro server status`; end it with `micro server stop`";
            return (exit::FAILED, Some(hint.to_owned()));
        }
    }
    (exit::FAILED, None)
}

/// What a word that is no subcommand of a command is told (reference: the words of Micro v4).
pub(crate) fn unknown_subcommand(error: &clap::Error) -> Option<Failure> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        // The nearest one comes last.
        Some(ContextValue::Strings(texts)) => texts.last().cloned(),
        Some(ContextValue::StyledStr(text)) => Some(text.to_string()),
        _ => None,
    };
    let word =
        text(ContextKind::InvalidSubcommand).filter(|_| error.kind() == ErrorKind::InvalidSubcommand)?;
    // Nothing else in the error says which command it was.
    let usage = text(ContextKind::Usage)?;
    let words = usage.split_whitespace().skip_while(|word| *word != "micro");
    let words: Vec<&str> = words.take_while(|word| !word.starts_with(['[', '<'])).collect();
    let command = words.join(" ");
    let message =
        format!("Unrecognized subcommand for {command}: {word}. Please refer to '{command} --help'");
    let failure = Failure::usage(message);
    Some(match text(ContextKind::SuggestedSubcommand) {
        Some(near) => failure.hint(format!("did you mean `{command} {near}`?")),
        None => failure,
    })
}

/// Nobody knows the service.
pub(crate) fn is_not_registered(error: &Error) -> bool {
    error.code == 404 && error.detail.contains("route not found")
}

/// The server knows the service, which does not run now; it says why.
pub(crate) fn is_not_running(error: &Error) -> bool {
    error.code == 503 && error.id == "micro.runtime"
}

/// The connection to the server could not be made, or broke: no server has put its name to it.
fn is_unreachable(error: &Error) -> bool {
    error.origin() == Origin::Client && matches!(error.kind(), Kind::Unreachable | Kind::Unavailable)
}

/// How a value that begins with `-`, and so was taken for a flag, is given.
pub(crate) fn hyphen(error: &clap::Error, line: impl Iterator<Item = String>) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::UnknownArgument) {
        return None;
    }
    let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else { return None };
    let named = named.split([' ', '=']).next().unwrap_or(named);
    let words: Vec<String> = line.collect();
    let found = words.windows(2).find(|pair| {
        let taken_for_flag = pair[1].len() > 1 && pair[1].starts_with('-');
        let flag = pair[0].starts_with("--") && pair[0].len() > 2 && !pair[0].contains('=');
        flag && taken_for_flag && (pair[0] == named || pair[1].starts_with(named))
    });
    found.map(|pair| format!("a value that begins with `-` is given as `{}={}`", pair[0], pair[1]))
}

/// How a field of a request is set that has the name of a flag of every command, which was given a wrong value.
pub(crate) fn field(error: &clap::Error, line: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else { return None };
    let long = named.split([' ', '=', '[']).next().and_then(|flag| flag.strip_prefix("--"))?;
    // The value may come from a variable.
    let is_typed = line.iter().filter_map(|word| word.to_str()?.strip_prefix("--")).any(|word| {
        let (name, _) = word.split_once('=').unwrap_or((word, ""));
        name == long
    });
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => format!("={value}"),
        _ => String::new(),
    };
    let field = dynamic::escaped(long);
    is_typed.then(|| {
        format!("`--{long}` is a flag of every command; a field `{long}` of the request is set with `--{field}{value}`")
    })
}

/// The platform says so itself, not a service behind it.
fn is_platform(error: &Error) -> bool {
    let first = error.id.split('.').next().unwrap_or_default();
    first.is_empty() || first == "micro" || BLOCKS.contains(&first)
}

fn of_wire(error: &Error) -> (u8, Option<String>) {
    match error.code {
        // What a service of the user's says is its own affair.
        401 | 403 if !is_platform(error) => (exit::SERVICE_ERROR, None),
        401 => (
            exit::NOT_ALLOWED,
            Some("log in with `micro login`; on your own machine `micro login --local` is enough".to_owned()),
        ),
        403 => (exit::NOT_ALLOWED, Some("see who you are with `micro user`".to_owned())),
        404 if is_not_registered(error) => {
            (exit::NOT_FOUND, Some("list what runs with `micro services`".to_owned()))
        }
        404 if error.id.starts_with("runtime.") => {
            (exit::NOT_FOUND, Some("see what was run with `micro status`".to_owned()))
        }
        404 if error.id.starts_with("registry.") => {
            (exit::NOT_FOUND, Some("list what runs with `micro services`".to_owned()))
        }
        404 if error.id.starts_with("config.") => {
            (exit::NOT_FOUND, Some("see what there is with `micro config list`".to_owned()))
        }
        404 if is_platform(error) => (exit::NOT_FOUND, None),
        501 if error.detail.starts_with("unknown service ") => (exit::NOT_FOUND, None),
        429 => (exit::NOT_ALLOWED, None),
        408 => (exit::TIMED_OUT, Some("allow more time with `--timeout 2m`".to_owned())),
        503 if is_not_running(error) => (exit::ENDED_BADLY, None),
        _ if is_unreachable(error) => (
            exit::UNREACHABLE,
            Some("see `micro server status`, or `micro env` for where this goes".to_owned()),
        ),
        _ => (exit::SERVICE_ERROR, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(error: impl Into<anyhow::Error>) -> Option<u8> {
        judge(&error.into()).map(|verdict| verdict.code)
    }

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        for (error, expected) in [
            (Error::unauthorized("x"), 4),
            (Error::forbidden("x"), 4),
            (Error::unauthorized("x").with_id("auth.Auth.Token"), 4),
            (Error::forbidden("not your order").with_id("orders.Orders.Get"), 7),
            (Error::not_found("service a: route not found"), 5),
            (Error::not_found("x").with_id("registry.Registry.GetService"), 5),
            (Error::not_found("no such order").with_id("orders.Orders.Get"), 7),
            (Error::timeout("x"), 6),
            (Error::unavailable("cannot connect to 127.0.0.1:1").with_id("micro.client"), 3),
            (Error::unavailable("the connection to localhost broke: closed").with_id("micro.client"), 3),
            (Error::internal("the connection broke: stream error received").with_id("micro.client"), 3),
            // What the server says of a service, or one of another, is no word about the server.
            (Error::unavailable("a ended (exited with code 3)").with_id("micro.runtime"), 8),
            (Error::unavailable("a closed the connection: it broke: x").with_id("micro.network"), 7),
            (Error::unavailable("cannot connect to the bank").with_id("orders.Orders.Pay"), 7),
            (Error::internal("x"), 7),
        ] {
            assert_eq!(code(error.clone()), Some(expected), "{error:?}");
        }
        assert_eq!(code(Failure::usage("x")), Some(2));
        assert_eq!(code(anyhow::anyhow!("x")), Some(1));
    }

    #[test]
    fn a_value_that_begins_with_a_hyphen_is_shown_with_an_equals_sign() {
        for (line, hint) in [
            (&["run", "--name", "-x"][..], Some("`--name=-x`")),
            (&["run", "--name", "--zzz"], Some("`--name=--zzz`")),
            (&["run", "--name", "a", "-x"], None),
            (&["run", "--instances", "many"], None),
        ] {
            let command = crate::cli::commands::tree();
            let error = command.try_get_matches_from(["micro"].iter().chain(line)).unwrap_err();
            let said = hyphen(&error, line.iter().map(ToString::to_string));
            assert_eq!(said.is_some(), hint.is_some(), "{line:?}: {said:?} {error}");
            assert!(hint.is_none_or(|hint| said.unwrap().contains(hint)), "{line:?}");
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert_eq!(code(std::io::Error::from(std::io::ErrorKind::BrokenPipe)), None);
    }
}
