//! From what was typed after the name of a service to the words its command defines: names in any case and with any
//! hyphens, a method without its handler, no method at all for `Call`. What is left for clap to say about the words
//! (a missing value, a flag given twice) is not said here.

use super::Error;
use super::command::command;
use super::describe::{assignment, example};
use super::described::Schema;
use super::flags::{Flag, escaped, find, flags};
use super::globals::{Globals, HELP_ALL, is_help};
use super::schema::{Endpoint, MAX_DEPTH, Service, Wanted};
use super::suggest::alternatives;
use super::tree::{Place, places};
use crate::names::loose;
use crate::similar::similar;
use clap::Command;

/// More flags than these make no example.
const MOST_FLAGS: usize = 2;

/// Words that the command of the service parses.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The words after the service: path, then flags as `--flag=value`, global flags as they were.
    pub(crate) words: Vec<String>,
    /// What of the service they need.
    pub(crate) service: Service,
}

/// Finds the endpoint in `words`, those after the service's name. Global flags may stand among them: `root` is the
/// command whose own flags these are.
pub(crate) fn resolve(schema: &Schema, words: &[String], root: &Command) -> Result<Resolved, Error> {
    let globals = Globals(root);
    let (mut names, mut kept, rest) = sorted(words, &globals);
    let service = &schema.outline(false);
    let places = places(service);
    let asks_help = names.first() == Some(&"help") && !places.iter().any(|place| place.path[0] == "help");
    if asks_help {
        names.remove(0);
    }
    let whole = words.iter().any(|word| word == HELP_ALL);
    let asked = asks_help || whole || kept.iter().any(|word| is_help(word));
    for word in kept.iter_mut().filter(|word| *word == HELP_ALL) {
        "--help".clone_into(word);
    }
    let target = match (names.as_slice(), rest) {
        ([], []) => Target::Level(Vec::new()),
        ([], _) if asked => Target::Level(Vec::new()),
        ([], _) => default(service, &places)?,
        (names, _) => locate(service, &places, names)?,
    };
    let (levels, typed) = if whole { (MAX_DEPTH, Vec::new()) } else { (1, typed(rest)) };
    match target {
        Target::Endpoint(place, further) => {
            let endpoint = Some(place.endpoint.name.clone());
            let service = schema.describe(&Wanted { endpoint, levels, typed, comments: asked });
            let Some(endpoint) = service.endpoints.iter().find(|known| known.name == place.endpoint.name)
            else {
                return Err(unknown(&service, &places, &names));
            };
            let command = place.command(&service);
            if let Some(word) = further {
                return Err(no_more(&command, endpoint, &word));
            }
            let mut words = place.path.clone();
            if asks_help {
                words.push("--help".to_owned());
            }
            words.extend(kept);
            if !asked {
                words.extend(fields(&command, endpoint, rest, &globals)?);
            } else if whole && !words.iter().any(|word| is_help(word)) {
                words.push("--help".to_owned());
            }
            Ok(Resolved { words, service })
        }
        Target::Level(path) if asked || rest.is_empty() => {
            let mut words = path;
            words.extend(kept);
            if !asked || asks_help {
                words.push("--help".to_owned());
            }
            Ok(Resolved { words, service: schema.outline(true) })
        }
        Target::Level(path) => Err(Error::usage(
            format!(
                "`{}` is a handler of service `{}`, and its method is missing",
                path.join(" "),
                service.name
            ),
            format!("`micro {} {} --help` lists its methods", service.name, path.join(" ")),
        )),
    }
}

/// The names at the front, the global flags among them, and what begins with the first other flag.
fn sorted<'w>(words: &'w [String], globals: &Globals<'_>) -> (Vec<&'w str>, Vec<String>, &'w [String]) {
    let (mut names, mut kept, mut rest) = (Vec::new(), Vec::new(), words);
    while let [word, below @ ..] = rest {
        let taken = globals.width(word, below);
        if taken > 0 {
            kept.extend_from_slice(&rest[..taken]);
        } else if is_flag(word) {
            break;
        } else {
            names.push(word.as_str());
        }
        rest = &rest[taken.max(1)..];
    }
    (names, kept, rest)
}

/// The names of the flags among words, folded, as [`Wanted`] has them.
fn typed(words: &[String]) -> Vec<String> {
    let flags = words.iter().filter_map(|word| word.strip_prefix("--"));
    let names = flags.map(|flag| flag.split('=').next().unwrap_or(flag));
    // What ends with a dot is below that message, which has no name that is as short.
    names.map(|name| loose(name) + if name.ends_with('.') { "." } else { "" }).collect()
}

/// The command of a service for completion, with what the words after its name need; the last one is being typed.
pub(crate) fn completable(schema: &Schema, words: &[String], root: &Command) -> Command {
    let before = &words[..words.len().saturating_sub(1)];
    let (names, ..) = sorted(before, &Globals(root));
    let outline = schema.outline(false);
    let endpoint = match locate(&outline, &places(&outline), &names) {
        Ok(Target::Endpoint(place, None)) if !names.is_empty() => Some(place.endpoint.name.clone()),
        _ => None,
    };
    command(&schema.describe(&Wanted { endpoint, levels: 1, typed: typed(words), comments: true }))
}

/// A call of a service that works, as it is typed: of `call` if there is one, else of its first endpoint.
pub(crate) fn example_call(schema: &Schema) -> Option<String> {
    let outline = schema.outline(false);
    let places = places(&outline);
    let calls = |place: &&Place<'_>| {
        outline.owns(place.endpoint.handler()) && loose(place.endpoint.method()) == "call"
    };
    let single = |place: &&Place<'_>| !place.endpoint.request_stream;
    let place =
        places.iter().find(calls).or_else(|| places.iter().find(single)).or_else(|| places.first())?;
    let endpoint = Some(place.endpoint.name.clone());
    let service = schema.describe(&Wanted { endpoint, levels: 1, ..Wanted::default() });
    let endpoint = service.endpoints.iter().find(|known| known.name == place.endpoint.name)?;
    let flags = flags(endpoint);
    let mut shown: Vec<&Flag<'_>> = Vec::new();
    let advised = |flag: &&Flag<'_>| !flag.field.kind.is_structured() && !flag.field.deprecated;
    for flag in flags.iter().filter(advised) {
        // Of a oneof only one member is set.
        let excluded = shown.iter().any(|shown| shown.field.excludes.contains(&flag.field.name));
        if !excluded && shown.len() < MOST_FLAGS {
            shown.push(flag);
        }
    }
    let flags = shown.iter().map(|flag| format!(" {}", assignment(&flag.long, &example(&flag.field.kind))));
    Some(place.command(&outline) + &flags.collect::<String>())
}

enum Target<'a> {
    /// An endpoint, and a word behind it that is too much.
    Endpoint(Place<'a>, Option<String>),
    Level(Vec<String>),
}

fn default<'a>(service: &Service, places: &[Place<'a>]) -> Result<Target<'a>, Error> {
    match method(service, places, "call")? {
        Some(place) => Ok(Target::Endpoint(place, None)),
        None => Err(Error::usage(
            format!("service `{}` has no `call`, so its method must be named", service.name),
            format!("`micro {} --help` lists its endpoints", service.name),
        )),
    }
}

fn locate<'a>(service: &Service, places: &[Place<'a>], names: &[&str]) -> Result<Target<'a>, Error> {
    let [first, others @ ..] = names else { return default(service, places) };
    let whole = match first.rsplit_once('.') {
        Some((handler, name)) => {
            unique(service, first, inside(service, places, handler), Some(handler), name)?
        }
        None => None,
    };
    if let (None, [second, rest @ ..]) = (&whole, others)
        && let Some(place) = unique(service, second, inside(service, places, first), Some(first), second)?
    {
        return Ok(Target::Endpoint(place, rest.first().map(|word| (*word).to_owned())));
    }
    let found = match whole {
        Some(place) => Some(place),
        None => method(service, places, first)?,
    };
    if let Some(place) = found {
        return Ok(Target::Endpoint(place, others.first().map(|word| (*word).to_owned())));
    }
    let handler = exact(inside(service, places, first), Some(first), "");
    match (handler.first(), others) {
        (Some(place), []) if service.owns(place.endpoint.handler()) => Ok(Target::Level(Vec::new())),
        (Some(place), []) => Ok(Target::Level(place.path[..1].to_vec())),
        (Some(_), _) => Err(unknown(service, &handler, names)),
        (None, _) => Err(unknown(service, places, names)),
    }
}

fn inside<'a>(service: &Service, places: &[Place<'a>], handler: &str) -> Vec<Place<'a>> {
    let folded = loose(handler);
    let own = service.owns(handler);
    let matches = |place: &&Place<'a>| {
        let handler = place.endpoint.handler();
        loose(handler) == folded || (own && service.owns(handler))
    };
    places.iter().filter(matches).cloned().collect()
}

/// A method by its name alone: in the service's own handler, else in the only one that has it.
fn method<'a>(service: &Service, places: &[Place<'a>], name: &str) -> Result<Option<Place<'a>>, Error> {
    let (own, others): (Vec<_>, Vec<_>) =
        places.iter().cloned().partition(|place| service.owns(place.endpoint.handler()));
    match unique(service, name, own, None, name)? {
        Some(place) => Ok(Some(place)),
        None => unique(service, name, others, None, name),
    }
}

fn unique<'a>(
    service: &Service,
    typed: &str,
    places: Vec<Place<'a>>,
    handler: Option<&str>,
    name: &str,
) -> Result<Option<Place<'a>>, Error> {
    let folded = loose(name);
    let mut close: Vec<Place<'a>> =
        places.into_iter().filter(|place| loose(place.endpoint.method()) == folded).collect();
    close = exact(close, handler, name);
    if close.len() > 1 {
        let commands: Vec<String> = close.iter().map(|place| place.command(service)).collect();
        return Err(Error::usage(
            format!("`{typed}` is the name of several endpoints of service `{}`", service.name),
            format!("say {}", alternatives(&commands)),
        ));
    }
    Ok(close.pop())
}

/// Of several places, those whose names were typed as they are, in the order in which the spellings count.
fn exact<'a>(mut places: Vec<Place<'a>>, handler: Option<&str>, name: &str) -> Vec<Place<'a>> {
    type Spelling = fn(&Place<'_>, Option<&str>, &str) -> bool;
    let spellings: [Spelling; 4] = [
        |place, handler, _| handler == Some(place.endpoint.handler()),
        |place, handler, _| matches!(place.path.as_slice(), [first, _] if handler == Some(first.as_str())),
        |place, _, name| place.endpoint.method() == name,
        |place, _, name| place.path.last().is_some_and(|last| last == name),
    ];
    for is_typed in spellings {
        if places.len() > 1 && places.iter().any(|place| is_typed(place, handler, name)) {
            places.retain(|place| is_typed(place, handler, name));
        }
    }
    places
}

fn no_more(command: &str, endpoint: &Endpoint, word: &str) -> Error {
    let flags = flags(endpoint);
    let hint = match flags.first() {
        Some(flag) => {
            format!("fields are flags: {command} {}", assignment(&flag.long, &example(&flag.field.kind)))
        }
        None => format!("give the request as JSON: {command} --json='{{…}}'"),
    };
    Error::usage(format!("`{command}` takes no further word, but found `{word}`"), hint)
}

fn unknown(service: &Service, places: &[Place<'_>], names: &[&str]) -> Error {
    let typed = names.join(" ");
    let last = names.last().copied().unwrap_or_default();
    let paths: Vec<String> = places.iter().map(|place| place.path.join(" ")).collect();
    let names: Vec<&str> = places.iter().map(|place| place.endpoint.name.as_str()).collect();
    let methods: Vec<&str> = places.iter().map(|place| place.endpoint.method()).collect();
    let mut commands: Vec<String> = Vec::new();
    let known =
        [(typed.as_str(), paths.iter().map(String::as_str).collect()), (last, names), (last, methods)];
    for (typed, known) in known {
        let close = similar(&typed.replace(' ', ""), known.iter().copied());
        let close = close.iter().filter_map(|name| known.iter().position(|known| known == name));
        for command in close.map(|index| places[index].command(service)) {
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
    }
    let hint = if commands.is_empty() {
        format!("`micro {} --help` lists its endpoints", service.name)
    } else {
        format!("did you mean {}?", alternatives(&commands))
    };
    Error::not_found(format!("service `{}` has no endpoint `{typed}`", service.name), hint)
}

/// The words after the names, each flag by its documented name and joined with its value.
fn fields(
    command: &str,
    endpoint: &Endpoint,
    words: &[String],
    globals: &Globals<'_>,
) -> Result<Vec<String>, Error> {
    let flags = flags(endpoint);
    let mut rewritten = Vec::new();
    let mut rest = words;
    while let [word, below @ ..] = rest {
        let taken = globals.width(word, below);
        if taken > 0 || !word.starts_with("--") {
            let (kept, later) = rest.split_at(taken.max(1));
            rewritten.extend_from_slice(kept);
            rest = later;
            continue;
        }
        if word == "--" {
            rewritten.extend_from_slice(rest);
            break;
        }
        let (typed, value) =
            word[2..].split_once('=').map_or((&word[2..], None), |(name, value)| (name, Some(value)));
        let long = match typed {
            "json" | "header" => typed,
            _ => documented(command, endpoint, &flags, typed)?,
        };
        rest = below;
        match (value, below) {
            (Some(value), _) => rewritten.push(format!("--{long}={value}")),
            (None, [value, later @ ..]) if is_value(value) => {
                rewritten.push(format!("--{long}={value}"));
                rest = later;
            }
            (None, [value, later @ ..])
                if flags.iter().any(|flag| flag.long == long && !flag.is_switch())
                    && !is_known(&flags, value, later, globals) =>
            {
                return Err(Error::usage(
                    format!("`--{typed}` needs a value, and `{value}` is taken for a flag"),
                    format!("a value that begins with `-` is given as {}", assignment(typed, value)),
                ));
            }
            (None, _) => rewritten.push(format!("--{long}")),
        }
    }
    Ok(rewritten)
}

fn documented<'f>(
    command: &str,
    endpoint: &Endpoint,
    flags: &'f [Flag<'_>],
    typed: &str,
) -> Result<&'f str, Error> {
    let flagged =
        |longs: &[&str]| alternatives(&longs.iter().map(|long| format!("--{long}")).collect::<Vec<_>>());
    let message = format!("`{command}` has no flag `--{typed}`");
    // A flag of every command takes no value in such places, so the field of its name is meant.
    let found = find(flags, typed);
    let found = if let (Ok(None), false) = (&found, loose(typed).is_empty()) {
        find(flags, &escaped(typed))
    } else {
        found
    };
    match found {
        Ok(Some(flag)) => Ok(&flag.long),
        Ok(None) => {
            let close = similar(typed, flags.iter().map(|flag| flag.long.as_str()));
            Err(Error::usage(
                message,
                if !close.is_empty() {
                    format!("did you mean {}?", flagged(&close))
                } else if flags.is_empty() {
                    let why = match endpoint.refused.as_str() {
                        "" => String::new(),
                        why => format!(" ({why})"),
                    };
                    format!(
                        "its fields are not known{why}; give the request as JSON: {command} --json='{{…}}'"
                    )
                } else {
                    format!("`{command} --help` lists its flags")
                },
            ))
        }
        Err(longs) => Err(Error::usage(
            format!("`--{typed}` may mean several flags of `{command}`"),
            format!("say {}", flagged(&longs)),
        )),
    }
}

/// Whether a word that begins with `-` is a flag of the endpoint or of every command.
fn is_known(flags: &[Flag<'_>], word: &str, below: &[String], globals: &Globals<'_>) -> bool {
    let long = word.strip_prefix("--").map(|long| long.split('=').next().unwrap_or(long));
    globals.width(word, below) > 0
        || long.is_some_and(|long| matches!(long, "" | "json" | "header") || find(flags, long) != Ok(None))
}

fn is_flag(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

/// Whether a word after a flag is its value: anything but a flag, where `-5` and `-inf` are none.
fn is_value(word: &str) -> bool {
    let Some(rest) = word.strip_prefix('-') else { return true };
    rest.is_empty()
        || rest.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        || rest.to_lowercase().starts_with("inf")
}
