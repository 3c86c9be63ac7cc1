//! What has happened of late, for those who follow it. All of them share one row, which is bounded
//! in number and in bytes: one who falls behind is told how much it has missed, instead of making
//! the others pay for what it does not read.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// How much is kept for those who follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) count: usize,
    /// As the one who adds something weighs it.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct Row<T> {
    /// The number of the first thing that is kept.
    first: u64,
    kept: VecDeque<(T, usize)>,
    bytes: usize,
}

impl<T> Row<T> {
    fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }
}

/// The row, at the side of who adds to it.
#[derive(Debug)]
pub(crate) struct Backlog<T> {
    limits: Limits,
    row: Arc<Mutex<Row<T>>>,
    changed: watch::Sender<()>,
}

/// Why a follower gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// So many things are gone; what is left comes next.
    Missed(u64),
    /// Nothing comes any more.
    Ended,
}

impl<T: Clone> Backlog<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        let row = Row { first: 0, kept: VecDeque::new(), bytes: 0 };
        Self { limits, row: Arc::new(Mutex::new(row)), changed: watch::Sender::new(()) }
    }

    /// Adds something that weighs so many bytes. What nobody follows is not kept.
    pub(crate) fn push(&self, thing: T, bytes: usize) {
        self.push_within(thing, bytes, self.limits);
    }

    /// The same, within other limits.
    pub(crate) fn push_within(&self, thing: T, bytes: usize, limits: Limits) {
        let mut row = lock(&self.row);
        row.kept.push_back((thing, bytes));
        row.bytes += bytes;
        let alone = !self.is_followed();
        while alone || row.kept.len() > limits.count || row.bytes > limits.bytes {
            let Some((_, bytes)) = row.kept.pop_front() else { break };
            row.first += 1;
            row.bytes -= bytes;
        }
        drop(row);
        self.changed.send_replace(());
    }

    /// Whether anybody follows.
    pub(crate) fn is_followed(&self) -> bool {
        self.changed.receiver_count() > 0
    }

    /// Follows what is added from now on.
    pub(crate) fn follow(&self) -> Follower<T> {
        let changed = self.changed.subscribe();
        let next = lock(&self.row).end();
        Follower { row: self.row.clone(), next, changed }
    }
}

/// The row, at the side of one who follows.
#[derive(Debug)]
pub(crate) struct Follower<T> {
    row: Arc<Mutex<Row<T>>>,
    next: u64,
    changed: watch::Receiver<()>,
}

impl<T: Clone> Follower<T> {
    /// Waits for the next thing.
    ///
    /// # Errors
    /// Something was missed, or nothing comes any more.
    pub(crate) async fn next(&mut self) -> Result<T, Lost> {
        loop {
            self.changed.mark_unchanged();
            if let Some(next) = self.try_next() {
                return next;
            }
            if self.changed.changed().await.is_err() {
                return self.try_next().unwrap_or(Err(Lost::Ended));
            }
        }
    }

    /// The next thing, if it is there.
    pub(crate) fn try_next(&mut self) -> Option<Result<T, Lost>> {
        let row = lock(&self.row);
        if self.next < row.first {
            let missed = row.first - self.next;
            self.next = row.first;
            return Some(Err(Lost::Missed(missed)));
        }
        let at = usize::try_from(self.next - row.first).unwrap_or(usize::MAX);
        let (thing, _) = row.kept.get(at)?;
        self.next += 1;
        Some(Ok(thing.clone()))
    }
}

fn lock<T>(row: &Mutex<Row<T>>) -> MutexGuard<'_, Row<T>> {
    row.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { count: 3, bytes: 100 };

    #[tokio::test]
    async fn each_follower_sees_all_from_where_it_began() {
        let backlog = Backlog::new(LIMITS);
        let mut early = backlog.follow();
        backlog.push(1, 1);
        let mut late = backlog.follow();
        backlog.push(2, 1);
        assert_eq!((early.next().await, early.next().await, late.next().await), (Ok(1), Ok(2), Ok(2)));
        assert_eq!(late.try_next(), None);
        backlog.push(3, 1);
        drop(backlog);
        assert_eq!((late.next().await, late.next().await), (Ok(3), Err(Lost::Ended)));
    }

    #[test]
    fn one_who_falls_behind_is_told_and_costs_no_more_than_the_limits() {
        let backlog = Backlog::new(LIMITS);
        let mut slow = backlog.follow();
        for number in 0..10 {
            backlog.push(number, 1);
        }
        assert_eq!((slow.try_next(), slow.try_next()), (Some(Err(Lost::Missed(7))), Some(Ok(7))));
        // Two of these are too heavy together, and one alone is.
        for (number, bytes, kept) in [(10, 60, 1), (11, 60, 1), (12, 101, 0)] {
            backlog.push(number, bytes);
            assert_eq!(lock(&backlog.row).kept.iter().filter(|(_, bytes)| *bytes > 1).count(), kept);
            assert!(lock(&backlog.row).bytes <= LIMITS.bytes);
        }
        assert_eq!(slow.try_next(), Some(Err(Lost::Missed(5))));
        assert_eq!(slow.try_next(), None);
    }

    #[test]
    fn what_nobody_follows_is_not_kept() {
        let backlog = Backlog::new(LIMITS);
        backlog.push(1, 1);
        assert_eq!(lock(&backlog.row).kept.len(), 0);
    }
}
