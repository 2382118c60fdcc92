//! What one metric proposes, in the API's words.

use super::calculator::{Found, Samples, Setting};
use gantry_types::quantity::{Format, Quantity};
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricStatus, MetricSpec, MetricStatus, MetricTarget,
    MetricValueStatus, ObjectMetricStatus, PodsMetricStatus, ResourceMetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// What a metrics API answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    Pods(Samples),
    /// One object's value, or the sum of the external ones.
    Value(i64),
}

/// A number of replicas, and what it follows from.
#[derive(Debug)]
pub(super) struct Proposal {
    pub replicas: i32,
    /// For events and conditions.
    pub metric: String,
    pub status: MetricStatus,
}

/// A metric that gave no number: the condition's reason, the words for the condition, and those for the
/// autoscaler as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub reason: &'static str,
    pub message: String,
    pub summary: String,
}

/// What a metric is read for; where its spec is wrong, the failure.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Query<'a> {
    Resource {
        name: &'a str,
        container: &'a str,
    },
    Pods {
        metric: &'a str,
        selector: Option<&'a LabelSelector>,
    },
    Object {
        metric: &'a str,
        selector: Option<&'a LabelSelector>,
        object: &'a k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference,
    },
    External {
        metric: &'a str,
        selector: Option<&'a LabelSelector>,
    },
}

/// What must be read for a metric; `None` for one of an unknown or incomplete form.
pub(super) fn query(spec: &MetricSpec) -> Option<Query<'_>> {
    match spec.type_.as_str() {
        "Resource" => spec.resource.as_ref().map(|r| Query::Resource { name: &r.name, container: "" }),
        "ContainerResource" => spec
            .container_resource
            .as_ref()
            .map(|r| Query::Resource { name: &r.name, container: &r.container }),
        "Pods" => spec
            .pods
            .as_ref()
            .map(|p| Query::Pods { metric: &p.metric.name, selector: p.metric.selector.as_ref() }),
        "Object" => spec.object.as_ref().map(|o| Query::Object {
            metric: &o.metric.name,
            selector: o.metric.selector.as_ref(),
            object: &o.described_object,
        }),
        "External" => spec
            .external
            .as_ref()
            .map(|e| Query::External { metric: &e.metric.name, selector: e.metric.selector.as_ref() }),
        _ => None,
    }
}

/// What went wrong, as the condition says it, and as what it stops is told.
struct Fault {
    message: String,
    wrapped: String,
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self { wrapped: message.clone(), message }
    }
}

/// Turns a reading into a proposal. `namespace` is the autoscaler's.
pub(super) fn propose(
    spec: &MetricSpec,
    reading: Result<Reading, String>,
    setting: &Setting<'_>,
    namespace: &str,
) -> Result<Proposal, Failure> {
    let (reason, prefix): (&str, String) = match query(spec) {
        Some(Query::Resource { name, container: "" }) => {
            ("FailedGetResourceMetric", format!("failed to get {name} resource metric value"))
        }
        Some(Query::Resource { container, .. }) => {
            ("FailedGetContainerResourceMetric", format!("failed to get {container} container metric value"))
        }
        Some(Query::Pods { .. }) => ("FailedGetPodsMetric", "failed to get pods metric value".into()),
        Some(Query::Object { .. }) => ("FailedGetObjectMetric", "failed to get object metric value".into()),
        Some(Query::External { metric, .. }) => {
            ("FailedGetExternalMetric", format!("failed to get {metric} external metric value"))
        }
        None => {
            let message = format!("unknown metric source type {:?}", spec.type_);
            return Err(Failure { reason: "InvalidMetricSourceType", summary: message.clone(), message });
        }
    };
    let status = MetricStatus { type_: spec.type_.clone(), ..MetricStatus::default() };
    let found = if let Some(resource) = &spec.resource {
        by_resource(&resource.target, &resource.name, "", "", reading, setting).map(|(found, metric)| {
            let current = found.current;
            let resource = Some(ResourceMetricStatus { name: resource.name.clone(), current });
            (found.replicas, metric, MetricStatus { resource, ..status })
        })
    } else if let Some(one) = &spec.container_resource {
        let found = by_resource(&one.target, &one.name, &one.container, " container", reading, setting);
        found.map(|(found, metric)| {
            let container_resource = Some(ContainerResourceMetricStatus {
                name: one.name.clone(),
                container: one.container.clone(),
                current: found.current,
            });
            (found.replicas, metric, MetricStatus { container_resource, ..status })
        })
    } else if let Some(pods) = &spec.pods {
        by_pods(pods.target.average_value.as_ref(), &pods.metric.name, reading, setting).map(|found| {
            let current = MetricValueStatus { average_value: Some(milli(found.usage)), ..Default::default() };
            let metric = format!("pods metric {}", pods.metric.name);
            let pods = Some(PodsMetricStatus { metric: pods.metric.clone(), current });
            (found.replicas, metric, MetricStatus { pods, ..status })
        })
    } else if let Some(object) = &spec.object {
        let (name, about) = (&object.metric.name, &object.described_object);
        let read =
            |e| format!("unable to get metric {name}: {e} on {} {namespace}/{}", about.kind, about.name);
        let shared = |e| format!("failed to get {name} object metric: {e}");
        let found = by_value(&object.target, "object", read, shared, |e| e, reading, setting);
        found.map(|(replicas, current, per_pod)| {
            let metric = match per_pod {
                true => external_name(name, object.metric.selector.as_ref()),
                false => format!("{} metric {name}", about.kind),
            };
            let object = Some(ObjectMetricStatus {
                metric: object.metric.clone(),
                described_object: about.clone(),
                current,
            });
            (replicas, metric, MetricStatus { object, ..status })
        })
    } else if let Some(external) = &spec.external {
        let (name, selector) = (&external.metric.name, external.metric.selector.as_ref());
        let read =
            |e| format!("unable to get external metric {namespace}/{name}/{}: {e}", go_selector(selector));
        let shared = |e| format!("failed to get {name} external metric: {e}");
        let whole = |e| format!("failed to get external metric {name}: {e}");
        let found = by_value(&external.target, "external", read, shared, whole, reading, setting);
        found.map(|(replicas, current, _)| {
            let metric = external_name(name, selector);
            let external = Some(ExternalMetricStatus { metric: external.metric.clone(), current });
            (replicas, metric, MetricStatus { external, ..status })
        })
    } else {
        Err(Fault::from(format!("unknown metric source type {:?}", spec.type_)))
    };
    match found {
        Ok((replicas, metric, status)) => Ok(Proposal { replicas, metric, status }),
        Err(Fault { message, wrapped }) => {
            Err(Failure { reason, summary: format!("{prefix}: {wrapped}"), message })
        }
    }
}

fn samples(reading: Result<Reading, String>) -> Result<Samples, String> {
    match reading? {
        Reading::Pods(samples) => Ok(samples),
        Reading::Value(_) => Err("the metrics API answered in an unexpected form".into()),
    }
}

/// An amount as the API's quantities are read: what the server has stored reads.
fn amount(text: &Text) -> i64 {
    Quantity::try_from(text).map(|q| q.milli_value()).unwrap_or(0)
}

fn milli(amount: i64) -> Text {
    Text::from(&Quantity::from_milli(amount))
}

struct OfResource {
    replicas: i32,
    current: MetricValueStatus,
}

fn by_resource(
    target: &MetricTarget,
    name: &str,
    container: &str,
    kind: &str,
    reading: Result<Reading, String>,
    setting: &Setting<'_>,
) -> Result<(OfResource, String), Fault> {
    let read = |what: &str| {
        let samples = samples(reading).map_err(|e| {
            format!("failed to get {name} {what}: unable to get metrics for resource {name}: {e}")
        })?;
        Ok::<_, String>(samples)
    };
    let (found, metric) = if let Some(wanted) = &target.average_value {
        let found = setting.by_average(read("usage")?, name, amount(wanted));
        (found.map_err(|e| format!("failed to get {name} usage: {e}"))?, format!("{name} resource"))
    } else if let Some(percent) = target.average_utilization {
        let found = setting.by_utilization(read("utilization")?, name, container, percent);
        let metric = format!("{name}{kind} resource utilization (percentage of request)");
        (found.map_err(|e| format!("failed to get {name} utilization: {e}"))?, metric)
    } else {
        return Err("invalid resource metric source: neither an average utilization target nor an average \
                    value (usage) target was set"
            .to_owned()
            .into());
    };
    let mut usage = Quantity::from_milli(found.usage);
    if name == "memory" {
        usage = usage.with_format(Format::BinarySi);
    }
    let current = MetricValueStatus {
        average_utilization: found.utilization,
        average_value: Some(Text::from(&usage)),
        value: None,
    };
    Ok((OfResource { replicas: found.replicas, current }, metric))
}

fn by_pods(
    target: Option<&Text>,
    name: &str,
    reading: Result<Reading, String>,
    setting: &Setting<'_>,
) -> Result<Found, Fault> {
    let samples = samples(reading).map_err(|e| format!("unable to get metric {name}: {e}"))?;
    Ok(setting.by_average(samples, "", target.map_or(0, amount))?)
}

/// For metrics of one value: to be met as a whole, or by an average. Tells which of the two it was. `read`,
/// `shared` and `whole` put words around a failure to read, and around one of either way.
fn by_value(
    target: &MetricTarget,
    kind: &str,
    read: impl Fn(String) -> String,
    shared: impl Fn(String) -> String,
    whole: impl Fn(String) -> String,
    reading: Result<Reading, String>,
    setting: &Setting<'_>,
) -> Result<(i32, MetricValueStatus, bool), Fault> {
    let value = match reading {
        Ok(Reading::Value(value)) => Ok(value),
        Ok(Reading::Pods(_)) => Err(read("the metrics API answered in an unexpected form".into())),
        Err(error) => Err(read(error)),
    };
    match (&target.average_value, &target.value) {
        (Some(wanted), _) => {
            let fault = |message: String| Fault { wrapped: shared(message.clone()), message };
            let found = setting.by_share(value.map_err(fault)?, amount(wanted));
            let current = MetricValueStatus { average_value: Some(milli(found.usage)), ..Default::default() };
            Ok((found.replicas, current, true))
        }
        (None, Some(wanted)) => {
            let fault = |message: String| Fault { wrapped: whole(message.clone()), message };
            let found = value.and_then(|v| setting.by_value(v, amount(wanted))).map_err(fault)?;
            let current = MetricValueStatus { value: Some(milli(found.usage)), ..Default::default() };
            Ok((found.replicas, current, false))
        }
        (None, None) => Err(Fault::from(format!(
            "invalid {kind} metric source: neither a value target nor an average value target was set"
        ))),
    }
}

fn external_name(name: &str, selector: Option<&LabelSelector>) -> String {
    format!("external metric {name}({})", go_selector(selector))
}

/// A selector as upstream's messages show it.
fn go_selector(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".into() };
    let labels: String = selector.match_labels.iter().flatten().map(|(k, v)| format!("{k}: {v},")).collect();
    let expressions: String = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|e| {
            let values = e.values.as_deref().unwrap_or_default().join(" ");
            format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", e.key, e.operator)
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}
