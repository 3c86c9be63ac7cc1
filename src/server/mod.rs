//! The server: one process with three doors and the local socket. Opens everything or nothing,
//! then serves until a signal, then ends in the order in which nothing is lost.

mod api;
mod budget;
mod connection;
mod fate;
mod files;
mod inbound;
mod listen;
mod outbound;
mod places;
mod revocable;
mod router;
mod settings;
mod strangers;
mod target;
mod travel;
mod upstream;
mod waiting;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::service::TowerToHyperService;
use micro_sdk::local::{self, State};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    backend::{self, Kv},
    private,
    services::{
        Blocks,
        auth::Auth,
        config::Config,
        registry::{Places, Registry},
        runtime::{self, Runtime},
        secrets::{self, Secrets},
        store::Store,
    },
    sockets,
    supervisor::descriptors,
    tasks::Tasks,
};
use budget::Budget;
use listen::{Door, Peer, Terms};
use router::Router;

pub(crate) use crate::supervisor::INSTANCE_VARIABLE;
pub(crate) use budget::LEAST as LEAST_BYTES;
pub(crate) use files::{RunsAlready, holder};
pub(crate) use settings::{Settings, address, bytes, network};
pub(crate) use strangers::Welcome;

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long the calls under way may take before services are stopped, at most.
const DRAIN: Duration = Duration::from_secs(5);

/// The signals that end a server, and one that would kill it if nobody waited for it: a file has
/// reached the limit of the process, which the write that reached it is told too.
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
    for folder in
        [&home.server(), &home.data.join("logs"), &home.data.join("binaries"), &home.cache.join("targets")]
    {
        private::create_lasting_folder(folder)?;
    }
    let descriptors = descriptors::raise();
    let mut stop = Stop::new()?;
    sockets::open_tables().await;
    let _lock = files::lock(home)?;
    files::check_database(home)?;
    let database = format!("sqlite:{}", home.server().join("micro.db").display());
    // Before any door: where the lock file was removed, this finds that another server has the home.
    let database = backend::open(&database).await?;
    let (api, proxy, network) =
        (listen::bind(settings.api)?, listen::bind(settings.proxy)?, listen::bind(settings.network)?);
    let files::Local { owners, services, socket, nodes } = files::bind_local(home)?;
    let services_socket = local::services_socket(&socket);
    let state = State {
        pid: std::process::id(),
        version: VERSION.to_owned(),
        socket: socket.clone(),
        api: local_address(&api)?,
        proxy: local_address(&proxy)?,
        network: local_address(&network)?,
        grace: settings.grace.as_millis() as u64,
        arguments: settings.arguments.clone(),
    };

    let background = Tasks::default();
    let kv: Arc<dyn Kv> = database.clone();
    let keys = home.server().join("keys");
    let auth = Auth::open(&database, &keys, &background).await?;
    let secrets = Arc::new(Secrets::open(&keys, std::env::var_os(secrets::VARIABLE))?);
    let config = Config::open(kv.clone(), auth.clone(), secrets.clone(), &background).await?;
    let places = Places {
        folder: nodes,
        ports: ports([&api, &proxy, &network])?,
        networks: settings.nodes_from.clone(),
    };
    let registry = Registry::open(kv.clone(), &state.network, places, &background).await?;
    let server = runtime::Server { network: state.network.clone(), socket: services_socket.clone() };
    let runtime = Runtime::open(
        settings.runtime(server),
        kv.clone(),
        secrets,
        auth.clone(),
        registry.clone(),
        &background,
    )
    .await?;
    let blobs = backend::open_blobs(&format!("files:{}", home.server().join("blobs").display())).await?;
    let store = Store::open(kv.clone(), blobs, auth.clone(), &home.server(), &background);
    let blocks = Blocks::new(auth.clone(), &config, registry.clone(), runtime.clone(), &store);
    let budget = Budget::new(settings.bytes);
    let router = Router::new(blocks, settings.welcome.clone(), budget.clone())?;

    let connections = Tasks::default();
    let own = rustix::process::getuid().as_raw();
    let doors = Doors {
        api: Door::Tcp(api),
        grpc: [Door::Tcp(proxy), Door::Tcp(network)],
        local: [Door::Local(owners, own, Peer::Owner), Door::Local(services, own, Peer::Service)],
    };
    doors.open(&router, &budget, settings.idle, descriptors, &connections);
    if settings.insecure {
        tracing::warn!("--insecure: other machines may reach this server, and nothing is encrypted");
    }
    files::write_state(home, &state)?;
    tracing::info!(api = state.api, proxy = state.proxy, network = state.network, "the server is ready");
    ready(&state);
    if let Err(error) = runtime.restore().await {
        tracing::error!(%error, "some services cannot be brought back");
    }

    stop.next().await;
    tracing::info!("stopping");
    let end = async {
        runtime.end_streams().await;
        registry.end_streams().await;
        config.end_streams().await;
        auth.end_streams().await;
        if !connections.stop(DRAIN.min(settings.grace)).await {
            tracing::warn!("some calls were still under way");
        }
        runtime.stop().await;
        background.stop(DRAIN).await;
        kv.close().await;
    };
    tokio::select! {
        () = end => {}
        () = stop.next() => tracing::warn!("stopped by a second signal"),
    }
    files::remove_state(home, [&socket, &services_socket]);
    tracing::info!("stopped");
    Ok(())
}

/// The doors, bound and not yet open.
struct Doors {
    api: Door,
    grpc: [Door; 2],
    local: [Door; 2],
}

impl Doors {
    /// Serves connections, for which there are shares of the file descriptors; the rest is for the
    /// state, the services, and what they write.
    fn open(
        self,
        router: &Router,
        budget: &Arc<Budget>,
        idle: Duration,
        descriptors: usize,
        connections: &Tasks,
    ) {
        let terms =
            |descriptors| Terms { places: places::Places::new(descriptors), budget: budget.clone(), idle };
        let tcp = terms(descriptors / 2);
        let api_service = TowerToHyperService::new(api::api(router.clone()));
        connections.spawn(self.api.serve(api_service, tcp.clone(), connections.clone()));
        let router = router.clone();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let router = router.clone();
            // Boxed, since the library moves what it is given several times before it polls it.
            Box::pin(async move { Ok::<_, Infallible>(router.serve(request).await) })
        });
        let grpc = self.grpc.into_iter().map(|door| (door, tcp.clone()));
        let local = self.local.into_iter().map(|door| (door, terms(descriptors / 8)));
        for (door, terms) in grpc.chain(local) {
            connections.spawn(door.serve(service.clone(), terms, connections.clone()));
        }
    }
}

/// The ports of the doors, which are no place for a node.
fn ports(doors: [&TcpListener; 3]) -> anyhow::Result<Vec<u16>> {
    let port = |door: &TcpListener| Ok(door.local_addr().context("cannot tell the port of a door")?.port());
    doors.into_iter().map(port).collect()
}

fn local_address(listener: &TcpListener) -> anyhow::Result<String> {
    let address: SocketAddr = listener.local_addr().context("cannot tell the address of a door")?;
    Ok(address.to_string())
}
