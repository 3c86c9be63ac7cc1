//! Running a dynamic command: from the words to a call, and from its answers to lines.

use std::{
    ffi::OsString,
    io::{self, BufRead as _, IsTerminal as _},
    time::Duration,
};

use bytes::Bytes;
use clap::{Args as _, Command};
use micro_sdk::Client;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use super::{
    Globals, commands,
    context::{Context, within},
    discover, dynamic, elsewhere,
    failure::{Failure, exit},
    given, known, pairs,
};
use crate::{config::LOCAL, json, names::BLOCKS, similar::similar, transcode};

/// How many services a hint names.
const SHOWN: usize = 10;

/// The flags of every command in a line without the name of the program, wherever they stand in
/// it. Of one that is given twice the last counts.
///
/// # Errors
/// One of them has a wrong value.
pub(super) fn globals(line: impl IntoIterator<Item = OsString>) -> Result<Globals, clap::Error> {
    let root = Command::new("micro").no_binary_name(true).disable_help_flag(true).args_override_self(true);
    let root = Globals::augment_args(root);
    let words: Vec<String> = line.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let found = dynamic::globals_among(&root, &words);
    Globals::of(&root.try_get_matches_from(found)?)
}

/// The line `micro help NAME …` of what is no command as `micro NAME … --help`, any other line as it is.
pub(super) fn help_of_service(mut line: Vec<OsString>) -> Vec<OsString> {
    let words: Vec<String> = line.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let root = commands::root();
    if dynamic::first_word(&root, &words) != Some("help") {
        return line;
    }
    let Some(help) = words.iter().position(|word| word == "help") else { return line };
    let Some(name) = dynamic::first_word(&root, &words[help + 1..]) else { return line };
    if !commands::NAMES.contains(&name) {
        line.remove(help + 1);
        line.push("--help".into());
    }
    line
}

pub(super) async fn run(words: &[OsString], cx: &Context) -> anyhow::Result<()> {
    let not_text = || Failure::usage("the command line is not valid UTF-8");
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_str().map(str::to_owned).ok_or_else(not_text))
        .collect::<Result<_, _>>()?;
    let Some((name, rest)) = words.split_first() else { return Ok(()) };
    if name.is_empty() {
        return Err(Failure::usage("the name of the command or service is empty").into());
    }
    refuse_typos(name, cx).await?;
    let connection = cx.connect().await?;
    let found = match discover::find(cx, &connection, name).await {
        Ok(found) => found,
        Err(error) if discover::is_missing(&error) => {
            return Err(unknown(cx, &connection, name).await);
        }
        Err(error) => return Err(error),
    };
    let root = commands::root();
    let resolved = dynamic::resolve(&found.schema, rest, &root)?;
    let line = ["micro".to_owned(), resolved.service.name.clone()].into_iter().chain(resolved.words);
    let matches = root.subcommand(dynamic::command(&resolved.service)).try_get_matches_from(line)?;
    let Some((endpoint, matches)) =
        matches.subcommand().and_then(|(_, matches)| dynamic::matched(&resolved.service, matches))
    else {
        return Err(Failure::usage(format!("service {name} needs a method"))
            .hint(format!("see `micro {name} --help`"))
            .into());
    };
    let mut client = connection.service(name, &found.namespace);
    for pair in dynamic::headers(matches) {
        let (header, value) = pairs::header("header", &pair, &cx.ui)?;
        client = client.with_header(header.as_str(), &value);
    }
    let whole = dynamic::is_given(matches);
    let dynamic::Request { message: request, notes } = if rest.iter().any(|word| may_name_file(word)) {
        // Reading standard input blocks, and Ctrl-C must end it.
        let (asked, given) = (endpoint.clone(), matches.clone());
        tokio::task::spawn_blocking(move || dynamic::request(&asked, &given, &given::content)).await??
    } else {
        dynamic::request(endpoint, matches, &given::content)?
    };
    for note in notes {
        cx.ui.say(note);
    }
    let call = Call { client, endpoint: endpoint.name.clone(), limit: cx.limit };
    match (endpoint.request_stream, endpoint.response_stream) {
        (false, false) => call.unary(&request, cx).await,
        (false, true) => call.stream(vec![request], false, cx).await,
        (true, _) => {
            let given = whole || request.as_object().is_some_and(|fields| !fields.is_empty());
            call.stream(if given { vec![request] } else { Vec::new() }, !given, cx).await
        }
    }
}

/// A near miss of a command is told without starting a server to look for a service.
async fn refuse_typos(name: &str, cx: &Context) -> anyhow::Result<()> {
    let near = similar(name, commands::NAMES.iter().copied());
    let near = near.first().map(|near| elsewhere::instead(near));
    let Some(hint) = elsewhere::hint(name).or(near) else { return Ok(()) };
    if known::remembered(cx).services.iter().any(|known| known.service.name == name) {
        return Ok(());
    }
    if cx.environment()?.0 == LOCAL && cx.daemon().find().await.is_none() {
        return Err(unrecognized(name, "").hint(hint).into());
    }
    Ok(())
}

fn unrecognized(name: &str, more: &str) -> Failure {
    let text = format!("Unrecognized micro command: {name}. Please refer to 'micro --help'{more}");
    Failure::new(exit::NOT_FOUND, text)
}

async fn unknown(cx: &Context, connection: &super::context::Connection, name: &str) -> anyhow::Error {
    let services = discover::list_briefly(connection, connection.namespace()).await.unwrap_or_default();
    let failure = unrecognized(name, &format!(" (no service {name} is registered either)"));
    let registered: Vec<String> = services.iter().map(|service| service.name.clone()).collect();
    drop(known::learn(cx, connection, services).await);
    let known = commands::NAMES.iter().copied().chain(registered.iter().map(String::as_str));
    let near = similar(name, known);
    let near = near.first().map(|near| elsewhere::instead(near));
    failure.hint(elsewhere::hint(name).or(near).unwrap_or_else(|| services_here(&registered))).into()
}

/// The services that could have been meant, as a hint.
fn services_here(registered: &[String]) -> String {
    let mut names: Vec<&str> = registered.iter().map(String::as_str).collect();
    names.retain(|name| !BLOCKS.contains(name));
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [] => "no service runs; run one with `micro run .`, list the building blocks with `micro services`"
            .to_owned(),
        [shown @ .., _] if names.len() > SHOWN => format!(
            "the services here are {}, and others; list them with `micro services`",
            shown[..SHOWN - 1].join(", ")
        ),
        names => format!("the services here are {}; list them with `micro services`", names.join(", ")),
    }
}

/// Whether a word may be, or end in, `@FILE`, or `-` for standard input.
fn may_name_file(word: &str) -> bool {
    word.contains('@') || word.ends_with('-')
}

/// A call with JSON messages.
pub(super) struct Call {
    pub(super) client: Client,
    /// `Handler.Method`.
    pub(super) endpoint: String,
    /// How long a stream may take; none for as long as it likes.
    pub(super) limit: Option<Duration>,
}

impl Call {
    pub(super) async fn unary(self, request: &Value, cx: &Context) -> anyhow::Result<()> {
        let client = self.client.with_json();
        let answer = client.unary_bytes(&self.endpoint, request.to_string().into()).await?;
        cx.ui.answer(&answer)
    }

    /// Sends the requests, and with `stdin` those that stand on standard input, one JSON document
    /// a line; prints each answer as it comes.
    pub(super) async fn stream(self, requests: Vec<Value>, stdin: bool, cx: &Context) -> anyhow::Result<()> {
        let (sender, queue) = mpsc::channel::<Bytes>(16);
        if stdin && io::stdin().is_terminal() {
            cx.ui.say("type one JSON request a line; Ctrl-D ends them");
        }
        // Reading standard input blocks, so it has a thread of its own, which ends with the program.
        let (failed, failure) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let result = feed(requests, stdin, &sender);
            drop(sender);
            // Nobody listens when the call has ended.
            drop(failed.send(result));
        });
        let client = self.client.with_json();
        let answers = async {
            let mut answers = client.stream_bytes(&self.endpoint, ReceiverStream::new(queue)).await?;
            while let Some(answer) = answers.next().await {
                cx.ui.message(&answer?)?;
            }
            anyhow::Ok(())
        };
        let refused = async {
            match failure.await {
                Ok(Err(error)) => error,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            error = refused => Err(error),
            result = cx.ui.while_read(within(self.limit, answers)) => result,
        }
    }
}

fn feed(requests: Vec<Value>, stdin: bool, sender: &mpsc::Sender<Bytes>) -> anyhow::Result<()> {
    for request in requests {
        if sender.blocking_send(request.to_string().into()).is_err() {
            return Ok(());
        }
    }
    if stdin {
        for (number, line) in io::stdin().lock().lines().enumerate() {
            let line = line?;
            let line = transcode::without_mark(line.as_bytes());
            if line.trim_ascii().is_empty() {
                continue;
            }
            let checked: Result<Value, _> = serde_json::from_slice(line);
            checked.map_err(|e| {
                Failure::usage(format!(
                    "line {} of standard input is not JSON: {}",
                    number + 1,
                    json::fault(&e)
                ))
            })?;
            if sender.blocking_send(Bytes::copy_from_slice(line)).is_err() {
                break;
            }
        }
    }
    Ok(())
}
