//! The metrics APIs and the scale subresource.

use super::calculator::{Sample, Samples};
use super::proposal::{Query, Reading};
use crate::discovery::{ApiResource, discover};
use gantry_client::Client;
use gantry_client::error::{self, ApiError};
use gantry_machinery::selector::Selector;
use gantry_types::quantity::Quantity;
use gantry_types::time::Duration;
use http::Request;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};

const CUSTOM: &str = "custom.metrics.k8s.io";
const EXTERNAL: &str = "external.metrics.k8s.io";
/// A custom metric's window where it names none.
const WINDOW: i64 = 60;

/// Lists may be `null` for empty ones: so servers written in Go have it.
#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Option::default")]
    items: Option<Vec<T>>,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Name,
    timestamp: Timestamp,
    #[serde(default)]
    window: String,
    containers: Option<Vec<ContainerMetrics>>,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    #[serde(default)]
    usage: BTreeMap<String, Quantity>,
}

#[derive(Default, Deserialize)]
struct Name {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricValue {
    #[serde(default)]
    described_object: Name,
    timestamp: Timestamp,
    /// `window` in v1beta1.
    #[serde(alias = "window")]
    window_seconds: Option<i64>,
    value: Quantity,
}

#[derive(Deserialize)]
struct ExternalValue {
    value: Quantity,
}

/// Reads scales and metrics; remembers which resources kinds are.
pub(super) struct Api {
    client: Client,
    known: Mutex<HashMap<(String, String), ApiResource>>,
}

impl Api {
    pub(super) fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// The resource of a kind, in the server's preferred version.
    ///
    /// # Errors
    /// Upstream's words.
    pub(super) async fn resource(&self, group: &str, kind: &str) -> Result<ApiResource, String> {
        let key = (group.to_owned(), kind.to_owned());
        if let Some(known) = self.known.lock().get(&key) {
            return Ok(known.clone());
        }
        let found = discover(&self.client).await.map_err(|e| error::message(&e))?;
        let matching = |r: &&ApiResource| r.group == group && r.kind == kind && !r.resource.contains('/');
        let resource = found.resources.iter().find(matching);
        let resource = resource.ok_or_else(|| format!("no matches for kind {kind:?} in group {group:?}"))?;
        self.known.lock().insert(key, resource.clone());
        Ok(resource.clone())
    }

    /// Forgets a kind that turned out not to be served as was thought.
    pub(super) fn forget(&self, group: &str, kind: &str) {
        self.known.lock().remove(&(group.to_owned(), kind.to_owned()));
    }

    pub(super) async fn scale(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Result<Scale, kube::Error> {
        self.get(&format!("{}/{name}/scale", resource.path(namespace))).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, kube::Error> {
        let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }

    /// Reads one metric; `pods` selects the target's pods.
    ///
    /// # Errors
    /// Upstream's words.
    pub(super) async fn read(
        &self,
        query: &Query<'_>,
        namespace: &str,
        pods: &str,
    ) -> Result<Reading, String> {
        match *query {
            Query::Resource { name, container } => {
                self.resource_metric(name, container, namespace, pods).await
            }
            Query::Pods { metric, selector } => {
                let found =
                    self.custom(&format!("namespaces/{namespace}/pods/*/{metric}"), pods, selector).await;
                pods_reading(found.map_err(custom_error)?)
            }
            Query::Object { metric, selector, object } => {
                let (group, _) =
                    object.api_version.as_deref().unwrap_or("").split_once('/').unwrap_or(("", ""));
                let path = if object.kind == "Namespace" && group.is_empty() {
                    format!("namespaces/{namespace}/metrics/{metric}")
                } else {
                    let mapped = self.resource(group, &object.kind).await.map_err(|e| {
                        let kind = if group.is_empty() {
                            object.kind.clone()
                        } else {
                            format!("{}.{group}", object.kind)
                        };
                        custom_error(format!("unable to map kind {kind} to resource: {e}"))
                    })?;
                    let dot = if group.is_empty() { "" } else { "." };
                    format!("namespaces/{namespace}/{}{dot}{group}/{}/{metric}", mapped.resource, object.name)
                };
                let found = self.custom(&path, "", selector).await.map_err(custom_error)?;
                let [one] = found.as_slice() else {
                    return Err(custom_error(format!(
                        "the custom metrics API server returned {} results when we asked for exactly one",
                        found.len()
                    )));
                };
                Ok(Reading::Value(one.value.milli_value()))
            }
            Query::External { metric, selector } => {
                let words = "unable to fetch metrics from external metrics API";
                let labels = selector_text(selector)?;
                let path = format!("/apis/{EXTERNAL}/v1beta1/namespaces/{namespace}/{metric}");
                let found: List<ExternalValue> = self
                    .get(&with_query(&path, &[("labelSelector", &labels)]))
                    .await
                    .map_err(|e| format!("{words}: {}", missing(&e, &format!("{metric}.{EXTERNAL}"))))?;
                let items = found.items.unwrap_or_default();
                if items.is_empty() {
                    return Err("no metrics returned from external metrics API".into());
                }
                let values = items.iter().map(|v| v.value.milli_value());
                Ok(Reading::Value(values.fold(0, i64::saturating_add)))
            }
        }
    }

    async fn resource_metric(
        &self,
        resource: &str,
        container: &str,
        namespace: &str,
        pods: &str,
    ) -> Result<Reading, String> {
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
        let found: List<PodMetrics> =
            self.get(&with_query(&path, &[("labelSelector", pods)])).await.map_err(|e| {
                let words = missing(&e, "pods.metrics.k8s.io");
                format!("unable to fetch metrics from resource metrics API: {words}")
            })?;
        let items = found.items.unwrap_or_default();
        if items.is_empty() {
            return Err("no metrics returned from resource metrics API".into());
        }
        let sample = |pod: PodMetrics| {
            let mut containers = pod
                .containers
                .iter()
                .flatten()
                .filter(|c| container.is_empty() || c.name == container)
                .peekable();
            containers.peek()?;
            let uses: Option<Vec<_>> =
                containers.map(|c| c.usage.get(resource).map(Quantity::milli_value)).collect();
            let window = pod.window.parse::<Duration>().unwrap_or_default();
            let window = SignedDuration::from_nanos(window.0);
            Some((pod.metadata.name, Sample { value: uses?.iter().sum(), at: pod.timestamp, window }))
        };
        Ok(Reading::Pods(items.into_iter().filter_map(sample).collect()))
    }

    async fn custom(
        &self,
        path: &str,
        pods: &str,
        selector: Option<&LabelSelector>,
    ) -> Result<Vec<MetricValue>, String> {
        let versions = discover(&self.client).await.map_err(|e| error::message(&e))?;
        let version = versions.kinds.iter().filter(|r| r.group == CUSTOM).map(|r| r.version.as_str());
        let version = version
            .max_by_key(|v| *v == "v1beta2")
            .ok_or_else(|| format!("no custom metrics API ({CUSTOM}) registered"))?;
        let labels = selector_text(selector)?;
        let path = format!("/apis/{CUSTOM}/{version}/{path}");
        let path = with_query(&path, &[("labelSelector", pods), ("metricLabelSelector", &labels)]);
        let found: List<MetricValue> =
            self.get(&path).await.map_err(|e| missing(&e, &format!("pods.{CUSTOM}")))?;
        Ok(found.items.unwrap_or_default())
    }
}

fn custom_error(words: String) -> String {
    format!("unable to fetch metrics from custom metrics API: {words}")
}

fn pods_reading(found: Vec<MetricValue>) -> Result<Reading, String> {
    if found.is_empty() {
        return Err("no metrics returned from custom metrics API".into());
    }
    let sample = |metric: MetricValue| {
        let window = SignedDuration::from_secs(metric.window_seconds.unwrap_or(WINDOW));
        let sample = Sample { value: metric.value.milli_value(), at: metric.timestamp, window };
        (metric.described_object.name, sample)
    };
    let samples: Samples = found.into_iter().map(sample).collect();
    Ok(Reading::Pods(samples))
}

fn selector_text(selector: Option<&LabelSelector>) -> Result<String, String> {
    Selector::from_struct(selector).map(|s| s.to_string()).map_err(|e| e.0)
}

/// What upstream's clients say of a path that nobody serves.
fn missing(error: &kube::Error, resource: &str) -> String {
    if error.is_not_found() && error.reason() != "NotFound" {
        return format!("the server could not find the requested resource (get {resource})");
    }
    error::message(error)
}

fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut text = path.to_owned();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(byte.into()),
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped_and_empty_ones_left_out() {
        assert_eq!(with_query("/p", &[("a", ""), ("b", "x=1,y in (z)")]), "/p?b=x%3D1%2Cy%20in%20%28z%29");
        assert_eq!(with_query("/p", &[("a", "1"), ("b", "2")]), "/p?a=1&b=2");
    }

    #[test]
    fn both_versions_of_custom_metrics_are_read() {
        let one = r#"{"describedObject":{"name":"a"},"timestamp":"2026-01-01T00:00:00Z","value":"1500m"}"#;
        let other = r#"{"describedObject":{"name":"b"},"metric":{"name":"m"},
            "timestamp":"2026-01-01T00:00:00Z","windowSeconds":30,"value":"2"}"#;
        let found = [one, other].map(|text| serde_json::from_str::<MetricValue>(text).unwrap());
        let Reading::Pods(samples) = pods_reading(found.into()).unwrap() else { panic!() };
        assert_eq!((samples["a"].value, samples["a"].window.as_secs()), (1500, 60));
        assert_eq!((samples["b"].value, samples["b"].window.as_secs()), (2000, 30));
    }
}
