//! The server in the background: finds it, starts it once however many shells ask, stops it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use micro_sdk::{Channel, local::State};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::{Instant, sleep, timeout};

use super::super::{
    context::Context,
    failure::{Failure, exit},
};
use crate::{paths::create_private_folder, server::VERSION};

/// How long a server may take to answer a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a server may take to end beyond its grace period.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the end of a process is looked for, where the system does not tell it.
const LOOK: Duration = Duration::from_millis(20);
/// How many lines of the log are shown when a start fails.
const SHOWN: usize = 20;

/// The log of the server in the background.
pub(super) fn log_file(cx: &Context) -> PathBuf {
    cx.home.data.join("logs").join("server.log")
}

/// The server of this home that answers, if there is one.
pub(crate) async fn find(cx: &Context) -> Option<State> {
    let state = cx.state()?;
    let channel = Channel::unix(&state.socket);
    let probe = async {
        let request = http::Request::get("/").body(micro_sdk::tonic::body::Body::empty()).ok()?;
        let response = channel.ready().await.ok()?.send(request).await.ok()?;
        response.status().is_success().then_some(())
    };
    timeout(PROBE_TIMEOUT, probe).await.ok()??;
    Some(state)
}

/// The server of this home; with `start` it is started if none runs.
///
/// # Errors
/// None runs and none may be started, or it cannot start.
pub(crate) async fn ensure(cx: &Context, start: bool) -> anyhow::Result<State> {
    if let Some(state) = find(cx).await {
        if state.version != VERSION {
            cx.ui.warn(format_args!(
                "the server runs version {}, this is {VERSION}; replace it with `micro server restart`",
                state.version
            ));
        }
        return Ok(state);
    }
    let forbidden =
        std::env::var_os("MICRO_NO_AUTOSTART").is_some_and(|value| !value.is_empty() && value != "0");
    if !start || forbidden {
        return Err(Failure::new(exit::UNREACHABLE, "no micro server runs")
            .hint("start one with `micro server start`")
            .into());
    }
    let (state, started) = start_once(cx, &[]).await?;
    if started {
        cx.ui.say(format_args!(
            "started the micro server (pid {}); stop it with `micro server stop`",
            state.pid
        ));
    }
    Ok(state)
}

/// Starts a server with these arguments unless one runs; tells which of the two it was.
///
/// # Errors
/// It cannot start; the text has the end of its log.
pub(super) async fn start_once(cx: &Context, arguments: &[String]) -> anyhow::Result<(State, bool)> {
    let folder = cx.home.server();
    create_private_folder(&folder)?;
    create_private_folder(&cx.home.data.join("logs"))?;
    // Whoever comes second waits here, and then finds what the first has started.
    let lock = tokio::task::spawn_blocking(move || -> io::Result<File> {
        let path = folder.join("start.lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.lock()?;
        Ok(file)
    });
    let _lock = lock.await?.context("cannot lock the start of the server")?;
    if let Some(state) = find(cx).await {
        return Ok((state, false));
    }
    let log = log_file(cx);
    let length = fs::metadata(&log).map_or(0, |metadata| metadata.len());
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
    let file = file.with_context(|| format!("cannot open `{}`", log.display()))?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .args(["server", "--daemonized"])
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()
        .context("cannot start the server")?;
    let output = child.stdout.take().context("the server has no output")?;
    // It says "ready" once, or its output ends because it does.
    let ready = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).is_ok_and(|read| read > 0)
    });
    if ready.await?
        && let Some(state) = cx.state()
    {
        return Ok((state, true));
    }
    // It may have lost a race against a server in the foreground.
    if let Some(state) = find(cx).await {
        return Ok((state, false));
    }
    let written = fs::read(&log).unwrap_or_default();
    let text =
        String::from_utf8_lossy(written.get(usize::try_from(length)?..).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let shown = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
    let reason = shown.strip_prefix("error: ").unwrap_or(&shown);
    bail!("the server did not start: {reason}");
}

/// Stops the server of this home; none if none runs.
///
/// # Errors
/// It does not end.
pub(super) async fn stop(cx: &Context) -> anyhow::Result<Option<u32>> {
    let Some(state) = find(cx).await else { return Ok(None) };
    let pid = i32::try_from(state.pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("the state of the server is damaged")?;
    kill_process(pid, Signal::TERM).with_context(|| format!("cannot stop the server (pid {})", state.pid))?;
    let deadline = Instant::now() + STOP_TIMEOUT;
    // It is no child of ours, so the system does not tell us when it ends.
    while test_kill_process(pid).is_ok() {
        if Instant::now() > deadline {
            bail!(
                "the server (pid {}) does not end; look at `micro server logs`, then `kill -9 {}`",
                state.pid,
                state.pid
            );
        }
        sleep(LOOK).await;
    }
    Ok(Some(state.pid))
}
