//! The metadata every object has: its rules on create and update, and what the server fills in.

use super::options::validate_manager;
use gantry_types::field::{Error, ErrorList, Path, go_quote};
use gantry_types::{Document, Status, StatusResult, names};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Everything the rules look at, borrowed from the tree.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct View<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    generate_name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    creation_timestamp: Option<&'a str>,
    deletion_timestamp: Option<&'a str>,
    deletion_grace_period_seconds: Option<i64>,
    generation: Option<i64>,
    #[serde(borrow)]
    labels: Option<BTreeMap<&'a str, &'a str>>,
    #[serde(borrow)]
    annotations: Option<BTreeMap<&'a str, &'a str>>,
    #[serde(borrow)]
    owner_references: Option<Vec<Owner<'a>>>,
    finalizers: Option<Vec<&'a str>>,
    #[serde(borrow)]
    managed_fields: Option<Vec<Managed<'a>>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Owner<'a> {
    api_version: &'a str,
    kind: &'a str,
    name: &'a str,
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_owner_deletion: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Managed<'a> {
    operation: &'a str,
    fields_type: &'a str,
    manager: &'a str,
    subresource: &'a str,
}

const ANNOTATIONS_MAX: usize = 256 << 10;
const SUBRESOURCE_MAX: usize = 256;
pub const ORPHAN: &str = "orphan";
pub const FOREGROUND: &str = "foregroundDeletion";

fn view(object: &Document) -> StatusResult<View<'_>> {
    match object.view_at(&["metadata"]) {
        Some(view) => Ok(view),
        None if !object.has(&["metadata"]) => Ok(View::default()),
        None => Err(Status::bad_request("the object's metadata is malformed")),
    }
}

fn labels(labels: Option<&BTreeMap<&str, &str>>, path: &Path, errors: &mut ErrorList) {
    for (key, value) in labels.into_iter().flatten() {
        errors.extend(names::qualified_name(key).into_iter().map(|m| Error::invalid(path, key, m)));
        errors.extend(names::label_value(value).into_iter().map(|m| Error::invalid(path, value, m)));
    }
}

fn annotations(annotations: Option<&BTreeMap<&str, &str>>, path: &Path, errors: &mut ErrorList) {
    let mut size = 0;
    for (key, value) in annotations.into_iter().flatten() {
        let messages = names::qualified_name(&key.to_lowercase());
        errors.extend(messages.into_iter().map(|m| Error::invalid(path, key, m)));
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_MAX {
        errors.push(Error::too_long(path, ANNOTATIONS_MAX));
    }
}

fn owners(owners: Option<&Vec<Owner<'_>>>, path: &Path, errors: &mut ErrorList) {
    let owners: &[Owner<'_>] = owners.map_or(&[], Vec::as_slice);
    let mut controller: Option<String> = None;
    for owner in owners {
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", owner.api_version));
        if version.is_empty() {
            let at = path.child("apiVersion");
            errors.push(Error::invalid(&at, owner.api_version, "version must not be empty"));
        }
        for (name, value) in [("kind", owner.kind), ("name", owner.name), ("uid", owner.uid)] {
            if value.is_empty() {
                errors.push(Error::invalid(&path.child(name), value, "must not be empty"));
            }
        }
        if (group, version, owner.kind) == ("", "v1", "Event") {
            errors.push(Error::invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner"));
        }
        if owner.controller == Some(true) {
            let this = format!("{}/{}", owner.kind, owner.name);
            match &controller {
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    errors.push(Error::invalid(path, owners, detail));
                }
                None => controller = Some(this),
            }
        }
    }
}

fn finalizers(finalizers: &[&str], path: &Path, errors: &mut ErrorList) {
    for name in finalizers {
        errors.extend(names::qualified_name(name).into_iter().map(|m| Error::invalid(path, name, m)));
    }
    if finalizers.contains(&ORPHAN) && finalizers.contains(&FOREGROUND) {
        let detail = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.push(Error::invalid(path, finalizers, detail));
    }
}

fn managed(entries: Option<&Vec<Managed<'_>>>, path: &Path, errors: &mut ErrorList) {
    for (i, entry) in entries.into_iter().flatten().enumerate() {
        let path = path.index(i);
        if !matches!(entry.operation, "Apply" | "Update") {
            errors.push(Error::invalid(
                &path.child("operation"),
                entry.operation,
                "must be `Apply` or `Update`",
            ));
        }
        if !matches!(entry.fields_type, "" | "FieldsV1") {
            errors.push(Error::invalid(&path.child("fieldsType"), entry.fields_type, "must be `FieldsV1`"));
        }
        validate_manager(entry.manager, &path.child("manager"), errors);
        if entry.subresource.len() > SUBRESOURCE_MAX {
            errors.push(Error::too_long(&path.child("subresource"), SUBRESOURCE_MAX));
        }
    }
}

/// The rules of any object's metadata. `name_check` judges `metadata.name` (or, as a prefix, `generateName`).
///
/// # Errors
/// Where the metadata has the wrong shape altogether.
pub fn validate(
    object: &Document,
    namespaced: bool,
    name_check: &dyn Fn(&str, bool) -> Vec<String>,
) -> StatusResult<ErrorList> {
    let m = view(object)?;
    let path = Path::new("metadata");
    let mut errors = ErrorList::new();
    let e = &mut errors;
    if !m.generate_name.is_empty() {
        let at = path.child("generateName");
        e.extend(
            name_check(&m.generate_name, true).into_iter().map(|d| Error::invalid(&at, &m.generate_name, d)),
        );
    }
    if m.name.is_empty() {
        e.push(Error::required(&path.child("name"), "name or generateName is required"));
    } else {
        let at = path.child("name");
        e.extend(name_check(&m.name, false).into_iter().map(|d| Error::invalid(&at, &m.name, d)));
    }
    let at = path.child("namespace");
    match (namespaced, m.namespace.is_empty()) {
        (true, true) => e.push(Error::required(&at, "")),
        (true, false) => e.extend(
            names::dns1123_label(&m.namespace).into_iter().map(|d| Error::invalid(&at, &m.namespace, d)),
        ),
        (false, false) => e.push(Error::forbidden(&at, "not allowed on this type")),
        (false, true) => {}
    }
    if m.generation.is_some_and(|g| g < 0) {
        let at = path.child("generation");
        e.push(Error::invalid(&at, &m.generation, "must be greater than or equal to 0"));
    }
    labels(m.labels.as_ref(), &path.child("labels"), e);
    annotations(m.annotations.as_ref(), &path.child("annotations"), e);
    owners(m.owner_references.as_ref(), &path.child("ownerReferences"), e);
    finalizers(m.finalizers.as_deref().unwrap_or_default(), &path.child("finalizers"), e);
    managed(m.managed_fields.as_ref(), &path.child("managedFields"), e);
    Ok(errors)
}

const IMMUTABLE: &str = "field is immutable";

/// What an update may not do to metadata.
///
/// # Errors
/// Where the metadata has the wrong shape altogether.
pub fn validate_update(object: &Document, old: &Document) -> StatusResult<ErrorList> {
    let (new, was) = (view(object)?, view(old)?);
    let path = Path::new("metadata");
    let mut errors = ErrorList::new();
    if was.deletion_timestamp.is_some() {
        let known = was.finalizers.as_deref().unwrap_or_default();
        let mut extra: Vec<&str> =
            new.finalizers.iter().flatten().copied().filter(|f| !known.contains(f)).collect();
        extra.sort_unstable();
        if !extra.is_empty() {
            let quoted: Vec<String> = extra.iter().map(|f| go_quote(f)).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                quoted.join(", ")
            );
            errors.push(Error::forbidden(&path.child("finalizers"), detail));
        }
    }
    if new.resource_version.is_empty() {
        errors.push(Error::invalid(&path.child("resourceVersion"), "", "must be specified for an update"));
    }
    if new.generation.unwrap_or(0) < was.generation.unwrap_or(0) {
        errors.push(Error::invalid(&path.child("generation"), &new.generation, "must not be decremented"));
    }
    for (field, new, was) in [
        ("name", Some(&*new.name), Some(&*was.name)),
        ("namespace", Some(&*new.namespace), Some(&*was.namespace)),
        ("uid", Some(&*new.uid), Some(&*was.uid)),
        ("creationTimestamp", new.creation_timestamp, was.creation_timestamp),
        ("deletionTimestamp", new.deletion_timestamp, was.deletion_timestamp),
    ] {
        if new != was {
            errors.push(Error::invalid(&path.child(field), &new, IMMUTABLE));
        }
    }
    let (new_grace, old_grace) = (new.deletion_grace_period_seconds, was.deletion_grace_period_seconds);
    if new_grace != old_grace {
        errors.push(Error::invalid(&path.child("deletionGracePeriodSeconds"), &new_grace, IMMUTABLE));
    }
    // The remaining checks of shape ran in `validate`, which upstream runs too: its repeats are dropped when
    // errors are printed, and would only be repeated causes here.
    Ok(errors)
}

/// Puts an object into the request's namespace.
///
/// # Errors
/// `BadRequest` where it says it is in another.
pub fn settle_namespace(object: &mut Document, requested: &str) -> StatusResult<()> {
    let stated = object.namespace();
    if stated == requested {
        return Ok(());
    }
    if !stated.is_empty() && !requested.is_empty() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    object.set_meta_str("namespace", requested);
    Ok(())
}

/// What only the server says about a new object: its identity and its birth.
pub fn fill_new(object: &mut Document, now: &str) {
    object.remove_at(&["metadata", "deletionTimestamp"]);
    object.remove_at(&["metadata", "deletionGracePeriodSeconds"]);
    object.remove_at(&["metadata", "selfLink"]);
    object.set_meta_str("uid", &uuid::Uuid::new_v4().to_string());
    object.set_meta_str("creationTimestamp", now);
}

/// What an update keeps whatever the client sent.
pub fn keep_system(object: &mut Document, old: &Document) {
    object.remove_at(&["metadata", "selfLink"]);
    if object.uid().is_empty() {
        object.set_meta_str("uid", old.uid());
    }
    let created = old.meta_str("creationTimestamp");
    if !created.is_empty() {
        object.set_meta_str("creationTimestamp", created);
    }
    let deleted = old.meta_str("deletionTimestamp");
    if !deleted.is_empty() {
        object.set_meta_str("deletionTimestamp", deleted);
    }
    let grace = ["metadata", "deletionGracePeriodSeconds"];
    if let (Some(seconds), false) = (old.get_at::<i64>(&grace), object.has(&grace)) {
        object.set_at(&grace, seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(text: &str) -> Document {
        Document::from_json(text.as_bytes()).unwrap()
    }

    fn check(object: &str, namespaced: bool, want: &[&str]) {
        let errors = validate(&doc(object), namespaced, &names::name_is_dns_subdomain).unwrap();
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
    }

    #[test]
    fn metadata_is_judged_in_upstream_words() {
        check(r#"{"metadata":{"name":"a","namespace":"b","labels":{"x/y":"z"}}}"#, true, &[]);
        check(r#"{}"#, false, &["metadata.name: Required value: name or generateName is required"]);
        check(r#"{"metadata":{"name":"a"}}"#, true, &["metadata.namespace: Required value"]);
        check(
            r#"{"metadata":{"name":"a","finalizers":["orphan","foregroundDeletion"]}}"#,
            false,
            &[
                r#"metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set"#,
            ],
        );
        check(
            r#"{"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"x"}]}}"#,
            false,
            &[r#"metadata.ownerReferences.uid: Invalid value: "": must not be empty"#],
        );
    }

    #[test]
    fn updates_may_not_touch_identity() {
        let old = doc(r#"{"metadata":{"name":"a","uid":"1","resourceVersion":"5","deletionTimestamp":"t"}}"#);
        let new = doc(
            r#"{"metadata":{"name":"a","uid":"2","resourceVersion":"5","deletionTimestamp":"t","finalizers":["x/y"]}}"#,
        );
        let errors = validate_update(&new, &old).unwrap();
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"x/y"}"#,
                r#"metadata.uid: Invalid value: "2": field is immutable"#,
            ]
        );
    }
}
