//! The log of a server: each line harmless and short, what repeats written once a second, and, in
//! the background, in files of a bounded size. Callers choose part of what is written, and how often.

use std::{
    collections::HashMap,
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tracing::{Metadata, callsite::Identifier};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    cli::ui::{Output, Ui},
    private::{self, Identity},
};

/// Bytes of a file after which the next one is begun.
const FULL_AT: u64 = 10 << 20;
/// How many full files are kept.
const KEPT: usize = 3;
/// Bytes of a line.
const LINE: usize = 4 << 10;
/// How long a line that was written is not written again.
const PAUSE: Duration = Duration::from_secs(1);
/// How many lines of one kind are written at once; after that it is one in each [`PAUSE`].
const BURST: u32 = 50;
/// How many different lines are remembered.
const REMEMBERED: usize = 1024;
/// The bytes of the time, with which each line begins.
const TIME: usize = "2026-01-01T00:00:00.000000Z".len();

/// Writes what is logged to the standard error, and below it to this file if there is one.
pub(super) fn begin(file: Option<&Path>) {
    let level = std::env::var("MICRO_LOG_LEVEL").unwrap_or_default();
    let parts: Vec<&str> = level.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let level = if parts.is_empty() { "info".to_owned() } else { parts.join(",") };
    let filter = level.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let log = Log(Arc::new(Mutex::new(Lines { output: Sink::new(file), ..Lines::default() })));
    let lines = tracing_subscriber::fmt::layer().with_writer(log).with_ansi(false).with_target(false);
    // Set twice only in tests, where the first is as good.
    drop(tracing_subscriber::registry().with(lines.with_filter(filter)).try_init());
}

/// The files of a log, the newest last.
pub(super) fn files(newest: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = (1..=KEPT).rev().map(|number| full(newest, number)).collect();
    files.retain(|file| file.exists());
    files.push(newest.to_owned());
    files
}

/// The path of a full file: the higher its number, the older it is.
fn full(newest: &Path, number: usize) -> PathBuf {
    newest.with_extension(format!("log.{number}"))
}

/// Makes room for a new file.
///
/// # Errors
/// A file cannot be renamed.
pub(super) fn rotate(newest: &Path) -> io::Result<()> {
    for number in (1..KEPT).rev().filter(|number| full(newest, *number).exists()) {
        fs::rename(full(newest, number), full(newest, number + 1))?;
    }
    fs::rename(newest, full(newest, 1))
}

/// Opens the newest file of a log, or begins it.
///
/// # Errors
/// It cannot be opened or, when it is full, not be renamed.
pub(super) fn open(newest: &Path) -> io::Result<File> {
    if fs::metadata(newest).is_ok_and(|metadata| metadata.len() > FULL_AT) {
        rotate(newest)?;
    }
    private::append_file(newest)
}

/// Prints a line of a log, or what it says as JSON: the time and the level are left out where it has none.
///
/// # Errors
/// Standard output is closed.
pub(super) fn print(line: &str, ui: &Ui) -> io::Result<()> {
    match ui.output {
        Output::Table | Output::Raw => ui.line(line),
        Output::Json | Output::Jsonl => ui.line(record(line)),
    }
}

fn record(line: &str) -> Value {
    let parts = || {
        let (time, rest) = line.split_at_checked(TIME)?;
        let at: jiff::Timestamp = time.parse().ok()?;
        let (level, message) = rest.trim_start().split_once(' ')?;
        level.parse::<tracing::Level>().ok()?;
        Some(json!({ "time": at.to_string(), "level": level.to_lowercase(), "message": message }))
    };
    parts().unwrap_or_else(|| json!({ "message": line }))
}

/// Where lines go. The standard error follows the newest file, so that what the runtime and
/// libraries write there is in it too.
#[derive(Default)]
struct Sink {
    file: Option<PathBuf>,
    written: u64,
    /// Tells the newest file from one in its place: it may be removed.
    identity: Option<Identity>,
}

impl Sink {
    fn new(file: Option<&Path>) -> Self {
        let length = file.and_then(|file| fs::metadata(file).ok()).map_or(0, |metadata| metadata.len());
        Self { file: file.map(Path::to_owned), written: length, identity: file.and_then(Identity::of) }
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if let Some(file) = &self.file {
            let is_there = self.identity.is_some() && Identity::of(file) == self.identity;
            if self.written > FULL_AT || !is_there {
                let next = open(file)?;
                rustix::stdio::dup2_stderr(&next)?;
                let begun = next.metadata()?;
                (self.written, self.identity) = (begun.len(), Some(Identity::from(&begun)));
            }
        }
        self.written += line.len() as u64;
        io::stderr().lock().write_all(line.as_bytes())
    }
}

struct Seen {
    last: Instant,
    repeated: u64,
}

/// How many lines of a kind may be written now, and how many were not.
struct Kind {
    left: u32,
    since: Instant,
    dropped: u64,
}

#[derive(Default)]
struct Lines {
    output: Sink,
    seen: HashMap<u64, Seen>,
    kinds: HashMap<Identifier, Kind>,
}

impl Lines {
    /// The line as it is written at `now`; none for one that waits its turn.
    fn line(&mut self, kind: Option<Identifier>, line: &str, now: Instant) -> Option<String> {
        let line = harmless(line);
        let mut hash = DefaultHasher::new();
        line.get(TIME..).unwrap_or(&line).hash(&mut hash);
        if self.seen.len() >= REMEMBERED {
            self.seen.retain(|_, seen| now.duration_since(seen.last) < PAUSE);
            if self.seen.len() >= REMEMBERED {
                self.seen.clear();
            }
        }
        let mut notes = Vec::new();
        let hash = hash.finish();
        if let Some(seen) = self.seen.get_mut(&hash) {
            if now.duration_since(seen.last) < PAUSE {
                seen.repeated += 1;
                return None;
            }
            if seen.repeated > 0 {
                notes.push(format!("repeated {} times", seen.repeated));
            }
        }
        if let Some(kind) = kind {
            let kind = self.kinds.entry(kind).or_insert(Kind { left: BURST, since: now, dropped: 0 });
            let pauses = now.duration_since(kind.since).as_millis() / PAUSE.as_millis();
            if pauses > 0 {
                kind.left = kind.left.saturating_add(u32::try_from(pauses).unwrap_or(BURST)).min(BURST);
                kind.since = now;
            }
            if kind.left == 0 {
                kind.dropped += 1;
                return None;
            }
            kind.left -= 1;
            let dropped = std::mem::take(&mut kind.dropped);
            if dropped > 0 {
                notes.push(format!("{dropped} more like it were left out"));
            }
        }
        self.seen.insert(hash, Seen { last: now, repeated: 0 });
        Some(if notes.is_empty() { format!("{line}\n") } else { format!("{line} ({})\n", notes.join(", ")) })
    }
}

/// A line without what a terminal or a reader of lines would take for more than text.
fn harmless(line: &str) -> String {
    let mut shown = String::with_capacity(line.len().min(LINE));
    for c in line.trim_end_matches('\n').chars() {
        if shown.len() >= LINE {
            shown.push('…');
            break;
        }
        if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[derive(Clone)]
struct Log(Arc<Mutex<Lines>>);

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { log: self, kind: None }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { log: self, kind: Some(metadata.callsite()) }
    }
}

/// What is written at once is one line.
struct Line<'a> {
    log: &'a Log,
    kind: Option<Identifier>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.log.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.line(self.kind.clone(), &String::from_utf8_lossy(bytes), Instant::now()) {
            lines.output.write(&line)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-11-26T20:00:00.000000Z  WARN ";

    fn write(lines: &mut Lines, text: &str, now: Instant) -> Option<String> {
        lines.line(None, &format!("{AT}{text}\n"), now)
    }

    #[test]
    fn a_line_is_repeated_once_a_second_with_the_number_that_was_left_out() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        assert!(write(&mut lines, "full", now).is_some());
        for _ in 0..500 {
            assert_eq!(write(&mut lines, "full", now + PAUSE / 2), None);
        }
        assert!(write(&mut lines, "other", now + PAUSE / 2).is_some());
        let again = write(&mut lines, "full", now + PAUSE).unwrap();
        assert!(again.ends_with("full (repeated 500 times)\n"), "{again}");
    }

    #[test]
    fn what_is_remembered_of_lines_has_a_limit() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        for number in 0..10 * REMEMBERED {
            write(&mut lines, &number.to_string(), now);
        }
        assert!(lines.seen.len() <= REMEMBERED);
    }

    #[test]
    fn a_line_is_one_line_and_short_whatever_callers_say() {
        let shown = harmless(&format!("{AT}a\u{1b}[31m\nb\r\u{202e}{}\n", "x".repeat(1 << 20)));
        assert!(!shown.contains(char::is_control) && !shown.contains('\u{202e}'), "{shown}");
        assert!(shown.len() < LINE + 16, "{}", shown.len());
        assert_eq!(harmless("käse ☃\n"), "käse ☃");
    }

    #[test]
    fn a_full_file_gives_way_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let newest = folder.path().join("server.log");
        for number in 0..6 {
            open(&newest).unwrap().write_all(number.to_string().as_bytes()).unwrap();
            rotate(&newest).unwrap();
        }
        open(&newest).unwrap().write_all(b"6").unwrap();
        let read = files(&newest).into_iter().map(|file| fs::read_to_string(file).unwrap());
        assert_eq!(read.collect::<Vec<_>>(), ["3", "4", "5", "6"]);
    }
}
