//! What must hold of any headers of a request.

use std::{net::IpAddr, str::FromStr as _};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{HOST, ORIGIN},
};
use micro_sdk::{Address, header};

pub(crate) use super::api::fuzz::{parameters, path};
use super::{BrowserPolicy, target::Wire, travel};

/// Any lines as headers of a request, the first one as its URI: a page of elsewhere gets nowhere, what
/// does not travel stays, and a time-out is read by one rule.
pub(crate) fn headers(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let Ok(uri) = http::Uri::try_from(lines.next().unwrap_or_default()) else { return };
    let mut headers = HeaderMap::new();
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    timeouts(&headers);
    strangers(uri, headers.clone());
    let _ = Wire::of(&headers);
    if let Some(text) = header::bearer(&headers) {
        assert!(!text.starts_with(' ') && !text.ends_with(' '));
    }
    for (_, value) in &headers {
        let Some(address) = value.to_str().ok().and_then(|text| Address::from_str(text).ok()) else {
            continue;
        };
        let text = address.to_string();
        assert_eq!(Address::from_str(&text).map(|again| again.to_string()).ok(), Some(text));
    }
    let mut kept = headers.clone();
    travel::keep(&mut kept);
    assert!(kept.keys().all(travel::travels), "{kept:?}");
    let once = kept.clone();
    travel::keep(&mut kept);
    assert_eq!(kept, once, "what was kept once stays");
}

fn timeouts(headers: &HeaderMap) {
    let checked = travel::check(headers).is_ok();
    for value in headers.get_all(header::GRPC_TIMEOUT) {
        let bytes = value.as_bytes();
        let is_valid = matches!(bytes, [digits @ .., b'H' | b'M' | b'S' | b'm' | b'u' | b'n']
            if (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit));
        assert!(is_valid || !checked, "{value:?}");
        assert_eq!(value.to_str().ok().and_then(header::grpc_timeout).is_some(), is_valid, "{value:?}");
    }
    let _ = header::timeout(headers);
}

fn strangers(uri: http::Uri, headers: HeaderMap) {
    const PAGE: &str = "https://app.test";
    let browsers = BrowserPolicy { hosts: vec!["micro.test".into()], origins: vec![PAGE.into()] };
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    if browsers.check(&request).is_err() {
        return;
    }
    let headers = request.headers();
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        assert!(values.next().is_none(), "two {name}: {headers:?}");
        first
    };
    let (host, origin, site) = (only(HOST.as_str()), only(ORIGIN.as_str()), only("sec-fetch-site"));
    let host = request.uri().authority().map(ToString::to_string).or(host).expect("HTTP/1.1 has a host");
    let name = host.rsplit('@').next().unwrap_or_default();
    let name = match name.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => name.split(':').next().unwrap_or_default(),
    };
    let known = name.parse::<IpAddr>().is_ok()
        || ["localhost", "micro.test"].iter().any(|known| known.eq_ignore_ascii_case(name));
    assert!(known, "{host} is let in");
    let is_page = origin.as_ref().is_some_and(|origin| origin.eq_ignore_ascii_case(PAGE));
    if let Some(site) = site {
        assert!(is_page || matches!(site.as_str(), "same-origin" | "none"), "{site} is let in");
    }
    if let Some(origin) = origin.filter(|_| !is_page) {
        let own = ["http://", "https://"]
            .iter()
            .any(|scheme| origin.eq_ignore_ascii_case(&format!("{scheme}{host}")));
        assert!(own, "{origin} is let in at {host}");
    }
}
