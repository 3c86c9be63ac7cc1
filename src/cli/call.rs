//! `micro call`: a call with its request as JSON.

use clap::Args;
use http::HeaderName;
use micro_sdk::{Address, Channel};
use serde_json::Value;

use super::{
    completion,
    context::{Connection, Context},
    discover,
    failure::{self, Failure, exit},
    invoke, pairs,
    ui::Ui,
};
use crate::{json, similar::similar};

/// Call an endpoint of a service with a JSON request.
///
/// For example: micro call helloworld Helloworld.Call '{"name": "Jane"}'
#[derive(Args)]
pub(super) struct Call {
    #[command(flatten)]
    request: Request,
}

/// What `call` and `stream` have in common.
#[derive(Args)]
pub(super) struct Request {
    /// The service.
    #[arg(add = completion::services())]
    pub(super) service: String,
    /// The endpoint, such as `Helloworld.Call`.
    #[arg(add = completion::endpoints())]
    endpoint: String,
    /// The request, a JSON object; nothing means an empty one.
    request: Vec<String>,
    /// A header of the call; may be repeated. The variable holds one a line.
    #[arg(
        long,
        value_name = "NAME=VALUE",
        env = "MICRO_METADATA",
        hide_env_values = true,
        value_delimiter = '\n'
    )]
    metadata: Vec<String>,
    /// Call the node at this address, `host:port` or `unix:/path`, past the server.
    #[arg(long, value_name = "ADDRESS", env = "MICRO_ADDRESS", hide_env_values = true)]
    address: Option<Address>,
    /// The same as `--timeout`.
    #[arg(long = "request_timeout", value_name = "DURATION", value_parser = crate::cli::duration, hide = true)]
    request_timeout: Option<std::time::Duration>,
}

impl Request {
    /// Checks the words, and connects.
    ///
    /// # Errors
    /// The words are no call, or the server cannot be reached.
    pub(super) async fn prepare(self, cx: &Context) -> anyhow::Result<Prepared> {
        let text = self.request.join(" ");
        let request = match text.trim() {
            "" => None,
            text => {
                let value = serde_json::from_str(text).map_err(|e| {
                    Failure::usage(format!("the request is not JSON: {}", json::fault(&e)))
                        .hint("quote it, such as '{\"name\": \"Jane\"}'")
                })?;
                Some(value)
            }
        };
        if self.endpoint.split('.').filter(|part| !part.is_empty()).count() != 2
            || self.endpoint.matches('.').count() != 1
        {
            return Err(Failure::usage(format!("`{}` is no endpoint", self.endpoint))
                .hint("an endpoint is `Handler.Method`, such as `Helloworld.Call`")
                .into());
        }
        let headers = self.headers(&cx.ui)?;
        // A node that is named is called past the server, which need not run.
        let (mut client, connection) = if let Some(address) = self.address {
            let client = micro_sdk::Client::new(Channel::new(address), &self.service);
            (client.with_retries(0).with_default_timeout(cx.timeout), None)
        } else {
            let connection = cx.connect().await?;
            (connection.service(&self.service, connection.namespace()), Some(connection))
        };
        if let Some(limit) = self.request_timeout {
            client = client.with_timeout(limit);
        }
        let limit = self.request_timeout.or(cx.limit);
        for (name, value) in headers {
            client = client.with_header(name.as_str(), &value);
        }
        Ok(Prepared { call: invoke::Call { client, endpoint: self.endpoint, limit }, request, connection })
    }

    fn headers(&self, ui: &Ui) -> anyhow::Result<Vec<(HeaderName, String)>> {
        self.metadata.iter().map(|pair| pairs::header("metadata", pair, ui)).collect()
    }
}

/// A call that can be made.
pub(super) struct Prepared {
    pub(super) call: invoke::Call,
    /// The request, if one was given.
    pub(super) request: Option<Value>,
    /// The way to the server; none for a call past it.
    pub(super) connection: Option<Connection>,
}

impl Call {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let (service, endpoint) = (self.request.service.clone(), self.request.endpoint.clone());
        let Prepared { call, request, connection } = self.request.prepare(cx).await?;
        if let Some(connection) = &connection {
            check(cx, connection, &service, &endpoint).await?;
        }
        call.unary(&request.unwrap_or_else(|| Value::Object(serde_json::Map::new())), cx).await
    }
}

/// Waits for a service that is on its way; none when the registry does not tell what it can be asked.
///
/// # Errors
/// It does not run, or is not there in time.
pub(super) async fn arrived(
    cx: &Context,
    connection: &Connection,
    service: &str,
) -> anyhow::Result<Option<discover::Found>> {
    match discover::find(cx, connection, service).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is::<Failure>() => Err(error),
        Err(error) if error.downcast_ref().is_some_and(failure::is_not_running) => Err(error),
        Err(_) => Ok(None),
    }
}

/// A streaming endpoint needs `micro stream`, and an unknown one may be misspelt; what is not known
/// here is left to the server to judge. A service that is on its way is waited for.
async fn check(cx: &Context, connection: &Connection, service: &str, endpoint: &str) -> anyhow::Result<()> {
    let Some(found) = arrived(cx, connection, service).await? else { return Ok(()) };
    let endpoints = found.schema.outline(false).endpoints;
    let Some(known) = endpoints.iter().find(|known| known.name == endpoint) else {
        let names = endpoints.iter().map(|known| known.name.as_str());
        return match similar(endpoint, names).first() {
            Some(near) => {
                Err(Failure::new(exit::NOT_FOUND, format!("service {service} has no endpoint {endpoint}"))
                    .hint(format!("did you mean `{near}`?"))
                    .into())
            }
            None => Ok(()),
        };
    };
    if known.request_stream || known.response_stream {
        return Err(Failure::usage(format!("{endpoint} of {service} is a stream"))
            .hint(format!("use `micro stream {service} {endpoint}`"))
            .into());
    }
    Ok(())
}
