//! The autoscaler, kept as `autoscaling/v2`. `autoscaling/v1` knows one metric, the share of CPU, and no rules
//! of scaling; the rest travels in annotations.

use super::Conversion;
use super::autoscaler_v1::{Behavior, Condition, Current, Spec};
use crate::kinds::validate::meta::go_json;
use gantry_types::Document;
use gantry_types::k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerCondition, MetricSpec, MetricStatus,
    MetricValueStatus, ResourceMetricSource, ResourceMetricStatus,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

pub(super) struct Autoscalers;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Every annotation that only carries fields of other versions.
pub const ANNOTATIONS: [&str; 6] = [
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

/// What an autoscaler without metrics goes by.
pub(crate) const DEFAULT_UTILIZATION: i32 = 80;

/// The share of CPU as a metric.
pub(crate) fn cpu(utilization: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: gantry_types::k8s_openapi::api::autoscaling::v2::MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(utilization),
                ..Default::default()
            },
        }),
        ..Default::default()
    }
}

/// The share of CPU a metric asks for, where that is what it does.
fn cpu_target(m: &MetricSpec) -> Option<i32> {
    let resource = m.resource.as_ref().filter(|r| m.type_ == "Resource" && r.name == "cpu")?;
    resource.target.average_utilization
}

fn cpu_current(m: &MetricStatus) -> Option<i32> {
    let resource = m.resource.as_ref().filter(|r| m.type_ == "Resource" && r.name == "cpu")?;
    resource.current.average_utilization
}

/// Takes the annotations of other versions off.
fn take_annotations(object: &mut Document) -> BTreeMap<&'static str, String> {
    let path = ["metadata", "annotations"];
    let mut taken = BTreeMap::new();
    for key in ANNOTATIONS {
        if let Some(text) = object.annotation(key) {
            taken.insert(key, text.to_owned());
            object.remove_at(&[path[0], path[1], key]);
        }
    }
    if !taken.is_empty() && object.get_at::<BTreeMap<String, String>>(&path).is_some_and(|a| a.is_empty()) {
        object.remove_at(&path);
    }
    taken
}

fn read<T: DeserializeOwned>(taken: &BTreeMap<&'static str, String>, key: &str) -> Option<T> {
    serde_json::from_str(taken.get(key)?).ok()
}

fn put<T: Serialize>(object: &mut Document, path: &[&str], items: Vec<T>) {
    if !items.is_empty() {
        object.set_at(path, items);
    }
}

impl Conversion for Autoscalers {
    fn to_stored(&self, object: &mut Document) {
        let taken = take_annotations(object);
        let share: Option<i32> = object.get_at(&["spec", "targetCPUUtilizationPercentage"]);
        object.remove_at(&["spec", "targetCPUUtilizationPercentage"]);
        let others: Vec<Spec> = read(&taken, METRICS).unwrap_or_default();
        let mut metrics: Vec<MetricSpec> = others.into_iter().map(Into::into).collect();
        metrics.extend(share.map(cpu));
        if metrics.is_empty() && object.has(&["spec"]) {
            metrics.push(cpu(DEFAULT_UTILIZATION));
        }
        put(object, &["spec", "metrics"], metrics);
        if let Some(behavior) = read::<Behavior>(&taken, BEHAVIOR).filter(|b| !b.is_empty()) {
            object.set_at(&["spec", "behavior"], HorizontalPodAutoscalerBehavior::from(behavior));
        }

        let now: Option<i32> = object.get_at(&["status", "currentCPUUtilizationPercentage"]);
        object.remove_at(&["status", "currentCPUUtilizationPercentage"]);
        // What the annotation says is more than what the one field says.
        let current = read::<Vec<Current>>(&taken, CURRENT_METRICS);
        let current = current.map(|all| all.into_iter().map(Into::into).collect()).unwrap_or_else(|| {
            let status = |share| MetricStatus {
                type_: "Resource".to_owned(),
                resource: Some(ResourceMetricStatus {
                    name: "cpu".to_owned(),
                    current: MetricValueStatus { average_utilization: Some(share), ..Default::default() },
                }),
                ..Default::default()
            };
            now.map(status).into_iter().collect::<Vec<MetricStatus>>()
        });
        put(object, &["status", "currentMetrics"], current);
        let conditions: Vec<Condition> = read(&taken, CONDITIONS).unwrap_or_default();
        let conditions = conditions.into_iter().map(HorizontalPodAutoscalerCondition::from).collect();
        put(object, &["status", "conditions"], conditions);
    }

    fn to_served(&self, object: &mut Document) {
        take_annotations(object);
        let metrics: Vec<MetricSpec> = object.get_at(&["spec", "metrics"]).unwrap_or_default();
        let behavior: Option<HorizontalPodAutoscalerBehavior> = object.get_at(&["spec", "behavior"]);
        let current: Vec<MetricStatus> = object.get_at(&["status", "currentMetrics"]).unwrap_or_default();
        let conditions: Vec<HorizontalPodAutoscalerCondition> =
            object.get_at(&["status", "conditions"]).unwrap_or_default();
        let gone = [
            ["spec", "metrics"],
            ["spec", "behavior"],
            ["status", "currentMetrics"],
            ["status", "conditions"],
        ];
        for path in gone {
            object.remove_at(&path);
        }
        if let Some(share) = metrics.iter().find_map(cpu_target) {
            object.set_at(&["spec", "targetCPUUtilizationPercentage"], share);
        }
        if let Some(share) = current.iter().rev().find_map(cpu_current) {
            object.set_at(&["status", "currentCPUUtilizationPercentage"], share);
        }
        let mut annotate = |key: &str, text: String| object.set_at(&["metadata", "annotations", key], text);
        let others: Vec<Spec> =
            metrics.into_iter().filter(|m| cpu_target(m).is_none()).map(Into::into).collect();
        if !others.is_empty() {
            annotate(METRICS, go_json(&others));
        }
        if !current.is_empty() {
            let current: Vec<Current> = current.into_iter().map(Into::into).collect();
            annotate(CURRENT_METRICS, go_json(&current));
        }
        if let Some(behavior) = behavior {
            annotate(BEHAVIOR, go_json(&Behavior::from(behavior)));
        }
        if !conditions.is_empty() {
            let conditions: Vec<Condition> = conditions.into_iter().map(Into::into).collect();
            annotate(CONDITIONS, go_json(&conditions));
        }
    }
}

#[cfg(test)]
mod tests;
