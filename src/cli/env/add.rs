//! `micro env add`.

use clap::Args;

use super::forget_logins;
use crate::{
    cli::{context::Context, failure::Failure},
    config::{Config, Environment, LOCAL},
    names,
};

/// Add an environment, or change one.
#[derive(Args)]
pub(super) struct Add {
    /// Its name.
    name: String,
    /// The address of its gRPC proxy, host:port.
    address: Option<String>,
    /// What it is for.
    #[arg(long, default_value = "")]
    description: String,
}

impl Add {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let Self { name, address, description } = self;
        let address = address.as_deref().map(checked).transpose()?.unwrap_or_default();
        if name == LOCAL {
            return Err(Failure::usage("`local` is the server of this home and cannot be changed").into());
        }
        if !names::follows_rule(&name.to_ascii_lowercase()) {
            return Err(Failure::usage(format!("`{name}` cannot be the name of an environment"))
                .hint(names::RULE)
                .into());
        }
        let environment = Environment { address: address.clone(), description };
        let before = cx
            .stored_config()
            .change(|config: &mut Config| Ok(config.environments.insert(name.clone(), environment)))?;
        if before.is_some_and(|before| before.address == address) { Ok(()) } else { forget_logins(&name, cx) }
    }
}

/// `host:port`, as it is kept. A command that uses an address with `https://` refuses it.
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
