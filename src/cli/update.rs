use clap::Args;
use micro_sdk::{
    blocks::runtime::RuntimeClient,
    proto::runtime::{ReadOptions, ReadRequest, Resource, Service, UpdateRequest},
};

use super::{
    context::Context,
    failure::{Failure, exit},
    run,
    source::{self, Source},
};

/// Build a service anew and put it in the place of the one that runs.
///
/// Takes the folder, or the name of a service that runs; the old version serves until the new one
/// is ready.
#[derive(Args)]
pub(super) struct Update {
    #[command(flatten)]
    source: Source,
}

impl Update {
    pub(super) async fn run(mut self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let runtime: RuntimeClient = connection.block("runtime")?;
        let namespace = connection.namespace().to_owned();
        let (name, version) = source::name_and_version(&self.source.folder)?;
        // A service that runs is known by its name and brings its folder.
        if !std::path::Path::new(&self.source.folder).exists() {
            let options = ReadOptions {
                service: name.clone(),
                version: version.unwrap_or_else(|| self.source.version.clone()),
                namespace: namespace.clone(),
                ..ReadOptions::default()
            };
            let known = runtime.read(ReadRequest { options: Some(options) }).await?.services;
            let Some(Service { name, version, source, .. }) = known.into_iter().next() else {
                let text = format!("no service `{name}` was run, and there is no such folder");
                return Err(Failure::new(exit::NOT_FOUND, text)
                    .hint("list what was run with `micro status`")
                    .into());
            };
            (self.source.folder, self.source.version) = (source, version);
            self.source.name = self.source.name.or(Some(name));
        }
        let service = self.source.local(false, cx)?;
        if std::path::Path::new(&service.source).join("Cargo.toml").is_file() {
            source::prepare(std::path::Path::new(&service.source), cx)?;
        }
        let request = UpdateRequest {
            resource: Some(Resource { service: Some(service.clone()), ..Resource::default() }),
            options: Some(self.source.update_options(&namespace)),
        };
        runtime.update(request).await?;
        if self.source.detach {
            cx.ui.say(format_args!("{} is being updated; see `micro status {}`", service.name, service.name));
            return Ok(());
        }
        run::wait(cx, &connection, &runtime, &service).await
    }
}
