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
            "large" => return Ok(CallResponse { msg: "x".repeat(20_000_000) }),
            "long" => return Err(micro_sdk::Error::conflict("much too long ".repeat(1500))),
            // Each of them is six bytes in JSON.
            "wide" => return Ok(CallResponse { msg: "\u{1}".repeat(3_000_000) }),
            "exit" => {
                eprintln!("last words");
                std::process::exit(3);
            }
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
            "who" => {
                let account = cx.account().await?.map(|a| format!("{} {} of {} {:?}", a.r#type, a.id, a.issuer, a.scopes));
                return Ok(CallResponse { msg: account.unwrap_or_else(|| "nobody".to_owned()) });
            }
            name if name.starts_with("via ") => {
                let client = cx.client::<helloworld::HelloworldClient>(&name[4..]);
                return client.call(CallRequest { name: "who".to_owned() }).await;
            }
            "headers" => return Ok(CallResponse { msg: format!("{:?}", cx.metadata()) }),
            "pid" => return Ok(CallResponse { msg: std::process::id().to_string() }),
            name if name.starts_with("get ") => {
                let value = cx.config().get::<String>(&name[4..]).await?;
                return Ok(CallResponse { msg: value.unwrap_or_else(|| "nothing".to_owned()) });
            }
            name if name.starts_with("set ") => {
                cx.config().set(&name[4..], "by the service").await?;
            }
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

/// What it does before it runs, if it has a variable `SETTINGS`: reads them, and goes on to say how
/// `counter` changes.
const MAIN: &str = r#"async fn main() -> micro_sdk::Result<()> {
    if std::env::var_os("SETTINGS").is_some() {
        let config = micro_sdk::Service::new("helloworld").context().config();
        eprintln!("text: {}", config.get::<String>("key.subkey").await?.unwrap_or_default());
        eprintln!("number: {}", config.get::<u64>("key.subkey1").await?.unwrap_or_default());
        for path in ["key.subkey2", "key.subkey3"] {
            eprintln!("text: {}", config.get::<String>(path).await?.unwrap_or_default());
        }
        eprintln!("default: {}", config.get_or("key.subkey4", "Default Hello".to_owned()).await?);
        let mut watch = config.watch::<u64>("counter");
        tokio::spawn(async move {
            loop {
                match watch.next().await {
                    Ok(Some(count)) => eprintln!("counter: {count}"),
                    other => eprintln!("no counter: {other:?}"),
                }
            }
        });
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
            &[("async fn main() -> micro_sdk::Result<()> {", MAIN)],
        )
    })
}

/// Builds the scaffold with a handler and a beginning that were changed, under the name of a crate of its own.
pub(crate) fn build(name: &str, handler: &[(&str, &str)], main: &[(&str, &str)]) -> PathBuf {
    let folder = build_changed(name, |fresh| {
        edit(&fresh.join("src/handler.rs"), handler);
        edit(&fresh.join("src/main.rs"), main);
        edit(&fresh.join("src/main.rs"), &[("helloworld::service(", &format!("{name}::service("))]);
    });
    folder.join(name)
}

/// Builds a scaffold that was changed, and returns the folder its programs are in.
pub(crate) fn build_changed(name: &str, change: impl FnOnce(&Path)) -> PathBuf {
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
    change(fresh.path());
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
    target.join("debug")
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
