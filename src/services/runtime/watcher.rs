//! Looks after the instances that the supervisor starts: gives them their identity, waits until
//! they are registered and answer, keeps asking, and takes them out when they end.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use micro_sdk::{
    Address, Client, Error,
    blocks::debug::DebugClient,
    proto::{debug::HealthRequest, registry::Node},
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    services::{
        auth::Auth,
        registry::{Catalog, Health, Registry},
    },
    supervisor::{INSTANCE_VARIABLE, Id, Owner, Supervisor},
    tasks::Tasks,
};

/// How often a running instance is asked whether it is well.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// How long its answer may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon an instance that registered but does not answer yet is asked again.
const PROBE_AGAIN: Duration = Duration::from_millis(100);
/// How many probes in a row may fail.
const PATIENCE: u32 = 3;

/// Where services reach the server.
pub(crate) struct Server {
    /// Its TCP address for them.
    pub(crate) network: String,
    /// Its Unix socket for them.
    pub(crate) socket: PathBuf,
}

/// The supervisor's owner.
pub(super) struct Watcher {
    auth: Auth,
    registry: Registry,
    server: Server,
    tasks: Tasks,
    builds: mpsc::UnboundedSender<(Id, String)>,
    instances: Mutex<HashMap<String, CancellationToken>>,
    supervisor: OnceLock<Supervisor>,
}

impl Watcher {
    pub(super) fn new(
        auth: Auth,
        registry: Registry,
        server: Server,
        tasks: Tasks,
        builds: mpsc::UnboundedSender<(Id, String)>,
    ) -> Arc<Self> {
        let (instances, supervisor) = (Mutex::default(), OnceLock::new());
        Arc::new(Self { auth, registry, server, tasks, builds, instances, supervisor })
    }

    /// Connects it to the supervisor, which is started after it.
    pub(super) fn connect(&self, supervisor: Supervisor) {
        // Called once, right after the supervisor has started.
        drop(self.supervisor.set(supervisor));
    }

    fn take_out(&self, id: &Id, instance: &str) {
        self.registry.catalog.deregister_instance(&id.namespace, &id.name, instance);
        // Services of other frameworks do not say which instance they are.
        self.registry.catalog.deregister_unmarked(&id.namespace, &id.name, &id.version);
    }

    fn instances(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The variables that a process is given by [`Watcher`] or the supervisor, and by nobody else.
pub(super) const OWNED: [&str; 9] = [
    "MICRO_SERVICE_NAME",
    "MICRO_SERVICE_VERSION",
    "MICRO_SERVICE_NETWORK",
    "MICRO_SERVICE_SOCKET",
    "MICRO_SERVICE_PROFILE",
    "MICRO_NAMESPACE",
    "MICRO_CLIENT_ID",
    "MICRO_CLIENT_SECRET",
    INSTANCE_VARIABLE,
];

impl Owner for Watcher {
    fn environment(&self, id: &Id, instance: &str, scopes: &[String]) -> Vec<(String, String)> {
        let over = CancellationToken::new();
        self.instances().insert(instance.to_owned(), over.clone());
        if let Some(supervisor) = self.supervisor.get() {
            let look = Look {
                registry: self.registry.clone(),
                supervisor: supervisor.clone(),
                id: id.clone(),
                instance: instance.to_owned(),
            };
            let tasks = self.tasks.clone();
            self.tasks.spawn(async move {
                let _ = tasks.until_stopped(over.run_until_cancelled(look.after())).await;
            });
        }
        let mut variables = vec![
            ("MICRO_SERVICE_NAME", id.name.clone()),
            ("MICRO_SERVICE_VERSION", id.version.clone()),
            ("MICRO_SERVICE_NETWORK", self.server.network.clone()),
            ("MICRO_SERVICE_SOCKET", Address::Unix(self.server.socket.clone()).to_string()),
            ("MICRO_SERVICE_PROFILE", "client".to_owned()),
            ("MICRO_NAMESPACE", id.namespace.clone()),
        ];
        match self.auth.begin_instance(&id.namespace, &id.name, instance, scopes) {
            Ok((client_id, secret)) => {
                variables.extend([("MICRO_CLIENT_ID", client_id), ("MICRO_CLIENT_SECRET", secret)]);
            }
            Err(error) => tracing::error!(%error, service = %id, "a service starts without an identity"),
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn built(&self, id: &Id, hash: &str) {
        // The receiver ends with the server.
        drop(self.builds.send((id.clone(), hash.to_owned())));
    }

    fn stopping(&self, id: &Id, instance: &str) {
        self.take_out(id, instance);
    }

    fn exited(&self, id: &Id, instance: &str) {
        if let Some(over) = self.instances().remove(instance) {
            over.cancel();
        }
        self.auth.end_instance(instance);
        self.take_out(id, instance);
        self.registry.places.forget_instance(instance);
    }
}

/// One instance being looked after.
struct Look {
    registry: Registry,
    supervisor: Supervisor,
    id: Id,
    instance: String,
}

impl Look {
    async fn after(self) {
        let mut failures = 0;
        loop {
            let (node, client) = self.registered().await;
            let client = DebugClient::new(client);
            let tell_registry = |health| {
                let Id { namespace, name, version } = &self.id;
                self.registry.catalog.note_health(namespace, name, version, &node, health);
            };
            let probe = timeout(PROBE_TIMEOUT, client.health(HealthRequest {})).await;
            let failure = match probe {
                // It answers, if only that it has no such method.
                Ok(Ok(_) | Err(Error { code: 501 | 401 | 403 | 404, .. })) => None,
                Ok(Err(error)) => Some(format!("registered, but cannot be asked: {error}")),
                Err(_) => {
                    Some(format!("registered, but did not answer within {} s", PROBE_TIMEOUT.as_secs()))
                }
            };
            match failure {
                None => {
                    failures = 0;
                    tell_registry(Health::Good);
                    self.supervisor.ready(&self.id, &self.instance);
                    sleep(PROBE_INTERVAL).await;
                }
                Some(reason) => {
                    failures += 1;
                    tell_registry(if failures < PATIENCE { Health::Doubtful } else { Health::Bad });
                    if failures >= PATIENCE {
                        self.supervisor.unhealthy(&self.id, &self.instance, &reason);
                    }
                    sleep(PROBE_AGAIN).await;
                }
            }
        }
    }

    /// Waits until the instance has a node that can be called; its id, and the way to it.
    async fn registered(&self) -> (String, Client) {
        let mut changes = self.registry.catalog.watch(&self.id.namespace);
        loop {
            let services = self.registry.catalog.get(&self.id.namespace, &self.id.name);
            let ready = services.iter().filter(|service| service.version == self.id.version && service.ready);
            let nodes: Vec<&Node> = ready.flat_map(|service| &service.nodes).collect();
            // A service of another framework does not say which instance it is.
            let unmarked = |node: &&&Node| !node.metadata.contains_key("instance");
            let found = nodes.iter().find(|node| self.is_mine(node));
            if let Some(node) = found.or_else(|| nodes.iter().find(unmarked)) {
                let channel = self.registry.places.channel(&node.address);
                let client = Client::new(channel, &self.id.name).with_retries(0);
                return (node.id.clone(), client);
            }
            Catalog::next_change(&mut changes, &self.id.namespace, &self.id.name).await;
        }
    }

    fn is_mine(&self, node: &Node) -> bool {
        node.metadata.get("instance") == Some(&self.instance)
    }
}

#[cfg(test)]
mod tests {
    use micro_sdk::proto::registry::Service;

    use super::*;
    use crate::{backend, services::registry::Places};

    /// A node that is told to stop may go on answering for a while: it gets no calls from then on.
    #[tokio::test]
    async fn a_node_that_is_being_stopped_gets_no_calls() {
        let (tasks, keys) = (Tasks::default(), tempfile::tempdir().unwrap());
        let database = backend::open("memory:").await.unwrap();
        let auth = Auth::open(&database, keys.path(), &tasks).await.unwrap();
        let network = "127.0.0.1:1".to_owned();
        let registry = Registry::open(database, &network, Places::default(), &tasks).await.unwrap();
        let server = Server { network, socket: PathBuf::new() };
        let watcher = Watcher::new(auth, registry.clone(), server, tasks, mpsc::unbounded_channel().0);
        let id = Id { namespace: "shop".into(), name: "a".into(), version: "1".into() };
        let node = |instance: &str| Node {
            id: instance.into(),
            address: "127.0.0.1:2".into(),
            metadata: [("instance".to_owned(), instance.to_owned())].into(),
            ..Node::default()
        };
        let nodes = vec![node("old"), node("new")];
        let service = Service { name: "a".into(), version: "1".into(), nodes, ..Service::default() };
        registry.catalog.register("shop", service, None, false).unwrap();
        watcher.stopping(&id, "old");
        let left = registry.catalog.route("shop", "a", None).unwrap().nodes;
        assert_eq!(left.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["new"]);
    }
}
