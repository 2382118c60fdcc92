//! Creating a pod, and what an update of one may change.

use super::options::PodOptions;
use super::{containers, meta, pod_annotations, pod_spec, tolerations};
use crate::kinds::prelude::*;
use crate::kinds::{core::equal, go_types};
use gantry_types::k8s_openapi::api::core::v1::{
    Affinity, Container, EphemeralContainer, NodeAffinity, NodeSelectorTerm, Pod, PodSpec,
};

fn root_forbidden(why: &str) -> ErrorList {
    let mut e = Error::forbidden(&Path::root(), why);
    e.field = "[]".to_owned();
    vec![e]
}

/// Metadata and spec of a pod, on create and on every update.
pub fn metadata_and_spec(pod: &Pod, options: &PodOptions) -> ErrorList {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut errs = meta::object_meta(&pod.metadata, true, meta::subdomain_name);
    let at = Path::new("metadata").child("annotations");
    errs.extend(pod_annotations::pod(&pod.metadata, &spec, options, &at));
    let path = Path::new("spec");
    errs.extend(pod_spec::spec(&spec, Some(&pod.metadata), options, &path));
    if text(&spec.service_account_name).is_empty() {
        for (i, v) in list(&spec.volumes).iter().enumerate() {
            let sources = v.projected.as_ref().map(|p| list(&p.sources)).unwrap_or_default();
            for (j, s) in sources.iter().enumerate().filter(|(_, s)| s.service_account_token.is_some()) {
                let at = path.child("volumes").index(i).child("projected").child("sources").index(j);
                let _ = s;
                let why = "must not be specified when serviceAccountName is not set";
                errs.push(Error::forbidden(&at.child("serviceAccountToken"), why));
            }
        }
    }
    for (field, all) in
        [("containers", spec.containers.as_slice()), ("initContainers", list(&spec.init_containers))]
    {
        for (i, c) in all.iter().enumerate() {
            errs.extend(containers::image_untrimmed(c, &path.child(field).index(i)));
        }
    }
    errs
}

pub fn create(pod: &Pod, options: &PodOptions) -> ErrorList {
    let mut errs = metadata_and_spec(pod, options);
    let path = Path::new("spec");
    let Some(spec) = &pod.spec else { return errs };
    if !list(&spec.ephemeral_containers).is_empty() {
        errs.push(Error::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !text(&spec.node_name).is_empty() && !list(&spec.scheduling_gates).is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errs.push(Error::forbidden(&path.child("nodeName"), why));
    }
    errs.extend(pod_annotations::match_fields(&pod.metadata, spec, &path));
    errs
}

/// Metadata, annotations and spec, as every update but the one of status checks them.
fn common(new: &Pod, old: &Pod, options: &PodOptions) -> ErrorList {
    let mut errs = meta::object_meta_update(&new.metadata, &old.metadata);
    errs.extend(metadata_and_spec(new, options));
    errs
}

fn annotations(new: &Pod, old: &Pod, options: &PodOptions) -> ErrorList {
    let at = Path::new("metadata").child("annotations");
    let mut errs = pod_annotations::update(&new.metadata, &old.metadata, &at);
    let spec = new.spec.clone().unwrap_or_default();
    errs.extend(pod_annotations::pod(&new.metadata, &spec, options, &at));
    errs
}

fn container_updates(new: &[Container], old: &[Container], path: &Path) -> Result<ErrorList, Error> {
    if new.len() != old.len() {
        return Err(Error::forbidden(path, "pod updates may not add or remove containers"));
    }
    let mut errs = ErrorList::new();
    for (i, c) in new.iter().enumerate() {
        let at = path.index(i);
        if text(&c.image).is_empty() {
            errs.push(Error::required(&at.child("image"), ""));
        }
        errs.extend(containers::image_untrimmed(c, &at));
    }
    Ok(errs)
}

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub fn update(new: &Pod, old: &Pod, options: &PodOptions) -> ErrorList {
    let mut errs = common(new, old, options);
    errs.extend(annotations(new, old, options));
    let path = Path::new("spec");
    let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    let pairs = [
        ("containers", new.containers.as_slice(), old.containers.as_slice()),
        ("initContainers", list(&new.init_containers), list(&old.init_containers)),
    ];
    for (field, new, old) in pairs {
        match container_updates(new, old, &path.child(field)) {
            Ok(found) => errs.extend(found),
            Err(e) => {
                errs.push(e);
                return errs;
            }
        }
    }
    let at = path.child("activeDeadlineSeconds");
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(n), o) => {
            if !(0..=i64::from(i32::MAX)).contains(&n) {
                let why = names::inclusive_range_error(0, i64::from(i32::MAX));
                errs.push(Error::invalid(&at, &n, why));
                return errs;
            }
            if o.is_some_and(|o| o < n) {
                errs.push(Error::invalid(&at, &n, "must be less than or equal to previous value"));
                return errs;
            }
        }
        (None, Some(_)) => {
            errs.push(invalid_raw(&at, "null", "must not update from a positive integer to nil value"));
        }
        (None, None) => {}
    }
    let (added, had) = (list(&new.tolerations), list(&old.tolerations));
    errs.extend(tolerations::only_added(added, had, options, &path.child("tolerations")));
    errs.extend(only_deleted_gates(&new, &old, &path.child("schedulingGates")));
    if equal::specs(&new, &old) {
        return errs;
    }
    let munged = munge(new, &old, &path, &mut errs);
    if !equal::specs(&munged, &old) {
        let diff = go_types::diff("PodSpec", &old, &munged);
        let why = format!("pod updates may not change fields other than {UPDATABLE}\n{diff}");
        errs.push(Error::forbidden(&path, why));
    }
    errs
}

fn only_deleted_gates(new: &PodSpec, old: &PodSpec, path: &Path) -> ErrorList {
    let had = list(&old.scheduling_gates);
    let gates = list(&new.scheduling_gates).iter().enumerate();
    let added = gates.filter(|(_, g)| !had.iter().any(|o| o.name == g.name));
    added
        .map(|(i, g)| {
            let why = format!("only deletion is allowed, but found new scheduling gate '{}'", g.name);
            Error::forbidden(&path.index(i).child("name"), why)
        })
        .collect()
}

/// The new spec with everything that may change put back as it was.
fn munge(mut new: PodSpec, old: &PodSpec, path: &Path, errs: &mut ErrorList) -> PodSpec {
    for (n, o) in new.containers.iter_mut().zip(&old.containers) {
        n.image.clone_from(&o.image);
    }
    for (n, o) in new.init_containers.iter_mut().flatten().zip(list(&old.init_containers)) {
        n.image.clone_from(&o.image);
    }
    new.active_deadline_seconds = old.active_deadline_seconds;
    new.scheduling_gates.clone_from(&old.scheduling_gates);
    new.tolerations.clone_from(&old.tolerations);
    if old.termination_grace_period_seconds.is_some_and(|s| s < 0)
        && new.termination_grace_period_seconds == Some(1)
    {
        new.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    if list(&old.scheduling_gates).is_empty() {
        return new;
    }
    if !same(&new.node_selector, &old.node_selector) {
        let lost = |(k, v): (&String, &String)| new.node_selector.as_ref().and_then(|n| n.get(k)) != Some(v);
        if old.node_selector.iter().flatten().any(lost) {
            let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            let at = path.child("nodeSelector");
            errs.push(Error::invalid(&at, &new.node_selector, why));
        }
        new.node_selector.clone_from(&old.node_selector);
    }
    let had = old.affinity.as_ref().and_then(|a| a.node_affinity.clone());
    let has = new.affinity.as_ref().and_then(|a| a.node_affinity.clone());
    if had != has {
        let at = path.child("affinity").child("nodeAffinity");
        errs.extend(node_affinity_mutation(has.as_ref(), had.as_ref(), &at));
        match &mut new.affinity {
            None => new.affinity = had.map(|n| Affinity { node_affinity: Some(n), ..Affinity::default() }),
            Some(a)
                if old.affinity.is_none() && a.pod_affinity.is_none() && a.pod_anti_affinity.is_none() =>
            {
                new.affinity = None;
            }
            Some(a) => a.node_affinity = had,
        }
    }
    new
}

fn node_affinity_mutation(new: Option<&NodeAffinity>, old: Option<&NodeAffinity>, path: &Path) -> ErrorList {
    let terms = |n: Option<&NodeAffinity>| -> Vec<NodeSelectorTerm> {
        let required = n.and_then(|n| n.required_during_scheduling_ignored_during_execution.as_ref());
        required.map(|s| s.node_selector_terms.clone()).unwrap_or_default()
    };
    let (new, old) = (terms(new), terms(old));
    let at = path.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
    if !old.is_empty() && old.len() != new.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return vec![invalid_raw(&at, go_types::print("[NodeSelectorTerm", &new), why)];
    }
    let pairs = new.iter().zip(&old).enumerate();
    pairs
        .filter(|(_, (n, o))| !only_additions(n, o))
        .map(|(i, (n, _))| {
            let why = "only additions are allowed (no mutations or deletions)";
            invalid_raw(&at.index(i), go_types::print("NodeSelectorTerm", n), why)
        })
        .collect()
}

fn only_additions(new: &NodeSelectorTerm, old: &NodeSelectorTerm) -> bool {
    let (ne, oe) = (list(&new.match_expressions), list(&old.match_expressions));
    let (nf, of) = (list(&new.match_fields), list(&old.match_fields));
    if oe.is_empty() && of.is_empty() && !(ne.is_empty() && nf.is_empty()) {
        return false;
    }
    ne.starts_with(oe) && nf.starts_with(of)
}

/// `/ephemeralcontainers`: more may come, none may change or go.
pub fn ephemeral(new: &Pod, old: &Pod, options: &PodOptions) -> ErrorList {
    if pod_annotations::is_mirror(&old.metadata) {
        return root_forbidden("static pods do not support ephemeral containers");
    }
    let mut errs = common(new, old, options);
    errs.extend(annotations(new, old, options));
    let of = |p: &Pod| -> Vec<EphemeralContainer> {
        p.spec.as_ref().and_then(|s| s.ephemeral_containers.clone()).unwrap_or_default()
    };
    let path = Path::new("spec").child("ephemeralContainers");
    let new = of(new);
    for o in of(old) {
        match new.iter().rfind(|n| n.name == o.name) {
            None => {
                let why = format!("existing ephemeral containers \"{}\" may not be removed\n", o.name);
                errs.push(Error::forbidden(&path, why));
            }
            Some(n) if *n != o => {
                let diff = go_types::diff("EphemeralContainer", &o, n);
                let why = format!("existing ephemeral containers \"{}\" may not be changed\n{diff}", o.name);
                errs.push(Error::forbidden(&path, why));
            }
            Some(_) => {}
        }
    }
    errs
}
