//! Processes as tests see them: a server in the foreground, signals, and who is still there.

use std::{
    fs::{self, File},
    process::{Child, Command, Stdio},
};

use crate::support::{Home, Outcome, eventually};

/// A server in the foreground of a home. Ended by the drop of its home, or by [`Foreground::wait`].
pub(crate) struct Foreground {
    child: Child,
    words: std::path::PathBuf,
}

impl Foreground {
    /// Starts one with these arguments and waits until it is ready.
    pub(crate) fn start(home: &Home, arguments: &[&str]) -> Self {
        let words = home.path().join("foreground.log");
        let mut command = home.command(["server"].iter().chain(arguments));
        let child = command.stdout(Stdio::null()).stderr(File::create(&words).unwrap()).spawn().unwrap();
        let server = Self { child, words };
        server.says("the micro server is ready");
        server
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until this stands on its standard error.
    pub(crate) fn says(&self, text: &str) {
        eventually(&format!("the server to say `{text}`"), || {
            fs::read_to_string(&self.words).unwrap().contains(text).then_some(())
        });
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Outcome {
        let status = eventually("the server to end", || self.child.try_wait().unwrap());
        Outcome {
            code: status.code(),
            stdout: String::new(),
            stderr: fs::read_to_string(&self.words).unwrap(),
        }
    }
}

/// Sends a signal, such as `TERM`.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(sent.success(), "no process {pid} to send {name} to");
}

/// Whether a process is there and has not ended.
pub(crate) fn alive(pid: u32) -> bool {
    let state = state(pid);
    !state.is_empty() && !state.starts_with('Z')
}

/// Suspends a process, and waits until it is: on a busy machine its threads may go on for a moment.
pub(crate) fn suspend(pid: u32) {
    signal(pid, "STOP");
    eventually("the process to be suspended", || state(pid).starts_with('T').then_some(()));
}

/// The state of a process as ps(1) shows it; empty where there is none.
fn state(pid: u32) -> String {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The processes below one, however deep.
pub(crate) fn descendants(ancestor: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let pairs: Vec<(u32, u32)> = text
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap());
            Some((numbers.next()?, numbers.next()?))
        })
        .collect();
    let mut found = vec![ancestor];
    let mut looked_at = 0;
    while let Some(&parent) = found.get(looked_at) {
        found.extend(pairs.iter().filter(|pair| pair.1 == parent).map(|pair| pair.0));
        looked_at += 1;
    }
    found.split_off(1)
}

/// The processes of `micro` in a home, whatever process their parent is by now: their environment names
/// the home, which that of a service does not. None where the system has no /proc (proc(5)).
pub(crate) fn of_home(home: &Home) -> Vec<u32> {
    let mark = format!("MICRO_HOME={}\0", home.path().join("home").display());
    let found = fs::read_dir("/proc").into_iter().flatten().flatten().filter(|process| {
        fs::read(process.path().join("environ"))
            .is_ok_and(|variables| variables.windows(mark.len()).any(|part| part == mark.as_bytes()))
    });
    found.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
}
