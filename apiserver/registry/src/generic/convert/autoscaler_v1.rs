//! Metrics in the words of `autoscaling/v1`, which keeps them as text in annotations, and the rules of scaling
//! in Go's own names, as upstream writes them there. Fields are in upstream's order: the text is compared.

use gantry_types::k8s_openapi::api::autoscaling::v2;
use gantry_types::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A type of ours and one of the API that hold the same: a field of ours, `=` the API's, `=>` what turns one into the
/// other where they differ.
macro_rules! both_ways {
    ($ours:ty, $theirs:ty { $($a:ident = $b:ident $(=> $through:path)?),* $(,)? }) => {
        impl From<$theirs> for $ours {
            fn from(it: $theirs) -> Self {
                Self { $($a: both_ways!(it.$b $(, $through)?)),* }
            }
        }

        impl From<$ours> for $theirs {
            fn from(it: $ours) -> Self {
                Self { $($b: both_ways!(it.$a $(, $through)?)),* }
            }
        }
    };
    ($value:expr) => { $value };
    ($value:expr, $through:path) => { $through($value) };
}

fn optional<A: Into<B>, B>(value: Option<A>) -> Option<B> {
    value.map(Into::into)
}

fn each<A: Into<B>, B>(list: Option<Vec<A>>) -> Option<Vec<B>> {
    list.map(|all| all.into_iter().map(Into::into).collect())
}

/// A label selector with its fields in Go's order.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Selector {
    #[serde(skip_serializing_if = "Option::is_none")]
    match_labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    match_expressions: Option<Vec<LabelSelectorRequirement>>,
}

/// An object a metric is about, its fields in Go's order.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Reference {
    kind: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<String>,
}

/// A metric of any source; `S` says what it should be or what it is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metric<O, P, R, C, E> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<O>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<R>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_resource: Option<C>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external: Option<E>,
}

pub(crate) type Spec =
    Metric<ObjectSource, PodsSource, ResourceSource, ContainerResourceSource, ExternalSource>;
pub(crate) type Current =
    Metric<ObjectStatus, PodsStatus, ResourceStatus, ContainerResourceStatus, ExternalStatus>;

fn zero() -> Quantity {
    Quantity("0".to_owned())
}

fn is_zero(q: &Quantity) -> bool {
    gantry_types::quantity::Quantity::try_from(q).is_ok_and(|q| q.is_zero())
}

macro_rules! go_struct {
    ($name:ident { $($field:ident : $ty:ty $(, $skip:literal)?;)* }) => {
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct $name {
            $(#[serde(default $(, skip_serializing_if = $skip)?)] $field: $ty,)*
        }
    };
}

/// An amount that is always written; absent reads as zero.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
struct Amount(Quantity);

impl Default for Amount {
    fn default() -> Self {
        Self(zero())
    }
}

impl From<Option<Quantity>> for Amount {
    fn from(q: Option<Quantity>) -> Self {
        q.map_or_else(Self::default, Self)
    }
}

go_struct!(ObjectSource {
    target: Reference;
    metric_name: String;
    target_value: Amount;
    selector: Option<Selector>, "Option::is_none";
    average_value: Option<Quantity>, "Option::is_none";
});
go_struct!(PodsSource {
    metric_name: String;
    target_average_value: Amount;
    selector: Option<Selector>, "Option::is_none";
});
go_struct!(ResourceSource {
    name: String;
    target_average_utilization: Option<i32>, "Option::is_none";
    target_average_value: Option<Quantity>, "Option::is_none";
});
go_struct!(ContainerResourceSource {
    name: String;
    target_average_utilization: Option<i32>, "Option::is_none";
    target_average_value: Option<Quantity>, "Option::is_none";
    container: String;
});
go_struct!(ExternalSource {
    metric_name: String;
    metric_selector: Option<Selector>, "Option::is_none";
    target_value: Option<Quantity>, "Option::is_none";
    target_average_value: Option<Quantity>, "Option::is_none";
});
go_struct!(ObjectStatus {
    target: Reference;
    metric_name: String;
    current_value: Amount;
    selector: Option<Selector>, "Option::is_none";
    average_value: Option<Quantity>, "Option::is_none";
});
go_struct!(PodsStatus {
    metric_name: String;
    current_average_value: Amount;
    selector: Option<Selector>, "Option::is_none";
});
go_struct!(ResourceStatus {
    name: String;
    current_average_utilization: Option<i32>, "Option::is_none";
    current_average_value: Amount;
});
go_struct!(ContainerResourceStatus {
    name: String;
    current_average_utilization: Option<i32>, "Option::is_none";
    current_average_value: Amount;
    container: String;
});
go_struct!(ExternalStatus {
    metric_name: String;
    metric_selector: Option<Selector>, "Option::is_none";
    current_value: Amount;
    current_average_value: Option<Quantity>, "Option::is_none";
});

both_ways!(Selector, LabelSelector { match_labels = match_labels, match_expressions = match_expressions });
both_ways!(Reference, v2::CrossVersionObjectReference { kind = kind, name = name, api_version = api_version });

fn identifier(name: String, selector: Option<Selector>) -> v2::MetricIdentifier {
    v2::MetricIdentifier { name, selector: optional(selector) }
}

impl From<v2::MetricSpec> for Spec {
    fn from(m: v2::MetricSpec) -> Self {
        Self {
            kind: m.type_,
            object: m.object.map(|o| ObjectSource {
                target: o.described_object.into(),
                metric_name: o.metric.name,
                target_value: o.target.value.into(),
                selector: optional(o.metric.selector),
                average_value: o.target.average_value,
            }),
            pods: m.pods.map(|p| PodsSource {
                metric_name: p.metric.name,
                target_average_value: p.target.average_value.into(),
                selector: optional(p.metric.selector),
            }),
            resource: m.resource.map(|r| ResourceSource {
                name: r.name,
                target_average_utilization: r.target.average_utilization,
                target_average_value: r.target.average_value,
            }),
            container_resource: m.container_resource.map(|r| ContainerResourceSource {
                name: r.name,
                target_average_utilization: r.target.average_utilization,
                target_average_value: r.target.average_value,
                container: r.container,
            }),
            external: m.external.map(|e| ExternalSource {
                metric_name: e.metric.name,
                metric_selector: optional(e.metric.selector),
                target_value: e.target.value,
                target_average_value: e.target.average_value,
            }),
        }
    }
}

fn resource_target(utilization: Option<i32>, average_value: Option<Quantity>) -> v2::MetricTarget {
    let kind = if utilization.is_some() { "Utilization" } else { "AverageValue" };
    v2::MetricTarget {
        type_: kind.to_owned(),
        average_utilization: utilization,
        average_value,
        ..Default::default()
    }
}

impl From<Spec> for v2::MetricSpec {
    fn from(m: Spec) -> Self {
        Self {
            type_: m.kind,
            object: m.object.map(|o| {
                let average = o.average_value.is_some();
                // Written even where there is none; beside an average a zero says nothing.
                let value = Some(o.target_value.0).filter(|q| !average || !is_zero(q));
                v2::ObjectMetricSource {
                    described_object: o.target.into(),
                    metric: identifier(o.metric_name, o.selector),
                    target: v2::MetricTarget {
                        type_: if average { "AverageValue" } else { "Value" }.to_owned(),
                        value,
                        average_value: o.average_value,
                        average_utilization: None,
                    },
                }
            }),
            pods: m.pods.map(|p| v2::PodsMetricSource {
                metric: identifier(p.metric_name, p.selector),
                target: v2::MetricTarget {
                    type_: "AverageValue".to_owned(),
                    average_value: Some(p.target_average_value.0),
                    ..Default::default()
                },
            }),
            resource: m.resource.map(|r| v2::ResourceMetricSource {
                name: r.name,
                target: resource_target(r.target_average_utilization, r.target_average_value),
            }),
            container_resource: m.container_resource.map(|r| v2::ContainerResourceMetricSource {
                name: r.name,
                container: r.container,
                target: resource_target(r.target_average_utilization, r.target_average_value),
            }),
            external: m.external.map(|e| v2::ExternalMetricSource {
                metric: identifier(e.metric_name, e.metric_selector),
                target: v2::MetricTarget {
                    type_: if e.target_value.is_some() { "Value" } else { "AverageValue" }.to_owned(),
                    value: e.target_value,
                    average_value: e.target_average_value,
                    average_utilization: None,
                },
            }),
        }
    }
}

impl From<v2::MetricStatus> for Current {
    fn from(m: v2::MetricStatus) -> Self {
        Self {
            kind: m.type_,
            object: m.object.map(|o| ObjectStatus {
                target: o.described_object.into(),
                metric_name: o.metric.name,
                current_value: o.current.value.into(),
                selector: optional(o.metric.selector),
                average_value: o.current.average_value,
            }),
            pods: m.pods.map(|p| PodsStatus {
                metric_name: p.metric.name,
                current_average_value: p.current.average_value.into(),
                selector: optional(p.metric.selector),
            }),
            resource: m.resource.map(|r| ResourceStatus {
                name: r.name,
                current_average_utilization: r.current.average_utilization,
                current_average_value: r.current.average_value.into(),
            }),
            container_resource: m.container_resource.map(|r| ContainerResourceStatus {
                name: r.name,
                current_average_utilization: r.current.average_utilization,
                current_average_value: r.current.average_value.into(),
                container: r.container,
            }),
            external: m.external.map(|e| ExternalStatus {
                metric_name: e.metric.name,
                metric_selector: optional(e.metric.selector),
                current_value: e.current.value.into(),
                current_average_value: e.current.average_value,
            }),
        }
    }
}

fn value_status(
    value: Option<Quantity>,
    average_value: Option<Quantity>,
    average_utilization: Option<i32>,
) -> v2::MetricValueStatus {
    v2::MetricValueStatus { value, average_value, average_utilization }
}

impl From<Current> for v2::MetricStatus {
    fn from(m: Current) -> Self {
        Self {
            type_: m.kind,
            object: m.object.map(|o| v2::ObjectMetricStatus {
                described_object: o.target.into(),
                metric: identifier(o.metric_name, o.selector),
                current: value_status(Some(o.current_value.0), o.average_value, None),
            }),
            pods: m.pods.map(|p| v2::PodsMetricStatus {
                metric: identifier(p.metric_name, p.selector),
                current: value_status(None, Some(p.current_average_value.0), None),
            }),
            resource: m.resource.map(|r| v2::ResourceMetricStatus {
                name: r.name,
                current: value_status(None, Some(r.current_average_value.0), r.current_average_utilization),
            }),
            container_resource: m.container_resource.map(|r| v2::ContainerResourceMetricStatus {
                name: r.name,
                container: r.container,
                current: value_status(None, Some(r.current_average_value.0), r.current_average_utilization),
            }),
            external: m.external.map(|e| v2::ExternalMetricStatus {
                metric: identifier(e.metric_name, e.metric_selector),
                current: value_status(Some(e.current_value.0), e.current_average_value, None),
            }),
        }
    }
}

/// Conditions, their fields in Go's order.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    last_transition_time: Option<gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

both_ways!(Condition, v2::HorizontalPodAutoscalerCondition {
    kind = type_, status = status, last_transition_time = last_transition_time, reason = reason, message = message,
});

/// The rules of scaling under the names of Go's fields; Go reads them whatever their case.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Behavior {
    #[serde(alias = "scaleUp")]
    scale_up: Option<Rules>,
    #[serde(alias = "scaleDown")]
    scale_down: Option<Rules>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
struct Rules {
    #[serde(alias = "stabilizationWindowSeconds")]
    stabilization_window_seconds: Option<i32>,
    #[serde(alias = "selectPolicy")]
    select_policy: Option<String>,
    #[serde(alias = "policies")]
    policies: Option<Vec<Policy>>,
    #[serde(alias = "tolerance")]
    tolerance: Option<Quantity>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
struct Policy {
    #[serde(rename = "Type", alias = "type")]
    kind: String,
    #[serde(alias = "value")]
    value: i32,
    #[serde(alias = "periodSeconds")]
    period_seconds: i32,
}

impl Behavior {
    pub(crate) fn is_empty(&self) -> bool {
        self.scale_up.is_none() && self.scale_down.is_none()
    }
}

both_ways!(Policy, v2::HPAScalingPolicy {
    kind = type_, value = value, period_seconds = period_seconds,
});
both_ways!(Rules, v2::HPAScalingRules {
    stabilization_window_seconds = stabilization_window_seconds,
    select_policy = select_policy,
    policies = policies => each,
    tolerance = tolerance,
});
both_ways!(Behavior, v2::HorizontalPodAutoscalerBehavior {
    scale_up = scale_up => optional,
    scale_down = scale_down => optional,
});
