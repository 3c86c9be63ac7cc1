//! What must hold of any rules: the index decides as a walk through all of them does.

use std::cmp::Reverse;

use arbitrary::{Result, Unstructured};
use micro_sdk::proto::auth::{Access, Account, Resource, Rule};

use super::{
    ANY,
    set::{Set, Stored, Subject},
};
use crate::names::lowered;

/// Types, as the callers of rules write them.
const TYPES: [&str; 4] = ["service", "config", "table", "blob"];
/// Parts of names; some change with their case in more than one way.
const PARTS: [&str; 14] = ["a", "A", "b", "shop", "Shop", "*", "", "Foo", "ΑΣ", "ας", "İ", "ß", "Bar", "x y"];
const SEPARATORS: [&str; 4] = [".", "/", "-", ""];
const SCOPES: [&str; 6] = ["", "*", "+", "staff", "STAFF", "other"];
const NAMESPACES: [&str; 2] = ["micro", "other"];

/// Some rules, a caller and a subject.
pub(crate) fn rules(input: &[u8]) {
    // Where the bytes end, so does the list.
    let _ = decided(&mut Unstructured::new(input));
}

fn name(choice: &mut Unstructured<'_>) -> Result<String> {
    let mut name = (*choice.choose(&PARTS)?).to_owned();
    for _ in 0..choice.int_in_range(0..=3)? {
        name.push_str(choice.choose(&SEPARATORS)?);
        name.push_str(choice.choose(&PARTS)?);
    }
    Ok(name)
}

fn rule(choice: &mut Unstructured<'_>, id: usize) -> Result<Rule> {
    let r#type = if choice.ratio(1, 4)? { ANY } else { choice.choose(&TYPES)? };
    let r#type = if choice.ratio(1, 8)? { r#type.to_uppercase() } else { r#type.to_owned() };
    let mut part = || if choice.ratio(1, 4)? { Ok(ANY.to_owned()) } else { name(choice) };
    let resource = Resource { r#type, name: part()?, endpoint: part()? };
    let access = *choice.choose(&[Access::Granted, Access::Denied])?;
    Ok(Rule {
        id: format!("r{id}"),
        scope: (*choice.choose(&SCOPES)?).to_owned(),
        resource: Some(resource),
        access: access.into(),
        priority: choice.int_in_range(-1..=1)?,
    })
}

fn decided(choice: &mut Unstructured<'_>) -> Result<()> {
    let account = choice.arbitrary::<bool>()?.then(Account::default);
    let account = match account {
        Some(account) => Some(Account {
            issuer: (*choice.choose(&NAMESPACES)?).to_owned(),
            scopes: vec![(*choice.choose(&SCOPES[3..])?).to_owned()],
            ..account
        }),
        None => None,
    };
    let (name, endpoint) = (name(choice)?, name(choice)?);
    let r#type = choice.choose(&TYPES)?;
    let separator = *choice.choose(&[None, Some('.'), Some('/')])?;
    let subject = Subject { r#type, name: &name, separator, endpoint: &endpoint };
    let namespace = *choice.choose(&NAMESPACES)?;
    let count = choice.int_in_range(0..=12)?;
    let given = (0..count).map(|id| rule(choice, id)).collect::<Result<Vec<_>>>()?;
    let mut set = Set::default();
    let mut kept = Vec::new();
    for rule in given {
        let Ok(stored) = Stored::of(rule.clone()) else { continue };
        assert_eq!(stored.rule(), rule, "a rule is stored as it was given");
        set.insert(stored);
        kept.push(rule);
    }
    if choice.arbitrary()? && !kept.is_empty() {
        let gone = kept.remove(choice.choose_index(kept.len())?);
        set.remove(&gone.id);
    }
    for types in [&[ANY, r#type][..], &[r#type]] {
        let expected = expected(&kept, types, account.as_ref(), subject, namespace);
        let found = set.decide(types, account.as_ref(), subject, namespace);
        assert_eq!(found, expected, "{types:?} {subject:?} {account:?} in {namespace}: {kept:#?}");
    }
    if let Some(account) = &account {
        let expected = refused_below(&kept, account, subject, namespace);
        let found = set.refused_below(account, subject, namespace).map(str::to_owned);
        assert_eq!(found, expected, "below {subject:?} {account:?} in {namespace}: {kept:#?}");
    }
    Ok(())
}

/// Whether a rule is about a subject of one of these types.
fn concerns(resource: &Resource, types: &[&str], subject: Subject<'_>) -> bool {
    let (name, endpoint) = (lowered(&resource.name), lowered(&resource.endpoint));
    let (asked, called) = (lowered(subject.name), lowered(subject.endpoint));
    let by_name = name == ANY
        || name == asked
        || subject.separator.is_some_and(|separator| {
            asked.strip_prefix(&*name).is_some_and(|rest| rest.starts_with(separator))
        });
    let by_endpoint = endpoint == ANY
        || endpoint == called
        || called.contains('/')
            && endpoint
                .strip_suffix('*')
                .is_some_and(|above| above.ends_with('/') && format!("{called}/").starts_with(above));
    types.contains(&&*lowered(&resource.r#type)) && by_name && by_endpoint
}

fn expected(
    rules: &[Rule],
    types: &[&str],
    account: Option<&Account>,
    subject: Subject<'_>,
    namespace: &str,
) -> Option<bool> {
    let resource = |rule: &&Rule| concerns(rule.resource.as_ref().expect("it was stored"), types, subject);
    let mut meant: Vec<&Rule> = rules.iter().filter(resource).collect();
    meant.sort_by_key(|rule| (Reverse(rule.priority), &rule.id));
    meant.into_iter().find_map(|rule| {
        let granted = rule.access() == Access::Granted;
        match (rule.scope.as_str(), account) {
            ("", _) | ("+", Some(_)) => Some(granted),
            (_, None) => None,
            (_, Some(account)) if account.issuer != namespace => Some(false),
            ("*", _) => Some(granted),
            (scope, Some(account)) => {
                account.scopes.iter().any(|own| own.eq_ignore_ascii_case(scope)).then_some(granted)
            }
        }
    })
}

fn refused_below(rules: &[Rule], account: &Account, subject: Subject<'_>, namespace: &str) -> Option<String> {
    let mut above = lowered(subject.name);
    if let Some(separator) =
        subject.separator.filter(|separator| !above.is_empty() && !above.ends_with(*separator))
    {
        above.push(separator);
    }
    let resources = rules.iter().filter_map(|rule| rule.resource.as_ref());
    let mut names: Vec<String> = resources
        .filter(|resource| lowered(&resource.r#type) == subject.r#type)
        .map(|resource| lowered(&resource.name))
        .filter(|name| name != ANY && name.starts_with(&above))
        .collect();
    names.sort();
    names.into_iter().find(|name| {
        let subject = Subject { name, ..subject };
        expected(rules, &[subject.r#type], Some(account), subject, namespace) == Some(false)
    })
}
