//! What is noted of logins, refusals, and changes of accounts, rules and keys: kept in a log of its
//! own, with a bound, for the administrators of each namespace.
//!
//! Repetition does not fill it: of what is the same within a minute the first is
//! noted at once and the rest is counted.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use micro_sdk::{
    Context, Result, Sender,
    proto::auth::{AuditRecord, AuditRequest},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Auth, Caller, namespace};
use crate::{
    backend::{self, Log},
    tasks::Tasks,
};

/// The log of the backend.
const LOG: &str = "audit";
/// How many records are kept, of all namespaces together.
const KEPT: u64 = 100_000;
/// How many are cut off at once when there are more.
const CUT: u64 = 1_000;
/// How many different logins are told apart within a minute, and how many different calls: one kind hides
/// nothing of the other.
const DIFFERENT: usize = 256;
/// How many notes may wait to be written; more are counted as lost.
const WAITING: usize = 1_024;
/// How long equal things are counted before they are noted again.
const PERIOD: Duration = Duration::from_mins(1);
/// How many records are answered at most.
const MOST_ANSWERED: u64 = 10_000;
/// How many are answered where the request names no number.
const USUALLY_ANSWERED: u64 = 100;
/// Bytes of a text that are kept; clients choose some of them.
const TEXT: usize = 512;

/// Something that was done, or refused.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(super) struct Note {
    /// `login`, `call`, or a change such as `account.delete`.
    action: String,
    granted: bool,
    account: String,
    issuer: String,
    peer: String,
    /// Whose administrators may read it.
    namespace: String,
    /// An account, a rule, an endpoint.
    subject: String,
    detail: String,
}

impl Note {
    /// Notes what `caller` did, or was refused, in a namespace.
    pub(super) fn new(caller: &Caller, namespace: &str, action: &str, granted: bool, subject: &str) -> Self {
        let account = caller.account.as_deref();
        Self {
            action: action.to_owned(),
            granted,
            account: account.map(|account| shortened(&account.id)).unwrap_or_default(),
            issuer: account.map(|account| shortened(&account.issuer)).unwrap_or_default(),
            peer: caller.peer(),
            namespace: shortened(namespace),
            subject: shortened(subject),
            detail: String::new(),
        }
    }

    pub(super) fn because(self, detail: &str) -> Self {
        Self { detail: shortened(detail), ..self }
    }

    /// What everybody can do as often as they like.
    fn may_flood(&self) -> bool {
        matches!(self.action.as_str(), "login" | "call")
    }
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// A note as it is kept.
#[derive(Deserialize, Serialize)]
struct Stored {
    #[serde(flatten)]
    note: Note,
    count: u64,
}

enum Job {
    Write(Stored),
    /// Answered when all before it is written.
    Flush(oneshot::Sender<()>),
}

/// What was noted of late: how often each, and how many were too many to be told apart.
#[derive(Default)]
struct Counts {
    same: HashMap<Note, u64>,
    others: u64,
    lost: u64,
}

/// The notes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Audit {
    log: Arc<dyn Log>,
    counts: Arc<Mutex<Counts>>,
    jobs: mpsc::Sender<Job>,
    /// Rung when something was written.
    written: watch::Receiver<()>,
    tasks: Tasks,
}

impl Audit {
    /// Writes what is noted until the tasks stop, and then what is left.
    pub(super) fn open(log: Arc<dyn Log>, background: &Tasks) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let (ring, written) = watch::channel(());
        let audit = Self { log, counts: Arc::default(), jobs, written, tasks: background.clone() };
        let writer = Writer { log: audit.log.clone(), counts: audit.counts.clone(), ring };
        let stop = background.token().clone();
        background.spawn(async move { writer.run(waiting, stop).await });
        audit
    }

    /// Notes something; never waits.
    pub(super) fn note(&self, note: Note) {
        if note.may_flood() {
            let mut counts = self.counts();
            if let Some(count) = counts.same.get_mut(&note) {
                *count += 1;
                return;
            }
            if counts.same.keys().filter(|known| known.action == note.action).count() >= DIFFERENT {
                counts.others += 1;
                return;
            }
            counts.same.insert(note.clone(), 0);
        }
        let Note { action, granted, account, issuer, peer, namespace, subject, detail } = &note;
        tracing::info!(action, granted, account, issuer, peer, namespace, subject, detail, "audit");
        if self.jobs.try_send(Job::Write(Stored { note, count: 1 })).is_err() {
            self.counts().lost += 1;
        }
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the last `count` records that concern a namespace, oldest first, and with `follow` those
    /// that come until the other side has gone.
    async fn send(
        &self,
        namespace: Option<&str>,
        count: u64,
        follow: bool,
        replies: &Sender<AuditRecord>,
    ) -> Result<()> {
        let mut written = self.written.clone();
        let (done, flushed) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            // Not answered if the server stops: what is written is sent all the same.
            drop(flushed.await);
        }
        written.mark_unchanged();
        let (last, mut next) = self.last(namespace, count).await?;
        for record in last {
            replies.send(record).await?;
        }
        if !follow {
            return Ok(());
        }
        loop {
            if !matches!(self.tasks.until_streams_end(written.changed()).await, Some(Ok(()))) {
                return Ok(());
            }
            loop {
                let from = next.max(self.log.bounds(LOG).await?.first);
                let page = self.log.read(LOG, from, backend::MAX_PAGE).await?;
                let Some(end) = page.last() else { break };
                next = end.offset + 1;
                for record in page.iter().filter_map(|record| shown(record, namespace)) {
                    replies.send(record).await?;
                }
            }
        }
    }

    /// The last records of a namespace, and the offset that comes after them.
    async fn last(&self, namespace: Option<&str>, count: u64) -> Result<(Vec<AuditRecord>, u64)> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let bounds = self.log.bounds(LOG).await?;
        let mut found = Vec::new();
        let mut end = bounds.next;
        while end > bounds.first && found.len() < count {
            let start = end.saturating_sub(backend::MAX_PAGE as u64).max(bounds.first);
            let mut part = Vec::new();
            let mut from = start;
            while from < end {
                let page =
                    self.log.read(LOG, from, usize::try_from(end - from).unwrap_or(usize::MAX)).await?;
                let Some(last) = page.last() else { break };
                from = last.offset + 1;
                part.extend(page.iter().filter_map(|record| shown(record, namespace)));
            }
            part.append(&mut found);
            found = part;
            end = start;
        }
        let surplus = found.len().saturating_sub(count);
        Ok((found.split_off(surplus), bounds.next))
    }
}

/// A record as it is told, if it concerns a namespace.
fn shown(record: &backend::Record, namespace: Option<&str>) -> Option<AuditRecord> {
    let Stored { note, count } = serde_json::from_slice(&record.value).ok()?;
    if namespace.is_some_and(|namespace| namespace != note.namespace) {
        return None;
    }
    let time = record.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Some(AuditRecord {
        timestamp: i64::try_from(time).unwrap_or(i64::MAX),
        action: note.action,
        granted: note.granted,
        account: note.account,
        issuer: note.issuer,
        subject: note.subject,
        peer: note.peer,
        detail: note.detail,
        count,
    })
}

struct Writer {
    log: Arc<dyn Log>,
    counts: Arc<Mutex<Counts>>,
    ring: watch::Sender<()>,
}

impl Writer {
    async fn run(self, mut waiting: mpsc::Receiver<Job>, stop: tokio_util::sync::CancellationToken) {
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        period.tick().await;
        let mut jobs = Vec::new();
        loop {
            tokio::select! {
                count = waiting.recv_many(&mut jobs, WAITING) => if count == 0 { return },
                _ = period.tick() => self.write(self.counted()).await,
                () = stop.cancelled() => {
                    waiting.close();
                    while waiting.recv_many(&mut jobs, WAITING).await > 0 {}
                    self.work(&mut jobs).await;
                    return self.write(self.counted()).await;
                }
            }
            self.work(&mut jobs).await;
        }
    }

    async fn work(&self, jobs: &mut Vec<Job>) {
        let (mut notes, mut flushed) = (Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            match job {
                Job::Write(stored) => notes.push(stored),
                Job::Flush(done) => flushed.push(done),
            }
        }
        self.write(notes).await;
        for done in flushed {
            // The caller may have gone.
            let _ = done.send(());
        }
    }

    /// What was repeated since this was last asked.
    fn counted(&self) -> Vec<Stored> {
        let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        let other = |detail: &str, count| Stored {
            note: Note::new(&Caller::default(), crate::services::PLATFORM, "call", false, "").because(detail),
            count,
        };
        let mut stored: Vec<_> =
            counts.same.into_iter().map(|(note, count)| Stored { note, count }).collect();
        stored.push(other("too many different ones to tell apart", counts.others));
        stored.push(other("came faster than they could be written", counts.lost));
        stored.retain(|stored| stored.count > 0);
        stored
    }

    async fn write(&self, notes: Vec<Stored>) {
        if notes.is_empty() {
            return;
        }
        let records =
            notes.iter().filter_map(|note| serde_json::to_vec(note).ok()).map(Bytes::from).collect();
        if let Err(error) = self.append(records).await {
            tracing::error!(%error, count = notes.len(), "the audit log cannot be written");
        }
        self.ring.send_replace(());
    }

    async fn append(&self, records: Vec<Bytes>) -> Result<(), backend::Error> {
        let next = self.log.append(LOG, records).await?;
        let first = self.log.bounds(LOG).await?.first;
        if next.saturating_sub(first) > KEPT + CUT {
            self.log.trim(LOG, next - KEPT).await?;
        }
        Ok(())
    }
}

impl Auth {
    /// Answers a request for the records of a namespace; `*` means every one, for administrators of
    /// the platform.
    pub(super) async fn send_audit(
        &self,
        cx: &Context,
        request: &AuditRequest,
        replies: Sender<AuditRecord>,
    ) -> Result<()> {
        let caller = Caller::of(cx);
        let of = match &request.options {
            Some(options) if options.namespace == "*" => None,
            options => Some(namespace(options.as_ref())?),
        };
        caller.may_administer(of.unwrap_or(crate::services::PLATFORM))?;
        let count = if request.count == 0 { USUALLY_ANSWERED } else { request.count.min(MOST_ANSWERED) };
        self.0.audit.send(of, count, request.follow, &replies).await
    }

    /// Notes that a call was refused.
    pub(crate) fn note_refusal(&self, caller: &Caller, namespace: &str, endpoint: &str, detail: &str) {
        self.0.audit.note(Note::new(caller, namespace, "call", false, endpoint).because(detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn audit() -> (Audit, Tasks) {
        let tasks = Tasks::default();
        (Audit::open(backend::open("memory:").await.unwrap(), &tasks), tasks)
    }

    fn refused(namespace: &str, subject: &str) -> Note {
        Note::new(&Caller::default(), namespace, "call", false, subject)
    }

    /// Subjects and counts of the last records.
    async fn last(audit: &Audit, namespace: Option<&str>, count: u64) -> Vec<(String, u64)> {
        let (done, flushed) = oneshot::channel();
        if audit.jobs.send(Job::Flush(done)).await.is_ok() {
            flushed.await.unwrap();
        }
        let (records, _) = audit.last(namespace, count).await.unwrap();
        records.into_iter().map(|record| (record.subject, record.count)).collect()
    }

    /// Databases have notes in this form: they are read for ever, and written so.
    #[test]
    fn the_stored_form_stays() {
        let form = r#"{"action":"login","granted":false,"account":"jane","issuer":"shop","peer":"127.0.0.1","namespace":"shop","subject":"x","detail":"","count":3}"#;
        let stored: Stored = serde_json::from_str(form).unwrap();
        assert_eq!(serde_json::to_string(&stored).unwrap(), form);
    }

    #[tokio::test]
    async fn each_namespace_has_its_own_notes_and_the_last_are_told_in_order() {
        let (audit, _tasks) = audit().await;
        for number in 0..5 {
            audit.note(refused("shop", &format!("s{number}")));
            audit.note(refused("away", &format!("a{number}")));
        }
        let one = |name: &str| (name.to_owned(), 1);
        assert_eq!(last(&audit, Some("shop"), 3).await, [one("s2"), one("s3"), one("s4")]);
        assert_eq!(last(&audit, Some("other"), 3).await, []);
        assert_eq!(last(&audit, None, 2).await, [one("s4"), one("a4")]);
    }

    #[tokio::test]
    async fn what_is_repeated_is_noted_once_and_counted() {
        let (audit, tasks) = audit().await;
        for _ in 0..100_000 {
            audit.note(refused("shop", "same"));
        }
        // Changes are told apart though they look the same.
        for _ in 0..2 {
            audit.note(Note::new(&Caller::default(), "shop", "rule.create", true, "r"));
        }
        let one = |name: &str| (name.to_owned(), 1);
        assert_eq!(last(&audit, Some("shop"), 9).await, [one("same"), one("r"), one("r")]);
        assert!(tasks.stop(Duration::from_mins(1)).await);
        assert_eq!(last(&audit, Some("shop"), 9).await.last(), Some(&("same".to_owned(), 99_999)));
    }

    #[tokio::test]
    async fn trying_everything_fills_no_disk() {
        let (audit, tasks) = audit().await;
        for number in 0..10_000 {
            audit.note(refused("shop", &format!("{number}{}", "x".repeat(5_000))));
        }
        audit.note(Note::new(&Caller::default(), "shop", "login", false, "jane"));
        assert!(tasks.stop(Duration::from_mins(1)).await);
        let kept = last(&audit, Some("shop"), 100_000).await;
        assert_eq!(kept.len(), DIFFERENT + 1);
        assert_eq!(kept.last().map(|(subject, _)| subject.as_str()), Some("jane"), "a guess is not hidden");
        let kept = &kept[..DIFFERENT];
        assert!(kept.iter().all(|(subject, _)| subject.len() == TEXT));
        let rest: u64 = last(&audit, Some("micro"), 9).await.iter().map(|(_, count)| count).sum();
        assert_eq!(rest, 10_000 - DIFFERENT as u64);
    }

    #[tokio::test]
    async fn old_notes_are_cut_off() {
        let (audit, _tasks) = audit().await;
        let writer =
            Writer { log: audit.log.clone(), counts: audit.counts.clone(), ring: watch::channel(()).0 };
        let record = Bytes::from(serde_json::to_vec(&Stored { note: refused("n", "s"), count: 1 }).unwrap());
        for _ in 0..(KEPT + 3 * CUT) / CUT {
            writer.append(vec![record.clone(); CUT as usize]).await.unwrap();
        }
        let bounds = audit.log.bounds(LOG).await.unwrap();
        assert_eq!(bounds.next, KEPT + 3 * CUT);
        assert!((KEPT..=KEPT + CUT).contains(&(bounds.next - bounds.first)), "{bounds:?}");
    }
}
