//! `/resize`: CPU and memory of running containers may change, and nothing else.

use super::options::PodOptions;
use super::resources::ResourceList;
use super::{containers::is_sidecar, meta, pod_annotations, pod_update};
use crate::kinds::core::{equal, qos};
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};

fn root_forbidden(why: &str) -> ErrorList {
    let mut e = Error::forbidden(&Path::root(), why);
    e.field = "[]".to_owned();
    vec![e]
}

pub fn resize(new: &Pod, old: &Pod, options: &PodOptions) -> ErrorList {
    let mut errs = meta::object_meta_update(&new.metadata, &old.metadata);
    errs.extend(pod_update::metadata_and_spec(new, options));
    if pod_annotations::is_mirror(&old.metadata) {
        return root_forbidden("static pods cannot be resized");
    }
    let (spec, old_spec) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    if old_spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return root_forbidden("windows pods cannot be resized");
    }
    let path = Path::new("spec");
    let class = |p: &Pod| p.status.as_ref().and_then(|s| s.qos_class.clone()).unwrap_or_default();
    let old_class = if class(old).is_empty() { qos::class(&old_spec).to_owned() } else { class(old) };
    if old_class != qos::class(&spec) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errs.push(Error::invalid(&path, &class(new), why));
    }
    if !resize_supported(old) {
        errs.push(Error::forbidden(&path, "Pod running on node without support for resize"));
    }
    let mut munged = spec.clone();
    errs.extend(pod_level(&mut munged, &spec, &old_spec, &path));
    let allocated = old.status.as_ref().map(|s| list(&s.node_allocatable_resource_claim_statuses).len());
    if allocated.unwrap_or(0) > 0 {
        errs.push(Error::forbidden(&path, "pods with node allocatable resource claims cannot be resized"));
    }
    let order = ordering(&spec, &old_spec, &path);
    if !order.is_empty() {
        errs.extend(order);
        return errs;
    }
    let both = [
        ("initContainers", list(&spec.init_containers), list(&old_spec.init_containers)),
        ("containers", spec.containers.as_slice(), old_spec.containers.as_slice()),
    ];
    for (field, new, old) in both {
        for (i, (n, o)) in new.iter().zip(old).enumerate() {
            errs.extend(container(n, o, &path.child(field).index(i).child("resources")));
        }
    }
    const ONLY: &str = "only cpu and memory resources are mutable";
    for (n, o) in munged.containers.iter_mut().zip(&old_spec.containers) {
        drop_cpu_memory(n, o);
        if !equal::containers(n, o) {
            errs.push(Error::forbidden(&path, ONLY));
        }
    }
    let init = munged.init_containers.iter_mut().flatten().zip(list(&old_spec.init_containers));
    for (i, (n, o)) in init.enumerate() {
        let at = path.child("initContainers").index(i);
        let modified = !equal::containers(n, o);
        drop_cpu_memory(n, o);
        if !equal::containers(n, o) {
            let why = "only cpu and memory resources for init or sidecar containers are mutable";
            errs.push(Error::forbidden(&at, why));
        }
        if modified && !is_sidecar(n) {
            let restarts = list(&n.resize_policy).iter().filter(|p| p.restart_policy == "RestartContainer");
            let why =
                "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            errs.extend(restarts.map(|_| Error::forbidden(&at, why)));
        }
    }
    if errs.is_empty() && !equal::specs(&munged, &old_spec) {
        errs.push(Error::forbidden(&path, ONLY));
    }
    errs
}

/// The kubelet shows in the status of running containers that it can.
fn resize_supported(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().map(|s| list(&s.container_statuses)).unwrap_or_default();
    let running = statuses.iter().find(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()));
    running.is_none_or(|c| c.resources.is_some())
}

fn pod_level(munged: &mut PodSpec, new: &PodSpec, old: &PodSpec, path: &Path) -> ErrorList {
    let set = |s: &PodSpec| s.resources.as_ref().is_some_and(|r| len(&r.requests) + len(&r.limits) > 0);
    let mut errs = ErrorList::new();
    if !set(old) && !set(new) {
        return errs;
    }
    let at = path.child("resources");
    if let Some(o) = &old.resources {
        let Some(n) = &new.resources else {
            return vec![Error::forbidden(&at, "pod-level resources cannot be removed")];
        };
        if removed(&n.requests, &o.requests) {
            errs.push(Error::forbidden(
                &at.child("requests"),
                "pod-level resource requests cannot be removed",
            ));
        }
        if removed(&n.limits, &o.limits) {
            errs.push(Error::forbidden(&at.child("limits"), "pod-level resource limits cannot be removed"));
        }
    }
    if let Some(n) = &mut munged.resources {
        let none = ResourceRequirements::default();
        let o = old.resources.as_ref().unwrap_or(&none);
        n.requests = put_back(n.requests.take(), &o.requests);
        n.limits = put_back(n.limits.take(), &o.limits);
        if old.resources.is_none() && len(&n.requests) + len(&n.limits) == 0 && list(&n.claims).is_empty() {
            munged.resources = None;
        }
    }
    if !equal::requirements(munged.resources.as_ref(), old.resources.as_ref()) {
        errs.push(Error::forbidden(path, "only cpu and memory resources are mutable at pod-level"));
    }
    errs
}

fn len(l: &Option<ResourceList>) -> usize {
    l.as_ref().map_or(0, |l| l.len())
}

fn removed(new: &Option<ResourceList>, old: &Option<ResourceList>) -> bool {
    old.iter().flatten().any(|(k, _)| !new.as_ref().is_some_and(|n| n.contains_key(k)))
}

fn put_back(new: Option<ResourceList>, old: &Option<ResourceList>) -> Option<ResourceList> {
    if new.is_none() && old.is_none() {
        return None;
    }
    let mut list = new.unwrap_or_default();
    for name in ["cpu", "memory"] {
        list.remove(name);
        if let Some(q) = old.as_ref().and_then(|o| o.get(name)) {
            list.insert(name.to_owned(), q.clone());
        }
    }
    Some(list)
}

fn drop_cpu_memory(new: &mut Container, old: &Container) {
    let none = ResourceRequirements::default();
    let (n, o) = (new.resources.take().unwrap_or_default(), old.resources.as_ref().unwrap_or(&none));
    new.resources = Some(ResourceRequirements {
        limits: put_back(n.limits, &o.limits),
        requests: put_back(n.requests, &o.requests),
        claims: None,
    });
}

fn ordering(new: &PodSpec, old: &PodSpec, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (field, new, old) in [
        ("containers", new.containers.as_slice(), old.containers.as_slice()),
        ("initContainers", list(&new.init_containers), list(&old.init_containers)),
    ] {
        let at = path.child(field);
        if new.len() != old.len() {
            errs.push(Error::forbidden(&at, format!("{field} may not be added or removed on resize")));
            continue;
        }
        for (i, _) in new.iter().zip(old).enumerate().filter(|(_, (n, o))| n.name != o.name) {
            let why = format!("{field} may not be renamed or reordered on resize");
            errs.push(Error::forbidden(&at.index(i).child("name"), why));
        }
    }
    errs
}

fn container(new: &Container, old: &Container, path: &Path) -> ErrorList {
    let none = ResourceRequirements::default();
    let (n, o) = (new.resources.as_ref().unwrap_or(&none), old.resources.as_ref().unwrap_or(&none));
    let mut errs = ErrorList::new();
    if removed(&n.requests, &o.requests) {
        errs.push(Error::forbidden(&path.child("requests"), "resource requests cannot be removed"));
    }
    if removed(&n.limits, &o.limits) {
        errs.push(Error::forbidden(&path.child("limits"), "resource limits cannot be removed"));
    }
    errs
}
