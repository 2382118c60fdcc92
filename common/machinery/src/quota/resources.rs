//! What a pod asks for in all.

use super::amounts::{Amounts, add, parse, raise};
use gantry_types::k8s_openapi::api::core::v1::{
    Container, ContainerStatus, Pod, PodSpec, ResourceRequirements,
};

fn list<T>(l: &Option<Vec<T>>) -> &[T] {
    l.as_deref().unwrap_or_default()
}

/// Whether a pod as a whole may be given this.
fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Whether the pod as a whole is given anything.
pub(super) fn has_pod_level(spec: &PodSpec) -> bool {
    let lists = spec.resources.iter().flat_map(|r| [&r.requests, &r.limits]).flatten();
    lists.flatten().any(|(name, _)| is_pod_level(name))
}

/// Containers side by side, or the most any init container needs beside the sidecars before it.
fn aggregate(spec: &PodSpec, of: impl Fn(&Container, bool) -> Amounts) -> Amounts {
    let mut sum = Amounts::new();
    for c in &spec.containers {
        add(&mut sum, &of(c, true));
    }
    let (mut sidecars, mut init) = (Amounts::new(), Amounts::new());
    for c in list(&spec.init_containers) {
        let stays = c.restart_policy.as_deref() == Some("Always");
        let mut own = of(c, stays);
        if stays {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut init, &own);
    }
    raise(&mut sum, &init);
    sum
}

/// What a running container was given, where its node says so.
fn given<'a>(pod: &'a Pod, name: &str) -> Option<(&'a ContainerStatus, &'a ResourceRequirements)> {
    let status = pod.status.as_ref()?;
    let mut all = list(&status.init_container_statuses).iter().chain(list(&status.container_statuses));
    let found = all.find(|s| s.name == name)?;
    Some((found, found.resources.as_ref()?))
}

/// A resize the node cannot do counts as what the node has.
fn infeasible(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().map(|s| list(&s.conditions)).unwrap_or_default();
    let pending = conditions.iter().find(|c| c.type_ == "PodResizePending");
    pending.is_some_and(|c| c.reason.as_deref() == Some("Infeasible"))
}

/// The requests of a pod: of its containers, of itself, and its overhead.
pub fn requests(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::new() };
    let mut sum = aggregate(spec, |c, running| {
        let asked = parse(c.resources.as_ref().and_then(|r| r.requests.as_ref()));
        let Some((status, actual)) = given(pod, &c.name).filter(|_| running) else { return asked };
        let mut most = if infeasible(pod) { Amounts::new() } else { asked };
        raise(&mut most, &parse(actual.requests.as_ref()));
        raise(&mut most, &parse(status.allocated_resources.as_ref()));
        most
    });
    let own = parse(spec.resources.as_ref().and_then(|r| r.requests.as_ref()));
    sum.extend(own.into_iter().filter(|(name, _)| is_pod_level(name)));
    add(&mut sum, &parse(spec.overhead.as_ref()));
    sum
}

/// The limits of a pod; its overhead counts where there is a limit.
pub fn limits(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::new() };
    let mut sum = aggregate(spec, |c, running| {
        let asked = parse(c.resources.as_ref().and_then(|r| r.limits.as_ref()));
        let Some((_, actual)) = given(pod, &c.name).filter(|_| running) else { return asked };
        let mut most = if infeasible(pod) { Amounts::new() } else { asked };
        raise(&mut most, &parse(actual.limits.as_ref()));
        most
    });
    let own = parse(spec.resources.as_ref().and_then(|r| r.limits.as_ref()));
    sum.extend(own.into_iter().filter(|(name, _)| is_pod_level(name)));
    for (name, amount) in parse(spec.overhead.as_ref()) {
        if let Some(q) = sum.get_mut(&name).filter(|q| !q.is_zero()) {
            q.add(&amount);
        }
    }
    sum
}
