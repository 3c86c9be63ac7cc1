//! One line of a log, on disk and in memory.

use jiff::Timestamp;

/// The length of the time at the start of each line.
pub(super) const TIME_LENGTH: usize = "2026-11-23T10:11:12.123Z".len();

/// The length of all that stands before the text.
pub(super) const PREFIX_LENGTH: usize = TIME_LENGTH + " stdout ".len();

/// Where a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word for it in a log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line a process wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// When it was read from the process, to the millisecond.
    pub(crate) time: Timestamp,
    /// Where it was written to.
    pub(crate) stream: Stream,
    /// The text without its line end; what was not UTF-8 is replaced.
    pub(crate) text: String,
}

impl LogLine {
    /// Reads a line of a log file; none if it is not one, such as after a full disk.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        let (time, rest) = line.split_once(' ')?;
        let (stream, text) = rest.split_once(' ')?;
        let stream = [Stream::Stdout, Stream::Stderr].into_iter().find(|known| known.name() == stream)?;
        Some(Self { time: time.parse().ok()?, stream, text: text.to_owned() })
    }
}

/// A time as it stands in a log.
pub(super) fn time_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_with_its_spaces() {
        let line = LogLine::parse(b"2026-11-23T10:11:12.123Z stderr  two  words ").expect("a line");
        assert_eq!((line.stream, line.text.as_str()), (Stream::Stderr, " two  words "));
        assert_eq!(time_text(line.time), "2026-11-23T10:11:12.123Z");
    }

    #[test]
    fn an_empty_text_is_a_line_and_noise_is_none() {
        assert!(LogLine::parse(b"2026-11-23T10:11:12.123Z stdout ").is_some_and(|line| line.text.is_empty()));
        assert_eq!(LogLine::parse(b"2026-11-23T10:1"), None);
    }

    #[test]
    fn the_time_has_a_fixed_length() {
        assert_eq!(time_text(Timestamp::UNIX_EPOCH).len(), TIME_LENGTH);
    }
}
