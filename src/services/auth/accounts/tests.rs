//! What accounts and logins are stored as.

use serde::de::DeserializeOwned;

use super::*;

fn again<T: DeserializeOwned + Serialize>(form: &str) -> String {
    serde_json::to_string(&serde_json::from_str::<T>(form).unwrap()).unwrap()
}

/// Databases have accounts and logins in these forms: they are read for ever, and written so.
#[test]
fn the_stored_forms_stay() {
    let account = r#"{"id":"3f","name":"jane","type":"user","scopes":["admin"],"metadata":{"a":"b"},"secret":"$argon2id$v=19$x","default_secret":true,"generation":3,"incarnation":"9c"}"#;
    assert_eq!(again::<Record>(account), account);
    let refresh =
        r#"{"id":"3f","session":"s","generation":3,"incarnation":"9c","until":1893456000,"used":null}"#;
    assert_eq!(again::<Refresh>(refresh), refresh);
    // Those of before have no incarnation.
    let older = r#"{"id":"3f","name":"jane","type":"user","scopes":[],"metadata":{},"secret":"x"}"#;
    let older: Record = serde_json::from_str(older).unwrap();
    assert_eq!((older.default_secret, older.generation, older.incarnation.as_str()), (false, 0, ""));
}
