//! Which calls are allowed: the rules of each namespace, held in memory behind an index, so that a
//! decision costs no look at the database and hardly more for ten thousand rules than for one.
//!
//! The evaluation is that of Micro v4: of the rules that name the resource, by falling priority,
//! the first that has something to say to the caller decides; if none has, the call is refused.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod set;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use micro_sdk::{
    Error, Result,
    proto::auth::{Account, Rule},
};

use crate::{
    backend::{self, Commit, Kv},
    services::{encode, every},
};

pub(super) use set::Subject;
use set::{ANY, DEFAULT, Set, Stored};

const TABLE: &str = "auth";
/// The most rules of one namespace.
const MAX_RULES: usize = 100_000;
/// The most bytes of their texts.
const MAX_BYTES: usize = 16 << 20;

/// The rules of every namespace. One that has none has the default rule.
pub(super) struct Rules {
    kv: Arc<dyn Kv>,
    sets: RwLock<HashMap<String, Set>>,
    fallback: Set,
    /// Changes are made one after the other, so that what is in memory follows what is stored.
    changing: tokio::sync::Mutex<()>,
}

fn key(namespace: &str, id: &str) -> String {
    format!("rules/{namespace}/{id}")
}

impl Rules {
    /// Reads the stored rules.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) async fn open(kv: Arc<dyn Kv>) -> Result<Self> {
        let mut namespaces: HashMap<String, Vec<Stored>> = HashMap::new();
        for entry in every(&*kv, TABLE, "rules/").await? {
            let text = String::from_utf8_lossy(&entry.key).into_owned();
            let namespace = text.split('/').nth(1).unwrap_or_default().to_owned();
            namespaces.entry(namespace).or_default().push(decode(&entry.value)?);
        }
        let sets = namespaces.into_iter().map(|(name, rules)| (name, Set::new(rules))).collect();
        let fallback = Set::new([Stored::default_rule()]);
        Ok(Self { kv, sets: RwLock::new(sets), fallback, changing: tokio::sync::Mutex::default() })
    }

    /// Whether a caller may do this in a namespace: what no rule grants is refused.
    pub(super) fn allow(&self, account: Option<&Account>, subject: Subject<'_>, namespace: &str) -> bool {
        let types = [ANY, subject.r#type];
        self.with(namespace, |set| set.decide(&types, account, subject, namespace)).unwrap_or(false)
    }

    /// As [`Rules::allow`], for any spelling of the endpoint.
    pub(super) fn may_allow(&self, account: Option<&Account>, subject: Subject<'_>, namespace: &str) -> bool {
        let types = [ANY, subject.r#type];
        self.with(namespace, |set| {
            let mut spellings = set.spellings(subject.endpoint);
            spellings.any(|endpoint| {
                let subject = Subject { endpoint, ..subject };
                set.decide(&types, account, subject, namespace).unwrap_or(false)
            })
        })
    }

    /// What the rules say that name this type of thing; nothing if none does. A rule for every
    /// type, such as the default rule, does not open what is kept for a namespace.
    pub(super) fn say(&self, account: &Account, subject: Subject<'_>, namespace: &str) -> Option<bool> {
        let types = [subject.r#type];
        self.with(namespace, |set| set.decide(&types, Some(account), subject, namespace))
    }

    /// A name below that of the subject about which the rules refuse the caller something.
    pub(super) fn refused_below(
        &self,
        account: &Account,
        subject: Subject<'_>,
        namespace: &str,
    ) -> Option<String> {
        self.with(namespace, |set| set.refused_below(account, subject, namespace).map(str::to_owned))
    }

    fn with<T>(&self, namespace: &str, look: impl FnOnce(&Set) -> T) -> T {
        let sets = self.sets.read().unwrap_or_else(PoisonError::into_inner);
        look(sets.get(namespace).unwrap_or(&self.fallback))
    }

    /// Whether the namespace has rules of its own.
    fn is_stored(&self, namespace: &str) -> bool {
        self.sets.read().unwrap_or_else(PoisonError::into_inner).contains_key(namespace)
    }

    fn change(&self, namespace: &str, change: impl FnOnce(&mut Set)) {
        let mut sets = self.sets.write().unwrap_or_else(PoisonError::into_inner);
        change(sets.entry(namespace.to_owned()).or_insert_with(|| Set::new([Stored::default_rule()])));
    }

    /// The rules of a namespace, in the order in which they are asked.
    pub(super) fn list(&self, namespace: &str) -> Vec<Rule> {
        let rules = self.with(namespace, Set::list);
        rules.iter().map(|rule| rule.rule()).collect()
    }

    /// Adds a rule. The first one stands beside the default rule: adding one shuts nobody out.
    ///
    /// # Errors
    /// 400 for a rule that lacks something, or an id that is taken.
    pub(super) async fn create(&self, namespace: &str, rule: Rule) -> Result<()> {
        let rule = Stored::of(rule)?;
        let _alone = self.changing.lock().await;
        let (known, count, bytes) =
            self.with(namespace, |set| (set.contains(&rule.id), set.len(), set.bytes()));
        let taken = || Error::bad_request(format!("a rule with the id {} exists already", rule.id));
        if known {
            return Err(taken());
        }
        if count >= MAX_RULES || bytes + rule.bytes() > MAX_BYTES {
            let text = format!("the rules of a namespace are at most {MAX_RULES} and {MAX_BYTES} bytes");
            return Err(Error::new(507, text));
        }
        let mut commit = Commit::new().require_absent(TABLE, key(namespace, &rule.id)).put(
            TABLE,
            key(namespace, &rule.id),
            encode(&rule)?,
        );
        if !self.is_stored(namespace) {
            commit = commit.put(TABLE, key(namespace, DEFAULT), encode(&Stored::default_rule())?);
        }
        match self.kv.commit(commit).await {
            Ok(_) => {}
            Err(backend::Error::Conflict { .. }) => return Err(taken()),
            Err(error) => return Err(error.into()),
        }
        self.change(namespace, |set| set.insert(rule));
        Ok(())
    }

    /// Deletes a rule; one that is not there is no error, as in Micro v4. Whether it was there.
    ///
    /// # Errors
    /// 400 for the last rule, without which every call would be refused.
    pub(super) async fn delete(&self, namespace: &str, id: &str) -> Result<bool> {
        let _alone = self.changing.lock().await;
        let (known, count) = self.with(namespace, |set| (set.contains(id), set.len()));
        if !known {
            return Ok(false);
        }
        if count == 1 {
            return Err(Error::bad_request(format!(
                "{id} is the last rule of namespace {namespace}: without it every call would be refused; add another first"
            )));
        }
        self.kv.commit(Commit::new().delete(TABLE, key(namespace, id))).await?;
        self.change(namespace, |set| set.remove(id));
        Ok(true)
    }
}

fn decode(value: &[u8]) -> Result<Stored> {
    serde_json::from_slice(value).map_err(|e| Error::internal(format!("a stored rule is damaged: {e}")))
}

#[cfg(test)]
mod tests {
    use micro_sdk::proto::auth::{Access, Resource as Named};

    use super::*;

    const CALL: Subject<'_> =
        Subject { r#type: "service", name: "foo", separator: None, endpoint: "Foo.Bar" };

    fn rule(id: &str, name: &str, access: Access) -> Rule {
        let resource = Named { r#type: ANY.into(), name: name.into(), endpoint: ANY.into() };
        Rule {
            id: id.into(),
            scope: "*".into(),
            resource: Some(resource),
            access: access.into(),
            priority: 1,
        }
    }

    async fn rules() -> Rules {
        Rules::open(backend::open("memory:").await.unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_first_rule_shuts_nobody_out_and_the_last_one_stays() {
        let rules = rules().await;
        assert!(rules.allow(None, CALL, "shop"));
        assert_eq!(rules.list("shop")[0].id, "default");
        let first = rule("first", "foo", Access::Denied);
        rules.create("shop", first.clone()).await.unwrap();
        assert!(rules.allow(None, CALL, "shop"));
        assert_eq!(rules.create("shop", first.clone()).await.unwrap_err().code, 400);
        assert!(rules.delete("shop", "default").await.unwrap());
        assert!(!rules.allow(None, CALL, "shop"));
        assert!(!rules.delete("shop", "default").await.unwrap());
        assert_eq!(rules.delete("shop", "first").await.unwrap_err().code, 400);
        // Another namespace does not notice.
        assert!(rules.allow(None, CALL, "micro"));
        let again = Rules::open(rules.kv.clone()).await.unwrap();
        assert_eq!(again.list("shop"), rules.list("shop"));
    }

    #[tokio::test]
    async fn a_rule_that_lacks_something_is_refused_with_what_it_is() {
        let rules = rules().await;
        let whole = rule("a", ANY, Access::Granted);
        for (broken, what) in [
            (Rule { id: String::new(), ..whole.clone() }, "id"),
            (Rule { access: 0, ..whole.clone() }, "access"),
            (Rule { access: 9, ..whole.clone() }, "access"),
            (Rule { resource: None, ..whole.clone() }, "resource"),
            (Rule { resource: Some(Named::default()), ..whole.clone() }, "type"),
        ] {
            let error = rules.create("micro", broken).await.unwrap_err();
            assert!(error.code == 400 && error.detail.contains(what), "{error:?}");
        }
    }
}
