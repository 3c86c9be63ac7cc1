//! `micro server stop`.

use crate::cli::context::Context;

pub(super) async fn run(cx: &Context) -> anyhow::Result<()> {
    match cx.daemon().stop().await? {
        Some(pid) => cx.ui.say(format_args!("the micro server (pid {pid}) has stopped")),
        None => cx.ui.say("no micro server runs"),
    }
    Ok(())
}
