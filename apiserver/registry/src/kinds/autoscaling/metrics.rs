//! The metrics of an autoscaler: their rules, and how a Table row shows them.

use super::horizontal_pod_autoscaler::{Versioned, path_segment, reference, version_error};
use crate::kinds::prelude::*;
use crate::kinds::validate::resources::{container_resource_name, parse};
use gantry_types::k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use gantry_types::k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const SOURCES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

fn target(t: &MetricTarget, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let at = path.child("type");
    if t.type_.is_empty() {
        errs.push(Error::required(&at, "must specify a metric target type"));
    }
    if !matches!(t.type_.as_str(), "Utilization" | "Value" | "AverageValue") {
        errs.push(Error::invalid(&at, &t.type_, "must be either Utilization, Value, or AverageValue"));
    }
    for (name, q) in [("value", &t.value), ("averageValue", &t.average_value)] {
        if let Some(amount) = q.as_ref().and_then(parse).filter(|q| q.sign() < 1) {
            errs.push(Error::invalid(&path.child(name), &amount.to_string(), "must be positive"));
        }
    }
    if let Some(n) = t.average_utilization.filter(|n| *n < 1) {
        errs.push(Error::invalid(&path.child("averageUtilization"), &n, "must be greater than 0"));
    }
    errs
}

fn identified(m: &MetricIdentifier, t: &MetricTarget, path: &Path) -> ErrorList {
    let at = path.child("metric").child("name");
    let mut errs = path_segment(&m.name, "must specify a metric name", &at);
    errs.extend(target(t, &path.child("target")));
    errs
}

/// A target of a resource: an amount or a share, not both.
fn resource_target(t: &MetricTarget, path: &Path) -> ErrorList {
    let at = path.child("target");
    let mut errs = target(t, &at);
    match (t.average_utilization, &t.average_value) {
        (None, None) => {
            let why = "must set either a target raw value or a target utilization";
            errs.push(Error::required(&at.child("averageUtilization"), why));
        }
        (Some(_), Some(_)) => {
            let why = "may not set both a target raw value and a target utilization";
            errs.push(Error::forbidden(&at.child("averageValue"), why));
        }
        _ => {}
    }
    errs
}

/// The sources a metric names, in upstream's order; the first is judged whole.
fn sources(m: &MetricSpec, versioned: Versioned, path: &Path) -> Vec<(&'static str, ErrorList)> {
    let mut found = Vec::new();
    if let Some(o) = &m.object {
        let at = path.child("object");
        let mut errs = reference(&o.described_object, versioned, &at.child("describedObject"));
        errs.extend(identified(&o.metric, &o.target, &at));
        if o.target.value.is_none() && o.target.average_value.is_none() {
            let why = "must set either a target value or averageValue";
            errs.push(Error::required(&at.child("target").child("averageValue"), why));
        }
        found.push(("object", errs));
    }
    if let Some(e) = &m.external {
        let at = path.child("external");
        let mut errs = identified(&e.metric, &e.target, &at);
        let at = at.child("target");
        match (&e.target.value, &e.target.average_value) {
            (None, None) => {
                let why = "must set either a target value for metric or a per-pod target";
                errs.push(Error::required(&at.child("averageValue"), why));
            }
            (Some(_), Some(_)) => {
                let why = "may not set both a target value for metric and a per-pod target";
                errs.push(Error::forbidden(&at.child("value"), why));
            }
            _ => {}
        }
        found.push(("external", errs));
    }
    if let Some(p) = &m.pods {
        let at = path.child("pods");
        let mut errs = identified(&p.metric, &p.target, &at);
        if p.target.average_value.is_none() {
            let why = "must specify a positive target averageValue";
            errs.push(Error::required(&at.child("target").child("averageValue"), why));
        }
        found.push(("pods", errs));
    }
    let no_name = "must specify a resource name";
    if let Some(r) = &m.resource {
        let at = path.child("resource");
        let mut errs = ErrorList::new();
        if r.name.is_empty() {
            errs.push(Error::required(&at.child("name"), no_name));
        }
        errs.extend(resource_target(&r.target, &at));
        found.push(("resource", errs));
    }
    if let Some(r) = &m.container_resource {
        let at = path.child("containerResource");
        let mut errs = match r.name.as_str() {
            "" => vec![Error::required(&at.child("name"), no_name)],
            name => container_resource_name(name, &at.child("name")),
        };
        let container_at = at.child("container");
        match r.container.as_str() {
            "" => errs.push(Error::required(&container_at, "must specify a container")),
            name => errs.extend(invalid_each(&container_at, name, names::dns1123_label(name))),
        }
        errs.extend(resource_target(&r.target, &at));
        found.push(("containerResource", errs));
    }
    found
}

fn metric(m: &MetricSpec, versioned: Versioned, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let at = path.child("type");
    if m.type_.is_empty() {
        errs.push(Error::required(&at, "must specify a metric source type"));
    }
    let found = sources(m, versioned, path);
    let present: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    errs.extend(found.into_iter().take(1).flat_map(|(_, errs)| errs));
    let expected = match m.type_.as_str() {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "External" => "external",
        "ContainerResource" => "containerResource",
        other => {
            // Said once at the start and once at the end.
            errs.push(Error::not_supported(&at, other, SOURCES));
            errs.push(Error::not_supported(&at, other, SOURCES));
            ""
        }
    };
    if !expected.is_empty() && !present.contains(&expected) {
        let why = "must populate information for the given metric source";
        errs.push(Error::required(&path.child(expected), why));
    }
    if present.len() != 1 {
        let others = present.iter().filter(|name| **name != expected);
        let why = "must populate the given metric source only";
        errs.extend(others.map(|name| Error::forbidden(&path.child(name), why)));
    }
    errs
}

pub(super) fn validate(
    spec: &HorizontalPodAutoscalerSpec,
    old: Option<&HorizontalPodAutoscalerSpec>,
    path: &Path,
) -> ErrorList {
    let about = |m: &MetricSpec| {
        let object = m.object.as_ref().filter(|_| m.type_ == "Object")?;
        version_error(text(&object.described_object.api_version), Versioned::AnyGroup)
    };
    let wrong_before = old.is_some_and(|old| list(&old.metrics).iter().any(|m| about(m).is_some()));
    let versioned = if wrong_before { Versioned::Unchecked } else { Versioned::AnyGroup };
    let mut errs = ErrorList::new();
    for (i, m) in list(&spec.metrics).iter().enumerate() {
        errs.extend(metric(m, versioned, &path.index(i)));
    }
    let outside = |m: &MetricSpec| matches!(m.type_.as_str(), "Object" | "External");
    if spec.min_replicas == Some(0) && !list(&spec.metrics).iter().any(outside) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errs.push(Error::forbidden(path, why));
    }
    errs
}

const UNKNOWN: &str = "<unknown>";

fn amount(q: Option<&Quantity>) -> String {
    q.and_then(parse).unwrap_or_default().to_string()
}

/// A metric of the pods' or an object's: an average where one is asked for.
fn plain(t: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    match &t.average_value {
        Some(wanted) => {
            let now = current.and_then(|c| c.average_value.as_ref());
            let now = now.map_or(UNKNOWN.to_owned(), |q| amount(Some(q)));
            format!("{now}/{} (avg)", amount(Some(wanted)))
        }
        None => {
            let now = current.map_or(UNKNOWN.to_owned(), |c| amount(c.value.as_ref()));
            format!("{now}/{}", amount(t.value.as_ref()))
        }
    }
}

fn of_resource(name: &str, t: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    if let Some(wanted) = &t.average_value {
        let now = current.map_or(UNKNOWN.to_owned(), |c| amount(c.average_value.as_ref()));
        return format!("{name}: {now}/{}", amount(Some(wanted)));
    }
    let now = current.and_then(|c| c.average_utilization).map_or(UNKNOWN.to_owned(), |n| format!("{n}%"));
    let wanted = t.average_utilization.map_or("<auto>".to_owned(), |n| format!("{n}%"));
    format!("{name}: {now}/{wanted}")
}

fn shown_one(m: &MetricSpec, now: Option<&MetricStatus>) -> String {
    if let Some(e) = m.external.as_ref().filter(|_| m.type_ == "External") {
        return plain(&e.target, now.and_then(|s| s.external.as_ref()).map(|e| &e.current));
    }
    if let Some(o) = m.object.as_ref().filter(|_| m.type_ == "Object") {
        return plain(&o.target, now.and_then(|s| s.object.as_ref()).map(|o| &o.current));
    }
    if let Some(p) = m.pods.as_ref().filter(|_| m.type_ == "Pods") {
        let now = now.and_then(|s| s.pods.as_ref());
        let now = now.map_or(UNKNOWN.to_owned(), |p| amount(p.current.average_value.as_ref()));
        return format!("{now}/{}", amount(p.target.average_value.as_ref()));
    }
    if let Some(r) = m.resource.as_ref().filter(|_| m.type_ == "Resource") {
        return of_resource(&r.name, &r.target, now.and_then(|s| s.resource.as_ref()).map(|r| &r.current));
    }
    if let Some(r) = m.container_resource.as_ref().filter(|_| m.type_ == "ContainerResource") {
        let now = now.and_then(|s| s.container_resource.as_ref()).map(|r| &r.current);
        return of_resource(&r.name, &r.target, now);
    }
    "<unknown type>".to_owned()
}

/// What is and what is wanted, of the first two metrics.
pub(super) fn shown(metrics: &[MetricSpec], current: &[MetricStatus]) -> String {
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let all: Vec<String> = metrics.iter().enumerate().map(|(i, m)| shown_one(m, current.get(i))).collect();
    let first = all[..all.len().min(2)].join(", ");
    if all.len() > 2 { format!("{first} + {} more...", all.len() - 2) } else { first }
}
