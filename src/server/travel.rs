//! Which headers of a call travel on to the building block or service, and which are refused before that.

use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
use http::{
    HeaderMap, HeaderName,
    header::{CONNECTION, CONTENT_TYPE, PROXY_AUTHORIZATION},
};
use micro_sdk::{Error, Result, header};

use crate::names;

/// How bytes stand in a header: base64, with or without padding (gRPC over HTTP/2).
const BINARY: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The headers that say something of the call itself, so that there can be one of each.
const ONCE: [HeaderName; 5] =
    [header::NAMESPACE, header::VERSION, header::TIMEOUT, header::GRPC_TIMEOUT, CONTENT_TYPE];
/// The longest version that a call can ask for, in bytes, as in a registration.
const MAX_VERSION: usize = 255;

/// A header of ours as text, if it is there and not empty.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>> {
    let value = headers.get(name).map(|value| value.to_str());
    let value = value.transpose();
    let value = value
        .map_err(|_| Error::bad_request(format!("the header {name} has characters that are not ASCII")))?;
    Ok(value.filter(|value| !value.is_empty()))
}

/// Refuses headers that are there twice: another program on the way might read the other one.
///
/// # Errors
/// 400.
pub(super) fn check_once(headers: &HeaderMap, names: &[HeaderName]) -> Result<()> {
    // Few requests have any header twice.
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    match names.iter().find(|name| headers.get_all(*name).iter().nth(1).is_some()) {
        Some(name) => Err(Error::bad_request(format!("there are two {name} headers"))),
        None => Ok(()),
    }
}

/// Refuses headers that the server, or the program that answers, could not read.
///
/// # Errors
/// 400.
pub(super) fn check(headers: &HeaderMap) -> Result<()> {
    check_once(headers, &ONCE)?;
    if let Some(namespace) = text(headers, &header::NAMESPACE)? {
        names::check_namespace(namespace)
            .map_err(|e| Error::bad_request(format!("the header {}: {e}", header::NAMESPACE)))?;
    }
    if text(headers, &header::VERSION)?.is_some_and(|version| version.len() > MAX_VERSION) {
        return Err(Error::bad_request(format!(
            "the header {} has at most {MAX_VERSION} bytes",
            header::VERSION
        )));
    }
    if let Some(time) = headers.get(header::TIMEOUT)
        && !time.to_str().is_ok_and(|time| time.parse::<u64>().is_ok())
    {
        return Err(Error::bad_request("the header timeout is not a number of nanoseconds, in digits"));
    }
    for (name, value) in headers {
        let is_readable = |value: &[u8]| BINARY.decode(value.trim_ascii()).is_ok();
        if name.as_str().ends_with("-bin") && !value.as_bytes().split(|byte| *byte == b',').all(is_readable) {
            return Err(Error::bad_request(format!(
                "the header {} is not base64, as its name says",
                names::shown(name.as_str())
            )));
        }
        if *name == header::GRPC_TIMEOUT
            && !value.to_str().is_ok_and(|text| header::grpc_timeout(text).is_some())
        {
            return Err(Error::bad_request(
                "the header grpc-timeout is not at most 8 digits and a unit, one of H, M, S, m, u and n",
            ));
        }
    }
    Ok(())
}

/// Headers that are meant for the next program on the way, and for nobody behind it (RFC 9110, sections
/// 7.6.1 and 11.7.2).
const NEXT_ONLY: [HeaderName; 3] =
    [PROXY_AUTHORIZATION, HeaderName::from_static("proxy-connection"), HeaderName::from_static("keep-alive")];

/// Whether a header travels with a call: of those named `micro-…` only ours do, since a service may take
/// others for what a framework says of the caller.
pub(super) fn travels(name: &HeaderName) -> bool {
    let ours = [header::NAMESPACE, header::VERSION].contains(name);
    (ours || !name.as_str().starts_with("micro-")) && !NEXT_ONLY.contains(name)
}

/// The headers that the caller names as concerning the connection only (RFC 9110, section 7.6.1).
pub(super) fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let named = headers.get_all(CONNECTION).iter().filter_map(|names| names.to_str().ok());
    named.flat_map(|names| names.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// Takes out what does not travel: headers that are not ours, and those that concern the connection only.
pub(super) fn keep(headers: &mut HeaderMap) {
    let mut stays = named(headers);
    stays.extend(headers.keys().filter(|name| !travels(name)).cloned());
    for name in stays {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn headers_that_nobody_can_read_are_refused() {
        for (name, value, good) in [
            ("x-bin", "AAEC", true),
            ("x-bin", "AAE", true),
            ("x-bin", "AAE=, AAEC", true),
            ("x-bin", "", true),
            ("x-bin", "a", false),
            ("x-bin", "AAEC,?", false),
            ("x-bin", "____", false),
            ("x-bind", "?", true),
            ("grpc-timeout", "5S", true),
            ("grpc-timeout", "5Z", false),
            ("grpc-timeout", "", false),
            ("grpc-timeout", "-5S", false),
            ("grpc-timeout", "123456789S", false),
            ("timeout", "5000000000", true),
            ("timeout", "18446744073709551616", false),
            ("timeout", "-5", false),
            ("timeout", "10s", false),
            ("timeout", "", false),
            ("micro-namespace", "shop", true),
            ("micro-namespace", "", true),
            ("micro-namespace", "käse", false),
            ("micro-namespace", "*", false),
            ("micro-namespace", "a, b", false),
            ("micro-version", "1.0 (beta)", true),
            ("micro-version", "käse", false),
        ] {
            let header = (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
            assert_eq!(check(&HeaderMap::from_iter([header])).is_ok(), good, "{name}: {value}");
        }
    }

    #[test]
    fn what_a_call_is_about_is_said_once() {
        for name in ["micro-namespace", "micro-version", "timeout", "grpc-timeout", "content-type"] {
            let value = if name == "grpc-timeout" { "5S" } else { "5" };
            let value = if name == "micro-namespace" { "shop" } else { value };
            let mut headers = HeaderMap::new();
            headers.append(name, HeaderValue::from_static(value));
            check(&headers).unwrap();
            headers.append(name, HeaderValue::from_static(value));
            assert_eq!(check(&headers).unwrap_err().code, 400, "{name}");
        }
    }

    #[test]
    fn what_is_not_ours_and_what_is_named_by_connection_stays() {
        let names = "micro-namespace micro-version micro-account micro-from-service proxy-authorization keep-alive x-a x-b x-c";
        let mut headers: HeaderMap = names
            .split(' ')
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("v")))
            .collect();
        headers.append(CONNECTION, HeaderValue::from_static("keep-alive, X-A"));
        headers.append(CONNECTION, HeaderValue::from_static("x-b,,\t"));
        keep(&mut headers);
        let left: Vec<&str> =
            headers.keys().map(HeaderName::as_str).filter(|name| *name != "connection").collect();
        assert_eq!(left, ["micro-namespace", "micro-version", "x-c"]);
    }
}
