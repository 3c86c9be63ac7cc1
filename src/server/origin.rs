//! Requests that a browser sends on behalf of a page of another origin are refused at every door,
//! whatever the method. A name that is rebound to this machine shows in `Host` (421), a foreign
//! page in `Origin` or `Sec-Fetch-Site` (403).

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, Method, Request, Uri, Version,
    header::{HOST, ORIGIN, REFERER},
    uri::Authority,
};
use micro_sdk::{Error, Result};

use super::travel;
use crate::names;

/// Where a browser says the page behind a request is from (Fetch Metadata).
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The host names this server answers to, and the origins of web pages that may call it, beyond this
/// machine's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct BrowserPolicy {
    /// Names this server answers to, beside `localhost` and IP addresses.
    pub(crate) hosts: Vec<String>,
    /// Origins of web pages that may call, such as `https://app.example.com`.
    pub(crate) origins: Vec<String>,
}

impl BrowserPolicy {
    /// Lets a request in, or not.
    ///
    /// # Errors
    /// 400 for a request that does not name its host clearly, 421 for a foreign name, 403 for a
    /// foreign page.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<()> {
        self.judge(request).map_err(|error| error.with_id("micro.server"))
    }

    fn judge<B>(&self, request: &Request<B>) -> Result<()> {
        let headers = request.headers();
        travel::check_once(headers, &[HOST, ORIGIN, SITE, REFERER])?;
        let host = host_of(request)?;
        if !host.as_ref().is_none_or(|host| self.knows(host.host())) {
            let name = names::shown(host.as_ref().map_or("", Authority::host));
            return Err(Error::new(
                421,
                format!(
                    "this server does not answer to the name `{name}`; start it with --allow-host {name} if it should"
                ),
            ));
        }
        let host = host.as_ref().map_or("", Authority::as_str);
        let welcome = self.origin(headers).is_some();
        if !welcome && headers.get(SITE).is_some_and(|site| site != "same-origin" && site != "none") {
            return Err(Error::forbidden("a web page of another site or port may not call this server"));
        }
        match headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or_default()) {
            Some(origin) if !welcome && !is_own(origin, host) => Err(foreign(origin)),
            // Of a picture or a link a browser sends no origin, and to a name that it does not trust no site.
            None if request.method() == Method::GET => match page(headers) {
                Some(page) if !self.is_welcome(&page) && !is_own(&page, host) => Err(foreign(&page)),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn is_welcome(&self, origin: &str) -> bool {
        self.origins.iter().any(|welcome| welcome.eq_ignore_ascii_case(origin))
    }

    /// The configured origin a request comes from.
    pub(super) fn origin<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let origin = headers.get(ORIGIN)?.to_str().ok()?;
        self.is_welcome(origin).then_some(origin)
    }

    fn knows(&self, name: &str) -> bool {
        let literal = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        literal
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
    }
}

/// The origin of the page that a browser names as the one a request comes from; empty where that cannot be
/// read.
fn page(headers: &HeaderMap) -> Option<String> {
    let page = headers.get(REFERER)?.to_str().ok().and_then(|page| page.parse::<Uri>().ok());
    let origin = |page: &Uri| Some(format!("{}://{}", page.scheme()?, page.authority()?));
    Some(page.as_ref().and_then(origin).unwrap_or_default())
}

fn foreign(origin: &str) -> Error {
    let origin = names::shown(origin);
    Error::forbidden(format!(
        "web pages of {origin} may not call this server; start it with --allow-origin {origin} if they should"
    ))
}

/// What the request calls this server; none for one of HTTP/1.0, which may leave that out.
///
/// # Errors
/// 400 where it has to be there (RFC 9112, section 3.2), cannot be read or is contradictory, 421 where it
/// is empty.
fn host_of<B>(request: &Request<B>) -> Result<Option<Authority>> {
    let header = request.headers().get(HOST).map(|host| host.to_str().unwrap_or(" "));
    if let Some(authority) = request.uri().authority() {
        // A service is told of the header, and another program on the way might read it too.
        if header.is_some_and(|host| !host.eq_ignore_ascii_case(authority.as_str())) {
            return Err(Error::bad_request("the Host header and the authority of the request differ"));
        }
        return plain(authority.clone()).map(Some);
    }
    match header {
        None if request.version() < Version::HTTP_11 => Ok(None),
        None => Err(Error::bad_request("the request has no Host header")),
        Some("") => Err(Error::new(421, "the Host header of the request is empty")),
        Some(host) => {
            let unreadable = |_| Error::bad_request("the Host header of the request cannot be read");
            plain(host.parse().map_err(unreadable)?).map(Some)
        }
    }
}

/// A host with nothing but a port.
///
/// # Errors
/// 400 for one with user information, or a port that is none.
fn plain(host: Authority) -> Result<Authority> {
    let port = host.as_str().strip_prefix(host.host());
    let is_port = |port: &str| port.is_empty() || port == ":" || host.port_u16().is_some();
    if port.is_some_and(is_port) {
        return Ok(host);
    }
    Err(Error::bad_request("the host of the request is not a name or an address with a port"))
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
        let welcome =
            BrowserPolicy { hosts: vec!["micro.test".into()], origins: vec!["https://app.test".into()] };
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
        for host in ["evil.test", "evil.test:8080", "localhost.evil.test", "", "127.0.0.1.evil.test"] {
            assert_eq!(code(&[("host", host)]), 421, "{host}");
        }
    }

    #[test]
    fn whom_a_request_means_is_said_once_and_readably() {
        let local = ("host", "localhost");
        for headers in [
            vec![],
            vec![("host", "a b")],
            vec![local, local],
            vec![local, ("host", "evil.test")],
            vec![local, ("origin", "http://localhost"), ("origin", "http://localhost")],
            vec![local, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(code(&headers), 400, "{headers:?}");
        }
        let check = |request: http::request::Builder| {
            BrowserPolicy::default().check(&request.body(()).unwrap()).map_or_else(|e| e.code, |()| 200)
        };
        assert_eq!(check(Request::get("/").version(Version::HTTP_10)), 200);
        let rebound = Request::get("/").version(Version::HTTP_10).header("host", "evil.test");
        assert_eq!(check(rebound), 421);
        let two = |host| Request::get("http://localhost:80/").version(Version::HTTP_2).header("host", host);
        assert_eq!((check(two("localhost:80")), check(two("localhost"))), (200, 400));
    }

    #[test]
    fn a_host_is_a_name_and_a_port_and_said_once() {
        for host in ["localhost:99999", "localhost:x", "user@localhost", "a:b@localhost:80"] {
            assert_eq!(code(&[("host", host)]), 400, "{host}");
        }
        assert_eq!((code(&[("host", "localhost:")]), code(&[("host", "[::1]")])), (200, 200));
        let absolute = |host: &str| {
            let request = Request::get("http://localhost:80/").header("host", host).body(()).unwrap();
            BrowserPolicy::default().check(&request).map_or_else(|error| error.code, |()| 200)
        };
        assert_eq!((absolute("localhost:80"), absolute("evil.test")), (200, 400));
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
            (vec![local, ("sec-fetch-site", "same-site")], 403),
            (vec![local, ("sec-fetch-site", "anything")], 403),
            (vec![local, ("sec-fetch-site", "same-origin")], 200),
            (vec![local, ("sec-fetch-site", "same-site"), ("origin", "https://app.test")], 200),
            (vec![local, ("sec-fetch-site", "same-origin"), ("origin", "https://evil.test")], 403),
            (vec![local, ("sec-fetch-site", "cross-site"), ("origin", "https://app.test")], 200),
            (vec![local, ("sec-fetch-site", "none")], 200),
            (vec![local, ("referer", "http://evil.test/page")], 403),
            (vec![local, ("referer", "http://localhost:3000/")], 403),
            (vec![local, ("referer", "nonsense")], 403),
            (vec![local, ("referer", "http://localhost:8080/page?x")], 200),
            (vec![local, ("referer", "https://app.test/page")], 200),
            (vec![local, ("referer", "https://app.test/"), ("referer", "https://evil.test/")], 400),
        ] {
            assert_eq!(code(&headers), expected, "{headers:?}");
        }
    }
}
