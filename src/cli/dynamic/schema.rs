//! What is known of a service: its endpoints, their fields and types. It is kept on disk for completion, so every
//! type here is serialisable. Where it comes from is the business of `descriptors` and `values`.

use super::names;
use serde::{Deserialize, Serialize};

/// Messages nested deeper than this are given as JSON, not as flags of their own.
pub(super) const MAX_DEPTH: usize = 6;

/// A service as the command line sees it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Service {
    /// The name it is registered with, such as `helloworld`.
    pub(crate) name: String,
    /// Its version, empty when unknown.
    #[serde(default)]
    pub(crate) version: String,
    /// The doc comment of its own handler, empty when there is none.
    #[serde(default)]
    pub(crate) about: String,
    /// What can be called, without subscribers.
    pub(crate) endpoints: Vec<Endpoint>,
}

/// Something to call.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Endpoint {
    /// Handler and method, such as `Helloworld.PingPong`.
    pub(crate) name: String,
    /// Its doc comment, empty when there is none.
    #[serde(default)]
    pub(crate) about: String,
    /// Whether it takes any number of requests.
    #[serde(default)]
    pub(crate) request_stream: bool,
    /// Whether it gives any number of responses.
    #[serde(default)]
    pub(crate) response_stream: bool,
    /// The fields of a request; empty as well when the schema is unknown.
    #[serde(default)]
    pub(crate) fields: Vec<Field>,
}

/// A field of a message.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Field {
    /// The name in the `.proto` file, such as `user_email`.
    pub(crate) name: String,
    /// Its doc comment, empty when there is none.
    #[serde(default)]
    pub(crate) about: String,
    /// The type of the field, or of an element of a list.
    pub(crate) kind: Kind,
    /// Whether it is a list. A map is not.
    #[serde(default)]
    pub(crate) repeated: bool,
}

/// The type of a value. The `sint`, `fixed` and `sfixed` types of protobuf are those of the same range here.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// `bool`
    Bool,
    /// `int32`, `sint32`, `sfixed32`
    Int32,
    /// `int64`, `sint64`, `sfixed64`
    Int64,
    /// `uint32`, `fixed32`
    Uint32,
    /// `uint64`, `fixed64`
    Uint64,
    /// `float`
    Float,
    /// `double`
    Double,
    /// `string`
    String,
    /// `bytes`
    Bytes,
    /// An enum, with the names of its values in the order of the file.
    Enum {
        /// The name without its package.
        name: String,
        /// The names of the values.
        values: Vec<String>,
    },
    /// A message. Without fields it is empty, or too deep to be described.
    Message {
        /// The name without its package.
        name: String,
        /// Its fields.
        fields: Vec<Field>,
    },
    /// A map.
    Map {
        /// The type of the keys: an integer, `bool` or `string`.
        key: Box<Kind>,
        /// The type of the values.
        value: Box<Kind>,
    },
    /// A type of which only the name is known, or which has a JSON form of its own, such as a timestamp.
    Unknown(String),
}

impl Service {
    /// Drops the endpoints that are not registered, such as those of an imported file.
    pub(crate) fn only(mut self, registered: &[impl AsRef<str>]) -> Self {
        self.endpoints.retain(|endpoint| registered.iter().any(|name| name.as_ref() == endpoint.name));
        self
    }

    /// Whether `handler` is the one named like the service, whose methods need no handler on the command line.
    pub(super) fn owns(&self, handler: &str) -> bool {
        let last = self.name.rsplit('.').next().unwrap_or_default();
        handler.is_empty() || names::fold(handler) == names::fold(last)
    }
}

impl Endpoint {
    /// The part before the last dot, empty when there is no dot.
    pub(crate) fn handler(&self) -> &str {
        self.name.rsplit_once('.').map_or("", |(handler, _)| handler)
    }

    /// The part after the last dot.
    pub(crate) fn method(&self) -> &str {
        self.name.rsplit_once('.').map_or(&self.name, |(_, method)| method)
    }
}

impl Kind {
    /// Whether a value may be a JSON object, so that a comma in it separates nothing.
    pub(super) fn is_structured(&self) -> bool {
        matches!(self, Self::Message { .. } | Self::Map { .. } | Self::Unknown(_))
    }
}
