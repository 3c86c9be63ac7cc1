//! Web pages are strangers: what a browser sends on behalf of a page elsewhere is refused at every
//! door. A name that is rebound to this machine shows in `Host` (421), a foreign page in `Origin`
//! or `Sec-Fetch-Site` (403).

use std::net::IpAddr;

use http::{
    HeaderMap, Request,
    header::{HOST, ORIGIN},
    uri::Authority,
};
use micro_sdk::{Error, Result};

/// The names and pages that are welcome beyond this machine's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Welcome {
    /// Names this server answers to, beside `localhost` and IP addresses.
    pub(crate) hosts: Vec<String>,
    /// Origins of web pages that may call, such as `https://app.example.com`.
    pub(crate) origins: Vec<String>,
}

impl Welcome {
    /// Lets a request in, or not.
    ///
    /// # Errors
    /// 421 for a foreign name, 403 for a foreign page.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<()> {
        self.judge(request).map_err(|error| error.with_id("micro.server"))
    }

    fn judge<B>(&self, request: &Request<B>) -> Result<()> {
        let headers = request.headers();
        let host = request
            .uri()
            .authority()
            .map(Authority::as_str)
            .or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok()))
            .unwrap_or_default();
        let authority: Option<Authority> = host.parse().ok();
        let name = authority.as_ref().map_or("", Authority::host);
        if !self.knows(name) {
            return Err(Error::new(
                421,
                format!(
                    "this server does not answer to the name `{name}`; start it with --allow-host {name} if it should"
                ),
            ));
        }
        if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
            && self.origin(headers).is_none()
        {
            return Err(Error::forbidden("a web page of another site may not call this server"));
        }
        match headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or_default()) {
            Some(origin) if self.origin(headers).is_none() && !is_own(origin, host) => {
                Err(Error::forbidden(format!(
                    "web pages of {origin} may not call this server; start it with --allow-origin {origin} if they should"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The configured origin a request comes from.
    pub(super) fn origin<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let origin = headers.get(ORIGIN)?.to_str().ok()?;
        self.origins.iter().any(|welcome| welcome.eq_ignore_ascii_case(origin)).then_some(origin)
    }

    fn knows(&self, name: &str) -> bool {
        let literal = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        literal
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
    }
}

/// Whether a page was served from the very address it calls.
fn is_own(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(headers: &[(&str, &str)]) -> i32 {
        let welcome = Welcome { hosts: vec!["micro.test".into()], origins: vec!["https://app.test".into()] };
        let builder =
            headers.iter().fold(Request::get("/"), |builder, (name, value)| builder.header(*name, *value));
        welcome.check(&builder.body(()).unwrap()).map_or_else(|e| e.code, |()| 200)
    }

    #[test]
    fn own_names_and_addresses_are_answered() {
        for host in
            ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "10.0.0.7", "micro.test:8080"]
        {
            assert_eq!(code(&[("host", host)]), 200, "{host}");
        }
    }

    #[test]
    fn a_rebound_name_is_misdirected() {
        for host in ["evil.test", "evil.test:8080", "localhost.evil.test", "", "127.0.0.1.evil.test", "a b"] {
            assert_eq!(code(&[("host", host)]), 421, "{host}");
        }
    }

    #[test]
    fn foreign_pages_are_forbidden_and_configured_ones_welcome() {
        let local = ("host", "localhost:8080");
        for (headers, expected) in [
            (vec![local, ("origin", "https://evil.test")], 403),
            (vec![local, ("origin", "null")], 403),
            (vec![local, ("origin", "http://localhost:3000")], 403),
            (vec![local, ("origin", "http://localhost:8080")], 200),
            (vec![local, ("origin", "https://app.test")], 200),
            (vec![local, ("sec-fetch-site", "cross-site")], 403),
            (vec![local, ("sec-fetch-site", "cross-site"), ("origin", "https://app.test")], 200),
            (vec![local, ("sec-fetch-site", "none")], 200),
        ] {
            assert_eq!(code(&headers), expected, "{headers:?}");
        }
    }
}
