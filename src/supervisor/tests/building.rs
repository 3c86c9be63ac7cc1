//! From cargo projects to processes.

use super::*;

const WAIT: &str = "loop { std::thread::park(); }";

fn saying(text: &str) -> String {
    format!("fn main() {{ println!(\"I am {text}\"); {WAIT} }}")
}

#[tokio::test]
async fn packages_of_one_name_do_not_mix() {
    let bench = Bench::new().await;
    let one = bench.project("one", "same", &saying("one"));
    let two = bench.project("two", "same", &saying("two"));
    bench.apply(&one, Change::Start).await;
    bench.apply(&two, Change::Start).await;
    assert_eq!(bench.line(&one, "I am ").await, "one");
    assert_eq!(bench.line(&two, "I am ").await, "two");
    let running = bench.until_state(&one, State::Running).await;
    assert!(running.build.is_some_and(|hash| hash.len() == 64));
}

#[tokio::test]
async fn a_build_that_fails_says_why_and_keeps_what_runs() {
    let bench = Bench::new().await;
    let broken = "fn main() {\n    let x: u32 = \"text\";\n}";
    let spec = bench.project("hello", "hello", broken);
    bench.apply(&spec, Change::Start).await;
    let failed = bench.until_state(&spec, State::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("build failed: mismatched types at src/main.rs:2"));
    assert!(failed.build_log.expect("a log").contains("error[E0308]"));

    bench.project("hello", "hello", &saying("well"));
    bench.apply(&spec, Change::Update).await;
    let good = bench.until_state(&spec, State::Running).await;
    assert_eq!((good.reason, good.build_log), (None, None));

    bench.project("hello", "hello", broken);
    bench.apply(&spec, Change::Update).await;
    let kept = bench.until(&spec, |now| now.build_log.is_some()).await;
    assert_eq!((kept.state, kept.pid), (State::Running, good.pid));
    assert!(kept.reason.expect("a reason").starts_with("build failed: "));
}

#[tokio::test]
async fn an_update_replaces_only_what_differs_and_an_old_build_starts_without_building() {
    let bench = Bench::new().await;
    let mut spec = bench.project("hello", "hello", &saying("one"));
    bench.apply(&spec, Change::Start).await;
    let first = bench.until_state(&spec, State::Running).await;
    bench.apply(&spec, Change::Update).await;
    bench.until(&spec, |now| now.progress.is_some()).await;
    let same = bench.until(&spec, |now| now.progress.is_none()).await;
    assert_eq!((same.pid, &same.build), (first.pid, &first.build));

    bench.project("hello", "hello", &saying("two"));
    bench.apply(&spec, Change::Update).await;
    bench.line(&spec, "I am two").await;
    let second = bench.until(&spec, |now| now.state == State::Running && now.build != first.build).await;
    assert_eq!(bench.owner.last_build(), second.build);

    let builds = |bench: &Bench| {
        bench.owner.told.lock().expect("whole").iter().filter(|told| told.starts_with("built")).count()
    };
    let built = builds(&bench);
    bench.project("hello", "hello", "this is no Rust");
    spec.binary.clone_from(&first.build);
    bench.apply(&spec, Change::Start).await;
    bench.until(&spec, |now| now.state == State::Running && now.build == first.build).await;
    assert_eq!(builds(&bench), built);
}

#[tokio::test]
async fn removing_a_service_stops_its_build_with_all_its_processes() {
    let bench = Bench::new().await;
    let spec = bench.project("hello", "hello", &saying("well"));
    let note = bench.path("note");
    let script = format!(
        "fn main() {{ std::fs::write({0:?}, std::process::id().to_string()).unwrap(); std::fs::rename({0:?}, {1:?}).unwrap(); {WAIT} }}",
        bench.path("note.new"),
        note
    );
    fs::write(bench.path("hello/build.rs"), script).expect("written");
    bench.apply(&spec, Change::Start).await;
    eventually(|| note.exists()).await;
    let building = bench.supervisor.snapshot(&spec.id).expect("known");
    assert_eq!((building.state, building.progress.is_some()), (State::Building, true));
    bench.remove(&spec).await;
    let pid = fs::read_to_string(&note).expect("a number");
    eventually(|| !is_alive(&pid)).await;
    assert_eq!(fs::read_dir(bench.path("children")).expect("a folder").count(), 0);
}

#[tokio::test]
async fn a_folder_that_is_no_project_says_so() {
    let bench = Bench::new().await;
    let source = Source::Cargo { folder: bench.path("children"), arguments: Vec::new(), program: None };
    let spec = super::spec("hello", source);
    bench.apply(&spec, Change::Start).await;
    let failed = bench.until_state(&spec, State::Failed).await;
    assert!(failed.reason.expect("a reason").contains("there is no `Cargo.toml` in"));
}

#[tokio::test]
async fn a_change_during_a_build_builds_again() {
    let bench = Bench::new().await;
    let mut spec = bench.project("hello", "hello", &saying("one"));
    bench.apply(&spec, Change::Start).await;
    bench.until_state(&spec, State::Building).await;
    bench.project("hello", "hello", &saying("two"));
    spec.environment.push(("A".to_owned(), "b".to_owned()));
    bench.apply(&spec, Change::Update).await;
    bench.line(&spec, "I am two").await;
}

#[tokio::test]
async fn a_missing_cargo_is_told_with_its_remedy() {
    let bench = Bench::new().await;
    let mut spec = bench.project("hello", "hello", &saying("well"));
    spec.build_environment.path = Some("/nowhere".to_owned());
    bench.apply(&spec, Change::Start).await;
    let failed = bench.until_state(&spec, State::Failed).await;
    let expected =
        "build failed: there is no program `cargo` in PATH (/nowhere); install Rust from https://rustup.rs";
    assert_eq!(failed.reason.as_deref(), Some(expected));
}

#[tokio::test]
async fn the_sdk_is_given_to_packages_that_depend_on_it() {
    let sdk = tempfile::tempdir().expect("a folder");
    let (bench, _starts) = Bench::with(|settings| settings.sdk = Some(sdk.path().to_owned())).await;
    fs::create_dir(sdk.path().join("src")).expect("made");
    fs::write(sdk.path().join("src/lib.rs"), "pub const TEXT: &str = \"given\";").expect("written");
    let manifest = "[package]\nname = 'micro-sdk'\nversion = '0.1.0'\nedition = '2024'\n[workspace]\n";
    fs::write(sdk.path().join("Cargo.toml"), manifest).expect("written");
    let main = format!("fn main() {{ println!(\"I am {{}}\", micro_sdk::TEXT); {WAIT} }}");
    let spec = bench.project("hello", "hello", &main);
    let manifest = bench.path("hello/Cargo.toml");
    let text = fs::read_to_string(&manifest).expect("there");
    fs::write(&manifest, format!("{text}[dependencies]\nmicro-sdk = '0.1'\n")).expect("written");
    // With a lock file nothing is asked of the registry.
    let lock = "version = 4\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\ndependencies = [\n \"micro-sdk\",\n]\n\n\
                [[package]]\nname = \"micro-sdk\"\nversion = \"0.1.0\"\n";
    fs::write(bench.path("hello/Cargo.lock"), lock).expect("written");
    bench.apply(&spec, Change::Start).await;
    assert_eq!(bench.line(&spec, "I am ").await, "given");
    let kept = fs::read_to_string(bench.path("hello/Cargo.lock")).expect("there");
    assert!(kept.ends_with(lock), "{kept}");
}
