//! Amounts of resources as the scheduler counts them.

use gantry_types::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use std::collections::BTreeMap;

/// Scoring counts pods that ask for nothing as asking for this much: 100 milli CPUs,
pub const DEFAULT_MILLI_CPU: i64 = 100;
/// and 200 MB, so that they spread, too.
pub const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// What a pod asks for, what a node has, or what is used on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// Milli CPUs.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral: i64,
    /// Extended resources and huge pages, by name; most pods have none.
    pub scalars: Vec<(Box<str>, i64)>,
}

impl Resources {
    pub fn scalar(&self, name: &str) -> i64 {
        self.scalars.iter().find(|(n, _)| **n == *name).map_or(0, |(_, v)| *v)
    }

    fn scalar_mut(&mut self, name: &str) -> &mut i64 {
        let at = match self.scalars.iter().position(|(n, _)| **n == *name) {
            Some(at) => at,
            None => {
                self.scalars.push((name.into(), 0));
                self.scalars.len() - 1
            }
        };
        &mut self.scalars[at].1
    }

    pub fn add(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.memory += other.memory;
        self.ephemeral += other.ephemeral;
        for (name, amount) in &other.scalars {
            *self.scalar_mut(name) += amount;
        }
    }

    pub fn sub(&mut self, other: &Self) {
        self.cpu -= other.cpu;
        self.memory -= other.memory;
        self.ephemeral -= other.ephemeral;
        for (name, amount) in &other.scalars {
            *self.scalar_mut(name) -= amount;
        }
    }

    fn max(&mut self, other: &Self) {
        self.cpu = self.cpu.max(other.cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral = self.ephemeral.max(other.ephemeral);
        for (name, amount) in &other.scalars {
            let mine = self.scalar_mut(name);
            *mine = (*mine).max(*amount);
        }
    }

    /// Reads a resource list; `pods` is not among them, see [`pods`]. Malformed amounts count as none.
    pub fn from_list(list: Option<&BTreeMap<String, ApiQuantity>>) -> Self {
        let mut out = Self::default();
        for (name, amount) in list.into_iter().flatten() {
            let Ok(q) = Quantity::try_from(amount) else { continue };
            match name.as_str() {
                "cpu" => out.cpu = q.milli_value(),
                "memory" => out.memory = q.value(),
                "ephemeral-storage" => out.ephemeral = q.value(),
                "pods" => {}
                other => *out.scalar_mut(other) = q.value(),
            }
        }
        out
    }
}

/// The `pods` entry of a node's allocatable.
pub fn pods(list: Option<&BTreeMap<String, ApiQuantity>>) -> i64 {
    list.and_then(|l| Quantity::try_from(l.get("pods")?).ok()).map_or(0, |q| q.value())
}

/// A resource list, and whether it names CPU and memory.
#[derive(Clone, Default)]
struct Asked {
    amounts: Resources,
    cpu: bool,
    memory: bool,
}

type List = BTreeMap<String, ApiQuantity>;

impl Asked {
    fn of(list: Option<&List>) -> Self {
        let has = |name: &str| list.is_some_and(|l| l.contains_key(name));
        Self { amounts: Resources::from_list(list), cpu: has("cpu"), memory: has("memory") }
    }

    fn max(mut self, other: &Self) -> Self {
        self.amounts.max(&other.amounts);
        self.cpu |= other.cpu;
        self.memory |= other.memory;
        self
    }
}

/// What a running container holds while it is resized in place (KEP-1287): the most of what is wanted, given
/// and in force; a resize that can never be done does not count.
fn in_force(spec: Option<&List>, held: &ContainerStatus, infeasible: bool) -> Asked {
    let actual = Asked::of(held.resources.as_ref().and_then(|r| r.requests.as_ref()));
    let held = actual.max(&Asked::of(held.allocated_resources.as_ref()));
    if infeasible { held } else { held.max(&Asked::of(spec)) }
}

fn container_requests(
    container: &Container,
    status: Option<&PodStatus>,
    infeasible: bool,
    init: bool,
) -> Asked {
    let spec = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    let sidecar = container.restart_policy.as_deref() == Some("Always");
    if init && !sidecar {
        return Asked::of(spec);
    }
    let held = status.and_then(|s| {
        let all = s.container_statuses.iter().chain(s.init_container_statuses.iter()).flatten();
        all.into_iter().find(|c| c.name == container.name && c.resources.is_some())
    });
    held.map_or_else(|| Asked::of(spec), |held| in_force(spec, held, infeasible))
}

/// Whether pods as a whole may ask for this.
fn whole_pod(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Amounts of one pod.
#[derive(Clone, Debug, Default)]
pub struct PodRequests {
    pub requests: Resources,
    /// CPU and memory as nodes count them for scoring.
    pub scoring: (i64, i64),
    /// CPU and memory as the pod's own wish counts for scoring.
    pub wish: (i64, i64),
}

/// What a pod asks for: its containers and sidecars together, or its largest init step, whichever is more,
/// plus overhead; pod-level requests (KEP-2837) come before the sum. `status` is that of a running pod, whose
/// resizes may be under way.
pub fn pod_requests(spec: &PodSpec, status: Option<&PodStatus>) -> PodRequests {
    let infeasible = status.and_then(|s| s.conditions.as_ref()).is_some_and(|c| {
        let resize = c.iter().find(|c| c.type_ == "PodResizePending");
        resize.is_some_and(|c| c.reason.as_deref() == Some("Infeasible"))
    });
    let list = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    let whole = list.filter(|l| l.keys().any(|n| whole_pod(n)));
    let sum = |floor_cpu: bool, floor_memory: bool| {
        let mut named = (false, false);
        let mut one = |c: &Container, init: bool| {
            let asked = container_requests(c, status, infeasible, init);
            named = (named.0 | asked.cpu, named.1 | asked.memory);
            let mut out = asked.amounts;
            if floor_cpu && !asked.cpu {
                out.cpu = DEFAULT_MILLI_CPU;
            }
            if floor_memory && !asked.memory {
                out.memory = DEFAULT_MEMORY;
            }
            out
        };
        let mut sum = Resources::default();
        for container in &spec.containers {
            sum.add(&one(container, false));
        }
        let (mut sidecars, mut init) = (Resources::default(), Resources::default());
        for container in spec.init_containers.iter().flatten() {
            let own = one(container, true);
            if container.restart_policy.as_deref() == Some("Always") {
                sum.add(&own);
                sidecars.add(&own);
                init.max(&sidecars);
            } else {
                let mut step = own;
                step.add(&sidecars);
                init.max(&step);
            }
        }
        sum.max(&init);
        if let Some(list) = whole {
            let held = status.filter(|s| s.resources.is_some()).map(|s| {
                let actual = Asked::of(s.resources.as_ref().and_then(|r| r.requests.as_ref()));
                let held = actual.max(&Asked::of(s.allocated_resources.as_ref()));
                if infeasible { held } else { held.max(&Asked::of(Some(list))) }
            });
            let amounts = held.map_or_else(|| Resources::from_list(Some(list)), |h| h.amounts);
            for name in list.keys().filter(|n| whole_pod(n)) {
                match name.as_str() {
                    "cpu" => (sum.cpu, named.0) = (amounts.cpu, true),
                    "memory" => (sum.memory, named.1) = (amounts.memory, true),
                    other => *sum.scalar_mut(other) = amounts.scalar(other),
                }
            }
        }
        sum.add(&Resources::from_list(spec.overhead.as_ref()));
        let over = |name: &str| spec.overhead.as_ref().is_some_and(|o| o.contains_key(name));
        named = (named.0 | over("cpu"), named.1 | over("memory"));
        (sum, named)
    };
    let (requests, named) = sum(false, false);
    let wish = sum(true, true).0;
    let floors = if whole.is_some() { (!named.0, !named.1) } else { (true, true) };
    let counted = sum(floors.0, floors.1).0;
    PodRequests { requests, scoring: (counted.cpu, counted.memory), wish: (wish.cpu, wish.memory) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: serde_json::Value, cpu: i64, memory: i64) {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let r = pod_requests(&spec, None).requests;
        assert_eq!((r.cpu, r.memory), (cpu, memory), "{spec:?}");
    }

    #[test]
    fn init_steps_sidecars_and_overhead_count() {
        let c = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}});
        let sidecar =
            json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}});
        check(json!({"containers": [c("100m"), c("200m")]}), 300, 2 << 20);
        check(json!({"containers": [c("100m")], "initContainers": [c("1")]}), 1000, 1 << 20);
        check(json!({"containers": [c("100m")], "initContainers": [sidecar, c("1")]}), 1050, 1 << 20);
        check(json!({"containers": [c("1")], "initContainers": [sidecar, c("500m")]}), 1050, 1 << 20);
        check(json!({"containers": [c("100m")], "overhead": {"cpu": "10m"}}), 110, 1 << 20);
        check(json!({"containers": [c("100m")], "resources": {"requests": {"cpu": "2"}}}), 2000, 1 << 20);
    }

    #[test]
    fn resizes_hold_the_most_of_wanted_given_and_in_force() {
        let amounts = |spec: &str, given: &str, actual: &str, reason: &str| {
            let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": spec}}}]});
            let status = json!({
                "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "allocatedResources": {"cpu": given}, "resources": {"requests": {"cpu": actual}}}]});
            let (spec, status) =
                (serde_json::from_value(spec).unwrap(), serde_json::from_value(status).unwrap());
            pod_requests(&spec, Some(&status)).requests.cpu
        };
        assert_eq!(amounts("1", "2", "3", "Deferred"), 3000);
        assert_eq!(amounts("4", "2", "3", "Deferred"), 4000);
        assert_eq!(amounts("4", "2", "3", "Infeasible"), 3000);
    }

    #[test]
    fn scoring_counts_what_is_not_asked_for() {
        let of = |spec: serde_json::Value| {
            let r = pod_requests(&serde_json::from_value(spec).unwrap(), None);
            (r.scoring, r.wish)
        };
        let bare = json!({"name": "c"});
        assert_eq!(of(json!({"containers": [bare, bare]})), ((200, 400 << 20), (200, 400 << 20)));
        let whole = json!({"containers": [bare], "resources": {"requests": {"cpu": "1"}}});
        assert_eq!(of(whole), ((1000, 200 << 20), (1000, 200 << 20)));
    }
}
