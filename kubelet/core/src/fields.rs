//! Downward API: fields of a pod and resources of its containers as text.

use crate::{pods, quantity, resources};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// Facts that are not in the pod object.
#[derive(Clone, Debug, Default)]
pub struct Node {
    pub host_ips: Vec<String>,
    pub pod_ips: Vec<String>,
    /// What a container without a limit may use.
    pub allocatable: resources::ResourceList,
}

/// `key="value"` lines, sorted, with Go's quoting.
pub fn map_text(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(k, v)| format!("{k}={}", gantry_types::field::go_quote(v))).collect();
    lines.join("\n")
}

/// The text of a field path, as environment variables and downward API files hold it.
///
/// # Errors
/// Where the path names nothing, in upstream's words.
pub fn field(pod: &Pod, path: &str, node: &Node) -> Result<String, String> {
    let meta = &pod.metadata;
    if let Some((base, rest)) = path.split_once("['") {
        let key = rest.strip_suffix("']").ok_or_else(|| format!("unsupported fieldPath: {path}"))?;
        let map = match base {
            "metadata.annotations" => meta.annotations.as_ref(),
            "metadata.labels" => meta.labels.as_ref(),
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    let spec = pods::spec(pod);
    Ok(match path {
        "metadata.name" => pods::name(pod).into(),
        "metadata.namespace" => pods::namespace(pod).into(),
        "metadata.uid" => pods::uid(pod).into(),
        "metadata.labels" => map_text(meta.labels.as_ref()),
        "metadata.annotations" => map_text(meta.annotations.as_ref()),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => node.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => node.host_ips.join(","),
        "status.podIP" => node.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => node.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// The text of a container's request or limit divided by the selector's divisor. A missing limit is what the
/// node could give; a missing request is zero (or the limit, as the API would have filled it in).
///
/// # Errors
/// Where the container or the resource is unknown.
pub fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    node: &Node,
) -> Result<String, String> {
    let found;
    let container = match selector.container_name.as_deref().filter(|n| !n.is_empty()) {
        Some(name) => {
            found = pods::find_container(pod, name).ok_or_else(|| format!("container {name} not found"))?;
            &found
        }
        None => own.ok_or("container name is required")?,
    };
    let unsupported = || format!("unsupported container resource : {}", selector.resource);
    let (side, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let r = container.resources.as_ref();
    let limit = r.and_then(|r| r.limits.as_ref()).and_then(|l| l.get(name));
    let request = r.and_then(|r| r.requests.as_ref()).and_then(|l| l.get(name));
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
        return Err(unsupported());
    }
    let value = match side {
        "limits" => limit.filter(|q| quantity::exact(q) > 0).or_else(|| node.allocatable.get(name)),
        "requests" => request,
        _ => return Err(unsupported()),
    };
    let one = Quantity("1".into());
    let divisor = selector.divisor.as_ref().unwrap_or(&one);
    Ok(quantity::divided(value.map(quantity::exact).unwrap_or(0), divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn pod() -> Pod {
        let limits = BTreeMap::from([("cpu".to_owned(), Quantity("1500m".into()))]);
        let resources = ResourceRequirements { limits: Some(limits), ..Default::default() };
        Pod {
            metadata: ObjectMeta {
                name: Some("p".into()),
                labels: Some(BTreeMap::from([("b".into(), "x\"y".into()), ("a".into(), "1".into())])),
                ..Default::default()
            },
            spec: Some(PodSpec {
                containers: vec![Container {
                    name: "c".into(),
                    resources: Some(resources),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn fields_read() {
        let node = Node { host_ips: vec!["1.1.1.1".into()], ..Default::default() };
        let check = |path: &str, want: Result<&str, &str>| {
            assert_eq!(field(&pod(), path, &node), want.map(Into::into).map_err(Into::into));
        };
        check("metadata.name", Ok("p"));
        check("metadata.labels", Ok("a=\"1\"\nb=\"x\\\"y\""));
        check("metadata.labels['a']", Ok("1"));
        check("metadata.annotations['a']", Ok(""));
        check("status.hostIP", Ok("1.1.1.1"));
        check("spec.x", Err("unsupported fieldPath: spec.x"));
    }

    #[test]
    fn resources_read() {
        let node = Node {
            allocatable: BTreeMap::from([("memory".into(), Quantity("1Gi".into()))]),
            ..Default::default()
        };
        let check = |name: &str, divisor: &str, want: &str| {
            let s = ResourceFieldSelector {
                container_name: Some("c".into()),
                resource: name.into(),
                divisor: Some(Quantity(divisor.into())),
            };
            assert_eq!(resource(&pod(), None, &s, &node).unwrap(), want, "{name}");
        };
        check("limits.cpu", "0", "2");
        check("limits.cpu", "1m", "1500");
        check("limits.memory", "1Mi", "1024");
        check("requests.memory", "1", "0");
    }
}
