//! Logins: the throttle, a place in the queue, the comparison, and a note of how it ended.

use std::time::Instant;

use micro_sdk::{Error, Result};

use super::{Auth, Caller, Note, Record, attempts::Attempt, place::Place, secret};

impl Auth {
    /// The stored account that these credentials prove. The lengths of the id and the secret were
    /// checked.
    ///
    /// # Errors
    /// 400 for wrong ones, 403 for those of a fresh server from elsewhere, 429 after too many wrong
    /// ones and where too many wait.
    pub(super) async fn log_in(
        &self,
        caller: &Caller,
        namespace: &str,
        id: &str,
        given: &str,
    ) -> Result<Record> {
        let record = self.0.accounts.find(namespace, id).await?;
        // Nobody guesses 256 random bits, so who has them need not wait.
        if let Some(record) = record.as_ref().filter(|record| secret::is_generated(given, &record.secret)) {
            return self.logged_in(caller, namespace, record.clone()).await;
        }
        let place = Place::of(caller).await;
        let mut attempt = Attempt { place, namespace, id, secret: given, known: false };
        attempt.known = self.0.accounts.knows(&attempt.pair()).await?;
        let allowed = || {
            let checked = if caller.owner { Ok(()) } else { self.0.attempts.check(attempt, Instant::now()) };
            checked.inspect_err(|_| {
                self.note_login(caller, namespace, id, false, "too many failed logins before it");
            })
        };
        // Who has to wait anyway takes no room in the queue.
        allowed()?;
        let turn = self.0.turns.take(place).await?;
        // Those before it in the queue may have failed. It keeps its turn until its own outcome is
        // known, so that a thousand at once are not all begun before the first of them has failed.
        allowed()?;
        let stored = record.as_ref().map(|record| record.secret.as_str());
        let (good, _turn) = secret::matches(turn, given.to_owned(), stored).await?;
        let Some(record) = record.filter(|_| good) else {
            self.0.attempts.failed(attempt, Instant::now());
            self.note_login(caller, namespace, id, false, "no such account, or another secret");
            let text = format!("no account {id} of namespace {namespace} has this secret");
            return Err(Error::bad_request(text));
        };
        let record = self.logged_in(caller, namespace, record).await?;
        self.0.attempts.succeeded(attempt);
        if !caller.owner && !attempt.known {
            self.0.accounts.remember(&attempt.pair()).await?;
        }
        Ok(record)
    }

    /// The account, if it may be used from there.
    async fn logged_in(&self, caller: &Caller, namespace: &str, record: Record) -> Result<Record> {
        if record.default_secret && !caller.is_of_our_user().await {
            self.note_login(caller, namespace, &record.id, false, "the first secret, from elsewhere");
            return Err(Error::forbidden(
                "the account of a fresh server can be used on its own machine and by the user who runs \
                 the server only, until its secret is changed: `micro user set password`",
            ));
        }
        self.note_login(caller, namespace, &record.id, true, "");
        Ok(record)
    }

    fn note_login(&self, caller: &Caller, namespace: &str, id: &str, granted: bool, why: &str) {
        self.0.audit.note(Note::new(caller, namespace, "login", granted, id).because(why));
    }
}
