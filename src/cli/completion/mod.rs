//! Completion: scripts for the shells, and the answers they ask this program for. Services and
//! endpoints come from the server if it answers at once, else from what was known last.

mod files;
mod words;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Command, ValueEnum};
use clap_complete::engine::{self, ArgValueCandidates, CompletionCandidate, SubcommandCandidates};

use super::{
    commands,
    context::{Connection, Context},
    discover, dynamic, invoke,
    known::{self, KnownService},
    ui::{Output, Ui, harmless},
};
use crate::{
    config::LOCAL,
    names::{self, BLOCKS},
    paths::Home,
};
pub(super) use files::{contents, folders};

/// The variable by which a shell's script asks, and says which shell it is.
const VARIABLE: &str = "MICRO_COMPLETE";
/// How long the server may take, so that a key press never feels slow.
const BUDGET: Duration = Duration::from_millis(50);

/// Print the completion script of a shell
///
/// bash: micro completion bash > ~/.local/share/bash-completion/completions/micro
/// zsh:  micro completion zsh > _micro, in a folder of $fpath
/// fish: micro completion fish > ~/.config/fish/completions/micro.fish
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("../../../completions/micro.bash"),
            Self::Zsh => include_str!("../../../completions/micro.zsh"),
            Self::Fish => include_str!("../../../completions/micro.fish"),
        }
    }
}

impl Completion {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        Ok(cx.ui.bytes(self.shell.script().as_bytes())?)
    }
}

/// Answers a shell that asks for completions; none if none does.
pub(super) fn answer() -> Option<ExitCode> {
    let shell = std::env::var(VARIABLE).ok()?;
    // A shell that completes has no place for words.
    Some(Shell::from_str(&shell, false).map_or(ExitCode::FAILURE, |shell| match candidates(shell) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }))
}

/// Prints what the last of the words behind `--` can be completed to, one candidate a line: the
/// whole word, and its help behind a tab.
fn candidates(shell: Shell) -> io::Result<()> {
    let mut line: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let mut quote = words::Quote::None;
    if shell == Shell::Bash {
        quote = words::unquote(&mut line);
    }
    let Some(last) = line.last_mut() else { return Ok(()) };
    let home = words::expand_home(last);
    let index = line.len() - 1;
    let mut command = command(&line[1..]);
    let found = engine::complete(&mut command, line, index, std::env::current_dir().ok().as_deref())?;
    let mut answer = Vec::new();
    for candidate in found {
        // A shell could not show it, and a line could not carry it.
        let Some(value) = candidate.get_value().to_str().filter(|text| harmless::line(text) == *text) else {
            continue;
        };
        let value = home.abbreviate(value);
        let value = if shell == Shell::Bash { quote.apply(&value) } else { Some(value) };
        let Some(value) = value else { continue };
        answer.write_all(value.as_bytes())?;
        if let Some(help) = candidate.get_help().map(ToString::to_string) {
            write!(answer, "\t{}", harmless::line(help.lines().next().unwrap_or_default()))?;
        }
        answer.push(b'\n');
    }
    io::stdout().lock().write_all(&answer)
}

/// The command tree with the services: all their names, or the one that was typed with what it can be asked.
/// Nothing when what was typed is none of them.
fn command(typed: &[OsString]) -> Command {
    let typed: Vec<String> = typed.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    // The last word is being typed.
    let before = &typed[..typed.len().saturating_sub(1)];
    let first = dynamic::first_word(&commands::root(), before).map(str::to_owned);
    let root = commands::tree_to_complete(first.as_deref());
    match &first {
        // What a built-in command takes is asked for by its arguments.
        Some(first) if commands::NAMES.contains(&first.as_str()) => root,
        Some(first) => {
            let Some(schema) = service(first) else {
                return Command::new("micro").disable_help_flag(true).allow_external_subcommands(true);
            };
            let at = typed.iter().position(|word| word == first).map_or(typed.len(), |at| at + 1);
            let command = dynamic::completable(&schema, &typed[at..], &root);
            root.subcommand(command)
        }
        // The engine asks for them where a command can stand: not behind `--env `.
        None => root.allow_external_subcommands(true).add(SubcommandCandidates::new(commands_of_services)),
    }
}

/// The commands that services and building blocks are, without those that a built-in command hides.
fn commands_of_services() -> Vec<CompletionCandidate> {
    let names = names().into_iter().filter(|(name, _)| !commands::NAMES.contains(&name.as_str()));
    names.map(|named| candidate(named).tag(Some("Commands".into()))).collect()
}

/// The names of the services and building blocks, for arguments that take one to call.
pub(super) fn services() -> ArgValueCandidates {
    ArgValueCandidates::new(|| names().into_iter().map(candidate).collect())
}

/// The names of the services that have descriptors, for arguments that take one to make a client of.
pub(super) fn described_services() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let mut known = known();
        known.retain(|service| !service.descriptor_hash.is_empty());
        known.into_iter().map(|known| candidate((known.service.name, known.service.about))).collect()
    })
}

fn candidate((name, about): (String, String)) -> CompletionCandidate {
    CompletionCandidate::new(name).help(Some(about).filter(|about| !about.is_empty()).map(Into::into))
}

/// The names of the services that the runtime runs, registered or not, for arguments that take one.
pub(super) fn run_services() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(cx) = context() else { return Vec::new() };
        let names = live(async {
            let connection = cx.connect_if_running().await?;
            known::run_before(&connection, connection.namespace()).await
        });
        let names = names.unwrap_or_else(|| known::remembered(&cx).run);
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// The endpoints of the service that was typed before, for arguments that take one.
pub(super) fn endpoints() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let typed: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").collect();
        let is_typed = |name: &str| typed.iter().any(|word| word == name);
        let name = names().into_iter().map(|(name, _)| name).find(|name| is_typed(name));
        let service = name.and_then(|name| service(&name));
        let endpoints = service.map(|schema| schema.outline(false).endpoints).unwrap_or_default();
        endpoints.into_iter().map(|endpoint| CompletionCandidate::new(endpoint.name)).collect()
    })
}

/// The names of the environments, for arguments that take one.
pub(super) fn environments() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(cx) = context() else { return Vec::new() };
        let names = cx.config().into_iter().flat_map(|config| config.environments.keys().cloned());
        names.chain([LOCAL.to_owned()]).map(CompletionCandidate::new).collect()
    })
}

/// What a running server answers within the budget.
pub(super) fn answered<T>(ask: impl AsyncFnOnce(Connection) -> anyhow::Result<T>) -> Option<T> {
    let cx = context()?;
    live(async { ask(cx.connect_if_running().await?).await })
}

/// The surroundings of the command that is being typed, by its flags and by variables.
fn context() -> Option<Context> {
    let typed = std::env::args_os().skip_while(|word| word != "--").skip(2);
    // What is half typed may be no value of its flag.
    let globals = invoke::globals(typed).or_else(|_| invoke::globals([])).ok()?;
    let ui = Ui { output: Output::Table, quiet: true, verbose: false, yes: true };
    let chosen = (globals.env, globals.namespace);
    let home = Home::find().ok()?;
    home.secure().ok()?;
    Some(Context::new(home, ui, chosen, BUDGET, globals.config))
}

/// What the server answers within the budget.
fn live<T>(asking: impl Future<Output = anyhow::Result<T>>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { tokio::time::timeout(BUDGET, asking).await }).ok()?.ok()
}

/// The services, live if the server answers within the budget, without the building blocks.
fn known() -> Vec<KnownService> {
    let Some(cx) = context() else { return Vec::new() };
    let learned = live(async {
        let connection = cx.connect_if_running().await?;
        let services = discover::list_briefly(&connection, connection.namespace()).await?;
        known::learn(&cx, &connection, services).await
    });
    learned.unwrap_or_else(|| known::remembered(&cx)).services
}

/// The services and building blocks: their names, and what they are for.
fn names() -> Vec<(String, String)> {
    let services = known().into_iter().map(|known| (known.service.name, known.service.about));
    let blocks = BLOCKS.iter().map(|&name| (name.to_owned(), names::purpose(name).to_owned()));
    services.chain(blocks).collect()
}

/// What a service can be asked, live if the server answers within the budget.
fn service(name: &str) -> Option<dynamic::Schema> {
    if BLOCKS.contains(&name) {
        return discover::block(name).ok();
    }
    let cx = context()?;
    let found = live(async {
        let connection = cx.connect_if_running().await?;
        let service = discover::registered(&connection, name).await?;
        anyhow::Ok(KnownService::whole(&cx, &connection, &service).await)
    });
    let remembered = || known::remembered(&cx).services.into_iter().find(|known| known.service.name == name);
    found.or_else(remembered).map(|known| known.schema(&cx))
}
