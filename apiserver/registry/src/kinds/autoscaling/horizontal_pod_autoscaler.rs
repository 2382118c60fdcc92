//! `autoscaling/v2` HorizontalPodAutoscaler; `autoscaling/v1` is served from it.

use super::metrics;
use crate::generic::convert::autoscaler::{ANNOTATIONS, DEFAULT_UTILIZATION, cpu};
use crate::kinds::prelude::*;
use crate::kinds::validate::resources::{NOT_NEGATIVE, parse};
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus,
};

/// Keeps a workload's size between two bounds by what its pods use.
pub struct HorizontalPodAutoscalers;

const PERIOD_MAX: i32 = 1800;
const WINDOW_MAX: i32 = 3600;

fn policy(kind: &str, value: i32) -> HPAScalingPolicy {
    HPAScalingPolicy { type_: kind.to_owned(), value, period_seconds: 15 }
}

/// Rules with what was not said: as fast as the old autoscaler went.
fn default_rules(
    given: Option<HPAScalingRules>,
    window: Option<i32>,
    policies: Vec<HPAScalingPolicy>,
) -> HPAScalingRules {
    let mut rules = given.unwrap_or_default();
    rules.select_policy.get_or_insert_with(|| "Max".to_owned());
    rules.stabilization_window_seconds = rules.stabilization_window_seconds.or(window);
    rules.policies.get_or_insert(policies);
    rules
}

fn default_behavior(behavior: &mut HorizontalPodAutoscalerBehavior) {
    let up = vec![policy("Pods", 4), policy("Percent", 100)];
    behavior.scale_up = Some(default_rules(behavior.scale_up.take(), Some(0), up));
    let down = vec![policy("Percent", 100)];
    behavior.scale_down = Some(default_rules(behavior.scale_down.take(), None, down));
}

/// How strictly a reference's version is taken.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Versioned {
    /// As an old object had it.
    Unchecked,
    /// A kind of the core group is fine.
    AnyGroup,
    NamedGroup,
}

/// What is wrong with a reference's version.
pub(super) fn version_error(version: &str, versioned: Versioned) -> Option<String> {
    if versioned == Versioned::Unchecked {
        return None;
    }
    let group = match version.split_once('/') {
        Some((_, rest)) if rest.contains('/') => {
            return Some(format!("unexpected GroupVersion string: {version}"));
        }
        Some((group, _)) => group,
        None => "",
    };
    (versioned == Versioned::NamedGroup && group.is_empty())
        .then(|| "apiVersion must specify API group".to_owned())
}

/// A name or kind that has to fit into a path.
pub(super) fn path_segment(value: &str, why: &str, path: &Path) -> ErrorList {
    if value.is_empty() {
        return vec![Error::required(path, why)];
    }
    invalid_each(path, value, names::name_is_path_segment(value, false)).collect()
}

pub(super) fn reference(r: &CrossVersionObjectReference, versioned: Versioned, path: &Path) -> ErrorList {
    let mut errs = path_segment(&r.kind, "", &path.child("kind"));
    errs.extend(path_segment(&r.name, "", &path.child("name")));
    let version = text(&r.api_version);
    let why = version_error(version, versioned);
    errs.extend(why.map(|why| Error::invalid(&path.child("apiVersion"), version, why)));
    errs
}

fn scaling_policy(p: &HPAScalingPolicy, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if !matches!(p.type_.as_str(), "Pods" | "Percent") {
        errs.push(Error::not_supported(&path.child("type"), &p.type_, &["Percent", "Pods"]));
    }
    for (name, n) in [("value", p.value), ("periodSeconds", p.period_seconds)] {
        if n <= 0 {
            errs.push(Error::invalid(&path.child(name), &n, "must be greater than zero"));
        }
    }
    if p.period_seconds > PERIOD_MAX {
        let why = format!("must be less than or equal to {PERIOD_MAX}");
        errs.push(Error::invalid(&path.child("periodSeconds"), &p.period_seconds, why));
    }
    errs
}

fn scaling_rules(rules: &HPAScalingRules, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if let Some(window) = rules.stabilization_window_seconds {
        let at = path.child("stabilizationWindowSeconds");
        if window < 0 {
            errs.push(Error::invalid(&at, &window, "must be greater than or equal to zero"));
        }
        if window > WINDOW_MAX {
            errs.push(Error::invalid(&at, &window, format!("must be less than or equal to {WINDOW_MAX}")));
        }
    }
    if let Some(select) = &rules.select_policy {
        let known = ["Disabled", "Max", "Min"];
        if !known.contains(&select.as_str()) {
            errs.push(Error::not_supported(&path.child("selectPolicy"), select, &known));
        }
    }
    let policies = path.child("policies");
    if list(&rules.policies).is_empty() {
        errs.push(Error::required(&policies, "must specify at least one Policy"));
    }
    for (i, p) in list(&rules.policies).iter().enumerate() {
        errs.extend(scaling_policy(p, &policies.index(i)));
    }
    if let Some(tolerance) = rules.tolerance.as_ref().and_then(parse).filter(|t| t.sign() < 0) {
        errs.push(Error::invalid(&path.child("tolerance"), &tolerance.to_string(), NOT_NEGATIVE));
    }
    errs
}

/// Whether a scaler may go to no replicas at all: upstream's gate `HPAScaleToZero`, which is off there, asked for
/// with an annotation.
fn to_zero(metadata: &ObjectMeta) -> bool {
    let asked = metadata.annotations.as_ref().and_then(|a| a.get("gantry.io/scale-to-zero"));
    asked.is_some_and(|v| v == "true")
}

fn validate_spec(
    spec: &HorizontalPodAutoscalerSpec,
    old: Option<&HorizontalPodAutoscalerSpec>,
    to_zero: bool,
) -> ErrorList {
    let path = Path::new("spec");
    let mut errs = ErrorList::new();
    let lowest = if to_zero || old.is_some_and(|o| o.min_replicas == Some(0)) { 0 } else { 1 };
    let (max, max_at) = (spec.max_replicas, path.child("maxReplicas"));
    if let Some(min) = spec.min_replicas.filter(|n| *n < lowest) {
        let why = format!("must be greater than or equal to {lowest}");
        errs.push(Error::invalid(&path.child("minReplicas"), &min, why));
    }
    if max == 0 {
        errs.push(Error::required(&max_at, "must be set and greater than 0"));
    } else if max < 0 {
        errs.push(Error::invalid(&max_at, &max, "must be greater than or equal to 1"));
    }
    if spec.min_replicas.is_some_and(|min| max < min) {
        errs.push(Error::invalid(&max_at, &max, "must be greater than or equal to `minReplicas`"));
    }
    let target = &spec.scale_target_ref;
    let same_kind = |o: &HorizontalPodAutoscalerSpec| {
        o.scale_target_ref.kind == target.kind
            && text(&o.scale_target_ref.api_version) == text(&target.api_version)
    };
    let versioned = if old.is_some_and(same_kind) {
        Versioned::Unchecked
    } else if target.kind == "ReplicationController" {
        Versioned::AnyGroup
    } else {
        Versioned::NamedGroup
    };
    errs.extend(reference(target, versioned, &path.child("scaleTargetRef")));
    errs.extend(metrics::validate(spec, old, &path.child("metrics")));
    if let Some(behavior) = &spec.behavior {
        let at = path.child("behavior");
        for (name, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
            errs.extend(rules.iter().flat_map(|rules| scaling_rules(rules, &at.child(name))));
        }
    }
    errs
}

fn validate_status(status: Option<&HorizontalPodAutoscalerStatus>) -> ErrorList {
    let path = Path::new("status");
    let current = status.and_then(|s| s.current_replicas).unwrap_or(0);
    let desired = status.map_or(0, |s| s.desired_replicas);
    let mut errs = ErrorList::new();
    for (name, n) in [("currentReplicas", current), ("desiredReplicas", desired)] {
        if n < 0 {
            errs.push(Error::invalid(&path.child(name), &n, NOT_NEGATIVE));
        }
    }
    errs
}

impl Strategy for HorizontalPodAutoscalers {
    type Kind = HorizontalPodAutoscaler;

    fn default(&self, scaler: &mut HorizontalPodAutoscaler) {
        if let Some(annotations) = &mut scaler.metadata.annotations {
            annotations.retain(|key, _| !ANNOTATIONS.contains(&key.as_str()));
        }
        let spec = &mut scaler.spec;
        spec.min_replicas.get_or_insert(1);
        if list(&spec.metrics).is_empty() {
            spec.metrics = Some(vec![cpu(DEFAULT_UTILIZATION)]);
        }
        spec.behavior.iter_mut().for_each(default_behavior);
        scaler.status.get_or_insert_default();
    }

    fn prepare_create(&self, _cx: &Context<'_>, scaler: &mut HorizontalPodAutoscaler) {
        scaler.status = None;
    }

    fn prepare_update(
        &self,
        cx: &Context<'_>,
        scaler: &mut HorizontalPodAutoscaler,
        old: &HorizontalPodAutoscaler,
    ) {
        if cx.subresource == "status" {
            scaler.spec.clone_from(&old.spec);
        } else {
            scaler.status.clone_from(&old.status);
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, scaler: &HorizontalPodAutoscaler) -> ErrorList {
        let mut errs = meta::object_meta(&scaler.metadata, true, meta::subdomain_name);
        errs.extend(validate_spec(&scaler.spec, None, to_zero(&scaler.metadata)));
        errs
    }

    fn validate_update(
        &self,
        cx: &Context<'_>,
        scaler: &HorizontalPodAutoscaler,
        old: &HorizontalPodAutoscaler,
    ) -> ErrorList {
        let mut errs = meta::object_meta_update(&scaler.metadata, &old.metadata);
        if cx.subresource == "status" {
            errs.extend(validate_status(scaler.status.as_ref()));
        } else {
            errs.extend(validate_spec(&scaler.spec, Some(&old.spec), to_zero(&scaler.metadata)));
        }
        errs
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, scaler: &HorizontalPodAutoscaler, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (&scaler.spec, scaler.status.clone().unwrap_or_default());
        let target = &spec.scale_target_ref;
        vec![
            print::name(&scaler.metadata),
            format!("{}/{}", target.kind, target.name).into(),
            metrics::shown(list(&spec.metrics), list(&status.current_metrics)).into(),
            spec.min_replicas.map_or("<unset>".to_owned(), |n| n.to_string()).into(),
            spec.max_replicas.into(),
            status.current_replicas.unwrap_or(0).into(),
            print::age(scaler.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
