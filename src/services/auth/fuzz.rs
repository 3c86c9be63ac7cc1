//! What must hold of any token.

use std::{fs, sync::LazyLock};

use arbitrary::Unstructured;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use micro_sdk::proto::auth::Account;
use ring::signature::Ed25519KeyPair;
use tempfile::TempDir;

pub(crate) use super::rules::fuzz::rules;
use super::{Ties, token::Tokens};

/// A building block's tokens, the key that signs them, and one of them.
struct Mint {
    tokens: Tokens,
    pair: Ed25519KeyPair,
    good: String,
    _folder: TempDir,
}

static MINT: LazyLock<Mint> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tokens = Tokens::open(folder.path()).expect("new keys");
    let account = Account { id: "jane".into(), issuer: "shop".into(), ..Account::default() };
    let good = tokens.issue(&account, &Ties::default(), i64::MAX).expect("a token").text;
    let mut files = fs::read_dir(folder.path()).expect("a folder").flatten();
    let pair = files.find_map(|file| Ed25519KeyPair::from_pkcs8(&fs::read(file.path()).ok()?).ok());
    Mint { tokens, pair: pair.expect("a signing key"), good, _folder: folder }
});

/// Any text, any change of a good token, and any claims with a good signature: only what was issued here
/// proves something.
pub(crate) fn token(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let mint = &*MINT;
    match first % 3 {
        0 => {
            let text = String::from_utf8_lossy(rest);
            assert!(mint.tokens.verify(&text).is_err() || text == mint.good, "{text}");
        }
        1 => {
            let text = changed(&mint.good, rest);
            let proof = mint.tokens.verify(&text);
            assert_eq!(proof.is_ok(), text == mint.good, "{text}");
        }
        _ => {
            let header = mint.good.split('.').next().unwrap_or_default();
            let body = format!("{header}.{}", URL_SAFE_NO_PAD.encode(rest));
            let signature = URL_SAFE_NO_PAD.encode(mint.pair.sign(body.as_bytes()));
            let Ok(proof) = mint.tokens.verify(&format!("{body}.{signature}")) else { return };
            // What is no claim is passed over, and need not be text.
            let claims = String::from_utf8_lossy(rest);
            let claims: serde_json::Value = serde_json::from_str(&claims).expect("claims are JSON");
            assert_eq!(claims["sub"], *proof.account.id);
            assert_eq!(claims["iss"], *proof.account.issuer);
            assert!(claims["exp"].as_f64() > Some(1.7e9), "{claims}");
        }
    }
}

/// A text with some of its bytes replaced, taken out or put in twice.
fn changed(text: &str, by: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDwxyz0189-_.=+/ \n";
    let (mut choice, mut bytes) = (Unstructured::new(by), text.as_bytes().to_vec());
    while !choice.is_empty() && !bytes.is_empty() {
        let (Ok(at), Ok(kind), Ok(letter)) =
            (choice.int_in_range(0..=bytes.len() - 1), choice.int_in_range(0..=4_u8), choice.choose(LETTERS))
        else {
            break;
        };
        match kind {
            0 => bytes[at] = *letter,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, *letter),
            3 => bytes.truncate(at),
            _ => bytes.push(*letter),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
