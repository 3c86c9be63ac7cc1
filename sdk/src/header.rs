//! The headers of a call (reference: Micro v4's metadata), read in one place.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

/// Selects the namespace in which a service is looked up.
pub const NAMESPACE: HeaderName = HeaderName::from_static("micro-namespace");
/// Selects the version of a service; addition of this implementation.
pub const VERSION: HeaderName = HeaderName::from_static("micro-version");
/// Tells a request from others, in all services that take part in it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long the caller waits, in nanoseconds, decimal.
pub const TIMEOUT: HeaderName = HeaderName::from_static("timeout");
/// The standard form of the same: at most 8 digits and a unit.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// What the HTTP API tells a service of the request that it answers: the host it was sent to, its method,
/// its path with the query. Nobody else can say these.
pub const OF_HTTP: [HeaderName; 3] =
    [HeaderName::from_static("host"), HeaderName::from_static("method"), HeaderName::from_static("url")];
/// The most bytes of the head of a request or a response that services and clients take. A server takes
/// less (`micro server --max-header-bytes`), so it is the one that refuses, and says why.
pub const MOST: u32 = 512 << 10;
/// The namespace of calls that name none.
pub const DEFAULT_NAMESPACE: &str = "micro";
/// The version of services that name none.
pub const DEFAULT_VERSION: &str = "latest";

/// A header as text, if it is there, readable and not empty.
#[must_use]
pub fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
}

/// The token of `authorization: Bearer …`.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// How long the caller waits: the shorter of `grpc-timeout` and `timeout`.
#[must_use]
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let standard = text(headers, GRPC_TIMEOUT).and_then(grpc_timeout);
    let micro = text(headers, TIMEOUT).and_then(|ns| ns.parse().ok()).map(Duration::from_nanos);
    match (standard, micro) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Takes time that has passed off how long the caller waits, if they say so.
pub fn elapse(headers: &mut HeaderMap, passed: Duration) {
    if let Some(left) = timeout(headers) {
        headers.remove(GRPC_TIMEOUT);
        let left = left.saturating_sub(passed).as_nanos().min(u64::MAX.into());
        headers.insert(TIMEOUT, HeaderValue::from(left as u64));
    }
}

/// Says how long the caller waits, in the standard form.
pub(crate) fn set_timeout(headers: &mut HeaderMap, left: Duration) {
    let forms = [
        (left.as_nanos(), 'n'),
        (left.as_micros(), 'u'),
        (left.as_millis(), 'm'),
        (u128::from(left.as_secs()), 'S'),
        (u128::from(left.as_secs() / 60), 'M'),
    ];
    // Of 8 digits at most; the finest unit that has room.
    let fits = forms.into_iter().find(|(count, _)| *count < 100_000_000);
    let (count, unit) = fits.unwrap_or((u128::from(left.as_secs() / 3600).min(99_999_999), 'H'));
    if let Ok(value) = HeaderValue::try_from(format!("{count}{unit}")) {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

/// Reads the standard form of a time-out; none for anything else.
#[must_use]
pub fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 =
        digits.parse().ok().filter(|_| digits.len() <= 8 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_timeout_wins() {
        let mut headers = HeaderMap::new();
        assert_eq!(timeout(&headers), None);
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_static("1500m"));
        assert_eq!(timeout(&headers), Some(Duration::from_millis(1500)));
        headers.insert(TIMEOUT, HeaderValue::from_static("1000000000"));
        assert_eq!(timeout(&headers), Some(Duration::from_secs(1)));
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_static("999999999S"));
        assert_eq!(timeout(&headers), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_timeout_is_written_as_it_is_read() {
        for (left, written) in [
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_millis(100), "100000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_mins(50_000), "3000000S"),
            (Duration::from_hours(50_000), "3000000M"),
            (Duration::MAX, "99999999H"),
        ] {
            let mut headers = HeaderMap::new();
            set_timeout(&mut headers, left);
            assert_eq!(headers[GRPC_TIMEOUT], written);
            assert!(left == Duration::MAX || timeout(&headers) == Some(left));
        }
    }

    #[test]
    fn time_that_has_passed_is_not_waited_again() {
        let mut headers = HeaderMap::new();
        elapse(&mut headers, Duration::from_secs(1));
        assert!(headers.is_empty());
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_static("1500m"));
        elapse(&mut headers, Duration::from_secs(1));
        assert_eq!(timeout(&headers), Some(Duration::from_millis(500)));
        elapse(&mut headers, Duration::from_secs(1));
        assert_eq!(timeout(&headers), Some(Duration::ZERO));
    }

    #[test]
    fn the_scheme_of_a_token_is_bearer_in_any_case() {
        let mut headers = HeaderMap::new();
        for (value, token) in [("Bearer a.b.c", Some("a.b.c")), ("bearer x", Some("x")), ("Basic eDp5", None)]
        {
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            assert_eq!(bearer(&headers), token);
        }
    }
}
