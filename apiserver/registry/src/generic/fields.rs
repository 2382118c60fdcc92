//! Where the pipeline meets the machinery: schema defaults, field ownership, upstream's stored protobuf.

use super::convert::convert;
use super::{Endpoint, Request};
use gantry_machinery::schema::{Schema, builtin};
use gantry_machinery::{default, managed, protobuf, validate};
use gantry_types::scheme::{self, Kind};
use gantry_types::{Document, Status, StatusResult};
// The one place above the machinery that names a JSON value: a trait of the machinery speaks of them.
use serde_json::{Map, Value as JsonValue};

/// The schema of a kind.
///
/// # Errors
/// `InternalError` for a kind without one, which the scheme's tests rule out.
pub fn schema_of(kind: &Kind) -> StatusResult<Schema<'static>> {
    builtin()
        .kind(kind.group, kind.version, kind.kind)
        .ok_or_else(|| Status::internal(format!("no schema for {}", kind.gvk())))
}

/// Fills in the defaults the schema declares.
pub fn default(kind: &Kind, object: &mut Document) {
    if let Ok(schema) = schema_of(kind) {
        default::default(schema, object.map_mut());
    }
}

/// Brings an object that code has made into the form Go would write: no nulls, no empty optional parts.
pub fn normalize(kind: &Kind, object: &mut Document) {
    if let Ok(schema) = schema_of(kind) {
        validate::normalize(schema, object.map_mut());
    }
}

/// Brings a value of upstream's store into JSON.
pub(crate) fn from_protobuf(kind: &Kind, value: &[u8]) -> Result<Document, String> {
    let document =
        protobuf::decode_envelope(builtin(), value, Some(&kind.gvk())).map_err(|e| e.to_string())?;
    if document.kind() == kind.kind {
        Ok(document)
    } else {
        Err(format!("unexpected kind {}", document.kind()))
    }
}

/// Entries of `managedFields` written in another version of the kind.
pub(crate) struct Served<'e>(pub &'e Endpoint);

impl Served<'_> {
    /// The row that is kept as this endpoint's objects are and speaks a version of its group; entries of other
    /// groups are nobody's, as upstream has it.
    fn row(&self, api_version: &str) -> Option<&'static Kind> {
        let Endpoint { kind, stored, .. } = self.0;
        let alike = |k: &&Kind| k.group == kind.group && k.stored().is_some_and(|s| std::ptr::eq(s, *stored));
        let rows = std::iter::once(*kind).chain(scheme::KINDS);
        rows.filter(alike).find(|k| k.api_version() == api_version)
    }
}

impl managed::Versions for Served<'_> {
    fn convert<'s>(
        &'s self,
        object: &Map<String, JsonValue>,
        api_version: &str,
    ) -> Option<(Map<String, JsonValue>, Schema<'s>)> {
        let to = self.row(api_version)?;
        let mut document = Document::new(object.clone());
        let from = self.row(document.api_version()).unwrap_or(self.0.kind);
        convert(&mut document, from, to);
        Some((document.into_map(), schema_of(to).ok()?))
    }
}

/// Settles `managedFields` of an object about to replace `old`; both as stored. Ownership is told in the
/// version that is served.
pub(crate) fn track_update(
    endpoint: &Endpoint,
    rq: &Request<'_>,
    old: Option<&Document>,
    object: &mut Document,
) -> StatusResult<()> {
    let version = endpoint.kind.api_version();
    let ownership = managed::Request {
        schema: schema_of(endpoint.kind)?,
        api_version: &version,
        subresource: rq.subresource,
        manager: rq.options.manager(),
        now: rq.now,
        reset_fields: endpoint.strategy.reset_fields(rq.subresource),
        versions: &Served(endpoint),
    };
    if endpoint.serves_stored() {
        managed::update(old, object, &ownership);
        return Ok(());
    }
    let old = old.map(|old| endpoint.document_to_served(old.clone())).transpose()?;
    let mut served = endpoint.document_to_served(object.clone())?;
    // Times that were never set are written, and owned by nobody.
    served.map_mut().retain(|name, value| !(name.starts_with("deprecated") && value.is_null()));
    managed::update(old.as_ref(), &mut served, &ownership);
    let path = ["metadata", "managedFields"];
    match served.map().get("metadata").and_then(|m| m.get("managedFields")) {
        Some(entries) => object.set_at(&path, entries),
        None => _ = object.remove_at(&path),
    }
    Ok(())
}

/// Undoes a change of nothing but times in `managedFields`.
pub(crate) fn ignore_timestamps(object: &mut Document, old: &Document) {
    managed::keep_times(old, object);
}
