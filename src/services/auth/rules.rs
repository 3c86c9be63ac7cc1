//! Which calls are allowed: the rules of each namespace, held in memory behind an index, so that a
//! decision costs no look at the database and hardly more for ten thousand rules than for one.
//!
//! The evaluation is that of Micro v4: of the rules that name the resource, by falling priority,
//! the first that has something to say to the caller decides; if none has, the call is refused.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use micro_sdk::{
    Error, Result,
    proto::auth::{Access, Account, Resource as Named, Rule},
};
use serde::{Deserialize, Serialize};

use crate::{
    backend::{self, Commit, Kv},
    services::every,
};

const TABLE: &str = "auth";
/// The id of the rule that every namespace begins with.
const DEFAULT: &str = "default";
/// The most rules of one namespace.
const MAX_RULES: usize = 100_000;
/// Stands for anything.
const ANY: &str = "*";
/// The scope of any account of any namespace.
const ANYWHERE: &str = "+";

/// A rule as it is stored, with the names of Micro v4.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Stored {
    id: String,
    scope: String,
    r#type: String,
    name: String,
    endpoint: String,
    granted: bool,
    priority: i32,
}

impl Stored {
    /// Lets everybody make every call.
    fn default_rule() -> Self {
        let any = || ANY.to_owned();
        Self {
            id: DEFAULT.to_owned(),
            scope: String::new(),
            r#type: any(),
            name: any(),
            endpoint: any(),
            granted: true,
            priority: 0,
        }
    }

    /// # Errors
    /// 400 for a rule that lacks something.
    fn of(rule: Rule) -> Result<Self> {
        let missing = |what: &str| Error::bad_request(format!("the rule has no {what}"));
        if rule.id.is_empty() || rule.id.len() > 255 || rule.id.contains(char::is_control) {
            return Err(missing("usable id"));
        }
        if rule.scope.len() > 255 || rule.scope.contains(char::is_control) {
            return Err(missing("usable scope"));
        }
        let granted = match rule.access() {
            Access::Granted => true,
            Access::Denied => false,
            Access::Unknown => return Err(missing("access, granted or denied")),
        };
        let resource = rule.resource.ok_or_else(|| missing("resource"))?;
        for (what, text) in
            [("type", &resource.r#type), ("name", &resource.name), ("endpoint", &resource.endpoint)]
        {
            if text.is_empty() || text.len() > 1024 || text.contains(char::is_control) {
                return Err(missing(&format!("usable resource {what}")));
            }
        }
        let Named { name, r#type, endpoint } = resource;
        Ok(Self { id: rule.id, scope: rule.scope, r#type, name, endpoint, granted, priority: rule.priority })
    }

    fn rule(&self) -> Rule {
        Rule {
            id: self.id.clone(),
            scope: self.scope.clone(),
            resource: Some(Named {
                name: self.name.clone(),
                r#type: self.r#type.clone(),
                endpoint: self.endpoint.clone(),
            }),
            access: if self.granted { Access::Granted } else { Access::Denied }.into(),
            priority: self.priority,
        }
    }

    /// What the rule says to a caller; nothing if it does not concern them.
    fn says(&self, account: Option<&Account>, namespace: &str) -> Option<bool> {
        if self.scope.is_empty() {
            return Some(self.granted);
        }
        let account = account?;
        if self.scope == ANYWHERE {
            return Some(self.granted);
        }
        // A rule for the accounts of the namespace ends the matter for those of others.
        if account.issuer != namespace {
            return Some(false);
        }
        let holds = |scope: &String| scope.eq_ignore_ascii_case(&self.scope);
        (self.scope == ANY || account.scopes.iter().any(holds)).then_some(self.granted)
    }
}

/// What a rule may be about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// `service` for calls, else what is kept for a namespace: `table`, `config` or `blob`.
    pub(super) r#type: &'a str,
    pub(super) name: &'a str,
    /// What separates the parts of the name: a rule for `a` is then one for `a.b` too.
    pub(super) separator: Option<char>,
    /// `Handler.Method`.
    pub(super) endpoint: &'a str,
}

impl Subject<'_> {
    /// The names in lower case by which rules may mean it.
    fn names(&self) -> Vec<String> {
        let name = self.name.to_lowercase();
        let parts = self.separator.into_iter().flat_map(|separator| name.match_indices(separator));
        let mut names: Vec<String> = parts.map(|(end, _)| name[..end].to_owned()).collect();
        names.push(name);
        names.push(ANY.to_owned());
        names
    }
}

/// The rules of one namespace, in the order in which they are asked.
#[derive(Debug, Default)]
struct Set {
    ordered: Vec<Stored>,
    /// By type, name and endpoint in lower case: the places in `ordered`, rising.
    index: HashMap<String, HashMap<String, HashMap<String, Vec<usize>>>>,
}

impl Set {
    fn new(mut rules: Vec<Stored>) -> Self {
        rules.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.id.cmp(&b.id)));
        let mut set = Self::default();
        for (place, rule) in rules.iter().enumerate() {
            let names = set.index.entry(rule.r#type.to_lowercase()).or_default();
            let endpoints = names.entry(rule.name.to_lowercase()).or_default();
            endpoints.entry(rule.endpoint.to_lowercase()).or_default().push(place);
        }
        set.ordered = rules;
        set
    }

    /// What the first rule says that concerns the caller and one of these types.
    fn decide(
        &self,
        types: &[&str],
        account: Option<&Account>,
        subject: Subject<'_>,
        namespace: &str,
    ) -> Option<bool> {
        let mut lists = self.concerned(types, subject);
        loop {
            // The next rule is the smallest of the heads.
            let next = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
            let place = next[0];
            *next = &next[1..];
            if let Some(granted) = self.ordered[place].says(account, namespace) {
                return Some(granted);
            }
        }
    }

    fn concerned(&self, types: &[&str], subject: Subject<'_>) -> Vec<&[usize]> {
        let endpoint = subject.endpoint.to_lowercase();
        let mut endpoints = vec![ANY.to_owned()];
        // `/foo/bar` is also meant by `/*`, `/foo/*` and `/foo/bar/*`.
        if endpoint.contains('/') {
            let mut prefix = String::new();
            for part in endpoint.split('/') {
                prefix.push_str(part);
                prefix.push('/');
                endpoints.push(format!("{prefix}*"));
            }
        }
        endpoints.push(endpoint);
        let names = subject.names();
        let mut found = Vec::new();
        for named in types.iter().filter_map(|&r#type| self.index.get(r#type)) {
            for named in names.iter().filter_map(|name| named.get(name)) {
                let lists = endpoints.iter().filter_map(|endpoint| named.get(endpoint));
                found.extend(lists.map(Vec::as_slice));
            }
        }
        found
    }
}

/// The rules of every namespace. One that has none has the default rule.
pub(super) struct Rules {
    kv: Arc<dyn Kv>,
    sets: RwLock<HashMap<String, Arc<Set>>>,
    fallback: Arc<Set>,
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
        let sets = namespaces.into_iter().map(|(name, rules)| (name, Arc::new(Set::new(rules)))).collect();
        let fallback = Arc::new(Set::new(vec![Stored::default_rule()]));
        Ok(Self { kv, sets: RwLock::new(sets), fallback, changing: tokio::sync::Mutex::default() })
    }

    /// Whether a caller may do this in a namespace: what no rule grants is refused.
    pub(super) fn allow(&self, account: Option<&Account>, subject: Subject<'_>, namespace: &str) -> bool {
        self.set(namespace).decide(&[ANY, subject.r#type], account, subject, namespace).unwrap_or(false)
    }

    /// What the rules say that name this type of thing; nothing if none does. A rule for every
    /// type, such as the default rule, does not open what is kept for a namespace.
    pub(super) fn say(&self, account: &Account, subject: Subject<'_>, namespace: &str) -> Option<bool> {
        self.set(namespace).decide(&[subject.r#type], Some(account), subject, namespace)
    }

    fn set(&self, namespace: &str) -> Arc<Set> {
        let sets = self.sets.read().unwrap_or_else(PoisonError::into_inner);
        sets.get(namespace).unwrap_or(&self.fallback).clone()
    }

    fn replace(&self, namespace: &str, rules: Vec<Stored>) {
        let set = Arc::new(Set::new(rules));
        self.sets.write().unwrap_or_else(PoisonError::into_inner).insert(namespace.to_owned(), set);
    }

    /// The rules of a namespace, in the order in which they are asked.
    pub(super) fn list(&self, namespace: &str) -> Vec<Rule> {
        self.set(namespace).ordered.iter().map(Stored::rule).collect()
    }

    /// Adds a rule. The first one stands beside the default rule: adding one shuts nobody out.
    ///
    /// # Errors
    /// 400 for a rule that lacks something, or an id that is taken.
    pub(super) async fn create(&self, namespace: &str, rule: Rule) -> Result<()> {
        let rule = Stored::of(rule)?;
        let _alone = self.changing.lock().await;
        let mut rules = self.set(namespace).ordered.clone();
        let taken = || Error::bad_request(format!("a rule with the id {} exists already", rule.id));
        if rules.iter().any(|known| known.id == rule.id) {
            return Err(taken());
        }
        if rules.len() >= MAX_RULES {
            return Err(Error::bad_request(format!("a namespace has at most {MAX_RULES} rules")));
        }
        let mut commit = Commit::new().require_absent(TABLE, key(namespace, &rule.id));
        for rule in rules.iter().filter(|rule| rule.id == DEFAULT).chain([&rule]) {
            commit = commit.put(TABLE, key(namespace, &rule.id), encode(rule)?);
        }
        match self.kv.commit(commit).await {
            Ok(_) => {}
            Err(backend::Error::Conflict { .. }) => return Err(taken()),
            Err(error) => return Err(error.into()),
        }
        rules.push(rule);
        self.replace(namespace, rules);
        Ok(())
    }

    /// Deletes a rule; one that is not there is no error, as in Micro v4. Whether it was there.
    ///
    /// # Errors
    /// 400 for the last rule, without which every call would be refused.
    pub(super) async fn delete(&self, namespace: &str, id: &str) -> Result<bool> {
        let _alone = self.changing.lock().await;
        let mut rules = self.set(namespace).ordered.clone();
        if !rules.iter().any(|rule| rule.id == id) {
            return Ok(false);
        }
        if rules.len() == 1 {
            return Err(Error::bad_request(format!(
                "{id} is the last rule of namespace {namespace}: without it every call would be refused; add another first"
            )));
        }
        self.kv.commit(Commit::new().delete(TABLE, key(namespace, id))).await?;
        rules.retain(|rule| rule.id != id);
        self.replace(namespace, rules);
        Ok(true)
    }
}

fn encode(rule: &Stored) -> Result<Vec<u8>> {
    serde_json::to_vec(rule).map_err(|e| Error::internal(e.to_string()))
}

fn decode(value: &[u8]) -> Result<Stored> {
    serde_json::from_slice(value).map_err(|e| Error::internal(format!("a stored rule is damaged: {e}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(id: &str, scope: &str, resource: &str, granted: bool, priority: i32) -> Stored {
        let mut parts = resource.split(':').map(str::to_owned);
        let mut next = || parts.next().unwrap();
        let (r#type, name, endpoint) = (next(), next(), next());
        Stored { id: id.into(), scope: scope.into(), r#type, name, endpoint, granted, priority }
    }

    fn account(issuer: &str, scopes: &[&str]) -> Account {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        Account { id: "a".into(), issuer: issuer.into(), scopes, ..Account::default() }
    }

    const fn call<'a>(name: &'a str, endpoint: &'a str) -> Subject<'a> {
        Subject { r#type: "service", name, separator: None, endpoint }
    }

    const CALL: Subject<'_> = call("go.micro.service.foo", "Foo.Bar");
    const WEB: Subject<'_> = call("go.micro.web.foo", "/foo/bar");

    impl Set {
        fn allows(&self, account: Option<&Account>, subject: Subject<'_>, namespace: &str) -> bool {
            self.decide(&[ANY, &subject.r#type.to_lowercase()], account, subject, namespace).unwrap_or(false)
        }
    }

    /// The table of Micro v4's own tests, and what follows from its evaluation.
    #[test]
    fn the_first_rule_that_concerns_the_caller_decides() {
        let here = account("micro", &["developer"]);
        let away = account("elsewhere", &["developer"]);
        let (nobody, anyone, foreign) = (None, Some(&here), Some(&away));
        let all = "*:*:*";
        let same = "service:GO.micro.service.FOO:foo.BAR";
        for (rules, caller, subject, expected) in [
            (vec![], nobody, CALL, false),
            (vec![rule("1", "", all, true, 0)], nobody, CALL, true),
            (vec![rule("1", "", all, false, 0)], anyone, CALL, false),
            (vec![rule("1", "*", all, true, 0)], nobody, CALL, false),
            (vec![rule("1", "*", all, true, 0)], anyone, CALL, true),
            (vec![rule("1", "*", all, false, 0)], anyone, CALL, false),
            (vec![rule("1", "*", all, true, 0)], foreign, CALL, false),
            (vec![rule("1", "+", all, true, 0)], foreign, CALL, true),
            (vec![rule("1", "+", all, true, 0)], nobody, CALL, false),
            (vec![rule("1", "DEVELOPER", all, true, 0)], anyone, CALL, true),
            (vec![rule("1", "invalid", all, true, 0)], anyone, CALL, false),
            (vec![rule("1", "developer", all, true, 0)], foreign, CALL, false),
            // A rule for others' accounts ends the matter before one of lower priority is asked.
            (vec![rule("1", "x", all, true, 1), rule("2", "+", all, true, 0)], foreign, CALL, false),
            (vec![rule("1", "+", all, true, 1), rule("2", "x", all, true, 0)], foreign, CALL, true),
            (vec![rule("1", "", same, true, 0)], nobody, CALL, true),
            (vec![rule("1", "", "web:*:*", true, 0)], nobody, CALL, false),
            (vec![rule("1", "", "service:other:*", true, 0)], nobody, CALL, false),
            (vec![rule("1", "", "service:*:Foo.Baz", true, 0)], nobody, CALL, false),
            (vec![rule("1", "*", all, true, 1), rule("2", "*", all, false, 0)], anyone, CALL, true),
            (vec![rule("1", "*", all, true, 0), rule("2", "*", all, false, 1)], anyone, CALL, false),
            (vec![rule("b", "*", all, true, 0), rule("a", "*", all, false, 0)], anyone, CALL, false),
            (vec![rule("1", "*", "service:go.micro.web.foo:/*", true, 0)], anyone, WEB, true),
            (vec![rule("1", "*", "service:go.micro.web.foo:/foo/*", true, 0)], anyone, WEB, true),
            (vec![rule("1", "*", "service:go.micro.web.foo:/foo/bar/*", true, 0)], anyone, WEB, true),
            (vec![rule("1", "*", "service:go.micro.web.foo:/bar/*", true, 0)], anyone, WEB, false),
            (vec![rule("1", "*", "service:go.micro.web.foo:/foo", true, 0)], anyone, WEB, false),
        ] {
            let set = Set::new(rules.clone());
            assert_eq!(set.allows(caller, subject, "micro"), expected, "{rules:?} {caller:?}");
        }
    }

    /// The evaluation as the reference words it, without an index.
    fn oracle(rules: &[Stored], account: Option<&Account>, subject: Subject<'_>, namespace: &str) -> bool {
        let same = |rule: &str, asked: &str| rule == ANY || rule.eq_ignore_ascii_case(asked);
        let mut meant: Vec<&Stored> = rules
            .iter()
            .filter(|rule| {
                same(&rule.r#type, subject.r#type)
                    && same(&rule.name, subject.name)
                    && same(&rule.endpoint, subject.endpoint)
            })
            .collect();
        meant.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.id.cmp(&b.id)));
        meant.iter().find_map(|rule| rule.says(account, namespace)).unwrap_or(false)
    }

    fn some_rule() -> impl Strategy<Value = Stored> {
        let scope = prop::sample::select(vec!["", "*", "+", "a", "B"]);
        let part = || prop::sample::select(vec!["*", "x", "Y", "x.y"]);
        ("[a-z]{1,3}", scope, part(), part(), part(), any::<bool>(), -2..3_i32).prop_map(
            |(id, scope, r#type, name, endpoint, granted, priority)| {
                rule(&id, scope, &format!("{type}:{name}:{endpoint}"), granted, priority)
            },
        )
    }

    proptest! {
        #[test]
        fn the_index_decides_as_the_list_does(
            rules in prop::collection::vec(some_rule(), 0..12),
            scopes in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3),
            issuer in prop::sample::select(vec!["n", "m"]),
            known in any::<bool>(),
            parts in prop::array::uniform3(prop::sample::select(vec!["x", "y", "X.Y", "other", "*"])),
        ) {
            let account = known.then(|| account(issuer, &scopes));
            let subject = Subject { r#type: parts[0], name: parts[1], separator: None, endpoint: parts[2] };
            let set = Set::new(rules.clone());
            let expected = oracle(&rules, account.as_ref(), subject, "n");
            prop_assert_eq!(set.allows(account.as_ref(), subject, "n"), expected);
        }
    }

    #[test]
    fn what_is_kept_is_opened_only_by_a_rule_that_names_its_type() {
        let here = account("n", &["staff"]);
        let thing = |name| Subject { r#type: "config", name, separator: Some('.'), endpoint: "Config.Set" };
        let rules = [
            rule("all", "*", "*:*:*", true, 9),
            rule("one", "staff", "config:shop.prices:Config.Set", true, 1),
            rule("not", "*", "config:shop.prices.fixed:*", false, 2),
        ];
        let set = Set::new(rules.to_vec());
        let say = |name| set.decide(&["config"], Some(&here), thing(name), "n");
        assert_eq!(say("shop.prices"), Some(true));
        assert_eq!(say("Shop.Prices.tea"), Some(true));
        assert_eq!(say("shop.prices.fixed.tea"), Some(false));
        assert_eq!(say("shop.pricesx"), None);
        assert_eq!(say("shop"), None);
        assert_eq!(say(""), None);
    }

    async fn rules() -> Rules {
        Rules::open(backend::open("memory:").await.unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_first_rule_shuts_nobody_out_and_the_last_one_stays() {
        let rules = rules().await;
        assert!(rules.allow(None, CALL, "shop"));
        assert_eq!(rules.list("shop")[0].id, "default");
        let first = rule("first", "*", "service:foo:*", false, 1);
        rules.create("shop", first.rule()).await.unwrap();
        assert!(rules.allow(None, CALL, "shop"));
        assert_eq!(rules.create("shop", first.rule()).await.unwrap_err().code, 400);
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
        let whole = rule("a", "", "*:*:*", true, 0).rule();
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
