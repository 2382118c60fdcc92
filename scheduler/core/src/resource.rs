//! Amounts of resources as the scheduler counts them.

use gantry_types::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use std::collections::BTreeMap;

/// Scoring counts pods that ask for nothing as asking for this much: 100 milli CPUs,
pub const DEFAULT_MILLI_CPU: i64 = 100;
/// and 200 MB, so that they spread, too.
pub const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// What a pod asks for, what a node has, or what is used on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

fn requests(container: &Container, floor: bool) -> Resources {
    let list = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    let mut out = Resources::from_list(list);
    if floor {
        let has = |name: &str| list.is_some_and(|l| l.contains_key(name));
        if !has("cpu") {
            out.cpu = DEFAULT_MILLI_CPU;
        }
        if !has("memory") {
            out.memory = DEFAULT_MEMORY;
        }
    }
    out
}

/// What a pod asks for: its containers and sidecars together, or its largest init step, whichever is more,
/// plus overhead; pod-level requests (KEP-2837) come before the sum. With `floor`, containers that ask for
/// no CPU or memory count with the defaults, for scoring.
pub fn pod_requests(spec: &PodSpec, floor: bool) -> Resources {
    let mut sum = Resources::default();
    for container in &spec.containers {
        sum.add(&requests(container, floor));
    }
    let (mut sidecars, mut init) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let own = requests(container, floor);
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
    if let Some(list) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        let whole = Resources::from_list(Some(list));
        if list.contains_key("cpu") {
            sum.cpu = whole.cpu;
        }
        if list.contains_key("memory") {
            sum.memory = whole.memory;
        }
        for (name, amount) in &whole.scalars {
            *sum.scalar_mut(name) = *amount;
        }
    }
    sum.add(&Resources::from_list(spec.overhead.as_ref()));
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: serde_json::Value, cpu: i64, memory: i64) {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let r = pod_requests(&spec, false);
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
}
