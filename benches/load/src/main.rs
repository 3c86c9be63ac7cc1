//! The load `scripts/bench` puts on a server. `calls` sends one request again and again and waits
//! for each answer; `messages` sends those of a file; `until` waits until an answer holds a text;
//! `starts` starts a command again and again and waits for its end; `connects` makes connections with one
//! request each, `connections` keeps as many open; `gateway` and `forwarder` serve what a call costs with
//! nothing between, `handler` a service by the SDK, and without it. Prints one JSON object. It knows nothing of budgets, homes or pairs: that
//! is the script's part.

mod calls;
mod connections;
mod floors;
mod handlers;
mod starts;
mod until;

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Result, bail};
use serde_json::Value;

const USAGE: &str = "usage:
  micro-load calls grpc|http ADDRESS SERVICE IN-FLIGHT SECONDS NAME-BYTES [PID]
  micro-load messages ADDRESS PATH IN-FLIGHT SECONDS FILE [PID]
  micro-load until ADDRESS SERVICE TEXT
  micro-load starts COUNT COMMAND [ARGUMENT]...
  micro-load connects ADDRESS IN-FLIGHT SECONDS PID
  micro-load connections ADDRESS COUNT
  micro-load gateway ADDRESS
  micro-load forwarder ADDRESS
  micro-load handler sdk|spans|tonic|hyper
SERVICE is a name, or the path of the method where it has a `/`.
FILE holds encoded messages, each after its length in four bytes, big endian.
MICRO_LOAD_TOKEN is the token the calls carry. PID is the process whose CPU time is counted.";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let report = match words.as_slice() {
        ["calls", rest @ ..] => match calls::Plan::parse(rest)? {
            Some(plan) => calls::run(&plan)?,
            None => bail!(USAGE),
        },
        ["messages", rest @ ..] => match calls::Plan::parse_messages(rest)? {
            Some(plan) => calls::run(&plan)?,
            None => bail!(USAGE),
        },
        ["until", address, service, text] => until::run(address, service, text)?,
        ["starts", count, command @ ..] if !command.is_empty() => starts::run(count.parse()?, command)?,
        ["connects", address, at_once, seconds, pid] => {
            let time = Duration::from_secs_f64(seconds.parse()?);
            connections::rate(address, at_once.parse()?, time, pid.parse()?)?
        }
        ["connections", address, count] => return connections::hold(address, count.parse()?),
        ["gateway", address] => return floors::gateway(address),
        ["forwarder", address] => return floors::forwarder(address),
        ["handler", kind] => return handlers::run(kind),
        _ => bail!(USAGE),
    };
    print(&report)
}

fn print(report: &Value) -> Result<()> {
    writeln!(io::stdout(), "{report}")?;
    Ok(())
}

/// The value below which this share of a sorted list lies; 0 for an empty list.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "an index of a list in memory")]
    let index = (last as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(0.0)
}
