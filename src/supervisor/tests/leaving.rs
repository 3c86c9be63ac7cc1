//! Nothing stays behind: stopped services, descendants, and what a killed server left.

use std::{os::unix::process::CommandExt as _, process::Command as Program};

use uuid::Uuid;

use super::*;
use crate::supervisor::leftovers::INSTANCE_VARIABLE;

#[tokio::test]
async fn a_program_that_ignores_the_request_is_killed_after_the_grace() {
    let (bench, _starts) = Bench::with(|settings| settings.grace = Duration::from_millis(100)).await;
    let spec = bench.script("hello", "trap '' TERM; echo ready; while :; do sleep 1; done");
    bench.apply(&spec, Change::Start).await;
    bench.line(&spec, "ready").await;
    let mut changes = bench.supervisor.watch();
    bench.remove(&spec).await;
    let mut last = None;
    while let Some(Ok(change)) = changes.try_next() {
        last = Some(change);
    }
    let last = last.expect("a change");
    assert_eq!((last.state, bench.owner.count("stopping")), (State::Stopped, 1));
    assert!(bench.supervisor.snapshot(&spec.id).is_none());
    assert!(matches!(bench.supervisor.remove(&spec.id).await, Err(Error::Unknown(_))));
}

#[tokio::test]
async fn descendants_go_with_their_process() {
    let bench = Bench::new().await;
    let spec = bench.script("hello", "sleep 1000 & echo child $!; wait");
    bench.apply(&spec, Change::Start).await;
    let running = bench.until_state(&spec, State::Running).await;
    let child = bench.line(&spec, "child ").await;
    kill(running.pid.expect("a process"));
    eventually(|| !is_alive(&child)).await;
    bench.remove(&spec).await;
}

#[tokio::test]
async fn a_service_can_be_removed_while_it_backs_off() {
    let (bench, _starts) = Bench::with(|settings| {
        settings.restart.first = Duration::from_hours(1);
        settings.restart.longest = Duration::from_hours(1);
    })
    .await;
    let spec = bench.script("hello", "exit 1");
    bench.apply(&spec, Change::Start).await;
    bench.until_state(&spec, State::BackingOff).await;
    bench.remove(&spec).await;
    assert!(bench.supervisor.list().is_empty());
}

#[tokio::test]
async fn a_stopped_supervisor_leaves_nothing_and_takes_nothing() {
    let bench = Bench::new().await;
    let specs: Vec<Spec> =
        (0..5).map(|number| bench.script(&format!("s{number}"), "exec sleep 1000")).collect();
    let mut processes = Vec::new();
    for spec in &specs {
        bench.apply(spec, Change::Start).await;
        let running = bench.until_state(spec, State::Running).await;
        processes.push(running.pid.expect("a process").to_string());
    }
    timeout(DEADLINE, bench.supervisor.stop_all()).await.expect("in time");
    assert!(!processes.iter().any(|pid| is_alive(pid)));
    assert_eq!(fs::read_dir(bench.path("children")).expect("a folder").count(), 0);
    assert!(bench.tasks.stop(DEADLINE).await);
    assert!(matches!(bench.supervisor.apply(specs[0].clone(), Change::Start).await, Err(Error::Stopping)));
}

#[tokio::test]
async fn a_removed_service_can_come_back_at_once() {
    let bench = Bench::new().await;
    let spec = bench.script("hello", "exec sleep 1000");
    bench.apply(&spec, Change::Start).await;
    bench.until_state(&spec, State::Running).await;
    let (removed, applied) =
        tokio::join!(bench.supervisor.remove(&spec.id), bench.supervisor.apply(spec.clone(), Change::Start));
    removed.expect("removed");
    applied.expect("accepted");
    assert!(bench.supervisor.list().len() <= 1);
    timeout(DEADLINE, bench.supervisor.stop_all()).await.expect("in time");
}

#[tokio::test]
async fn the_log_of_a_removed_service_stays() {
    let bench = Bench::new().await;
    let spec = bench.script("hello", "echo farewell; exec sleep 1000");
    assert!(matches!(bench.supervisor.logs(&spec.id, Tail::default()).await, Err(Error::NoLogs(_))));
    bench.apply(&spec, Change::Start).await;
    bench.line(&spec, "farewell").await;
    bench.remove(&spec).await;
    bench.line(&spec, "farewell").await;
}

/// A process of an earlier server, in a group of its own; killed when the test ends.
struct Orphan(std::process::Child);

impl Orphan {
    fn new(script: &str, instance: Option<&str>) -> Self {
        Self::of("sh", &["-c", script], instance)
    }

    /// A program that is there when this returns, since nothing stands between it and its start.
    fn of(program: &str, arguments: &[&str], instance: Option<&str>) -> Self {
        let mut program = Program::new(program);
        program.args(arguments).process_group(0).env_remove(INSTANCE_VARIABLE);
        program.envs(instance.map(|instance| (INSTANCE_VARIABLE, instance)));
        Self(program.spawn().expect("a process"))
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_none()
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        // Most are dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn records() -> (tempfile::TempDir, Records, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let records = Records::new(folder.path());
    (folder, records, Uuid::now_v7().to_string())
}

#[tokio::test]
async fn leftovers_are_killed_with_all_their_group() {
    let (folder, records, instance) = records();
    let child = folder.path().join("child");
    let script = format!("env -i sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", child.display());
    let mut orphan = Orphan::new(&script, Some(&instance));
    eventually(|| child.exists()).await;
    let unmarked = fs::read_to_string(&child).expect("a number").trim().to_owned();
    fs::remove_file(&child).expect("removed");
    records.announce(&instance).expect("written");
    records.started(&instance, orphan.0.id()).expect("written");
    assert_eq!(records.stop_leftovers().expect("stopped"), 2);
    assert!(!orphan.is_running() && !is_alive(&unmarked));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[tokio::test]
async fn a_child_that_was_only_announced_is_found_by_its_mark() {
    let (_folder, records, instance) = records();
    // A process has no environment for the moment in which it becomes another program.
    let mut orphan = Orphan::of("sleep", &["1000"], Some(&instance));
    records.announce(&instance).expect("written");
    assert_eq!(records.stop_leftovers().expect("stopped"), 1);
    assert!(!orphan.is_running());
}

#[tokio::test]
async fn a_foreign_process_with_a_recorded_number_is_spared() {
    let (folder, records, instance) = records();
    let mut foreign = Orphan::of("sleep", &["1000"], None);
    records.started(&instance, foreign.0.id()).expect("written");
    let path = folder.path().join(format!("{instance}.json"));
    let mut record: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("there")).expect("a record");
    record["leader"]["started"] = "1".into();
    fs::write(&path, record.to_string()).expect("written");
    assert_eq!(records.stop_leftovers().expect("stopped"), 0);
    assert!(foreign.is_running());
}

#[tokio::test]
async fn a_record_of_an_earlier_boot_means_nothing() {
    let (folder, records, instance) = records();
    let mut foreign = Orphan::new("exec sleep 1000", Some(&instance));
    records.started(&instance, foreign.0.id()).expect("written");
    let path = folder.path().join(format!("{instance}.json"));
    let mut record: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("there")).expect("a record");
    record["boot"] = "another".into();
    fs::write(&path, record.to_string()).expect("written");
    assert_eq!(records.stop_leftovers().expect("stopped"), 0);
    assert!(foreign.is_running() && !path.exists());
}
