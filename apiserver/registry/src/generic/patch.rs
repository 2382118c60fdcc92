//! Patches of the four types, and apply.

use super::duplicates::duplicates;
use super::update::{Updated, Wanted};
use super::{Endpoint, Request, fields, scale};
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

    fn apply(&self, schema: Schema<'_>, mut object: Document) -> StatusResult<Document> {
        match self {
            Self::Json(operations) => Ok(patch::json::apply(&object, operations)?),
            Self::Merge(patch) => {
                patch::merge::apply(&mut object, patch.map().clone());
                Ok(object)
            }
            Self::Strategic(patch) => Ok(patch::strategic::apply(object, patch.map().clone(), schema)?),
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
    parsed: &Parsed,
    twice: &[String],
) -> StatusResult<Body> {
    const STRICT: &str = "strict decoding error: ";
    let json = patched.to_json();
    let refuse = |why: &str| {
        let at = Path::new("patch");
        let error = match parsed {
            Parsed::Strategic(patch) => Error::invalid(&at, &go_tree(patch), restored(why)),
            _ => Error::invalid(&at, &String::from_utf8_lossy(&json), why),
        };
        Status::invalid(&GroupKind { group: "".into(), kind: "".into() }, "", vec![error])
    };
    let mut decoded = decode_body(builtin(), &json, Media::Json, gvk, validation).map_err(|status| {
        // The words after "cannot be handled as a Kind: ".
        let words = format!("cannot be handled as a {}: ", gvk.kind);
        let why = status.message().split_once(&words).map_or(status.message(), |(_, why)| why);
        match why.strip_prefix(STRICT) {
            Some(rest) if !twice.is_empty() => refuse(&format!("{STRICT}{}, {rest}", twice.join(", "))),
            _ => refuse(why),
        }
    })?;
    match validation {
        FieldValidation::Strict if !twice.is_empty() => {
            return Err(refuse(&format!("{STRICT}{}", twice.join(", "))));
        }
        FieldValidation::Warn => _ = decoded.warnings.splice(0..0, twice.iter().cloned()),
        _ => {}
    }
    Ok(decoded)
}

/// A patch as Go prints a decoded tree.
fn go_tree(patch: &Document) -> String {
    let fields = patch.map().iter().map(|(k, v)| format!("{k}:{}", patch::go_print(v)));
    format!("map[{}]", fields.collect::<Vec<_>>().join(" "))
}

/// The words of Go's JSON decoder as those of the converter upstream uses on trees.
fn restored(why: &str) -> String {
    let mut parts = why.strip_prefix("json: cannot unmarshal ").map(|rest| rest.split(' '));
    let what = parts.as_mut().and_then(Iterator::next).unwrap_or_default();
    let Some((_, into)) = why.rsplit_once(" of type ").filter(|_| !what.is_empty()) else {
        return why.to_owned();
    };
    let what = match what {
        "array" => "slice",
        "object" => "map",
        "number" => "int64",
        other => other,
    };
    if into.starts_with("map[") {
        format!("cannot restore map from {what}")
    } else if into.starts_with("[]") {
        format!("cannot restore slice from {what}")
    } else if into.contains('.') {
        format!("cannot restore struct from: {what}")
    } else {
        format!("unrecognized type: {into}")
    }
}

/// What the text of a patch states twice, in upstream's words.
fn stated_twice(kind: PatchKind, body: &[u8], validation: FieldValidation) -> Vec<String> {
    let found = match (validation, kind) {
        (FieldValidation::Ignore, _) | (_, PatchKind::Apply) => Vec::new(),
        _ => duplicates(body),
    };
    let which = if kind == PatchKind::Json { "json patch " } else { "" };
    found.iter().map(|path| format!("{which}duplicate field {path:?}")).collect()
}

/// Decodes the sections of a changed object that differ from the present one's. The others were decoded when
/// they were written. Where the changed ones do not fit, `whole` has the words.
fn decode_changed(
    changed: Document,
    present: &Document,
    gvk: &GroupVersionKind,
    validation: FieldValidation,
    whole: impl FnOnce(&Document) -> StatusResult<Body>,
) -> StatusResult<Body> {
    let is_kept = |key: &str, value| present.map().get(key) == Some(value);
    let (kept, other): (Vec<_>, Vec<_>) = changed.map().iter().partition(|(k, v)| is_kept(k, v));
    let mut part = Document::default();
    let typing = ["apiVersion", "kind"].map(|k| (k, changed.map().get(k)));
    let typing = typing.into_iter().filter_map(|(k, v)| Some((k, v?)));
    for (key, value) in other.iter().map(|(k, v)| (k.as_str(), *v)).chain(typing) {
        part.map_mut().insert(key.to_owned(), value.clone());
    }
    let Ok(mut decoded) = decode_body(builtin(), &part.to_json(), Media::Json, gvk, validation) else {
        return whole(&changed);
    };
    let kept: Vec<String> = kept.into_iter().map(|(k, _)| k.clone()).collect();
    let mut changed = changed.into_map();
    for key in kept {
        if let Some(value) = changed.remove(&key) {
            decoded.document.map_mut().insert(key, value);
        }
    }
    Ok(decoded)
}

/// What repeated keys of an applied text are introduced with.
const REPEATS: &str = "error converting YAML to JSON: yaml: unmarshal errors:\n  ";

/// Reads the object of an apply, and the repeated keys in its text.
fn read_applied(body: &[u8], gvk: &GroupVersionKind) -> StatusResult<(Document, Vec<String>)> {
    let wrong = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
    let (json, repeats) =
        yaml_to_json(body).map_err(|e| wrong(format!("error converting YAML to JSON: {e}")))?;
    let what = match json.first() {
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        Some(b'0'..=b'9' | b'-') => "number",
        _ => "",
    };
    if !what.is_empty() {
        return Err(wrong(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
        )));
    }
    let stated = if json == b"null" {
        Document::default()
    } else {
        Document::from_json(&json).map_err(|e| wrong(e.to_string()))?
    };
    let (group, version) = stated.api_version().split_once('/').unwrap_or(("", stated.api_version()));
    if stated.kind() != gvk.kind || group != gvk.group || version != gvk.version {
        let kind = stated.kind();
        return Err(Status::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
    }
    Ok((stated, repeats))
}

fn check_name(requested: &str, stated: &str) -> StatusResult<()> {
    if stated == requested {
        return Ok(());
    }
    if stated.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({requested} based on URL) was undeterminable: name must be provided"
        )));
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
        let twice = stated_twice(kind, body, validation);
        let warnings = parking_lot::Mutex::new(Vec::new());
        let rq_name = rq.name;
        let transform = |old: Option<&Document>| -> StatusResult<Wanted> {
            let old = old.ok_or_else(|| self.not_found(&gvk.kind))?;
            let patched = parsed.apply(schema, self.document_to_served(old.clone())?)?;
            let whole = |patched: &Document| decode_patched(patched, &gvk, validation, &parsed, &twice);
            let decoded = if self.serves_stored() && twice.is_empty() {
                decode_changed(patched, old, &gvk, validation, whole)?
            } else {
                whole(&patched)?
            };
            check_name(rq_name, decoded.document.name())?;
            *warnings.lock() = decoded.warnings;
            let object = self.to_stored(decoded.document)?;
            Ok(Wanted { holds_uid: false, ..Wanted::from(object) })
        };
        let updated = self.update(rq, false, &transform).await;
        rq.warnings.extend(warnings.into_inner());
        updated
    }

    /// Server-side apply. On the main resource it creates what does not exist.
    async fn apply(&self, rq: &mut Request<'_>, body: &[u8]) -> StatusResult<Updated> {
        let gvk = self.kind.gvk();
        // The object stays as stated, since an empty map that decoding would drop is a claim of ownership.
        let (stated, repeats) = read_applied(body, &gvk)?;
        let schema = fields::schema_of(self.kind)?;
        let version = self.kind.api_version();
        let (manager, subresource, now) =
            (rq.options.manager().to_owned(), rq.subresource.to_owned(), rq.now);
        let reset_fields = self.strategy.reset_fields(rq.subresource);
        let force = rq.options.force == Some(true);
        let strict = rq.options.field_validation == FieldValidation::Strict;
        let name = rq.name.to_owned();
        let transform = |old: Option<&Document>| -> StatusResult<Wanted> {
            let ownership = managed::Request {
                schema,
                api_version: &version,
                subresource: &subresource,
                manager: &manager,
                now,
                reset_fields,
                versions: &fields::Served(self),
            };
            // Ownership is told in the version that is served, and so is what is applied.
            let converted = match old {
                Some(old) if !self.serves_stored() => Some(self.document_to_served(old.clone())?),
                _ => None,
            };
            let old = converted.as_ref().or(old);
            let merged = managed::apply(old, &stated, &ownership, force)?;
            if strict && !repeats.is_empty() {
                return Err(Status::bad_request(format!(
                    "error strict decoding YAML: {REPEATS}{}",
                    repeats.join("\n  ")
                )));
            }
            check_name(&name, merged.name())?;
            let lax = FieldValidation::Ignore;
            let whole = |merged: &Document| decode_body(builtin(), &merged.to_json(), Media::Json, &gvk, lax);
            let decoded = match old {
                Some(old) => decode_changed(merged, old, &gvk, lax, whole)?,
                None => whole(&merged)?,
            };
            let object = self.to_stored(decoded.document)?;
            Ok(Wanted { object, fields_settled: true, holds_uid: false })
        };
        let create = rq.subresource.is_empty();
        let updated = self.update(rq, create, &transform).await;
        if rq.options.field_validation == FieldValidation::Warn && !repeats.is_empty() {
            rq.warnings.push(format!("{REPEATS}{}", repeats.join("\n  ")));
        }
        updated
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
            let (stated, _) = read_applied(body, &gvk)?;
            let decoded = decode_body(builtin(), body, Media::Yaml, &gvk, validation)?;
            rq.warnings.extend(decoded.warnings);
            scale::check(&decoded.document, rq.name)?;
            check_name(rq.name, stated.name())?;
            let claim = scale::applied(self.kind, &stated).to_json();
            return self.apply(rq, &claim).await.map_err(|e| scale::in_scales_version(self.kind, e));
        }
        let parsed = Parsed::read(kind, body, validation)?;
        let twice = stated_twice(kind, body, validation);
        let wanted = |present: &Document| {
            let mut present = present.clone();
            present.set_type("autoscaling/v1", "Scale");
            Ok(decode_patched(&parsed.apply(schema, present)?, &gvk, validation, &parsed, &twice)?.document)
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
