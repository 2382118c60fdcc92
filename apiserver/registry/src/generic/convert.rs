//! Versions of a kind: how objects are served that are stored as another kind.
//!
//! The one such kind is the event, which `events.k8s.io/v1` names differently at the top level.

use super::{Endpoint, fields, stored};
use bytes::{BufMut, Bytes, BytesMut};
use gantry_types::{Document, Object, Status, StatusResult};

/// Names in `v1` and in `events.k8s.io/v1`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("involvedObject", "regarding"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
];

fn rename(object: &mut Document, names: impl Iterator<Item = (&'static str, &'static str)>) {
    let map = object.map_mut();
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

/// The event in the other version: renames whatever `from_core` says.
pub(crate) fn rename_event(object: &mut Document, from_core: bool) {
    if from_core {
        rename(object, EVENT_FIELDS.iter().copied());
    } else {
        rename(object, EVENT_FIELDS.iter().map(|(core, new)| (*new, *core)));
    }
}

/// How one item of a list is written.
pub type ItemWriter = Box<dyn Fn(&Object, &mut BytesMut) + Send + Sync>;

impl Endpoint {
    fn same(&self) -> bool {
        std::ptr::eq(self.kind, self.stored)
    }

    /// An object in the served version as it is stored.
    ///
    /// # Errors
    /// None so far; a version that cannot be converted would be refused here.
    pub fn to_stored(&self, mut object: Document) -> StatusResult<Document> {
        if !self.same() {
            rename(&mut object, EVENT_FIELDS.iter().map(|(core, new)| (*new, *core)));
            object.set_type(&self.stored.api_version(), self.stored.kind);
        }
        Ok(object)
    }

    /// A stored object in the served version.
    ///
    /// # Errors
    /// As [`Endpoint::to_stored`].
    pub fn document_to_served(&self, mut object: Document) -> StatusResult<Document> {
        if !self.same() {
            rename(&mut object, EVENT_FIELDS.iter().copied());
            object.set_type(&self.kind.api_version(), self.kind.kind);
            fields::normalize(self.kind, &mut object);
        }
        Ok(object)
    }

    /// The JSON of a cached object in the served version; mostly the cached bytes themselves.
    ///
    /// # Errors
    /// Where the cached body is not sound JSON.
    pub fn to_served(&self, object: &Object) -> StatusResult<Bytes> {
        if self.same() {
            return Ok(object.body().clone());
        }
        let document = Document::from_json(object.body()).map_err(Status::internal)?;
        let revision = document.resource_version().to_owned();
        let mut document = self.document_to_served(document)?;
        document.set_meta_str("resourceVersion", &revision);
        Ok(document.to_json().into())
    }

    /// Whether cached bytes are what is served.
    pub fn serves_stored(&self) -> bool {
        self.same()
    }

    /// The beginning of every stored body: `{"apiVersion":…,"kind":…,`.
    pub fn type_prefix(&self) -> &str {
        &self.type_prefix
    }

    /// Writes items of lists, which leave out their type as upstream's do.
    pub fn list_item(&self) -> ItemWriter {
        let prefix = self.type_prefix.clone();
        if self.same() {
            return Box::new(move |object, out| untyped(object.body(), &prefix, out));
        }
        let (served, kind) = (stored::type_prefix(self.kind), self.kind);
        Box::new(move |object, out| {
            let Ok(mut document) = Document::from_json(object.body()) else { return };
            let revision = object.revision();
            rename(&mut document, EVENT_FIELDS.iter().copied());
            fields::normalize(kind, &mut document);
            if let Ok(object) = stored::unstored(&document, &served, Some(revision)) {
                untyped(object.body(), &served, out);
            }
        })
    }
}

fn untyped(body: &[u8], prefix: &str, out: &mut BytesMut) {
    match body.strip_prefix(prefix.as_bytes()) {
        Some(rest) => {
            out.put_u8(b'{');
            out.put_slice(rest);
        }
        None => out.put_slice(body),
    }
}
