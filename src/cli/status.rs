//! `micro status`: the services of the runtime.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use micro_sdk::{
    ServiceState,
    blocks::runtime::RuntimeClient,
    proto::runtime::{ReadOptions, ReadRequest, Service},
};
use serde_json::json;

use super::{
    completion,
    context::Context,
    failure::{Failure, exit},
    source,
    ui::Output,
};

/// Show the status of the services that were run.
///
/// A service that failed is shown with the reason; the whole text of a failed build, or the last
/// lines of its log, follow the table when one service is asked for.
#[derive(Args)]
pub(super) struct Status {
    /// One service, by its name or its folder.
    #[arg(add = completion::run_services())]
    service: Option<String>,
    /// One version of it.
    version: Option<String>,
}

impl Status {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let runtime: RuntimeClient = connection.block("runtime");
        let (name, at) = match &self.service {
            Some(service) => source::name_and_version(service)?,
            None => (String::new(), None),
        };
        let options = ReadOptions {
            service: name.clone(),
            version: self.version.or(at).unwrap_or_default(),
            namespace: connection.namespace().to_owned(),
            ..ReadOptions::default()
        };
        let mut services = runtime.read(ReadRequest { options: Some(options) }).await?.services;
        services.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        if services.is_empty() && !name.is_empty() {
            return Err(Failure::new(
                exit::NOT_FOUND,
                format!("no service {name} was run in namespace {}", connection.namespace()),
            )
            .hint("run it with `micro run .` in its folder, or list all with `micro status`")
            .into());
        }
        if services.is_empty() && cx.ui.output == Output::Table {
            cx.ui.say("no services run; run one with `micro run .` in its folder");
        }
        let records: Vec<_> = services.iter().map(record).collect();
        let head = ["NAME", "VERSION", "SOURCE", "STATUS", "BUILD", "UPDATED", "METADATA"];
        cx.ui.records(&records, &head, |record| {
            let text =
                |key: &str| record[key].as_str().filter(|text| !text.is_empty()).unwrap_or("n/a").to_owned();
            let build: String = text("build").chars().take(7).collect();
            vec![
                text("name"),
                text("version"),
                text("source"),
                text("status"),
                build,
                record["updated"]
                    .as_str()
                    .and_then(|at| at.parse().ok())
                    .map_or_else(|| "unknown".to_owned(), ago),
                summary(&record["metadata"]),
            ]
        })?;
        if let ([service], false, Output::Table) = (services.as_slice(), name.is_empty(), cx.ui.output) {
            for key in ["build_log", "last_lines"] {
                if let Some(text) = service.metadata.get(key) {
                    cx.ui.line(format_args!("\n{}", text.trim_end()))?;
                }
            }
        }
        Ok(())
    }
}

fn record(service: &Service) -> serde_json::Value {
    let metadata = |key: &str| service.metadata.get(key).cloned().unwrap_or_default();
    let updated = metadata("lastStatusUpdate").parse::<Timestamp>().ok();
    // `2/3`; left out where one is wanted.
    let instances = metadata("instances");
    let state = ServiceState::of(service);
    let alone = if state == Some(ServiceState::Running) { ("1", "1") } else { ("0", "1") };
    let (running, wanted) = instances.split_once('/').unwrap_or(alone);
    let number = |text: &str| text.parse::<u64>().ok();
    json!({
        "name": service.name,
        "version": service.version,
        "source": metadata("source"),
        "status": state.map_or("", ServiceState::as_str),
        "build": metadata("build"),
        "updated": updated.map(|at| at.to_string()),
        "instances": { "running": number(running), "wanted": number(wanted) },
        "restarts": number(&metadata("restarts")).unwrap_or(0),
        "error": service.metadata.get("error"),
        "metadata": service.metadata,
    })
}

/// Owner and group as in the reference, then what is worth knowing.
fn summary(metadata: &serde_json::Value) -> String {
    let mut parts = Vec::new();
    for (label, key) in [
        ("owner", "owner"),
        ("group", "group"),
        ("instances", "instances"),
        ("restarts", "restarts"),
        ("progress", "progress"),
        ("error", "error"),
    ] {
        if let Some(value) = metadata[key].as_str() {
            let line = value.lines().next().unwrap_or_default();
            parts.push(format!("{label}={line}"));
        }
    }
    parts.join(", ")
}

/// `4s ago`, `15m3s ago`, `1d0h0m0s ago`.
fn ago(then: Timestamp) -> String {
    let seconds = Timestamp::now().as_second().saturating_sub(then.as_second());
    let age = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    format!("{} ago", duration(age))
}

/// A duration as the reference shows it: from the largest unit that is not zero.
fn duration(age: Duration) -> String {
    let total = age.as_secs();
    let (days, hours, minutes, seconds) = (total / 86_400, total / 3600 % 24, total / 60 % 60, total % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{seconds}s"),
        (0, _, _) => format!("{hours}h{minutes}m{seconds}s"),
        _ => format!("{days}d{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_in_the_reference() {
        for (seconds, text) in [
            (0, "0s"),
            (15, "15s"),
            (60, "1m0s"),
            (903, "15m3s"),
            (4532, "1h15m32s"),
            (82_808, "23h0m8s"),
            (86_400, "1d0h0m0s"),
            (1_006_400, "11d15h33m20s"),
            (110_963_400, "1284d7h10m0s"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
