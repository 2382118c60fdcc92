//! Nodes.

use super::text::{Text, maybe_time, time};
use crate::context::Context;
use crate::error::Result;
use crate::resources::builder::{self, Query};
use gantry_types::Document;
use gantry_types::quantity::Quantity;
use gantry_types::time::age;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Raw;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;

type Amounts = BTreeMap<String, Quantity>;

fn roles(n: &Node) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for (key, value) in n.metadata.labels.iter().flatten() {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/").filter(|r| !r.is_empty()) {
            out.push(role.to_owned());
        } else if key == "kubernetes.io/role" && !value.is_empty() {
            out.push(value.clone());
        }
    }
    out
}

fn amounts(list: Option<&BTreeMap<String, Raw>>) -> Amounts {
    list.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.0.parse().ok()?))).collect()
}

fn add(into: &mut Amounts, more: &Amounts) {
    for (k, v) in more {
        into.entry(k.clone()).and_modify(|q| q.add(v)).or_insert_with(|| v.clone());
    }
}

fn raise(into: &mut Amounts, to: &Amounts) {
    for (k, v) in to {
        match into.get(k) {
            Some(now) if now.as_f64() >= v.as_f64() => {}
            _ => drop(into.insert(k.clone(), v.clone())),
        }
    }
}

/// What a pod asks for, or may use: containers together, init containers where they need more, sidecars and
/// overhead on top.
fn of_pod(p: &Pod, limits: bool) -> Amounts {
    let pick = |c: &Container| {
        let r = c.resources.clone().unwrap_or_default();
        amounts(if limits { r.limits.as_ref() } else { r.requests.as_ref() })
    };
    let Some(spec) = &p.spec else { return Amounts::new() };
    let mut total = Amounts::new();
    spec.containers.iter().for_each(|c| add(&mut total, &pick(c)));
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for c in spec.init_containers.iter().flatten() {
        let mut own = pick(c);
        if c.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &own);
            raise(&mut peak, &sidecars);
        } else {
            add(&mut own, &sidecars);
            raise(&mut peak, &own);
        }
    }
    add(&mut total, &sidecars);
    raise(&mut total, &peak);
    if let Some(whole) = &spec.resources {
        let list = if limits { whole.limits.as_ref() } else { whole.requests.as_ref() };
        total.extend(amounts(list));
    }
    let overhead = amounts(spec.overhead.as_ref());
    for (k, v) in overhead {
        match total.get_mut(&k) {
            Some(q) => q.add(&v),
            None if !limits => drop(total.insert(k, v)),
            None => {}
        }
    }
    total
}

fn share(part: &Amounts, whole: &Amounts, resource: &str) -> String {
    let zero = Quantity::from_int(0);
    let amount = part.get(resource).unwrap_or(&zero);
    let all = whole.get(resource).map_or(0.0, Quantity::as_f64);
    let percent = if all == 0.0 { 0 } else { (amount.as_f64() / all * 100.0) as i64 };
    format!("{amount} ({percent}%)")
}

pub async fn node(cx: &Context, t: &mut Text, n: &Node) -> Result<()> {
    let m = &n.metadata;
    let name = m.name.as_deref().unwrap_or_default();
    let (spec, status) = (n.spec.clone().unwrap_or_default(), n.status.clone().unwrap_or_default());
    t.pair(0, "Name", name);
    let roles = roles(n);
    t.pair(0, "Roles", if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") });
    t.labels("Labels", m.labels.as_ref());
    t.annotations("Annotations", m.annotations.as_ref());
    t.pair(0, "CreationTimestamp", maybe_time(m.creation_timestamp.as_ref()));
    let taints: Vec<String> = spec
        .taints
        .iter()
        .flatten()
        .map(|x| match x.value.as_deref() {
            Some(v) if !v.is_empty() => format!("{}={v}:{}", x.key, x.effect),
            _ => format!("{}:{}", x.key, x.effect),
        })
        .collect();
    t.list("Taints", &taints);
    t.pair(0, "Unschedulable", spec.unschedulable.unwrap_or(false));
    lease(cx, t, name).await?;
    if let Some(conditions) = status.conditions.filter(|c| !c.is_empty()) {
        t.line(0, "Conditions:\n  Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
        t.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
        for c in conditions {
            let (beat, changed) =
                (maybe_time(c.last_heartbeat_time.as_ref()), maybe_time(c.last_transition_time.as_ref()));
            let (reason, message) = (c.reason.unwrap_or_default(), c.message.unwrap_or_default());
            t.line(1, &format!("{} \t{} \t{beat} \t{changed} \t{reason} \t{message}", c.type_, c.status));
        }
    }
    t.line(0, "Addresses:");
    for a in status.addresses.iter().flatten() {
        t.pair(1, &a.type_, &a.address);
    }
    for (title, list) in [("Capacity", &status.capacity), ("Allocatable", &status.allocatable)] {
        if let Some(list) = list.as_ref().filter(|l| !l.is_empty()) {
            t.line(0, &format!("{title}:"));
            for (k, v) in list {
                t.pair(1, k, &v.0);
            }
        }
    }
    t.line(0, "System Info:");
    let i = status.node_info.unwrap_or_default();
    for (title, value) in [
        ("Machine ID", &i.machine_id),
        ("System UUID", &i.system_uuid),
        ("Boot ID", &i.boot_id),
        ("Kernel Version", &i.kernel_version),
        ("OS Image", &i.os_image),
        ("Operating System", &i.operating_system),
        ("Architecture", &i.architecture),
        ("Container Runtime Version", &i.container_runtime_version),
        ("Kubelet Version", &i.kubelet_version),
    ] {
        t.pair(1, title, value);
    }
    if let Some(cidr) = spec.pod_cidr.filter(|c| !c.is_empty()) {
        t.pair(0, "PodCIDR", cidr);
    }
    if let Some(cidrs) = spec.pod_cidrs.filter(|c| !c.is_empty()) {
        t.pair(0, "PodCIDRs", cidrs.join(","));
    }
    if let Some(id) = spec.provider_id.filter(|c| !c.is_empty()) {
        t.pair(0, "ProviderID", id);
    }
    let whole = amounts(status.allocatable.as_ref().filter(|a| !a.is_empty()).or(status.capacity.as_ref()));
    pods(cx, t, name, &whole).await
}

async fn lease(cx: &Context, t: &mut Text, name: &str) -> Result<()> {
    let path = format!(
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{}",
        crate::rest::escape(name)
    );
    let lease: Lease = match cx.rest().await?.typed(&path).await {
        Ok(lease) => lease,
        Err(e) => {
            t.pair(0, "Lease", format!("Failed to get lease: {}", e.bare()));
            return Ok(());
        }
    };
    let spec = lease.spec.unwrap_or_default();
    t.line(0, "Lease:");
    t.pair(1, "HolderIdentity", spec.holder_identity.unwrap_or_else(|| "<unset>".into()));
    t.pair(1, "AcquireTime", spec.acquire_time.map_or_else(|| "<unset>".into(), |x| time(x.0)));
    t.pair(1, "RenewTime", spec.renew_time.map_or_else(|| "<unset>".into(), |x| time(x.0)));
    Ok(())
}

async fn pods(cx: &Context, t: &mut Text, node: &str, whole: &Amounts) -> Result<()> {
    let query = Query {
        field_selector: format!("spec.nodeName={node},status.phase!=Failed,status.phase!=Succeeded"),
        ..Query::default()
    };
    let resource = cx.resource("pods").await?;
    let found: Vec<Document> = match builder::list(cx, &resource, None, &query).await {
        Ok(found) => found,
        Err(e) if e.is_reason("Forbidden") => {
            t.pair(0, "Pods", "not authorized");
            return Ok(());
        }
        Err(e) => return Err(e),
    };
    t.pair(0, "Non-terminated Pods", format!("({} in total)", found.len()));
    t.line(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    t.line(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---");
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for d in &found {
        let p: Pod = d.to_typed()?;
        let (r, l) = (of_pod(&p, false), of_pod(&p, true));
        let old = age(p.metadata.creation_timestamp.as_ref().map(|c| c.0), Timestamp::now());
        t.line(
            1,
            &format!(
                "{}\t{}\t\t{}\t{}\t{}\t{}\t{old}",
                d.namespace(),
                d.name(),
                share(&r, whole, "cpu"),
                share(&l, whole, "cpu"),
                share(&r, whole, "memory"),
                share(&l, whole, "memory")
            ),
        );
        add(&mut requests, &r);
        add(&mut limits, &l);
    }
    t.line(0, "Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)");
    t.line(1, "Resource\tRequests\tLimits");
    t.line(1, "--------\t--------\t------");
    let huge = whole.keys().filter(|k| k.starts_with("hugepages-")).map(String::as_str);
    for resource in ["cpu", "memory", "ephemeral-storage"].into_iter().chain(huge) {
        let (r, l) = (share(&requests, whole, resource), share(&limits, whole, resource));
        t.line(1, &format!("{resource}\t{r}\t{l}"));
    }
    let zero = Quantity::from_int(0);
    for resource in whole.keys().filter(|k| k.contains('/')) {
        let (r, l) = (requests.get(resource).unwrap_or(&zero), limits.get(resource).unwrap_or(&zero));
        t.line(1, &format!("{resource}\t{r}\t{l}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_ask_for_what_they_need_at_once() {
        let check = |spec: &str, expected: &str| {
            let p: Pod = serde_json::from_str(&format!(r#"{{"spec":{spec}}}"#)).unwrap();
            assert_eq!(
                of_pod(&p, false).get("cpu").map(ToString::to_string).unwrap_or_default(),
                expected,
                "{spec}"
            );
        };
        let c = |n: &str, cpu: &str, more: &str| {
            format!(r#"{{"name":"{n}","resources":{{"requests":{{"cpu":"{cpu}"}}}}{more}}}"#)
        };
        let (a, b) = (c("a", "100m", ""), c("b", "200m", ""));
        check(&format!(r#"{{"containers":[{a},{b}]}}"#), "300m");
        check(&format!(r#"{{"containers":[{a}],"initContainers":[{b}]}}"#), "200m");
        let side = c("s", "50m", r#","restartPolicy":"Always""#);
        check(&format!(r#"{{"containers":[{a}],"initContainers":[{side},{b}]}}"#), "250m");
        check(&format!(r#"{{"containers":[{a}],"overhead":{{"cpu":"10m"}}}}"#), "110m");
    }
}
