//! What a gRPC path asks for, and in which form its messages are written.

use std::borrow::Cow;

use http::{HeaderMap, header::CONTENT_TYPE};
use micro_sdk::{Error, Result};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::{names, services::auth::Resource};

/// What cannot stand in a path as it is.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'%')
    .add(b'/')
    .add(b'?')
    .add(b'#')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// `/<service>.<Handler>/<Method>`, taken apart (reference: Micro v4's proxy).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Everything before the last dot of the first segment; it may contain dots.
    pub(super) service: String,
    /// `Handler.Method`.
    pub(super) endpoint: String,
}

impl Target {
    /// Reads the path of a gRPC call.
    ///
    /// # Errors
    /// 400 for a path without a service, or with a name that has no canonical spelling; 501 for one
    /// that is no method.
    pub(super) fn parse(path: &str) -> Result<Self> {
        let malformed =
            || Error::not_implemented(format!("malformed method name: \"{}\"", names::shown(path)));
        let (first, method) =
            path.strip_prefix('/').and_then(|path| path.split_once('/')).ok_or_else(malformed)?;
        if method.is_empty() || method.contains(['/', '.']) {
            return Err(malformed());
        }
        let (first, method) = (decoded(first)?, decoded(method)?);
        let Some((service, handler)) = first.rsplit_once('.').filter(|(service, _)| !service.is_empty())
        else {
            return Err(Error::bad_request("service name is blank").with_id("go.micro.proxy"));
        };
        if handler.is_empty() {
            return Err(malformed());
        }
        Self::new(service.to_owned(), handler, &method)
    }

    /// The endpoint of a service by names that are not encoded any more. What rules are asked about
    /// and what a service is called with is the same, so names have one spelling.
    ///
    /// # Errors
    /// 400 for a handler or a method that is not made of letters, digits, `_` and `-`, and for a name
    /// of a service with what no such name has.
    pub(super) fn new(service: String, handler: &str, method: &str) -> Result<Self> {
        let is_word = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        };
        for name in [handler, method] {
            if !is_word(name) {
                let name = names::shown(name);
                return Err(Error::bad_request(format!("no handler or method can be called \"{name}\"")));
            }
        }
        if service.contains(|c: char| c.is_control() || c.is_whitespace()) {
            let service = names::shown(&service);
            return Err(Error::bad_request(format!("no service can be called \"{service}\"")));
        }
        Ok(Self { service, endpoint: [handler, ".", method].concat() })
    }

    /// It as what rules of a namespace are about.
    pub(super) fn in_namespace<'a>(&'a self, namespace: &'a str) -> Resource<'a> {
        Resource { namespace, service: &self.service, endpoint: &self.endpoint }
    }

    /// Whether this is the path of it, made of characters that are never encoded.
    pub(super) fn is_at(&self, path: &str) -> bool {
        let rest = path.strip_prefix('/').and_then(|rest| rest.strip_prefix(self.service.as_str()));
        let endpoint = rest.and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
        is_plain_path(path) && endpoint.split_once('/') == self.endpoint.split_once('.')
    }

    /// The path again, perhaps with another spelling of the method.
    pub(super) fn path(&self) -> String {
        let (handler, method) = self.endpoint.split_once('.').unwrap_or((&self.endpoint, ""));
        let mut path = String::with_capacity(self.service.len() + self.endpoint.len() + 2);
        for (before, name) in [("/", self.service.as_str()), (".", handler), ("/", method)] {
            path.push_str(before);
            path.extend(utf8_percent_encode(name, ENCODED));
        }
        path
    }
}

/// Whether a path has only `/` and characters that are never percent-encoded (RFC 3986, section 2.3).
pub(super) fn is_plain_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    path.starts_with('/') && path.bytes().all(is_plain)
}

/// A segment of a path without its percent-encoding; a `/` that was encoded is part of it.
///
/// # Errors
/// 400 for what is not text.
pub(super) fn decoded(segment: &str) -> Result<Cow<'_, str>> {
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| Error::bad_request("the path has percent-encoded bytes that are not UTF-8"))
}

/// How the messages of a call are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// `application/grpc`, `+proto`: protobuf.
    Protobuf,
    /// `+bytes`: the bytes of a message, as the sender has them.
    Bytes,
    /// `+json`.
    Json,
}

impl Wire {
    /// Reads the content type.
    ///
    /// # Errors
    /// 415 for what is not gRPC, 500 for an unknown form of it, as Micro v4 answers.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self> {
        let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let plain = text.split(';').next().unwrap_or_default().trim();
        match plain.strip_prefix("application/grpc") {
            Some("" | "+proto") => Ok(Self::Protobuf),
            Some("+json") => Ok(Self::Json),
            Some("+bytes") => Ok(Self::Bytes),
            Some(form) if form.starts_with('+') => {
                let plain = names::shown(plain);
                Err(Error::internal(format!("Unsupported Content-Type: {plain}")).with_id("go.micro.server"))
            }
            _ => {
                let what = if plain.is_empty() {
                    "requests without a content type".to_owned()
                } else {
                    format!("`{}`", names::shown(plain))
                };
                let text = format!("this door speaks gRPC, not {what}; the HTTP API has a port of its own");
                Err(Error::new(415, text).with_id("micro.server"))
            }
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/grpc",
            Self::Bytes => "application/grpc+bytes",
            Self::Json => "application/grpc+json",
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_service_is_everything_before_the_last_dot() {
        for (path, service, endpoint) in [
            ("/helloworld.Helloworld/Call", "helloworld", "Helloworld.Call"),
            ("/store.Store/Read", "store", "Store.Read"),
            ("/v1.foo-bar.Foo/Do", "v1.foo-bar", "Foo.Do"),
        ] {
            let target = Target::parse(path).unwrap();
            assert_eq!((target.service.as_str(), target.endpoint.as_str()), (service, endpoint));
            assert_eq!(target.path(), path);
        }
    }

    #[test]
    fn a_name_has_one_spelling() {
        for (path, canonical) in [
            ("/a.B/%43", "/a.B/C"),
            ("/a%2eB/C", "/a.B/C"),
            ("/%61.B/C", "/a.B/C"),
            ("/k%C3%A4se.B/C", "/k%C3%A4se.B/C"),
            ("/käse.B/C", "/k%C3%A4se.B/C"),
            ("/a%25.B/C", "/a%25.B/C"),
        ] {
            assert_eq!(Target::parse(path).unwrap().path(), canonical, "{path}");
        }
        for path in [
            "/a.B/C%20",
            "/a.B/%20C",
            "/a.B/C%2e",
            "/a.B/%2543",
            "/a.B%20/C",
            "/a%20.B/C",
            "/a.B/C%00",
            "/a.B/%ff",
            "/a.B/C%2fD",
            "/a.B/C%E2%80%8B",
            "/a.B/C;x",
            "/a.B/C%0a",
        ] {
            assert_eq!(Target::parse(path).unwrap_err().code, 400, "{path}");
        }
    }

    #[test]
    fn what_is_no_method_is_refused() {
        for (path, code) in [
            ("/Echo/Call", 400),
            ("/.Echo/Call", 400),
            ("/", 501),
            ("/a.B", 501),
            ("/a.B/", 501),
            ("/a./C", 501),
            ("/a.B/C/D", 501),
            ("/a.B/C.D", 501),
            ("", 501),
        ] {
            assert_eq!(Target::parse(path).unwrap_err().code, code, "{path}");
        }
    }

    #[test]
    fn a_path_stays_only_where_nothing_in_it_is_encoded() {
        let target =
            |service: &str, endpoint: &str| Target { service: service.into(), endpoint: endpoint.into() };
        for (service, path, same) in [
            ("shop", "/shop.A/B", true),
            ("v1.shop", "/v1.shop.A/B", true),
            ("shop", "/shop.A/C", false),
            ("shop", "/shop.A/B/", false),
            ("shop", "/shops.A/B", false),
            ("käse", "/käse.A/B", false),
            ("a|b", "/a|b.A/B", false),
            ("%zz", "/%zz.A/B", false),
        ] {
            assert_eq!(target(service, "A.B").is_at(path), same, "{path}");
        }
    }

    #[test]
    fn every_form_of_grpc_is_known() {
        let of = |text: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]);
            Wire::of(&headers).map_err(|e| e.code)
        };
        assert_eq!(of("application/grpc"), Ok(Wire::Protobuf));
        assert_eq!(of("application/grpc+proto; charset=utf-8"), Ok(Wire::Protobuf));
        assert_eq!(of("application/grpc+json"), Ok(Wire::Json));
        assert_eq!(of("application/grpc+bytes"), Ok(Wire::Bytes));
        assert_eq!(of("application/grpc+foo"), Err(500));
        assert_eq!(of("application/json"), Err(415));
        assert_eq!(of("application/grpcx"), Err(415));
    }
}
