//! The `scale` subresource: replicas of a workload as `autoscaling/v1` Scale.

use super::update::{Updated, Wanted};
use super::{Endpoint, Request, stored};
use crate::kinds::print;
use crate::strategy::Cell;
use gantry_types::field::{Error, Path};
use gantry_types::k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta,
};
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::object::Object;
use gantry_types::scheme::{Column, Kind};
use gantry_types::{Document, Status, StatusResult};

fn term(r: &LabelSelectorRequirement) -> String {
    let mut values = r.values.clone().unwrap_or_default();
    values.sort();
    match r.operator.as_str() {
        "In" => format!("{} in ({})", r.key, values.join(",")),
        "NotIn" => format!("{} notin ({})", r.key, values.join(",")),
        "Exists" => r.key.clone(),
        _ => format!("!{}", r.key),
    }
}

/// What a workload selects by; a replication controller's selector is the plain map of labels itself.
fn selector_of(object: &Document) -> Option<LabelSelector> {
    const AT: [&str; 2] = ["spec", "selector"];
    if object.kind() == "ReplicationController" {
        return Some(LabelSelector { match_labels: object.get_at(&AT), match_expressions: None });
    }
    object.get_at(&AT)
}

/// A selector in the text form `Scale.status.selector` carries: terms in key order.
fn selector_text(selector: &LabelSelector) -> String {
    let mut terms: Vec<(String, String)> = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        terms.push((key.clone(), format!("{key}={value}")));
    }
    terms.extend(selector.match_expressions.iter().flatten().map(|r| (r.key.clone(), term(r))));
    terms.sort_by(|a, b| a.0.cmp(&b.0));
    terms.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// The scale of a workload.
pub fn scale_of(object: &Document) -> Scale {
    let selector = selector_of(object);
    let text = |field: &str| Some(object.meta_str(field).to_owned()).filter(|t| !t.is_empty());
    Scale {
        metadata: ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            creation_timestamp: object.get_at(&["metadata", "creationTimestamp"]),
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec { replicas: object.get_at(&["spec", "replicas"]) }),
        status: Some(ScaleStatus {
            replicas: object.get_at(&["status", "replicas"]).unwrap_or_default(),
            selector: selector.map(|s| selector_text(&s)).filter(|s| !s.is_empty()),
        }),
    }
}

const PREFIX: &str = r#"{"apiVersion":"autoscaling/v1","kind":"Scale","#;

/// The scale of a workload as an object to answer with.
///
/// # Errors
/// Where the workload is not sound JSON.
pub fn scale_object(object: &Object) -> StatusResult<Object> {
    let workload = Document::from_json(object.body()).map_err(Status::internal)?;
    let scale = Document::from_typed(&scale_of(&workload)).map_err(Status::internal)?;
    let revision = object.revision();
    stored::unstored(&scale, PREFIX, (revision.0 > 0).then_some(revision))
}

/// The columns of a scale's table.
pub const COLUMNS: [Column; 4] = {
    const fn col(name: &'static str, kind: &'static str) -> Column {
        Column { name, kind, format: "", priority: 0 }
    }
    [col("Name", "string"), col("Desired", "integer"), col("Available", "integer"), col("Age", "string")]
};

/// The cells of a scale's row.
///
/// # Errors
/// Where the object is no scale.
pub fn row(object: &Object, now: Timestamp) -> StatusResult<Vec<Cell>> {
    let scale: Scale = object.typed().map_err(Status::internal)?;
    Ok(vec![
        print::name(&scale.metadata),
        scale.spec.and_then(|s| s.replicas).unwrap_or(0).into(),
        scale.status.map_or(0, |s| s.replicas).into(),
        print::age(scale.metadata.creation_timestamp.as_ref(), now).into(),
    ])
}

/// Refuses fewer than no replicas.
pub(super) fn check(scale: &Document, name: &str) -> StatusResult<()> {
    let replicas: i64 = scale.get_at(&["spec", "replicas"]).unwrap_or_default();
    if replicas >= 0 {
        return Ok(());
    }
    let path = Path::new("spec").child("replicas");
    let error = Error::invalid(&path, &replicas, "must be greater than or equal to 0");
    let gk = gantry_types::GroupKind { group: "autoscaling".into(), kind: "Scale".into() };
    Err(Status::invalid(&gk, name, vec![error]))
}

/// The claim an applied scale makes: nothing but the workload's replicas.
pub(super) fn applied(kind: &Kind, scale: &Document) -> Document {
    let mut out = Document::default();
    out.set_type(&kind.api_version(), kind.kind);
    for field in ["name", "namespace", "resourceVersion", "uid"] {
        let value = scale.meta_str(field);
        if !value.is_empty() {
            out.set_meta_str(field, value);
        }
    }
    if let Some(replicas) = scale.get_at::<i64>(&["spec", "replicas"]) {
        out.set_at(&["spec", "replicas"], replicas);
    }
    out
}

/// Owners of a scale's fields are told in the scale's version.
pub(super) fn in_scales_version(kind: &Kind, mut conflict: Status) -> Status {
    let (own, scales) = (format!(" using {}", kind.api_version()), " using autoscaling/v1");
    let body = conflict.body_mut();
    body.message = body.message.replace(&own, scales);
    for cause in body.details.iter_mut().flat_map(|d| d.causes.iter_mut()) {
        cause.message = cause.message.replace(&own, scales);
    }
    conflict
}

impl Endpoint {
    /// Sets the replicas of the named workload to those of the scale that `wanted` makes of the present one.
    /// The answer is the workload; [`scale_object`] makes the scale of it.
    ///
    /// # Errors
    /// As [`Endpoint::update`], and `Invalid` for fewer than no replicas.
    pub async fn rescale(
        &self,
        rq: &mut Request<'_>,
        wanted: &(dyn Fn(&Document) -> StatusResult<Document> + Send + Sync),
    ) -> StatusResult<Updated> {
        let transform = |old: Option<&Document>| -> StatusResult<Wanted> {
            let mut object = old.cloned().unwrap_or_default();
            let present = Document::from_typed(&scale_of(&object)).map_err(Status::internal)?;
            let scale = wanted(&present)?;
            check(&scale, object.name())?;
            object.set_at(&["spec", "replicas"], scale.get_at::<i64>(&["spec", "replicas"]).unwrap_or(0));
            object.set_meta_str("resourceVersion", scale.resource_version());
            if !scale.uid().is_empty() {
                object.set_meta_str("uid", scale.uid());
            }
            Ok(object.into())
        };
        self.update(rq, false, &transform).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_tells_replicas_and_selector() {
        let check = |object: &str, selector: &str| {
            let object = Document::from_json(object.as_bytes()).unwrap();
            let scale = scale_of(&object);
            assert_eq!(scale.spec.unwrap().replicas, Some(3));
            let status = scale.status.unwrap();
            assert_eq!((status.replicas, status.selector.as_deref()), (2, Some(selector)));
        };
        check(
            r#"{"metadata":{"name":"d"},"spec":{"replicas":3,"selector":{"matchLabels":{"b":"1"},"matchExpressions":[{"key":"a","operator":"In","values":["y","x"]}]}},"status":{"replicas":2}}"#,
            "a in (x,y),b=1",
        );
        check(
            r#"{"kind":"ReplicationController","spec":{"replicas":3,"selector":{"b":"1","a":"2"}},"status":{"replicas":2}}"#,
            "a=2,b=1",
        );
    }
    #[test]
    fn an_applied_scale_claims_replicas_alone() {
        let kind = gantry_types::scheme::find("apps", "v1", "statefulsets").unwrap();
        let check = |scale: &str, want: &str| {
            let scale = Document::from_json(scale.as_bytes()).unwrap();
            assert_eq!(applied(kind, &scale), Document::from_json(want.as_bytes()).unwrap());
        };
        check(
            r#"{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"s","labels":{"a":"b"}},"spec":{"replicas":4}}"#,
            r#"{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"s"},"spec":{"replicas":4}}"#,
        );
        check(
            r#"{"kind":"Scale","metadata":{"name":"s"},"spec":{}}"#,
            r#"{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"s"}}"#,
        );
    }
}
