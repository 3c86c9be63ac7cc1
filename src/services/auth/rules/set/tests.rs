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
            assert_eq!(set.decide(&["table"], Some(&here), thing(name), "n"), Some(false), "{named} {name}");
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

/// Databases have rules in this form: they are read for ever, and written so.
#[test]
fn the_stored_form_stays() {
    let form =
        r#"{"id":"a","scope":"+","type":"service","name":"x","endpoint":"*","granted":false,"priority":-2}"#;
    let stored: Stored = serde_json::from_str(form).unwrap();
    assert_eq!(stored, rule("a", "+", "service:x:*", false, -2));
    assert_eq!(serde_json::to_string(&stored).unwrap(), form);
}
