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

/// A name of which the case does not count. Each letter for itself: `str::to_lowercase` writes a sigma in
/// two ways, depending on what stands around it, so that a part of a name would not be that of the whole.
pub(super) fn lowered(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }).collect()
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
    /// Of all their texts.
    bytes: usize,
    /// By type, name and endpoint in lower case.
    index: HashMap<String, BTreeMap<String, HashMap<String, List>>>,
    /// How rules spell the endpoints that are the same but for case, `-` and `_`, and how many do.
    spellings: HashMap<String, BTreeMap<String, usize>>,
}

/// An endpoint without what may differ in its spelling.
fn folded(endpoint: &str) -> String {
    lowered(endpoint).replace(['-', '_'], "")
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
            self.decide(&[ANY, &lowered(subject.r#type)], account, subject, namespace).unwrap_or(false)
        }
    }

    #[test]
    fn a_set_knows_how_many_bytes_its_rules_have() {
        let mut set = Set::new([rule("a", "+", "service:foo:*", true, 0), rule("b", "", "*:*:*", true, 0)]);
        assert_eq!(set.bytes(), "a+servicefoo*b***".len());
        set.remove("a");
        set.remove("a");
        assert_eq!(set.bytes(), "b***".len());
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
            rules in prop::collection::hash_map("[a-z]{1,3}", some_rule(), 0..12),
            gone in prop::collection::vec(some_rule(), 0..3),
            scopes in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3),
            issuer in prop::sample::select(vec!["n", "m"]),
            known in any::<bool>(),
            parts in prop::array::uniform3(prop::sample::select(vec!["x", "y", "X.Y", "other", "*"])),
        ) {
            let account = known.then(|| account(issuer, &scopes));
            let subject = Subject { r#type: parts[0], name: parts[1], separator: None, endpoint: parts[2] };
            let rules: Vec<Stored> = rules.into_iter().map(|(id, rule)| Stored { id, ..rule }).collect();
            let mut set = Set::new(rules.clone());
            // What came and went leaves nothing behind.
            for (number, rule) in gone.into_iter().enumerate() {
                let id = format!("gone-{number}");
                set.insert(Stored { id: id.clone(), ..rule });
                set.remove(&id);
            }
            let order = |set: &Set| set.list().iter().map(|rule| rule.id.clone()).collect::<Vec<_>>();
            prop_assert_eq!(order(&set), order(&Set::new(rules.clone())));
            let expected = oracle(&rules, account.as_ref(), subject, "n");
            prop_assert_eq!(set.allows(account.as_ref(), subject, "n"), expected);
        }
    }

    #[test]
    fn every_spelling_that_a_rule_has_is_known_while_it_has_it() {
        let mut set = Set::new([
            rule("a", "*", "service:shop:Shop.Buy_Tea", true, 0),
            rule("b", "*", "service:*:SHOP.BUY-TEA", true, 0),
            rule("c", "*", "service:shop:shop.buy-tea", true, 0),
        ]);
        let known = |set: &Set| set.spellings("Shop.BuyTea").map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(known(&set), ["shop.buy-tea", "shop.buy_tea", ""]);
        set.remove("b");
        set.remove("a");
        assert_eq!(known(&set), ["shop.buy-tea", ""]);
        set.remove("c");
        assert_eq!((known(&set), set.spellings.len()), (vec![String::new()], 0));
    }

    #[test]
    fn a_letter_is_the_same_in_every_place_of_a_name() {
        let here = account("n", &[]);
        let thing = |name| Subject { r#type: "table", name, separator: Some('.'), endpoint: "Store.Read" };
        for named in ["ΟΔΟΣ", "οδος", "Οδοσ"] {
            let set = Set::new([rule("1", "*", &format!("table:{named}:*"), false, 0)]);
            for name in ["ΟΔΟΣ", "οδος", "ΟΔΟΣ.x", "οδος.X", "οδοσ.x"] {
                assert_eq!(
                    set.decide(&["table"], Some(&here), thing(name), "n"),
                    Some(false),
                    "{named} {name}"
                );
            }
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
        let below = |name| set.refused_below(&here, thing(name), "n");
        for name in ["", "shop", "Shop.Prices"] {
            assert_eq!(below(name), Some("shop.prices.fixed"), "{name}");
        }
        for name in ["sho", "shop.prices.fixed", "shop.prices.fix", "other"] {
            assert_eq!(below(name), None, "{name}");
        }
        let reading = Subject { endpoint: "Config.Get", ..thing("shop") };
        assert_eq!(set.refused_below(&here, reading, "n"), Some("shop.prices.fixed"));
        assert_eq!(set.refused_below(&account("m", &[]), reading, "n"), Some("shop.prices.fixed"));
    }
}
