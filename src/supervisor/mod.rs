//! Child processes: builds the program of a service, starts it, watches it, starts it again when it
//! ends, and keeps what it writes.
//!
//! The supervisor is told what is wanted ([`Spec`]) and says how it goes ([`Snapshot`]). It knows
//! nothing of registries, accounts or calls: those ask and answer through [`Owner`], and it keeps no
//! list of services beyond the life of the server, which is its owner's too.
//!
//! - [`service`]: one task a service: what is to run, and the change from old to new;
//! - [`instance`]: one task an instance: start, watch, [back off](backoff), start again;
//! - [`build`]: from sources to a program;
//! - [`process`], [`spawner`], [`shim`], [`group`]: one child, from start to end;
//! - [`leftovers`], [`identity`]: children of a server that was killed;
//! - [`logs`]: what children write;
//! - [`disk`]: what services leave behind.

mod backoff;
mod build;
pub(crate) mod descriptors;
mod disk;
mod error;
mod group;
mod identity;
mod instance;
mod leftovers;
mod logs;
mod process;
mod service;
mod settings;
pub(crate) mod shim;
mod spawner;
mod spec;
mod status;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::spawn_blocking,
};

use self::{
    build::Builder,
    disk::{Of, Wanted},
    instance::{Health, Seen},
    leftovers::Records,
    logs::{Files, Journal},
    process::Host,
    service::{Command, Context, Service},
    spawner::Spawner,
};
pub(crate) use self::{
    build::check_source,
    disk::Leftover,
    error::Error,
    logs::{LogLines, Tail},
    settings::{Folders, Settings},
    spec::{BuildEnvironment, Id, RestartPolicy, Source, Spec},
    status::{Snapshot, State},
};
use crate::{
    backlog::{Backlog, Follower, Limits},
    private,
    tasks::Tasks,
};
pub(crate) use leftovers::INSTANCE_VARIABLE;

/// A program younger than this is kept: it may just be about to be started.
const MINIMUM_AGE: Duration = Duration::from_mins(1);

/// Changes that may wait for a slow watcher before it misses some.
const WATCH_BACKLOG: Limits = Limits { count: 1024, bytes: 4 << 20 };
/// What a service may be told and has not heard yet; who tells more waits.
const COMMANDS: usize = 64;

/// What the supervisor asks and tells its owner. The calls come from its tasks and must not block.
pub(crate) trait Owner: Send + Sync + 'static {
    /// Variables for a new process of this service; they win over the user's. Asked once a start;
    /// `instance` is unique to it, and is the process's `MICRO_INSTANCE`; `scopes` are [`Spec::scopes`].
    fn environment(&self, id: &Id, instance: &str, scopes: &[String]) -> Vec<(String, String)>;
    /// A build succeeded: its program is kept under this content hash (SHA-256, hexadecimal).
    fn built(&self, id: &Id, hash: &str);
    /// The process is about to be told to stop: nothing new should be sent to it.
    fn stopping(&self, id: &Id, instance: &str);
    /// The process ended, or could not be started: called once for each `environment`, before
    /// anything is started in its place.
    fn exited(&self, id: &Id, instance: &str);
}

/// What becomes of a service that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Run the program named by [`Spec::binary`], or build it when it is not kept; what runs like
    /// this already is left alone. Also goes back to an older build.
    Start,
    /// Build; when anything differs from what runs, replace that once the new is ready.
    Update,
    /// As `Update`, also when nothing differs.
    Replace,
}

/// The supervisor; cheap to clone.
#[derive(Clone)]
pub(crate) struct Supervisor {
    context: Arc<Context>,
    services: Arc<Mutex<Services>>,
}

#[derive(Default)]
struct Services {
    known: HashMap<Id, Handle>,
    stopping: bool,
}

#[derive(Clone)]
struct Handle {
    commands: mpsc::Sender<Command>,
    snapshot: watch::Receiver<Snapshot>,
    written: watch::Receiver<()>,
}

impl Handle {
    /// Whether its task runs, if only to end.
    fn is_there(&self) -> bool {
        self.snapshot.has_changed().is_ok()
    }

    /// Waits until nothing of the service is left.
    async fn gone(mut self) {
        while self.snapshot.changed().await.is_ok() {}
    }
}

impl Supervisor {
    /// Makes the folders, kills what an earlier server left running, and begins to take services.
    pub(crate) async fn start(
        mut settings: Settings,
        owner: Arc<dyn Owner>,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let absolute = settings.folders.absolute();
        settings.folders =
            absolute.map_err(|error| Error::file("find", &settings.folders.children, error))?;
        let folders = settings.folders.clone();
        let records = Records::new(&folders.children);
        let cleaning = records.clone();
        let clean = move || {
            for folder in [&folders.binaries, &folders.targets, &folders.logs, &folders.children] {
                private::create_folder(folder)
                    .map_err(|error| Error::file("make the folder", folder, error))?;
            }
            cleaning
                .stop_leftovers()
                .map_err(|error| Error::file("read the records of children in", &folders.children, error))
        };
        let killed = spawn_blocking(clean).await.map_err(|error| Error::Thread(error.into()))??;
        if killed > 0 {
            tracing::info!(killed, "stopped processes that an earlier server left running");
        }
        let spawner = Spawner::start(settings.shim.clone(), records.clone()).map_err(Error::Thread)?;
        let host = Host { spawner, records, tasks: tasks.clone() };
        let context = Context {
            builder: Arc::new(Builder::new(host.clone(), &settings)),
            host,
            owner,
            settings: Arc::new(settings),
            changes: Backlog::new(WATCH_BACKLOG),
        };
        Ok(Self { context: Arc::new(context), services: Arc::default() })
    }

    /// Creates a service or changes it; returns when that was accepted. How it goes is told by
    /// [`Supervisor::watch`].
    pub(crate) async fn apply(&self, spec: Spec, change: Change) -> Result<(), Error> {
        loop {
            let handle = self.handle(&spec.id)?;
            let (accepted, answer) = oneshot::channel();
            let command = Command::Apply { spec: Box::new(spec.clone()), change, accepted };
            if handle.commands.send(command).await.is_ok() && answer.await.is_ok() {
                return Ok(());
            }
            // It is just being removed; the next one starts when nothing of it is left.
            handle.gone().await;
        }
    }

    /// Stops a service, also in the middle of a build, and forgets it; its logs stay. Returns when
    /// nothing of it is left.
    pub(crate) async fn remove(&self, id: &Id) -> Result<(), Error> {
        let handle = self.known(id).ok_or_else(|| Error::Unknown(id.clone()))?;
        end(handle).await;
        Ok(())
    }

    /// Stops all services at the same time and takes no new ones. Returns when nothing is left.
    pub(crate) async fn stop_all(&self) {
        let handles: Vec<Handle> = {
            let mut services = self.lock();
            services.stopping = true;
            services.known.values().cloned().collect()
        };
        join_all(handles.into_iter().map(end)).await;
    }

    /// How a service is doing.
    pub(crate) fn snapshot(&self, id: &Id) -> Option<Snapshot> {
        Some(self.known(id)?.snapshot.borrow().clone())
    }

    /// How all services are doing, in the order of their ids.
    pub(crate) fn list(&self) -> Vec<Snapshot> {
        let mut list: Vec<Snapshot> =
            self.lock().known.values().map(|handle| handle.snapshot.borrow().clone()).collect();
        list.sort_by(|one, other| one.id.cmp(&other.id));
        list
    }

    /// Each change of each service from now on; the last of a removed one is `Stopped`. A watcher
    /// that lags behind is told so, and asks for the [list](Supervisor::list) again.
    pub(crate) fn watch(&self) -> Follower<Arc<Snapshot>> {
        self.context.changes.follow()
    }

    /// The owner saw the instance registered and answering, for the first time or again.
    pub(crate) fn ready(&self, id: &Id, instance: &str) {
        self.seen(id, instance, Health::Good);
    }

    /// The owner saw that the instance, which was ready before, does not answer.
    pub(crate) fn unhealthy(&self, id: &Id, instance: &str, reason: &str) {
        self.seen(id, instance, Health::Bad(reason.to_owned()));
    }

    /// What the processes of a service wrote, also of one that was removed. Following ends when the
    /// service is removed.
    pub(crate) async fn logs(&self, id: &Id, tail: Tail) -> Result<LogLines, Error> {
        let files = self.log_files(id);
        let written = if let Some(handle) = self.known(id) {
            handle.written
        } else {
            let looked = files.clone();
            if !spawn_blocking(move || looked.exist()).await.is_ok_and(|exist| exist) {
                return Err(Error::NoLogs(id.clone()));
            }
            // Nobody writes to it, which ends following after what is there.
            watch::channel(()).1
        };
        Ok(logs::read(files, tail, written, &self.context.host.tasks))
    }

    /// Deletes kept programs whose content hash is not wanted, but never those that run.
    pub(crate) async fn retain_binaries(
        &self,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<(), Error> {
        let binaries = self.context.builder.binaries().clone();
        let running: HashSet<String> = self.list().into_iter().filter_map(|service| service.build).collect();
        let wanted = move |hash: &str| running.contains(hash) || wanted(hash);
        spawn_blocking(move || binaries.retain(MINIMUM_AGE, wanted))
            .await
            .map_err(|error| Error::Thread(error.into()))?
    }

    /// Finds what services that are not wanted left on disk, and deletes it unless it is only asked
    /// for. `programs` are the content hashes that are wanted too.
    pub(crate) async fn clean(
        &self,
        services: HashSet<Id>,
        programs: HashSet<String>,
        only_ask: bool,
    ) -> Result<Vec<Leftover>, Error> {
        let (wanted, folders) = (self.in_use(services, programs), self.context.settings.folders.clone());
        let clean = move || {
            let found = disk::find(&folders, &wanted, &Of::All(MINIMUM_AGE))?;
            if !only_ask {
                disk::delete(&found)?;
            }
            Ok(found)
        };
        spawn_blocking(clean).await.map_err(|error| Error::Thread(error.into()))?
    }

    /// Deletes what a service that was removed left on disk; `own` are its programs, `programs` those
    /// that are wanted by others. Returns what that was.
    pub(crate) async fn purge(
        &self,
        id: &Id,
        own: HashSet<String>,
        programs: HashSet<String>,
    ) -> Result<Vec<Leftover>, Error> {
        let (wanted, folders) =
            (self.in_use(HashSet::new(), programs), self.context.settings.folders.clone());
        let id = id.clone();
        let purge = move || {
            let found = disk::find(&folders, &wanted, &Of::One(&id, &own))?;
            disk::delete(&found)?;
            Ok(found)
        };
        spawn_blocking(purge).await.map_err(|error| Error::Thread(error.into()))?
    }

    /// What is wanted, with what is there now.
    fn in_use(&self, mut services: HashSet<Id>, mut programs: HashSet<String>) -> Wanted {
        for Snapshot { id, build, .. } in self.list() {
            services.insert(id);
            programs.extend(build);
        }
        Wanted { services, programs }
    }

    fn seen(&self, id: &Id, instance: &str, health: Health) {
        if let Some(handle) = self.known(id) {
            // A service that is ending does not care, and one that is behind is told by the next look.
            let _ = handle.commands.try_send(Command::Seen(Seen { instance: instance.to_owned(), health }));
        }
    }

    fn known(&self, id: &Id) -> Option<Handle> {
        self.lock().known.get(id).cloned()
    }

    /// The task of a service, started when there is none.
    fn handle(&self, id: &Id) -> Result<Handle, Error> {
        let mut services = self.lock();
        let tasks = &self.context.host.tasks;
        if services.stopping || tasks.token().is_cancelled() {
            return Err(Error::Stopping);
        }
        if let Some(handle) = services.known.get(id).filter(|handle| handle.is_there()) {
            return Ok(handle.clone());
        }
        let (commands, received) = mpsc::channel(COMMANDS);
        let (snapshot, seen) = watch::channel(Snapshot::new(id.clone()));
        let (written, follows) = watch::channel(());
        let journal = Journal::start(self.log_files(id), self.context.settings.rotation, written, tasks);
        // The sender of snapshots is held until the service is forgotten, so that a caller that waits for
        // its end and then asks again meets a new one.
        let service = Service::new(self.context.clone(), id.clone(), journal, snapshot.clone());
        let (services_of_all, own_id) = (self.services.clone(), id.clone());
        tasks.spawn(async move {
            service.run(received).await;
            services_of_all.lock().unwrap_or_else(PoisonError::into_inner).known.remove(&own_id);
            drop(snapshot);
        });
        let handle = Handle { commands, snapshot: seen, written: follows };
        services.known.insert(id.clone(), handle.clone());
        Ok(handle)
    }

    fn log_files(&self, id: &Id) -> Files {
        Files::new(self.context.settings.folders.logs.join(id.folder()))
    }

    fn lock(&self) -> MutexGuard<'_, Services> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn end(handle: Handle) {
    // It may be ending already.
    let _ = handle.commands.send(Command::End).await;
    handle.gone().await;
}
