//! `micro store write`.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use micro_sdk::{
    blocks::store::StoreClient,
    proto::store::{Record, WriteOptions, WriteRequest},
};

use super::{Place, completion};
use crate::cli::{
    completion::contents,
    context::Context,
    failure::{Failure, exit},
    given,
};

/// Write a record, over the one that was there
///
/// A value is text, all words after the key joined by blanks. `@FILE` is the content of a file, `-`
/// that of standard input, and `@@text` the text `@text`.
#[derive(Args)]
pub(super) struct Write {
    /// The key.
    #[arg(add = completion::keys())]
    key: String,
    /// The value.
    #[arg(required = true, allow_negative_numbers = true, add = contents())]
    value: Vec<String>,
    /// Delete it after this time, such as 90s or 1h.
    #[arg(long, value_name = "DURATION", value_parser = crate::cli::duration)]
    expiry: Option<Duration>,
    /// Only if the record has this version; 0 means that there must be none.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    #[command(flatten)]
    place: Place,
}

impl Write {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let words = self.value;
        let value = tokio::task::spawn_blocking(move || value(&words)).await??;
        let connection = cx.connect().await?;
        let store: StoreClient = connection.block("store");
        let expiry_ms = match self.expiry {
            None => 0,
            Some(Duration::ZERO) => return Err(Failure::usage("--expiry cannot be 0").into()),
            Some(expiry) => i64::try_from(expiry.as_millis()).unwrap_or(i64::MAX).max(1),
        };
        let record = Record { key: self.key, value, expiry_ms, ..Record::default() };
        let options = WriteOptions {
            database: self.place.database.name(&connection),
            table: self.place.table,
            if_version: self.if_version,
        };
        let request = WriteRequest { record: Some(record), options: Some(options) };
        store.write(request).await.map(drop).map_err(|error| match error.code {
            413 => anyhow::Error::from(
                Failure::new(exit::SERVICE_ERROR, error.to_string())
                    .hint("write what is large as a blob: `micro store blob write KEY FILE`"),
            ),
            _ => error.into(),
        })
    }
}

fn value(words: &[String]) -> anyhow::Result<Vec<u8>> {
    let [word] = words else { return Ok(words.join(" ").into_bytes()) };
    match given::place(word) {
        Some(text) if text.starts_with('@') => Ok(text.as_bytes().to_owned()),
        Some(place) => given::content(place).with_context(|| format!("cannot read {}", given::name(place))),
        None => Ok(word.clone().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_text_or_the_content_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, [0, 255]).unwrap();
        let words = |words: &[&str]| value(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["val1"]).unwrap(), b"val1");
        assert_eq!(words(&["two", "words"]).unwrap(), b"two words");
        assert_eq!(words(&["@@home"]).unwrap(), b"@home");
        assert_eq!(words(&["mail", "@home"]).unwrap(), b"mail @home");
        assert_eq!(words(&[&format!("@{}", file.display())]).unwrap(), [0, 255]);
        let error = words(&["@/nowhere/at/all"]).unwrap_err();
        assert!(format!("{error:#}").contains("cannot read `/nowhere/at/all`"), "{error:#}");
    }
}
