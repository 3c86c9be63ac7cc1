use clap::Args;

use super::{
    completion,
    context::Context,
    failure::{Failure, exit},
};
use crate::scaffold::{generate, patch, sdk};

/// Generate the Rust code of a service's .proto files.
///
/// Reads `proto/*.proto` of a service and writes `src/proto/`. `micro run` does it by itself.
#[derive(Args)]
pub(super) struct Gen {
    /// The folder of the service.
    #[arg(default_value = ".", add = completion::folders())]
    folder: std::path::PathBuf,
}

impl Gen {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        if !self.folder.join("proto").is_dir() {
            return Err(Failure::new(
                exit::FAILED,
                format!("there is no folder `{}`", self.folder.join("proto").display()),
            )
            .hint("run it in the folder of a service; make one with `micro new NAME`")
            .into());
        }
        let changed = generate::generate(&self.folder)?;
        for path in &changed {
            cx.ui.line(path.display())?;
        }
        if changed.is_empty() {
            cx.ui.say("everything is up to date");
        }
        if patch::is_needed(&self.folder) {
            patch::ensure_patch(&self.folder, &sdk::unpack(&cx.home.data)?)?;
        }
        Ok(())
    }
}
