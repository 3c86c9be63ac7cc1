//! The supervisor with real processes: shell scripts, and cargo projects without dependencies.

mod building;
mod leaving;
mod running;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_stream::StreamExt as _;

use super::*;

/// How long anything may take; only a test that fails waits for it.
const DEADLINE: Duration = Duration::from_mins(1);

/// A supervisor in a folder of its own.
struct Bench {
    supervisor: Supervisor,
    owner: Arc<Recorder>,
    folder: tempfile::TempDir,
    tasks: Tasks,
}

/// An owner that remembers what it was told.
struct Recorder {
    started: mpsc::UnboundedSender<(Id, String)>,
    told: Mutex<Vec<String>>,
}

impl Recorder {
    fn note(&self, what: String) {
        self.told.lock().expect("no test panics within").push(what);
    }

    /// How often it was told so.
    fn count(&self, what: &str) -> usize {
        self.told.lock().expect("no test panics within").iter().filter(|told| *told == what).count()
    }

    fn last_build(&self) -> Option<String> {
        let told = self.told.lock().expect("no test panics within");
        Some(told.iter().rev().find_map(|told| told.strip_prefix("built "))?.to_owned())
    }
}

impl Owner for Recorder {
    fn environment(&self, id: &Id, instance: &str, _: &[String]) -> Vec<(String, String)> {
        self.note("environment".to_owned());
        self.started.send((id.clone(), instance.to_owned())).expect("the bench listens");
        vec![("FROM_OWNER".to_owned(), "owner".to_owned())]
    }

    fn built(&self, _id: &Id, hash: &str) {
        self.note(format!("built {hash}"));
    }

    fn stopping(&self, _id: &Id, _instance: &str) {
        self.note("stopping".to_owned());
    }

    fn exited(&self, _id: &Id, _instance: &str) {
        self.note("exited".to_owned());
    }
}

impl Bench {
    /// Every process is ready as soon as it is started.
    async fn new() -> Self {
        let (bench, mut started) = Self::with(|_| {}).await;
        let supervisor = bench.supervisor.clone();
        tokio::spawn(async move {
            while let Some((id, instance)) = started.recv().await {
                supervisor.ready(&id, &instance);
            }
        });
        bench
    }

    /// With settings of its own, and nothing ready by itself.
    async fn with(change: impl FnOnce(&mut Settings)) -> (Self, mpsc::UnboundedReceiver<(Id, String)>) {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        let mut settings = Settings::new(Folders {
            binaries: place("binaries"),
            targets: place("targets"),
            logs: place("logs"),
            children: place("children"),
        });
        settings.shim = None;
        settings.restart.first = Duration::from_millis(10);
        change(&mut settings);
        let (started, starts) = mpsc::unbounded_channel();
        let owner = Arc::new(Recorder { started, told: Mutex::default() });
        let tasks = Tasks::default();
        let supervisor = Supervisor::start(settings, owner.clone(), &tasks).await.expect("a supervisor");
        (Self { supervisor, owner, folder, tasks }, starts)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A service that runs a shell script.
    fn script(&self, name: &str, script: &str) -> Spec {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        spec(name, Source::Command { folder: self.folder.path().to_owned(), command })
    }

    /// A service that is a cargo package of the name `package`, written into a folder `name`.
    fn project(&self, name: &str, package: &str, main: &str) -> Spec {
        let folder = self.path(name);
        fs::create_dir_all(folder.join("src")).expect("made");
        let manifest = format!("[package]\nname = '{package}'\nversion = '0.1.0'\nedition = '2024'\n");
        fs::write(folder.join("Cargo.toml"), manifest).expect("written");
        fs::write(folder.join("src/main.rs"), main).expect("written");
        spec(name, Source::Cargo { folder, arguments: Vec::new(), program: None })
    }

    async fn apply(&self, spec: &Spec, change: Change) {
        self.supervisor.apply(spec.clone(), change).await.expect("accepted");
    }

    async fn remove(&self, spec: &Spec) {
        timeout(DEADLINE, self.supervisor.remove(&spec.id)).await.expect("in time").expect("removed");
    }

    /// Waits until the service is as wanted.
    async fn until(&self, spec: &Spec, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let mut changes = self.supervisor.watch();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let now = self.supervisor.snapshot(&spec.id).expect("a known service");
            if wanted(&now) {
                return now;
            }
            let heard = tokio::time::timeout_at(deadline, changes.next()).await;
            assert!(heard.is_ok(), "still {now:#?}");
        }
    }

    async fn until_state(&self, spec: &Spec, state: State) -> Snapshot {
        self.until(spec, |now| now.state == state).await
    }

    /// Waits for a line that begins so, and returns the rest of it.
    async fn line(&self, spec: &Spec, start: &str) -> String {
        let tail = Tail { follow: true, ..Tail::default() };
        let mut lines = self.supervisor.logs(&spec.id, tail).await.expect("a log");
        let find = async {
            loop {
                let line = lines.next().await.expect("not the end").expect("a line");
                if let Some(rest) = line.text.strip_prefix(start) {
                    return rest.to_owned();
                }
            }
        };
        timeout(DEADLINE, find).await.expect("in time")
    }
}

fn spec(name: &str, source: Source) -> Spec {
    Spec {
        id: Id { namespace: "micro".to_owned(), name: name.to_owned(), version: "latest".to_owned() },
        source,
        environment: Vec::new(),
        scopes: Vec::new(),
        instances: 1,
        build_environment: BuildEnvironment::default(),
        restart: RestartPolicy::default(),
        binary: None,
    }
}

/// Waits until something outside is so.
async fn eventually(what: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !what() {
        assert!(Instant::now() < deadline, "it never came to be");
        sleep(Duration::from_millis(10)).await;
    }
}

fn is_alive(pid: &str) -> bool {
    identity::process(pid.parse().expect("a number")).is_some()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}
