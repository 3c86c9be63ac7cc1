//! `micro server`: in the foreground, or in the background by `start`, `stop`, `restart`, `status`
//! and `logs`.

pub(super) mod daemon;
mod log;

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Subcommand, builder::FalseyValueParser, value_parser};
use ipnet::IpNet;
use micro_sdk::local::State;
use serde_json::json;

use daemon::Probe;

use super::{
    context::Context,
    failure::{Failure, exit},
};
use crate::{
    scaffold::sdk,
    server::{self, Settings, Welcome},
};

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
    /// Start the server in the background.
    Start(Box<Options>),
    /// Stop the server and the services it runs.
    Stop,
    /// Stop the server, then start it again with the same options; services come back by themselves.
    Restart,
    /// Show whether the server runs, and where.
    Status,
    /// Print the log of the server in the background.
    Logs(Logs),
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

#[derive(Args)]
struct Options {
    #[arg(
        help = "The address of the HTTP API; localhost is 127.0.0.1 and ::1, port 0 takes a free one",
        long,
        value_name = "HOST:PORT",
        env = "MICRO_API_ADDRESS",
        hide_env_values = true,
        default_value = "localhost:8080"
    )]
    api_address: String,
    /// The address of the gRPC proxy.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "MICRO_PROXY_ADDRESS",
        hide_env_values = true,
        default_value = "localhost:8081"
    )]
    proxy_address: String,
    /// The address services use.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "MICRO_NETWORK_ADDRESS",
        hide_env_values = true,
        default_value = "localhost:8443"
    )]
    network_address: String,
    /// Take free ports for all addresses.
    #[arg(long, env = "MICRO_ISOLATED", hide_env_values = true, value_parser = FalseyValueParser::new())]
    isolated: bool,
    /// A name this server answers to, beside localhost and IP addresses; may be repeated.
    #[arg(
        long = "allow-host",
        value_name = "NAME",
        env = "MICRO_ALLOW_HOSTS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    hosts: Vec<String>,
    /// An origin whose web pages may call the HTTP API; may be repeated.
    #[arg(
        long = "allow-origin",
        value_name = "ORIGIN",
        env = "MICRO_ALLOW_ORIGINS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    origins: Vec<String>,
    /// Take nodes of services from this network, beside this machine; may be repeated.
    #[arg(
        long = "nodes-from",
        value_name = "CIDR",
        env = "MICRO_NODES_FROM",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = server::network
    )]
    nodes_from: Vec<IpNet>,
    /// Listen beyond this machine although nothing is encrypted.
    #[arg(long)]
    insecure: bool,
    /// How many bytes of messages the server holds at once, such as 128MiB.
    #[arg(
        long,
        value_name = "BYTES",
        env = "MICRO_MAX_BYTES_IN_FLIGHT",
        hide_env_values = true,
        default_value = "128MiB",
        value_parser = held
    )]
    max_bytes_in_flight: usize,
    /// How long a connection over TCP may be open without calls.
    #[arg(
        long,
        value_name = "DURATION",
        env = "MICRO_IDLE_TIMEOUT",
        hide_env_values = true,
        default_value = "5m",
        value_parser = humantime::parse_duration
    )]
    idle_timeout: Duration,
    /// How large the head of a request may be, such as 64KiB.
    #[arg(
        long,
        value_name = "BYTES",
        env = "MICRO_MAX_HEADER_BYTES",
        hide_env_values = true,
        default_value = "64KiB",
        value_parser = head
    )]
    max_header_bytes: usize,
    /// How many headers a request may have.
    #[arg(
        long,
        value_name = "COUNT",
        env = "MICRO_MAX_HEADERS",
        hide_env_values = true,
        default_value_t = 256,
        value_parser = value_parser!(u16).range(32..=4096)
    )]
    max_headers: u16,
    /// How long calls, and then services, may take to end.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    grace: Duration,
}

/// Reads how many bytes of messages may be held.
fn held(text: &str) -> anyhow::Result<usize> {
    let bytes = server::bytes(text)?;
    anyhow::ensure!(
        bytes >= server::LEAST_BYTES,
        "less than {} MiB has no room for the largest messages",
        server::LEAST_BYTES >> 20
    );
    Ok(bytes)
}

/// Reads how large the head of a request may be. Beyond that, services would not take it.
fn head(text: &str) -> anyhow::Result<usize> {
    const LEAST: usize = 8 << 10;
    const MOST: usize = micro_sdk::header::MOST as usize / 2;
    let bytes = server::bytes(text)?;
    anyhow::ensure!(
        (LEAST..=MOST).contains(&bytes),
        "between {} KiB and {} KiB are possible",
        LEAST >> 10,
        MOST >> 10
    );
    Ok(bytes)
}

impl Options {
    fn settings(self, cx: &Context) -> anyhow::Result<Settings> {
        let arguments = self.arguments();
        let address = |text: &str| {
            if self.isolated { server::address("localhost:0") } else { server::address(text) }
                .map_err(|e| Failure::usage(format!("{e:#}")))
        };
        let (api, proxy, network) =
            (address(&self.api_address)?, address(&self.proxy_address)?, address(&self.network_address)?);
        Ok(Settings {
            home: cx.home.clone(),
            api,
            proxy,
            network,
            welcome: Welcome { hosts: self.hosts, origins: self.origins },
            nodes_from: self.nodes_from,
            sdk: Some(sdk::folder(&cx.home.data)?),
            arguments,
            insecure: self.insecure,
            grace: self.grace,
            bytes: self.max_bytes_in_flight,
            idle: self.idle_timeout,
            heads: server::Limits { bytes: self.max_header_bytes, count: self.max_headers.into() },
        })
    }

    /// The same options for a server in the background. Those that came from variables are
    /// inherited, but saying them twice does no harm.
    fn arguments(&self) -> Vec<String> {
        let duration = |time| humantime::format_duration(time).to_string().replace(' ', "");
        let mut arguments = vec![
            format!("--api-address={}", self.api_address),
            format!("--proxy-address={}", self.proxy_address),
            format!("--network-address={}", self.network_address),
            format!("--grace={}", duration(self.grace)),
            format!("--idle-timeout={}", duration(self.idle_timeout)),
            format!("--max-bytes-in-flight={}", self.max_bytes_in_flight),
            format!("--max-header-bytes={}", self.max_header_bytes),
            format!("--max-headers={}", self.max_headers),
        ];
        arguments.extend(self.hosts.iter().map(|host| format!("--allow-host={host}")));
        arguments.extend(self.origins.iter().map(|origin| format!("--allow-origin={origin}")));
        arguments.extend(self.nodes_from.iter().map(|network| format!("--nodes-from={network}")));
        arguments.extend(self.isolated.then(|| "--isolated".to_owned()));
        arguments.extend(self.insecure.then(|| "--insecure".to_owned()));
        arguments
    }
}

impl Server {
    /// The runtime a server needs differs from that of a command.
    pub(super) fn in_foreground(&self) -> bool {
        self.action.is_none()
    }

    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.action {
            None => foreground(self.options, self.daemonized, cx).await,
            Some(Action::Start(options)) => start(&options.arguments(), cx).await,
            Some(Action::Stop) => stop(cx).await,
            Some(Action::Restart) => {
                // Also of one that does not answer any more.
                let arguments = cx.state().map(|state| state.arguments).unwrap_or_default();
                stop(cx).await?;
                start(&arguments, cx).await
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
    log::begin(daemonized.then(|| daemon::log_file(cx)).as_deref());
    let ui = cx.ui.clone();
    let ready = move |state: &State| {
        if daemonized {
            // Whoever started this waits for one line; if nobody does any more, that is fine.
            drop(writeln!(std::io::stdout(), "ready"));
        } else {
            ui.say(format_args!(
                "the micro server is ready: HTTP API on http://{}, gRPC proxy on {}, services on {}; Ctrl-C ends it",
                state.api, state.proxy, state.network
            ));
        }
    };
    let settings = options.settings(cx)?;
    // Builds need it, the start does not; `micro run` unpacks it too if it comes first.
    let data = cx.home.data.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = sdk::unpack(&data) {
            tracing::error!(error = format!("{error:#}"), "cannot unpack the SDK");
        }
    });
    server::run(settings, ready).await
}

async fn start(arguments: &[String], cx: &Context) -> anyhow::Result<()> {
    let (state, started) = daemon::start_once(cx, arguments).await?;
    if started {
        cx.ui.say(format_args!("the micro server is running (pid {})", state.pid));
    } else {
        cx.ui.say(format_args!("the micro server runs already (pid {})", state.pid));
    }
    show(&state, cx);
    Ok(())
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
    match daemon::stop(cx).await? {
        Some(pid) => cx.ui.say(format_args!("the micro server (pid {pid}) has stopped")),
        None => cx.ui.say("no micro server runs"),
    }
    Ok(())
}

async fn status(cx: &Context) -> anyhow::Result<()> {
    let state = match daemon::probe(cx).await {
        Probe::Answers(running) => running.state,
        Probe::Silent(pid) => return Err(daemon::silent(pid)),
        Probe::Nothing => return Err(daemon::nothing()),
    };
    let record = json!({
        "pid": state.pid, "version": state.version, "api": state.api, "proxy": state.proxy,
        "network": state.network, "also": state.also, "socket": state.socket, "troubles": state.troubles,
    });
    for trouble in &state.troubles {
        cx.ui.warn(trouble);
    }
    let head = ["PID", "VERSION", "API", "PROXY", "NETWORK", "ALSO"];
    cx.ui.records(&[record], &head, |_| {
        vec![
            state.pid.to_string(),
            state.version.clone(),
            state.api.clone(),
            state.proxy.clone(),
            state.network.clone(),
            state.also.join(" "),
        ]
    })
}

impl Logs {
    async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let path = daemon::log_file(cx);
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
                cx.ui.text(&String::from_utf8_lossy(&line[..end]))?;
            }
            if !self.follow {
                return if text.is_empty() {
                    Ok(())
                } else {
                    Ok(cx.ui.text(&String::from_utf8_lossy(&text))?)
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
