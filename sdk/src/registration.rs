//! Staying in the registry: registers, refreshes the lease, and registers again the moment the
//! connection to the server breaks and comes back.

use std::time::Duration;

use micro_proto::registry::{DescribeRequest, Options, Service};
use tokio::{sync::watch, time::sleep};

use crate::{Client, Result, blocks::registry::RegistryClient, listen::Listening, log, platform::Platform};

/// How long the server keeps a node it does not hear of, in seconds, and the variable that sets
/// another time.
pub(crate) const LEASE: (&str, u32) = ("MICRO_SERVICE_LEASE", 90);
/// How often the lease is refreshed within its time.
const HEARTBEATS: u32 = 3;
/// Before the first new attempt while the server is away; the wait doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait between attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// One node of a service and what it registers.
pub(crate) struct Registration {
    platform: Platform,
    registry: RegistryClient,
    service: Service,
    descriptor_set: Vec<u8>,
    listening: Listening,
    heartbeat: Duration,
    /// Becomes true once it is registered.
    is_registered: watch::Sender<bool>,
}

impl Registration {
    /// Of a service with one node, whose address is where it listens.
    pub(crate) fn new(
        platform: Platform,
        mut service: Service,
        descriptor_set: Vec<u8>,
        listening: Listening,
        lease: u32,
        is_registered: watch::Sender<bool>,
    ) -> Self {
        let heartbeat = Duration::from_secs(lease.into()) / HEARTBEATS;
        service.options = Some(Options { ttl: lease.into(), domain: platform.namespace().to_owned() });
        let client = Client::new(platform.channel().clone(), "registry")
            .with_identity(platform.clone())
            .with_retries(0)
            .with_timeout(Duration::from_secs(5));
        Self {
            platform,
            registry: RegistryClient::from(client),
            service,
            descriptor_set,
            listening,
            heartbeat,
            is_registered,
        }
    }

    /// Keeps the node registered until `stop` says so, then takes it out, and waits until the calls
    /// under way have ended.
    pub(crate) async fn keep(mut self, mut stop: watch::Receiver<bool>) {
        let mut broken = self.platform.channel().broken();
        let mut wait = FIRST_WAIT;
        let mut known = false;
        while !*stop.borrow() {
            broken.mark_unchanged();
            let registered = tokio::select! {
                registered = self.register() => registered,
                // A server that ends takes the connection and does not answer.
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let pause = match registered {
                Ok(()) => {
                    if !known {
                        let node = &self.service.nodes[0];
                        log::line(format_args!("{} is registered at {}", self.service.name, node.address));
                    }
                    (known, wait) = (true, FIRST_WAIT);
                    self.is_registered.send_replace(true);
                    self.heartbeat
                }
                Err(error) => {
                    if known || wait == FIRST_WAIT {
                        log::line(format_args!(
                            "cannot register {}, will keep trying: {error}",
                            self.service.name
                        ));
                    }
                    if error.code == 401 {
                        self.platform.forget_token();
                    }
                    known = false;
                    let longer = (wait * 2).min(LONGEST_WAIT);
                    std::mem::replace(&mut wait, longer)
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                // Nobody finds the service until it has made its socket again.
                () = self.listening.lost() => {}
                _ = broken.changed() => known = false,
                changed = stop.changed() => if changed.is_err() { break },
            }
        }
        if known && let Err(error) = self.registry.deregister(self.service.clone()).await {
            log::line(format_args!("cannot deregister {}: {error}", self.service.name));
        }
        self.listening.ended().await;
    }

    async fn register(&mut self) -> Result<()> {
        self.service.nodes[0].address = self.listening.address().await?;
        if self.registry.register(self.service.clone()).await?.descriptors_needed {
            let request = DescribeRequest {
                descriptor_hash: self.service.descriptor_hash.clone(),
                descriptor_set: self.descriptor_set.clone(),
                options: self.service.options.clone(),
            };
            self.registry.describe(request).await?;
        }
        Ok(())
    }
}
