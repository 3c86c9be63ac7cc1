//! The only place that prints. Data goes to standard output, words to standard error; progress is
//! shown on a terminal alone. What reaches a terminal is made harmless here, and nowhere else.

pub(crate) mod harmless;
mod pager;

use std::{
    borrow::Cow,
    fmt,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::Context as _;
use clap::{ValueEnum, builder::StyledStr};
use console::Style;
use dialoguer::{Confirm, Input, Password};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use serde::Serialize;
use serde_json::Value;

use super::{
    failure::{Failure, exit},
    json::{Layout, laid_out},
};

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    // For people: aligned columns, short JSON.
    #[default]
    Table,
    // One indented JSON document.
    Json,
    // One compact JSON document a line.
    Jsonl,
    // Bytes as they came.
    Raw,
}

impl Output {
    /// As it is given.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// The terminal, or what stands in its place.
#[derive(Clone, Debug)]
pub(crate) struct Ui {
    pub(crate) output: Output,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    /// Prompts may be answered with their default.
    pub(crate) yes: bool,
}

impl Ui {
    /// Prints a line of data, or several.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn line(&self, text: impl fmt::Display) -> io::Result<()> {
        if !self.prints_on_terminal() {
            return writeln!(io::stdout().lock(), "{text}");
        }
        let text = text.to_string();
        writeln!(io::stdout().lock(), "{}", self.shown(&text))
    }

    /// What of a text is printed on a terminal; all of it only when it was asked for by `-o raw`.
    fn shown<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.output {
            Output::Table => harmless::lines(text),
            Output::Json | Output::Jsonl => harmless::json(text),
            Output::Raw => text.into(),
        }
    }

    /// As [`Ui::shown`], for bytes, which may be no text.
    fn shown_bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.output == Output::Raw || !self.prints_on_terminal() {
            return bytes.into();
        }
        self.shown(&String::from_utf8_lossy(bytes)).into_owned().into_bytes().into()
    }

    /// Prints one text: as it is, or as a JSON string.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn text(&self, text: &str) -> io::Result<()> {
        match self.output {
            Output::Table | Output::Raw => self.line(text),
            Output::Json | Output::Jsonl => self.line(Value::from(text)),
        }
    }

    /// Prints bytes of data and ends the line.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let bytes = self.shown_bytes(bytes);
        let mut out = io::stdout().lock();
        out.write_all(&bytes)?;
        if bytes.ends_with(b"\n") { out.flush() } else { out.write_all(b"\n") }
    }

    /// Prints bytes of data and nothing else. A reader that is slow keeps it waiting, but not Ctrl-C.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) async fn piece(&self, bytes: Vec<u8>) -> anyhow::Result<()> {
        let bytes = self.shown_bytes(&bytes).into_owned();
        let write = move || {
            let mut out = io::stdout().lock();
            out.write_all(&bytes).and_then(|()| out.flush())
        };
        Ok(tokio::task::spawn_blocking(write).await??)
    }

    /// Carries out what prints now and then, until it ends or nobody reads any more.
    ///
    /// # Errors
    /// As it.
    pub(crate) async fn while_read(
        &self,
        printing: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        tokio::select! {
            result = printing => result,
            () = reader_gone() => Ok(()),
        }
    }

    /// Whether data is printed where a person sees it.
    #[expect(clippy::unused_self, reason = "all printing goes through the one Ui")]
    pub(crate) fn prints_on_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Names, one a line: as they are, but harmless where a person sees them.
    pub(crate) fn lines<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<u8> {
        let cleaned = self.prints_on_terminal() && self.output != Output::Raw;
        let shown = |name: &'a str| if cleaned { harmless::line(name) } else { name.into() };
        names.map(|name| shown(name).into_owned() + "\n").collect::<String>().into_bytes()
    }

    /// Prints names, one a line, or a JSON array of them.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn names(&self, names: &[String]) -> anyhow::Result<()> {
        match self.output {
            Output::Table | Output::Raw => {
                Ok(io::stdout().lock().write_all(&self.lines(names.iter().map(String::as_str)))?)
            }
            Output::Json | Output::Jsonl => self.records(names, &[], |_| Vec::new()),
        }
    }

    /// Prints a JSON document in the form that was asked for.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn document(&self, value: &Value) -> io::Result<()> {
        match self.output {
            Output::Table | Output::Json => self.line(format!("{value:#}")),
            Output::Jsonl | Output::Raw => self.line(value),
        }
    }

    /// Prints what was done: in words for people, as a JSON document otherwise.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn done(&self, words: impl fmt::Display, record: &Value) -> io::Result<()> {
        match self.output {
            Output::Table => self.line(words),
            Output::Json | Output::Jsonl | Output::Raw => self.document(record),
        }
    }

    /// Prints what a service answered to a call: over several lines, unless one was asked for.
    ///
    /// # Errors
    /// It is not JSON, or standard output is closed.
    pub(crate) fn answer(&self, answer: &[u8]) -> anyhow::Result<()> {
        self.json(
            answer,
            match self.output {
                Output::Table | Output::Json => Layout::Indented,
                Output::Jsonl | Output::Raw => Layout::Compact,
            },
        )
    }

    /// Prints a message of a stream on one line.
    ///
    /// # Errors
    /// As [`Ui::answer`].
    pub(crate) fn message(&self, message: &[u8]) -> anyhow::Result<()> {
        self.json(
            message,
            match self.output {
                Output::Table => Layout::Line,
                Output::Json | Output::Jsonl | Output::Raw => Layout::Compact,
            },
        )
    }

    fn json(&self, text: &[u8], layout: Layout) -> anyhow::Result<()> {
        if self.output == Output::Raw {
            return Ok(self.bytes(text)?);
        }
        let laid_out = std::str::from_utf8(text)
            .map_err(anyhow::Error::from)
            .and_then(|text| Ok(laid_out(text, layout)?))
            .map_err(|error| {
                Failure::new(exit::SERVICE_ERROR, format!("the answer is not JSON: {error}"))
                    .hint("see it with `-o raw`")
            })?;
        Ok(self.line(laid_out)?)
    }

    /// Prints records: columns for people, JSON otherwise.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn records<T: Serialize>(
        &self,
        records: &[T],
        head: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> anyhow::Result<()> {
        match self.output {
            Output::Table if records.is_empty() => {}
            Output::Table => {
                let mut rows = vec![head.iter().map(|&cell| cell.to_owned()).collect()];
                rows.extend(records.iter().map(row));
                self.columns(&rows)?;
            }
            Output::Json => self.line(serde_json::to_string_pretty(records)?)?,
            Output::Jsonl | Output::Raw => {
                for record in records {
                    self.line(serde_json::to_string(record)?)?;
                }
            }
        }
        Ok(())
    }

    /// Prints rows with their columns aligned.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn columns(&self, rows: &[Vec<String>]) -> io::Result<()> {
        let rows: Vec<Vec<_>> =
            rows.iter().map(|row| row.iter().map(|cell| harmless::line(cell)).collect()).collect();
        let widths: Vec<usize> = (0..rows.iter().map(Vec::len).max().unwrap_or(0))
            .map(|column| {
                let cells = rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| console::measure_text_width(cell)).max().unwrap_or(0)
            })
            .collect();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let padding = width - console::measure_text_width(cell);
                format!("{cell}{}", " ".repeat(padding))
            });
            self.line(cells.collect::<Vec<_>>().join("   ").trim_end())?;
        }
        Ok(())
    }

    /// Says something beside the data.
    pub(crate) fn say(&self, text: impl fmt::Display) {
        if !self.quiet {
            to_stderr(format_args!(""), text);
        }
    }

    /// Says what is of interest when something is looked into.
    pub(crate) fn detail(&self, text: impl fmt::Display) {
        if self.verbose {
            to_stderr(format_args!(""), text);
        }
    }

    /// Warns, also when quiet.
    #[expect(clippy::unused_self, reason = "all printing goes through the one Ui")]
    pub(crate) fn warn(&self, text: impl fmt::Display) {
        headed(Style::new().yellow(), "warning:", text);
    }

    /// A spinner, on a terminal.
    pub(crate) fn progress(&self) -> Progress {
        if self.quiet || !io::stderr().is_terminal() {
            return Progress(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress(bar)
    }

    /// Asks a person for what a flag would have said.
    ///
    /// # Errors
    /// Nobody can be asked: the flag is missing.
    pub(crate) async fn ask(&self, prompt: &'static str, flag: &str) -> anyhow::Result<String> {
        self.question(flag, move || Ok(Input::new().with_prompt(prompt).interact_text()?)).await
    }

    /// As [`Ui::ask`], for what must not be shown.
    ///
    /// # Errors
    /// As [`Ui::ask`].
    pub(crate) async fn ask_secret(&self, prompt: &'static str, flag: &str) -> anyhow::Result<String> {
        self.question(flag, move || Ok(Password::new().with_prompt(prompt).interact()?)).await
    }

    /// Asks whether to go on, unless `--yes` has said so.
    ///
    /// # Errors
    /// The answer is no, or nobody can be asked; `what` says what would have been done.
    pub(crate) async fn confirm(&self, prompt: String, what: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if !can_ask() {
            let text = format!("{what}: --yes is missing, and nobody can be asked");
            return Err(Failure::usage(text).into());
        }
        let _terminal = Terminal::new();
        let prompt = harmless::line(&prompt).into_owned();
        let ask = move || Confirm::new().with_prompt(prompt).default(false).interact();
        if tokio::task::spawn_blocking(ask).await?? {
            return Ok(());
        }
        Err(Failure::new(exit::FAILED, "nothing was changed").into())
    }

    async fn question(
        &self,
        flag: &str,
        ask: impl FnOnce() -> anyhow::Result<String> + Send + 'static,
    ) -> anyhow::Result<String> {
        if self.yes || !can_ask() {
            return Err(Failure::usage(format!("{flag} is missing, and nobody can be asked")).into());
        }
        // Restored when Ctrl-C ends the question, which hides what is typed.
        let _terminal = Terminal::new();
        // An answer blocks, and Ctrl-C must be seen meanwhile.
        tokio::task::spawn_blocking(ask).await?
    }

    /// A line of standard input, without its end.
    ///
    /// # Errors
    /// Standard input cannot be read.
    pub(crate) async fn line_of_input(&self) -> anyhow::Result<String> {
        let read = || {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_| line)
        };
        let line = tokio::task::spawn_blocking(read).await?.context("cannot read standard input")?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Waits until standard output is a pipe that nobody reads any more.
async fn reader_gone() {
    let (tell, told) = tokio::sync::oneshot::channel();
    // It blocks until then, so it has a thread of its own, which ends with the program.
    std::thread::spawn(move || {
        let stdout = io::stdout();
        // Asked for nothing, the system only tells that the other end is gone.
        let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
        while let Ok(_) | Err(Errno::INTR) = poll(&mut polled, None) {
            if !polled[0].revents().is_empty() {
                // Nobody listens when the printing has ended.
                let _ = tell.send(());
                return;
            }
        }
    });
    if told.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether there is a person to be asked.
fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The settings of the terminal, put back when this is dropped.
struct Terminal(Option<rustix::termios::Termios>);

impl Terminal {
    fn new() -> Self {
        Self(rustix::termios::tcgetattr(io::stdin()).ok())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            let now = rustix::termios::OptionalActions::Now;
            // A terminal that has gone needs nothing.
            let _ = rustix::termios::tcsetattr(io::stdin(), now, settings);
        }
    }
}

/// What goes wrong ends here.
pub(crate) fn fail(text: impl fmt::Display, hint: Option<&str>) {
    headed(Style::new().red(), "error:", text);
    if let Some(hint) = hint {
        self::hint(hint);
    }
}

/// What to do about it.
pub(crate) fn hint(text: &str) {
    headed(Style::new().cyan(), "hint:", text);
}

/// Shows or hides colours; `NO_COLOR`, `CLICOLOR_FORCE` and the terminal decide otherwise.
pub(crate) fn set_colors(no_color: bool) {
    if no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        console::set_colors_enabled(false);
        console::set_colors_enabled_stderr(false);
    }
}

/// Prints a text of clap's, with its colours where they are wanted.
pub(crate) fn text(text: &StyledStr, to_stderr: bool) {
    let colors = if to_stderr { console::colors_enabled_stderr() } else { console::colors_enabled() };
    let terminal = if to_stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
    let text = if colors { text.ansi().to_string() } else { text.to_string() };
    let text = if terminal { harmless::styled(&text) } else { text };
    if !to_stderr && pager::page(&text) {
        return;
    }
    // A closed pipe after the help was read is no failure.
    drop(if to_stderr {
        io::stderr().lock().write_all(text.as_bytes())
    } else {
        io::stdout().lock().write_all(text.as_bytes()).and_then(|()| io::stdout().flush())
    });
}

/// Writes words, with a coloured word before them.
fn headed(style: Style, head: &str, text: impl fmt::Display) {
    let head = style.for_stderr().bold().apply_to(head);
    to_stderr(format_args!("{head} "), harmless::indented(&text.to_string()));
}

/// Writes words; `head` is our own, and styled.
fn to_stderr(head: fmt::Arguments<'_>, text: impl fmt::Display) {
    let mut text = text.to_string();
    if io::stderr().is_terminal() {
        text = harmless::lines(&text).into_owned();
    }
    // There is nowhere left to say that standard error is closed.
    drop(writeln!(io::stderr().lock(), "{head}{text}"));
}

/// A spinner; gone when it is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Says what is being done now.
    pub(crate) fn message(&self, text: impl fmt::Display) {
        self.0.set_message(harmless::line(&text.to_string()).into_owned());
    }

    /// Says how many bytes it has come to.
    pub(crate) fn bytes(&self, what: &str, count: u64) {
        if !self.0.is_hidden() {
            self.message(format_args!("{what} {}", HumanBytes(count)));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
