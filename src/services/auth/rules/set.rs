//! The rules of one namespace: which of them says something to a call, and what.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use micro_sdk::{
    Error, Result,
    proto::auth::{Access, Account, Resource as Named, Rule},
};
use serde::{Deserialize, Serialize};

use crate::names::{folded, lowered};

/// The id of the rule that every namespace begins with.
pub(super) const DEFAULT: &str = "default";
/// Stands for anything.
pub(super) const ANY: &str = "*";
/// The scope of any account of any namespace.
const ANYWHERE: &str = "+";

/// A rule as it is stored, with the names of Micro v4.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Stored {
    pub(super) id: String,
    scope: String,
    r#type: String,
    name: String,
    endpoint: String,
    granted: bool,
    priority: i32,
}

impl Stored {
    /// Lets everybody make every call.
    pub(super) fn default_rule() -> Self {
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
    pub(super) fn of(rule: Rule) -> Result<Self> {
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

    /// How many bytes its texts have.
    pub(super) fn bytes(&self) -> usize {
        [&self.id, &self.scope, &self.r#type, &self.name, &self.endpoint].into_iter().map(String::len).sum()
    }

    pub(super) fn rule(&self) -> Rule {
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

    /// Where it stands among the rules that are asked.
    fn place(&self) -> (Reverse<i32>, &str) {
        (Reverse(self.priority), &self.id)
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
pub(in super::super) struct Subject<'a> {
    /// `service` for calls, else what is kept for a namespace: `table`, `config` or `blob`.
    pub(in super::super) r#type: &'a str,
    pub(in super::super) name: &'a str,
    /// What separates the parts of the name: a rule for `a` is then one for `a.b` too.
    pub(in super::super) separator: Option<char>,
    /// `Handler.Method`.
    pub(in super::super) endpoint: &'a str,
}

impl Subject<'_> {
    /// The names in lower case by which rules may mean it.
    fn names(&self) -> Vec<String> {
        let name = lowered(self.name);
        let parts = self.separator.into_iter().flat_map(|separator| name.match_indices(separator));
        let mut names: Vec<String> = parts.map(|(end, _)| name[..end].to_owned()).collect();
        names.push(name);
        names.push(ANY.to_owned());
        names
    }
}

/// Some rules, in the order in which they are asked.
type List = Vec<Arc<Stored>>;

/// The rules of one namespace.
#[derive(Debug, Default)]
pub(super) struct Set {
    by_id: HashMap<String, Arc<Stored>>,
    /// The size of all their texts.
    bytes: usize,
    /// By type, name and endpoint in lower case.
    index: HashMap<String, BTreeMap<String, HashMap<String, List>>>,
    /// How rules spell the endpoints that are the same but for case, `-` and `_`, and how many do.
    spellings: HashMap<String, BTreeMap<String, usize>>,
}

impl Set {
    pub(super) fn new(rules: impl IntoIterator<Item = Stored>) -> Self {
        let mut set = Self::default();
        rules.into_iter().for_each(|rule| set.insert(rule));
        set
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// How many bytes the texts of the rules have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// The rules, in the order in which they are asked.
    pub(super) fn list(&self) -> List {
        let mut rules: List = self.by_id.values().cloned().collect();
        rules.sort_by(|a, b| a.place().cmp(&b.place()));
        rules
    }

    /// Adds a rule, whose id is not taken.
    pub(super) fn insert(&mut self, rule: Stored) {
        let rule = Arc::new(rule);
        let names = self.index.entry(lowered(&rule.r#type)).or_default();
        let endpoints = names.entry(lowered(&rule.name)).or_default();
        let endpoint = lowered(&rule.endpoint);
        *self.spellings.entry(folded(&endpoint)).or_default().entry(endpoint.clone()).or_default() += 1;
        let list = endpoints.entry(endpoint).or_default();
        list.insert(list.partition_point(|known| known.place() < rule.place()), rule.clone());
        self.bytes += rule.bytes();
        if let Some(before) = self.by_id.insert(rule.id.clone(), rule) {
            self.bytes -= before.bytes();
        }
    }

    /// Takes a rule out, if it is there.
    pub(super) fn remove(&mut self, id: &str) {
        let Some(rule) = self.by_id.remove(id) else { return };
        self.bytes -= rule.bytes();
        let (r#type, name) = (lowered(&rule.r#type), lowered(&rule.name));
        let endpoint = lowered(&rule.endpoint);
        self.forget_spelling(&endpoint);
        let Some(names) = self.index.get_mut(&r#type) else { return };
        let Some(endpoints) = names.get_mut(&name) else { return };
        let Some(list) = endpoints.get_mut(&endpoint) else { return };
        list.retain(|known| known.id != id);
        // What is empty is not kept: names of rules come and go.
        if list.is_empty() {
            endpoints.remove(&endpoint);
        }
        if endpoints.is_empty() {
            names.remove(&name);
        }
    }

    fn forget_spelling(&mut self, endpoint: &str) {
        let folded = folded(endpoint);
        let Some(spellings) = self.spellings.get_mut(&folded) else { return };
        if let Some(count) = spellings.get_mut(endpoint) {
            *count -= 1;
            if *count == 0 {
                spellings.remove(endpoint);
            }
        }
        if spellings.is_empty() {
            self.spellings.remove(&folded);
        }
    }

    /// How rules spell an endpoint, and one spelling that none has.
    pub(super) fn spellings(&self, endpoint: &str) -> impl Iterator<Item = &str> {
        let known = self.spellings.get(&folded(endpoint));
        known.into_iter().flat_map(BTreeMap::keys).map(String::as_str).chain([""])
    }

    /// What the first rule says that concerns the caller and one of these types.
    pub(super) fn decide(
        &self,
        types: &[&str],
        account: Option<&Account>,
        subject: Subject<'_>,
        namespace: &str,
    ) -> Option<bool> {
        // Most namespaces have the default rule alone, which concerns everything.
        if let (1, Some(only)) = (self.by_id.len(), self.by_id.values().next())
            && [&only.r#type, &only.name, &only.endpoint].iter().all(|of| *of == ANY)
            && types.contains(&ANY)
        {
            return only.says(account, namespace);
        }
        let mut lists = self.concerned(types, subject);
        loop {
            // The next rule is the first of the heads.
            let rest = lists.iter_mut().filter(|list| !list.is_empty());
            let next = rest.min_by(|a, b| a[0].place().cmp(&b[0].place()))?;
            let rule = &next[0];
            *next = &next[1..];
            if let Some(granted) = rule.says(account, namespace) {
                return Some(granted);
            }
        }
    }

    /// The first name below that of the subject about which the rules refuse the caller something.
    pub(super) fn refused_below(
        &self,
        account: &Account,
        subject: Subject<'_>,
        namespace: &str,
    ) -> Option<&str> {
        let mut above = lowered(subject.name);
        if let Some(separator) = subject.separator
            && !above.is_empty()
            && !above.ends_with(separator)
        {
            above.push(separator);
        }
        let named = self.index.get(subject.r#type)?.range(above.clone()..);
        let below = named.map(|(name, _)| name).take_while(|name| name.starts_with(&above));
        let refused = |name: &&String| {
            let subject = Subject { name, ..subject };
            name.as_str() != ANY
                && self.decide(&[subject.r#type], Some(account), subject, namespace) == Some(false)
        };
        below.into_iter().find(refused).map(String::as_str)
    }

    fn concerned(&self, types: &[&str], subject: Subject<'_>) -> Vec<&[Arc<Stored>]> {
        let endpoint = lowered(subject.endpoint);
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

#[cfg(test)]
mod tests;
