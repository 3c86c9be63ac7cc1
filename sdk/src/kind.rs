//! What an error is about, for a caller that decides by it.

use std::fmt;

use crate::{Error, error::CODES};

/// What an error is about, as [`Error::kind`] tells it.
///
/// A `match` needs an arm for all others, since kinds may be added:
///
/// ```
/// use micro_sdk::{Error, Kind};
///
/// fn advice(error: &Error) -> &'static str {
///     match error.kind() {
///         Kind::NotFound => "there is no such product",
///         Kind::Unreachable | Kind::Unavailable | Kind::Deadline => "try again later",
///         _ => "something went wrong",
///     }
/// }
///
/// // What a service says is missing, and a service that is missing, are two kinds.
/// let no_product = Error::not_found("no product `7`").with_id("catalog.Catalog.Get");
/// assert_eq!(advice(&no_product), "there is no such product");
/// let no_service = Error::not_found("service catalog: route not found").with_id("micro.network");
/// assert_eq!(advice(&no_service), "try again later");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// 400 and other codes from 400 to 499: the request is wrong, and always will be.
    BadRequest,
    /// 401: the caller has to log in first.
    Unauthorized,
    /// 403: the caller is known and may not.
    Forbidden,
    /// 404, 410: the service says that the named thing does not exist.
    NotFound,
    /// 408, 504: the deadline passed. The call may have been carried out.
    Deadline,
    /// 409: the named thing exists already, or was changed by somebody else.
    Conflict,
    /// 412: a precondition of the request does not hold.
    Precondition,
    /// 413: a message is larger than the limit.
    TooLarge,
    /// 429, 507: too many of a kind, or no room left; some must end first.
    TooMany,
    /// 499: the other side gave the call up.
    Cancelled,
    /// 500 and what has no other kind: the service failed.
    Internal,
    /// 405, 501: the service has no such method.
    NotImplemented,
    /// 502, 503: the service says that it cannot answer now.
    Unavailable,
    /// The call did not get to a service, or its answer did not get back: no such service, none of its
    /// nodes can be reached, the connection broke. In the last case the call may have been carried out.
    Unreachable,
}

impl fmt::Display for Kind {
    /// The kind in words, such as "not found".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadRequest => "bad request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not found",
            Self::Deadline => "deadline passed",
            Self::Conflict => "conflict",
            Self::Precondition => "precondition failed",
            Self::TooLarge => "too large",
            Self::TooMany => "too many",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
            Self::NotImplemented => "not implemented",
            Self::Unavailable => "unavailable",
            Self::Unreachable => "unreachable",
        })
    }
}

/// Who an error comes from, as [`Error::origin`] tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The service that was called, a building block of the server among them.
    Service,
    /// The server between: it found no service, let the caller do nothing, or lost the connection.
    Server,
    /// This process: it could not reach the server, gave up waiting, or could not read the answer.
    Client,
}

/// The ids of errors that arise in the server on the way to a service. Of those, two are the original's.
const SERVER: [&str; 8] = [
    "auth",
    "micro.api",
    "micro.network",
    "micro.registry",
    "micro.runtime",
    "micro.server",
    "go.micro.proxy",
    "go.micro.server",
];

/// The id of errors that arise in this process on the way to a service.
pub(crate) const CLIENT: &str = "micro.client";

impl Error {
    /// Who the error comes from. The building block `auth` counts as the server, since it is the one that
    /// refuses calls.
    ///
    /// Meaningful for what a call failed with; an error that a handler makes has no origin yet, and
    /// counts as the client's.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self.id.as_str() {
            "" | CLIENT => Origin::Client,
            id if SERVER.contains(&id) => Origin::Server,
            _ => Origin::Service,
        }
    }

    /// What the error is about: by its code, and for codes that both sides use also by who says so.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let row = CODES.iter().find(|row| row.code == self.code);
        let kind = row.map_or_else(
            || if (400..500).contains(&self.code) { Kind::BadRequest } else { Kind::Internal },
            |row| row.kind,
        );
        match (kind, self.origin()) {
            // An error that was just made is what its constructor says.
            (kind, _) if self.id.is_empty() => kind,
            (Kind::NotFound | Kind::Unavailable, Origin::Server | Origin::Client)
            | (Kind::Internal, Origin::Client) => Kind::Unreachable,
            (kind, _) => kind,
        }
    }
}

impl Error {
    /// The error as a handler passes it on that met it on its own way to another service: the caller of
    /// the handler did reach a service, and is not told that something of theirs is missing.
    pub(crate) fn passed_on(self) -> Self {
        if self.id.is_empty() || self.origin() == Origin::Service {
            return self;
        }
        let code = match self.kind() {
            Kind::Unreachable => 503,
            // It is the account of this service that may not, not the caller's.
            Kind::Unauthorized | Kind::Forbidden | Kind::BadRequest => 500,
            _ => self.code,
        };
        let error = Self::new(code, self.detail);
        Self { retry_after: self.retry_after, ..error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_one_kind_and_the_way_to_a_service_another() {
        for (code, kind) in [
            (400, Kind::BadRequest),
            (422, Kind::BadRequest),
            (418, Kind::BadRequest),
            (404, Kind::NotFound),
            (410, Kind::NotFound),
            (504, Kind::Deadline),
            (503, Kind::Unavailable),
            (599, Kind::Internal),
            (0, Kind::Internal),
        ] {
            assert_eq!(Error::new(code, "x").kind(), kind, "made: {code}");
            let said = Error::new(code, "x").with_id("catalog.Catalog.Get");
            assert_eq!((said.kind(), said.origin()), (kind, Origin::Service), "said by a service: {code}");
        }
        for id in ["micro.network", "micro.runtime", CLIENT] {
            for code in [404, 502, 503] {
                assert_eq!(Error::new(code, "x").with_id(id).kind(), Kind::Unreachable, "{id}: {code}");
            }
            assert_eq!(Error::timeout("x").with_id(id).kind(), Kind::Deadline);
        }
        assert_eq!(Error::forbidden("x").with_id("auth").origin(), Origin::Server);
        assert_eq!(Error::forbidden("x").with_id("auth.Accounts.List").origin(), Origin::Service);
    }
}
