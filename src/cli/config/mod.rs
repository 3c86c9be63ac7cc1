//! `micro config`: the settings of a namespace.

mod completion;
mod del;
mod get;
mod list;
mod set;
mod watch;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use micro_sdk::{
    blocks::config::ConfigClient,
    proto::config::{Entry, ListRequest, Options, Value as Wire},
};
use serde_json::Value;

use super::context::{Connection, Context};

/// Get and set the settings of a namespace, secrets among them.
///
/// A key is a path such as `payment.currency`. An object that is set is merged with what is there,
/// all else replaces it. Services see a change at once.
#[derive(Args)]
pub(super) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Get(get::Get),
    Set(set::Set),
    Del(del::Del),
    List(list::List),
    Watch(watch::Watch),
}

impl Config {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.action {
            Action::Get(command) => command.run(cx).await,
            Action::Set(command) => command.run(cx).await,
            Action::Del(command) => command.run(cx).await,
            Action::List(command) => command.run(cx).await,
            Action::Watch(command) => command.run(cx).await,
        }
    }
}

fn client(connection: &Connection) -> ConfigClient {
    connection.block("config")
}

/// A value as it came, with the keys of its objects in order.
fn parsed(value: Option<&Wire>) -> anyhow::Result<Value> {
    let text = value.map_or("null", |value| &value.data);
    let mut value: Value = serde_json::from_str(text).context("the server sent what is no JSON")?;
    value.sort_all_objects();
    Ok(value)
}

/// What has a value at or below a path.
///
/// # Errors
/// What the server answers.
pub(super) async fn list(connection: &Connection, path: String, secret: bool) -> anyhow::Result<Vec<Entry>> {
    let namespace = connection.namespace().to_owned();
    let request = ListRequest { namespace, path, options: Some(Options { secret }) };
    Ok(client(connection).list(request).await?.entries)
}
