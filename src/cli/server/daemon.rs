//! The server in the background: finds it, starts it once however many shells ask, stops it.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Limited};
use micro_sdk::{
    Channel,
    local::{self, State},
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::Deserialize;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    super::{
        failure::{Failure, exit},
        ui::Ui,
    },
    options::Options,
};
use crate::{
    paths::Home,
    private,
    server::{INSTANCE_VARIABLE, RunsAlready, VERSION, holder},
};

/// How long a server may take to answer a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a server may take to end beyond its grace period, and to start.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const START_TIMEOUT: Duration = Duration::from_mins(2);
/// How often the end of a process is looked for, where the system does not tell it.
const LOOK: Duration = Duration::from_millis(20);
/// How many lines of the log are shown when a start fails.
const SHOWN: usize = 20;
/// How many bytes a server may say about itself.
const ABOUT: usize = 1 << 20;

/// What is known of the server of this home.
pub(super) enum Probe {
    /// None runs.
    Nothing,
    /// It answers.
    Answers(Box<Running>),
    /// A server, with this process id if that can be told, holds the home, but does not answer or
    /// cannot be found.
    Silent(Option<u32>),
}

/// A server that answers.
pub(crate) struct Running {
    pub(crate) state: State,
    /// The way to it by its local socket, open.
    pub(crate) socket: Channel,
}

/// What a server says at its local socket.
#[derive(Deserialize)]
struct About {
    /// Where it is and how it does; older ones do not say it.
    state: Option<State>,
}

/// The server of a home, as commands find, start and stop it.
pub(crate) struct Daemon<'a> {
    pub(crate) home: &'a Home,
    pub(crate) ui: &'a Ui,
    /// How long a start by another command is waited for.
    pub(crate) timeout: Duration,
}

impl Daemon<'_> {
    /// The log of the server in the background.
    pub(super) fn log_file(&self) -> PathBuf {
        self.home.data.join("logs").join("server.log")
    }

    /// Looks for the server of this home. What it left on disk is believed only if the process that
    /// has its socket open wrote it: the file may be left by a server that was killed, and its process
    /// id may belong to another program by now.
    pub(super) async fn probe(&self) -> Probe {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        // One that was started with another runtime folder tells by its state where its socket is.
        let mut sockets = self.home.sockets().to_vec();
        sockets.extend(self.state().map(|state| state.socket).filter(|socket| !sockets.contains(socket)));
        let open = loop {
            if let Some(open) = self.connected(&sockets, deadline).await {
                break open;
            }
            // No socket does not mean no server: one that is starting has none yet, and that of one that
            // runs may have been removed. Its lock tells.
            match holder(self.home) {
                None => return Probe::Nothing,
                Some(RunsAlready { pid }) if Instant::now() > deadline => return Probe::Silent(pid),
                Some(RunsAlready { .. }) => sleep(LOOK).await,
            }
        };
        let (socket, stream) = open;
        let peer = stream.as_ref().and_then(|stream| stream.peer_cred().ok()?.pid());
        let pid = peer.and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid != 0);
        let written = |state: &State| pid.is_none_or(|pid| pid == state.pid);
        let answer = async {
            let channel = match stream {
                Some(stream) => Channel::over(&socket, stream).await.ok()?,
                None => Channel::unix(&socket),
            };
            let about = about(&channel).await?;
            // One of an older version writes it when every door is open.
            let state = match about.state {
                Some(state) => Some(state).filter(written)?,
                None => loop {
                    match self.state().filter(written) {
                        Some(state) => break state,
                        None => sleep(LOOK).await,
                    }
                },
            };
            Some(Running { state, socket: channel })
        };
        match timeout_at(deadline, answer).await {
            Ok(Some(running)) => Probe::Answers(Box::new(running)),
            // Whatever else has the socket open is no server of ours: the next one replaces it.
            Ok(None) | Err(_) => match holder(self.home) {
                Some(RunsAlready { pid }) => Probe::Silent(pid),
                None => Probe::Nothing,
            },
        }
    }

    /// The last of these sockets that a process of this user serves, and a connection to it. None for one that
    /// does not take the connection in time.
    async fn connected(
        &self,
        sockets: &[PathBuf],
        deadline: Instant,
    ) -> Option<(PathBuf, Option<UnixStream>)> {
        let mut open = None;
        for socket in sockets {
            match timeout_at(deadline, local::connect(socket)).await {
                Ok(Ok(stream)) => open = Some((socket.clone(), Some(stream))),
                Err(_) => open = Some((socket.clone(), None)),
                // What another user serves is no server of this home.
                Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.ui.detail(format_args!("no server of this home: {error}"));
                }
                Ok(Err(_)) => {}
            }
        }
        open
    }

    /// The server of this home that answers, if there is one.
    pub(crate) async fn find(&self) -> Option<State> {
        match self.probe().await {
            Probe::Answers(running) => Some(running.state),
            Probe::Nothing | Probe::Silent(_) => None,
        }
    }

    /// The server of this home; with `start` it is started if none runs.
    ///
    /// # Errors
    /// None runs and none may be started, or it cannot start.
    pub(crate) async fn ensure(&self, start: bool) -> anyhow::Result<Running> {
        let found = self.probe().await;
        if let Probe::Answers(running) = found {
            let version = &running.state.version;
            if version != VERSION {
                self.ui.warn(format_args!(
                    "the server runs version {version}, this is {VERSION}; replace it with `micro server restart`"
                ));
            }
            return Ok(*running);
        }
        let forbidden =
            std::env::var_os("MICRO_NO_AUTOSTART").is_some_and(|value| !value.is_empty() && value != "0");
        if !start || forbidden {
            return Err(if let Probe::Silent(pid) = found { silent(pid) } else { nothing() });
        }
        // One that does not answer may be starting: that ends with the lock of its start.
        let (state, started) =
            self.start_once(&Options::of_autostart(self.home, self.ui)?.arguments()).await?;
        if started {
            self.ui.say(format_args!(
                "started the micro server (pid {}); stop it with `micro server stop`",
                state.pid
            ));
        }
        let socket = Channel::unix(&state.socket);
        Ok(Running { state, socket })
    }

    /// Starts a server with these arguments unless one runs; tells which of the two it was.
    ///
    /// # Errors
    /// It cannot start; the text has the end of its log.
    pub(super) async fn start_once(&self, arguments: &[String]) -> anyhow::Result<(State, bool)> {
        let folder = self.home.server();
        private::create_lasting_folder(&folder)?;
        private::create_lasting_folder(&self.home.data.join("logs"))?;
        // A second command waits here, and then finds the server that the first has started.
        let path = folder.join("start.lock");
        let locked = path.clone();
        let lock = tokio::task::spawn_blocking(move || -> io::Result<File> {
            let file = private::open_file(&locked)?;
            file.lock()?;
            Ok(file)
        });
        let held = || {
            let text = format!("another command has been starting the server for {:?}", self.timeout);
            let hint = format!("see who holds `{}`", path.display());
            Failure::new(exit::TIMED_OUT, text).hint(hint)
        };
        let lock = timeout(self.timeout, lock).await.map_err(|_| held())?;
        let _lock = lock?.context("cannot lock the start of the server")?;
        match self.probe().await {
            Probe::Answers(running) => return Ok((running.state, false)),
            Probe::Silent(pid) => return Err(silent(pid)),
            Probe::Nothing => {}
        }
        let log = self.log_file();
        let file = super::log::open(&log).with_context(|| format!("cannot open `{}`", log.display()))?;
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(program)
            .args(["server", "--daemonized"])
            // It outlives the process that starts it, also where that is a service of another server.
            .env_remove(INSTANCE_VARIABLE)
            .args(arguments)
            .envs(absolute_home()?)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .context("cannot start the server")?;
        let output = child.stdout.take().context("the server has no output")?;
        // It says "ready" once, or its output ends because it does.
        let ready = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).is_ok_and(|read| read > 0)
        });
        let ready = timeout(START_TIMEOUT, ready).await.map_err(|_| {
            let text = format!("the server (pid {}) has not started within {START_TIMEOUT:?}", child.id());
            Failure::new(exit::TIMED_OUT, text).hint("see what it does with `micro server logs`")
        })?;
        if ready? && let Some(state) = self.state() {
            self.warn_of_place(&state);
            return Ok((state, true));
        }
        // It may have lost a race against a server in the foreground.
        if let Some(state) = self.find().await {
            return Ok((state, false));
        }
        let written = fs::read(&log).unwrap_or_default();
        let text =
            String::from_utf8_lossy(written.get(usize::try_from(length)?..).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        let shown = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
        let reason = shown.strip_prefix("error: ").unwrap_or(&shown);
        bail!("the server did not start: {reason}");
    }

    /// Says why the local socket is not where it usually is.
    fn warn_of_place(&self, state: &State) {
        let [usual, _] = self.home.sockets();
        if state.socket != usual {
            let own = rustix::process::getuid().as_raw();
            let reason = usual.parent().and_then(|folder| local::check_folder(folder, own).err());
            let reason =
                reason.map_or_else(|| "that could not be used".to_owned(), |found| found.to_string());
            self.ui.warn(format_args!(
                "the local socket is `{}`, not the usual `{}`: {reason}",
                state.socket.display(),
                usual.display()
            ));
        }
    }

    /// Stops the server of this home; none if none runs.
    ///
    /// # Errors
    /// It does not end.
    pub(super) async fn stop(&self) -> anyhow::Result<Option<u32>> {
        // A signal is sent to nobody but the process that holds the home, or answers at its socket.
        let (number, grace) = match self.probe().await {
            Probe::Nothing => return Ok(None),
            Probe::Answers(running) => (running.state.pid, running.state.grace),
            Probe::Silent(Some(pid)) => (pid, self.state().map_or(0, |state| state.grace)),
            Probe::Silent(None) => return Err(silent(None)),
        };
        let pid = i32::try_from(number)
            .ok()
            .and_then(Pid::from_raw)
            .context("the process of the server cannot be told")?;
        kill_process(pid, Signal::TERM).with_context(|| format!("cannot stop the server (pid {number})"))?;
        let deadline = Instant::now() + Duration::from_millis(grace) + STOP_TIMEOUT;
        // It is no child of ours, so the system does not tell us when it ends.
        while !has_ended(pid) {
            if Instant::now() > deadline {
                let text = format!("the server (pid {number}) does not end");
                let hint =
                    format!("look at `micro server logs`, then `kill -9 {number}`, which loses nothing");
                return Err(Failure::new(exit::FAILED, text).hint(hint).into());
            }
            sleep(LOOK).await;
        }
        Ok(Some(number))
    }

    /// What the last server of this home wrote of itself, if one was ever started.
    pub(crate) fn state(&self) -> Option<State> {
        State::read(&self.home.data).ok()
    }
}

/// What the server at the other end of a local socket says of itself.
async fn about(channel: &Channel) -> Option<About> {
    let request = http::Request::get("/").body(micro_sdk::tonic::body::Body::empty()).ok()?;
    let response = channel.ready().await.ok()?.send(request).await.ok()?;
    let answer = Limited::new(response.into_body(), ABOUT).collect().await.ok()?.to_bytes();
    serde_json::from_slice(&answer).ok()
}

/// What to say when no server runs.
pub(super) fn nothing() -> anyhow::Error {
    Failure::new(exit::UNREACHABLE, "no micro server runs").hint("start one with `micro server start`").into()
}

/// What to say when there is a server that does not answer.
pub(super) fn silent(pid: Option<u32>) -> anyhow::Error {
    let (text, hint) = match pid {
        Some(pid) => (
            format!("the micro server (pid {pid}) does not answer"),
            format!(
                "replace it with `micro server restart`; if it does not end, `kill -9 {pid}` loses nothing"
            ),
        ),
        None => (
            "a micro server of this home runs, but neither its socket nor its lock tells its process"
                .to_owned(),
            "see who has `micro.db` of the home open, as with `lsof`, and end that".to_owned(),
        ),
    };
    Failure::new(exit::UNREACHABLE, text).hint(hint).into()
}

/// `MICRO_HOME` for a program in another folder.
fn absolute_home() -> anyhow::Result<Option<(&'static str, PathBuf)>> {
    const NAME: &str = "MICRO_HOME";
    let Some(home) = std::env::var_os(NAME).filter(|home| !home.is_empty()) else { return Ok(None) };
    Ok(Some((NAME, std::path::absolute(home).context("cannot resolve MICRO_HOME")?)))
}

/// Whether a process has ended. One whose parent has not noticed yet has: in a container nobody
/// may ever notice (proc(5)).
fn has_ended(pid: Pid) -> bool {
    let stat = || fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    test_kill_process(pid).is_err()
        || stat().is_ok_and(|stat| {
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
        })
}
