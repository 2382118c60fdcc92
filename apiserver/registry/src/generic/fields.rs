//! Where the pipeline meets the machinery: schema defaults, field ownership, upstream's stored protobuf.

use super::{Endpoint, Request};
use gantry_machinery::schema::{Schema, builtin};
use gantry_machinery::{default, managed, protobuf, validate};
use gantry_types::scheme::Kind;
use gantry_types::{Document, Status, StatusResult};

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

impl Endpoint {
    /// What the machinery must know to keep `managedFields`.
    pub(crate) fn ownership<'r>(
        &self,
        rq: &'r Request<'_>,
        api_version: &'r str,
    ) -> StatusResult<managed::Request<'r>> {
        Ok(managed::Request {
            schema: schema_of(self.stored)?,
            api_version,
            subresource: rq.subresource,
            manager: rq.options.manager(),
            now: rq.now,
            reset_fields: self.strategy.reset_fields(rq.subresource),
            versions: &managed::OneVersion,
        })
    }
}

/// Settles `managedFields` of an object about to replace `old`.
pub(crate) fn track_update(
    endpoint: &Endpoint,
    rq: &Request<'_>,
    old: Option<&Document>,
    object: &mut Document,
) -> StatusResult<()> {
    let version = endpoint.stored.api_version();
    let ownership = endpoint.ownership(rq, &version)?;
    managed::update(old, object, &ownership);
    Ok(())
}

/// Undoes a change of nothing but times in `managedFields`.
pub(crate) fn ignore_timestamps(object: &mut Document, old: &Document) {
    managed::keep_times(old, object);
}
