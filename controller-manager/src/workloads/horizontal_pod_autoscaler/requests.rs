//! What pods request, in thousandths.

use gantry_types::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use std::collections::BTreeMap;
use std::sync::Arc;

type Requests = BTreeMap<String, Text>;

fn of_container(container: &Container) -> Option<&Requests> {
    container.resources.as_ref()?.requests.as_ref()
}

fn amount(requests: Option<&Requests>, resource: &str) -> Option<i64> {
    // What the server has stored reads.
    Some(Quantity::try_from(requests?.get(resource)?).ok()?.milli_value())
}

/// By pod: what all its containers request together, or one of them where `container` names it.
pub(super) fn of(
    pods: &[Arc<Pod>],
    container: &str,
    resource: &str,
) -> Result<BTreeMap<String, i64>, String> {
    let named = |pod: &Arc<Pod>| {
        let name = pod.metadata.name.clone().unwrap_or_default();
        of_pod(pod, container, resource).map(|request| (name, request))
    };
    pods.iter().map(named).collect()
}

fn of_pod(pod: &Pod, container: &str, resource: &str) -> Result<i64, String> {
    let name = pod.metadata.name.as_deref().unwrap_or("");
    let Some(spec) = &pod.spec else { return Ok(0) };
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let containers: Vec<_> = spec.containers.iter().chain(sidecars).collect();
    let pod_level = spec.resources.as_ref().and_then(|r| r.requests.as_ref()).filter(|r| !r.is_empty());
    if let Some(requests) = pod_level.filter(|_| container.is_empty()) {
        // What the pod does not say for all is what its containers say.
        let summed = || {
            let each = containers.iter().filter_map(|c| amount(of_container(c), resource));
            each.reduce(|sum, one| sum + one)
        };
        return amount(Some(requests), resource)
            .or_else(summed)
            .ok_or_else(|| format!("missing pod-level request for {resource} in Pod {name}"));
    }
    let mut total = 0;
    for one in &containers {
        if !container.is_empty() && one.name != container {
            continue;
        }
        let missing = || format!("missing request for {resource} in container {} of Pod {name}", one.name);
        total += amount(of_container(one), resource).ok_or_else(missing)?;
        if one.name == container {
            return Ok(total);
        }
    }
    if container.is_empty() {
        Ok(total)
    } else {
        Err(format!("container {container} not found in Pod {name}"))
    }
}
