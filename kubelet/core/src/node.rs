//! The node's own status from facts about the machine and the runtime.

use crate::{quantity, resources::ResourceList};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

/// What is true of the machine now. Bytes, counts, and texts as Kubernetes shows them.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub cpus: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    pub max_pods: i64,
    pub hugepages: BTreeMap<String, i64>,
    /// Kept from pods: system and kube reserved, and the hard eviction thresholds.
    pub reserved: ResourceList,
    pub info: NodeSystemInfo,
    pub hostname: String,
    pub ips: Vec<String>,
    pub port: i32,
    pub images: Vec<ContainerImage>,
    pub pressure: Pressure,
    /// What keeps the node from being ready; empty when ready.
    pub problems: Vec<String>,
}

/// Shortages as the eviction signals show them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pid: bool,
}

pub fn capacity(f: &Facts) -> ResourceList {
    let mut out = ResourceList::from([
        ("cpu".to_owned(), Quantity(f.cpus.to_string())),
        ("memory".to_owned(), Quantity(format!("{}Ki", f.memory / 1024))),
        ("pods".to_owned(), Quantity(f.max_pods.to_string())),
        ("hugepages-1Gi".to_owned(), Quantity("0".into())),
        ("hugepages-2Mi".to_owned(), Quantity("0".into())),
    ]);
    if f.ephemeral_storage > 0 {
        let q = Quantity(format!("{}Ki", f.ephemeral_storage / 1024));
        out.insert("ephemeral-storage".into(), q);
    }
    for (size, bytes) in &f.hugepages {
        out.insert(format!("hugepages-{size}"), quantity::from_bytes(*bytes));
    }
    out
}

/// Capacity less what is reserved; huge pages come off memory.
pub fn allocatable(f: &Facts) -> ResourceList {
    let mut out = capacity(f);
    let huge: i64 = f.hugepages.values().sum();
    for (name, q) in &mut out {
        let reserved = f.reserved.get(name);
        match name.as_str() {
            "cpu" => {
                let milli = f.cpus * 1000 - reserved.map(quantity::milli).unwrap_or(0);
                *q = quantity::from_milli(milli.max(0));
            }
            "memory" => {
                let left = f.memory - huge - reserved.map(quantity::value).unwrap_or(0);
                *q = Quantity(format!("{}Ki", left.max(0) / 1024));
            }
            "ephemeral-storage" => {
                let left = f.ephemeral_storage - reserved.map(quantity::value).unwrap_or(0);
                *q = Quantity(left.max(0).to_string());
            }
            _ => {}
        }
    }
    out
}

/// The extended resources (`vendor.example/thing`) others wrote into a list of resources.
fn extended(old: Option<&ResourceList>) -> impl Iterator<Item = (String, Quantity)> + '_ {
    old.into_iter().flatten().filter(|(n, _)| n.contains('/')).map(|(n, q)| (n.clone(), q.clone()))
}

/// The whole status. Condition times carry over from `old` where nothing changed; extended resources of its
/// capacity are kept, and allocatable.
pub fn status(f: &Facts, old: Option<&NodeStatus>, now: Timestamp) -> NodeStatus {
    let mut out = old.cloned().unwrap_or_default();
    let kept: Vec<_> = extended(out.capacity.as_ref()).collect();
    out.capacity = Some(capacity(f).into_iter().chain(kept.iter().cloned()).collect());
    out.allocatable = Some(allocatable(f).into_iter().chain(kept).collect());
    out.node_info = Some(f.info.clone());
    let mut addresses: Vec<NodeAddress> =
        f.ips.iter().map(|ip| NodeAddress { type_: "InternalIP".into(), address: ip.clone() }).collect();
    addresses.push(NodeAddress { type_: "Hostname".into(), address: f.hostname.clone() });
    out.addresses = Some(addresses);
    out.daemon_endpoints =
        Some(NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: f.port }) });
    out.images = (!f.images.is_empty()).then(|| f.images.clone());
    let before = out.conditions.take().unwrap_or_default();
    let p = f.pressure;
    let mut list = vec![
        pressure("MemoryPressure", p.memory, "Memory", "memory available"),
        pressure("DiskPressure", p.disk, "Disk", ""),
        pressure("PIDPressure", p.pid, "PID", "PID available"),
        ready(f),
    ];
    let time = |t: Timestamp| Time(Timestamp::from_second(t.as_second()).unwrap_or(t));
    for c in &mut list {
        let was = before.iter().find(|o| o.type_ == c.type_);
        c.last_heartbeat_time = Some(time(now));
        c.last_transition_time = match was {
            Some(o) if o.status == c.status && o.last_transition_time.is_some() => {
                o.last_transition_time.clone()
            }
            _ => Some(time(now)),
        };
    }
    let mut all: Vec<NodeCondition> =
        before.into_iter().filter(|o| !list.iter().any(|c| c.type_ == o.type_)).collect();
    all.extend(list);
    out.conditions = Some(all);
    out
}

fn condition(kind: &str, status: bool, reason: &str, message: String) -> NodeCondition {
    NodeCondition {
        type_: kind.into(),
        status: if status { "True" } else { "False" }.into(),
        reason: Some(reason.into()),
        message: Some(message),
        ..NodeCondition::default()
    }
}

fn pressure(kind: &str, short: bool, word: &str, what: &str) -> NodeCondition {
    match (word, short) {
        ("Disk", true) => condition(kind, true, "KubeletHasDiskPressure", "kubelet has disk pressure".into()),
        ("Disk", false) => {
            condition(kind, false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure".into())
        }
        (_, true) => condition(
            kind,
            true,
            &format!("KubeletHasInsufficient{word}"),
            format!("kubelet has insufficient {what}"),
        ),
        (_, false) => condition(
            kind,
            false,
            &format!("KubeletHasSufficient{word}"),
            format!("kubelet has sufficient {what}"),
        ),
    }
}

fn ready(f: &Facts) -> NodeCondition {
    match f.problems.len() {
        0 => condition("Ready", true, "KubeletReady", "kubelet is posting ready status".into()),
        1 => condition("Ready", false, "KubeletNotReady", f.problems[0].clone()),
        _ => condition("Ready", false, "KubeletNotReady", format!("[{}]", f.problems.join(", "))),
    }
}

/// Whether two statuses differ in more than heartbeats.
pub fn differs(a: &NodeStatus, b: &NodeStatus) -> bool {
    let quiet = |s: &NodeStatus| {
        let mut s = s.clone();
        for c in s.conditions.iter_mut().flatten() {
            c.last_heartbeat_time = None;
        }
        // Servers merge these lists in an order of their own, and write quantities in their shortest form.
        s.conditions.iter_mut().for_each(|c| c.sort_by(|a, b| a.type_.cmp(&b.type_)));
        s.addresses
            .iter_mut()
            .for_each(|a| a.sort_by(|a, b| (&a.type_, &a.address).cmp(&(&b.type_, &b.address))));
        let values = |list: Option<ResourceList>| -> BTreeMap<String, i128> {
            list.into_iter().flatten().map(|(n, q)| (n, quantity::exact(&q))).collect()
        };
        let resources = (values(s.capacity.take()), values(s.allocatable.take()));
        (s, resources)
    };
    quiet(a) != quiet(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_node() {
        let mut f = Facts {
            cpus: 2,
            memory: 8 << 30,
            ephemeral_storage: 100 << 30,
            max_pods: 110,
            ..Default::default()
        };
        f.reserved.insert("memory".into(), Quantity("100Mi".into()));
        let at = |s| Timestamp::from_second(s).unwrap();
        let s = status(&f, None, at(5));
        let q = |l: &Option<ResourceList>, n: &str| l.as_ref().unwrap()[n].0.clone();
        assert_eq!(q(&s.capacity, "memory"), "8388608Ki");
        assert_eq!(q(&s.allocatable, "memory"), "8286208Ki");
        let ready = s.conditions.as_ref().unwrap().last().unwrap();
        assert_eq!((ready.type_.as_str(), ready.reason.as_deref()), ("Ready", Some("KubeletReady")));
        let later = status(&f, Some(&s), at(50));
        assert!(!differs(&s, &later));
        f.problems.push("container runtime is down".into());
        let down = status(&f, Some(&s), at(60));
        assert!(differs(&s, &down));
        let ready = down.conditions.as_ref().unwrap().last().unwrap();
        assert_eq!(ready.last_transition_time, Some(Time(at(60))));
        assert_eq!(ready.message.as_deref(), Some("container runtime is down"));
    }

    #[test]
    fn what_others_wrote() {
        let f = Facts { cpus: 2, memory: 8 << 30, max_pods: 110, ..Default::default() };
        let at = |s| Timestamp::from_second(s).unwrap();
        let ours = status(&f, None, at(5));
        // In another form and order, it is the same.
        let mut held = ours.clone();
        held.capacity.as_mut().unwrap().insert("memory".into(), Quantity("8Gi".into()));
        held.conditions.as_mut().unwrap().reverse();
        assert!(!differs(&held, &status(&f, Some(&held), at(9))));
        // An extended resource stays, and pods may use it.
        held.capacity.as_mut().unwrap().insert("example.com/dongle".into(), Quantity("3".into()));
        let kept = status(&f, Some(&held), at(9));
        assert_eq!(kept.capacity.as_ref().unwrap()["example.com/dongle"].0, "3");
        assert_eq!(kept.allocatable.as_ref().unwrap()["example.com/dongle"].0, "3");
        assert!(differs(&held, &kept));
        // The node controller gave the node up: it is ready all the same.
        let mut lost = ours.clone();
        for c in lost.conditions.as_mut().unwrap() {
            (c.status, c.reason) = ("Unknown".into(), Some("NodeStatusUnknown".into()));
        }
        let back = status(&f, Some(&lost), at(90));
        assert!(differs(&lost, &back));
        let ready = back.conditions.unwrap().pop().unwrap();
        assert_eq!((ready.status.as_str(), ready.last_transition_time), ("True", Some(Time(at(90)))));
    }
}
