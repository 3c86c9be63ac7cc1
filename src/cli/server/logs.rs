//! `micro server logs`.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;

use super::log;
use crate::cli::{
    context::Context,
    failure::{Failure, exit},
};

/// How often a growing log is looked at.
const FOLLOW: Duration = Duration::from_millis(100);
/// Bytes of a log that are read first to find its last lines.
const BLOCK: u64 = 64 << 10;

/// Print the log of the server in the background.
#[derive(Args)]
pub(super) struct Logs {
    /// How many of the last lines.
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,
    /// Go on with what is written later.
    #[arg(short, long)]
    follow: bool,
    /// Chosen for all commands.
    #[arg(long, hide = true)]
    namespace: Option<String>,
}

impl Logs {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let path = cx.daemon().log_file();
        let hint = "only a server in the background keeps one: start it with `micro server start`";
        let missing =
            || Failure::new(exit::NOT_FOUND, format!("there is no log `{}`", path.display())).hint(hint);
        let mut file = File::open(&path).map_err(|_| missing())?;
        let unreadable = || format!("cannot read `{}`", path.display());
        let mut text = end_of(&mut file, self.lines).with_context(unreadable)?;
        // What is missing stands at the end of the files before it.
        for older in log::files(&path).iter().rev().skip(1) {
            let missing = self.lines.saturating_sub(text.split(|byte| *byte == b'\n').count() - 1);
            if missing == 0 {
                break;
            }
            let mut older = File::open(older).with_context(unreadable)?;
            text.splice(0..0, end_of(&mut older, missing).with_context(unreadable)?);
        }
        loop {
            // What has no end yet is printed when it has one, or when nothing follows.
            while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                log::print(&String::from_utf8_lossy(&line[..end]), &cx.ui)?;
            }
            if !self.follow {
                return if text.is_empty() {
                    Ok(())
                } else {
                    Ok(log::print(&String::from_utf8_lossy(&text), &cx.ui)?)
                };
            }
            tokio::time::sleep(FOLLOW).await;
            if replaced(&file, &path) {
                file.read_to_end(&mut text).with_context(unreadable)?;
                file = File::open(&path).map_err(|_| missing())?;
            }
            file.read_to_end(&mut text).with_context(unreadable)?;
        }
    }
}

/// The last lines of a file, and the file at its end. Reads from the end, however long the file is.
fn end_of(file: &mut File, lines: usize) -> std::io::Result<Vec<u8>> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut taken = BLOCK.min(length);
    loop {
        file.seek(SeekFrom::Start(length - taken))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let ends = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
        // The last line may have no end yet.
        let whole = usize::from(text.last() == Some(&b'\n'));
        if let Some((end, _)) = ends.clone().nth(lines.saturating_sub(1) + whole).filter(|_| lines > 0) {
            return Ok(text.split_off(end + 1));
        }
        if lines == 0 || taken == length {
            return Ok(if lines == 0 { Vec::new() } else { text });
        }
        taken = (taken * 2).min(length);
    }
}

/// Whether another file has taken the place of this one.
fn replaced(file: &File, path: &std::path::Path) -> bool {
    let inode = |metadata: std::fs::Metadata| metadata.ino();
    match (file.metadata().map(inode), std::fs::metadata(path).map(inode)) {
        (Ok(ours), Ok(theirs)) => ours != theirs,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_exact_however_long_its_lines_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let long = "x".repeat(usize::try_from(BLOCK).unwrap());
        let lines = ["first", &long, "", "third", &long, "last"];
        for (text, ended) in [(lines.join("\n"), false), (lines.join("\n") + "\n", true)] {
            std::fs::write(&path, text).unwrap();
            for count in 0..=7 {
                let end = end_of(&mut File::open(&path).unwrap(), count).unwrap();
                let expected = lines[lines.len() - count.min(6)..].join("\n");
                let expected = expected + if ended && count > 0 { "\n" } else { "" };
                assert_eq!(String::from_utf8(end).unwrap(), expected, "{count} lines");
            }
        }
    }
}
