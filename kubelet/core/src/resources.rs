//! Requests, limits, QoS class, and what they mean to the kernel.

use crate::{pods, quantity};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

pub type ResourceList = BTreeMap<String, Quantity>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// The cgroup between the pods' root and the pod.
    pub fn cgroup(self) -> Option<&'static str> {
        match self {
            Self::Guaranteed => None,
            Self::Burstable => Some("burstable"),
            Self::BestEffort => Some("besteffort"),
        }
    }
}

const COUNTED: [&str; 2] = ["cpu", "memory"];

fn exact(list: Option<&ResourceList>, name: &str) -> i128 {
    list.and_then(|l| l.get(name)).map(quantity::exact).unwrap_or(0)
}

/// The class the API recorded, or the one the spec implies.
pub fn qos(pod: &Pod) -> Qos {
    match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        Some("Guaranteed") => Qos::Guaranteed,
        Some("Burstable") => Qos::Burstable,
        Some("BestEffort") => Qos::BestEffort,
        _ => computed_qos(pod),
    }
}

fn computed_qos(pod: &Pod) -> Qos {
    let (mut requests, mut limits) = ([0_i128; 2], [0_i128; 2]);
    let mut guaranteed = true;
    let mut add = |r: Option<&ResourceRequirements>| {
        for (i, name) in COUNTED.iter().enumerate() {
            requests[i] += exact(r.and_then(|r| r.requests.as_ref()), name);
            let limit = exact(r.and_then(|r| r.limits.as_ref()), name);
            limits[i] += limit;
            guaranteed &= limit > 0;
        }
    };
    match &pods::spec(pod).resources {
        Some(r) => add(Some(r)),
        None => {
            for c in pods::containers(pod).iter().chain(pods::init_containers(pod)) {
                add(c.resources.as_ref());
            }
        }
    }
    if requests == [0; 2] && limits == [0; 2] {
        return Qos::BestEffort;
    }
    // A request left out counts as its limit; the API fills it in for ordinary pods.
    let equal = (0..2).all(|i| requests[i] == limits[i]);
    if guaranteed && equal { Qos::Guaranteed } else { Qos::Burstable }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Requests,
    Limits,
}

fn side(r: Option<&ResourceRequirements>, side: Side) -> BTreeMap<String, i128> {
    let list = match side {
        Side::Requests => r.and_then(|r| r.requests.as_ref()),
        Side::Limits => r.and_then(|r| r.limits.as_ref()),
    };
    list.into_iter().flatten().map(|(k, v)| (k.clone(), quantity::exact(v))).collect()
}

fn add(to: &mut BTreeMap<String, i128>, from: &BTreeMap<String, i128>) {
    for (k, v) in from {
        *to.entry(k.clone()).or_default() += v;
    }
}

fn max(to: &mut BTreeMap<String, i128>, from: &BTreeMap<String, i128>) {
    for (k, v) in from {
        let at = to.entry(k.clone()).or_default();
        *at = (*at).max(*v);
    }
}

/// Billionths per resource: the larger of what runs together and what initialization needs, plus overhead.
fn total(pod: &Pod, which: Side) -> BTreeMap<String, i128> {
    let mut together = BTreeMap::new();
    for c in pods::containers(pod) {
        add(&mut together, &side(c.resources.as_ref(), which));
    }
    let (mut sidecars, mut peak) = (BTreeMap::new(), BTreeMap::new());
    for c in pods::init_containers(pod) {
        let own = side(c.resources.as_ref(), which);
        let mut now = own.clone();
        if pods::is_sidecar(c) {
            add(&mut together, &own);
            add(&mut sidecars, &own);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        max(&mut peak, &now);
    }
    max(&mut together, &peak);
    for (k, v) in side(pods::spec(pod).resources.as_ref(), which) {
        together.insert(k, v);
    }
    for (k, v) in pods::spec(pod).overhead.iter().flatten() {
        match together.get_mut(k) {
            Some(at) => *at += quantity::exact(v),
            None if which == Side::Requests => {
                together.insert(k.clone(), quantity::exact(v));
            }
            None => {}
        }
    }
    together
}

/// Billionths of each resource the pod requests.
pub fn pod_requests(pod: &Pod) -> BTreeMap<String, i128> {
    total(pod, Side::Requests)
}

const NANO: i128 = 1_000_000_000;

fn to_milli(nanos: i128) -> i64 {
    i64::try_from(nanos.div_ceil_euclid(NANO / 1000)).unwrap_or(i64::MAX)
}

trait DivCeil {
    fn div_ceil_euclid(self, by: i128) -> i128;
}

impl DivCeil for i128 {
    fn div_ceil_euclid(self, by: i128) -> i128 {
        self / by + i128::from(self > 0 && self % by != 0)
    }
}

/// Relative CPU weight as cgroup v1 counts it: 1024 per CPU, at least 2.
pub fn cpu_shares(milli: i64) -> u64 {
    u64::try_from(milli * 1024 / 1000).unwrap_or(0).clamp(2, 262_144)
}

/// Microseconds of CPU per period; `None` without a limit. At least 1 ms.
pub fn cpu_quota(milli: i64, period_us: u64) -> Option<i64> {
    let period = i64::try_from(period_us).unwrap_or(100_000);
    (milli > 0).then(|| (milli * period / 1000).max(1000))
}

/// Kernel figures of one cgroup. Absent ones are left at the kernel's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    pub cpu_shares: Option<u64>,
    pub cpu_quota: Option<i64>,
    pub cpu_period: Option<u64>,
    pub memory: Option<i64>,
    pub pids: Option<i64>,
}

/// The pod's own cgroup. CPU and memory are capped only where every container is.
pub fn pod_cgroup(pod: &Pod, cfs_quota: bool, period_us: u64) -> CgroupLimits {
    let class = qos(pod);
    if class == Qos::BestEffort {
        return CgroupLimits { cpu_shares: Some(2), ..Default::default() };
    }
    let requests = total(pod, Side::Requests);
    let limits = total(pod, Side::Limits);
    let own = side(pods::spec(pod).resources.as_ref(), Side::Limits);
    let declared = |name: &str| {
        own.contains_key(name)
            || pods::containers(pod)
                .iter()
                .chain(pods::init_containers(pod))
                .all(|c| side(c.resources.as_ref(), Side::Limits).get(name).is_some_and(|v| *v > 0))
    };
    let milli = to_milli(requests.get("cpu").copied().unwrap_or(0));
    let mut out = CgroupLimits { cpu_shares: Some(cpu_shares(milli)), ..Default::default() };
    if declared("cpu") && cfs_quota {
        out.cpu_quota = cpu_quota(to_milli(limits.get("cpu").copied().unwrap_or(0)), period_us);
        out.cpu_period = Some(period_us);
    }
    if declared("memory") {
        let bytes = limits.get("memory").copied().unwrap_or(0).div_ceil_euclid(NANO);
        out.memory = i64::try_from(bytes).ok().filter(|b| *b > 0);
    }
    out
}

fn amount<'a>(list: Option<&'a ResourceList>, name: &str) -> Option<&'a Quantity> {
    list.and_then(|l| l.get(name))
}

/// One container's cgroup; the pod's own limit holds where the container has none.
pub fn container_cgroup(pod: &Pod, container: &Container, cfs_quota: bool, period_us: u64) -> CgroupLimits {
    let r = container.resources.as_ref();
    let requests = r.and_then(|r| r.requests.as_ref());
    let limits = r.and_then(|r| r.limits.as_ref());
    let whole = pods::spec(pod).resources.as_ref().and_then(|r| r.limits.as_ref());
    let limit =
        |name: &str| amount(limits, name).filter(|q| quantity::exact(q) > 0).or_else(|| amount(whole, name));
    let cpu_limit = limit("cpu").map(quantity::milli);
    let request = amount(requests, "cpu").map(quantity::milli).or(cpu_limit).unwrap_or(0);
    CgroupLimits {
        cpu_shares: Some(cpu_shares(request)),
        cpu_quota: cpu_limit.filter(|_| cfs_quota).and_then(|m| cpu_quota(m, period_us)),
        cpu_period: cfs_quota.then_some(period_us),
        memory: limit("memory").map(quantity::value).filter(|b| *b > 0),
        pids: None,
    }
}

const GUARANTEED_OOM: i64 = -997;

/// How readily the kernel kills this container for want of memory: -997 to 1000.
pub fn oom_score_adj(pod: &Pod, container: &Container, capacity: i64) -> i64 {
    let critical = pods::is_static(pod) || pods::spec(pod).priority.is_some_and(|p| p >= 2_000_001_000);
    if critical {
        return GUARANTEED_OOM;
    }
    match qos(pod) {
        Qos::Guaranteed => return GUARANTEED_OOM,
        Qos::BestEffort => return 1000,
        Qos::Burstable => {}
    }
    let request = |c: &Container| {
        let list = c.resources.as_ref().and_then(|r| r.requests.as_ref());
        amount(list, "memory").map(quantity::value).unwrap_or(0)
    };
    let capacity = capacity.max(1);
    let score = |bytes: i64| 1000 - 1000 * bytes / capacity;
    let mut adj = score(request(container));
    let sidecar = pods::init_containers(pod).iter().any(|c| c.name == container.name && pods::is_sidecar(c));
    if sidecar {
        let least = pods::containers(pod).iter().map(request).min().unwrap_or(0);
        adj = adj.min(score(least));
    }
    adj.clamp(1000 + GUARANTEED_OOM, 999)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;

    fn list(text: &str) -> Option<ResourceList> {
        let pairs = text.split_whitespace().map(|p| p.split_once('=').unwrap());
        let list: ResourceList = pairs.map(|(k, v)| (k.into(), Quantity(v.into()))).collect();
        (!list.is_empty()).then_some(list)
    }

    fn container(requests: &str, limits: &str) -> Container {
        let resources =
            ResourceRequirements { requests: list(requests), limits: list(limits), ..Default::default() };
        Container { name: "c".into(), resources: Some(resources), ..Default::default() }
    }

    fn pod(init: Vec<Container>, containers: Vec<Container>) -> Pod {
        Pod {
            spec: Some(PodSpec { init_containers: Some(init), containers, ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn classes() {
        let check = |requests: &str, limits: &str, want: Qos| {
            assert_eq!(qos(&pod(vec![], vec![container(requests, limits)])), want, "{requests} / {limits}");
        };
        check("", "", Qos::BestEffort);
        check("cpu=1", "", Qos::Burstable);
        check("cpu=1 memory=1Gi", "cpu=1 memory=1Gi", Qos::Guaranteed);
        check("cpu=1000m memory=1024Mi", "cpu=1 memory=1Gi", Qos::Guaranteed);
        check("cpu=1 memory=1Gi", "cpu=2 memory=1Gi", Qos::Burstable);
        check("memory=1Gi", "memory=1Gi", Qos::Burstable);
    }

    #[test]
    fn cgroups() {
        let full = pod(vec![], vec![container("cpu=100m memory=64Mi", "cpu=500m memory=64Mi")]);
        let got = pod_cgroup(&full, true, 100_000);
        let want = CgroupLimits {
            cpu_shares: Some(102),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            memory: Some(64 << 20),
            pids: None,
        };
        assert_eq!(got, want);
        let half = pod(vec![], vec![container("cpu=100m", "cpu=500m"), container("cpu=1", "")]);
        let got = pod_cgroup(&half, true, 100_000);
        assert_eq!((got.cpu_shares, got.cpu_quota, got.memory), (Some(1126), None, None));
        assert_eq!(cpu_shares(0), 2);
        assert_eq!(cpu_quota(5, 100_000), Some(1000));
    }

    #[test]
    fn init_containers_need_their_peak() {
        let mut sidecar = container("cpu=100m", "");
        sidecar.restart_policy = Some("Always".into());
        let p = pod(vec![sidecar, container("cpu=2", "")], vec![container("cpu=1", "")]);
        assert_eq!(pod_requests(&p)["cpu"], 2_100_000_000);
    }

    #[test]
    fn oom_scores() {
        let check = |requests: &str, limits: &str, want: i64| {
            let p = pod(vec![], vec![container(requests, limits)]);
            assert_eq!(oom_score_adj(&p, &pods::containers(&p)[0], 1 << 30), want, "{requests}");
        };
        check("", "", 1000);
        check("cpu=1 memory=1Gi", "cpu=1 memory=1Gi", -997);
        check("memory=512Mi", "", 500);
        check("memory=2Gi", "", 3);
        check("cpu=1", "", 999);
    }
}
