//! Changes as watchers see them, and the encoded frames they share.

use crate::splice::splice_revision;
use bytes::{BufMut, Bytes, BytesMut};
use gantry_storage::Revision;
use gantry_types::{Object, Status};
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What a watch event says happened to the watcher's selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    Added,
    Modified,
    Deleted,
}

impl EventType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change of one object, shared by every watcher of the resource.
pub struct Change {
    pub revision: Revision,
    pub key: Arc<str>,
    /// The new state, `None` when the object went (or became unreadable).
    pub object: Option<Object>,
    /// The state before.
    pub previous: Option<Object>,
    pub(crate) at: Instant,
    gone: OnceLock<Object>,
    frames: Mutex<Vec<(u32, EventType, Bytes)>>,
}

impl Change {
    pub(crate) fn new(
        revision: Revision,
        key: Arc<str>,
        object: Option<Object>,
        previous: Option<Object>,
        at: Instant,
    ) -> Self {
        Self { revision, key, object, previous, at, gone: OnceLock::new(), frames: Mutex::default() }
    }

    /// The last state with the revision of this change, as a DELETED event carries it.
    fn gone(&self, previous: &Object) -> Object {
        self.gone
            .get_or_init(|| {
                let body = splice_revision(previous.body(), self.revision);
                let revision = gantry_types::Revision(self.revision);
                // A cached body always has metadata, or it would not have been cached.
                Object::new(
                    previous.meta().clone(),
                    revision,
                    body.unwrap_or_else(|| previous.body().clone()),
                )
            })
            .clone()
    }

    /// What this change is to someone who selects with `matches`.
    pub(crate) fn seen_by(self: &Arc<Self>, matches: impl Fn(&Object) -> bool) -> Option<ChangeEvent> {
        let now = self.object.as_ref().filter(|o| matches(o));
        let before = self.previous.as_ref().filter(|o| matches(o));
        let (kind, object) = match (before, now) {
            (None, None) => return None,
            (None, Some(o)) => (EventType::Added, o.clone()),
            (Some(_), Some(o)) => (EventType::Modified, o.clone()),
            (Some(o), None) => (EventType::Deleted, self.gone(o)),
        };
        Some(ChangeEvent { kind, object, change: Some(self.clone()) })
    }

    pub(crate) fn forget_frames(&self) {
        *self.frames.lock() = Vec::new();
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Change({} {})", self.revision, self.key)
    }
}

/// ADDED, MODIFIED or DELETED, as one watcher sees a change.
#[derive(Clone, Debug)]
pub struct ChangeEvent {
    pub kind: EventType,
    /// For DELETED the last matching state, carrying the revision of the deletion.
    pub object: Object,
    change: Option<Arc<Change>>,
}

impl ChangeEvent {
    /// A synthetic ADDED of the initial state.
    pub(crate) fn initial(object: Object) -> Self {
        Self { kind: EventType::Added, object, change: None }
    }

    /// The event's bytes on the wire, encoded at most once per encoder for all watchers.
    pub fn frame(&self, encoder: &Encoder) -> Bytes {
        let Some(change) = &self.change else { return (encoder.encode)(self.kind, &self.object) };
        let mut frames = change.frames.lock();
        if let Some((_, _, frame)) =
            frames.iter().find(|(id, kind, _)| (*id, *kind) == (encoder.id, self.kind))
        {
            return frame.clone();
        }
        let frame = (encoder.encode)(self.kind, &self.object);
        frames.push((encoder.id, self.kind, frame.clone()));
        frame
    }
}

/// One item of a watch.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    Change(ChangeEvent),
    /// Everything up to `revision` has been sent. `initial_events_end`: the initial state of a streaming list
    /// is complete (annotation `k8s.io/initial-events-end`).
    Bookmark {
        revision: Revision,
        initial_events_end: bool,
    },
    /// The last item of a watch that cannot go on.
    Error(Status),
}

/// A wire form of watch events. Encoders with the same `id` must produce the same bytes: one id per (API
/// version, media type, Table or PartialObjectMetadata) of a resource.
#[derive(Clone)]
pub struct Encoder {
    pub id: u32,
    pub encode: Arc<dyn Fn(EventType, &Object) -> Bytes + Send + Sync>,
}

impl Encoder {
    /// The JSON form of the storage version.
    pub fn json(id: u32) -> Self {
        Self { id, encode: Arc::new(|kind, object| json_frame(kind, object.body())) }
    }
}

/// `{"type":"ADDED","object":…}` and a newline.
pub fn json_frame(kind: EventType, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_str().as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(body.trim_ascii_end());
    out.put_slice(b"}\n");
    out.freeze()
}

/// The JSON form of a bookmark for objects of a kind.
pub fn bookmark_frame(api_version: &str, kind: &str, revision: Revision, initial_events_end: bool) -> Bytes {
    let annotations =
        if initial_events_end { ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" } else { "" };
    Bytes::from(format!(
        "{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\
         \"metadata\":{{\"resourceVersion\":\"{revision}\",\"creationTimestamp\":null{annotations}}}}}}}\n"
    ))
}
