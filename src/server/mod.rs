//! The server: one process with three doors and the local socket. Opens everything or nothing,
//! then serves until a signal, then ends in the order in which nothing is lost.

mod api;
mod budget;
mod connection;
mod doors;
mod fate;
mod files;
mod finding;
mod frames;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod heads;
mod hooked;
mod inbound;
mod introduce;
mod listen;
mod origin;
mod outbound;
mod peer;
mod places;
mod plain;
mod presence;
mod reader;
mod revocable;
mod router;
mod settings;
mod target;
mod travel;
mod upstream;
mod waiting;

use std::time::Duration;

use anyhow::Context as _;
use micro_sdk::local::{self, State};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    backend, memory, private,
    services::{self, Blocks, registry::Places, runtime},
    sockets,
    supervisor::descriptors,
    tasks::Tasks,
};
use budget::Budget;
use doors::{Doors, Tcp};
use listen::Door;
use peer::Peer;
use presence::Presence;
use router::Router;

pub(crate) use crate::supervisor::INSTANCE_VARIABLE;
pub(crate) use budget::LEAST as LEAST_BYTES;
use files::Start;
pub(crate) use files::{RunsAlready, forget_start, holder, remembered_start};
pub(crate) use heads::Limits;
pub(crate) use origin::BrowserPolicy;
pub(crate) use settings::{Settings, address, bytes, network};

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long the calls under way may take before services are stopped, at most.
const DRAIN: Duration = Duration::from_secs(5);

/// The signals that end a server, and SIGXFSZ, which is caught so that a `write` beyond the limit of the
/// process fails with EFBIG instead of killing the server.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    _file_size: Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
            _file_size: on(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Runs a server until SIGTERM, SIGINT or SIGHUP. `ready` is told where it is once every door is
/// open. A second signal ends it at once.
///
/// # Errors
/// It cannot start; the text says why and what to do. Nothing is left behind.
pub(crate) async fn run(settings: Settings, ready: impl FnOnce(&State) + Send) -> anyhow::Result<()> {
    settings.check()?;
    let home = &settings.home;
    for folder in files::folders(home) {
        private::create_lasting_folder(&folder)?;
    }
    memory::give_back();
    let descriptors = descriptors::raise();
    let mut stop = Stop::new()?;
    sockets::open_tables().await;
    let lock = files::lock(home)?;
    files::check_database(home)?;
    // Before any door: where the lock file was removed, this finds that another server has the home.
    let database = backend::open(backend::address("sqlite", &home.server().join("micro.db"))).await?;
    let before = files::remembered_start(home).unwrap_or_default().doors;
    let tcp = Tcp::bind(&settings, &before)?;
    let local = files::bind_local(home)?;
    let (services_socket, nodes) = (local::services_socket(&local.socket), local.nodes.clone());
    let ([api, proxy, network], also) = tcp.addresses()?;
    let state = State {
        pid: std::process::id(),
        version: VERSION.to_owned(),
        socket: local.socket.clone(),
        api,
        proxy,
        network,
        also,
        grace: settings.grace.as_millis() as u64,
        arguments: settings.arguments.clone(),
        troubles: Vec::new(),
    };

    let places = Places { folder: nodes, ports: tcp.ports()?, networks: settings.nodes_from.clone() };
    let server = runtime::Server { network: state.network.clone(), socket: services_socket };
    let (folder, runtime) = (home.server(), settings.runtime(server));
    let blocks = services::Settings { database, folder, places, runtime, descriptors };
    let blocks = Blocks::open(blocks).await?;
    let budget = Budget::new(settings.bytes);
    let presence = Presence::new(home.clone(), lock, local, state.clone(), blocks.clone());
    let (browsers, heads) = (settings.browsers.clone(), settings.heads);
    let router = Router::new(blocks.clone(), browsers, budget.clone(), heads, presence.state())?;

    let connections = Tasks::default();
    let own = rustix::process::getuid().as_raw();
    let [owners, services] = presence.listeners();
    let local = [Door::Local(owners, own, Peer::Owner), Door::Local(services, own, Peer::Service)];
    let doors = Doors { tcp, local };
    doors.open(&router, &budget, (settings.idle, settings.heads), descriptors, &connections);
    if settings.insecure {
        tracing::warn!("--insecure: other machines may reach this server, and nothing is encrypted");
    }
    let doors = [&state.api, &state.proxy, &state.network].map(Clone::clone).into();
    files::remember_start(home, &Start { arguments: state.arguments.clone(), doors })?;
    presence.tell()?;
    tracing::info!(api = state.api, proxy = state.proxy, network = state.network, "the server is ready");
    ready(&state);
    let leaving = CancellationToken::new();
    let presence = tokio::spawn(presence.keep(leaving.clone()));
    if let Err(error) = blocks.runtime.restore().await {
        tracing::error!(%error, "some services cannot be brought back");
    }

    stop.next().await;
    tracing::info!("stopping");
    let end = async {
        blocks.end_streams();
        if !connections.stop(DRAIN.min(settings.grace)).await {
            tracing::warn!("some calls were still under way");
        }
        blocks.close(DRAIN).await;
    };
    tokio::select! {
        () = end => {}
        () = stop.next() => tracing::warn!("stopped by a second signal"),
    }
    leaving.cancel();
    presence.await.context("what looks after the files of the server broke off")?.remove();
    tracing::info!("stopped");
    Ok(())
}

/// The bytes of the future that a function returns.
#[cfg(test)]
fn future_size<A, F: Future>(_: impl Fn(A) -> F) -> usize {
    size_of::<F>()
}
