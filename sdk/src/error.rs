//! The one error of the platform: what a handler returns, what travels, what a caller gets.
//!
//! On the wire it is a gRPC status whose message is this error as JSON, so that clients in other
//! languages, and the HTTP API, see the same four fields.

use std::fmt;

use serde::{Deserialize, Serialize};
use tonic::{Code, Status, metadata::MetadataMap};

use crate::Kind;

/// The result of a handler or a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong: who says so, an HTTP status code, a sentence for a person.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Where it arose: a service name or `service.Handler.Method`.
    #[serde(default)]
    pub id: String,
    /// An HTTP status code, 400 to 599.
    pub code: i32,
    /// What happened, in words.
    #[serde(default)]
    pub detail: String,
    /// The standard text of `code`, such as "Not Found".
    #[serde(default)]
    pub status: String,
    /// After how many seconds the same call may succeed, where that is known. It travels as the
    /// metadata or header `retry-after`, not in the JSON text.
    #[serde(skip)]
    pub retry_after: Option<u32>,
}

/// The metadata, and the header of HTTP (RFC 9110, section 10.2.3), that [`Error::retry_after`] travels as.
const RETRY_AFTER: &str = "retry-after";

/// How the text of an error begins about a message that this side does not take.
const TOO_LARGE: &str = "a message is too large";
/// What to do about a message that is too large.
pub(crate) const INSTEAD: &str = "send it in parts as a stream, or keep it as a blob and send its key";

/// The most bytes that the id of an error takes in the head of a response.
const MOST_ID: usize = 512;
/// The most bytes of its detail. Clients of other frameworks take heads of 8 or 16 KiB.
const MOST_DETAIL: usize = 7 << 10;

/// What a code means in each of its forms.
pub(crate) struct Meaning {
    /// An HTTP status code.
    pub(crate) code: i32,
    /// The gRPC code it travels as.
    pub(crate) grpc: Code,
    /// What a caller decides by.
    pub(crate) kind: Kind,
}

const fn row(code: i32, grpc: Code, kind: Kind) -> Meaning {
    Meaning { code, grpc, kind }
}

/// What codes mean (the table of Micro v4, and more). The first row with a gRPC code says what a plain
/// status of that code becomes.
pub(crate) const CODES: [Meaning; 24] = [
    row(400, Code::InvalidArgument, Kind::BadRequest),
    row(401, Code::Unauthenticated, Kind::Unauthorized),
    row(403, Code::PermissionDenied, Kind::Forbidden),
    row(404, Code::NotFound, Kind::NotFound),
    row(408, Code::DeadlineExceeded, Kind::Deadline),
    row(409, Code::AlreadyExists, Kind::Conflict),
    row(412, Code::FailedPrecondition, Kind::Precondition),
    row(413, Code::ResourceExhausted, Kind::TooLarge),
    row(499, Code::Cancelled, Kind::Cancelled),
    row(500, Code::Internal, Kind::Internal),
    row(501, Code::Unimplemented, Kind::NotImplemented),
    row(503, Code::Unavailable, Kind::Unavailable),
    // What follows is not what a plain status becomes.
    row(402, Code::FailedPrecondition, Kind::BadRequest),
    row(405, Code::Unimplemented, Kind::NotImplemented),
    row(410, Code::NotFound, Kind::NotFound),
    row(414, Code::InvalidArgument, Kind::BadRequest),
    row(415, Code::InvalidArgument, Kind::BadRequest),
    row(421, Code::InvalidArgument, Kind::BadRequest),
    row(422, Code::InvalidArgument, Kind::BadRequest),
    row(429, Code::ResourceExhausted, Kind::TooMany),
    row(431, Code::ResourceExhausted, Kind::TooLarge),
    row(502, Code::Unavailable, Kind::Unavailable),
    row(504, Code::DeadlineExceeded, Kind::Deadline),
    row(507, Code::ResourceExhausted, Kind::TooMany),
];

/// One constructor per code that a handler commonly needs.
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        $($(#[$doc])* #[must_use] pub fn $name(detail: impl Into<String>) -> Self { Self::new($code, detail) })*
    };
}

impl Error {
    /// An error with an HTTP status code and a sentence; `id` is filled in where it is served.
    #[must_use]
    pub fn new(code: i32, detail: impl Into<String>) -> Self {
        let (detail, status) = (detail.into(), status_text(code).to_owned());
        Self { id: String::new(), code, detail, status, retry_after: None }
    }

    constructors! {
        /// 400: the request is wrong; the same request will never succeed.
        bad_request = 400;
        /// 401: the caller has to log in first.
        unauthorized = 401;
        /// 403: the caller is known and may not.
        forbidden = 403;
        /// 404: the named thing does not exist.
        not_found = 404;
        /// 408: the deadline passed.
        timeout = 408;
        /// 409: the named thing exists already.
        conflict = 409;
        /// 412: a precondition of the request does not hold.
        precondition_failed = 412;
        /// 413: the message is larger than the limit.
        too_large = 413;
        /// 429: too many of a kind; some must end first.
        too_many = 429;
        /// 500: our fault.
        internal = 500;
        /// 501: not supported.
        not_implemented = 501;
        /// 503: try again later.
        unavailable = 503;
    }

    /// A call that takes one answer got another: half an answer is not passed off as the whole.
    #[must_use]
    pub fn more_than_one() -> Self {
        Self::internal("the service answered with more than one message: the endpoint is a stream")
    }

    /// Whether it is about a message that was too large for this side to take.
    pub(crate) fn is_too_large_here(&self) -> bool {
        self.code == 413 && self.id.is_empty() && self.detail.starts_with(TOO_LARGE)
    }

    /// The same error, said by `id` unless somebody has said it already.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        if self.id.is_empty() {
            self.id = id.into();
        }
        self
    }

    /// The same error, with the number of seconds after which the call may succeed.
    #[must_use]
    pub fn with_retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The same error, short enough for the head of a response.
    fn shortened(mut self) -> Self {
        for (text, most) in [(&mut self.id, MOST_ID), (&mut self.detail, MOST_DETAIL)] {
            shorten(text, most);
        }
        self
    }

    /// The error as the JSON text that travels. Long words are shortened: some repeat what a caller sent.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.clone().shortened()).unwrap_or_default()
    }

    /// Reads the JSON text of an error; nested errors in `detail` are followed to the innermost.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        let mut error: Self = serde_json::from_str(text).ok()?;
        if error.code <= 0 {
            // A service that chose no code, or none there is, has failed all the same.
            // A JSON object that says nothing else is a text of its own.
            if error.detail.is_empty() && (error.id.is_empty() || error.status.is_empty()) {
                return None;
            }
            (error.code, error.status) = (500, status_text(500).to_owned());
        }
        Some(Self::from_json(&error.detail).unwrap_or(error))
    }
}

/// The standard text of an HTTP status code; "Unknown" for a number that is none.
#[must_use]
pub fn status_text(code: i32) -> &'static str {
    match code {
        // Of no standard, but in use for it everywhere.
        499 => "Client Closed Request",
        code => {
            let known = u16::try_from(code).ok().and_then(|code| http::StatusCode::from_u16(code).ok());
            known.and_then(|known| known.canonical_reason()).unwrap_or("Unknown")
        }
    }
}

/// The message of a status, short enough for the head of a response: the error in it is shortened, or
/// the text. For who passes on what others wrote.
#[must_use]
pub fn shortened(message: &str) -> String {
    if let Some(error) = Error::from_json(message) {
        return error.shortened().to_json();
    }
    let mut text = message.to_owned();
    shorten(&mut text, MOST_DETAIL);
    text
}

/// Cuts a text that takes more bytes than these in a header, as JSON that is percent-encoded.
fn shorten(text: &mut String, most: usize) {
    const CUT: char = '…';
    let (mut bytes, mut end) = (0, 0);
    for (at, letter) in text.char_indices() {
        bytes += encoded(letter);
        if bytes > most {
            text.truncate(end);
            text.push(CUT);
            return;
        }
        if bytes + encoded(CUT) <= most {
            end = at + letter.len_utf8();
        }
    }
}

/// The most bytes that a letter takes in a header.
fn encoded(letter: char) -> usize {
    match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | ',' | ':' | '/' => 1,
        ' ' => 3,
        _ if letter.is_ascii() => 6,
        _ => 3 * letter.len_utf8(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.detail.is_empty() { &self.status } else { &self.detail })
    }
}

/// One line for a person: what a `main` that returns an error prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({} {}", self.code, status_text(self.code))?;
        match self.id.as_str() {
            "" => f.write_str(")"),
            id => write!(f, ", from {id})"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = CODES.iter().find(|row| row.code == error.code).map_or(Code::Unknown, |row| row.grpc);
        let mut metadata = MetadataMap::new();
        if let Some(seconds) = error.retry_after {
            metadata.insert(RETRY_AFTER, seconds.into());
        }
        Self::with_metadata(code, error.to_json(), metadata)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let seconds = status.metadata().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(error) = Self::from_json(status.message()) {
            return Self { retry_after: seconds, ..error };
        }
        // The first row wins, so that a plain `InvalidArgument` is a 400.
        let code = match status.code() {
            Code::Unknown | Code::Ok | Code::DataLoss => 500,
            // The words of tonic for a message over the limit.
            Code::OutOfRange if status.message().contains("length too large") => 413,
            Code::OutOfRange => 400,
            Code::Aborted => 409,
            other => CODES.iter().find(|row| row.grpc == other).map_or(500, |row| row.code),
        };
        let detail = match status.message() {
            "" => status.code().description().to_owned(),
            message if code == 413 => match message.split_once("too large: ") {
                Some((_, sizes)) => format!("{TOO_LARGE}: {sizes}; {INSTEAD}"),
                None => message.to_owned(),
            },
            message => message.to_owned(),
        };
        Self { retry_after: seconds, ..Self::new(code, detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_wire() {
        let error = Error::not_found("no record `a%b`").with_id("store.Store.Read");
        let status = Status::from(error.clone());
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(
            status.message(),
            r#"{"id":"store.Store.Read","code":404,"detail":"no record `a%b`","status":"Not Found"}"#
        );
        assert_eq!(Error::from(status), error);
    }

    #[test]
    fn an_error_without_a_code_is_a_failure_in_the_same_words() {
        for code in ["0", "-1", "-2147483648"] {
            let text = format!(r#"{{"id":"shop","code":{code},"detail":"sold out","status":""}}"#);
            let error = Error::from(Status::new(Code::Internal, text));
            assert_eq!((error.code, &*error.detail, &*error.id), (500, "sold out", "shop"));
        }
        let silent = r#"{"id":"shop","code":0,"detail":"","status":"Unknown"}"#;
        let error = Error::from(Status::new(Code::Unknown, silent));
        assert_eq!((error.code, error.to_string().as_str()), (500, "Internal Server Error"));
        for text in [r#"{"code":0}"#, r#"{"code":0,"detail":""}"#, "0"] {
            assert_eq!(Error::from_json(text), None, "{text}");
        }
    }

    #[test]
    fn when_to_try_again_survives_the_wire_beside_the_text() {
        let error = Error::too_many("wait").with_retry_after(3);
        let status = Status::from(error.clone());
        assert!(!status.message().contains('3'));
        assert_eq!(Error::from(status), error);
        assert_eq!(Error::from(Status::unavailable("x")).retry_after, None);
    }

    #[test]
    fn a_main_that_returns_an_error_prints_one_line_for_a_person() {
        let error = Error::unavailable("cannot connect to 127.0.0.1:1");
        assert_eq!(format!("{error:?}"), "cannot connect to 127.0.0.1:1 (503 Service Unavailable)");
        let error = Error::not_found("no record `x`").with_id("store.Store.Read");
        assert_eq!(format!("{error:?}"), "no record `x` (404 Not Found, from store.Store.Read)");
    }

    #[test]
    fn a_long_text_arrives_shortened_with_its_code() {
        for text in ["x".repeat(100_000), "two words ".repeat(2000), "ä\u{1}\"".repeat(30_000)] {
            let status = Status::from(Error::conflict(text.clone()).with_id("y".repeat(5000)));
            let mut headers = http::HeaderMap::new();
            status.add_header(&mut headers).unwrap();
            let bytes: usize = headers.values().map(http::HeaderValue::len).sum();
            assert!(bytes < 8 << 10, "{bytes}");
            let again = super::shortened(status.message());
            assert_eq!(again, status.message(), "what is short stays as it is");
            assert!(Error::bad_request(text.clone()).to_json().len() < 64 << 10);
            let error = Error::from(status);
            assert!(error.code == 409 && text.starts_with(error.detail.trim_end_matches('…')), "{error:?}");
        }
    }

    #[test]
    fn nested_errors_are_followed_to_the_innermost() {
        let inner = Error::forbidden("no").with_id("a");
        let outer = Error::new(500, inner.to_json()).with_id("b");
        assert_eq!(Error::from(Status::internal(outer.to_json())), inner);
    }

    #[test]
    fn a_plain_status_gets_the_code_of_the_table() {
        for (status, code) in [
            (Status::not_found("x"), 404),
            (Status::unavailable("x"), 503),
            (Status::unknown("x"), 500),
            (Status::deadline_exceeded("x"), 408),
            (Status::unimplemented("x"), 501),
            (Status::failed_precondition("x"), 412),
            (Status::resource_exhausted("x"), 413),
            (Status::invalid_argument("x"), 400),
        ] {
            assert_eq!(Error::from(status).code, code);
        }
    }

    #[test]
    fn every_code_has_its_text_and_those_in_use_a_row() {
        for (code, text, status) in [
            (402, "Payment Required", Code::FailedPrecondition),
            (410, "Gone", Code::NotFound),
            (422, "Unprocessable Entity", Code::InvalidArgument),
            (431, "Request Header Fields Too Large", Code::ResourceExhausted),
            (499, "Client Closed Request", Code::Cancelled),
            (502, "Bad Gateway", Code::Unavailable),
            (504, "Gateway Timeout", Code::DeadlineExceeded),
            (418, "I'm a teapot", Code::Unknown),
            (599, "Unknown", Code::Unknown),
            (-1, "Unknown", Code::Unknown),
        ] {
            let error = Error::new(code, "x");
            assert_eq!(error.status, text);
            let travelled = Status::from(error.clone());
            assert_eq!(travelled.code(), status, "{code}");
            if code > 0 {
                assert_eq!(Error::from(travelled), error);
            }
        }
        for Meaning { code, .. } in CODES {
            assert_ne!(status_text(code), "Unknown", "{code}");
        }
    }

    #[test]
    fn the_first_to_name_itself_stays() {
        assert_eq!(Error::timeout("x").with_id("a").with_id("b").id, "a");
    }
}
