//! One service: brings its instances in line with its specification.
//!
//! A service is a task that owns all of its state and is spoken to by channel. A change is built
//! first, while the present processes go on; the new ones start beside them and take over when all
//! are ready. A build or a start that fails leaves the present ones as they are.

mod plan;
mod view;

use std::{collections::BTreeMap, mem, sync::Arc};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::plan::Plan;
use super::{
    Change, Owner, Spec,
    build::{Builder, Failure, Request},
    instance::{Instance, Seen, Status},
    logs::Journal,
    process::Host,
    settings::Settings,
    spawner::Program,
    spec::{Id, RestartPolicy, Source},
    status::{Snapshot, State},
};
use crate::backlog::Backlog;

/// What may have happened within a service and not been looked at yet.
const EVENTS: usize = 64;
/// What an instance may have been seen to do and not heard of yet.
const SIGHTS: usize = 16;

/// What services share.
pub(super) struct Context {
    pub(super) host: Host,
    pub(super) owner: Arc<dyn Owner>,
    pub(super) settings: Arc<Settings>,
    pub(super) builder: Arc<Builder>,
    pub(super) changes: Backlog<Arc<Snapshot>>,
}

/// What a service is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Run like this from now on.
    Apply { spec: Box<Spec>, change: Change, accepted: oneshot::Sender<()> },
    /// An instance was seen.
    Seen(Seen),
    /// Stop everything and end.
    End,
}

/// What happens within a service.
enum Event {
    Instance(u64, Status),
    Progress(u64, String),
    Built(Result<String, Failure>),
}

/// Which part an instance has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It serves.
    Current,
    /// It takes over when it and all its like are ready.
    Next,
    /// It is being stopped.
    Leaving,
}

struct Slot {
    role: Role,
    status: Status,
    stop: CancellationToken,
    seen: mpsc::Sender<Seen>,
}

/// What a process of the service is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Launch {
    program: Program,
    /// The content hash, if it was built.
    build: Option<String>,
    restart: RestartPolicy,
}

/// What is under way beside the present processes.
enum Phase {
    /// Nothing is.
    Steady,
    /// A program is being built.
    Building {
        number: u64,
        cancel: CancellationToken,
        progress: String,
        /// The specification has changed meanwhile: the next build begins when this one has ended.
        again: bool,
    },
    /// New processes start, and take over when all are ready.
    Replacing(Launch),
}

pub(super) struct Service {
    context: Arc<Context>,
    id: Id,
    journal: Journal,
    events: mpsc::Sender<Event>,
    happened: mpsc::Receiver<Event>,
    snapshot: watch::Sender<Snapshot>,

    spec: Option<Spec>,
    change: Change,
    phase: Phase,
    /// What the current instances run.
    current: Option<Launch>,
    slots: BTreeMap<u64, Slot>,
    counter: u64,

    /// What went wrong beside the processes.
    notice: Option<String>,
    build_log: Option<String>,
    ending: bool,
}

impl Service {
    pub(super) fn new(
        context: Arc<Context>,
        id: Id,
        journal: Journal,
        snapshot: watch::Sender<Snapshot>,
    ) -> Self {
        let (events, happened) = mpsc::channel(EVENTS);
        Self {
            context,
            id,
            journal,
            events,
            happened,
            snapshot,
            spec: None,
            change: Change::Start,
            phase: Phase::Steady,
            current: None,
            slots: BTreeMap::new(),
            counter: 0,
            notice: None,
            build_log: None,
            ending: false,
        }
    }

    /// Runs until it is told to end and nothing of it is left.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let stopping = self.context.host.tasks.token().clone();
        while !(self.ending && self.is_empty()) {
            tokio::select! {
                command = commands.recv(), if !self.ending => match command {
                    Some(Command::Apply { spec, change, accepted }) => {
                        self.apply(*spec, change);
                        self.publish();
                        // The caller may have gone without waiting for the answer.
                        let _ = accepted.send(());
                    }
                    Some(Command::Seen(seen)) => self.pass_on(&seen),
                    Some(Command::End) | None => self.end(),
                },
                () = stopping.cancelled(), if !self.ending => self.end(),
                Some(event) = self.happened.recv() => self.handle(event),
            }
            self.publish();
        }
        // What waits here comes too late; its sender asks again when this service is gone.
        commands.close();
        self.journal.close().await;
    }

    fn apply(&mut self, spec: Spec, change: Change) {
        self.spec = Some(spec);
        self.change = change;
        self.notice = None;
        self.build_log = None;
        self.leave(Role::Next);
        if let Phase::Building { cancel, again, .. } = &mut self.phase {
            cancel.cancel();
            *again = true;
        } else {
            self.phase = Phase::Steady;
            self.begin();
        }
    }

    /// Makes a program of the specification: at once, or by a build.
    fn begin(&mut self) {
        let Some(spec) = &self.spec else { return };
        match Plan::of(spec, self.change, self.context.builder.binaries()) {
            Plan::Launch(launch) => self.roll(launch),
            Plan::Build(request) => self.start_build(request),
            Plan::Impossible(reason) => self.notice = Some(reason),
        }
    }

    fn start_build(&mut self, request: Request) {
        self.counter += 1;
        let number = self.counter;
        let cancel = CancellationToken::new();
        let (progress, mut said) = watch::channel(String::new());
        let events = self.events.clone();
        let builder = self.context.builder.clone();
        let cancelled = cancel.clone();
        self.context.host.tasks.spawn(async move {
            let build = builder.build(request, progress, cancelled);
            tokio::pin!(build);
            let result = loop {
                tokio::select! {
                    biased;
                    Ok(()) = said.changed() => {
                        let text = said.borrow_and_update().clone();
                        tell(&events, Event::Progress(number, text)).await;
                    }
                    result = &mut build => break result,
                }
            };
            tell(&events, Event::Built(result)).await;
        });
        // Until the builder reports progress, a reader must not take the old state for the new one.
        self.phase = Phase::Building { number, cancel, progress: "building".to_owned(), again: false };
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Progress(number, text) => {
                if let Phase::Building { number: building, progress, .. } = &mut self.phase
                    && *building == number
                {
                    *progress = text;
                }
            }
            Event::Built(result) => {
                let before = mem::replace(&mut self.phase, Phase::Steady);
                self.take_build(result, matches!(before, Phase::Building { again: true, .. }));
            }
            Event::Instance(number, status) => {
                if let Some(slot) = self.slots.get_mut(&number) {
                    slot.status = status;
                    self.follow_up(number);
                }
            }
        }
    }

    fn take_build(&mut self, result: Result<String, Failure>, again: bool) {
        if self.ending {
            return;
        }
        if again {
            return self.begin();
        }
        match result {
            Ok(hash) => {
                self.context.owner.built(&self.id, &hash);
                let binary = self.context.builder.binaries().find(&hash);
                let launch = self
                    .spec
                    .as_ref()
                    .zip(binary)
                    .and_then(|(spec, binary)| plan::built(spec, &binary, hash));
                match launch {
                    Some(launch) => self.roll(launch),
                    None => self.notice = Some("the built program is gone".to_owned()),
                }
            }
            Err(Failure::Cancelled) => {}
            Err(Failure::Failed { reason, log }) => {
                self.notice = Some(format!("build failed: {reason}"));
                // As many as are wanted go on with the last good build.
                self.scale();
                self.build_log = Some(log).filter(|log| !log.is_empty());
            }
        }
    }

    /// Brings the processes in line with what they are to run.
    fn roll(&mut self, launch: Launch) {
        self.forget_failed();
        let is_same = self.current.as_ref() == Some(&launch);
        if is_same && self.change != Change::Replace {
            self.scale();
        } else if self.wanted() == 0 || self.of(Role::Current).next().is_none() {
            self.current = Some(launch);
            self.scale();
        } else {
            for _ in 0..self.wanted() {
                self.start(&launch, Role::Next);
            }
            self.phase = Phase::Replacing(launch);
        }
    }

    /// Starts or stops current instances until as many run as are wanted.
    fn scale(&mut self) {
        let running = self.of(Role::Current).count();
        let wanted = self.wanted() as usize;
        let surplus: Vec<u64> = self.of(Role::Current).map(|(number, _)| *number).skip(wanted).collect();
        for number in surplus {
            self.stop(number);
        }
        if let Some(launch) = self.current.clone() {
            for _ in running..wanted {
                self.start(&launch, Role::Current);
            }
        }
    }

    fn start(&mut self, launch: &Launch, role: Role) {
        self.counter += 1;
        let number = self.counter;
        let (seen, observed) = mpsc::channel(SIGHTS);
        let (report, mut reports) = watch::channel(Status::new());
        let stop = CancellationToken::new();
        let instance = Instance {
            id: self.id.clone(),
            host: self.context.host.clone(),
            owner: self.context.owner.clone(),
            settings: self.context.settings.clone(),
            program: launch.program.clone(),
            restart: launch.restart,
            sink: self.journal.sink(),
            seen: observed,
            stop: stop.clone(),
            report,
        };
        let events = self.events.clone();
        self.context.host.tasks.spawn(instance.run());
        self.context.host.tasks.spawn(async move {
            // Of what follows each other faster than it is taken, the last counts.
            while reports.changed().await.is_ok() {
                let status = reports.borrow_and_update().clone();
                tell(&events, Event::Instance(number, status)).await;
            }
        });
        self.slots.insert(number, Slot { role, status: Status::new(), stop, seen });
    }

    /// Draws the conclusions from a new status of an instance.
    fn follow_up(&mut self, number: u64) {
        let Some(slot) = self.slots.get(&number) else { return };
        match slot.role {
            Role::Leaving if slot.status.state.is_final() => drop(self.slots.remove(&number)),
            Role::Next if slot.status.state == State::Failed => {
                let reason = slot.status.reason.clone().unwrap_or_default();
                self.notice = Some(format!("update failed: {reason}"));
                self.phase = Phase::Steady;
                self.leave(Role::Next);
                self.scale();
            }
            Role::Next if self.of(Role::Next).all(|(_, slot)| slot.status.state == State::Running) => {
                self.take_over();
            }
            Role::Current | Role::Next | Role::Leaving => {}
        }
    }

    fn take_over(&mut self) {
        self.leave(Role::Current);
        for slot in self.slots.values_mut().filter(|slot| slot.role == Role::Next) {
            slot.role = Role::Current;
        }
        if let Phase::Replacing(launch) = mem::replace(&mut self.phase, Phase::Steady) {
            self.current = Some(launch);
        }
        // The number of instances cannot have changed: any change begins anew.
    }

    fn end(&mut self) {
        self.ending = true;
        if let Phase::Building { cancel, .. } = &self.phase {
            cancel.cancel();
        } else {
            self.phase = Phase::Steady;
        }
        self.leave(Role::Next);
        self.leave(Role::Current);
    }

    fn leave(&mut self, role: Role) {
        let numbers: Vec<u64> = self.of(role).map(|(number, _)| *number).collect();
        for number in numbers {
            self.stop(number);
        }
    }

    fn stop(&mut self, number: u64) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        if slot.status.state.is_final() {
            self.slots.remove(&number);
        } else {
            slot.role = Role::Leaving;
            slot.stop.cancel();
        }
    }

    fn forget_failed(&mut self) {
        self.slots.retain(|_, slot| !(slot.role == Role::Current && slot.status.state.is_final()));
    }

    fn pass_on(&self, seen: &Seen) {
        for slot in self.slots.values() {
            // An instance that ended hears nothing, and one that is behind hears the next.
            let _ = slot.seen.try_send(seen.clone());
        }
    }

    fn of(&self, role: Role) -> impl Iterator<Item = (&u64, &Slot)> {
        self.slots.iter().filter(move |(_, slot)| slot.role == role)
    }

    fn is_building(&self) -> bool {
        matches!(self.phase, Phase::Building { .. })
    }

    /// Whether nothing of it runs.
    fn is_empty(&self) -> bool {
        self.slots.is_empty() && !self.is_building()
    }

    fn wanted(&self) -> u32 {
        self.spec.as_ref().map_or(0, |spec| spec.instances)
    }
}

/// The service holds the receiver as long as anything of it runs.
async fn tell(events: &mpsc::Sender<Event>, event: Event) {
    let _ = events.send(event).await;
}
