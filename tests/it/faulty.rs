//! The scaffold with a greeting that misbehaves on request, for tests of what a handler can do wrong.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::support::{Home, SOURCES, helloworld, mirror};

/// What the greeting does instead when it is called with these names: `until` waits for the file
/// `go-on` in the folder it runs in.
const CALL: &str = r#"
        match request.name.as_str() {
            "panic" => panic!("the handler gave up"),
            "wait" => {
                eprintln!("waiting");
                std::future::pending::<()>().await;
            }
            "until" => {
                eprintln!("waiting");
                while !std::path::Path::new("go-on").exists() {
                    micro_sdk::tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                return Ok(CallResponse { msg: "Hello at last".to_owned() });
            }
            "deadline" => return Ok(CallResponse { msg: cx.remaining().is_some().to_string() }),
            "variables" => {
                let all: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
                return Ok(CallResponse { msg: all.join("\n") });
            }
            "pid" => return Ok(CallResponse { msg: std::process::id().to_string() }),
            name => if let Some(code) = name.strip_prefix("error ").and_then(|code| code.parse().ok()) {
                return Err(micro_sdk::Error::new(code, "100% wrong: \"ä\"\n"));
            }
        }
"#;

/// What the count does after the last number.
const STREAM: &str = r#"
        if request.count > 1000 {
            return Err(micro_sdk::Error::conflict("too far"));
        }
        if request.count < 0 {
            replies.send(StreamResponse { count: 0 }).await?;
            return Err(micro_sdk::Error::conflict("counted backwards"));
        }
"#;

/// The program, built once for all tests. It calls itself `helloworld`.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        build(
            "faulty",
            &[
                ("_cx: Context, request: CallRequest", "cx: Context, request: CallRequest"),
                ("eprintln!(\"received Helloworld.Call\");", CALL),
                ("eprintln!(\"received Helloworld.Stream\");", STREAM),
            ],
        )
    })
}

/// Builds the scaffold with a handler that was changed, under the name of a crate of its own.
pub(crate) fn build(name: &str, changes: &[(&str, &str)]) -> PathBuf {
    let good = helloworld();
    let folder = good.with_file_name(name);
    // Another run of the tests may be building it.
    let lock = fs::File::create(good.with_file_name(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let fresh = tempfile::tempdir().unwrap();
    for entry in SOURCES {
        mirror(&good.join(entry), &fresh.path().join(entry));
    }
    let named = format!("name = \"{name}\"");
    edit(&fresh.path().join("Cargo.toml"), &[("name = \"helloworld\"", &named)]);
    edit(&fresh.path().join("src/handler.rs"), changes);
    fs::create_dir_all(&folder).unwrap();
    for entry in SOURCES {
        mirror(&fresh.path().join(entry), &folder.join(entry));
    }
    let target = good.join("target");
    let built = Command::new("cargo")
        .args(["build", "--quiet"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("debug").join(name)
}

/// Runs it as `helloworld`.
pub(crate) fn run(home: &Home, arguments: &[&str]) {
    let words = ["run", "--name", "helloworld", "--command"].map(OsStr::new);
    let here = [program().as_os_str(), home.path().as_os_str()];
    home.ok(words.into_iter().chain(here).chain(arguments.iter().map(OsStr::new)));
}

fn edit(path: &Path, replacements: &[(&str, &str)]) {
    let mut text = fs::read_to_string(path).unwrap();
    for (old, new) in replacements {
        assert!(text.contains(old), "{} does not contain {old}", path.display());
        text = text.replacen(old, new, 1);
    }
    fs::write(path, text).unwrap();
}
