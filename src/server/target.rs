//! What a gRPC path asks for, and in which form its messages are written.

use http::{HeaderMap, header::CONTENT_TYPE};
use micro_sdk::{Error, Result};

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
    /// 400 for a path without a service, 501 for one that is no method.
    pub(super) fn parse(path: &str) -> Result<Self> {
        let malformed = || Error::not_implemented(format!("malformed method name: {path:?}"));
        let (first, method) =
            path.strip_prefix('/').and_then(|path| path.split_once('/')).ok_or_else(malformed)?;
        if method.is_empty() || method.contains(['/', '.']) {
            return Err(malformed());
        }
        let Some((service, handler)) = first.rsplit_once('.').filter(|(service, _)| !service.is_empty())
        else {
            return Err(Error::bad_request("service name is blank").with_id("go.micro.proxy"));
        };
        if handler.is_empty() {
            return Err(malformed());
        }
        Ok(Self { service: service.to_owned(), endpoint: format!("{handler}.{method}") })
    }

    /// The path again, perhaps with another spelling of the method.
    pub(super) fn path(&self) -> String {
        let (handler, method) = self.endpoint.split_once('.').unwrap_or((&self.endpoint, ""));
        format!("/{}.{handler}/{method}", self.service)
    }
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
                Err(Error::internal(format!("Unsupported Content-Type: {plain}")).with_id("go.micro.server"))
            }
            _ => {
                let what = if plain.is_empty() {
                    "requests without a content type".to_owned()
                } else {
                    format!("`{plain}`")
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
