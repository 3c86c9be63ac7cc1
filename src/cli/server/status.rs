//! `micro server status`.

use serde_json::json;

use super::daemon::{self, Probe};
use crate::cli::context::Context;

pub(super) async fn run(cx: &Context) -> anyhow::Result<()> {
    let state = match cx.daemon().probe().await {
        Probe::Answers(running) => running.state,
        Probe::Silent(pid) => return Err(daemon::silent(pid)),
        Probe::Nothing => return Err(daemon::nothing()),
    };
    let record = json!({
        "pid": state.pid, "version": state.version, "api": state.api, "proxy": state.proxy,
        "network": state.network, "also": state.also, "socket": state.socket, "arguments": state.arguments,
        "troubles": state.troubles,
    });
    for trouble in &state.troubles {
        cx.ui.warn(trouble);
    }
    let head = ["PID", "VERSION", "API", "PROXY", "NETWORK", "ALSO", "OPTIONS"];
    cx.ui.records(&[record], &head, |_| {
        vec![
            state.pid.to_string(),
            state.version.clone(),
            state.api.clone(),
            state.proxy.clone(),
            state.network.clone(),
            state.also.join(" "),
            state.arguments.join(" "),
        ]
    })
}
