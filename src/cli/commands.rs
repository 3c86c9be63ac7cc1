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
    ($($variant:ident $name:literal $arguments:path, $($awaited:ident)? $about:literal;)*) => {
        /// A command that was typed.
        pub(super) enum Command {
            $($variant($arguments),)*
            /// A word that is no command, with those behind it: a service.
            Dynamic(Vec<OsString>),
        }

        /// The names of the commands, which no service made here may have.
        pub(super) const NAMES: &[&str] = &[$($name,)* HELP];

        /// The commands, each with what the list of all commands says of it.
        const ABOUTS: &[(&str, &str)] = &[$(($name, $about),)*];

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
    Auth "auth" auth::Auth, await
        "Manage the accounts and the access rules of a namespace";
    Call "call" call::Call, await
        "Call an endpoint of a service with a JSON request";
    Clean "clean" clean::Clean, await
        "Delete what services that do not exist any more left on disk";
    Completion "completion" completion::Completion,
        "Print the completion script of a shell";
    Config "config" config::Config, await
        "Get and set the settings of a namespace, secrets among them";
    Env "env" env::Env,
        "Show and choose the environments commands go to";
    Gen "gen" generate::Gen, await
        "Generate the Rust code of a service's .proto files";
    Get "get" get::Get, await
        "Show one thing in detail";
    Kill "kill" kill::Kill, await
        "Stop services for good; their logs stay";
    Login "login" login::Login, await
        "Log in to the current environment and namespace";
    Logout "logout" logout::Logout, await
        "Log out of the current environment and namespace";
    Logs "logs" logs::Logs, await
        "Print the log of a service: what its processes wrote";
    New "new" new::New,
        "Write a new service";
    Quickstart "quickstart" quickstart::Quickstart, await
        "Make a service, run it and call it: the first five minutes in one command";
    Run "run" run::Run, await
        "Build and run the service in a folder, and keep it running";
    Server "server" server::Server, await
        "Run the server, or manage it in the background";
    Services "services" services::Services, await
        "List the services in the registry";
    Status "status" status::Status, await
        "Show the status of the services that were run";
    Store "store" store::Store, await
        "Read and write what services keep: records and blobs";
    Stream "stream" stream::Stream, await
        "Open a stream to an endpoint and print each answer on a line";
    Update "update" update::Update, await
        "Build a service anew and put it in the place of the one that runs";
    User "user" user::User, await
        "Print who you are in the current environment; `micro user config` prints all that is in effect";
}

/// The program with the flags of every command, and without commands.
pub(super) fn root() -> clap::Command {
    compact(Cli::command())
}

/// The command tree, in which any other word is a service.
#[cfg(test)]
pub(super) fn tree() -> clap::Command {
    with_services(root().subcommands(NAMES.iter().filter_map(|name| described(name))))
}

/// The command tree for these words, without the name of the program: only the command they begin with, or
/// ask help for, has its arguments.
pub(super) fn tree_for(words: &[OsString]) -> clap::Command {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let root = root();
    let typed = match dynamic::first_word(&root, &words) {
        Some(HELP) => {
            let behind = words.iter().position(|word| word == HELP).map_or(words.len(), |at| at + 1);
            dynamic::first_word(&root, &words[behind..])
        }
        typed => typed,
    };
    with_services(with_commands(root, typed))
}

/// The command tree for completion, where words that are no command are not known: the command that was
/// typed, or the names of all of them.
pub(super) fn tree_to_complete(typed: Option<&str>) -> clap::Command {
    let root = match typed.and_then(described) {
        Some(command) => root().subcommand(command),
        None => with_commands(root(), None),
    };
    root.external_subcommand_value_parser(Resettable::Reset).allow_external_subcommands(false)
}

/// Adds the commands, of which this one has its arguments.
fn with_commands(root: clap::Command, described: Option<&str>) -> clap::Command {
    root.subcommands(ABOUTS.iter().map(|&(name, about)| {
        let whole = described.filter(|described| *described == name).and_then(self::described);
        whole.unwrap_or_else(|| clap::Command::new(name).about(about))
    }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_says_of_a_command_what_its_help_says() {
        for (name, about) in ABOUTS {
            let command = described(name).unwrap();
            assert_eq!(command.get_about().unwrap().to_string(), *about);
        }
    }
}
