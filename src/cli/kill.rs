use clap::Args;
use micro_sdk::{
    blocks::runtime::RuntimeClient,
    proto::runtime::{DeleteOptions, DeleteRequest, Resource, Service},
};

use super::{completion, context::Context, source};

/// Stop services and forget them; their logs stay.
#[derive(Args)]
pub(super) struct Kill {
    /// Services, NAME or NAME@VERSION; `.` is the one in this folder.
    #[arg(required = true, add = completion::services())]
    services: Vec<String>,
}

impl Kill {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let runtime: RuntimeClient = connection.block("runtime")?;
        for service in &self.services {
            let (name, version) = source::name_and_version(service)?;
            let service =
                Service { name: name.clone(), version: version.unwrap_or_default(), ..Service::default() };
            let request = DeleteRequest {
                resource: Some(Resource { service: Some(service), ..Resource::default() }),
                options: Some(DeleteOptions { namespace: connection.namespace().to_owned() }),
            };
            runtime.delete(request).await?;
            cx.ui.say(format_args!("{name} has stopped"));
        }
        Ok(())
    }
}
