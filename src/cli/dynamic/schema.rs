//! What is known of a service: its endpoints, their fields and types. It is kept on disk for completion, so every
//! type here is serialisable. Where it comes from is the business of `descriptors` and `values`.

use crate::names::loose;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// The doc comments of the handlers.
    #[serde(default)]
    pub(crate) handlers: BTreeMap<String, String>,
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
    /// The fields of a request, as far as they were wanted.
    #[serde(default)]
    pub(crate) fields: Vec<Field>,
    /// Whether nobody has said what its fields are.
    #[serde(default)]
    pub(crate) is_unknown: bool,
    /// Why the registry cannot use the descriptors that would tell, empty where nothing is known of that.
    #[serde(default)]
    pub(crate) refused: String,
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
    /// The other members of its oneof: of all of them only one can be set.
    #[serde(default)]
    pub(crate) excludes: Vec<String>,
    /// Whether its author advises against it.
    #[serde(default)]
    pub(crate) deprecated: bool,
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
    /// A message.
    Message {
        /// The name without its package.
        name: String,
        /// Its fields, if they were wanted.
        fields: Vec<Field>,
        /// The name of its first field, empty if it has none.
        #[serde(default)]
        first: String,
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

/// The part of a schema that a line needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The endpoint whose fields are needed; none for no fields.
    pub(super) endpoint: Option<String>,
    /// How many levels of fields are listed.
    pub(super) levels: usize,
    /// The names of the flags that were typed, folded: the fields on the way to them are needed too.
    pub(super) typed: Vec<String>,
    /// Whether doc comments are needed.
    pub(super) comments: bool,
}

impl Wanted {
    /// Whether the fields of this endpoint are.
    pub(super) fn is_for(&self, endpoint: &str) -> bool {
        self.endpoint.as_deref() == Some(endpoint)
    }

    /// Whether any fields are.
    pub(super) fn has_fields(&self) -> bool {
        self.endpoint.is_some()
    }

    /// Whether a field below this place was typed.
    pub(super) fn is_typed_below(&self, place: &str) -> bool {
        !place.is_empty()
            && self.typed.iter().any(|typed| typed.len() > place.len() && typed.starts_with(place))
    }

    /// Whether the level below this depth is listed.
    pub(super) fn shows_below(&self, depth: usize) -> bool {
        depth < self.levels
    }
}

impl Service {
    /// Drops the endpoints that are not registered, such as those of an imported file.
    pub(crate) fn only(mut self, registered: &[impl AsRef<str>]) -> Self {
        self.endpoints.retain(|endpoint| registered.iter().any(|name| name.as_ref() == endpoint.name));
        let Self { endpoints, handlers, .. } = &mut self;
        handlers.retain(|handler, _| endpoints.iter().any(|endpoint| endpoint.handler() == handler));
        self
    }

    /// Whether `handler` is the one named like the service, or its only one: its methods need no handler on the
    /// command line.
    pub(super) fn owns(&self, handler: &str) -> bool {
        let last = self.name.rsplit('.').next().unwrap_or_default();
        handler.is_empty()
            || loose(handler) == loose(last)
            || (!self.endpoints.is_empty()
                && self.endpoints.iter().all(|endpoint| endpoint.handler() == handler))
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
    /// Whether it is a message without fields, such as `google.protobuf.Empty`.
    pub(super) fn is_empty_message(&self) -> bool {
        matches!(self, Self::Message { first, .. } if first.is_empty())
    }

    /// Whether a value may be a JSON object, so that a comma in it separates nothing.
    pub(super) fn is_structured(&self) -> bool {
        matches!(self, Self::Message { .. } | Self::Map { .. } | Self::Unknown(_))
    }
}
