//! From the source of a service to a program that can be started.
//!
//! A cargo project is built in place, into a target folder of its own: in a shared one cargo hands
//! out the wrong program when two packages have one name. The result is kept under the hash of its
//! content, so that it can be started again, also much later, without building.
//!
//! - [`project`]: what the manifest and the lock file say before a build;
//! - [`messages`]: what cargo says during one;
//! - [`binaries`]: where programs are kept.

mod binaries;
mod messages;
mod project;

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{cargo, private};

use self::{binaries::store, messages::Messages, project::Project};
use super::{
    Error,
    process::{Host, Process},
    settings::Settings,
    spawner::Program,
    spec::{BuildEnvironment, Id},
    status,
};
pub(super) use binaries::{Binaries, is_hash};

/// How long a build may take to stop once asked to.
const GRACE: Duration = Duration::from_secs(2);

/// Builds programs, only a few at a time.
#[derive(Debug)]
pub(super) struct Builder {
    host: Host,
    targets: PathBuf,
    binaries: Binaries,
    sdk: Option<PathBuf>,
    limit: Duration,
    permits: Semaphore,
}

/// What is to be built.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: Id,
    pub(super) folder: PathBuf,
    /// Which program, where the package has several.
    pub(super) program: Option<String>,
    pub(super) environment: BuildEnvironment,
}

/// Why there is no program.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was not wanted any more.
    Cancelled,
    /// It cannot be built.
    Failed {
        /// The reason in one line.
        reason: String,
        /// All that the compiler said about it; may be empty.
        log: String,
    },
}

impl Failure {
    fn because(reason: impl Display) -> Self {
        Self::Failed { reason: reason.to_string(), log: String::new() }
    }
}

impl Builder {
    pub(super) fn new(host: Host, settings: &Settings) -> Self {
        Self {
            host,
            targets: settings.folders.targets.clone(),
            binaries: Binaries::new(&settings.folders.binaries),
            sdk: settings.sdk.clone(),
            limit: settings.build_timeout,
            permits: Semaphore::new(settings.builds.max(1)),
        }
    }

    /// Where the results are kept.
    pub(super) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Builds the package in a folder and returns the content hash of its program. `progress` takes
    /// what is done now, in words. When `cancelled`, the whole tree of the build is stopped.
    pub(super) async fn build(
        &self,
        request: Request,
        progress: watch::Sender<String>,
        cancelled: CancellationToken,
    ) -> Result<String, Failure> {
        let folder = request.folder.clone();
        let project = spawn_blocking(move || Project::read(&folder))
            .await
            .map_err(Failure::because)?
            .map_err(Failure::because)?;
        if self.permits.available_permits() == 0 {
            say(&progress, "waiting for another build to end");
        }
        let permit = cancelled.run_until_cancelled(self.permits.acquire()).await.ok_or(Failure::Cancelled)?;
        let _permit = permit.map_err(Failure::because)?;
        say(&progress, "building");
        let name = project.program(request.program.as_deref()).map_err(Failure::because)?;
        let program = self.cargo(&request, &project, name)?;
        let messages = self.run(program, &project, progress, &cancelled).await?;
        let executable = messages.executable(&project, name).map_err(Failure::because)?;
        let binaries = self.binaries.clone();
        spawn_blocking(move || store(&binaries, &executable))
            .await
            .map_err(Failure::because)?
            .map_err(Failure::because)
    }

    /// The call of cargo, in an environment that says all that matters.
    fn cargo(&self, request: &Request, project: &Project, name: &str) -> Result<Program, Failure> {
        let target = self.targets.join(request.id.target(&project.folder));
        let Some(target) = target.to_str() else {
            let reason = format!("cannot build into `{}`, its path is not UTF-8", target.display());
            return Err(Failure::because(reason));
        };
        // What cargo makes there has the modes of the user's mask; nobody else gets to it.
        private::create_folder(Path::new(target)).map_err(Failure::because)?;
        let mut environment = request.environment.of_build();
        environment.extend(
            [
                ("CARGO_TARGET_DIR", target),
                ("CARGO_TERM_COLOR", "never"),
                ("CARGO_PROFILE_DEV_DEBUG", "line-tables-only"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let mut arguments = ["build", "--message-format=json", "--bin", name].map(str::to_owned).to_vec();
        if let Some(sdk) = self.sdk.as_ref().filter(|_| project.needs_sdk) {
            // A patch that nothing uses would be written into the lock file.
            let path = toml::Value::String(sdk.display().to_string());
            arguments.push("--config".to_owned());
            arguments.push(format!("patch.crates-io.{}.path={path}", cargo::SDK));
        }
        Ok(Program {
            scopes: Vec::new(),
            path: "cargo".into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            folder: project.folder.clone(),
            environment,
        })
    }

    async fn run(
        &self,
        program: Program,
        project: &Project,
        progress: watch::Sender<String>,
        cancelled: &CancellationToken,
    ) -> Result<Messages, Failure> {
        let instance = Uuid::now_v7().to_string();
        let mut process =
            Process::start(&self.host, program, &instance).await.map_err(|error| not_started(&error))?;
        let messages = Arc::new(Mutex::new(Messages::new(project.packages, progress)));
        if let Some((stdout, stderr)) = process.output() {
            process.read(messages::read_json(stdout, messages.clone()));
            process.read(messages::read_text(stderr, messages.clone()));
        }
        let ended = tokio::select! {
            ended = timeout(self.limit, process.wait()) => Some(ended),
            () = cancelled.cancelled() => None,
        };
        if !matches!(ended, Some(Ok(_))) {
            process.stop(GRACE).await;
        }
        process.finish().await;
        let messages = std::mem::take(&mut *messages.lock().unwrap_or_else(PoisonError::into_inner));
        match ended {
            None => Err(Failure::Cancelled),
            Some(Err(_)) => {
                Err(Failure::because(format!("the build took longer than {} s", self.limit.as_secs())))
            }
            Some(Ok(Err(error))) => Err(Failure::because(format!("cannot wait for cargo: {error}"))),
            Some(Ok(Ok(status))) if status.success() => Ok(messages),
            Some(Ok(Ok(status))) => {
                let reason =
                    messages.first_error().unwrap_or_else(|| format!("cargo {}", status::describe(status)));
                Err(Failure::Failed { reason, log: messages.log() })
            }
        }
    }
}

/// Whether a folder holds a package with this program, or with one that can be chosen without a name.
///
/// # Errors
/// It does not; the text says what it holds.
pub(crate) fn check_source(folder: &Path, program: Option<&str>) -> Result<(), Error> {
    Project::read(folder)?.program(program).map(drop)
}

fn not_started(error: &io::Error) -> Failure {
    let advice =
        if error.kind() == io::ErrorKind::NotFound { "; install Rust from https://rustup.rs" } else { "" };
    Failure::because(format!("{error}{advice}"))
}

fn say(progress: &watch::Sender<String>, text: &str) {
    progress.send_replace(text.to_owned());
}
