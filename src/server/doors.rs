//! The doors of a server: all are bound before any is open.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::Context as _;
use hyper::{body::Incoming, service::service_fn};
use tokio::net::TcpListener;

use super::{
    api::Api,
    budget::Budget,
    heads::Limits,
    listen::{self, Door, Terms},
    places::Places,
    router::Router,
    settings::Settings,
};
use crate::tasks::Tasks;

/// The doors on TCP, bound: each at one address, or at both of the loopback ones.
#[derive(Debug)]
pub(super) struct Tcp {
    api: Vec<TcpListener>,
    proxy: Vec<TcpListener>,
    network: Vec<TcpListener>,
}

impl Tcp {
    /// Opens their ports; where any free ones will do, those of `before`, if they are free.
    ///
    /// # Errors
    /// One of them cannot be had; the text says which, and who has it.
    pub(super) fn bind(settings: &Settings, before: &[String]) -> anyhow::Result<Self> {
        let before = |door: usize| before.get(door).and_then(|address| address.parse().ok());
        Ok(Self {
            api: listen::bind_like(settings.api, before(0))?,
            proxy: listen::bind_like(settings.proxy, before(1))?,
            network: listen::bind_like(settings.network, before(2))?,
        })
    }

    /// Their ports, which are no place for a node.
    ///
    /// # Errors
    /// The system does not tell.
    pub(super) fn ports(&self) -> anyhow::Result<Vec<u16>> {
        let port =
            |door: &TcpListener| Ok(door.local_addr().context("cannot tell the port of a door")?.port());
        [&self.api, &self.proxy, &self.network].into_iter().flatten().map(port).collect()
    }

    /// Where each is, and where they are also.
    ///
    /// # Errors
    /// The system does not tell.
    pub(super) fn addresses(&self) -> anyhow::Result<([String; 3], Vec<String>)> {
        let mut also = Vec::new();
        let mut first = |door: &[TcpListener]| -> anyhow::Result<String> {
            let mut addresses = Vec::new();
            for listener in door {
                let address = listener.local_addr().context("cannot tell the address of a door")?;
                addresses.push(address.to_string());
            }
            let mut addresses = addresses.into_iter();
            let first = addresses.next().context("a door has no address")?;
            also.extend(addresses);
            Ok(first)
        };
        let each = [first(&self.api)?, first(&self.proxy)?, first(&self.network)?];
        Ok((each, also))
    }
}

/// The doors, bound and not yet open.
pub(super) struct Doors {
    pub(super) tcp: Tcp,
    pub(super) local: [Door; 2],
}

impl Doors {
    /// Serves connections, for which there are shares of the file descriptors; the rest is for the
    /// state, the services, and what they write.
    pub(super) fn open(
        self,
        router: &Router,
        budget: &Arc<Budget>,
        (idle, limits): (Duration, Limits),
        descriptors: usize,
        connections: &Tasks,
    ) {
        let terms =
            |descriptors| Terms { places: Places::new(descriptors), budget: budget.clone(), idle, limits };
        let tcp = terms(descriptors / 2);
        let api = Api::new(router.clone());
        let api_service = service_fn(move |request: http::Request<Incoming>| {
            let api = api.clone();
            // Boxed, since the library moves what it is given several times before it polls it.
            Box::pin(async move { Ok::<_, Infallible>(api.serve(request).await) })
        });
        for door in self.tcp.api.into_iter().map(Door::Tcp) {
            connections.spawn(door.serve(api_service.clone(), tcp.clone(), connections.clone()));
        }
        let router = router.clone();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let router = router.clone();
            Box::pin(async move { Ok::<_, Infallible>(router.serve(request).await) })
        });
        let grpc = self.tcp.proxy.into_iter().chain(self.tcp.network);
        let grpc = grpc.map(|door| (Door::Tcp(door), tcp.clone()));
        let local = self.local.into_iter().map(|door| (door, terms(descriptors / 8)));
        for (door, terms) in grpc.chain(local) {
            connections.spawn(door.serve(service.clone(), terms, connections.clone()));
        }
    }
}
