//! Waiting for a service that is on its way: one that starts with its server, is built, or comes back
//! after it ended.

use micro_sdk::{
    Error, ServiceState,
    blocks::{debug::DebugClient, runtime::RuntimeClient},
    proto::{
        debug::HealthRequest,
        runtime::{ReadOptions, ReadRequest},
    },
};
use tokio::time::timeout;

use super::{
    context::{Connection, Context},
    failure::{self, Failure, exit},
};

/// What became of a service that was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It can be asked for again.
    Arrived,
    /// Nobody knows it.
    Unknown,
}

/// Waits until a service is there, as long as a call may take; shows meanwhile what it does.
///
/// # Errors
/// It does not run, in the words of the server, or is not there in time.
pub(super) async fn of(
    cx: &Context,
    connection: &Connection,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Arrival> {
    let runtime: RuntimeClient = connection.block("runtime");
    let options =
        ReadOptions { service: name.to_owned(), namespace: namespace.to_owned(), ..ReadOptions::default() };
    let request = ReadRequest { options: Some(options) };
    let known = runtime.read(request.clone()).await.map(|answer| answer.services).unwrap_or_default();
    let mut state = String::new();
    if !known.is_empty() {
        let progress = cx.ui.progress();
        let over = async {
            let mut changes = runtime.watch(request).await?;
            while let Some(change) = changes.next().await? {
                let service = change.service.unwrap_or_default();
                let found = ServiceState::of(&service);
                let doing = service.metadata.get("progress").map(String::as_str);
                doing.unwrap_or(found.map_or("", ServiceState::as_str)).clone_into(&mut state);
                progress.message(format!("{name}: {state}"));
                if change.deleted || !found.is_some_and(ServiceState::is_coming) {
                    break;
                }
            }
            Ok::<_, Error>(())
        };
        match timeout(cx.timeout, over).await {
            Ok(ended) => ended?,
            Err(_) => return Err(late(cx, name, &state)),
        }
    }
    judged(connection, namespace, name).await
}

/// Lets the server say how a service is: no one else finds the words for it.
async fn judged(connection: &Connection, namespace: &str, name: &str) -> anyhow::Result<Arrival> {
    let client = DebugClient::new(connection.service(name, namespace));
    match client.health(HealthRequest {}).await {
        Err(error) if failure::is_not_registered(&error) => Ok(Arrival::Unknown),
        Err(error) if failure::is_not_running(&error) => Err(error.into()),
        // What it answers, if only that it has no such method, it answers.
        Ok(_) | Err(_) => Ok(Arrival::Arrived),
    }
}

fn late(cx: &Context, name: &str, state: &str) -> anyhow::Error {
    let waited = humantime::format_duration(cx.timeout);
    Failure::new(exit::TIMED_OUT, format!("{name} is not there after {waited}: it is {state}"))
        .hint(format!("see `micro status {name}`, or allow more time with `--timeout 5m`"))
        .into()
}
