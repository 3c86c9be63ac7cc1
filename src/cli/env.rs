use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    completion,
    context::Context,
    failure::{Failure, exit},
};
use crate::{
    config::{Config, Credentials, Environment, LOCAL},
    names,
};

/// Show and choose the environments commands go to.
///
/// The environment `local` is always there: the server of this home, which is started when it is
/// needed.
#[derive(Args)]
pub(super) struct Env {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// List the environments; the current one is marked.
    List,
    /// Print the name of the current environment.
    Get,
    /// Choose the environment for all later commands.
    Set {
        /// The name of an environment.
        #[arg(add = completion::environments())]
        name: String,
    },
    /// Add an environment, or change one.
    Add {
        /// Its name.
        name: String,
        /// The address of its gRPC proxy, host:port.
        address: Option<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Remove an environment.
    Del {
        /// The name of an environment.
        #[arg(add = completion::environments())]
        name: String,
    },
}

#[derive(Serialize)]
struct Row {
    name: String,
    current: bool,
    address: String,
    description: String,
}

impl Env {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let stored = cx.stored_config();
        match self.action {
            None | Some(Action::List) => list(cx),
            Some(Action::Get) => Ok(cx.ui.text(&cx.environment()?.0)?),
            Some(Action::Set { name }) => choose(Some(name), cx),
            Some(Action::Add { name, address, description }) => {
                let address = address.as_deref().map(checked).transpose()?.unwrap_or_default();
                add(&name, Environment { address, description }, cx)
            }
            Some(Action::Del { name }) => {
                stored.change(|config: &mut Config| {
                    known(config, &name)?;
                    if name == LOCAL {
                        return Err(Failure::usage("`local` is always there and cannot be removed").into());
                    }
                    if config.environment.as_ref() == Some(&name) {
                        let text = format!("`{name}` is your current environment");
                        return Err(Failure::new(exit::FAILED, text)
                            .hint("choose another one first, such as `micro env set local`")
                            .into());
                    }
                    config.environments.remove(&name);
                    config.namespaces.remove(&name);
                    Ok(())
                })?;
                forget_logins(&name, cx)
            }
        }
    }
}

/// Chooses the environment for all later commands; none goes back to the default.
///
/// # Errors
/// There is no such environment.
pub(super) fn choose(name: Option<String>, cx: &Context) -> anyhow::Result<()> {
    cx.stored_config().change(|config: &mut Config| {
        name.iter().try_for_each(|name| known(config, name))?;
        config.environment = name;
        Ok(())
    })
}

fn add(name: &str, environment: Environment, cx: &Context) -> anyhow::Result<()> {
    if name == LOCAL {
        return Err(Failure::usage("`local` is the server of this home and cannot be changed").into());
    }
    if !names::follows_rule(&name.to_ascii_lowercase()) {
        return Err(Failure::usage(format!("`{name}` cannot be the name of an environment"))
            .hint(names::RULE)
            .into());
    }
    let address = environment.address.clone();
    let before = cx
        .stored_config()
        .change(|config: &mut Config| Ok(config.environments.insert(name.to_owned(), environment)))?;
    if before.is_some_and(|before| before.address == address) { Ok(()) } else { forget_logins(name, cx) }
}

/// What was given to one server is not shown to the next one of the same name.
fn forget_logins(environment: &str, cx: &Context) -> anyhow::Result<()> {
    cx.stored_credentials().change(|credentials: &mut Credentials| {
        credentials.forget(environment);
        Ok(())
    })
}

/// `host:port`, as it is kept. What is reached by TLS is refused when it is used.
fn checked(address: &str) -> anyhow::Result<String> {
    let bare = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let authority: Result<http::uri::Authority, _> = bare.strip_prefix("https://").unwrap_or(bare).parse();
    match authority {
        Ok(authority)
            if !authority.host().is_empty()
                && (authority.port_u16().is_some() || bare.starts_with("https://")) =>
        {
            Ok(bare.to_owned())
        }
        _ => Err(Failure::usage(format!("`{address}` is no address"))
            .hint("an address is HOST:PORT of a server's gRPC proxy, such as `micro.example.com:8081`")
            .into()),
    }
}

fn known(config: &Config, name: &str) -> anyhow::Result<()> {
    if name == LOCAL || config.environments.contains_key(name) {
        return Ok(());
    }
    Err(Failure::new(exit::NOT_FOUND, format!("there is no environment `{name}`"))
        .hint("list them with `micro env`, add one with `micro env add NAME HOST:PORT`")
        .into())
}

fn list(cx: &Context) -> anyhow::Result<()> {
    let config = cx.config()?;
    let current = cx.environment_name(config);
    let local = Environment {
        address: cx.state().map_or_else(|| "127.0.0.1:8081".to_owned(), |state| state.proxy),
        description: "Local running Micro Server".to_owned(),
    };
    let mut all = config.environments.clone();
    all.insert(LOCAL.to_owned(), local);
    if !all.contains_key(&current) {
        cx.ui.warn(format_args!("there is no environment `{current}`, which was chosen"));
    }
    let rows: Vec<Row> = all
        .into_iter()
        .map(|(name, Environment { address, description })| Row {
            current: name == current,
            name,
            address,
            description,
        })
        .collect();
    if cx.ui.output != super::ui::Output::Table {
        return cx.ui.records(&rows, &[], |_| Vec::new());
    }
    let cells = rows.iter().map(|row| {
        let mark = if row.current { '*' } else { ' ' };
        let address = if row.address.is_empty() { "none" } else { &row.address };
        vec![format!("{mark} {}", row.name), address.to_owned(), row.description.clone()]
    });
    Ok(cx.ui.columns(&cells.collect::<Vec<_>>())?)
}
