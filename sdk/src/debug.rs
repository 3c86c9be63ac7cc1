//! What every service answers about itself: `Debug.Health` and `Debug.Stats`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use micro_proto::debug::{HealthRequest, HealthResponse, StatsRequest, StatsResponse};

use crate::{Context, Result, blocks};

/// The state of this process.
pub(crate) struct Debug {
    started: (SystemTime, Instant),
    counts: Box<dyn Fn() -> (u64, u64) + Send + Sync>,
}

impl Debug {
    pub(crate) fn new(counts: impl Fn() -> (u64, u64) + Send + Sync + 'static) -> Self {
        Self { started: (SystemTime::now(), Instant::now()), counts: Box::new(counts) }
    }
}

impl blocks::debug::Debug for Debug {
    async fn health(&self, _: Context, _: HealthRequest) -> Result<HealthResponse> {
        Ok(HealthResponse { status: "ok".to_owned() })
    }

    async fn stats(&self, _: Context, _: StatsRequest) -> Result<StatsResponse> {
        let (requests, errors) = (self.counts)();
        Ok(StatsResponse {
            timestamp: seconds(SystemTime::now()),
            started: seconds(self.started.0),
            uptime: self.started.1.elapsed().as_secs(),
            memory: status_field("VmRSS:").map_or(0, |kib| kib * 1024),
            threads: status_field("Threads:").unwrap_or(0),
            gc: 0,
            requests,
            errors,
        })
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A number of `/proc/self/status`; none where there is no such file.
fn status_field(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}
