//! `micro update`: replaces a running service by a new build.

use std::path::Path;

use clap::Args;
use micro_sdk::{
    blocks::runtime::RuntimeClient,
    proto::runtime::{ReadOptions, ReadRequest, Resource, UpdateRequest},
};

use super::{
    context::Context,
    failure::{Failure, exit},
    run,
    source::{self, Launch, ServiceArgs},
};

/// Build a service anew and put it in the place of the one that runs.
///
/// Takes the folder, or the name of a service that runs; the old version serves until the new one
/// is ready. What is not named stays as it is: variables that are given are set, the others stay.
#[derive(Args)]
pub(super) struct Update {
    #[command(flatten)]
    source: ServiceArgs,
    #[command(flatten)]
    launch: Launch,
}

impl Update {
    pub(super) async fn run(mut self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let runtime: RuntimeClient = connection.block("runtime");
        let namespace = connection.namespace().to_owned();
        let (named, version) = source::name_and_version(&self.source.folder)?;
        let here = Path::new(&self.source.folder).exists();
        let name = self.source.name.clone().unwrap_or(named);
        let given = version.or(self.source.version.take());
        let options = ReadOptions {
            service: name.clone(),
            version: source::version_of(&runtime, &namespace, &name, given).await?,
            namespace: namespace.clone(),
            ..ReadOptions::default()
        };
        let known = runtime.read(ReadRequest { options: Some(options) }).await?.services;
        let Some(known) = known.into_iter().next() else {
            let text = if here {
                format!("`{name}` was not run yet")
            } else {
                format!("no service `{name}` was run, and there is no such folder")
            };
            let hint = if here { "run it with `micro run`" } else { "list what was run with `micro status`" };
            let above = source::above(Path::new(&self.source.folder), "update");
            let hint = above.unwrap_or_else(|| hint.to_owned());
            return Err(Failure::new(exit::NOT_FOUND, text).hint(hint).into());
        };
        // What runs by a command is not built.
        let builds = !known.metadata.contains_key("command");
        // A service that runs is known by its name and brings its folder.
        (self.source.name, self.source.version) = (Some(known.name), Some(known.version));
        if !here {
            self.source.folder = known.source;
        }
        let service = self.source.local(builds, cx)?;
        let (service, options) = self.launch.update(&self.source, service, &namespace, &cx.ui)?;
        let request = UpdateRequest {
            resource: Some(Resource { service: Some(service.clone()), ..Resource::default() }),
            options: Some(options),
        };
        runtime.update(request).await?;
        if self.source.detach {
            cx.ui.say(format_args!("{} is being updated; see `micro status {}`", service.name, service.name));
            return Ok(());
        }
        run::wait(cx, &connection, &runtime, &service).await
    }
}
