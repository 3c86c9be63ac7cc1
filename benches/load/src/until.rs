//! Waits until a service answers with a certain text, as somebody does who has just changed it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::calls::{Line, Plan};

/// How long the answer may take to come.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) fn run(address: &str, service: &str, text: &str) -> Result<Value> {
    let plan = Plan::once(address, service);
    let call = plan.call()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = Instant::now();
    runtime.block_on(async {
        loop {
            let answer = async { Line::open(&plan).await?.remove(0).call(&call).await }.await;
            if answer.as_ref().is_ok_and(|bytes| String::from_utf8_lossy(bytes).contains(text)) {
                return Ok(json!({ "waited_ms": begun.elapsed().as_secs_f64() * 1e3 }));
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "waited {PATIENCE:?} for `{text}`; the last answer: {answer:?}"
            );
            tokio::time::sleep(PAUSE).await;
        }
    })
}
