//! Starts of a command, one after the other: from the request to start it to its end.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::quantile;

pub(crate) fn run(count: usize, words: &[&str]) -> Result<Value> {
    let (mut times, mut all) = (Vec::with_capacity(count), None);
    for _ in 0..count {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let status = command.status().with_context(|| format!("cannot start {}", words[0]))?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        let first = *all.get_or_insert(status);
        ensure!(status == first, "{} ended with {first}, and then with {status}", words.join(" "));
    }
    times.sort_by(f64::total_cmp);
    let status = all.and_then(|status| status.code());
    Ok(
        json!({ "starts": count, "status": status, "p50_ms": quantile(&times, 0.5), "p99_ms": quantile(&times, 0.99) }),
    )
}
