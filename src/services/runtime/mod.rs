//! The building block `runtime`: runs services, keeps them running, and says how they do.

mod outlook;
mod record;
mod request;
mod status;
mod watcher;

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use futures::StreamExt as _;
use jiff::Timestamp;
use micro_sdk::{
    Context, Error, Result, Sender, blocks,
    handler::Handler,
    proto::runtime::{
        CleanRequest, CleanResponse, CreateRequest, CreateResponse, DeleteRequest, DeleteResponse, Leftover,
        LogRecord, LogsRequest, ReadOptions, ReadRequest, ReadResponse, Service, UpdateRequest,
        UpdateResponse, WatchResponse,
    },
};
use tokio::sync::mpsc;

use super::{PLATFORM, absent, auth::Caller, namespace_or_default};
use crate::{
    backend::Kv,
    backlog::Lost,
    names,
    services::{
        auth::Auth,
        registry::{Catalog, Registry},
        secrets::Secrets,
        transfers::Transfers,
    },
    supervisor::{self, Change, Folders, Id, Snapshot, Source, State, Supervisor, Tail},
    tasks::Tasks,
};
use record::Records;
pub(crate) use watcher::Server;
use watcher::Watcher;

/// Where the runtime works, and how patient it is.
pub(crate) struct Settings {
    pub(crate) folders: Folders,
    /// The unpacked SDK for the builds of services that need it.
    pub(crate) sdk: Option<PathBuf>,
    /// How long a service may take to stop.
    pub(crate) grace: Duration,
    /// Where services reach the server.
    pub(crate) server: Server,
}

/// A handle on the runtime, cheap to clone.
#[derive(Clone)]
pub(crate) struct Runtime {
    records: Records,
    supervisor: Supervisor,
    catalog: Arc<Catalog>,
    transfers: Arc<Transfers>,
    tasks: Tasks,
}

impl Runtime {
    /// Opens it; nothing runs until [`Runtime::restore`].
    ///
    /// # Errors
    /// A folder cannot be used.
    pub(crate) async fn open(
        settings: Settings,
        kv: Arc<dyn Kv>,
        secrets: Arc<Secrets>,
        auth: Auth,
        registry: Registry,
        transfers: Arc<Transfers>,
        tasks: &Tasks,
    ) -> Result<Self> {
        let records = Records::new(kv, secrets);
        let (builds, built) = mpsc::unbounded_channel();
        tasks.spawn(note_builds(records.clone(), built, tasks.clone()));
        let catalog = registry.catalog.clone();
        let watcher = Watcher::new(auth, registry, settings.server, tasks.clone(), builds);
        let supervised = supervisor::Settings {
            sdk: settings.sdk,
            grace: settings.grace,
            ..supervisor::Settings::new(settings.folders)
        };
        let supervisor = Supervisor::start(supervised, watcher.clone(), tasks).await?;
        watcher.connect(supervisor.clone());
        Ok(Self { records, supervisor, catalog, transfers, tasks: tasks.clone() })
    }

    /// Starts what was wanted before the server ended.
    ///
    /// # Errors
    /// The stored services cannot be read.
    pub(crate) async fn restore(&self) -> Result<()> {
        let records = self.records.all().await?;
        let wanted: Vec<String> = records.iter().filter_map(|record| record.binary.clone()).collect();
        for record in records {
            self.supervisor.apply(record.spec(), Change::Start).await?;
        }
        Ok(self.supervisor.retain_binaries(move |hash| wanted.iter().any(|known| known == hash)).await?)
    }

    /// Stops every service, and waits.
    pub(crate) async fn stop(&self) {
        self.supervisor.stop_all().await;
    }

    pub(crate) fn handlers(&self) -> Vec<Box<dyn Handler>> {
        let mut handlers: Vec<Box<dyn Handler>> =
            vec![Box::new(blocks::runtime::RuntimeServer::new(self.clone()))];
        handlers.extend(absent::handlers("uploading sources and fetching builds", &["Source", "Build"]));
        handlers
    }

    /// The services that are wanted, and the content hashes of their programs.
    async fn wanted(&self) -> Result<(HashSet<Id>, HashSet<String>)> {
        let records = self.records.all().await?;
        let programs = records.iter().filter_map(|record| record.binary.clone()).collect();
        Ok((records.iter().map(record::Record::id).collect(), programs))
    }

    async fn list(&self, namespace: &str, options: &ReadOptions) -> Result<Vec<Service>> {
        let mut records = self.records.all().await?;
        records.retain(|record| record.namespace == namespace && wanted(&record.id(), options));
        records.sort_by_key(record::Record::id);
        Ok(records.iter().map(|r| status::service(r, self.supervisor.snapshot(&r.id()).as_ref())).collect())
    }

    /// Why there is nothing to read. What is registered is not "not found", which clients of Micro v4 show
    /// without our words.
    fn no_logs(&self, id: &Id) -> Error {
        if self.catalog.knows(&id.namespace, &id.name) {
            return Error::precondition_failed(format!(
                "service {} has no log here: it was not started by this server",
                id.name
            ));
        }
        Error::not_found(format!("Logs not found for service {}", id.name))
    }

    /// The change of a service, as watchers see it.
    async fn change(&self, snapshot: &Snapshot) -> Result<WatchResponse> {
        if let Some(record) = self.records.get(&snapshot.id).await? {
            let service = Some(status::service(&record, Some(snapshot)));
            return Ok(WatchResponse { service, deleted: false });
        }
        let Id { name, version, .. } = snapshot.id.clone();
        let deleted = snapshot.state == State::Stopped;
        Ok(WatchResponse { service: Some(Service { name, version, ..Service::default() }), deleted })
    }
}

/// Keeps the content hashes of good builds, so that a restart needs no build.
async fn note_builds(records: Records, mut built: mpsc::UnboundedReceiver<(Id, String)>, tasks: Tasks) {
    while let Some(Some((id, hash))) = tasks.until_stopped(built.recv()).await {
        if let Err(error) = records.put_binary(&id, &hash).await {
            tracing::error!(%error, service = %id, "cannot note a build");
        }
    }
}

fn wanted(id: &Id, options: &ReadOptions) -> bool {
    (options.service.is_empty() || options.service == id.name)
        && (options.version.is_empty() || options.version == id.version)
}

/// Refuses a source that cannot be built before anything is stored or stopped for it.
async fn check(origin: &Source) -> Result<()> {
    let Source::Cargo { folder, program, .. } = origin.clone() else { return Ok(()) };
    let checked = tokio::task::spawn_blocking(move || supervisor::check_source(&folder, program.as_deref()));
    match checked.await.map_err(|e| Error::internal(e.to_string()))? {
        Ok(()) => Ok(()),
        // Whatever is wrong with a source is for its owner to mend.
        Err(error) => Err(Error::bad_request(error.to_string())),
    }
}

fn unknown(id: &Id) -> Error {
    Error::not_found(format!("service {} does not run in namespace {}", id.name, id.namespace))
}

impl blocks::runtime::Runtime for Runtime {
    async fn create(&self, cx: Context, request: CreateRequest) -> Result<CreateResponse> {
        let options = request.options.unwrap_or_default();
        let namespace = namespace_or_default(&options.namespace)?.to_owned();
        let caller = Caller::of(&cx);
        let account = caller.may_administer(&namespace)?;
        let service = request::service(request.resource)?;
        if !caller.owner {
            return super::not_yet("running a service from another machine, or over the network,");
        }
        let change = if options.force { Change::Replace } else { Change::Update };
        let scopes_given = !options.scopes.is_empty();
        let mut record = request::record(&namespace, service, options, account)?;
        check(&record.origin).await?;
        if let Some(known) = self.records.get(&record.id()).await? {
            record.binary = known.binary;
            if !scopes_given {
                record.scopes = known.scopes;
            }
        }
        self.records.put(&record).await?;
        self.supervisor.apply(record.spec(), change).await?;
        Ok(CreateResponse {})
    }

    async fn read(&self, cx: Context, request: ReadRequest) -> Result<ReadResponse> {
        let options = request.options.unwrap_or_default();
        let namespace = namespace_or_default(&options.namespace)?;
        Caller::of(&cx).may_enter(namespace)?;
        Ok(ReadResponse { services: self.list(namespace, &options).await? })
    }

    async fn delete(&self, cx: Context, request: DeleteRequest) -> Result<DeleteResponse> {
        let options = request.options.unwrap_or_default();
        let namespace = namespace_or_default(&options.namespace)?.to_owned();
        Caller::of(&cx).may_administer(&namespace)?;
        let Service { name, version, .. } = request::service(request.resource)?;
        let id = Id { namespace, name, version };
        let versions = self.records.versions(&id.namespace, &id.name).await?;
        let record = versions.into_iter().find(|record| record.version == id.version);
        // One that was killed before can still be purged.
        let record = record.filter(|record| options.purge || !record.killed).ok_or_else(|| unknown(&id))?;
        let running = self.supervisor.snapshot(&id).and_then(|snapshot| snapshot.build);
        // The record comes first: a server that is killed in between does not bring the service back.
        self.records.kill(&record).await?;
        match self.supervisor.remove(&id).await {
            Ok(()) | Err(supervisor::Error::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if options.purge {
            let own = record.binary.into_iter().chain(running).collect();
            let (_, programs) = self.wanted().await?;
            self.supervisor.purge(&id, own, programs).await?;
            self.records.delete(&id).await?;
        }
        Ok(DeleteResponse {})
    }

    async fn clean(&self, cx: Context, request: CleanRequest) -> Result<CleanResponse> {
        // It concerns the services of every namespace.
        Caller::of(&cx).may_administer(PLATFORM)?;
        let (services, programs) = self.wanted().await?;
        let found = self.supervisor.clean(services, programs, request.dry_run).await?;
        let leftovers = found.into_iter().map(|left| Leftover {
            kind: left.kind.to_owned(),
            path: left.path.display().to_string(),
            bytes: left.bytes,
        });
        Ok(CleanResponse { leftovers: leftovers.collect() })
    }

    async fn update(&self, cx: Context, request: UpdateRequest) -> Result<UpdateResponse> {
        let options = request.options.unwrap_or_default();
        let namespace = namespace_or_default(&options.namespace)?.to_owned();
        let caller = Caller::of(&cx);
        caller.may_administer(&namespace)?;
        let service = request::service(request.resource)?;
        let id = Id { namespace, name: service.name.clone(), version: service.version.clone() };
        let mut record = self.records.get(&id).await?.ok_or_else(|| unknown(&id))?;
        if !caller.owner {
            return super::not_yet("updating a service from another machine, or over the network,");
        }
        let before = record.clone();
        request::update(&mut record, &service, options)?;
        check(&record.origin).await?;
        self.records.put(&record).await?;
        // Nobody can see whether a program that is not built here has changed.
        let unseen = matches!(record.origin, Source::Command { .. }) && record.spec() == before.spec();
        let change = if unseen { Change::Replace } else { Change::Update };
        self.supervisor.apply(record.spec(), change).await?;
        Ok(UpdateResponse {})
    }

    async fn logs(&self, cx: Context, request: LogsRequest, replies: Sender<LogRecord>) -> Result<()> {
        let options = request.options.unwrap_or_default();
        let namespace = namespace_or_default(&options.namespace)?.to_owned();
        let caller = Caller::of(&cx);
        caller.may_administer(&namespace)?;
        let _place = self.transfers.take(&caller)?;
        let version =
            if request.version.is_empty() { names::DEFAULT_VERSION.to_owned() } else { request.version };
        let id = Id { namespace, name: request.service, version };
        let seconds = request.since;
        let since = (seconds > 0).then(|| Timestamp::now().as_second().saturating_sub(seconds));
        let tail = Tail {
            lines: usize::try_from(request.count).ok(),
            since: since.and_then(|at| Timestamp::from_second(at).ok()),
            follow: request.stream,
        };
        let lines = self.supervisor.logs(&id, tail).await.map_err(|error| match error {
            supervisor::Error::NoLogs(id) => self.no_logs(&id),
            other => other.into(),
        })?;
        let mut lines = std::pin::pin!(lines);
        while let Some(Some(line)) = self.tasks.until_streams_end(lines.next()).await {
            let line = line.map_err(|e| Error::internal(format!("cannot read the logs of {id}: {e}")))?;
            let metadata = [
                ("stream".to_owned(), line.stream.name().to_owned()),
                ("time".to_owned(), format!("{:.3}", line.time)),
            ];
            replies
                .send(LogRecord {
                    timestamp: line.time.as_second(),
                    metadata: metadata.into(),
                    message: line.text,
                })
                .await?;
        }
        Ok(())
    }

    async fn watch(&self, cx: Context, request: ReadRequest, replies: Sender<WatchResponse>) -> Result<()> {
        let options = request.options.unwrap_or_default();
        let namespace = namespace_or_default(&options.namespace)?.to_owned();
        Caller::of(&cx).may_enter(&namespace)?;
        let mut changes = self.supervisor.watch();
        for service in self.list(&namespace, &options).await? {
            replies.send(WatchResponse { service: Some(service), deleted: false }).await?;
        }
        while let Some(change) = self.tasks.until_streams_end(changes.next()).await {
            match change {
                Ok(snapshot) if snapshot.id.namespace == namespace && wanted(&snapshot.id, &options) => {
                    replies.send(self.change(&snapshot).await?).await?;
                }
                Ok(_) => {}
                Err(Lost::Missed(_)) => {
                    for service in self.list(&namespace, &options).await? {
                        replies.send(WatchResponse { service: Some(service), deleted: false }).await?;
                    }
                }
                Err(Lost::Ended) => return Ok(()),
            }
        }
        Ok(())
    }
}
