//! Where in the files of a log the wanted lines begin, found from the end in blocks and, by time, in
//! halving steps: a long log is never read whole.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use jiff::Timestamp;

use super::{
    Files,
    line::{TIME_LENGTH, time_text},
};

/// Bytes read at a time.
const BLOCK: usize = 64 * 1024;

/// A place in a log, always at the start of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) generation: u64,
    pub(super) offset: u64,
}

/// The end of what is written now.
pub(super) fn end(files: &Files) -> io::Result<Place> {
    let generation = files.newest()?;
    let offset = match files.open(generation)? {
        Some(file) => {
            let length = file.metadata()?.len();
            // A line that is just being written is not there yet.
            start_of_last(&file, length, 0)?.0
        }
        None => 0,
    };
    Ok(Place { generation, offset })
}

/// The oldest place that still is there.
pub(super) fn oldest(files: &Files) -> io::Result<Place> {
    let generation = files.full()?.first().copied().map_or_else(|| files.newest(), Ok)?;
    Ok(Place { generation, offset: 0 })
}

/// The start of the last `lines` lines before `end`.
pub(super) fn last_lines(files: &Files, end: Place, lines: usize) -> io::Result<Place> {
    let mut missing = lines;
    let mut place = end;
    let older = files.full()?.into_iter().rev().filter(|generation| *generation < end.generation);
    for generation in std::iter::once(end.generation).chain(older) {
        if missing == 0 {
            break;
        }
        let Some(file) = files.open(generation)? else { continue };
        let length = if generation == end.generation { end.offset } else { file.metadata()?.len() };
        let (offset, found) = start_of_last(&file, length, missing)?;
        missing -= found;
        place = Place { generation, offset };
    }
    Ok(place)
}

/// The start of the first line that is not older than `since`.
pub(super) fn since(files: &Files, end: Place, since: Timestamp) -> io::Result<Place> {
    let since = time_text(since);
    let mut generations = files.full()?;
    generations.push(end.generation);
    for generation in generations.into_iter().rev().filter(|generation| *generation <= end.generation) {
        let Some(file) = files.open(generation)? else { continue };
        let length = if generation == end.generation { end.offset } else { file.metadata()?.len() };
        let offset = first_since(&file, length, &since)?;
        // Older files matter only when all of this one is young enough.
        if offset > 0 {
            return Ok(Place { generation, offset });
        }
    }
    oldest(files)
}

/// Where the last `lines` whole lines of the first `length` bytes begin, and how many there are.
/// With 0 lines this is the end of the last whole line.
fn start_of_last(file: &File, length: u64, lines: usize) -> io::Result<(u64, usize)> {
    let mut block = vec![0; BLOCK];
    let mut end = length;
    // The line end that closes the last line begins none.
    let mut ends_seen = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        for (index, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if ends_seen == lines {
                return Ok((start + index as u64 + 1, lines));
            }
            ends_seen += 1;
        }
        end = start;
    }
    Ok((0, ends_seen))
}

/// The first line start in `..length` whose line is not older than `since`, by halving.
fn first_since(file: &File, length: u64, since: &str) -> io::Result<u64> {
    // Every line that starts before `low` is older; the line at `high` is not, or it is the end.
    let (mut low, mut high) = (0, length);
    while low < high {
        let middle = low + (high - low) / 2;
        let start = line_start_at(file, middle)?.max(low);
        let mut time = [0; TIME_LENGTH];
        let old = file.read_exact_at(&mut time, start).is_ok() && time.as_slice() < since.as_bytes();
        if old {
            low = next_line(file, start, length)?;
        } else {
            high = start;
        }
    }
    Ok(low)
}

/// The start of the line that holds the byte at `offset`.
fn line_start_at(file: &File, offset: u64) -> io::Result<u64> {
    Ok(start_of_last(file, offset, 0)?.0)
}

/// The start of the line after the one at `start`.
fn next_line(file: &File, start: u64, length: u64) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut from = start;
    while from < length {
        let read = file.read_at(&mut block, from)?;
        if read == 0 {
            break;
        }
        if let Some(end) = block[..read].iter().position(|byte| *byte == b'\n') {
            return Ok((from + end as u64 + 1).min(length));
        }
        from += read as u64;
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn log(times: &[&str]) -> (tempfile::TempDir, File) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let lines: Vec<String> =
            times.iter().map(|time| format!("2026-01-01T00:00:{time}.000Z stdout x\n")).collect();
        fs::write(&path, lines.concat()).expect("written");
        (folder, File::open(path).expect("opened"))
    }

    #[test]
    fn halving_finds_the_first_young_line() {
        let (_folder, file) = log(&["01", "02", "02", "04", "05"]);
        let line = 34;
        for (since, expected) in [("00", 0), ("01", 0), ("02", 1), ("03", 3), ("05", 4), ("06", 5)] {
            let since = format!("2026-01-01T00:00:{since}.000Z");
            assert_eq!(first_since(&file, 5 * line, &since).expect("found"), expected * line, "{since}");
        }
    }

    #[test]
    fn lines_are_counted_from_the_end() {
        let (_folder, file) = log(&["01", "02", "03"]);
        assert_eq!(start_of_last(&file, 102, 2).expect("found"), (34, 2));
        assert_eq!(start_of_last(&file, 102, 3).expect("found"), (0, 3));
        assert_eq!(start_of_last(&file, 102, 9).expect("found"), (0, 3));
        assert_eq!(start_of_last(&file, 100, 0).expect("found"), (68, 0));
    }
}
