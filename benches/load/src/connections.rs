//! Connections of HTTP/1.1 with one request each, one after the other or all open at once.

use std::{
    io::{self, Read as _, Write as _},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::LocalSet,
};

use crate::calls::ticks;

/// How many connections are being opened at a time, where all are kept.
const AT_ONCE: usize = 64;
/// The most of an answer that is read; those to the requests here have less.
const ANSWER: usize = 4 << 10;

/// Makes connections for so many seconds, so many at a time, and closes each after its answer.
pub(crate) fn rate(address: &str, at_once: usize, time: Duration, pid: u32) -> Result<Value> {
    alone(async {
        let before = ticks(pid)?;
        let begun = Instant::now();
        let made = together(at_once, address, |address| async move {
            let mut made = 0;
            while begun.elapsed() < time {
                drop(asked(&address, true).await?);
                made += 1;
            }
            Ok(made)
        });
        let requests: usize = made.await?.iter().sum();
        let seconds = begun.elapsed().as_secs_f64();
        Ok(json!({ "requests": requests, "seconds": seconds, "ticks": ticks(pid)? - before }))
    })
}

/// Opens so many connections or a few more, prints how long it took until each had its answer, and keeps them until
/// standard input ends.
pub(crate) fn hold(address: &str, count: usize) -> Result<()> {
    alone(async {
        let begun = Instant::now();
        let opened = together(AT_ONCE, address, |address| async move {
            let mut opened = Vec::new();
            for _ in 0..count.div_ceil(AT_ONCE) {
                opened.push(asked(&address, false).await?);
            }
            Ok(opened)
        });
        let opened = opened.await?;
        writeln!(io::stdout(), "{}", json!({ "seconds": begun.elapsed().as_secs_f64() }))?;
        io::stdout().flush()?;
        io::stdin().read_to_end(&mut Vec::new())?;
        drop(opened);
        Ok(())
    })
}

fn alone<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, work)
}

/// Does the same so many times at once.
async fn together<T: 'static, F: Future<Output = Result<T>> + 'static>(
    count: usize,
    address: &str,
    work: impl Fn(Rc<str>) -> F,
) -> Result<Vec<T>> {
    let address: Rc<str> = address.into();
    let tasks: Vec<_> = (0..count).map(|_| tokio::task::spawn_local(work(address.clone()))).collect();
    let mut done = Vec::with_capacity(count);
    for task in tasks {
        done.push(task.await??);
    }
    Ok(done)
}

/// A new connection whose request was answered.
async fn asked(address: &str, last: bool) -> Result<TcpStream> {
    let mut stream =
        TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    let close = if last { "connection: close\r\n" } else { "" };
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\n{close}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let (mut answer, mut piece) = (Vec::new(), [0; ANSWER]);
    while !(answer.starts_with(b"HTTP/1.1 ") && answer.windows(4).any(|end| end == b"\r\n\r\n")) {
        let read = stream.read(&mut piece).await?;
        ensure!(
            read > 0 && answer.len() < ANSWER,
            "no answer to a request: {}",
            String::from_utf8_lossy(&answer)
        );
        answer.extend_from_slice(&piece[..read]);
    }
    Ok(stream)
}
