//! The messages of the contracts as another program would have them: written from the .proto files,
//! with no code of ours.

use std::collections::HashMap;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CallRequest {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CallResponse {
    #[prost(string, tag = "1")]
    pub(crate) msg: String,
}

/// `StreamRequest`, `StreamResponse`, `Ping` and `Pong` have the same form.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Number {
    #[prost(int64, tag = "1")]
    pub(crate) value: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TokenRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) secret: String,
    #[prost(int64, tag = "4")]
    pub(crate) token_expiry: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TokenResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) token: Option<Token>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Token {
    #[prost(string, tag = "1")]
    pub(crate) access_token: String,
    #[prost(string, tag = "2")]
    pub(crate) refresh_token: String,
    #[prost(int64, tag = "3")]
    pub(crate) created: i64,
    #[prost(int64, tag = "4")]
    pub(crate) expiry: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct InspectRequest {
    #[prost(string, tag = "1")]
    pub(crate) token: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct InspectResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) account: Option<Account>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Account {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) kind: String,
    #[prost(map = "string, string", tag = "4")]
    pub(crate) metadata: HashMap<String, String>,
    #[prost(string, repeated, tag = "5")]
    pub(crate) scopes: Vec<String>,
    #[prost(string, tag = "6")]
    pub(crate) issuer: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchRequest {
    #[prost(string, tag = "1")]
    pub(crate) service: String,
}

/// `Result` of the registry.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Change {
    #[prost(string, tag = "1")]
    pub(crate) action: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) service: Option<Service>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ListResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) services: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Service {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(message, repeated, tag = "4")]
    pub(crate) endpoints: Vec<Endpoint>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Endpoint {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}
