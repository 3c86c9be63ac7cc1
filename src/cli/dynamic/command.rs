//! A service as a [`clap::Command`]: for parsing, `--help` and completion alike.

use super::describe::{expected, summary, value_name};
use super::flags::{Flag, flags};
use super::schema::{Endpoint, Kind, Service};
use super::tree::{Place, places};
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::collections::HashSet;
use std::ffi::OsStr;

/// How clap knows `--json`.
pub(super) const JSON: &str = "request:json";

/// How clap knows `--header`.
pub(super) const HEADER: &str = "request:header";

/// Where `--help` lists what makes the request.
const HEADING: &str = "Request";

/// The command of `service`, named like it, to be put below the root. The global flags are the caller's.
pub(crate) fn command(service: &Service) -> Command {
    let mut command = level(&service.name, &service.about).subcommand_required(!service.endpoints.is_empty());
    if !service.version.is_empty() {
        command = command.version(service.version.clone()).display_name(service.name.clone());
    }
    let places = places(service);
    let mut taken: HashSet<Vec<String>> = places.iter().map(|place| place.path.clone()).collect();
    for place in &places {
        let [parents @ .., last] = place.path.as_slice() else { continue };
        let endpoint = endpoint(place.endpoint, last).aliases(aliases(place, parents, &mut taken));
        command = attach(command, parents, place.endpoint, endpoint);
    }
    command
}

/// The endpoint that clap found in the words after the service, and its own matches; none if they end at a handler.
pub(crate) fn matched<'a, 'm>(
    service: &'a Service,
    matches: &'m ArgMatches,
) -> Option<(&'a Endpoint, &'m ArgMatches)> {
    let mut path = Vec::new();
    let mut matches = matches;
    while let Some((name, below)) = matches.subcommand() {
        path.push(name.to_owned());
        matches = below;
    }
    let place = places(service).into_iter().find(|place| place.path == path)?;
    Some((place.endpoint, matches))
}

fn level(name: &str, about: &str) -> Command {
    documented(Command::new(name.to_owned()), about)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand_value_name("METHOD")
        .subcommand_help_heading("Endpoints")
}

fn documented(command: Command, about: &str) -> Command {
    let short = summary(about);
    let command = if about.contains("\n\n") { command.long_about(about.to_owned()) } else { command };
    if short.is_empty() { command } else { command.about(short) }
}

/// A method and a handler may have one name; then the command has both flags and commands below.
fn attach(command: Command, parents: &[String], endpoint: &Endpoint, below: Command) -> Command {
    let Some((handler, _)) = parents.split_first() else {
        let name = below.get_name().to_owned();
        let Some(existing) = command.find_subcommand(&name).cloned() else {
            return command.subcommand(below);
        };
        let below =
            existing.get_subcommands().fold(below, |below, command| below.subcommand(command.clone()));
        return command.mut_subcommand(name, |_| below);
    };
    if command.find_subcommand(handler).is_none() {
        let about = format!("Methods of {}", endpoint.handler());
        return command.subcommand(level(handler, &about).subcommand_required(true).subcommand(below));
    }
    command.mut_subcommand(handler, |level| level.subcommand(below))
}

/// Other spellings of a method, hidden, so that completion knows them too.
fn aliases(place: &Place<'_>, parents: &[String], taken: &mut HashSet<Vec<String>>) -> Vec<String> {
    let method = place.endpoint.method();
    let kebab = place.path.last().cloned().unwrap_or_default();
    let mut spellings = vec![method.to_owned(), method.to_lowercase(), kebab.replace('-', "_")];
    if parents.is_empty() {
        spellings.push(place.endpoint.name.clone());
    }
    spellings.retain(|spelling| taken.insert([parents, std::slice::from_ref(spelling)].concat()));
    spellings
}

fn endpoint(endpoint: &Endpoint, name: &str) -> Command {
    let about =
        if endpoint.about.is_empty() { format!("Call {}", endpoint.name) } else { endpoint.about.clone() };
    let mut command = documented(Command::new(name.to_owned()), &about).disable_help_subcommand(true);
    command = command.args(flags(endpoint).iter().map(argument)).arg(json()).arg(header());
    match (endpoint.request_stream, endpoint.response_stream) {
        (true, true) => command.after_help(
            "A stream: reads one JSON request a line from standard input, prints one JSON document a line.",
        ),
        (true, false) => command.after_help("A stream: reads one JSON request a line from standard input."),
        (false, true) => command.after_help("A stream: prints one JSON document a line."),
        (false, false) => command,
    }
}

fn json() -> Arg {
    Arg::new(JSON)
        .long("json")
        .value_name("JSON|@FILE|-")
        .help("The whole request as JSON, from a file, or from standard input; flags change it further")
        .help_heading(HEADING)
}

fn header() -> Arg {
    Arg::new(HEADER)
        .long("header")
        .value_name("NAME=VALUE")
        .help("Send a header with the request; may be repeated")
        .help_heading(HEADING)
        .action(ArgAction::Append)
}

fn argument(flag: &Flag<'_>) -> Arg {
    let kind = &flag.field.kind;
    let argument = Arg::new(flag.id())
        .long(flag.long.clone())
        .aliases(flag.aliases.clone())
        .value_name(value_name(kind))
        .help(help(flag))
        .help_heading(HEADING);
    let argument = if let Kind::Enum { values, .. } = kind {
        argument.value_parser(Offered(values.clone()))
    } else if *kind == Kind::Bool {
        argument.value_parser(Offered(vec!["true".to_owned(), "false".to_owned()])).hide_possible_values(true)
    } else {
        argument
    };
    if flag.is_switch() {
        return argument.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    let argument = argument.allow_negative_numbers(true);
    match (flag.field.repeated, kind.is_structured()) {
        (true, false) => argument.action(ArgAction::Append).value_delimiter(','),
        (true, true) => argument.action(ArgAction::Append),
        (false, _) if matches!(kind, Kind::Map { .. }) => argument.action(ArgAction::Append),
        (false, _) => argument,
    }
}

fn help(flag: &Flag<'_>) -> String {
    let kind = &flag.field.kind;
    let mut help = summary(&flag.field.about);
    if help.is_empty() {
        let text = if let Kind::Enum { name, .. } = kind { format!("a {name}") } else { expected(kind) };
        let mut characters = text.chars();
        help = characters
            .next()
            .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect());
    }
    match (flag.field.repeated, kind.is_structured()) {
        (true, false) => help.push_str("; repeat it, or separate values with commas"),
        (true, true) => help.push_str("; repeat it, or give a JSON array"),
        (false, _) if matches!(kind, Kind::Map { .. }) => help.push_str("; may be repeated"),
        (false, _) => {}
    }
    if flag.is_escaped() {
        help.push_str("; so written because `--");
        help.push_str(&flag.path.join("."));
        help.push_str("` is another flag");
    }
    help
}

/// Offers values to help and completion, and takes any text: what is wrong with a value is said where it is converted.
#[derive(Clone)]
struct Offered(Vec<String>);

impl TypedValueParser for Offered {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}
