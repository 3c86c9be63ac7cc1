//! `micro server start`.

use clap::Args;
use micro_sdk::local::State;

use super::options::Options;
use crate::{cli::context::Context, server};

#[derive(Args)]
pub(super) struct Start {
    #[command(flatten)]
    options: Options,
    /// Forget how the server was started before: the defaults, and other ports where free ones are taken.
    #[arg(long)]
    fresh: bool,
}

impl Start {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        if self.fresh {
            server::forget_start(&cx.home)?;
        }
        let options = self.options.over_remembered(&cx.home, &cx.ui);
        let arguments = options.arguments();
        let (state, started) = cx.daemon().start_once(&arguments).await?;
        if started {
            cx.ui.say(format_args!("the micro server is running (pid {})", state.pid));
        } else {
            cx.ui.say(format_args!("the micro server runs already (pid {})", state.pid));
            if arguments != state.arguments {
                let text =
                    "it keeps the options it was started with; `micro server stop` it first to change them";
                cx.ui.warn(format_args!("{text}"));
            }
        }
        show(&state, cx);
        Ok(())
    }
}

fn show(state: &State, cx: &Context) {
    let rows = [
        ("HTTP API", format!("http://{}", state.api)),
        ("gRPC proxy", state.proxy.clone()),
        ("network", state.network.clone()),
    ];
    for (name, address) in rows {
        cx.ui.say(format_args!("  {name:<11}{address}"));
    }
    if !state.also.is_empty() {
        cx.ui.say(format_args!("  {:<11}{}", "also", state.also.join(", ")));
    }
}
