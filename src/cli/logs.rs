//! `micro logs`: the output of a service.

use std::time::Duration;

use clap::Args;
use micro_sdk::{
    blocks::runtime::RuntimeClient,
    proto::runtime::{LogsOptions, LogsRequest},
};
use serde_json::json;

use super::{
    completion,
    context::{Context, within},
    failure::Failure,
    source,
    ui::Output,
};

/// Print the log of a service: what its processes wrote.
#[derive(Args)]
pub(super) struct Logs {
    /// The service, NAME or NAME@VERSION; `.` is the one in this folder.
    #[arg(add = completion::run_services())]
    service: String,
    /// How many of the last lines, exactly.
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<usize>,
    /// Go on with what is written later.
    #[arg(short, long)]
    follow: bool,
    /// Nothing older than this, such as 10m.
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::duration)]
    since: Option<Duration>,
    /// Print the time of each line, in UTC.
    #[arg(short, long)]
    timestamps: bool,
    // Takes the place of the flag of every command, whose short form `-n` means lines here.
    /// The namespace to work in.
    #[arg(
        long,
        value_name = "NAME",
        env = "MICRO_NAMESPACE",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    namespace: Option<String>,
}

/// How many lines are shown when nothing is said.
const DEFAULT_LINES: usize = 100;

impl Logs {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let (name, version) = source::name_and_version(&self.service)?;
        let connection = cx.connect().await?;
        let runtime: RuntimeClient = connection.block("runtime");
        // A time alone means all that was written since then.
        let all = if self.since.is_some() { i64::MAX } else { i64::try_from(DEFAULT_LINES)? };
        let version = source::version_of(&runtime, connection.namespace(), &name, version).await?;
        let request = LogsRequest {
            service: name,
            version,
            count: self
                .lines
                .map_or(Ok(all), i64::try_from)
                .map_err(|_| Failure::usage("-n is too large"))?,
            since: self.since.map_or(0, |since| i64::try_from(since.as_secs().max(1)).unwrap_or(i64::MAX)),
            stream: self.follow,
            options: Some(LogsOptions { namespace: connection.namespace().to_owned() }),
        };
        let mut records = runtime.logs(request).await?;
        let printing = async {
            while let Some(record) = records.next().await? {
                let time = record.metadata.get("time").cloned().unwrap_or_default();
                match cx.ui.output {
                    Output::Table | Output::Raw if self.timestamps => {
                        cx.ui.line(format_args!("{time} {}", record.message))?;
                    }
                    Output::Table | Output::Raw => cx.ui.line(&record.message)?,
                    Output::Json | Output::Jsonl => cx.ui.line(json!({
                        "time": time,
                        "stream": record.metadata.get("stream"),
                        "message": record.message,
                    }))?,
                }
            }
            Ok(())
        };
        cx.ui.while_read(within(cx.limit, printing)).await
    }
}
