//! Why a Service leads nowhere.

use super::finding::{Finding, Verdict, count, names};
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

pub struct Seen<'a> {
    pub service: &'a Service,
    /// The Service's.
    pub slices: &'a [EndpointSlice],
    /// All of the namespace.
    pub pods: &'a [Pod],
    /// What is wrong with the worst of the pods it selects.
    pub worst: Option<Finding>,
}

/// Whether a Service takes a pod for one of its own.
pub fn selects(selector: &BTreeMap<String, String>, pod: &Pod) -> bool {
    misses(selector, pod).is_empty()
}

/// The labels a pod lacks of a selector.
fn misses<'s>(selector: &'s BTreeMap<String, String>, pod: &Pod) -> Vec<(&'s str, &'s str)> {
    let has = |k: &String| pod.metadata.labels.as_ref().and_then(|l| l.get(k));
    selector.iter().filter(|(k, v)| has(k) != Some(v)).map(|(k, v)| (k.as_str(), v.as_str())).collect()
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

pub fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// How many addresses of a port take connections.
fn ready_addresses(slices: &[EndpointSlice], port: &ServicePort) -> usize {
    let wanted = port.name.as_deref().unwrap_or_default();
    let has = |s: &&EndpointSlice| {
        s.ports.iter().flatten().any(|p| p.name.as_deref().unwrap_or_default() == wanted)
    };
    let ready = |s: &EndpointSlice| {
        let all = s.endpoints.iter().flatten();
        all.filter(|e| e.conditions.as_ref().and_then(|c| c.ready) != Some(false)).count()
    };
    slices.iter().filter(has).map(ready).sum()
}

/// What is wrong with how a port is pointed at the pods, where something is.
fn target(port: &ServicePort, pods: &[&Pod]) -> Option<Finding> {
    let Some(IntOrString::String(wanted)) = &port.target_port else { return None };
    let protocol = |p: &Option<String>| p.as_deref().unwrap_or("TCP").to_owned();
    let declared = |pod: &&Pod| {
        let spec = pod.spec.as_ref();
        let containers = spec.map(|s| s.containers.iter()).into_iter().flatten();
        let sidecars = spec.and_then(|s| s.init_containers.as_ref()).into_iter().flatten();
        let ports = containers.chain(sidecars).flat_map(|c| c.ports.iter().flatten());
        ports.map(|p| (p.name.clone().unwrap_or_default(), protocol(&p.protocol))).collect::<Vec<_>>()
    };
    let all: Vec<(String, String)> = pods.iter().flat_map(declared).collect();
    if all.iter().any(|(n, p)| n == wanted && *p == protocol(&port.protocol)) {
        return None;
    }
    let mut known: Vec<&str> = all.iter().map(|(n, _)| n.as_str()).filter(|n| !n.is_empty()).collect();
    known.sort_unstable();
    known.dedup();
    let known = if known.is_empty() { "none has a name".to_owned() } else { names(&known) };
    Some(
        Finding::new(format!(
            "its port {} points at the container port {wanted:?}, which its pods do not have",
            port.port
        ))
        .seen(format!("{} ports the pods name: {known}", protocol(&port.protocol)))
        .change("name the container's port so, or mend targetPort (a name in the pods, or a number)"),
    )
}

pub fn explain(seen: &Seen<'_>) -> Verdict {
    let spec = seen.service.spec.clone().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        let to = spec.external_name.unwrap_or_default();
        return Verdict::new(format!("a name for {to}"), Vec::new());
    }
    let mut out = Vec::new();
    let ready: Vec<usize> = ports.iter().map(|p| ready_addresses(seen.slices, p)).collect();
    let fewest = ready.iter().copied().min().unwrap_or_else(|| {
        // Headless ones may have no ports.
        seen.slices.iter().map(|s| s.endpoints.iter().flatten().count()).sum()
    });
    let selector = spec.selector.clone().unwrap_or_default();
    if selector.is_empty() {
        if fewest == 0 {
            out.push(Finding::new("it has no selector, and nobody has given it endpoints").change(
                "set spec.selector, or write an EndpointSlice with the label kubernetes.io/service-name",
            ));
        }
    } else {
        let living: Vec<&Pod> = seen.pods.iter().filter(|p| !has_ended(p) && selects(&selector, p)).collect();
        out.extend(selected(seen, &spec.ports.clone().unwrap_or_default(), &selector, &living, fewest));
    }
    if spec.type_.as_deref() == Some("LoadBalancer") {
        let status = seen.service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        if status.and_then(|l| l.ingress.as_ref()).is_none_or(Vec::is_empty) {
            out.push(
                Finding::new("no load balancer has been made for it")
                    .seen("status.loadBalancer.ingress is empty")
                    .change("a controller that makes load balancers must run; without one, use NodePort or an Ingress"),
            );
        }
    }
    let state = match fewest {
        0 => "no endpoints".to_owned(),
        n => count(n, "ready endpoint"),
    };
    Verdict::new(state, out)
}

fn selected(
    seen: &Seen<'_>,
    ports: &[ServicePort],
    selector: &BTreeMap<String, String>,
    living: &[&Pod],
    fewest: usize,
) -> Vec<Finding> {
    let wanted: Vec<String> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let wanted = wanted.join(",");
    if living.is_empty() {
        return vec![unmatched(seen, selector, &wanted)];
    }
    let mut out: Vec<Finding> = ports.iter().filter_map(|p| target(p, living)).collect();
    let ready = living.iter().filter(|p| is_ready(p)).count();
    let anyway = seen.service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses) == Some(true);
    if ready == 0 && !anyway {
        let all = names(living.iter().map(|p| name(p)));
        out.push(
            Finding::new(format!("it selects {}, of which none is ready", count(living.len(), "pod")))
                .seen(format!("pods {all}"))
                .change("a pod must become ready; see why the first is not")
                .because(seen.worst.clone()),
        );
    } else if fewest == 0 && out.is_empty() {
        let what = if seen.slices.is_empty() {
            "no EndpointSlice has been written for it"
        } else {
            "its EndpointSlices lack its ready pods"
        };
        out.push(
            Finding::new(what)
                .seen(format!("{} ready", count(ready, "pod")))
                .change("wait; where it lasts, the controller manager (endpointslice controller) must run"),
        );
    }
    out
}

/// No pod has the labels: who comes near.
fn unmatched(seen: &Seen<'_>, selector: &BTreeMap<String, String>, wanted: &str) -> Finding {
    let mut out = Finding::new("its selector matches no pod").seen(format!("selector {wanted}"));
    let living = || seen.pods.iter().filter(|p| !has_ended(p));
    if selector.len() > 1 || living().count() < 10 {
        let near = living().map(|p| (misses(selector, p), p)).min_by_key(|(m, p)| {
            let labels = p.metadata.labels.as_ref();
            (m.len(), m.iter().filter(|(k, _)| labels.is_none_or(|l| !l.contains_key(*k))).count())
        });
        if let Some((missing, pod)) = near.filter(|(m, _)| m.len() < selector.len() || selector.len() == 1) {
            let has =
                |k: &str| pod.metadata.labels.as_ref().and_then(|l| l.get(k)).map_or("none", String::as_str);
            for (key, value) in missing {
                out =
                    out.seen(format!("pod {} comes nearest: {key} is {}, not {value}", name(pod), has(key)));
            }
        }
    }
    let ended = seen.pods.iter().filter(|p| has_ended(p) && selects(selector, p)).count();
    if ended > 0 {
        out = out.seen(format!("{} with these labels have ended", count(ended, "pod")));
    }
    out.change("mend the selector or the pods' labels, or start pods with them (a Deployment scaled to 0?)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, app: &str, ready: &str, port: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {"app": app, "tier": "x"}},
               "spec": {"containers": [{"name": "c", "ports": [{"name": port, "containerPort": 80}]}]},
               "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn slice(n: usize) -> Value {
        let endpoints: Vec<Value> =
            (0..n).map(|_| json!({"addresses": ["192.0.2.1"], "conditions": {"ready": true}})).collect();
        json!({"addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "", "port": 80}]})
    }

    fn check(spec: Value, pods: Value, slices: Value, state: &str, causes: &[&str]) {
        let service: Service =
            serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap();
        let pods: Vec<Pod> = serde_json::from_value(pods).unwrap();
        let slices: Vec<EndpointSlice> = serde_json::from_value(slices).unwrap();
        let worst = Some(Finding::new("worst"));
        let got = explain(&Seen { service: &service, slices: &slices, pods: &pods, worst });
        let told: Vec<&str> = got.findings.iter().map(|f| f.cause.as_str()).collect();
        assert_eq!((got.state.as_str(), told.as_slice()), (state, causes));
        assert!(got.findings.iter().all(|f| !f.change.is_empty()));
    }

    #[test]
    fn services_that_lead_nowhere() {
        let plain = |port: Value| json!({"selector": {"app": "a", "tier": "x"}, "ports": [{"port": 80, "targetPort": port}]});
        check(
            plain(json!(80)),
            json!([pod("p", "a", "True", "http")]),
            json!([slice(1)]),
            "1 ready endpoint",
            &[],
        );
        check(
            plain(json!(80)),
            json!([pod("p", "b", "True", "http")]),
            json!([]),
            "no endpoints",
            &["its selector matches no pod"],
        );
        check(
            plain(json!(80)),
            json!([pod("p", "a", "False", "http")]),
            json!([slice(0)]),
            "no endpoints",
            &["it selects 1 pod, of which none is ready"],
        );
        check(
            plain(json!("web")),
            json!([pod("p", "a", "True", "http")]),
            json!([slice(0)]),
            "no endpoints",
            &["its port 80 points at the container port \"web\", which its pods do not have"],
        );
        check(
            plain(json!("http")),
            json!([pod("p", "a", "True", "http")]),
            json!([]),
            "no endpoints",
            &["no EndpointSlice has been written for it"],
        );
        check(
            json!({"ports": [{"port": 80}]}),
            json!([]),
            json!([]),
            "no endpoints",
            &["it has no selector, and nobody has given it endpoints"],
        );
        check(
            json!({"type": "ExternalName", "externalName": "x.y"}),
            json!([]),
            json!([]),
            "a name for x.y",
            &[],
        );
        let mut balanced = plain(json!(80));
        balanced["type"] = "LoadBalancer".into();
        check(
            balanced,
            json!([pod("p", "a", "True", "http")]),
            json!([slice(1)]),
            "1 ready endpoint",
            &["no load balancer has been made for it"],
        );
    }

    #[test]
    fn the_nearest_pod_is_named() {
        let service: Service =
            serde_json::from_value(json!({"spec": {"selector": {"app": "a", "tier": "x"}, "ports": []}}))
                .unwrap();
        let pods: Vec<Pod> = serde_json::from_value(json!([pod("p", "b", "True", "")])).unwrap();
        let got = explain(&Seen { service: &service, slices: &[], pods: &pods, worst: None });
        assert_eq!(got.findings[0].evidence[1], "pod p comes nearest: app is b, not a");
    }
}
