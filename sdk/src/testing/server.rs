//! A real server in a home of its own, for tests of a service as a whole.

use std::{
    env,
    ffi::OsStr,
    fmt, fs,
    io::{self, BufReader},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::{
    Address, Channel, Client, Context, Error, Result, Service,
    end::End,
    header::DEFAULT_NAMESPACE,
    local::State,
    platform::{Credentials, Platform, TOKEN_LIFE},
};

/// The variable that names the program; without it `micro` is looked for in `PATH`.
const PROGRAM: &str = "MICRO_PROGRAM";
/// How long the server, and a service on it, may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// How many lines are kept of what a server says that does not start.
const LAST_LINES: usize = 20;

/// A real server in a temporary home, on free ports, with nothing in it. It is gone when this is dropped, with
/// all that runs on it.
///
/// The program is the one that the variable `MICRO_PROGRAM` names, or else `micro` in `PATH`.
///
/// ```no_run
/// # use micro_sdk::{Result, Service, blocks::broker::BrokerClient, proto::broker::PublishRequest, tokio};
/// use micro_sdk::testing::Server;
///
/// # fn service(service: Service) -> Service { service }
/// #[tokio::test]
/// async fn it_is_found_and_called() -> Result<()> {
///     let server = Server::start().await?;
///     // As `main` runs it, in this process.
///     server.run("board", service).await?;
///     let board: BrokerClient = server.client("board");
///     board.publish(PublishRequest::default()).await?;
///     server.stop().await
/// }
/// ```
pub struct Server {
    home: Home,
    /// None once it was stopped.
    process: Option<Child>,
    channel: Channel,
    services: std::sync::Mutex<Vec<(End, JoinHandle<Result<()>>)>>,
}

impl Server {
    /// Starts a server; returns when it answers. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// There is no program `micro`, or it does not start; the text says why.
    pub async fn start() -> Result<Self> {
        let home = Home::new().map_err(|e| failed(&format!("cannot make a temporary home: {e}")))?;
        let mut command = home.command();
        command.args(["server", "--isolated"]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.stderr(Stdio::piped()).spawn().map_err(|e| {
            let program = program().display().to_string();
            failed(&format!("cannot run `{program}`: {e}; install micro, or name the program in {PROGRAM}"))
        })?;
        let (ready, is_ready) = oneshot::channel();
        if let Some(said) = process.stderr.take() {
            // It ends with the server.
            std::thread::spawn(move || wait_until_ready(BufReader::new(said), ready));
        }
        let started = timeout(PATIENCE, is_ready).await;
        let outcome = match started {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err("it does not say that it is ready".to_owned()),
        };
        let state =
            outcome.and_then(|()| State::read(&home.path.join("home/data")).map_err(|e| e.to_string()));
        match state {
            Ok(state) => Ok(Self {
                home,
                process: Some(process),
                channel: Channel::new(Address::Unix(state.socket)),
                services: std::sync::Mutex::default(),
            }),
            Err(why) => {
                end(&mut process);
                Err(failed(&format!("the server did not start: {why}")))
            }
        }
    }

    /// Runs what `build` makes of a service of this name, in this process, as the program's `main` would;
    /// returns when it is registered.
    ///
    /// # Errors
    /// What the service ends with, or that it is not registered within a minute.
    pub async fn run(&self, name: &str, build: impl FnOnce(Service) -> Service) -> Result<()> {
        let service = build(Service::of_platform(name, self.platform(name)));
        let (end, ready) = (End::new(), service.registered());
        let stop = end.clone();
        let mut running = tokio::spawn(service.run_until(async move { stop.asking().await }));
        let outcome = tokio::select! {
            () = ready => Ok(()),
            ended = &mut running => {
                let ended = ended.unwrap_or_else(|_| Err(failed("the service panicked")));
                return ended.and(Err(failed("the service ended before it was registered")));
            }
            () = tokio::time::sleep(PATIENCE) => Err(failed("the service was not registered in time")),
        };
        self.services.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((end, running));
        outcome
    }

    /// A client of a service, for the owner of the home, who is an administrator.
    #[must_use]
    pub fn client<C: From<Client>>(&self, service: &str) -> C {
        C::from(Client::new(self.channel.clone(), service))
    }

    /// The surroundings of a service of this name: its store, its settings, its clients of others.
    #[must_use]
    pub fn context(&self, service: &str) -> Context {
        Context::outside(Some(self.platform(service)), End::never())
    }

    /// Runs a command of `micro` in this home to its end, such as `server.micro(["catalog", "list"]).await?`; the
    /// services of this process answer meanwhile.
    ///
    /// # Errors
    /// It cannot be run. How it ended is in the output.
    pub async fn micro<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Result<Output> {
        let mut command = self.home.command();
        command.args(words).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        match output {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(failed(&format!("cannot run micro: {error}"))),
            Err(_) => Err(failed("cannot run micro")),
        }
    }

    /// Stops the services, waits for their last calls, then stops the server.
    ///
    /// # Errors
    /// What one of the services ended with.
    pub async fn stop(mut self) -> Result<()> {
        let services =
            std::mem::take(&mut *self.services.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let mut outcome = Ok(());
        for (end, _) in &services {
            end.ask();
        }
        for (_, running) in services {
            outcome = outcome.and(running.await.unwrap_or_else(|_| Err(failed("a service panicked"))));
        }
        let mut stop = self.home.command();
        stop.args(["server", "stop"]).stdout(Stdio::null()).stderr(Stdio::null());
        // Elsewhere, since the connections of this process have to end meanwhile.
        let stopped = tokio::task::spawn_blocking(move || stop.status()).await;
        self.kill();
        match stopped {
            Ok(Ok(status)) if status.success() => outcome,
            _ => outcome.and(Err(failed("the server did not stop"))),
        }
    }

    fn platform(&self, name: &str) -> Platform {
        let credentials = Credentials::Local { service: name.to_owned() };
        Platform::new(self.channel.clone(), DEFAULT_NAMESPACE.to_owned(), credentials, TOKEN_LIFE.1)
    }

    /// Ends the server, if it still runs; what runs on it ends with it.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            end(&mut process);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for (end, _) in self.services.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner) {
            end.ask();
        }
        self.kill();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("home", &self.home.path).finish_non_exhaustive()
    }
}

/// A folder that is removed when this is dropped.
struct Home {
    path: PathBuf,
}

impl Home {
    fn new() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            // Short, since sockets lie in it.
            let path = env::temp_dir().join(format!("micro-test-{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                // Of a process of that number whose test did not come to its end.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The program, without what the environment says of another server.
    fn command(&self) -> Command {
        let mut command = Command::new(program());
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("MICRO_")) {
                command.env_remove(name);
            }
        }
        command.env("MICRO_HOME", self.path.join("home")).env("XDG_RUNTIME_DIR", &self.path);
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What stays is in the folder for temporary files.
        drop(fs::remove_dir_all(&self.path));
    }
}

fn program() -> PathBuf {
    env::var_os(PROGRAM).map_or_else(|| Path::new("micro").to_owned(), PathBuf::from)
}

fn failed(text: &str) -> Error {
    Error::internal(text)
}

/// Reads what the server says, to its end, so that it never waits for a reader. Says when it is ready, or
/// what it said last.
fn wait_until_ready(said: impl io::BufRead, ready: oneshot::Sender<Result<(), String>>) {
    let mut ready = Some(ready);
    let mut last = Vec::new();
    for line in said.lines().map_while(io::Result::ok) {
        if line.contains("the micro server is ready") {
            if let Some(ready) = ready.take() {
                // Nobody waits any more.
                drop(ready.send(Ok(())));
            }
        } else if ready.is_some() {
            last.push(line);
            if last.len() > LAST_LINES {
                last.remove(0);
            }
        }
    }
    if let Some(ready) = ready {
        drop(ready.send(Err(last.join("\n"))));
    }
}

fn end(process: &mut Child) {
    // One that has ended already is only waited for.
    drop(process.kill());
    drop(process.wait());
}
