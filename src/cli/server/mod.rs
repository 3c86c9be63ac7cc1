//! `micro server`: in the foreground, or in the background by `start`, `stop`, `restart`, `status`
//! and `logs`.

pub(super) mod daemon;
mod log;
mod logs;
mod options;
mod start;
mod status;
mod stop;

use std::io::Write as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use micro_sdk::local::State;

use options::Options;

use super::context::Context;
use crate::{scaffold::sdk, server};

/// Run the server, or manage it in the background.
///
/// Without a subcommand the server runs in the foreground until Ctrl-C. It serves the HTTP API on
/// localhost:8080, the gRPC proxy on localhost:8081 and the services' side on localhost:8443.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Server {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    options: Options,
    #[arg(long, hide = true)]
    daemonized: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Start the server in the background, as it was started last where nothing else is said.
    Start(Box<start::Start>),
    /// Stop the server and the services it runs.
    Stop,
    /// Stop the server, then start it again with the same options and ports; services come back by themselves.
    Restart(Box<start::Start>),
    /// Show whether the server runs, and where.
    Status,
    Logs(logs::Logs),
}

impl Server {
    /// The runtime a server needs differs from that of a command.
    pub(super) fn in_foreground(&self) -> bool {
        self.action.is_none()
    }

    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.action {
            None => foreground(self.options, self.daemonized, cx).await,
            Some(Action::Start(start)) => start.run(cx).await,
            Some(Action::Stop) => stop::run(cx).await,
            Some(Action::Restart(start)) => {
                // Also of one that does not answer any more.
                stop::run(cx).await?;
                start.run(cx).await
            }
            Some(Action::Status) => status::run(cx).await,
            Some(Action::Logs(logs)) => logs.run(cx).await,
        }
    }
}

async fn foreground(options: Options, daemonized: bool, cx: &Context) -> anyhow::Result<()> {
    if daemonized {
        rustix::process::setsid().context("cannot leave the terminal")?;
    }
    log::begin(daemonized.then(|| cx.daemon().log_file()).as_deref());
    let ui = cx.ui.clone();
    let ready = move |state: &State| {
        if daemonized {
            // The command that started this waits for one line, unless it has ended.
            drop(writeln!(std::io::stdout(), "ready"));
        } else {
            ui.say(format_args!(
                "the micro server is ready: HTTP API on http://{}, gRPC proxy on {}, services on {}; Ctrl-C ends it",
                state.api, state.proxy, state.network
            ));
        }
    };
    let settings = options.settings(&cx.home)?;
    // Builds need it, the start does not; `micro run` unpacks it too if it comes first.
    let data = cx.home.data.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = sdk::unpack(&data) {
            tracing::error!(error = format!("{error:#}"), "cannot unpack the SDK");
        }
    });
    server::run(settings, ready).await
}
