//! What others find a running server by, kept in its place while the server runs: its lock, its local
//! sockets, the folder for those of its services, its keys, and `state.json`. What was removed, or has
//! something else in its place, is made again. What cannot be made again is tried anew with each look,
//! and is told as a trouble of the server, as is a database that lost its files.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use micro_sdk::local::{self, State};
use tokio::{
    net::UnixListener,
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::files::{self, Local, Lock};
use crate::{
    paths::Home,
    private::{self, Identity},
    services::Blocks,
};

/// How often it is looked whether everything is in its place. A look takes some microseconds.
const LOOK: Duration = Duration::from_secs(1);

/// A listener that may be replaced by another one while it is served.
pub(super) type Listener = watch::Receiver<Arc<UnixListener>>;

/// A local socket and its file.
struct Socket {
    path: PathBuf,
    file: Option<Identity>,
    listener: watch::Sender<Arc<UnixListener>>,
}

impl Socket {
    fn new(path: PathBuf, listener: UnixListener) -> Self {
        let file = Identity::of(&path);
        Self { path, file, listener: watch::Sender::new(Arc::new(listener)) }
    }

    fn is_there(&self) -> bool {
        self.file.is_some() && Identity::of(&self.path) == self.file
    }

    /// Listens at a path, in the place of where it listened before.
    fn open(&mut self, path: &Path) -> anyhow::Result<()> {
        let listener = files::bind_again(path)?;
        tracing::warn!(socket = %path.display(), "a local socket was gone, and is open again");
        path.clone_into(&mut self.path);
        self.file = Identity::of(path);
        self.listener.send_replace(Arc::new(listener));
        Ok(())
    }
}

/// The files of a running server.
pub(super) struct Presence {
    home: Home,
    lock: Lock,
    owners: Socket,
    services: Socket,
    nodes: PathBuf,
    state: watch::Sender<State>,
    blocks: Arc<Blocks>,
    /// Why the state could not be written.
    untold: Option<String>,
}

impl Presence {
    /// Of a server whose files are in their places, but for the state, which is written when all doors
    /// are open.
    pub(super) fn new(home: Home, lock: Lock, local: Local, state: State, blocks: Arc<Blocks>) -> Self {
        let Local { owners, services, socket, nodes } = local;
        let services = Socket::new(local::services_socket(&socket), services);
        let owners = Socket::new(socket, owners);
        let state = watch::Sender::new(state);
        Self { home, lock, owners, services, nodes, state, blocks, untold: None }
    }

    /// The listeners of the owner and of the services.
    pub(super) fn listeners(&self) -> [Listener; 2] {
        [&self.owners, &self.services].map(|socket| socket.listener.subscribe())
    }

    /// Where the server is and how it does, as it changes.
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Tells where the server is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn tell(&self) -> anyhow::Result<()> {
        files::write_state(&self.home, &self.state.borrow())
    }

    /// Looks after the files until it is told to stop.
    pub(super) async fn keep(mut self, stop: CancellationToken) -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            self.look();
        }
        self
    }

    /// Removes what tells of the server, and lets go of the lock.
    pub(super) fn remove(self) {
        for path in [&self.owners.path, &self.services.path, &local::file(&self.home.data)] {
            // What cannot be removed is stale, and a stale one stops nobody.
            drop(fs::remove_file(path));
        }
    }

    fn look(&mut self) {
        let [database, tokens, secrets] = self.blocks.look();
        let found = [
            database,
            self.lock.keep(&self.home),
            self.keep_owners(),
            self.keep_services(),
            self.keep_nodes(),
            self.keep_folders(),
            tokens,
            secrets,
        ];
        let troubles = found.into_iter().filter_map(|kept| Some(format!("{:#}", kept.err()?)));
        let troubles: Vec<String> = troubles.chain(self.untold.take()).collect();
        self.note(&troubles);
        // Last, since it tells all of that; that it cannot be written is told at the socket, from the
        // next look on.
        self.untold = self.tell().err().map(|error| format!("{error:#}"));
    }

    /// Says what has become wrong, once, and when all is well again.
    fn note(&self, troubles: &[String]) {
        self.state.send_if_modified(|state| {
            for trouble in troubles.iter().filter(|trouble| !state.troubles.contains(trouble)) {
                tracing::error!("{trouble}");
            }
            let changed = state.troubles != troubles;
            if changed && troubles.is_empty() {
                tracing::info!("everything is in its place again");
            }
            troubles.clone_into(&mut state.troubles);
            changed
        });
    }

    /// The owner's socket may move to the home, where clients look too.
    fn keep_owners(&mut self) -> anyhow::Result<()> {
        if self.owners.is_there() {
            return Ok(());
        }
        let path = self.owners.path.clone();
        let Err(taken) = self.owners.open(&path) else { return Ok(()) };
        let [_, other] = self.home.sockets();
        if path == other {
            return Err(taken);
        }
        self.owners.open(&other).with_context(|| format!("the local socket is gone ({taken:#})"))?;
        tracing::warn!(
            reason = format!("{taken:#}"), socket = %other.display(),
            "the local socket is not in its usual place"
        );
        self.state.send_modify(|state| state.socket = other);
        Ok(())
    }

    /// Services know this one by its path.
    fn keep_services(&mut self) -> anyhow::Result<()> {
        if self.services.is_there() {
            return Ok(());
        }
        let path = self.services.path.clone();
        self.services.open(&path).context("the socket for services is gone")
    }

    /// What was in them is lost; what comes next has a place.
    fn keep_folders(&self) -> anyhow::Result<()> {
        // Who removed this one meant the home.
        if !self.home.server().is_dir() {
            return Ok(());
        }
        for folder in files::folders(&self.home).iter().filter(|folder| !folder.is_dir()) {
            private::create_lasting_folder(folder)?;
            tracing::warn!(folder = %folder.display(), "a folder of the server was gone, and is made again, empty");
        }
        Ok(())
    }

    /// Services whose sockets went with the folder make them again.
    fn keep_nodes(&self) -> anyhow::Result<()> {
        if self.nodes.is_dir() {
            return Ok(());
        }
        local::private_folder(&self.nodes).with_context(|| {
            format!("the folder for the sockets of services, `{}`, is gone", self.nodes.display())
        })?;
        tracing::warn!(folder = %self.nodes.display(), "the folder for the sockets of services was gone, and is there again");
        Ok(())
    }
}
