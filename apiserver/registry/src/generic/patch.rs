//! Patches of the four types, and apply.

use super::update::{Updated, Wanted};
use super::{Endpoint, Request, fields};
use gantry_machinery::schema::{Schema, builtin};
use gantry_machinery::validate::{Body, FieldValidation, Media, decode_body, yaml_to_json};
use gantry_machinery::{managed, patch};
use gantry_types::field::{Error, Path};
use gantry_types::{Document, GroupKind, GroupVersionKind, Status, StatusResult};

/// The type of a patch, by its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchKind {
    pub fn parse(media: &str) -> Option<Self> {
        match media {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }
}

/// A patch, read once, applied as often as somebody else is faster.
enum Parsed {
    Json(Vec<patch::json::Operation>),
    Merge(Document),
    Strategic(Document),
}

impl Parsed {
    fn read(kind: PatchKind, body: &[u8], validation: FieldValidation) -> StatusResult<Self> {
        let validated = validation != FieldValidation::Ignore;
        Ok(match kind {
            PatchKind::Json => Self::Json(patch::json::parse(body, validated)?),
            PatchKind::Merge => Self::Merge(Document::new(patch::merge::parse(body, validated)?)),
            _ => Self::Strategic(Document::new(patch::strategic::parse(body)?)),
        })
    }

    fn apply(&self, schema: Schema<'_>, object: &Document) -> StatusResult<Document> {
        match self {
            Self::Json(operations) => Ok(patch::json::apply(object, operations)?),
            Self::Merge(patch) => {
                let mut object = object.clone();
                patch::merge::apply(&mut object, patch.map().clone());
                Ok(object)
            }
            Self::Strategic(patch) => {
                Ok(patch::strategic::apply(object.clone(), patch.map().clone(), schema)?)
            }
        }
    }
}

fn schema_of(gvk: &GroupVersionKind) -> StatusResult<Schema<'static>> {
    builtin().gvk(gvk).ok_or_else(|| Status::internal(format!("no schema for {gvk}")))
}

/// Reads a patched object as one of its kind; what does not fit is the patch's fault.
fn decode_patched(
    patched: &Document,
    gvk: &GroupVersionKind,
    validation: FieldValidation,
) -> StatusResult<Body> {
    let json = patched.to_json();
    decode_body(builtin(), &json, Media::Json, gvk, validation).map_err(|status| {
        // The words after "cannot be handled as a Kind: ".
        let words = format!("cannot be handled as a {}: ", gvk.kind);
        let why = status.message().split_once(&words).map_or(status.message(), |(_, why)| why);
        let error = Error::invalid(&Path::new("patch"), &String::from_utf8_lossy(&json), why);
        Status::invalid(&GroupKind { group: "".into(), kind: "".into() }, "", vec![error])
    })
}

fn check_name(requested: &str, stated: &str) -> StatusResult<()> {
    if stated == requested {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "the name of the object ({stated}) does not match the name on the URL ({requested})"
    )))
}

impl Endpoint {
    /// `PATCH`.
    ///
    /// # Errors
    /// As [`Endpoint::update`]; 400, 413 and 422 for patches that are broken or do not apply, 409 for an apply
    /// against the owners of fields.
    pub async fn patch(&self, rq: &mut Request<'_>, kind: PatchKind, body: &[u8]) -> StatusResult<Updated> {
        if kind == PatchKind::Apply {
            return self.apply(rq, body).await;
        }
        let gvk = self.kind.gvk();
        let schema = schema_of(&gvk)?;
        let validation = rq.options.field_validation;
        let parsed = Parsed::read(kind, body, validation)?;
        let warnings = parking_lot::Mutex::new(Vec::new());
        let rq_name = rq.name;
        let transform = |old: Option<&Document>| -> StatusResult<Wanted> {
            let old = old.ok_or_else(|| self.not_found(&gvk.kind))?;
            let served = self.document_to_served(old.clone())?;
            let patched = parsed.apply(schema, &served)?;
            let decoded = decode_patched(&patched, &gvk, validation)?;
            check_name(rq_name, decoded.document.name())?;
            *warnings.lock() = decoded.warnings;
            self.to_stored(decoded.document).map(Wanted::from)
        };
        let updated = self.update(rq, false, &transform).await;
        rq.warnings.extend(warnings.into_inner());
        updated
    }

    /// Server-side apply. On the main resource it creates what does not exist.
    async fn apply(&self, rq: &mut Request<'_>, body: &[u8]) -> StatusResult<Updated> {
        let gvk = self.kind.gvk();
        // Unknown and duplicate fields are found by decoding; the object itself stays as stated, since an
        // empty map that decoding drops is a claim of ownership.
        let decoded = decode_body(builtin(), body, Media::Yaml, &gvk, rq.options.field_validation)?;
        rq.warnings.extend(decoded.warnings);
        let (json, _) = yaml_to_json(body).map_err(|e| Status::bad_request(e.to_string()))?;
        let stated = Document::from_json(&json).map_err(|e| Status::bad_request(e.to_string()))?;
        let mut applied = self.to_stored(stated)?;
        if applied.name().is_empty() {
            applied.set_meta_str("name", rq.name);
        }
        check_name(rq.name, applied.name())?;
        super::metadata::settle_namespace(&mut applied, rq.namespace)?;
        let schema = fields::schema_of(self.stored)?;
        let version = self.stored.api_version();
        let (manager, subresource, now) =
            (rq.options.manager().to_owned(), rq.subresource.to_owned(), rq.now);
        let reset_fields = self.strategy.reset_fields(rq.subresource);
        let force = rq.options.force == Some(true);
        let transform = |old: Option<&Document>| -> StatusResult<Wanted> {
            let ownership = managed::Request {
                schema,
                api_version: &version,
                subresource: &subresource,
                manager: &manager,
                now,
                reset_fields,
                versions: &managed::OneVersion,
            };
            let merged = managed::apply(old, &applied, &ownership, force)?.to_json();
            let stored = self.stored.gvk();
            let decoded = decode_body(builtin(), &merged, Media::Json, &stored, FieldValidation::Ignore)?;
            Ok(Wanted { object: decoded.document, fields_settled: true })
        };
        let create = rq.subresource.is_empty();
        self.update(rq, create, &transform).await
    }

    /// `PATCH` of the `scale` subresource.
    ///
    /// # Errors
    /// As [`Endpoint::patch`].
    pub async fn patch_scale(
        &self,
        rq: &mut Request<'_>,
        kind: PatchKind,
        body: &[u8],
    ) -> StatusResult<Updated> {
        let gvk =
            GroupVersionKind { group: "autoscaling".into(), version: "v1".into(), kind: "Scale".into() };
        let schema = schema_of(&gvk)?;
        let validation = rq.options.field_validation;
        if kind == PatchKind::Apply {
            let scale = decode_body(builtin(), body, Media::Yaml, &gvk, validation)?.document;
            return self.rescale(rq, &|_| Ok(scale.clone())).await;
        }
        let parsed = Parsed::read(kind, body, validation)?;
        let wanted = |present: &Document| {
            let mut present = present.clone();
            present.set_type("autoscaling/v1", "Scale");
            Ok(decode_patched(&parsed.apply(schema, &present)?, &gvk, validation)?.document)
        };
        self.rescale(rq, &wanted).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_types_are_told_by_their_media() {
        assert_eq!(PatchKind::parse("application/json-patch+json"), Some(PatchKind::Json));
        assert_eq!(PatchKind::parse("application/json"), None);
    }
}
