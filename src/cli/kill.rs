//! `micro kill`.

use clap::Args;
use micro_sdk::{
    blocks::runtime::RuntimeClient,
    proto::runtime::{DeleteOptions, DeleteRequest, Resource, Service},
};

use super::{
    completion,
    context::Context,
    failure::{Failure, exit},
    source,
};

/// Stop services for good; their logs stay.
#[derive(Args)]
pub(super) struct Kill {
    /// Services, NAME or NAME@VERSION; `.` is the one in this folder.
    #[arg(required = true, add = completion::run_services())]
    services: Vec<String>,
    /// Also delete their logs, their programs and the folders they were built in.
    #[arg(long)]
    purge: bool,
}

impl Kill {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let runtime: RuntimeClient = connection.block("runtime");
        // One that cannot be stopped does not keep the others alive; the last one speaks for all.
        let mut failure = None;
        for service in &self.services {
            match stop(service, connection.namespace(), self.purge, &runtime).await {
                Ok(name) if self.purge => {
                    cx.ui.say(format_args!("{name} has stopped, and nothing is left of it"));
                }
                Ok(name) => cx.ui.say(format_args!("{name} has stopped")),
                Err(error) => {
                    if let Some(earlier) = failure.replace(error) {
                        cx.ui.warn(format_args!("{earlier:#}"));
                    }
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

async fn stop(
    service: &str,
    namespace: &str,
    purge: bool,
    runtime: &RuntimeClient,
) -> anyhow::Result<String> {
    let (name, version) = source::name_and_version(service)?;
    let version = source::version_of(runtime, namespace, &name, version).await?;
    let service = Service { name: name.clone(), version, ..Service::default() };
    let request = DeleteRequest {
        resource: Some(Resource { service: Some(service), ..Resource::default() }),
        options: Some(DeleteOptions { namespace: namespace.to_owned(), purge }),
    };
    runtime.delete(request).await.map_err(|error| match error.code {
        // A server of Micro v4 says no more than that.
        404 if !error.detail.contains(&name) => {
            let text = format!("service {name} does not run in namespace {namespace}");
            Failure::new(exit::NOT_FOUND, text).hint("see what was run with `micro status`").into()
        }
        _ => anyhow::Error::from(error),
    })?;
    Ok(name)
}
