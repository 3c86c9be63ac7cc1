//! One instance of a service: a process that is started, watched, and started again when it ends.
//!
//! An instance owns its process and is spoken to by channel; it tells its service how it is doing.
//! What runs, and how many instances of it, is the service's matter.

use std::{
    process::ExitStatus,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Owner,
    backoff::{Backoff, Next},
    logs::{LastLines, Sink, Stream, capture},
    process::{Host, Process},
    settings::Settings,
    spawner::Program,
    spec::{Id, RestartPolicy},
    status::{State, describe},
};

/// What the owner of a service saw of a process; for another process than the present one it means
/// nothing.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The instance the owner means.
    pub(super) instance: String,
    pub(super) health: Health,
}

/// How a process answers.
#[derive(Clone, Debug)]
pub(super) enum Health {
    /// It is registered and answers.
    Good,
    /// It does not answer, for this reason.
    Bad(String),
}

/// How an instance is doing.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub(super) state: State,
    pub(super) reason: Option<String>,
    pub(super) pid: Option<u32>,
    pub(super) started: Option<SystemTime>,
    pub(super) exit: Option<String>,
    pub(super) restarts: u32,
    pub(super) last_lines: Vec<String>,
}

impl Status {
    pub(super) fn new() -> Self {
        Self {
            state: State::Starting,
            reason: None,
            pid: None,
            started: None,
            exit: None,
            restarts: 0,
            last_lines: Vec::new(),
        }
    }
}

/// What an instance is made with.
pub(super) struct Instance {
    pub(super) id: Id,
    pub(super) host: Host,
    pub(super) owner: Arc<dyn Owner>,
    pub(super) settings: Arc<Settings>,
    pub(super) program: Program,
    pub(super) restart: RestartPolicy,
    pub(super) sink: Sink,
    pub(super) seen: mpsc::Receiver<Seen>,
    pub(super) stop: CancellationToken,
    pub(super) report: watch::Sender<Status>,
}

/// How one process of an instance came to its end.
enum End {
    /// It was asked to stop.
    Stopped,
    /// It ended by itself, or could not be started.
    Ended(String),
    /// It was stopped because it did not get ready; perhaps with the reason it did not answer.
    NotReady(Option<String>),
    /// It was stopped because it was ready once and did not answer for too long, for this reason.
    Unhealthy(String),
}

impl Instance {
    /// Runs until it is stopped or fails for good; the last status is `Stopped` or `Failed`.
    pub(super) async fn run(mut self) {
        let mut status = Status::new();
        let mut backoff = Backoff::new(self.settings.restart);
        let mut was_ready = false;
        loop {
            let mut ready = None;
            let end = self.live(&mut status, &mut ready).await;
            was_ready |= ready.is_some();
            status.pid = None;
            // Waiting longer would not help a program that never registers.
            let first_start_failed = matches!(end, End::NotReady(_)) && !was_ready;
            let reason = match end {
                End::Stopped => return self.tell(&mut status, State::Stopped, None),
                End::NotReady(None) => {
                    format!("did not register within {}", seconds(self.settings.ready_timeout))
                }
                End::Unhealthy(reason) => {
                    format!("unhealthy for {}: {reason}", seconds(self.settings.restart.unhealthy))
                }
                End::Ended(reason) | End::NotReady(Some(reason)) => reason,
            };
            if first_start_failed {
                return self.tell(&mut status, State::Failed, Some(reason));
            }
            if self.restart == RestartPolicy::Never {
                let reason = format!("{reason}, and is never restarted, as was asked");
                return self.tell(&mut status, State::Failed, Some(reason));
            }
            let wait = match backoff.ended(ready.map_or(Duration::ZERO, |ready| ready.elapsed()), chance()) {
                Next::Wait(wait) => wait,
                Next::GiveUp { failures } => {
                    let reason = format!("{reason}, {failures} times in a row");
                    return self.tell(&mut status, State::Failed, Some(reason));
                }
            };
            self.tell(&mut status, State::BackingOff, Some(reason));
            tokio::select! {
                () = sleep(wait) => {}
                () = self.stop.cancelled() => return self.tell(&mut status, State::Stopped, None),
            }
            status.restarts += 1;
        }
    }

    /// One process from its start to its end. `ready` becomes the moment it first was.
    async fn live(&mut self, status: &mut Status, ready: &mut Option<Instant>) -> End {
        let instance = Uuid::now_v7().to_string();
        let mut program = self.program.clone();
        let owned = self.owner.environment(&self.id, &instance, &program.scopes);
        program.environment.extend(owned);
        let started = Process::start(&self.host, program, &instance).await;
        match started {
            Ok(process) => self.watch(process, &instance, status, ready).await,
            Err(error) => {
                self.owner.exited(&self.id, &instance);
                status.last_lines.clear();
                End::Ended(error.to_string())
            }
        }
    }

    async fn watch(
        &mut self,
        mut process: Process,
        instance: &str,
        status: &mut Status,
        ready: &mut Option<Instant>,
    ) -> End {
        let last_lines = LastLines::default();
        if let Some((stdout, stderr)) = process.output() {
            let log = || (self.sink.clone(), last_lines.clone(), process.cut_off());
            process.read(capture(stdout, Stream::Stdout, log()));
            process.read(capture(stderr, Stream::Stderr, log()));
        }
        status.pid = process.id();
        status.started = Some(SystemTime::now());
        let why = status.exit.as_ref().map(|exit| format!("started again, the last process {exit}"));
        self.tell(status, State::Starting, why);

        let deadline = Instant::now() + self.settings.ready_timeout;
        let mut silent = None;
        let mut unhealthy: Option<Instant> = None;
        let end = loop {
            let patience = unhealthy.map(|since| since + self.settings.restart.unhealthy);
            let patience = patience.filter(|_| self.restart == RestartPolicy::Unhealthy);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break End::Stopped,
                ended = process.wait() => break End::Ended(ended.map_or_else(|error| error.to_string(), describe)),
                Some(seen) = self.seen.recv() => {
                    if seen.instance == instance {
                        silent = match &seen.health {
                            Health::Good => None,
                            Health::Bad(reason) => Some(reason.clone()),
                        };
                        self.judge(seen.health, status, ready);
                        unhealthy = (status.state == State::Unhealthy)
                            .then(|| unhealthy.unwrap_or_else(Instant::now));
                    }
                }
                () = sleep_until(patience.unwrap_or(deadline)), if patience.is_some() => {
                    break End::Unhealthy(silent.unwrap_or_default());
                }
                () = sleep_until(deadline), if ready.is_none() => break End::NotReady(silent),
            }
        };
        let exit = match &end {
            End::Ended(how) => Some(how.clone()),
            End::Stopped | End::NotReady(_) | End::Unhealthy(_) => {
                self.stop_process(&mut process, instance, status).await.map(describe)
            }
        };
        // At once: what is left to do may take a moment, and calls should go elsewhere by then.
        self.owner.exited(&self.id, instance);
        process.finish().await;
        status.exit = exit;
        status.last_lines = last_lines.take();
        end
    }

    fn judge(&self, health: Health, status: &mut Status, ready: &mut Option<Instant>) {
        match health {
            Health::Good => {
                ready.get_or_insert_with(Instant::now);
                if status.state != State::Running {
                    self.tell(status, State::Running, None);
                }
            }
            // What never was ready is starting, not sick.
            Health::Bad(reason) if ready.is_some() => self.tell(status, State::Unhealthy, Some(reason)),
            Health::Bad(_) => {}
        }
    }

    async fn stop_process(
        &self,
        process: &mut Process,
        instance: &str,
        status: &mut Status,
    ) -> Option<ExitStatus> {
        self.tell(status, State::Stopping, None);
        self.owner.stopping(&self.id, instance);
        process.stop(self.settings.grace).await
    }

    fn tell(&self, status: &mut Status, state: State, reason: Option<String>) {
        status.state = state;
        status.reason = reason;
        self.report.send_replace(status.clone());
    }
}

/// A number in 0..1 that differs from one instance to the next.
fn chance() -> f64 {
    let random = Uuid::new_v4().as_u64_pair().0 >> 48;
    f64::from(random as u32) / f64::from(1_u32 << 16)
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
