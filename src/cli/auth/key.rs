//! `micro auth rotate key`.

use micro_sdk::{blocks::auth::AuthClient, proto::auth::RotateKeyRequest};
use serde_json::json;

use crate::cli::context::Context;

pub(super) async fn rotate(cx: &Context) -> anyhow::Result<()> {
    let connection = cx.connect().await?;
    let auth: AuthClient = connection.block("auth");
    let rotated = auth.rotate_key(RotateKeyRequest {}).await?;
    let until = jiff::Timestamp::from_second(rotated.old_key_until)?;
    let record = json!({ "kid": rotated.kid, "old_key_until": until.to_string() });
    let words = format!("New key {}; the old one counts until {until}", rotated.kid);
    Ok(cx.ui.done(words, &record)?)
}
