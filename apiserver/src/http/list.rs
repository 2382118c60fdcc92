//! Streaming a list: the head, the cached items one after the other, the tail. Memory does not grow with it.

use super::body::{Body, BoxError};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use gantry_types::Object;
use std::io::Write;

/// How much is handed to the connection at once.
const CHUNK: usize = 128 << 10;

/// The head of a list up to its items.
pub fn head(api_version: &str, list_kind: &str, revision: u64, next: &str, remaining: Option<u64>) -> String {
    let mut out = format!(
        "{{\"kind\":\"{list_kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{{\"resourceVersion\":\"{revision}\""
    );
    if !next.is_empty() {
        // Tokens are base64: nothing to escape.
        out.push_str(&format!(",\"continue\":\"{next}\""));
    }
    if let Some(n) = remaining {
        out.push_str(&format!(",\"remainingItemCount\":{n}"));
    }
    out.push_str("},\"items\":[");
    out
}

pub const TAIL: &[u8] = b"]}\n";

/// How one item is written.
pub trait Item: Fn(&Object, &mut BytesMut) + Send + Sync + 'static {}
impl<T: Fn(&Object, &mut BytesMut) + Send + Sync + 'static> Item for T {}

/// Everything at once: for short lists, and for forms that cannot be streamed.
pub fn whole(head: String, items: &[Object], item: impl Item) -> Bytes {
    let size: usize = items.iter().map(|o| o.body().len() + 1).sum();
    let mut out = BytesMut::with_capacity(head.len() + size + TAIL.len());
    out.put_slice(head.as_bytes());
    for (i, object) in items.iter().enumerate() {
        if i > 0 {
            out.put_u8(b',');
        }
        item(object, &mut out);
    }
    out.put_slice(TAIL);
    out.freeze()
}

struct Progress<I> {
    head: Option<String>,
    items: std::vec::IntoIter<Object>,
    first: bool,
    item: I,
    gzip: Option<GzEncoder<Vec<u8>>>,
}

impl<I: Item> Progress<I> {
    /// The next chunk, `None` at the end.
    fn next(&mut self) -> Option<Bytes> {
        let head = self.head.take();
        if head.is_none() && self.first {
            return None;
        }
        let mut out = BytesMut::with_capacity(CHUNK + (16 << 10));
        if let Some(head) = head {
            out.put_slice(head.as_bytes());
            self.first = false;
            if let Some(object) = self.items.next() {
                (self.item)(&object, &mut out);
            }
        }
        while out.len() < CHUNK {
            let Some(object) = self.items.next() else {
                out.put_slice(TAIL);
                self.first = true;
                break;
            };
            out.put_u8(b',');
            (self.item)(&object, &mut out);
        }
        Some(out.freeze())
    }

    fn step(&mut self) -> Result<Option<Bytes>, BoxError> {
        let Some(mut gzip) = self.gzip.take() else { return Ok(self.next()) };
        while let Some(chunk) = self.next() {
            gzip.write_all(&chunk)?;
            let ready = std::mem::take(gzip.get_mut());
            if ready.len() >= CHUNK / 8 {
                self.gzip = Some(gzip);
                return Ok(Some(ready.into()));
            }
            *gzip.get_mut() = ready;
        }
        Ok(Some(gzip.finish()?.into()))
    }
}

/// The list as a body that is written while it is sent.
pub fn stream(head: String, items: Vec<Object>, item: impl Item, gzip: bool) -> Body {
    let gzip = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
    let progress = Progress { head: Some(head), items: items.into_iter(), first: true, item, gzip };
    Body::stream(stream::unfold(Some(progress), |progress| async move {
        let mut progress = progress?;
        match progress.step() {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(progress))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_types::object::{Meta, Revision};
    use http_body_util::BodyExt;

    fn objects(n: usize) -> Vec<Object> {
        let one = |i: usize| {
            let body =
                format!("{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"p{i}\"}}}}");
            Object::new(Meta::default(), Revision(1), body.into())
        };
        (0..n).map(one).collect()
    }

    fn untyped(prefix: String) -> impl Item {
        move |object, out| {
            out.put_u8(b'{');
            out.put_slice(object.body().strip_prefix(prefix.as_bytes()).unwrap());
        }
    }

    #[tokio::test]
    async fn streams_and_whole_lists_agree() {
        let prefix = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",";
        for n in [0, 1, 2, 9000] {
            let head = || head("v1", "PodList", 7, "", None);
            let whole = whole(head(), &objects(n), untyped(prefix.into()));
            let body = stream(head(), objects(n), untyped(prefix.into()), false);
            assert_eq!(body.collect().await.unwrap().to_bytes(), whole, "{n} items");
            let zipped = stream(head(), objects(n), untyped(prefix.into()), true);
            let zipped = zipped.collect().await.unwrap().to_bytes();
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&zipped[..]), &mut plain).unwrap();
            assert_eq!(plain, whole, "{n} items");
        }
        let two = whole(head("v1", "PodList", 7, "abc", Some(3)), &objects(2), untyped(prefix.into()));
        assert_eq!(
            two,
            "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"7\",\"continue\":\"abc\",\"remainingItemCount\":3},\"items\":[{\"metadata\":{\"name\":\"p0\"}},{\"metadata\":{\"name\":\"p1\"}}]}\n"
        );
    }
}
