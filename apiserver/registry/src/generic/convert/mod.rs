//! Versions of a kind: how objects are served that are kept as another kind or in another version.
//!
//! A file a kind, each a [`Conversion`] between what one row of the scheme serves and the row it is kept as
//! (`Storage::As`). Two versions neither of which is the stored one meet in the stored one.

pub(crate) mod autoscaler;
mod autoscaler_v1;
mod event;

use super::{Endpoint, fields, stored};
use bytes::{BufMut, Bytes, BytesMut};
use gantry_types::scheme::Kind;
use gantry_types::{Document, Object, Status, StatusResult};

/// One served version against the stored one. Pure; takes objects that lack parts, and leaves the type and
/// the resource version to its caller. There and back again is the same object, but for an order of parts that
/// one of the versions cannot tell.
trait Conversion: Sync {
    /// From the served version to the stored one.
    fn to_stored(&self, object: &mut Document);

    /// From the stored version to the served one.
    fn to_served(&self, object: &mut Document);
}

/// How a row is converted that is not kept as itself.
fn conversion(kind: &Kind) -> Option<&'static dyn Conversion> {
    Some(match (kind.group, kind.version, kind.kind) {
        ("events.k8s.io", "v1", "Event") => &event::Events,
        ("autoscaling", "v1", "HorizontalPodAutoscaler") => &autoscaler::Autoscalers,
        _ => return None,
    })
}

/// Brings an object of one row into the version of another row that is kept alike.
pub(crate) fn convert(object: &mut Document, from: &Kind, to: &Kind) {
    if std::ptr::eq(from, to) {
        return;
    }
    if let Some(conversion) = conversion(from) {
        conversion.to_stored(object);
    }
    if let Some(conversion) = conversion(to) {
        conversion.to_served(object);
    }
    object.set_type(&to.api_version(), to.kind);
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
        convert(&mut object, self.kind, self.stored);
        Ok(object)
    }

    /// A stored object in the served version.
    ///
    /// # Errors
    /// As [`Endpoint::to_stored`].
    pub fn document_to_served(&self, mut object: Document) -> StatusResult<Document> {
        if !self.same() {
            convert(&mut object, self.stored, self.kind);
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
        let (served, kind, kept) = (stored::type_prefix(self.kind), self.kind, self.stored);
        Box::new(move |object, out| {
            let Ok(mut document) = Document::from_json(object.body()) else { return };
            let revision = object.revision();
            convert(&mut document, kept, kind);
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

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_types::scheme::{KINDS, Storage};

    #[test]
    fn every_row_kept_as_another_is_converted() {
        for kind in KINDS {
            let kept_as_another = matches!(kind.storage, Storage::As { .. });
            assert_eq!(conversion(kind).is_some(), kept_as_another, "{}", kind.gvk());
        }
    }
}
