//! Services.

use super::text::{Text, or_none};
use crate::context::Context;
use crate::error::Result;
use crate::resources::builder::{self, Query};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub async fn service(cx: &Context, t: &mut Text, s: &Service) -> Result<()> {
    let slices = slices(cx, s).await.unwrap_or_default();
    t.head(&s.metadata);
    let spec = s.spec.clone().unwrap_or_default();
    let selector: Vec<String> = spec.selector.iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
    t.pair(0, "Selector", or_none(&selector.join(",")));
    t.pair(0, "Type", spec.type_.as_deref().unwrap_or_default());
    if let Some(policy) = &spec.ip_family_policy {
        t.pair(0, "IP Family Policy", policy);
    }
    t.pair(0, "IP Families", or_none(&spec.ip_families.unwrap_or_default().join(",")));
    t.pair(0, "IP", spec.cluster_ip.as_deref().unwrap_or_default());
    t.pair(0, "IPs", or_none(&spec.cluster_ips.unwrap_or_default().join(",")));
    if let Some(ips) = spec.external_ips.filter(|i| !i.is_empty()) {
        t.pair(0, "External IPs", ips.join(","));
    }
    if let Some(ip) = spec.load_balancer_ip.filter(|i| !i.is_empty()) {
        t.pair(0, "Desired LoadBalancer IP", ip);
    }
    if let Some(name) = spec.external_name.filter(|i| !i.is_empty()) {
        t.pair(0, "External Name", name);
    }
    let ingress = s.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|l| l.ingress.clone());
    if let Some(ingress) = ingress.filter(|i| !i.is_empty()) {
        let all: Vec<String> = ingress.iter().filter_map(|i| i.ip.clone().or(i.hostname.clone())).collect();
        t.pair(0, "LoadBalancer Ingress", all.join(", "));
    }
    for p in spec.ports.iter().flatten() {
        let name = p.name.as_deref().filter(|n| !n.is_empty());
        let shown = name.unwrap_or("<unset>");
        let protocol = p.protocol.as_deref().unwrap_or_default();
        t.pair(0, "Port", format!("{shown}\t{}/{protocol}", p.port));
        match &p.target_port {
            Some(IntOrString::Int(n)) => t.pair(0, "TargetPort", format!("{n}/{protocol}")),
            Some(IntOrString::String(s)) => t.pair(0, "TargetPort", format!("{s}/{protocol}")),
            None => t.pair(0, "TargetPort", format!("0/{protocol}")),
        }
        if let Some(app) = &p.app_protocol {
            t.pair(0, "AppProtocol", app);
        }
        if let Some(port) = p.node_port.filter(|p| *p != 0) {
            t.pair(0, "NodePort", format!("{shown}\t{port}/{protocol}"));
        }
        t.pair(0, "Endpoints", endpoints(&slices, name.unwrap_or_default()));
    }
    t.pair(0, "Session Affinity", spec.session_affinity.unwrap_or_default());
    if let Some(policy) = spec.external_traffic_policy.filter(|p| !p.is_empty()) {
        t.pair(0, "External Traffic Policy", policy);
    }
    if let Some(policy) = spec.internal_traffic_policy {
        t.pair(0, "Internal Traffic Policy", policy);
    }
    if let Some(port) = spec.health_check_node_port.filter(|p| *p != 0) {
        t.pair(0, "HealthCheck NodePort", port);
    }
    if let Some(ranges) = spec.load_balancer_source_ranges.filter(|r| !r.is_empty()) {
        t.pair(0, "LoadBalancer Source Ranges", ranges.join(","));
    }
    if let Some(distribution) = spec.traffic_distribution {
        t.pair(0, "Traffic Distribution", distribution);
    }
    Ok(())
}

async fn slices(cx: &Context, s: &Service) -> Result<Vec<EndpointSlice>> {
    let resource = cx.resource("endpointslices.discovery.k8s.io").await?;
    let name = s.metadata.name.as_deref().unwrap_or_default();
    let query = Query { selector: format!("kubernetes.io/service-name={name}"), ..Query::default() };
    let found = builder::list(cx, &resource, s.metadata.namespace.as_deref(), &query).await?;
    Ok(found.iter().filter_map(|d| d.to_typed().ok()).collect())
}

/// The first three ready addresses of a port, and how many more there are.
fn endpoints(slices: &[EndpointSlice], port: &str) -> String {
    if slices.is_empty() {
        return "<none>".into();
    }
    let mut all = Vec::new();
    for slice in slices {
        let ready = || {
            slice
                .endpoints
                .iter()
                .flatten()
                .filter(|e| e.conditions.as_ref().and_then(|c| c.ready) != Some(false))
                .filter_map(|e| e.addresses.first())
        };
        let ports = slice.ports.as_deref().unwrap_or_default();
        if ports.is_empty() {
            // A headless service may have none.
            all.extend(ready().cloned());
        }
        for p in ports.iter().filter(|p| p.name.as_deref().unwrap_or_default() == port) {
            let number = p.port.unwrap_or_default();
            all.extend(ready().map(|address| match address.contains(':') {
                true => format!("[{address}]:{number}"),
                false => format!("{address}:{number}"),
            }));
        }
    }
    let first: Vec<String> = all.iter().take(3).cloned().collect();
    match all.len() {
        0..=3 => first.join(","),
        n => format!("{} + {} more...", first.join(","), n - 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_endpoints_are_shown() {
        let slice = |addresses: &[&str]| -> EndpointSlice {
            let endpoints: Vec<String> = addresses
                .iter()
                .map(|a| format!(r#"{{"addresses":["{a}"],"conditions":{{"ready":true}}}}"#))
                .collect();
            serde_json::from_str(&format!(
                r#"{{"addressType":"IPv4","ports":[{{"name":"","port":80}}],"endpoints":[{}]}}"#,
                endpoints.join(",")
            ))
            .unwrap()
        };
        assert_eq!(endpoints(&[], ""), "<none>");
        assert_eq!(endpoints(&[slice(&["1.1.1.1", "::1"])], ""), "1.1.1.1:80,[::1]:80");
        assert_eq!(endpoints(&[slice(&["a", "b", "c", "d"])], ""), "a:80,b:80,c:80 + 1 more...");
        assert_eq!(endpoints(&[slice(&["a"])], "other"), "");
    }
}
