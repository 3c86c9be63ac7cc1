//! A service as a [`clap::Command`]: for parsing, `--help` and completion alike.

use super::describe::{expected, summary, value_name};
use super::flags::{Flag, flags};
use super::names::kebab;
use super::schema::{Endpoint, Kind, Service};
use super::tree::{Place, places};
use crate::cli::completion;
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
        let endpoint = endpoint(place, service, last).aliases(aliases(place, parents, &mut taken));
        command = attach(command, parents, &handler_about(service, place.endpoint), endpoint);
    }
    // A method that only one handler has may be named without it; completion has to know it there.
    for place in places.iter().filter(|place| place.path.len() > 1) {
        let Some(method) = place.path.last() else { continue };
        let namesakes = places.iter().filter(|other| other.path.last() == Some(method)).count();
        if namesakes == 1 && taken.insert(vec![method.clone()]) {
            command = command.subcommand(endpoint(place, service, method).hide(true));
        }
    }
    command
}

/// What a handler is for, and its methods.
fn handler_about(service: &Service, endpoint: &Endpoint) -> String {
    let handler = endpoint.handler();
    let about = service.handlers.get(handler).map(|about| summary(about)).unwrap_or_default();
    let about = if about.is_empty() { format!("Methods of {handler}") } else { about };
    let methods = service.endpoints.iter().filter(|other| other.handler() == handler);
    let methods: Vec<String> = methods.map(|endpoint| kebab(endpoint.method())).collect();
    format!("{about}: {}", methods.join(", "))
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
fn attach(command: Command, parents: &[String], about: &str, below: Command) -> Command {
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
        return command.subcommand(level(handler, about).subcommand_required(true).subcommand(below));
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

fn endpoint(place: &Place<'_>, service: &Service, name: &str) -> Command {
    let endpoint = place.endpoint;
    let about =
        if endpoint.about.is_empty() { format!("Call {}", endpoint.name) } else { endpoint.about.clone() };
    let mut command = documented(Command::new(name.to_owned()), &about).disable_help_subcommand(true);
    if endpoint.is_unknown {
        let why = if endpoint.refused.is_empty() {
            "The service does not say which fields it takes".to_owned()
        } else {
            format!("The registry does not know which fields it takes ({})", endpoint.refused)
        };
        command = command.before_help(format!(
            "{why}; give them as JSON, for example:\n  {} --json='{{\"name\": \"Jane\"}}'",
            place.command(service)
        ));
    }
    let flags = flags(endpoint);
    command = command.args(flags.iter().map(argument)).arg(json()).arg(header());
    let mut after = Vec::new();
    if flags.iter().any(|flag| below(flag).is_some()) {
        after.push("`--help=all` lists the fields of messages too.");
    }
    after.push(match (endpoint.request_stream, endpoint.response_stream) {
        (true, true) => {
            "A stream: reads one JSON request a line from standard input, prints one JSON document a line."
        }
        (true, false) => "A stream: reads one JSON request a line from standard input.",
        (false, true) => "A stream: prints one JSON document a line.",
        (false, false) => "",
    });
    let refused = format!(
        "The registry cannot use the descriptors of the service ({}): types are shown as far as it registered them.",
        endpoint.refused
    );
    if !endpoint.is_unknown && !endpoint.refused.is_empty() {
        after.push(&refused);
    }
    after.retain(|text| !text.is_empty());
    if after.is_empty() { command } else { command.after_help(after.join("\n")) }
}

/// The first of the fields of a message that are not listed, as a flag.
fn below(flag: &Flag<'_>) -> Option<String> {
    match &flag.field.kind {
        Kind::Message { fields, first, .. }
            if fields.is_empty() && !first.is_empty() && !flag.field.repeated =>
        {
            Some(format!("--{}.{first}", flag.path.join(".")))
        }
        _ => None,
    }
}

fn json() -> Arg {
    Arg::new(JSON)
        .long("json")
        .value_name("JSON|@FILE|-")
        .help("The whole request as JSON, from a file, or from standard input; flags change it further")
        .add(completion::contents())
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
        let missing = if *kind == Kind::Bool { "true" } else { "{}" };
        return argument.num_args(0..=1).require_equals(true).default_missing_value(missing);
    }
    let argument = argument.allow_negative_numbers(true);
    let argument = if *kind == Kind::Bytes { argument.add(completion::contents()) } else { argument };
    match (flag.field.repeated, kind.is_structured()) {
        (true, false) => argument.action(ArgAction::Append).value_delimiter(','),
        (true, true) => argument.action(ArgAction::Append),
        (false, _) if matches!(kind, Kind::Map { .. }) => argument.action(ArgAction::Append),
        (false, _) => argument,
    }
}

fn of_enum(name: &str) -> String {
    let vowel = name.starts_with(|first: char| "aeiou".contains(first.to_ascii_lowercase()));
    format!("{} {name}", if vowel { "an" } else { "a" })
}

fn help(flag: &Flag<'_>) -> String {
    let kind = &flag.field.kind;
    let mut help = summary(&flag.field.about);
    if help.is_empty() {
        let text = if let Kind::Enum { name, .. } = kind { of_enum(name) } else { expected(kind) };
        let mut characters = text.chars();
        help = characters
            .next()
            .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect());
    }
    match (flag.field.repeated, kind.is_structured()) {
        (true, false) => help.push_str("; repeat it, or separate values with commas"),
        (true, true) => help.push_str("; repeat it, or give a JSON array"),
        (false, _) if matches!(kind, Kind::Map { .. }) => help.push_str("; repeat it for more entries"),
        (false, _) if kind.is_empty_message() => help.push_str("; the empty one without a value"),
        (false, _) => {}
    }
    if let Some(first) = below(flag) {
        help.push_str(&format!("; or its fields, as `{first}`"));
    }
    if !flag.field.excludes.is_empty() {
        let above = &flag.path[..flag.path.len() - 1];
        let others = flag.field.excludes.iter().map(|other| {
            format!("`--{}`", above.iter().copied().chain([other.as_str()]).collect::<Vec<_>>().join("."))
        });
        help.push_str(&format!("; excludes {}", others.collect::<Vec<_>>().join(", ")));
    }
    if flag.field.deprecated && !help.to_lowercase().starts_with("deprecated") {
        help.push_str("; deprecated");
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
