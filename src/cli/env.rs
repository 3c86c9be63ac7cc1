use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    completion,
    context::Context,
    failure::{Failure, exit},
};
use crate::{
    config::{Config, Environment, LOCAL},
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
            Some(Action::Set { name }) => stored.change(|config: &mut Config| {
                known(config, &name)?;
                config.environment = Some(name);
                Ok(())
            }),
            Some(Action::Add { name, address, description }) => stored.change(|config: &mut Config| {
                if name == LOCAL {
                    return Err(
                        Failure::usage("`local` is the server of this home and cannot be changed").into()
                    );
                }
                if !names::follows_rule(&name.to_ascii_lowercase()) {
                    return Err(Failure::usage(format!("`{name}` cannot be the name of an environment"))
                        .hint(names::RULE)
                        .into());
                }
                let environment = Environment { address: address.unwrap_or_default(), description };
                config.environments.insert(name, environment);
                Ok(())
            }),
            Some(Action::Del { name }) => stored.change(|config: &mut Config| {
                known(config, &name)?;
                if name == LOCAL {
                    return Err(Failure::usage("`local` is always there and cannot be removed").into());
                }
                if config.environment.as_ref() == Some(&name) {
                    return Err(Failure::new(exit::FAILED, format!("`{name}` is your current environment"))
                        .hint("choose another one first, such as `micro env set local`")
                        .into());
                }
                config.environments.remove(&name);
                config.namespaces.remove(&name);
                Ok(())
            }),
        }
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
    let config: Config = cx.stored_config().read()?;
    let (current, _) = cx.environment()?;
    let local = Environment {
        address: cx.state().map_or_else(|| "127.0.0.1:8081".to_owned(), |state| state.proxy),
        description: "Local running Micro Server".to_owned(),
    };
    let mut all = config.environments;
    all.insert(LOCAL.to_owned(), local);
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
