//! `apps/v1` ControllerRevision.

use crate::kinds::prelude::*;
use crate::kinds::template::not_negative;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::apps::v1::ControllerRevision;

/// A revision's data never changes.
pub struct ControllerRevisions;

fn validate(r: &ControllerRevision) -> ErrorList {
    let mut errs = meta::object_meta(&r.metadata, true, meta::subdomain_name);
    errs.extend(not_negative(Some(r.revision), &Path::new("revision")));
    errs
}

/// `statefulset.apps/name` of the owner that controls the object.
fn controller(metadata: &ObjectMeta) -> String {
    let owner = list(&metadata.owner_references).iter().find(|o| flag(o.controller));
    owner.map_or_else(
        || "<none>".to_owned(),
        |o| {
            let group = o.api_version.split_once('/').map_or("", |(group, _)| group);
            match (o.kind.to_lowercase(), group) {
                (kind, "") if kind.is_empty() => o.name.clone(),
                (kind, "") => format!("{kind}/{}", o.name),
                (kind, group) => format!("{kind}.{group}/{}", o.name),
            }
        },
    )
}

impl Strategy for ControllerRevisions {
    type Kind = ControllerRevision;

    fn validate_create(&self, _cx: &Context<'_>, r: &ControllerRevision) -> ErrorList {
        let mut errs = validate(r);
        let path = Path::new("data");
        match r.data.as_ref().filter(|d| !d.0.is_null()) {
            None => errs.push(Error::required(&path, "data is mandatory")),
            Some(d) if !d.0.is_object() => {
                errs.push(Error::required(&path, "data must be a valid JSON object"));
            }
            Some(_) => {}
        }
        errs
    }

    fn validate_update(
        &self,
        _cx: &Context<'_>,
        r: &ControllerRevision,
        old: &ControllerRevision,
    ) -> ErrorList {
        let mut errs = meta::object_meta_update(&r.metadata, &old.metadata);
        errs.extend(validate(r));
        errs.extend(meta::immutable(&r.data, &old.data, &Path::new("data")));
        errs
    }

    fn row(&self, r: &ControllerRevision, now: Timestamp) -> Vec<Cell> {
        vec![
            print::name(&r.metadata),
            controller(&r.metadata).into(),
            r.revision.into(),
            print::age(r.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
