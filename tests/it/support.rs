//! A home for one test, the binary in it, and a service that is built once for all tests.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use micro_sdk::local::State;
use serde_json::Value;
use tempfile::TempDir;

/// What is tested.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_micro");
/// How long a condition may take to come true on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What a call of `helloworld` prints.
pub(crate) fn hello(name: &str) -> String {
    format!("{{\n\t\"msg\": \"Hello {name}\"\n}}\n")
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A home of its own, with a server on free ports once a command needs one. The server and what
/// it runs are gone when this is dropped.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// The folder everything of this home lies in.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("home/data")
    }

    /// The binary, in this home, with a clean environment.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.program(BINARY);
        command.args(arguments);
        command
    }

    /// A shell, in this home, that runs a script in which `micro` is the binary.
    pub(crate) fn shell(&self, shell: &str, script: &str) -> Command {
        let folder = Path::new(BINARY).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&path)));
        let mut command = self.program(shell);
        command.args(["-c", script]).env("PATH", folders.unwrap());
        command
    }

    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).stdin(Stdio::null()).env_clear();
        for name in ["PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // Cargo finds its registry by HOME when CARGO_HOME is not set.
        let home = std::env::var_os("HOME").unwrap_or_else(|| self.path().into());
        command.env("HOME", home).env("MICRO_HOME", self.path().join("home"));
        // Nobody turns the pages.
        command.env("MICRO_PAGER", "cat");
        command.env("MICRO_ISOLATED", "1").env("XDG_RUNTIME_DIR", self.path());
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        outcome(&mut self.command(arguments))
    }

    /// Runs the binary in a folder, and returns what it printed to standard output.
    pub(crate) fn ok_in<S: AsRef<OsStr>>(
        &self,
        folder: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> String {
        let mut command = self.command(arguments);
        let outcome = outcome(command.current_dir(folder));
        assert_eq!(outcome.code, Some(0), "{command:?} failed: {outcome:#?}");
        outcome.stdout
    }

    /// Runs the binary, and returns what it printed to standard output.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        self.ok_in(self.path(), arguments)
    }

    /// Runs the binary, which has to end with this code, and returns what it said.
    pub(crate) fn fails<S: AsRef<OsStr>>(&self, code: i32, arguments: impl IntoIterator<Item = S>) -> String {
        let mut command = self.command(arguments);
        let outcome = outcome(&mut command);
        assert_eq!(outcome.code, Some(code), "{command:?} should fail with {code}: {outcome:#?}");
        assert_eq!(outcome.stdout, "", "{command:?} printed data although it failed");
        outcome.stderr
    }

    /// What `micro status` knows of a service.
    pub(crate) fn status(&self, service: &str) -> Value {
        let text = self.ok(["status", service, "-o", "json"]);
        let mut services: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(services.len(), 1, "{text}");
        services.remove(0)
    }

    /// Where the server of this home is.
    pub(crate) fn state(&self) -> State {
        State::read(&self.data()).expect("a server of this home has been started")
    }

    /// Runs `helloworld` from the program that is built once for all tests.
    pub(crate) fn run_helloworld(&self) {
        let program = helloworld().join("target/debug/helloworld");
        self.ok([OsStr::new("run"), helloworld().as_os_str(), OsStr::new("--command"), program.as_os_str()]);
    }

    /// A request to the HTTP API, as curl would send it: status and body.
    pub(crate) fn http(&self, path: &str) -> (u16, String) {
        http(&self.state().api, "GET", path, &[], "")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let stopped = self.command(["server", "stop"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        // A server that does not stop has failed its own test; here it must only not stay. What
        // stands in the state of one that does not run is nobody we may end.
        if !stopped.is_ok_and(|status| status.success())
            && let Ok(state) = State::read(&self.data())
        {
            drop(Command::new("kill").args(["-9", &state.pid.to_string()]).stderr(Stdio::null()).status());
        }
    }
}

/// Runs a command to its end.
pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Says in the log of the tests that one was not run. In CI, where all they need is there, that is a failure.
#[expect(clippy::print_stderr, reason = "it is for people who read the log of the tests")]
pub(crate) fn not_run(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "not run, although this is CI: {why}");
    eprintln!("not run: {why}");
}

/// Runs this as another user of the machine, in a thread of its own. None where the tests do not
/// run as root, who alone can become another user; the log says so.
#[cfg(target_os = "linux")]
pub(crate) fn as_another_user<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    use rustix::{
        process::{Gid, Uid},
        thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
    };
    if !rustix::process::geteuid().is_root() {
        not_run("only root can act as another user");
        return None;
    }
    let (user, group) = (Uid::from_raw(65534), Gid::from_raw(65534));
    thread::scope(|scope| {
        let acted = scope.spawn(|| {
            set_thread_groups(&[]).unwrap();
            set_thread_res_gid(group, group, group).unwrap();
            set_thread_res_uid(user, user, user).unwrap();
            work()
        });
        Some(acted.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Waits until `look` finds something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The folder of a scaffold named `helloworld`, built once by plain cargo.
pub(crate) fn helloworld() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("services");
        fs::create_dir_all(&shared).unwrap();
        // Another run of the tests may be building it.
        let lock = File::create(shared.join("lock")).unwrap();
        lock.lock().unwrap();
        let home = Home::new();
        let folder = shared.join("helloworld");
        let fresh = home.path().join("helloworld");
        home.ok(["new", "helloworld"]);
        // The SDK of a home that is about to go must stay readable.
        let sdk = shared.join("sdk");
        let unpacked =
            fs::read_dir(home.data().join("sdk")).unwrap().flatten().find(|e| e.path().is_dir()).unwrap();
        mirror(&unpacked.path(), &sdk);
        let config =
            format!("[patch.crates-io]\nmicro-sdk = {{ path = \"{}\" }}\n", sdk.join("sdk").display());
        fs::write(fresh.join(".cargo/config.toml"), config).unwrap();
        let manifest = fs::read_to_string(fresh.join("Cargo.toml")).unwrap() + "\n[workspace]\n";
        fs::write(fresh.join("Cargo.toml"), manifest).unwrap();
        fs::create_dir_all(&folder).unwrap();
        for entry in SOURCES {
            mirror(&fresh.join(entry), &folder.join(entry));
        }
        let built = Command::new("cargo")
            .args(["build", "--quiet"])
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", folder.join("target"))
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        folder
    })
}

/// What a scaffold is built from. What cargo itself writes beside it stays.
pub(crate) const SOURCES: [&str; 4] = ["src", "proto", ".cargo", "Cargo.toml"];

/// Makes a file or a folder like another. What is alike already is not touched: cargo does not
/// build it again, and another run of the tests may be reading it.
pub(crate) fn mirror(from: &Path, to: &Path) {
    if !from.is_dir() {
        let content = fs::read(from).unwrap();
        if !fs::read(to).is_ok_and(|present| present == content) {
            fs::write(to, content).unwrap();
        }
        return;
    }
    fs::create_dir_all(to).unwrap();
    let names = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    for stray in names(to).filter(|name| !from.join(name).exists()) {
        let stray = to.join(stray);
        if stray.is_dir() { fs::remove_dir_all(stray) } else { fs::remove_file(stray) }.unwrap();
    }
    for name in names(from) {
        mirror(&from.join(&name), &to.join(&name));
    }
}

/// A cargo project with this program, which depends on nothing.
pub(crate) fn project(home: &Home, name: &str, program: &str) -> PathBuf {
    let folder = home.path().join(name);
    fs::create_dir_all(folder.join("src")).unwrap();
    let manifest =
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n");
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.join("src/main.rs"), program).unwrap();
    folder
}

/// An HTTP/1.1 request written by hand, so that every header is what the test says.
pub(crate) fn http(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    use std::{io::Read as _, net::TcpStream};
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP response has a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (status, if chunked { unchunked(body) } else { body.to_owned() })
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        text += &rest[..size];
        body = &rest[size + 2..];
    }
    text
}
