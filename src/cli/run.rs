//! `micro run`: builds a service and starts it.

use clap::Args;
use micro_sdk::{
    ServiceState,
    blocks::runtime::RuntimeClient,
    proto::runtime::{CreateOptions, CreateRequest, ReadOptions, ReadRequest, Resource, Service},
};

use super::{
    context::{Connection, Context},
    discover, dynamic,
    failure::{Failure, exit},
    known,
    source::{Launch, ServiceArgs},
};

/// Build and run the service in a folder, and keep it running.
///
/// Returns when the service is running, or says why it is not. A service that runs already is
/// updated: the old version serves until the new one is ready.
#[derive(Args)]
pub(super) struct Run {
    #[command(flatten)]
    source: ServiceArgs,
    #[command(flatten)]
    launch: Launch,
    /// Start it anew even if nothing has changed.
    #[arg(long)]
    force: bool,
    /// Reload when a file changes.
    #[arg(long, hide = true)]
    watch: bool,
    /// Run a container image.
    #[arg(long, hide = true)]
    image: Option<String>,
}

impl Run {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        if self.watch {
            return Err(Failure::new(exit::FAILED, "--watch is not available in this version of micro")
                .hint("run `micro run .` again after a change: the old version serves until the new one is ready")
                .into());
        }
        if self.image.is_some() {
            return Err(
                Failure::new(exit::FAILED, "--image is not available in this version of micro").into()
            );
        }
        let service = self.source.local(self.launch.builds(), cx)?;
        let (service, options) = self.launch.request(&self.source, service, &cx.namespace()?, &cx.ui)?;
        let connection = cx.connect().await?;
        let runtime: RuntimeClient = connection.block("runtime");
        let request = CreateRequest {
            resource: Some(Resource { service: Some(service.clone()), ..Resource::default() }),
            options: Some(CreateOptions { force: self.force, ..options }),
        };
        runtime.create(request).await?;
        if self.source.detach {
            cx.ui.say(format_args!("{} was accepted; see `micro status {}`", service.name, service.name));
            return Ok(());
        }
        wait(cx, &connection, &runtime, &service).await
    }
}

/// Waits until a service is running, showing what is being done.
///
/// # Errors
/// Its build failed, or it did; the text is the compiler's, or the end of its log.
pub(super) async fn wait(
    cx: &Context,
    connection: &Connection,
    runtime: &RuntimeClient,
    service: &Service,
) -> anyhow::Result<()> {
    let name = &service.name;
    let options = ReadOptions {
        service: name.clone(),
        version: service.version.clone(),
        namespace: connection.namespace().to_owned(),
        ..ReadOptions::default()
    };
    let mut changes = runtime.watch(ReadRequest { options: Some(options) }).await?;
    let progress = cx.ui.progress();
    while let Some(change) = changes.next().await? {
        let Some(seen) = change.service else { continue };
        let metadata = |key: &str| seen.metadata.get(key).map(String::as_str);
        if change.deleted {
            return Err(Failure::new(exit::ENDED_BADLY, format!("{name} was stopped meanwhile")).into());
        }
        let state = ServiceState::of(&seen).unwrap_or(ServiceState::Pending);
        let doing = metadata("progress");
        progress.message(match doing {
            Some(doing) => format!("{name}: {doing}"),
            None => format!("{name}: {state}"),
        });
        match (state, metadata("error")) {
            // A service that is being updated runs all the while.
            (ServiceState::Running, None) if doing.is_none() => {
                drop(progress);
                // What cannot be found out is not told.
                let schema = discover::find(cx, connection, name).await.map(|found| found.schema);
                let call = schema.ok().and_then(|schema| dynamic::example_call(&schema));
                let call = call.map(|call| format!("; call it with `{call}`")).unwrap_or_default();
                cx.ui.say(format_args!("{name} is running{call}"));
                // Completion knows it from now on; if not, only that is lost.
                if let Ok(services) = discover::list_briefly(connection, connection.namespace()).await {
                    drop(known::learn(cx, connection, services).await);
                }
                return Ok(());
            }
            (ServiceState::Running, Some(reason)) if doing.is_none() => {
                drop(progress);
                return Err(ended_badly(
                    &seen,
                    &format!("{name} was not updated, the old version still runs: {reason}"),
                ));
            }
            (ServiceState::Failed, reason) => {
                drop(progress);
                return Err(ended_badly(
                    &seen,
                    &format!("{name} does not run: {}", reason.unwrap_or("it failed")),
                ));
            }
            (ServiceState::Stopped, _) => {
                return Err(Failure::new(exit::ENDED_BADLY, format!("{name} was stopped")).into());
            }
            _ => {}
        }
    }
    Err(Failure::new(exit::UNREACHABLE, "the server ended before the service was running").into())
}

fn ended_badly(service: &Service, message: &str) -> anyhow::Error {
    let mut text = message.to_owned();
    for key in ["build_log", "last_lines"] {
        if let Some(detail) = service.metadata.get(key) {
            text += &format!("\n{}", detail.trim_end());
        }
    }
    let mut hint = "mend it, then `micro run` it again".to_owned();
    if service.metadata.contains_key("last_lines") {
        hint += &format!("; see also `micro logs {}`", service.name);
    }
    Failure::new(exit::ENDED_BADLY, text).hint(hint).into()
}
