//! `micro server`: in the foreground, or in the background by `start`, `stop`, `restart`, `status`
//! and `logs`.

pub(super) mod daemon;
mod log;
mod options;

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use micro_sdk::local::State;
use serde_json::json;

use daemon::Probe;
use options::Options;

use super::{
    context::Context,
    failure::{Failure, exit},
};
use crate::{scaffold::sdk, server};

/// How often a growing log is looked at.
const FOLLOW: Duration = Duration::from_millis(100);
/// Bytes of a log that are read first to find its last lines.
const BLOCK: u64 = 64 << 10;

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
    Start(Box<Start>),
    /// Stop the server and the services it runs.
    Stop,
    /// Stop the server, then start it again with the same options and ports; services come back by themselves.
    Restart(Box<Start>),
    /// Show whether the server runs, and where.
    Status,
    /// Print the log of the server in the background.
    Logs(Logs),
}

#[derive(Args)]
struct Start {
    #[command(flatten)]
    options: Options,
    /// Forget how the server was started before: the defaults, and other ports where free ones are taken.
    #[arg(long)]
    fresh: bool,
}

#[derive(Args)]
struct Logs {
    /// How many of the last lines.
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,
    /// Go on with what is written later.
    #[arg(short, long)]
    follow: bool,
    /// Chosen for all commands.
    #[arg(long, hide = true)]
    namespace: Option<String>,
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
            Some(Action::Stop) => stop(cx).await,
            Some(Action::Restart(start)) => {
                // Also of one that does not answer any more.
                stop(cx).await?;
                start.run(cx).await
            }
            Some(Action::Status) => status(cx).await,
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

impl Start {
    async fn run(self, cx: &Context) -> anyhow::Result<()> {
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

async fn stop(cx: &Context) -> anyhow::Result<()> {
    match cx.daemon().stop().await? {
        Some(pid) => cx.ui.say(format_args!("the micro server (pid {pid}) has stopped")),
        None => cx.ui.say("no micro server runs"),
    }
    Ok(())
}

async fn status(cx: &Context) -> anyhow::Result<()> {
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

impl Logs {
    async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let path = cx.daemon().log_file();
        let hint = "only a server in the background keeps one: start it with `micro server start`";
        let missing =
            || Failure::new(exit::NOT_FOUND, format!("there is no log `{}`", path.display())).hint(hint);
        let mut file = File::open(&path).map_err(|_| missing())?;
        let unreadable = || format!("cannot read `{}`", path.display());
        let mut text = end_of(&mut file, self.lines).with_context(unreadable)?;
        // What is missing stands at the end of the files before it.
        for older in log::files(&path).iter().rev().skip(1) {
            let missing = self.lines.saturating_sub(text.split(|byte| *byte == b'\n').count() - 1);
            if missing == 0 {
                break;
            }
            let mut older = File::open(older).with_context(unreadable)?;
            text.splice(0..0, end_of(&mut older, missing).with_context(unreadable)?);
        }
        loop {
            // What has no end yet is printed when it has one, or when nothing follows.
            while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                log::print(&String::from_utf8_lossy(&line[..end]), &cx.ui)?;
            }
            if !self.follow {
                return if text.is_empty() {
                    Ok(())
                } else {
                    Ok(log::print(&String::from_utf8_lossy(&text), &cx.ui)?)
                };
            }
            tokio::time::sleep(FOLLOW).await;
            if replaced(&file, &path) {
                file.read_to_end(&mut text).with_context(unreadable)?;
                file = File::open(&path).map_err(|_| missing())?;
            }
            file.read_to_end(&mut text).with_context(unreadable)?;
        }
    }
}

/// The last lines of a file, and the file at its end. Reads from the end, however long the file is.
fn end_of(file: &mut File, lines: usize) -> std::io::Result<Vec<u8>> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut taken = BLOCK.min(length);
    loop {
        file.seek(SeekFrom::Start(length - taken))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let ends = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
        // The last line may have no end yet.
        let whole = usize::from(text.last() == Some(&b'\n'));
        if let Some((end, _)) = ends.clone().nth(lines.saturating_sub(1) + whole).filter(|_| lines > 0) {
            return Ok(text.split_off(end + 1));
        }
        if lines == 0 || taken == length {
            return Ok(if lines == 0 { Vec::new() } else { text });
        }
        taken = (taken * 2).min(length);
    }
}

/// Whether another file has taken the place of this one.
fn replaced(file: &File, path: &std::path::Path) -> bool {
    let inode = |metadata: std::fs::Metadata| metadata.ino();
    match (file.metadata().map(inode), std::fs::metadata(path).map(inode)) {
        (Ok(ours), Ok(theirs)) => ours != theirs,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_exact_however_long_its_lines_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let long = "x".repeat(usize::try_from(BLOCK).unwrap());
        let lines = ["first", &long, "", "third", &long, "last"];
        for (text, ended) in [(lines.join("\n"), false), (lines.join("\n") + "\n", true)] {
            std::fs::write(&path, text).unwrap();
            for count in 0..=7 {
                let end = end_of(&mut File::open(&path).unwrap(), count).unwrap();
                let expected = lines[lines.len() - count.min(6)..].join("\n");
                let expected = expected + if ended && count > 0 { "\n" } else { "" };
                assert_eq!(String::from_utf8(end).unwrap(), expected, "{count} lines");
            }
        }
    }
}
