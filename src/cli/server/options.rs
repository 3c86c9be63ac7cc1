//! The options of a server. One in the background takes those that are not given from the start before,
//! so that a server comes back as it was, on the same ports.

use std::time::Duration;

use clap::{Args, Parser, builder::FalseyValueParser, value_parser};
use ipnet::IpNet;

use super::super::{failure::Failure, ui::Ui};
use crate::{
    paths::Home,
    scaffold::sdk,
    server::{self, BrowserPolicy, Settings},
};

/// Where the doors are if nothing else is said.
const API: &str = "localhost:8080";
const PROXY: &str = "localhost:8081";
const NETWORK: &str = "localhost:8443";
/// A free port of this machine.
const FREE: &str = "localhost:0";
/// Bytes of messages that are held at once.
const BYTES: usize = 128 << 20;
/// How long a connection may be open without calls.
const IDLE: Duration = Duration::from_mins(5);
/// Bytes of the head of a request, and how many headers it has.
const HEAD: usize = 64 << 10;
const HEADERS: u16 = 256;
/// How long calls, and then services, may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// What is given by flags and variables; the rest is as it was before, or by default.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    #[arg(
        help = "The address of the HTTP API; localhost is 127.0.0.1 and ::1, port 0 takes a free one [default: localhost:8080]",
        long,
        value_name = "HOST:PORT",
        env = "MICRO_API_ADDRESS",
        hide_env_values = true
    )]
    api_address: Option<String>,
    /// The address of the gRPC proxy [default: localhost:8081].
    #[arg(long, value_name = "HOST:PORT", env = "MICRO_PROXY_ADDRESS", hide_env_values = true)]
    proxy_address: Option<String>,
    /// The address services use [default: localhost:8443].
    #[arg(long, value_name = "HOST:PORT", env = "MICRO_NETWORK_ADDRESS", hide_env_values = true)]
    network_address: Option<String>,
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
    /// How many bytes of messages the server holds at once [default: 128MiB].
    #[arg(
        long,
        value_name = "BYTES",
        env = "MICRO_MAX_BYTES_IN_FLIGHT",
        hide_env_values = true,
        value_parser = held
    )]
    max_bytes_in_flight: Option<usize>,
    /// How long a connection over TCP may be open without calls [default: 5m].
    #[arg(
        long,
        value_name = "DURATION",
        env = "MICRO_IDLE_TIMEOUT",
        hide_env_values = true,
        value_parser = crate::cli::duration
    )]
    idle_timeout: Option<Duration>,
    /// How large the head of a request may be [default: 64KiB].
    #[arg(
        long,
        value_name = "BYTES",
        env = "MICRO_MAX_HEADER_BYTES",
        hide_env_values = true,
        value_parser = head
    )]
    max_header_bytes: Option<usize>,
    /// How many headers a request may have [default: 256].
    #[arg(
        long,
        value_name = "COUNT",
        env = "MICRO_MAX_HEADERS",
        hide_env_values = true,
        value_parser = value_parser!(u16).range(32..=4096)
    )]
    max_headers: Option<u16>,
    /// How long calls, and then services, may take to end [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::duration)]
    grace: Option<Duration>,
}

/// Options as they are remembered: a line of flags.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
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
    /// The options of a server that a command starts by itself: what variables say, else as it was
    /// started before.
    pub(super) fn of_autostart(home: &Home, ui: &Ui) -> anyhow::Result<Self> {
        let given = Line::try_parse_from(["server"]).map_err(|error| Failure::usage(error.to_string()))?;
        Ok(given.options.over_remembered(home, ui))
    }

    /// These options, and for what they do not say those of the start before.
    pub(super) fn over_remembered(self, home: &Home, ui: &Ui) -> Self {
        let Some(before) = server::remembered_start(home) else { return self };
        let words = ["server".to_owned()].into_iter().chain(before.arguments);
        match Line::try_parse_from(words) {
            Ok(before) => self.over(before.options),
            Err(error) => {
                let error = error.to_string();
                let what = error.lines().next().unwrap_or_default();
                ui.warn(format_args!("the options of the start before cannot be used: {what}"));
                self
            }
        }
    }

    fn over(self, before: Self) -> Self {
        let doors = [&self.api_address, &self.proxy_address, &self.network_address];
        let is_placed = self.isolated || doors.iter().any(|door| door.is_some());
        let isolated = self.isolated || (before.isolated && !is_placed);
        let was_isolated = before.isolated;
        let door = |given: Option<String>, before: Option<String>| match (isolated, was_isolated) {
            (true, _) => given,
            (false, true) => Some(given.unwrap_or_else(|| FREE.to_owned())),
            (false, false) => given.or(before),
        };
        let or = |given: Vec<String>, before| if given.is_empty() { before } else { given };
        Self {
            api_address: door(self.api_address, before.api_address),
            proxy_address: door(self.proxy_address, before.proxy_address),
            network_address: door(self.network_address, before.network_address),
            isolated,
            hosts: or(self.hosts, before.hosts),
            origins: or(self.origins, before.origins),
            nodes_from: if self.nodes_from.is_empty() { before.nodes_from } else { self.nodes_from },
            // It was accepted for the addresses of that start.
            insecure: self.insecure || (before.insecure && !is_placed),
            max_bytes_in_flight: self.max_bytes_in_flight.or(before.max_bytes_in_flight),
            idle_timeout: self.idle_timeout.or(before.idle_timeout),
            max_header_bytes: self.max_header_bytes.or(before.max_header_bytes),
            max_headers: self.max_headers.or(before.max_headers),
            grace: self.grace.or(before.grace),
        }
    }

    pub(super) fn settings(self, home: &Home) -> anyhow::Result<Settings> {
        let arguments = self.arguments();
        let address = |given: Option<&str>, default| {
            let text = if self.isolated { FREE } else { given.unwrap_or(default) };
            server::address(text).map_err(|e| Failure::usage(format!("{e:#}")))
        };
        Ok(Settings {
            home: home.clone(),
            api: address(self.api_address.as_deref(), API)?,
            proxy: address(self.proxy_address.as_deref(), PROXY)?,
            network: address(self.network_address.as_deref(), NETWORK)?,
            browsers: BrowserPolicy { hosts: self.hosts, origins: self.origins },
            nodes_from: self.nodes_from,
            sdk: Some(sdk::folder(&home.data)?),
            arguments,
            insecure: self.insecure,
            grace: self.grace.unwrap_or(GRACE),
            bytes: self.max_bytes_in_flight.unwrap_or(BYTES),
            idle: self.idle_timeout.unwrap_or(IDLE),
            heads: server::Limits {
                bytes: self.max_header_bytes.unwrap_or(HEAD),
                count: self.max_headers.unwrap_or(HEADERS).into(),
            },
        })
    }

    /// The same options as flags. A server in the background inherits the variables too, which say no
    /// other.
    pub(super) fn arguments(&self) -> Vec<String> {
        let duration = |time| humantime::format_duration(time).to_string().replace(' ', "");
        let doors =
            [("api", &self.api_address), ("proxy", &self.proxy_address), ("network", &self.network_address)];
        let mut arguments: Vec<String> = doors
            .into_iter()
            .filter_map(|(door, address)| Some(format!("--{door}-address={}", address.as_ref()?)))
            .collect();
        arguments.extend(self.isolated.then(|| "--isolated".to_owned()));
        arguments.extend(self.hosts.iter().map(|host| format!("--allow-host={host}")));
        arguments.extend(self.origins.iter().map(|origin| format!("--allow-origin={origin}")));
        arguments.extend(self.nodes_from.iter().map(|network| format!("--nodes-from={network}")));
        arguments.extend(self.insecure.then(|| "--insecure".to_owned()));
        arguments.extend(self.max_bytes_in_flight.map(|bytes| format!("--max-bytes-in-flight={bytes}")));
        arguments.extend(self.idle_timeout.map(|time| format!("--idle-timeout={}", duration(time))));
        arguments.extend(self.max_header_bytes.map(|bytes| format!("--max-header-bytes={bytes}")));
        arguments.extend(self.max_headers.map(|count| format!("--max-headers={count}")));
        arguments.extend(self.grace.map(|time| format!("--grace={}", duration(time))));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without variables of the environment, which the test may have.
    fn options(words: &[&str]) -> Options {
        let command =
            <Line as clap::CommandFactory>::command().mut_args(|argument| argument.env(None::<&str>));
        let words = ["server"].iter().chain(words);
        let matches = command.try_get_matches_from(words).unwrap();
        <Options as clap::FromArgMatches>::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn what_is_given_wins_over_what_was_before() {
        for (given, before, expected) in [
            (&[][..], &[][..], &[][..]),
            (&[], &["--isolated", "--grace=1s"], &["--isolated", "--grace=1s"]),
            (&["--grace=2s"], &["--isolated", "--grace=1s"], &["--isolated", "--grace=2s"]),
            (
                &["--api-address=:1"],
                &["--isolated", "--insecure"],
                &["--api-address=:1", "--proxy-address=localhost:0", "--network-address=localhost:0"],
            ),
            (&["--isolated"], &["--api-address=:1", "--insecure"], &["--isolated"]),
            (&["--proxy-address=:2"], &["--api-address=:1"], &["--api-address=:1", "--proxy-address=:2"]),
            (&[], &["--api-address=:1", "--insecure"], &["--api-address=:1", "--insecure"]),
            (
                &["--allow-host=a"],
                &["--allow-host=b", "--nodes-from=10.0.0.0/8"],
                &["--allow-host=a", "--nodes-from=10.0.0.0/8"],
            ),
            (
                &[],
                &["--max-bytes-in-flight=128MiB", "--idle-timeout=90s"],
                &["--max-bytes-in-flight=134217728", "--idle-timeout=1m30s"],
            ),
        ] {
            let merged = options(given).over(options(before));
            let expected = options(expected);
            assert_eq!(
                Options { isolated: merged.isolated, ..expected.clone() }.arguments(),
                merged.arguments(),
                "{given:?} over {before:?}"
            );
            assert_eq!(merged.isolated, expected.isolated, "{given:?} over {before:?}");
        }
    }
}
