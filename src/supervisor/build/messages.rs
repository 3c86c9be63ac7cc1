//! What cargo says during a build: progress, errors, and which programs came out of it.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    sync::watch,
};

use super::project::Project;
use crate::supervisor::Error;

/// How much of the compiler's errors is kept, in bytes.
const LOG_LIMIT: usize = 64 * 1024;

/// One message on cargo's standard output. The JSON is cargo's; its reference describes it.
#[derive(Debug, Deserialize)]
#[serde(tag = "reason")]
enum Message {
    #[serde(rename = "compiler-artifact")]
    Artifact { package_id: String, manifest_path: PathBuf, target: Target, executable: Option<PathBuf> },
    #[serde(rename = "compiler-message")]
    Diagnosed { message: Diagnostic },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Diagnostic {
    level: String,
    message: String,
    rendered: Option<String>,
    #[serde(default)]
    spans: Vec<Span>,
}

#[derive(Debug, Deserialize)]
struct Span {
    file_name: String,
    line_start: usize,
    is_primary: bool,
}

/// A program cargo made.
#[derive(Debug)]
struct Executable {
    manifest: PathBuf,
    name: String,
    path: PathBuf,
}

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Messages {
    progress: Option<watch::Sender<String>>,
    /// How many packages there are to compile, about: the lock file also names those of other systems.
    total: Option<usize>,
    compiled: HashSet<String>,
    executables: Vec<Executable>,
    first_error: Option<String>,
    /// What the compiler said about errors.
    errors: String,
    /// What cargo said that is not progress, for errors that are not the compiler's.
    talk: String,
}

impl Messages {
    pub(super) fn new(total: Option<usize>, progress: watch::Sender<String>) -> Self {
        Self { progress: Some(progress), total, ..Self::default() }
    }

    /// Where the program that was built lies.
    pub(super) fn executable(&self, project: &Project, name: &str) -> Result<PathBuf, Error> {
        let manifest = project.folder.join("Cargo.toml");
        let made = self.executables.iter().find(|made| made.manifest == manifest && made.name == name);
        let made = made.ok_or_else(|| Error::source(format!("cargo has built no program `{name}`")))?;
        Ok(made.path.clone())
    }

    /// The first error in one line.
    pub(super) fn first_error(&self) -> Option<String> {
        self.first_error.clone().or_else(|| {
            let error = self.talk.lines().find(|line| line.starts_with("error"))?;
            Some(error.trim_start_matches("error:").trim().to_owned())
        })
    }

    /// All errors as they were rendered, cut after 64 KiB.
    pub(super) fn log(&self) -> String {
        if self.errors.is_empty() { self.talk.clone() } else { self.errors.clone() }
    }

    fn json(&mut self, line: &[u8]) {
        // Programs that run during a build may write to the same output.
        let Ok(message) = serde_json::from_slice(line) else { return };
        match message {
            Message::Artifact { package_id, manifest_path, target, executable } => {
                self.compiled.insert(package_id);
                let is_program = target.kind.iter().any(|kind| kind == "bin");
                if let Some(path) = executable.filter(|_| is_program) {
                    self.executables.push(Executable { manifest: manifest_path, name: target.name, path });
                }
            }
            Message::Diagnosed { message } if message.level.starts_with("error") => {
                append(&mut self.errors, message.rendered.as_deref().unwrap_or(&message.message));
                if self.first_error.is_none() {
                    self.first_error = Some(message.headline());
                }
            }
            Message::Diagnosed { .. } | Message::Other => {}
        }
    }

    fn text(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        match (line.starts_with(' '), words.next()) {
            (true, Some("Compiling")) => {
                let name = words.next().unwrap_or_default();
                let count = match self.total {
                    Some(total) => format!(" ({}/{})", (self.compiled.len() + 1).min(total), total),
                    None => String::new(),
                };
                self.say(format!("compiling {name}{count}"));
            }
            (true, Some("Downloading" | "Updating")) => self.say(line.trim().to_lowercase()),
            (true, Some("Blocking")) => self.say("waiting for another cargo to end".to_owned()),
            (true, Some("Downloaded" | "Locking" | "Adding" | "Finished" | "Fresh")) => {}
            _ => append(&mut self.talk, &format!("{line}\n")),
        }
    }

    fn say(&self, text: String) {
        if let Some(progress) = &self.progress {
            progress.send_replace(text);
        }
    }
}

impl Diagnostic {
    fn headline(&self) -> String {
        match self.spans.iter().find(|span| span.is_primary) {
            Some(span) => format!("{} at {}:{}", self.message, span.file_name, span.line_start),
            None => self.message.clone(),
        }
    }
}

/// Appends as much as the limit allows, up to a character.
fn append(log: &mut String, text: &str) {
    let mut room = LOG_LIMIT.saturating_sub(log.len()).min(text.len());
    while !text.is_char_boundary(room) {
        room -= 1;
    }
    log.push_str(&text[..room]);
}

/// Reads cargo's standard output to its end.
pub(super) async fn read_json(output: impl AsyncRead + Unpin, messages: Arc<Mutex<Messages>>) {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        messages.lock().unwrap_or_else(PoisonError::into_inner).json(&line);
    }
}

/// Reads cargo's standard error to its end.
pub(super) async fn read_text(output: impl AsyncRead + Unpin, messages: Arc<Mutex<Messages>>) {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        messages.lock().unwrap_or_else(PoisonError::into_inner).text(&String::from_utf8_lossy(&line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> Project {
        Project {
            folder: PathBuf::from("/p"),
            name: "hello".to_owned(),
            default_run: None,
            programs: Vec::new(),
            packages: Some(2),
            needs_sdk: false,
        }
    }

    fn made(messages: &mut Messages, manifest: &str, name: &str) {
        let line = format!(
            r#"{{"reason":"compiler-artifact","package_id":"{name}","manifest_path":"{manifest}","target":{{"name":"{name}","kind":["bin"]}},"executable":"/t/{name}"}}"#
        );
        messages.json(line.as_bytes());
    }

    #[test]
    fn the_program_of_the_package_is_chosen() {
        let mut messages = Messages::default();
        made(&mut messages, "/other/Cargo.toml", "hello");
        let error = messages.executable(&project(), "hello").expect_err("another package's").to_string();
        assert!(error.contains("no program `hello`"), "{error}");
        made(&mut messages, "/p/Cargo.toml", "one");
        made(&mut messages, "/p/Cargo.toml", "hello");
        assert_eq!(messages.executable(&project(), "hello").expect("built"), PathBuf::from("/t/hello"));
    }

    #[test]
    fn progress_counts_packages() {
        let (progress, said) = watch::channel(String::new());
        let mut messages = Messages::new(Some(2), progress);
        messages.text("   Compiling libc v0.2.1");
        assert_eq!(*said.borrow(), "compiling libc (1/2)");
        made(&mut messages, "/c/Cargo.toml", "libc");
        messages.text("   Compiling hello v0.1.0 (/p)");
        assert_eq!(*said.borrow(), "compiling hello (2/2)");
    }

    #[test]
    fn an_error_of_cargo_is_told_when_the_compiler_has_none() {
        let mut messages = Messages::default();
        messages.text("    Updating crates.io index");
        messages.text("error: no matching package named `x` found");
        messages.text("location searched: crates.io index");
        assert_eq!(messages.first_error().as_deref(), Some("no matching package named `x` found"));
        assert!(messages.log().ends_with("location searched: crates.io index\n"));
    }

    #[test]
    fn the_log_is_cut() {
        let mut log = "x".repeat(LOG_LIMIT - 1);
        append(&mut log, "ää");
        assert_eq!(log.len(), LOG_LIMIT - 1);
    }
}
