//! Streaming a watch: frames that all watchers of the same form share.

use super::body::{Body, BoxError};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use gantry_types::{Object, Status, StatusResult};
use gantry_watch_cache::{Encoder, WatchEvent, Watcher, bookmark_frame};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// How the parts of a watch that are not shared are written.
pub struct Form {
    pub encoder: Encoder,
    pub api_version: String,
    pub kind: &'static str,
    /// Turns the JSON of a whole event (`{"type":…,"object":…}`, newline-terminated) into this form; `None`
    /// for JSON itself.
    pub reframe: Option<Arc<dyn Fn(&str, &[u8]) -> StatusResult<Bytes> + Send + Sync>>,
}

impl Form {
    fn reframed(&self, kind: &str, object: Vec<u8>) -> Bytes {
        if let Some(reframe) = &self.reframe
            && let Ok(frame) = reframe(kind, &object)
        {
            return frame;
        }
        let mut out = BytesMut::with_capacity(object.len() + 40);
        out.put_slice(b"{\"type\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\",\"object\":");
        out.put_slice(object.trim_ascii_end());
        out.put_slice(b"}\n");
        out.freeze()
    }

    pub fn error(&self, status: &Status) -> Bytes {
        self.reframed("ERROR", status.to_json())
    }

    fn frame(&self, event: &WatchEvent) -> Bytes {
        match event {
            WatchEvent::Change(change) => change.frame(&self.encoder),
            WatchEvent::Bookmark { revision, initial_events_end } => {
                let json = bookmark_frame(&self.api_version, self.kind, *revision, *initial_events_end);
                if self.reframe.is_none() {
                    return json;
                }
                const BEFORE: usize = b"{\"type\":\"BOOKMARK\",\"object\":".len();
                // The frame is the object in its envelope: 28 bytes before, `}` and a newline after.
                let object = json.get(BEFORE..json.len().saturating_sub(2)).unwrap_or_default();
                self.reframed("BOOKMARK", object.to_vec())
            }
            WatchEvent::Error(status) => self.error(status),
        }
    }
}

/// Frames in order. Small ones that are ready together are joined, so that a burst costs few writes; large ones go
/// out as they are, the same bytes for every watcher.
struct Frames {
    watcher: Watcher,
    form: Form,
    /// A large frame behind the small ones just sent.
    held: Option<Bytes>,
    done: bool,
}

/// Frames below this are joined.
const SMALL: usize = 1 << 10;
/// How much is joined.
const JOIN: usize = 8 << 10;

impl Frames {
    /// The next frame that is ready now.
    fn ready(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(frame) = self.held.take() {
            return Poll::Ready(Some(frame));
        }
        if self.done {
            return Poll::Ready(None);
        }
        let event = ready!(self.watcher.poll_next_unpin(cx));
        self.done = event.is_none();
        Poll::Ready(event.map(|event| self.form.frame(&event)))
    }
}

impl Stream for Frames {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(first) = ready!(this.ready(cx)) else { return Poll::Ready(None) };
        if first.len() >= SMALL {
            return Poll::Ready(Some(Ok(first)));
        }
        let mut joined: Option<BytesMut> = None;
        while let Poll::Ready(Some(frame)) = this.ready(cx) {
            if frame.len() >= SMALL {
                this.held = Some(frame);
                break;
            }
            let joined = joined.get_or_insert_with(|| {
                let mut joined = BytesMut::with_capacity(JOIN + SMALL);
                joined.put_slice(&first);
                joined
            });
            joined.put_slice(&frame);
            if joined.len() >= JOIN {
                break;
            }
        }
        Poll::Ready(Some(Ok(joined.map_or(first, BytesMut::freeze))))
    }
}

/// The body of a watch.
pub fn body(watcher: Watcher, form: Form) -> Body {
    Body::stream(Frames { watcher, form, held: None, done: false })
}

/// A watch that ends with its first frame.
pub fn refused(status: &Status, form: &Form) -> Body {
    Body::Full(form.error(status))
}

/// `{"type":…,"object":…}` around an object's own JSON, as an encoder for [`Form`].
pub fn json_encoder(id: u32) -> Encoder {
    Encoder::json(id)
}

/// An encoder that first makes another object of the cached one.
pub fn mapped_encoder(
    id: u32,
    map: impl Fn(&Object) -> StatusResult<Vec<u8>> + Send + Sync + 'static,
    reframe: Option<Arc<dyn Fn(&str, &[u8]) -> StatusResult<Bytes> + Send + Sync>>,
) -> Encoder {
    Encoder {
        id,
        encode: Arc::new(move |kind, object| {
            let (name, body) = match map(object) {
                Ok(body) => (kind.as_str(), body),
                Err(status) => ("ERROR", status.to_json()),
            };
            match &reframe {
                Some(reframe) => reframe(name, &body).unwrap_or_default(),
                None => {
                    let mut out = BytesMut::with_capacity(body.len() + 40);
                    out.put_slice(b"{\"type\":\"");
                    out.put_slice(name.as_bytes());
                    out.put_slice(b"\",\"object\":");
                    out.put_slice(body.trim_ascii_end());
                    out.put_slice(b"}\n");
                    out.freeze()
                }
            }
        }),
    }
}
