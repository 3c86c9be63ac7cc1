//! The one suite both backends of [`Blobs`] pass. What only files promise is tested beside them.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;

use super::{Blobs, Digest, PIECE, Sealed, open_blobs};

type Backend = Arc<dyn Blobs>;

/// Every test of the list as a test of each backend.
macro_rules! on_every_backend {
    ($($name:ident)+) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(super::open_blobs("memory:").await.unwrap()).await;
                }
            )+
        }
        mod files {
            $(
                #[tokio::test]
                async fn $name() {
                    let folder = tempfile::tempdir().unwrap();
                    let address = format!("files:{}", folder.path().join("blobs").display());
                    super::$name(super::open_blobs(&address).await.unwrap()).await;
                }
            )+
        }
    };
}

on_every_backend! {
    what_is_kept_can_be_read
    content_of_every_size_comes_back_whole
    the_same_content_is_kept_once
    what_is_not_kept_leaves_nothing
    what_is_removed_can_be_read_to_its_end
    removing_what_is_not_there_succeeds
    content_can_be_taken_in_at_once
}

async fn written(blobs: &Backend, pieces: &[&[u8]]) -> Sealed {
    let mut draft = blobs.begin().await.unwrap();
    for piece in pieces {
        draft.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    let sealed = draft.seal().await.unwrap();
    draft.keep().await.unwrap();
    sealed
}

async fn read(blobs: &Backend, digest: &Digest) -> Option<Vec<u8>> {
    let pieces: Vec<Bytes> = blobs.read(digest).await.unwrap()?.try_collect().await.unwrap();
    let (last, others) = pieces.split_last().map_or((0, &[][..]), |(last, others)| (last.len(), others));
    assert!(last <= PIECE && others.iter().all(|piece| piece.len() == PIECE));
    Some(pieces.concat())
}

async fn listed(blobs: &Backend) -> Vec<Digest> {
    let mut digests: Vec<_> = blobs.list().await.unwrap().try_collect().await.unwrap();
    digests.sort_unstable();
    digests
}

async fn what_is_kept_can_be_read(blobs: Backend) {
    let Sealed { digest, size } = written(&blobs, &[b"a", b"", b"bc"]).await;
    assert_eq!(size, 3);
    // The example of FIPS 180-2, appendix B.1.
    assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
    assert_eq!(read(&blobs, &digest).await.unwrap(), b"abc");
    assert_eq!(listed(&blobs).await, [digest]);
    blobs.remove(&digest).await.unwrap();
    assert_eq!(read(&blobs, &digest).await, None);
    assert_eq!(listed(&blobs).await, []);
}

async fn content_of_every_size_comes_back_whole(blobs: Backend) {
    for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE, 5 * PIECE + 17] {
        let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let pieces: Vec<&[u8]> = content.chunks(10_007).collect();
        let sealed = written(&blobs, &pieces).await;
        assert_eq!(sealed.size, size as u64);
        assert!(read(&blobs, &sealed.digest).await.unwrap() == content, "{size}");
    }
    assert_eq!(listed(&blobs).await.len(), 7);
}

async fn the_same_content_is_kept_once(blobs: Backend) {
    let one = written(&blobs, &[b"content"]).await;
    let two = written(&blobs, &[b"con", b"tent"]).await;
    assert_eq!(one, two);
    assert_eq!(listed(&blobs).await, [one.digest]);
    assert_ne!(written(&blobs, &[b"other"]).await.digest, one.digest);
}

async fn what_is_not_kept_leaves_nothing(blobs: Backend) {
    let mut draft = blobs.begin().await.unwrap();
    draft.write(Bytes::from_static(b"content")).await.unwrap();
    let sealed = draft.seal().await.unwrap();
    assert_eq!(read(&blobs, &sealed.digest).await, None);
    drop(draft);
    assert_eq!(read(&blobs, &sealed.digest).await, None);
    assert_eq!(listed(&blobs).await, []);
}

async fn what_is_removed_can_be_read_to_its_end(blobs: Backend) {
    let content = vec![7; 3 * PIECE];
    let Sealed { digest, .. } = written(&blobs, &[&content]).await;
    let mut pieces = blobs.read(&digest).await.unwrap().unwrap();
    let first = pieces.try_next().await.unwrap().unwrap();
    blobs.remove(&digest).await.unwrap();
    let rest: Vec<Bytes> = pieces.try_collect().await.unwrap();
    assert!([first.to_vec(), rest.concat()].concat() == content);
    assert_eq!(read(&blobs, &digest).await, None);
}

async fn removing_what_is_not_there_succeeds(blobs: Backend) {
    blobs.remove(&Digest::from([7; 32])).await.unwrap();
    assert_eq!(read(&blobs, &Digest::from([7; 32])).await, None);
}

async fn content_can_be_taken_in_at_once(blobs: Backend) {
    let writers = (0..16_u8).map(|number| {
        let blobs = blobs.clone();
        tokio::spawn(async move { written(&blobs, &[&vec![number % 4; 100_000]]).await })
    });
    for sealed in futures::future::join_all(writers).await {
        assert_eq!(read(&blobs, &sealed.unwrap().digest).await.unwrap().len(), 100_000);
    }
    assert_eq!(listed(&blobs).await.len(), 4);
}

#[tokio::test]
async fn an_unknown_address_names_the_known_ones() {
    for url in ["", "files:", "files", "memory:x", "s3://bucket"] {
        let Err(error) = open_blobs(url).await else {
            panic!("`{url}` was accepted");
        };
        let text = error.to_string();
        assert!(text.contains("`files:<folder>` or `memory:`"), "{text}");
    }
}

#[test]
fn a_digest_has_one_spelling() {
    let digits = "0a".repeat(32);
    assert_eq!(Digest::parse(&digits).unwrap().to_string(), digits);
    for wrong in ["", "0a", &digits.to_uppercase(), &"0g".repeat(32), &"0a".repeat(33)] {
        assert_eq!(Digest::parse(wrong), None, "{wrong}");
    }
}
