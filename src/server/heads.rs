//! The heads of requests over HTTP/1, looked at before the library that answers them sees a byte: how
//! large they are, how many headers they have, and that their lines end as they must. So what is
//! refused gets an answer in our words, and no head is half-read by us and half by somebody on the way.

use http::{Request, Uri, Version};
use micro_sdk::{Error, Result};

use super::target::is_plain_path;

/// The longest address of a request that the library takes.
const LONGEST_TARGET: usize = 65_534;
/// How many headers of a request are looked at without memory being allocated for it.
const FEW: usize = 24;
/// What each header counts for over HTTP/2, beside its name and value (RFC 9113, section 6.5.2).
const ENTRY: usize = 32;

/// What the head of a request may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes in all.
    pub(crate) bytes: usize,
    /// Headers.
    pub(crate) count: usize,
}

impl Limits {
    /// Refuses a request over HTTP/2 whose head is too large; over HTTP/1 [`Heads`] has looked at it.
    ///
    /// # Errors
    /// 431.
    pub(super) fn check<B>(self, request: &Request<B>) -> Result<()> {
        if request.version() < Version::HTTP_2 {
            return Ok(());
        }
        let headers = request.headers();
        if headers.len() > self.count {
            return Err(self.too_many());
        }
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        let size = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            name.as_str().len() + value.len() + ENTRY
        };
        if target + headers.iter().map(size).sum::<usize>() > self.bytes {
            return Err(self.too_large());
        }
        Ok(())
    }

    fn too_many(self) -> Error {
        Error::new(431, format!("the request has more than {} headers, which is the limit", self.count))
    }

    fn too_large(self) -> Error {
        Error::new(
            431,
            format!("the head of the request is larger than {} bytes, which is the limit", self.bytes),
        )
    }
}

/// Where in the bytes of a connection the heads are.
#[derive(Debug)]
pub(super) struct Heads {
    limits: Limits,
    part: Part,
    /// How many bytes of the head that is being collected were looked at.
    looked: usize,
    /// How many lines those bytes have.
    lines: usize,
}

/// What comes next on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The head of a request.
    Head,
    /// So many bytes of a body.
    Body(u64),
    /// A body in chunks (RFC 9112, section 7.1).
    Chunked(Chunk),
    /// Another protocol, to its end.
    Other,
}

/// What comes next of a body in chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// The line with the size of a chunk.
    Size { size: u64, digits: bool },
    /// The bytes of a chunk and the end of its line.
    Data(u64),
    /// A line of the trailers, of which so many bytes have come.
    Trailer(usize),
}

impl Heads {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, part: Part::Head, looked: 0, lines: 0 }
    }

    pub(super) fn part(&self) -> &Part {
        &self.part
    }

    /// Looks at no head any more.
    pub(super) fn leave(&mut self) {
        self.part = Part::Other;
    }

    /// The length of the head that these bytes begin with, if it is whole. What was passed before is
    /// passed again, with more behind it.
    ///
    /// # Errors
    /// 400 for what is no head, 414 or 431 for one that is too large.
    pub(super) fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        while let Some(found) = bytes[self.looked..].iter().position(|byte| *byte == b'\n') {
            let end = self.looked + found;
            let ended = end > 0 && bytes[end - 1] == b'\r';
            if !ended {
                return Err(Error::bad_request("a line in the head of the request does not end in CR LF"));
            }
            let empty = end - 1 == self.looked;
            self.looked = end + 1;
            if self.looked > self.limits.bytes {
                return Err(self.limits.too_large());
            }
            if !empty {
                self.lines += 1;
                // The first one is the request line.
                if self.lines > self.limits.count + 1 {
                    return Err(self.limits.too_many());
                }
            } else if self.lines > 0 {
                self.part = self.body_of(&bytes[..=end])?;
                let length = self.looked;
                (self.looked, self.lines) = (0, 0);
                return Ok(Some(length));
            }
        }
        if bytes.len() > self.limits.bytes { Err(self.limits.too_large()) } else { Ok(None) }
    }

    /// What follows a head.
    fn body_of(&self, head: &[u8]) -> Result<Part> {
        // Most requests have no more headers.
        let (mut few, mut many);
        let headers = if self.lines <= FEW {
            few = [httparse::EMPTY_HEADER; FEW];
            &mut few[..]
        } else {
            many = vec![httparse::EMPTY_HEADER; self.lines];
            &mut many[..]
        };
        let mut request = httparse::Request::new(headers);
        let malformed =
            |why: String| Error::bad_request(format!("the head of the request is malformed: {why}"));
        let parsed = request.parse(head).map_err(|error| malformed(error.to_string()))?;
        let target = request.path.filter(|_| parsed.is_complete());
        let target = target.ok_or_else(|| malformed("it has no request line".to_owned()))?;
        if target.len() > LONGEST_TARGET {
            let text = format!("the address of the request is longer than {LONGEST_TARGET} bytes");
            return Err(Error::new(414, text));
        }
        if request.method == Some("CONNECT") {
            return Ok(Part::Other);
        }
        if !is_plain_path(target) {
            target.parse::<Uri>().map_err(|error| malformed(error.to_string()))?;
        }
        let (mut length, mut coding) = (None, None);
        for header in request.headers.iter() {
            let value = header.value.trim_ascii();
            if header.name.eq_ignore_ascii_case("content-length") {
                let digits =
                    std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                let number: Option<u64> = digits.and_then(|text| text.parse().ok());
                let number = number.ok_or_else(|| malformed("content-length is no number".to_owned()))?;
                if length.is_some_and(|other| other != number) {
                    return Err(malformed("there are two lengths".to_owned()));
                }
                length = Some(number);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                coding = Some(value);
            }
        }
        let Some(coding) = coding else {
            return Ok(length.filter(|length| *length > 0).map_or(Part::Head, Part::Body));
        };
        let last = coding.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
        if !last.eq_ignore_ascii_case(b"chunked") || request.version == Some(0) {
            return Err(malformed("transfer-encoding does not end in chunked".to_owned()));
        }
        if length.is_some() {
            // Somebody on the way may have gone by the other one (RFC 9112, section 6.1).
            return Err(malformed("it has content-length and transfer-encoding".to_owned()));
        }
        Ok(Part::Chunked(Chunk::Size { size: 0, digits: true }))
    }

    /// How many of these bytes belong to the body; the next head begins behind them.
    pub(super) fn body(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            taken += match &mut self.part {
                Part::Head => break,
                Part::Other => bytes.len() - taken,
                Part::Body(left) => {
                    let some = (bytes.len() - taken).min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= some as u64;
                    if *left == 0 {
                        self.part = Part::Head;
                    }
                    some
                }
                Part::Chunked(chunk) => {
                    let (some, over) = chunk.follow(&bytes[taken..]);
                    if over {
                        self.part = Part::Head;
                    }
                    some
                }
            };
        }
        taken
    }
}

impl Chunk {
    /// Follows some of the bytes, at least one: how many, and whether the body is over. What is
    /// malformed is for the library to find: it reads nothing after it.
    fn follow(&mut self, bytes: &[u8]) -> (usize, bool) {
        match self {
            Self::Data(left) => {
                let some = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= some as u64;
                if *left == 0 {
                    *self = Self::Size { size: 0, digits: true };
                }
                (some, false)
            }
            Self::Size { size, digits } => {
                match (bytes[0], char::from(bytes[0]).to_digit(16)) {
                    (b'\n', _) if *size == 0 => *self = Self::Trailer(0),
                    // With the end of its line.
                    (b'\n', _) => *self = Self::Data(size.saturating_add(2)),
                    (_, Some(digit)) if *digits => {
                        *size = size.saturating_mul(16).saturating_add(digit.into());
                    }
                    _ => *digits = false,
                }
                (1, false)
            }
            Self::Trailer(length) => match (bytes[0], *length) {
                (b'\n', ..=1) => (1, true),
                (b'\n', _) => {
                    *length = 0;
                    (1, false)
                }
                _ => {
                    *length += 1;
                    (1, false)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { bytes: 200, count: 4 };

    fn heads() -> Heads {
        Heads::new(LIMITS)
    }

    fn code(head: &str) -> i32 {
        heads().head(head.as_bytes()).map_or_else(|error| error.code, |found| i32::from(found.is_some()))
    }

    #[test]
    fn a_head_is_whole_when_its_empty_line_has_come() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for length in 0..head.len() {
            assert_eq!(code(&head[..length]), 0, "{length}");
        }
        let more = format!("{head}rest");
        assert_eq!(heads().head(more.as_bytes()).unwrap(), Some(head.len()));
        // Lines before a request are none of it (RFC 9112, section 2.2).
        assert_eq!(heads().head(format!("\r\n{head}").as_bytes()).unwrap(), Some(head.len() + 2));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for (head, expected) in [
            ("GET / HTTP/1.1\nHost: a\n\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nx: 1\n", 400),
            ("\n", 400),
            ("GET / HTTP/1.1\r\na b: c\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", 400),
            ("GET / HTTP/9\r\n\r\n", 400),
            ("GET\r\n\r\n", 400),
            ("GET a b HTTP/1.1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\ncontent-length: 1x\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", 400),
            ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\ntransfer-encoding: gzip, Chunked\r\n\r\n", 1),
            ("GET / HTTP/1.1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\n\r\n", 1),
            ("GET / HTTP/1.1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\na: 1\r\n", 431),
        ] {
            assert_eq!(code(head), expected, "{head:?}");
        }
        assert_eq!(code(&format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(178))), 431);
        assert_eq!(code(&format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(177))), 1);
        assert_eq!(code(&"x".repeat(201)), 431);
        let mut wide = Heads::new(Limits { bytes: 1 << 20, count: 4 });
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(LONGEST_TARGET));
        assert_eq!(wide.head(long.as_bytes()).unwrap_err().code, 414);
    }

    #[test]
    fn the_next_head_begins_behind_the_body() {
        for (head, body) in [
            ("GET / HTTP/1.1\r\n\r\n", ""),
            ("POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n", ""),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", "a\nb"),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n\r\n"),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "3;x=\"0\"\r\na\nb\r\n00A \r\n0123456789\r\n0\r\na: b\r\n\r\n",
            ),
        ] {
            for step in 1..=body.len() + 1 {
                let mut heads = heads();
                assert_eq!(heads.head(head.as_bytes()).unwrap(), Some(head.len()));
                let mut taken = 0;
                let next = "GET / HTTP/1.1\n";
                let bytes = format!("{body}{next}");
                for piece in bytes.as_bytes().chunks(step) {
                    let some = heads.body(piece);
                    taken += some;
                    if some < piece.len() {
                        break;
                    }
                }
                assert_eq!((taken, heads.part()), (body.len(), &Part::Head), "{body:?} by {step}");
            }
        }
    }

    proptest! {
        /// However a head comes, it is judged alike, and nothing panics.
        #[test]
        fn a_head_in_pieces_is_judged_as_a_whole(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), Just(b' '), any::<u8>()], 0..300),
            step in 1_usize..20,
        ) {
            let whole = heads().head(&bytes).map_err(|error| error.code);
            let mut heads = heads();
            let mut end = 0;
            let pieces = loop {
                end = (end + step).min(bytes.len());
                match heads.head(&bytes[..end]) {
                    Ok(None) if end < bytes.len() => {}
                    judged => break judged.map_err(|error| error.code),
                }
            };
            prop_assert_eq!(pieces, whole);
        }
    }
}
