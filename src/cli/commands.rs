//! The commands: their names, their arguments, and what runs them. The arguments of a command are described
//! to clap only where they are asked for: those of all commands cost as much as a whole call.

use std::ffi::OsString;

use clap::{
    ArgMatches, Args as _, CommandFactory as _, FromArgMatches as _, builder::Resettable, value_parser,
};

use super::{
    Cli, auth, call, clean, completion, config, context::Context, dynamic, env, generate, get, invoke, kill,
    login, logout, logs, new, quickstart, run, server, services, status, store, stream, update, user,
};

/// The word of clap that shows help.
const HELP: &str = "help";

macro_rules! commands {
    ($($variant:ident $name:literal $arguments:path, $($awaited:ident)?;)*) => {
        /// A command that was typed.
        pub(super) enum Command {
            $($variant($arguments),)*
            /// A word that is no command, with those behind it: a service.
            Dynamic(Vec<OsString>),
        }

        /// The names of the commands, which no service made here may have.
        pub(super) const NAMES: &[&str] = &[$($name,)* HELP];

        /// The command of this name, with its arguments.
        fn described(name: &str) -> Option<clap::Command> {
            match name {
                $($name => Some(compact(<$arguments>::augment_args(clap::Command::new($name)))),)*
                _ => None,
            }
        }

        impl Command {
            /// The command that was typed; none if there was none.
            ///
            /// # Errors
            /// An argument has a wrong value.
            pub(super) fn of(matches: &ArgMatches) -> Result<Option<Self>, clap::Error> {
                let Some((name, matches)) = matches.subcommand() else { return Ok(None) };
                Ok(Some(match name {
                    $($name => Self::$variant(<$arguments>::from_arg_matches(matches)?),)*
                    service => {
                        let words = matches.get_many::<OsString>("").into_iter().flatten().cloned();
                        Self::Dynamic([OsString::from(service)].into_iter().chain(words).collect())
                    }
                }))
            }

            pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
                match self {
                    $(Self::$variant(command) => command.run(cx)$(.$awaited)?,)*
                    Self::Dynamic(words) => invoke::run(&words, cx).await,
                }
            }
        }
    };
}

commands! {
    Auth "auth" auth::Auth, await;
    Call "call" call::Call, await;
    Clean "clean" clean::Clean, await;
    Completion "completion" completion::Completion,;
    Config "config" config::Config, await;
    Env "env" env::Env,;
    Gen "gen" generate::Gen, await;
    Get "get" get::Get, await;
    Kill "kill" kill::Kill, await;
    Login "login" login::Login, await;
    Logout "logout" logout::Logout, await;
    Logs "logs" logs::Logs, await;
    New "new" new::New,;
    Quickstart "quickstart" quickstart::Quickstart, await;
    Run "run" run::Run, await;
    Server "server" server::Server, await;
    Services "services" services::Services, await;
    Status "status" status::Status, await;
    Store "store" store::Store, await;
    Stream "stream" stream::Stream, await;
    Update "update" update::Update, await;
    User "user" user::User, await;
}

/// The program with the flags of every command, and without commands.
pub(super) fn root() -> clap::Command {
    compact(Cli::command())
}

/// The command tree, in which any other word is a service.
pub(super) fn tree() -> clap::Command {
    let commands = NAMES.iter().filter_map(|name| described(name));
    with_services(root().subcommands(commands))
}

/// The command tree for these words, without the name of the program: only the command they begin with has
/// its arguments, and of the others there are the names. All have them where help is asked about all.
pub(super) fn tree_for(words: &[OsString]) -> clap::Command {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let root = root();
    let Some(typed) = dynamic::first_word(&root, &words).filter(|word| *word != HELP) else { return tree() };
    let commands = NAMES.iter().filter(|name| **name != HELP).map(|name| {
        let described = if *name == typed { described(name) } else { None };
        described.unwrap_or_else(|| clap::Command::new(*name))
    });
    with_services(root.subcommands(commands))
}

/// The command tree for completion, where words that are no command are not known: of the command that was
/// typed, or all of them.
pub(super) fn tree_to_complete(typed: Option<&str>) -> clap::Command {
    let root = match typed.and_then(described) {
        Some(command) => root().subcommand(command),
        None => tree(),
    };
    root.external_subcommand_value_parser(Resettable::Reset).allow_external_subcommands(false)
}

fn with_services(root: clap::Command) -> clap::Command {
    root.allow_external_subcommands(true).external_subcommand_value_parser(value_parser!(OsString))
}

/// Puts what a doc comment says beyond its first paragraph below the options, so that `-h` and
/// `--help` are the same, and one option is one line.
fn compact(command: clap::Command) -> clap::Command {
    let long = command.get_long_about().map(ToString::to_string);
    let details = long.as_deref().and_then(|text| text.split_once("\n\n")).map(|(_, rest)| rest.to_owned());
    let command = match details {
        Some(details) => {
            let before = command.get_after_help().map(|text| format!("\n\n{text}")).unwrap_or_default();
            command.after_help(format!("{details}{before}"))
        }
        None => command,
    };
    command.long_about(None::<&str>).mut_subcommands(compact)
}
