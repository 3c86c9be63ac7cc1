//! A setting that is always at hand: watched in the background, the last good value kept.

use std::{fmt, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use tokio::{sync::watch, time::sleep};

use crate::{Config, Kind, config::Watch, log};

/// Before a setting is asked for again that was refused.
const AGAIN: Duration = Duration::from_secs(2);

/// The value at a path of the configuration, as it is now. Cheap to clone; made by
/// [`Service::setting`] or [`Config::setting`].
///
/// ```no_run
/// use micro_sdk::{Service, serde::Deserialize, tokio};
///
/// #[derive(Clone, Debug, Deserialize)]
/// #[serde(crate = "micro_sdk::serde", default)]
/// struct Limits {
///     most: u32,
/// }
///
/// impl Default for Limits {
///     fn default() -> Self {
///         Self { most: 10 }
///     }
/// }
///
/// #[tokio::main]
/// async fn main() -> micro_sdk::Result<()> {
///     let service = Service::new("catalog");
///     let limits = service.setting::<Limits>("catalog.limits");
///     // `limits` becomes a field of the handler, which asks it in each call:
///     println!("at most {}", limits.get().most);
///     service.run().await
/// }
/// ```
///
/// Where nothing is set, the value is the default of `T`. A value that is no `T` is told on standard error, with the
/// field that is wrong and without the value, and the last good one stays.
///
/// [`Service::setting`]: crate::Service::setting
pub struct Setting<T> {
    value: watch::Receiver<Arc<T>>,
    known: watch::Receiver<bool>,
}

impl<T: DeserializeOwned + Default + Send + Sync + 'static> Setting<T> {
    /// Begins to follow a path. Ends when the last clone is dropped.
    pub(crate) fn follow(config: &Config, path: &str) -> Self {
        let (sender, value) = watch::channel(Arc::new(T::default()));
        let (asked, known) = watch::channel(false);
        let (watch, path) = (config.watch::<T>(path), path.to_owned());
        tokio::spawn(async move {
            let dropped = sender.clone();
            tokio::select! {
                () = dropped.closed() => {}
                () = keep(watch, &path, &sender, &asked) => {}
            }
        });
        Self { value, known }
    }
}

impl<T> Setting<T> {
    /// The value now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        self.value.borrow().clone()
    }

    /// Waits for another value than was seen by this clone, and returns it.
    pub async fn changed(&mut self) -> Arc<T> {
        if self.value.changed().await.is_err() {
            // What follows the path has ended with the runtime it ran in.
            std::future::pending::<()>().await;
        }
        self.value.borrow_and_update().clone()
    }

    /// Waits until the server has said what is set. [`Service::run`](crate::Service::run) waits so for the
    /// settings that were made with [`Service::setting`](crate::Service::setting).
    pub async fn known(&self) {
        wait(self.known.clone()).await;
    }

    pub(crate) fn knowing(&self) -> watch::Receiver<bool> {
        self.known.clone()
    }
}

/// Waits until a setting is known.
pub(crate) async fn wait(mut known: watch::Receiver<bool>) {
    // One that is followed no more stays as it is.
    drop(known.wait_for(|known| *known).await);
}

/// Waits for settings, and says so when it takes long.
pub(crate) async fn told(all: impl Future<Output = ()>, service: &str) {
    let mut all = std::pin::pin!(all);
    tokio::select! {
        () = &mut all => return,
        () = sleep(AGAIN) => {}
    }
    log::line(format_args!("{service} waits for its settings: no micro server has told them yet"));
    all.await;
}

async fn keep<T: DeserializeOwned + Default>(
    mut watch: Watch<T>,
    path: &str,
    value: &watch::Sender<Arc<T>>,
    known: &watch::Sender<bool>,
) {
    let mut told = String::new();
    loop {
        let (wrong, is_refused) = match watch.next_value().await {
            Ok(Ok(next)) => {
                told.clear();
                value.send_replace(Arc::new(next.unwrap_or_default()));
                known.send_replace(true);
                continue;
            }
            Ok(Err(wrong)) => (wrong.to_string(), false),
            // A server that is overloaded, or has a fault, may answer soon; who may not is told so for good.
            Err(refused) => {
                let for_good = [Kind::Unauthorized, Kind::Forbidden, Kind::BadRequest, Kind::NotImplemented];
                if for_good.contains(&refused.kind()) {
                    known.send_replace(true);
                }
                (refused.to_string(), true)
            }
        };
        if wrong != told {
            log::line(format_args!("the setting `{path}` stays as it was: {wrong}"));
            told = wrong;
        }
        if is_refused {
            sleep(AGAIN).await;
        } else {
            known.send_replace(true);
        }
    }
}

impl<T> Clone for Setting<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), known: self.known.clone() }
    }
}

impl<T> fmt::Debug for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value may be a secret.
        f.write_str("Setting")
    }
}
