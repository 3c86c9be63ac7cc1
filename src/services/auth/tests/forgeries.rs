//! Every token that was not issued here, or not so, is refused, and with the same words: what is wrong
//! with it is nobody's business.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Account, Auth, Ties, now, token};
use crate::{backend, tasks::Tasks};

/// A building block, its signing key, and a token of it.
struct Mint {
    auth: Auth,
    pair: Ed25519KeyPair,
    header: Value,
    claims: Value,
    good: String,
    _folder: TempDir,
}

impl Mint {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let auth = Auth::open(&backend::open("memory:").await.unwrap(), folder.path(), &Tasks::default())
            .await
            .unwrap();
        let account = Account {
            id: "jane".into(),
            name: "jane".into(),
            r#type: "user".into(),
            issuer: "shop".into(),
            ..Account::default()
        };
        let good = auth.0.tokens.issue(&account, &Ties::default(), 60).unwrap().text;
        let part = |index: usize| {
            let part = URL_SAFE_NO_PAD.decode(good.split('.').nth(index).unwrap()).unwrap();
            serde_json::from_slice::<Value>(&part).unwrap()
        };
        let (header, claims) = (part(0), part(1));
        Self { auth, pair: pair(folder.path()), header, claims, good, _folder: folder }
    }

    /// The three parts of the token.
    fn parts(&self) -> [&str; 3] {
        self.good.split('.').collect::<Vec<_>>().try_into().unwrap()
    }

    /// A token with these parts as they stand, signed with the real key.
    fn signed(&self, header: &str, claims: &str) -> String {
        let body = body(header, claims);
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(body.as_bytes()));
        format!("{body}.{signature}")
    }

    /// A token whose header has this, signed with the real key; `null` takes it out.
    fn headed(&self, name: &str, value: Value) -> String {
        self.signed(&with(&self.header, name, value), &self.claims.to_string())
    }

    /// A token with this claim, signed with the real key; `null` takes it out.
    fn claiming(&self, name: &str, value: Value) -> String {
        self.signed(&self.header.to_string(), &with(&self.claims, name, value))
    }

    /// A token with this algorithm, and what an attacker signs it with.
    fn as_algorithm(&self, algorithm: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let body = body(&with(&self.header, "alg", json!(algorithm)), &self.claims.to_string());
        let signature = URL_SAFE_NO_PAD.encode(sign(body.as_bytes()));
        format!("{body}.{signature}")
    }
}

/// The key in this folder that tokens are signed with.
fn pair(folder: &Path) -> Ed25519KeyPair {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let keys = files.filter_map(|path| Ed25519KeyPair::from_pkcs8(&fs::read(path).unwrap()).ok());
    keys.last().expect("there is a signing key")
}

fn body(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

fn with(object: &Value, name: &str, value: Value) -> String {
    let mut object = object.clone();
    let fields = object.as_object_mut().unwrap();
    if value.is_null() {
        fields.remove(name)
    } else {
        fields.insert(name.to_owned(), value)
    };
    object.to_string()
}

/// Attacks on tokens, each with its name.
type Table = Vec<(String, String)>;

/// Other algorithms, and signatures of others.
fn other_signatures(mint: &Mint) -> Table {
    let [header, payload, _] = mint.parts();
    let claims = mint.claims.to_string();
    let public = mint.pair.public_key().as_ref().to_vec();
    let mut table = Table::new();
    let mut add = |name: &str, token: String| table.push((name.to_owned(), token));
    for none in ["none", "None", "nOnE", "NONE", ""] {
        add(&format!("alg {none:?}, no signature"), mint.as_algorithm(none, |_| Vec::new()));
        add(&format!("alg {none:?}, the old signature"), mint.as_algorithm(none, |b| sign(&mint.pair, b)));
    }
    for (algorithm, kind) in
        [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        for (what, secret) in [
            ("public key", public.clone()),
            ("public key in hex", hex::encode(&public).into_bytes()),
            ("public key in base64", URL_SAFE_NO_PAD.encode(&public).into_bytes()),
            ("nothing", Vec::new()),
        ] {
            let key = hmac::Key::new(kind, &secret);
            let mac = |body: &[u8]| hmac::sign(&key, body).as_ref().to_vec();
            add(&format!("{algorithm} with the {what}"), mint.as_algorithm(algorithm, mac));
        }
    }
    for algorithm in ["RS256", "PS512", "ES256", "ES384", "EDDSA", "eddsa", "Ed25519", "EdDSA "] {
        add(&format!("alg {algorithm}"), mint.as_algorithm(algorithm, |b| sign(&mint.pair, b)));
    }
    add("ES256 with r and s of 0", mint.as_algorithm("ES256", |_| vec![0; 64]));
    add("a signature of 0", format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode([0; 64])));

    let stranger = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let strangers = URL_SAFE_NO_PAD.encode(sign(&stranger, format!("{header}.{payload}").as_bytes()));
    add("signed by a stranger", format!("{header}.{payload}.{strangers}"));
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(stranger.public_key())});
    for (name, value) in
        [("jwk", key), ("jku", json!("https://evil.test/k")), ("x5u", json!("https://evil.test/k"))]
    {
        let body = body(&with(&mint.header, name, value.clone()), &claims);
        let signature = URL_SAFE_NO_PAD.encode(sign(&stranger, body.as_bytes()));
        add(&format!("{name} of a stranger"), format!("{body}.{signature}"));
        add(&format!("{name}, though well signed"), mint.headed(name, value));
    }
    table
}

/// Headers that are not the one which is issued, well signed.
fn other_headers(mint: &Mint) -> Table {
    let (heading, claims) = (mint.header.to_string(), mint.claims.to_string());
    let mut table = Table::new();
    let mut add = |name: &str, token: String| table.push((name.to_owned(), token));
    for kid in ["", "unknown", "../../dev/null", "/dev/null", "' OR 1=1 --", "x'; DROP TABLE kv; --", "*"] {
        add(&format!("kid {kid:?}"), mint.headed("kid", json!(kid)));
    }
    add("no kid", mint.headed("kid", Value::Null));
    add("kid is a number", mint.headed("kid", json!(1)));
    let twice = heading.replacen('{', "{\"kid\":\"other\",", 1);
    add("two kids", mint.signed(&twice, &claims));
    let twice = heading.replacen('}', &format!(",\"kid\":{}}}", mint.header["kid"]), 1);
    add("the same kid twice", mint.signed(&twice, &claims));
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("typ", json!("JWE")),
        ("typ", json!("at+jwt")),
        ("typ", Value::Null),
        ("cty", json!("JWT")),
        ("enc", json!("A256GCM")),
        ("zip", json!("DEF")),
        ("b64", json!("false")),
        ("other", json!("x")),
        ("alg", Value::Null),
        ("alg", json!(["EdDSA"])),
    ] {
        add(&format!("header {name} {value}"), mint.headed(name, value));
    }
    for header in ["", "null", "[]", "{}", "{"] {
        add(&format!("header {header:?}"), mint.signed(header, &claims));
    }
    table
}

/// Claims that are not those which are issued, well signed.
fn other_claims(mint: &Mint) -> Table {
    let (heading, claims) = (mint.header.to_string(), mint.claims.to_string());
    let mut table = Table::new();
    let mut add = |name: &str, token: String| table.push((name.to_owned(), token));
    let later = now() + 3600;
    for value in [
        Value::Null,
        json!(later.to_string()),
        json!(-1),
        json!(-i64::from(i32::MAX)),
        json!(99_999_999_999.5),
        json!(1e300),
        json!([later]),
        json!({}),
        json!(true),
        json!(0),
        json!(now() - 1),
        json!(now()),
    ] {
        add(&format!("exp {value}"), mint.claiming("exp", value));
    }
    add("exp is null", mint.signed(&heading, &claims.replacen("\"exp\":", "\"exp\":null,\"was\":", 1)));
    add("exp twice", mint.signed(&heading, &claims.replacen('{', "{\"exp\":99999999999,", 1)));
    for (name, value) in [
        ("nbf", json!(later)),
        ("nbf", json!(later.to_string())),
        ("iss", Value::Null),
        ("iss", json!(["shop"])),
        ("iss", json!(1)),
        ("sub", Value::Null),
        ("sub", json!(["jane"])),
        ("aud", json!("another server")),
        ("aud", json!(["another server"])),
        ("type", Value::Null),
        ("type", json!(1)),
        ("scopes", json!("admin")),
        ("gen", json!(-1)),
        ("gen", json!("1")),
    ] {
        add(&format!("claim {name} {value}"), mint.claiming(name, value));
    }
    for claims in ["", "null", "[]", "{}", "\"x\"", "{", "{\"exp\":99999999999}"] {
        add(&format!("claims {claims:?}"), mint.signed(&heading, claims));
    }
    table
}

/// Texts that have another form, or are cut, or altered.
fn other_texts(mint: &Mint) -> Table {
    let good = &mint.good;
    let [header, payload, signature] = mint.parts();
    let mut table = Table::new();
    let mut add = |name: &str, token: String| table.push((name.to_owned(), token));
    for (name, token) in [
        ("nothing", String::new()),
        ("two dots", "..".into()),
        ("no dots", good.replace('.', "")),
        ("one dot", format!("{header}.{payload}")),
        ("no signature", format!("{header}.{payload}.")),
        ("no payload", format!("{header}..{signature}")),
        ("no header", format!(".{payload}.{signature}")),
        ("three dots", format!("{good}.")),
        ("four parts", format!("{good}.{signature}")),
        ("five parts, as encrypted ones have", format!("{good}.{payload}.{signature}")),
        ("a blank before", format!(" {good}")),
        ("a blank behind", format!("{good} ")),
        ("a line behind", format!("{good}\n")),
        ("NUL behind", format!("{good}\0")),
        ("padding", format!("{header}.{payload}.{signature}==")),
        ("the other alphabet", format!("{header}.{payload}.{}+/", &signature[..signature.len() - 2])),
        ("no base64", format!("{header}.{payload}.{}!!", &signature[..signature.len() - 2])),
        ("no base64 in the payload", format!("{header}.!{}.{signature}", &payload[1..])),
        ("no base64 in the header", format!("!{}.{payload}.{signature}", &header[1..])),
        ("no ASCII", format!("{header}.{payload}.ä{}", &signature[2..])),
        ("upper case", good.to_uppercase()),
        ("1 MB", "x".repeat(1 << 20)),
        ("1 MB of dots", ".".repeat(1 << 20)),
        ("1 MB behind", format!("{good}{}", "A".repeat(1 << 20))),
        ("signed, but 1 MB", mint.claiming("name", json!("x".repeat(1 << 20)))),
        ("signed, but deep", mint.claiming("metadata", nested(1000))),
    ] {
        add(name, token);
    }
    for length in 1..signature.len() {
        add(&format!("{length} characters of the signature"), {
            format!("{header}.{payload}.{}", &signature[..length])
        });
    }
    for (name, part) in [("header", header), ("payload", payload), ("signature", signature)] {
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let altered = URL_SAFE_NO_PAD.encode(altered);
            let parts = [header, payload, signature].map(|p| if p == part { altered.as_str() } else { p });
            add(&format!("bit {bit} of the {name}"), parts.join("."));
        }
    }
    table
}

fn sign(pair: &Ed25519KeyPair, body: &[u8]) -> Vec<u8> {
    pair.sign(body).as_ref().to_vec()
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!("x"), |inner, _| json!({ "x": inner }))
}

#[tokio::test]
async fn every_forgery_is_refused_with_the_same_words() {
    let mint = Mint::new().await;
    let expected = token::invalid();
    let tables = [other_signatures, other_headers, other_claims, other_texts];
    let table: Table = tables.iter().flat_map(|table| table(&mint)).collect();
    assert!(table.len() > 1500, "{} forgeries", table.len());
    // Before and after a good one was seen, whose place among those known none may take.
    for _ in 0..2 {
        for (name, forged) in &table {
            let result = mint.auth.verify(forged);
            assert_eq!(result.err().as_ref(), Some(&expected), "{name}");
        }
        assert_eq!(mint.auth.verify(&mint.good).unwrap().account.unwrap().id, "jane");
    }
    // The table forges well: with nothing changed it is a token.
    let same = mint.signed(&mint.header.to_string(), &mint.claims.to_string());
    mint.auth.verify(&same).unwrap();
    mint.auth.verify(&mint.claiming("nbf", json!(now() - 1))).unwrap();
}
