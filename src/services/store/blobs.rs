//! The handler `BlobStore`: takes a request apart, asks who may, and streams.
//!
//! A service has a space of its own in its namespace: what it calls `logo.png` is the key
//! `<service>/logo.png`. A key that begins with `/` is meant as it stands, without that slash, by
//! everybody.

use std::sync::Arc;

use futures::TryStreamExt as _;
use micro_sdk::{
    Context, Error, MESSAGE_LIMIT, Receiver, Result, Sender, blocks,
    proto::store::{
        BlobDeleteRequest, BlobDeleteResponse, BlobInfo, BlobListRequest, BlobListResponse, BlobOptions,
        BlobReadRequest, BlobReadResponse, BlobWriteRequest, BlobWriteResponse,
    },
};
use prost::Message as _;

use super::{contents::Contents, shown};
use crate::services::{
    auth::{Auth, Caller, Kind, Thing},
    namespace_or,
    transfers::Transfers,
};

/// Bytes a key may have, with the name of a service before it.
const MAX_KEY: usize = 1024;
/// Bytes a media type may have.
const MAX_TYPE: usize = 255;

/// The implementation of `BlobStore`.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) contents: Contents,
    pub(super) auth: Auth,
    pub(super) transfers: Arc<Transfers>,
}

/// The blobs of a namespace, as a caller sees them.
struct Space {
    namespace: String,
    /// What stands before the keys of a caller that has a space of its own.
    own: String,
}

impl Space {
    fn of(caller: &Caller, cx: &Context, namespace: &str) -> Result<Self> {
        let namespace = namespace_or(namespace, cx.namespace())?;
        let own = caller.service_of(namespace).map_or_else(String::new, |service| format!("{service}/"));
        Ok(Self { namespace: namespace.to_owned(), own })
    }

    /// The whole of what a caller calls so.
    fn whole(&self, key: &str) -> String {
        match key.strip_prefix('/') {
            Some(key) => key.to_owned(),
            None => format!("{}{key}", self.own),
        }
    }

    /// What a caller calls a key so that it is found again.
    fn called(&self, key: &str) -> String {
        match key.strip_prefix(&self.own) {
            Some(rest) if !rest.starts_with('/') => rest.to_owned(),
            _ => format!("/{key}"),
        }
    }
}

impl Service {
    fn permit(&self, caller: &Caller, space: &Space, name: &str, method: &str) -> Result<()> {
        self.auth.permit(caller, &space.namespace, Thing { kind: Kind::Blob, name, method })
    }

    /// The space and the whole key that a request means, if the caller may do this with it.
    fn find(
        &self,
        cx: &Context,
        key: &str,
        options: Option<&BlobOptions>,
        method: &str,
    ) -> Result<(Space, String)> {
        let caller = Caller::of(cx);
        let space = Space::of(&caller, cx, options.map_or("", |options| options.namespace.as_str()))?;
        let whole = space.whole(key);
        self.permit(&caller, &space, &whole, method)?;
        if key.trim_start_matches('/').is_empty() {
            return Err(Error::bad_request("Missing key"));
        }
        if whole.len() > MAX_KEY {
            let text = format!("the key `{}` has {} bytes, {MAX_KEY} are allowed", shown(key), whole.len());
            return Err(Error::bad_request(text));
        }
        if whole.contains('\0') {
            return Err(Error::bad_request(format!("the key `{}` contains NUL", shown(key))));
        }
        Ok((space, whole))
    }
}

fn check_type(content_type: &str) -> Result<()> {
    if content_type.len() > MAX_TYPE || content_type.contains(char::is_control) {
        return Err(Error::bad_request(format!(
            "`{}` cannot be a media type: it has at most {MAX_TYPE} bytes and no control characters",
            shown(content_type)
        )));
    }
    Ok(())
}

impl blocks::store::BlobStore for Service {
    async fn read(
        &self,
        cx: Context,
        request: BlobReadRequest,
        replies: Sender<BlobReadResponse>,
    ) -> Result<()> {
        let (space, whole) = self.find(&cx, &request.key, request.options.as_ref(), "BlobStore.Read")?;
        let _place = self.transfers.take(&Caller::of(&cx))?;
        let Some((info, mut content)) = self.contents.read(&space.namespace, &whole).await? else {
            return Err(Error::not_found(format!(
                "Blob not found: there is none with key `{}`",
                shown(&whole)
            )));
        };
        let mut info = Some(BlobInfo { key: space.called(&whole), ..info });
        while let Some(piece) = content.try_next().await? {
            replies.send(BlobReadResponse { blob: piece.into(), info: info.take() }).await?;
        }
        // An empty one is something too.
        if info.is_some() {
            replies.send(BlobReadResponse { blob: Vec::new(), info }).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        cx: Context,
        mut requests: Receiver<BlobWriteRequest>,
    ) -> Result<BlobWriteResponse> {
        Caller::of(&cx).account()?;
        let first = requests.next().await?.ok_or_else(|| Error::bad_request("No blob was sent"))?;
        let BlobWriteRequest { key, options, blob } = first;
        let (space, whole) = self.find(&cx, &key, options.as_ref(), "BlobStore.Write")?;
        let content_type = options.map(|options| options.content_type).unwrap_or_default();
        check_type(&content_type)?;
        let _place = self.transfers.take(&Caller::of(&cx))?;
        let mut draft = self.contents.begin().await?;
        draft.write(blob.into()).await?;
        while let Some(BlobWriteRequest { blob, .. }) = requests.next().await? {
            draft.write(blob.into()).await?;
        }
        let sealed = draft.seal().await?;
        let info = self.contents.put(&space.namespace, &whole, draft, sealed, &content_type).await?;
        Ok(BlobWriteResponse { info: Some(BlobInfo { key: space.called(&whole), ..info }) })
    }

    async fn delete(&self, cx: Context, request: BlobDeleteRequest) -> Result<BlobDeleteResponse> {
        let (space, whole) = self.find(&cx, &request.key, request.options.as_ref(), "BlobStore.Delete")?;
        Ok(BlobDeleteResponse { existed: self.contents.delete(&space.namespace, &whole).await? })
    }

    async fn list(&self, cx: Context, request: BlobListRequest) -> Result<BlobListResponse> {
        let options = request.options.unwrap_or_default();
        let caller = Caller::of(&cx);
        let space = Space::of(&caller, &cx, &options.namespace)?;
        let prefix = space.whole(&options.prefix);
        // What begins with `shop` may be `shopping/list`: only a whole part says whose it is.
        let part = prefix.rfind('/').map_or("", |at| &prefix[..=at]);
        self.permit(&caller, &space, part, "BlobStore.List")?;
        let mut after = (!options.after.is_empty()).then(|| space.whole(&options.after));
        let mut left = if options.limit == 0 { u64::MAX } else { options.limit };
        let (mut response, mut bytes) = (BlobListResponse::default(), 0);
        while left > 0 {
            let page = self.contents.page(&space.namespace, &prefix, after.as_deref()).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for info in page.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                left -= 1;
                let info = BlobInfo { key: space.called(&info.key), ..info };
                // The key stands there twice; lengths and tags are fewer than 16 bytes.
                bytes += info.encoded_len() + info.key.len() + 16;
                if bytes > MESSAGE_LIMIT {
                    return Err(Error::too_large(format!(
                        "the keys are more than the {MESSAGE_LIMIT} bytes of a message: \
                         list them page by page, with `limit` and `after`"
                    )));
                }
                response.keys.push(info.key.clone());
                response.blobs.push(info);
            }
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_calls_what_is_its_own_by_short_names() {
        let service = Space { namespace: "shop".into(), own: "carts/".into() };
        for (called, whole) in
            [("a", "carts/a"), ("a/b", "carts/a/b"), ("/users/a", "users/a"), ("../a", "carts/../a")]
        {
            assert_eq!(service.whole(called), whole);
            assert_eq!(service.called(whole), called);
        }
        assert_eq!(service.whole("/carts/a"), "carts/a");
        // However a key is called, it is found by what it is called.
        let user = Space { namespace: "shop".into(), own: String::new() };
        for space in [&service, &user] {
            for whole in ["a", "carts/a", "carts//a", "/a", "//", "carts/", "cartsa", "users/a"] {
                assert_eq!(space.whole(&space.called(whole)), whole);
            }
        }
        assert_eq!((user.whole("a"), user.called("a")), ("a".to_owned(), "a".to_owned()));
    }

    #[test]
    fn a_media_type_is_short_text() {
        for good in ["", "image/png", "text/plain; charset=utf-8"] {
            check_type(good).unwrap();
        }
        for bad in ["a\r\nb", "\0", &"x".repeat(256)] {
            assert_eq!(check_type(bad).unwrap_err().code, 400);
        }
    }
}
