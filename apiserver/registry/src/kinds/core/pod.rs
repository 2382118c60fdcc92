//! `v1` Pod.

use super::{equal, pod_defaults, pod_row, pod_warnings, qos};
use crate::kinds::prelude::*;
use crate::kinds::validate::options::PodOptions;
use crate::kinds::validate::{
    ip, meta, pod_annotations, pod_resize, pod_spec, pod_status, pod_update, security,
};
use gantry_types::Document;
use gantry_types::k8s_openapi::api::core::v1::{
    Container, Pod, PodAffinityTerm, PodCondition, PodSpec, PodStatus, SecurityContext,
};
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use std::collections::BTreeMap;

/// A pod's spec is all but fixed; status, ephemeral containers and resources change by subresources.
pub struct Pods;

fn options(old: Option<&Pod>) -> PodOptions {
    let of_old = |p: &Pod| p.spec.as_ref().map(|s| PodOptions::for_update(s, Some(&p.metadata)));
    old.and_then(of_old).unwrap_or_default().pod()
}

/// Drops fields behind gates that are off, unless the stored pod has them.
pub(crate) fn drop_disabled(spec: &mut PodSpec, old: Option<&PodSpec>) {
    let has_projection = |s: &PodSpec, bundle: bool| {
        let sources =
            list(&s.volumes).iter().filter_map(|v| v.projected.as_ref()).flat_map(|p| list(&p.sources));
        sources
            .into_iter()
            .any(|s| if bundle { s.cluster_trust_bundle.is_some() } else { s.pod_certificate.is_some() })
    };
    for bundle in [true, false] {
        if old.is_some_and(|o| has_projection(o, bundle)) {
            continue;
        }
        let projected = spec.volumes.iter_mut().flatten().filter_map(|v| v.projected.as_mut());
        for s in projected.flat_map(|p| p.sources.iter_mut().flatten()) {
            if bundle {
                s.cluster_trust_bundle = None;
            } else {
                s.pod_certificate = None;
            }
        }
    }
    if old.is_none_or(|o| o.scheduling_group.is_none()) {
        spec.scheduling_group = None;
    }
    let signals = |s: &PodSpec| {
        let mut found = false;
        pod_spec::visit(s, &Path::root(), |c, _| {
            found |= c.lifecycle.as_ref().is_some_and(|l| l.stop_signal.is_some());
        });
        found
    };
    if !old.is_some_and(signals) {
        let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
        for c in containers {
            let Some(l) = &mut c.lifecycle else { continue };
            l.stop_signal = None;
            if l.post_start.is_none() && l.pre_stop.is_none() {
                c.lifecycle = None;
            }
        }
    }
}

fn apply_label_keys(
    selector: &mut Option<LabelSelector>,
    keys: &Option<Vec<String>>,
    operator: &str,
    labels: Option<&BTreeMap<String, String>>,
) {
    let Some(selector) = selector else { return };
    for key in list(keys) {
        if let Some(value) = labels.and_then(|l| l.get(key)) {
            selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.to_owned(),
                values: Some(vec![value.clone()]),
            });
        }
    }
}

/// Turns label keys of affinity terms and spread constraints into requirements on this pod's own values.
fn merge_label_keys(pod: &mut Pod) {
    let labels = pod.metadata.labels.clone();
    let Some(spec) = &mut pod.spec else { return };
    let term = |t: &mut PodAffinityTerm| {
        let (same, other) = (t.match_label_keys.clone(), t.mismatch_label_keys.clone());
        apply_label_keys(&mut t.label_selector, &same, "In", labels.as_ref());
        apply_label_keys(&mut t.label_selector, &other, "NotIn", labels.as_ref());
    };
    if let Some(a) = &mut spec.affinity {
        if let Some(p) = &mut a.pod_affinity {
            let preferred = p.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
            preferred.for_each(|t| term(&mut t.pod_affinity_term));
            p.required_during_scheduling_ignored_during_execution.iter_mut().flatten().for_each(term);
        }
        if let Some(p) = &mut a.pod_anti_affinity {
            let preferred = p.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
            preferred.for_each(|t| term(&mut t.pod_affinity_term));
            p.required_during_scheduling_ignored_during_execution.iter_mut().flatten().for_each(term);
        }
    }
    for c in spec.topology_spread_constraints.iter_mut().flatten() {
        let keys = c.match_label_keys.clone();
        apply_label_keys(&mut c.label_selector, &keys, "In", labels.as_ref());
    }
}

/// Fills AppArmor fields from the annotations older clients still write.
fn app_armor_from_annotations(pod: &mut Pod) {
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let Some(spec) = &mut pod.spec else { return };
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    let of_pod = spec.security_context.as_ref().and_then(|s| s.app_armor_profile.clone());
    let fill = |name: &str, context: &mut Option<SecurityContext>| {
        let key = format!("{}{name}", pod_annotations::APP_ARMOR);
        if context.as_ref().is_some_and(|c| c.app_armor_profile.is_some()) {
            return;
        }
        let profile = annotations.get(&key).and_then(|a| pod_annotations::app_armor_field(a));
        let sound = |p: &_| security::app_armor(Some(p), &Path::root()).is_empty();
        if let Some(profile) = profile.filter(sound)
            && Some(&profile) != of_pod.as_ref()
        {
            context.get_or_insert_default().app_armor_profile = Some(profile);
        }
    };
    for c in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        fill(&c.name, &mut c.security_context);
    }
}

/// Subresources that change the spec keep the metadata, but for what clients may always say.
fn keep_metadata(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    new.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    new.self_link.clone_from(&old.self_link);
    new.labels.clone_from(&old.labels);
    new.annotations.clone_from(&old.annotations);
    new.finalizers.clone_from(&old.finalizers);
    new.owner_references.clone_from(&old.owner_references);
}

fn keep_but_resources(new: &mut Pod, old: &Pod) {
    let (Some(n), Some(o)) = (&new.spec, &old.spec) else { return };
    let (init, old_init) = (list(&n.init_containers), list(&o.init_containers));
    if n.containers.len() != o.containers.len() || init.len() != old_init.len() {
        return;
    }
    let merge = |new: &[Container], old: &[Container]| -> Vec<Container> {
        if new.iter().zip(old).any(|(n, o)| n.name != o.name) {
            return new.to_vec();
        }
        let pairs = new.iter().zip(old);
        pairs
            .map(|(n, o)| Container {
                resources: n.resources.clone(),
                resize_policy: n.resize_policy.clone(),
                ..o.clone()
            })
            .collect()
    };
    let spec = PodSpec {
        containers: merge(&n.containers, &o.containers),
        init_containers: n.init_containers.as_ref().map(|_| merge(init, old_init)),
        resources: n.resources.clone(),
        ..o.clone()
    };
    new.spec = Some(spec);
    new.status.clone_from(&old.status);
    keep_metadata(&mut new.metadata, &old.metadata);
}

fn keep_observed_generations(new: &mut PodStatus, old: &PodStatus) {
    if new.observed_generation.unwrap_or(0) == 0 {
        new.observed_generation = old.observed_generation;
    }
    let mut known: BTreeMap<&str, std::collections::VecDeque<Option<i64>>> = BTreeMap::new();
    for c in list(&old.conditions) {
        known.entry(&c.type_).or_default().push_back(c.observed_generation);
    }
    for c in new.conditions.iter_mut().flatten() {
        let had = known.get_mut(c.type_.as_str()).and_then(|q| q.pop_front()).flatten();
        if c.observed_generation.unwrap_or(0) == 0 {
            c.observed_generation = had;
        }
    }
}

/// The plural field holds the first address too, where an old client wrote only that.
fn default_addresses(status: &mut PodStatus) {
    if status.pod_ips.is_none() && !text(&status.pod_ip).is_empty() {
        let ip = text(&status.pod_ip).to_owned();
        status.pod_ips = Some(vec![gantry_types::k8s_openapi::api::core::v1::PodIP { ip }]);
    }
    if let Some(first) = status.pod_ips.as_ref().and_then(|l| l.first()) {
        status.pod_ip = Some(first.ip.clone());
    }
}

impl Strategy for Pods {
    type Kind = Pod;

    fn default(&self, pod: &mut Pod) {
        pod_defaults::pod(pod);
        let status = pod.status.get_or_insert_default();
        default_text(&mut status.phase, "Pending");
        if text(&status.qos_class).is_empty() {
            let class = pod.spec.as_ref().map_or("BestEffort", qos::class);
            status.qos_class = Some(class.to_owned());
        }
        default_addresses(status);
    }

    fn default_status(&self, pod: &mut Document) -> bool {
        let Some(mut status) = pod.get_at::<PodStatus>(&["status"]) else { return false };
        if text(&status.qos_class).is_empty() {
            return false;
        }
        default_text(&mut status.phase, "Pending");
        default_addresses(&mut status);
        pod.set_at(&["status"], status);
        true
    }

    fn prepare_create(&self, _cx: &Context<'_>, pod: &mut Pod) {
        pod.metadata.generation = Some(1);
        // The class is computed on defaulted resources.
        pod_defaults::pod(pod);
        let spec = pod.spec.get_or_insert_default();
        drop_disabled(spec, None);
        let mut status = PodStatus {
            phase: Some("Pending".to_owned()),
            qos_class: Some(qos::class(spec).to_owned()),
            ..PodStatus::default()
        };
        if !list(&spec.scheduling_gates).is_empty() {
            status.conditions = Some(vec![PodCondition {
                type_: "PodScheduled".to_owned(),
                status: "False".to_owned(),
                reason: Some("SchedulingGated".to_owned()),
                message: Some("Scheduling is blocked due to non-empty scheduling gates".to_owned()),
                last_transition_time: Some(Time(_cx.now)),
                ..PodCondition::default()
            }]);
        }
        pod.status = Some(status);
        merge_label_keys(pod);
        app_armor_from_annotations(pod);
    }

    fn prepare_update(&self, cx: &Context<'_>, pod: &mut Pod, old: &Pod) {
        match cx.subresource {
            "status" => {
                pod.spec.clone_from(&old.spec);
                pod.metadata.deletion_timestamp.clone_from(&old.metadata.deletion_timestamp);
                pod.metadata.owner_references.clone_from(&old.metadata.owner_references);
                let status = pod.status.get_or_insert_default();
                let had = old.status.clone().unwrap_or_default();
                if text(&status.qos_class).is_empty() {
                    status.qos_class.clone_from(&had.qos_class);
                }
                keep_observed_generations(status, &had);
            }
            "ephemeralcontainers" => {
                let wanted = pod.spec.as_mut().and_then(|s| s.ephemeral_containers.take());
                pod.spec.clone_from(&old.spec);
                pod.status.clone_from(&old.status);
                keep_metadata(&mut pod.metadata, &old.metadata);
                pod.spec.get_or_insert_default().ephemeral_containers = wanted;
            }
            "resize" => keep_but_resources(pod, old),
            _ => pod.status.clone_from(&old.status),
        }
        if let Some(spec) = &mut pod.spec {
            drop_disabled(spec, old.spec.as_ref());
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, pod: &Pod) -> ErrorList {
        pod_update::create(pod, &options(None))
    }

    fn validate_update(&self, cx: &Context<'_>, pod: &Pod, old: &Pod) -> ErrorList {
        let options = options(Some(old));
        match cx.subresource {
            "status" => pod_status::update(pod, old, &options),
            "ephemeralcontainers" => pod_update::ephemeral(pod, old, &options),
            "resize" => pod_resize::resize(pod, old, &options),
            _ => pod_update::update(pod, old, &options),
        }
    }

    fn warnings(&self, cx: &Context<'_>, pod: &Pod, old: Option<&Pod>) -> Vec<String> {
        if old.is_none() {
            return pod_warnings::on_create(pod);
        }
        let mut out = Vec::new();
        if cx.subresource == "status" {
            let status = pod.status.clone().unwrap_or_default();
            let path = Path::new("status");
            for (i, p) in list(&status.pod_ips).iter().enumerate() {
                out.extend(ip::warning(&p.ip, &path.child("podIPs").index(i).child("ip")));
            }
            for (i, p) in list(&status.host_ips).iter().enumerate() {
                out.extend(ip::warning(&p.ip, &path.child("hostIPs").index(i).child("ip")));
            }
        }
        out
    }

    fn spec_changed(&self, pod: &Pod, old: &Pod) -> Option<bool> {
        let (new, old) = (pod.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        Some(!equal::specs(&new, &old))
    }

    fn deletion(&self, pod: &Pod, requested: Option<i64>) -> Deletion {
        let spec = pod.spec.as_ref();
        let own = spec.and_then(|s| s.termination_grace_period_seconds).unwrap_or(0);
        let phase = pod.status.as_ref().map(|s| text(&s.phase)).unwrap_or_default();
        let unscheduled = spec.is_none_or(|s| text(&s.node_name).is_empty());
        let seconds = match requested.unwrap_or(own) {
            _ if unscheduled || matches!(phase, "Failed" | "Succeeded") => 0,
            n if n < 0 => 1,
            n => n,
        };
        Deletion::Graceful { seconds }
    }

    fn fields(&self, pod: &Pod) -> Vec<(&'static str, String)> {
        let none = (PodSpec::default(), PodStatus::default());
        let (spec, status) = (pod.spec.as_ref().unwrap_or(&none.0), pod.status.as_ref().unwrap_or(&none.1));
        let ip = list(&status.pod_ips).first().map(|p| p.ip.clone()).unwrap_or_default();
        let own = |s: &Option<String>| text(s).to_owned();
        let values = [
            own(&spec.node_name),
            own(&spec.restart_policy),
            own(&spec.scheduler_name),
            own(&spec.service_account_name),
            flag(spec.host_network).to_string(),
            own(&status.phase),
            ip,
            own(&status.nominated_node_name),
        ];
        self.field_names().iter().copied().zip(values).collect()
    }

    fn field_names(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        match subresource {
            "" => &["status"],
            "status" => &["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"],
            // These own only what they change.
            _ => &["metadata", "status"],
        }
    }

    fn row(&self, pod: &Pod, now: Timestamp) -> Vec<Cell> {
        pod_row::row(pod, now)
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
