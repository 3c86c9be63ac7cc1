//! Who may compute with argon2 next. It costs 19 MiB and 20 ms on purpose, so few compute at once;
//! the others wait in a queue that has an end, and the places they come from take turns, so that
//! many from one place delay those from another by one computation at most.
//!
//! The memory is used again by who comes next, and given back when nobody has come for a while.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use argon2::Block;
use micro_sdk::{Error, Result};
use tokio::sync::{Notify, oneshot};

use super::place::Place;
use crate::tasks::Tasks;

/// How many compute at once.
const AT_ONCE: usize = 2;
/// How many of one place wait.
const WAITING_OF_PLACE: usize = 32;
/// How many wait in all.
const WAITING_IN_ALL: usize = 256;
/// After this long without a computation the memory is given back.
const KEPT: Duration = Duration::from_secs(10);
/// When who finds the queue full should try again, in seconds: by then it has been served.
const RETRY: u32 = 3;

type Waiter = oneshot::Sender<Result<Turn>>;

#[derive(Default)]
struct Line {
    computing: usize,
    /// The places, the next one first, and who waits there.
    places: VecDeque<(Place, VecDeque<Waiter>)>,
    memory: Vec<Vec<Block>>,
    last: Option<Instant>,
}

impl Line {
    fn forget_gone(&mut self) {
        for (_, waiters) in &mut self.places {
            waiters.retain(|waiter| !waiter.is_closed());
        }
        self.places.retain(|(_, waiters)| !waiters.is_empty());
    }

    fn waiting(&self) -> usize {
        self.places.iter().map(|(_, waiters)| waiters.len()).sum()
    }

    fn next(&mut self) -> Option<Waiter> {
        let (place, mut waiters) = self.places.pop_front()?;
        let next = waiters.pop_front();
        if !waiters.is_empty() {
            self.places.push_back((place, waiters));
        }
        next
    }

    /// Lets one more wait; none if there is no room for it.
    fn wait(&mut self, place: Place) -> Option<oneshot::Receiver<Result<Turn>>> {
        self.forget_gone();
        let full = self.waiting() >= WAITING_IN_ALL;
        let own = self.places.iter().position(|(at, _)| *at == place);
        let here = own.map_or(0, |own| self.places[own].1.len());
        if here >= WAITING_OF_PLACE {
            return None;
        }
        if full {
            // Who has the most gives way to who has less.
            let (_, most) = self.places.iter_mut().max_by_key(|(_, waiters)| waiters.len())?;
            if most.len() <= here + 1 {
                return None;
            }
            // A caller that has gone needs no answer.
            drop(most.pop_back()?.send(Err(busy())));
        }
        let (waiter, turn) = oneshot::channel();
        match self.places.iter_mut().find(|(at, _)| *at == place) {
            Some((_, waiters)) => waiters.push_back(waiter),
            None => self.places.push_back((place, VecDeque::from([waiter]))),
        }
        Some(turn)
    }
}

fn busy() -> Error {
    Error::too_many(format!("too many logins are waiting: try again in {RETRY} s")).with_retry_after(RETRY)
}

/// The queue. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Turns {
    line: Arc<Mutex<Line>>,
    used: Arc<Notify>,
}

/// The right to compute, and the memory to do it in.
pub(super) struct Turn {
    turns: Turns,
    pub(super) memory: Vec<Block>,
}

impl Turns {
    /// Gives the memory back whenever nobody has computed for a while, until the tasks stop.
    pub(super) fn tidy(&self, background: &Tasks) {
        let (turns, token) = (self.clone(), background.token().clone());
        background.spawn(token.run_until_cancelled_owned(async move {
            loop {
                turns.used.notified().await;
                while let Some(left) = turns.give_back(Instant::now()) {
                    tokio::time::sleep(left).await;
                }
            }
        }));
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// 429 when too many wait.
    pub(super) async fn take(&self, place: Place) -> Result<Turn> {
        let waiting = {
            let mut line = self.line();
            if line.computing < AT_ONCE {
                line.computing += 1;
                let memory = line.memory.pop().unwrap_or_default();
                return Ok(Turn { turns: self.clone(), memory });
            }
            line.wait(place).ok_or_else(busy)?
        };
        waiting.await.map_err(|e| Error::internal(e.to_string())).flatten()
    }

    /// Gives back the memory that nobody has used of late; how long it is kept otherwise.
    fn give_back(&self, now: Instant) -> Option<Duration> {
        let mut line = self.line();
        if line.computing > 0 {
            return Some(KEPT);
        }
        let left = (line.last? + KEPT).saturating_duration_since(now);
        if !left.is_zero() {
            return Some(left);
        }
        line.memory = Vec::new();
        None
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let next = {
            let mut line = self.turns.line();
            line.last = Some(Instant::now());
            let next = std::iter::from_fn(|| line.next()).find(|waiter| !waiter.is_closed());
            if next.is_none() {
                line.computing -= 1;
                line.memory.push(memory);
                drop(line);
                self.turns.used.notify_one();
                return;
            }
            next
        };
        // Where the waiter goes at this moment, its turn is dropped with the message, and passed on.
        if let Some(next) = next {
            drop(next.send(Ok(Turn { turns: self.turns.clone(), memory })));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const CROWD: Place = Place::V4(1);
    const OTHER: Place = Place::V4(2);

    type Waiting = std::pin::Pin<Box<dyn Future<Output = Result<Turn>>>>;

    fn ask(turns: &Turns, place: Place) -> Waiting {
        let turns = turns.clone();
        let mut waiting: Waiting = Box::pin(async move { turns.take(place).await });
        // Its first step puts it into the queue.
        let first = waiting.as_mut().now_or_never();
        match first {
            Some(ended) => Box::pin(std::future::ready(ended)),
            None => waiting,
        }
    }

    fn code(waiting: &mut Waiting) -> Option<i32> {
        waiting.as_mut().now_or_never().map(|turn| turn.map_or_else(|error| error.code, |_| 200))
    }

    #[test]
    fn a_crowd_delays_others_by_one_turn() {
        let turns = Turns::default();
        let mut held: Vec<Turn> =
            (0..AT_ONCE).map(|_| ask(&turns, CROWD).now_or_never().unwrap().unwrap()).collect();
        let mut crowd: Vec<_> = (0..WAITING_OF_PLACE + 5).map(|_| ask(&turns, CROWD)).collect();
        let refused: Vec<_> = crowd.split_off(WAITING_OF_PLACE).iter_mut().map(code).collect();
        assert_eq!(refused, [Some(429); 5]);
        let mut other = ask(&turns, OTHER);
        // Each that ends lets the next one in: the first of the crowd, then the other.
        held.pop();
        let next = crowd.remove(0).now_or_never().unwrap().unwrap();
        assert_eq!(code(&mut other), None);
        drop(next);
        assert_eq!(code(&mut other), Some(200));
    }

    #[test]
    fn the_queue_has_an_end_and_who_has_least_gets_in() {
        let turns = Turns::default();
        let held: Vec<Waiting> = (0..AT_ONCE).map(|_| ask(&turns, CROWD)).collect();
        let mut waiting: Vec<_> = (0..WAITING_IN_ALL)
            .map(|number| ask(&turns, Place::V6((number / WAITING_OF_PLACE) as u64)))
            .collect();
        assert!(waiting.iter_mut().all(|waiting| code(waiting).is_none()));
        let mut late = ask(&turns, OTHER);
        assert_eq!(code(&mut late), None);
        assert_eq!(waiting.iter_mut().filter_map(code).collect::<Vec<_>>(), [429]);
        assert!(turns.line().waiting() <= WAITING_IN_ALL);
        // Who has gone takes no room, and is passed over.
        drop(waiting);
        drop(held);
        assert_eq!(code(&mut late), Some(200));
        assert_eq!(turns.line().waiting(), 0);
        drop(late);
        assert_eq!(turns.line().computing, 0);
    }

    #[test]
    fn memory_is_used_again_and_then_given_back() {
        let turns = Turns::default();
        let mut turn = ask(&turns, OTHER).now_or_never().unwrap().unwrap();
        turn.memory.resize(16, Block::new());
        assert_eq!(turns.give_back(Instant::now()), Some(KEPT));
        drop(turn);
        assert!(turns.give_back(Instant::now()).is_some());
        let again = ask(&turns, CROWD).now_or_never().unwrap().unwrap();
        assert_eq!(again.memory.len(), 16);
        drop(again);
        assert_eq!(turns.give_back(Instant::now() + KEPT), None);
        assert_eq!(turns.line().memory.capacity(), 0);
    }
}
