//! Start, restart, failure, stop.

use super::*;

#[tokio::test]
async fn a_killed_process_is_started_again() {
    let bench = Bench::new().await;
    let spec = bench.script("hello", "exec sleep 1000");
    bench.apply(&spec, Change::Start).await;
    let first = bench.until_state(&spec, State::Running).await;
    kill(first.pid.expect("a process"));
    let second = bench.until(&spec, |now| now.restarts == 1 && now.state == State::Running).await;
    assert_ne!(first.pid, second.pid);
    assert!(second.exit.expect("an end").starts_with("killed by SIGKILL"));
    assert_eq!(bench.owner.count("exited"), 1);
}

#[tokio::test]
async fn a_program_that_ends_at_once_is_given_up_and_says_why() {
    let bench = Bench::new().await;
    let spec = bench.script("hello", "echo boom >&2; exit 3");
    bench.apply(&spec, Change::Start).await;
    let failed = bench.until_state(&spec, State::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("exited with code 3, 5 times in a row"));
    assert_eq!(failed.last_lines, ["boom"]);
    assert_eq!(failed.restarts, 4);
    assert_eq!(bench.owner.count("environment"), 5);
    assert_eq!(bench.owner.count("exited"), 5);
}

#[tokio::test]
async fn a_good_exit_is_unexpected_too() {
    let bench = Bench::new().await;
    let spec = bench.script("hello", "exit 0");
    bench.apply(&spec, Change::Start).await;
    let failed = bench.until_state(&spec, State::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("exited with code 0, 5 times in a row"));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let bench = Bench::new().await;
    let command = vec!["/no/such/program".to_owned()];
    let spec = super::spec("hello", Source::Command { folder: bench.path("."), command });
    bench.apply(&spec, Change::Start).await;
    let failed = bench.until_state(&spec, State::Failed).await;
    let reason = failed.reason.expect("a reason");
    assert_eq!(reason, "there is no program `/no/such/program`, 5 times in a row");
    assert_eq!(bench.owner.count("exited"), bench.owner.count("environment"));
}

#[tokio::test]
async fn a_service_that_never_registers_has_failed() {
    let (bench, _starts) = Bench::with(|settings| settings.ready_timeout = Duration::from_millis(200)).await;
    let spec = bench.script("hello", "exec sleep 1000");
    bench.apply(&spec, Change::Start).await;
    let failed = bench.until_state(&spec, State::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("did not register within 0.2 s"));
    assert_eq!(failed.pid, None);
}

#[tokio::test]
async fn a_service_that_was_ready_once_is_tried_again_when_it_does_not_register() {
    let (bench, mut starts) =
        Bench::with(|settings| settings.ready_timeout = Duration::from_millis(500)).await;
    let spec = bench.script("hello", "exec sleep 1000");
    bench.apply(&spec, Change::Start).await;
    let (id, first) = starts.recv().await.expect("a start");
    bench.supervisor.ready(&id, &first);
    let running = bench.until_state(&spec, State::Running).await;
    kill(running.pid.expect("a process"));
    // The second one does not register in time.
    starts.recv().await.expect("a start");
    let (id, third) = starts.recv().await.expect("another start");
    bench.supervisor.ready(&id, &third);
    bench.until(&spec, |now| now.state == State::Running && now.restarts == 2).await;
}

#[tokio::test]
async fn health_is_what_the_owner_sees() {
    let (bench, mut starts) = Bench::with(|_| {}).await;
    let spec = bench.script("hello", "exec sleep 1000");
    bench.apply(&spec, Change::Start).await;
    let (id, instance) = starts.recv().await.expect("a start");
    bench.until(&spec, |now| now.state == State::Starting && now.pid.is_some()).await;
    bench.supervisor.ready(&id, "another instance");
    bench.supervisor.ready(&id, &instance);
    bench.until_state(&spec, State::Running).await;
    bench.supervisor.unhealthy(&id, &instance, "does not answer");
    let sick = bench.until_state(&spec, State::Unhealthy).await;
    assert_eq!(sick.reason.as_deref(), Some("does not answer"));
    bench.supervisor.ready(&id, &instance);
    bench.until_state(&spec, State::Running).await;
}

#[tokio::test]
async fn children_see_only_what_they_are_given() {
    let bench = Bench::new().await;
    let mut spec = bench.script("hello", "env; echo end; exec sleep 1000");
    spec.environment = [("FROM_USER", "user"), ("FROM_OWNER", "user"), ("LANG", "user")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    bench.apply(&spec, Change::Start).await;
    bench.line(&spec, "end").await;
    assert_eq!(bench.line(&spec, "FROM_USER=").await, "user");
    assert_eq!(bench.line(&spec, "FROM_OWNER=").await, "owner");
    assert_eq!(bench.line(&spec, "LANG=").await, "user");
    assert_eq!(bench.line(&spec, "MICRO_INSTANCE=").await.len(), 36);
    let lines = bench.supervisor.logs(&spec.id, Tail::default()).await.expect("a log");
    let names: Vec<String> = lines
        .filter_map(|line| Some(line.expect("a line").text.split_once('=')?.0.to_owned()))
        .collect()
        .await;
    let known = ["PATH", "HOME", "LANG", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_"];
    let own = ["FROM_USER", "FROM_OWNER", "MICRO_INSTANCE"];
    for name in names {
        assert!(known.contains(&name.as_str()) || own.contains(&name.as_str()), "{name}");
    }
}

#[tokio::test]
async fn several_instances_are_scaled_in_place() {
    let bench = Bench::new().await;
    let mut spec = bench.script("hello", "exec sleep 1000");
    spec.instances = 3;
    bench.apply(&spec, Change::Start).await;
    bench.until(&spec, |now| now.running == 3).await;
    spec.instances = 1;
    bench.apply(&spec, Change::Start).await;
    bench.until(&spec, |now| now.running == 1).await;
    eventually(|| bench.owner.count("exited") == 2).await;
    spec.instances = 0;
    bench.apply(&spec, Change::Start).await;
    bench.until_state(&spec, State::Stopped).await;
    assert_eq!(bench.owner.count("environment"), 3);
}

#[tokio::test]
async fn an_update_takes_over_when_it_is_ready() {
    let (bench, mut starts) = Bench::with(|_| {}).await;
    let mut spec = bench.script("hello", "exec sleep 1000");
    bench.apply(&spec, Change::Start).await;
    let (id, old) = starts.recv().await.expect("a start");
    bench.supervisor.ready(&id, &old);
    let first = bench.until_state(&spec, State::Running).await;

    spec.environment.push(("NEW".to_owned(), "1".to_owned()));
    bench.apply(&spec, Change::Start).await;
    let (_, new) = starts.recv().await.expect("a start");
    let meanwhile = bench.until(&spec, |now| now.progress.is_some()).await;
    assert_eq!((meanwhile.state, meanwhile.pid), (State::Running, first.pid));
    assert_eq!(bench.owner.count("stopping"), 0);

    bench.supervisor.ready(&id, &new);
    bench.until(&spec, |now| now.state == State::Running && now.pid != first.pid).await;
    eventually(|| bench.owner.count("exited") == 1).await;
}

#[tokio::test]
async fn an_update_that_does_not_start_leaves_the_old_running() {
    let (bench, mut starts) = Bench::with(|_| {}).await;
    let spec = bench.script("hello", "exec sleep 1000");
    bench.apply(&spec, Change::Start).await;
    let (id, instance) = starts.recv().await.expect("a start");
    bench.supervisor.ready(&id, &instance);
    let first = bench.until_state(&spec, State::Running).await;
    bench.apply(&bench.script("hello", "exit 4"), Change::Update).await;
    let kept = bench.until(&spec, |now| now.reason.is_some()).await;
    assert_eq!((kept.state, kept.pid), (State::Running, first.pid));
    assert_eq!(kept.reason.as_deref(), Some("update failed: exited with code 4, 5 times in a row"));
}

#[tokio::test]
async fn a_service_that_runs_as_wanted_is_left_alone() {
    let bench = Bench::new().await;
    let spec = bench.script("hello", "exec sleep 1000");
    bench.apply(&spec, Change::Start).await;
    let first = bench.until_state(&spec, State::Running).await;
    bench.apply(&spec, Change::Update).await;
    assert_eq!(bench.supervisor.snapshot(&spec.id).expect("known").pid, first.pid);
    assert_eq!(bench.owner.count("environment"), 1);
    bench.apply(&spec, Change::Replace).await;
    bench.until(&spec, |now| now.state == State::Running && now.pid != first.pid).await;
}

#[tokio::test]
async fn a_process_that_stays_unhealthy_is_started_anew() {
    let (bench, mut starts) =
        Bench::with(|settings| settings.restart.unhealthy = Duration::from_millis(50)).await;
    let spec = bench.script("hello", "exec sleep 1000");
    bench.apply(&spec, Change::Start).await;
    let (id, first) = starts.recv().await.expect("a start");
    bench.supervisor.ready(&id, &first);
    let before = bench.until_state(&spec, State::Running).await;
    bench.supervisor.unhealthy(&id, &first, "no answer");
    let (id, second) = starts.recv().await.expect("another start");
    bench.supervisor.ready(&id, &second);
    let after = bench.until_state(&spec, State::Running).await;
    assert_eq!(after.restarts, 1);
    assert_ne!(before.pid, after.pid);
    assert_eq!(bench.owner.count("exited"), 1);
}

#[tokio::test]
async fn a_process_is_left_alone_where_that_was_asked() {
    let (bench, mut starts) = Bench::with(|settings| settings.restart.unhealthy = Duration::ZERO).await;
    let ended = Spec { restart: RestartPolicy::Ended, ..bench.script("hello", "exec sleep 1000") };
    bench.apply(&ended, Change::Start).await;
    let (id, instance) = starts.recv().await.expect("a start");
    bench.supervisor.ready(&id, &instance);
    bench.until_state(&ended, State::Running).await;
    bench.supervisor.unhealthy(&id, &instance, "no answer");
    let stuck = bench.until_state(&ended, State::Unhealthy).await;
    // A second word about it would be late if the process were being stopped.
    bench.supervisor.ready(&id, &instance);
    let again = bench.until_state(&ended, State::Running).await;
    assert_eq!((again.pid, again.restarts), (stuck.pid, 0));

    let never = Spec { restart: RestartPolicy::Never, ..bench.script("once", "exit 3") };
    bench.apply(&never, Change::Start).await;
    let failed = bench.until_state(&never, State::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("exited with code 3, and is never restarted, as was asked"));
    assert_eq!(failed.restarts, 0);
}
