//! `micro store` with records.

use std::fs;

use micro_sdk::MESSAGE_LIMIT;
use serde_json::{Value, json};

use crate::{
    keeper,
    support::{Home, outcome},
};

#[test]
fn records_are_written_read_listed_and_deleted() {
    let home = Home::new();
    let said = home.fails(5, ["store", "read", "somekey"]);
    assert!(said.contains("Not found"), "{said}");
    assert_eq!(home.ok(["store", "write", "somekey", "val1"]), "");
    assert_eq!(home.ok(["store", "read", "somekey"]), "val1\n");
    assert_eq!(home.ok(["store", "delete", "somekey"]), "");
    assert_eq!(home.ok(["store", "delete", "somekey"]), "");
    assert!(home.fails(5, ["store", "read", "somekey"]).contains("Not found"));
    home.ok(["store", "write", "somekey1", "val1"]);
    home.ok(["store", "write", "somekey2", "val2"]);
    assert!(home.fails(5, ["store", "read", "somekey"]).contains("Not found"));
    assert_eq!(home.ok(["store", "read", "--prefix", "somekey"]), "val1\nval2\n");
    assert_eq!(home.ok(["store", "read", "-p", "somekey", "--order", "desc"]), "val2\nval1\n");
    assert_eq!(home.ok(["store", "read", "--suffix", "2"]), "val2\n");
    assert_eq!(home.ok(["store", "read", "-p", "somekey", "-l", "1", "--offset", "1"]), "val2\n");
    assert_eq!(
        home.ok(["store", "read", "-v", "--prefix", "somekey"]),
        "KEY        VALUE   EXPIRY\nsomekey1   val1    None\nsomekey2   val2    None\n"
    );
    assert_eq!(home.ok(["store", "list"]), "somekey1\nsomekey2\n");
    assert_eq!(home.ok(["store", "list", "-s", "1", "-o", "json"]), "[\n  \"somekey1\"\n]\n");
    assert_eq!(home.ok(["store", "read", "-p", "nothing"]), "");
}

#[test]
fn values_are_words_files_and_standard_input() {
    let home = Home::new();
    home.ok(["store", "write", "words", "two", "words", "-5"]);
    assert_eq!(home.ok(["store", "read", "words"]), "two words -5\n");
    let bytes: Vec<u8> = (0..=255).collect();
    fs::write(home.path().join("bytes"), &bytes).unwrap();
    home.ok(["store", "write", "bytes", "@bytes", "--expiry", "59m"]);
    let mut raw = home.command(["store", "read", "bytes", "-o", "raw"]);
    assert_eq!(raw.output().unwrap().stdout, bytes);
    let table = home.ok(["store", "read", "-v", "bytes"]);
    assert!(table.contains("0x000102030405060708090a0b0c0d0e0f10111213 "), "{table}");
    assert!(table.contains("58 minutes from now") || table.contains("59 minutes from now"), "{table}");
    let mut piped = home.command(["store", "write", "piped", "-"]);
    let piped = outcome(piped.stdin(fs::File::open(home.path().join("bytes")).unwrap()));
    assert_eq!((piped.code, piped.stdout.as_str(), piped.stderr.as_str()), (Some(0), "", ""));
    let document: Value = serde_json::from_str(&home.ok(["store", "read", "piped", "-o", "json"])).unwrap();
    let version = document[0]["version"].as_u64().unwrap();
    let value = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";
    assert!(document[0]["value"].as_str().unwrap().starts_with(value), "{document}");
    assert_eq!(document[0]["metadata"], json!({}));
    assert!(document[0].get("expiry").is_none());
    let line: Value = serde_json::from_str(&home.ok(["store", "read", "bytes", "-o", "jsonl"])).unwrap();
    assert!(line["expiry"].as_u64().unwrap() > 3_000_000_000_000, "nanoseconds: {line}");

    let said = home.fails(7, ["store", "write", "piped", "x", "--if-version", "0"]);
    assert!(said.contains("has a record `piped` already"), "{said}");
    home.fails(7, ["store", "write", "piped", "x", "--if-version", &(version + 1).to_string()]);
    home.ok(["store", "write", "piped", "x", "--if-version", &version.to_string()]);
    home.fails(7, ["store", "delete", "piped", "--if-version", &version.to_string()]);
    assert_eq!(home.ok(["store", "read", "piped"]), "x\n");
    for words in [
        &["store", "write", "k"][..],
        &["store", "write", "k", "v", "--expiry", "soon"],
        &["store", "write", "k", "v", "--expiry", "0s"],
        &["store", "read"],
        &["store", "read", "k", "--order", "up"],
        &["store", "list", "--limit", "-1"],
        &["store", "frobnicate"],
        &["store"],
    ] {
        home.fails(2, words);
    }
    let said = home.fails(1, ["store", "write", "k", "@nowhere"]);
    assert!(said.contains("cannot read `nowhere`"), "{said}");
    let large = fs::File::create(home.path().join("large")).unwrap();
    large.set_len(MESSAGE_LIMIT as u64 + 1).unwrap();
    let said = home.fails(7, ["store", "write", "k", "@large"]);
    assert!(said.contains(&MESSAGE_LIMIT.to_string()) && said.contains("micro store blob write"), "{said}");
    large.set_len(MESSAGE_LIMIT as u64 - 500).unwrap();
    let said = home.fails(7, ["store", "write", "k", "@large"]);
    assert!(said.contains("bytes") && said.contains("micro store blob write"), "{said}");
    large.set_len(MESSAGE_LIMIT as u64 - 2048).unwrap();
    home.ok(["store", "write", "k", "@large"]);
    let mut raw = home.command(["store", "read", "k", "-o", "raw"]);
    assert_eq!(raw.output().unwrap().stdout.len(), MESSAGE_LIMIT - 2048);
}

#[test]
fn databases_and_tables_are_chosen_and_listed() {
    let home = Home::new();
    home.ok(["store", "write", "k", "micro/micro"]);
    home.ok(["store", "write", "k", "micro/users", "-t", "users"]);
    home.ok(["store", "write", "k", "shop/micro", "-d", "shop"]);
    home.ok(["-n", "shop-b", "store", "write", "k", "shop-b/we ird", "-t", "../we ird"]);
    for (words, value) in [
        (&["store", "read", "k"][..], "micro/micro\n"),
        (&["store", "read", "k", "--table", "users"], "micro/users\n"),
        (&["-n", "shop", "store", "read", "k"], "shop/micro\n"),
        (&["store", "read", "k", "--database", "shop-b", "--table", "../we ird"], "shop-b/we ird\n"),
        (&["store", "databases"], "micro\nshop\nshop-b\n"),
        (&["store", "tables"], "micro\nusers\n"),
        (&["store", "tables", "-d", "shop-b"], "../we ird\n"),
        (&["-n", "shop", "store", "tables"], "micro\n"),
        (&["-n", "empty", "store", "tables"], ""),
        (&["-n", "empty", "store", "list"], ""),
    ] {
        assert_eq!(home.ok(words), value, "{words:?}");
    }
    home.ok(["store", "delete", "k", "-t", "users"]);
    assert_eq!(home.ok(["store", "tables"]), "micro\n");
    for (code, words) in
        [(7, &["store", "read", "k", "-d", "../x"][..]), (7, &["store", "list", "-t", "a\nb"])]
    {
        home.fails(code, words);
    }
}

#[test]
fn a_service_has_its_own_tables_and_blobs_and_no_others() {
    let home = Home::new();
    keeper::run(&home);
    for name in ["scenario", "tables", "batch", "expiry", "pages", "blobs", "others", "message"] {
        home.ok(["helloworld", "call", &format!("--name={name}")]);
    }
    assert!(home.ok(["logs", "helloworld"]).contains("Read from blob store: world"));
    // Who administers the namespace sees what it keeps, and under which names.
    assert_eq!(home.ok(["store", "tables"]), "helloworld\n");
    let keys = home.ok(["store", "list", "-t", "helloworld", "-p", "users/"]);
    assert_eq!(keys, "users/ada\nusers/bob\nusers/jane\nusers/john\n");
    assert_eq!(home.ok(["store", "read", "-t", "helloworld", "users/ada"]), "{\"age\":1}\n");
    // A message is shown by the schema that the service has registered, and its bytes when they are asked for.
    let asked = ["store", "read", "-t", "helloworld", "asked/last"];
    assert_eq!(home.ok(asked), "{\"name\":\"message\"}\n");
    assert_eq!(home.ok([&asked[..], &["-o", "raw"]].concat()), "\n\u{7}message");
    let record: Value = serde_json::from_str(&home.ok([&asked[..], &["-o", "jsonl"]].concat())).unwrap();
    assert_eq!(
        (&record["json"]["name"], &record["metadata"]["message"]),
        (&"message".into(), &"helloworld.CallRequest".into())
    );
    assert_eq!(home.ok(["store", "blob", "list"]), "helloworld/deep/large\nhelloworld/k\n");
    assert_eq!(home.ok(["store", "blob", "read", "helloworld/k"]), "v");
}

#[test]
fn records_that_begin_alike_are_deleted_together_and_a_star_stands_for_itself() {
    let home = Home::new();
    for key in ["products/1", "products/2", "products/3", "other", "literal*"] {
        home.ok(["store", "write", key, "x"]);
    }
    let said = home.fails(5, ["store", "delete", "products/*"]);
    assert!(said.contains("stands for itself") && said.contains("--prefix 'products/'"), "{said}");
    home.ok(["store", "delete", "literal*"]);
    home.ok(["store", "delete", "nothing"]);
    let said = home.fails(2, ["store", "delete", "--prefix", "products/"]);
    assert!(said.contains("3 records would be deleted") && said.contains("--yes"), "{said}");
    home.fails(2, ["store", "delete"]);
    home.fails(2, ["store", "delete", "key", "--prefix", "products/"]);
    let delete = |more: &[&str]| {
        let words = ["store", "delete", "--yes", "--prefix"];
        outcome(&mut home.command(words.iter().chain(more))).stderr
    };
    assert!(delete(&["products/", "--limit", "2"]).starts_with("deleted 2 records in table micro"));
    assert_eq!(home.ok(["store", "list"]), "other\nproducts/3\n");
    assert!(delete(&["none/"]).starts_with("there are no records"));
    // More than one batch.
    for from in [0, 1100] {
        let change =
            |n: usize| json!({"table": "micro", "write": {"key": format!("bulk/{n}"), "value": "eA=="}});
        let changes: Vec<Value> = (from..from + 1100).map(change).collect();
        home.ok(["call", "store", "Store.Batch", &json!({ "changes": changes }).to_string()]);
    }
    assert!(delete(&["bulk/"]).starts_with("deleted 2200 records in table micro"));
    assert!(delete(&[""]).starts_with("deleted 2 records in table micro"));
    assert_eq!(home.ok(["store", "list"]), "");
}
