//! Answers in plain HTTP, for clients that may not speak gRPC: a browser, a probe, a stranger.

use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use micro_sdk::Error;

use super::VERSION;

/// The type of JSON.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer in JSON.
pub(super) fn json(text: String) -> Response<String> {
    let mut response = Response::new(text);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The version, spelled as Micro v4 does, for probes.
pub(super) fn version() -> Response<String> {
    json(format!("{{\"version\": \"v{VERSION}\"}}\n"))
}

/// An error in JSON, with its code as the status.
pub(super) fn error(error: &Error) -> Response<String> {
    let mut response = json(error.to_json() + "\n");
    *response.status_mut() = status(error);
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// The status of an error. A service may answer any number; what is no error of HTTP is its fault.
pub(super) fn status(error: &Error) -> StatusCode {
    let code = u16::try_from(error.code).ok().and_then(|code| StatusCode::from_u16(code).ok());
    code.filter(|code| code.is_client_error() || code.is_server_error())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
