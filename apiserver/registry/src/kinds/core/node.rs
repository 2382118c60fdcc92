//! `v1` Node.

use super::pod_defaults::resource_list;
use crate::kinds::prelude::*;
use crate::kinds::validate::{ip, meta, resources, tolerations};
use crate::kinds::{go_types, print};
use gantry_types::k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use std::collections::BTreeSet;

/// Pod ranges and provider are set once; taints are unique by key and effect.
pub struct Nodes;

fn parts(node: &Node) -> (NodeSpec, NodeStatus) {
    (node.spec.clone().unwrap_or_default(), node.status.clone().unwrap_or_default())
}

fn taints(all: &[Taint], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, t) in all.iter().enumerate() {
        let at = path.index(i);
        errs.extend(invalid_each(&at.child("key"), &t.key, names::qualified_name(&t.key)));
        let value = text(&t.value);
        let messages = names::label_value(value);
        if !messages.is_empty() {
            errs.push(Error::invalid(&at.child("value"), value, messages.join(";")));
        }
        let effect_at = at.child("effect");
        if t.effect.is_empty() {
            errs.push(Error::required(&effect_at, ""));
        } else {
            errs.extend(tolerations::effect(&t.effect, &effect_at));
        }
        if !seen.insert((&t.effect, &t.key)) {
            let mut e = Error::duplicate(&at, "");
            e.value = Some(go_types::print("Taint", t));
            e.detail = "taints must be unique by key and effect pair".to_owned();
            errs.push(e);
        }
    }
    errs
}

fn is_feature_name(name: &str) -> bool {
    name.split('/').enumerate().all(|(i, segment)| {
        let first = segment.bytes().next();
        let starts =
            first.is_some_and(|b| if i == 0 { b.is_ascii_uppercase() } else { b.is_ascii_alphabetic() });
        starts && segment.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

fn declared_features(all: &[String], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, name) in all.iter().enumerate() {
        let quoted = gantry_types::field::go_quote(name);
        if name.len() > 253 {
            let why = format!("invalid feature name {quoted}: must be no more than 253 characters");
            errs.push(Error::invalid(&path.index(i), name, why));
        } else if !is_feature_name(name) {
            let why = format!(
                "invalid feature name {quoted}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            errs.push(Error::invalid(&path.index(i), name, why));
        }
        if let Some(next) = all.get(i + 1) {
            let at = path.index(i + 1);
            if next == name {
                errs.push(Error::duplicate(&at, next));
            } else if name > next {
                errs.push(Error::invalid(&at, next, "list must be sorted alphabetically"));
            }
        }
    }
    errs
}

fn amounts(status: &NodeStatus) -> ErrorList {
    let path = Path::new("status");
    let mut errs = ErrorList::new();
    for (field, list) in [("capacity", &status.capacity), ("allocatable", &status.allocatable)] {
        for (name, q) in list.iter().flatten() {
            errs.extend(resources::quantity_value(name, q, &path.child(field).child(name)));
        }
    }
    errs
}

fn validate(node: &Node) -> ErrorList {
    let mut errs = meta::object_meta(&node.metadata, false, meta::subdomain_name);
    let (spec, status) = parts(node);
    // Upstream puts these below `metadata`.
    errs.extend(taints(list(&spec.taints), &Path::new("metadata").child("taints")));
    errs.extend(amounts(&status));
    let swap = status.node_info.as_ref().and_then(|i| i.swap.as_ref()?.capacity);
    if let Some(n) = swap.filter(|n| *n <= 0) {
        let at = Path::new("metadata").child("nodeSwapStatus").child("capacity");
        errs.push(Error::invalid(&at, &n, "must be greater than zero"));
    }
    let features = list(&status.declared_features);
    errs.extend(declared_features(features, &Path::new("status").child("declaredFeatures")));
    let cidrs = list(&spec.pod_cidrs);
    let at = Path::new("spec").child("podCIDRs");
    for (i, cidr) in cidrs.iter().enumerate() {
        errs.extend(ip::legacy_cidr(cidr, &at.index(i), &[]));
    }
    if cidrs.len() > 1 {
        if let Some((i, cidr)) = cidrs.iter().enumerate().find(|(_, c)| c.parse::<ipnet::IpNet>().is_err()) {
            let why = format!(
                "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{i}]: <nil> (invalid CIDR address: {cidr})"
            );
            errs.push(Error::internal(&at, why));
        }
        let ips: Vec<&str> = cidrs.iter().filter_map(|c| c.split_once('/')).map(|(ip, _)| ip).collect();
        if cidrs.len() > 2 || !ip::is_dual_stack(&ips) {
            errs.push(Error::invalid(&at, cidrs, "may specify no more than one CIDR for each IP family"));
        }
    }
    errs
}

fn validate_update(node: &Node, old: &Node) -> ErrorList {
    let mut errs = meta::object_meta_update(&node.metadata, &old.metadata);
    let ((spec, status), (had, _)) = (parts(node), parts(old));
    errs.extend(amounts(&status));
    let features = list(&status.declared_features);
    errs.extend(declared_features(features, &Path::new("status").child("declaredFeatures")));
    let mut seen = BTreeSet::new();
    for (i, a) in list(&status.addresses).iter().enumerate() {
        if !seen.insert((&a.type_, &a.address)) {
            let mut e = Error::duplicate(&Path::new("status").child("addresses").index(i), "");
            let quote = gantry_types::field::go_quote;
            e.value = Some(format!("{{\"Type\":{},\"Address\":{}}}", quote(&a.type_), quote(&a.address)));
            errs.push(e);
        }
    }
    let path = Path::new("spec");
    let (new_cidrs, old_cidrs) = (list(&spec.pod_cidrs), list(&had.pod_cidrs));
    let why = "node updates may not change podCIDR except from \"\" to valid";
    if !old_cidrs.is_empty() {
        let changed = if new_cidrs.len() == old_cidrs.len() {
            new_cidrs.iter().zip(old_cidrs).filter(|(n, o)| n != o).count()
        } else {
            1
        };
        errs.extend((0..changed).map(|_| Error::forbidden(&path.child("podCIDRs"), why)));
    }
    let (provider, had_provider) = (text(&spec.provider_id), text(&had.provider_id));
    if !had_provider.is_empty() && provider != had_provider {
        let why = "node updates may not change providerID except from \"\" to valid";
        errs.push(Error::forbidden(&path.child("providerID"), why));
    }
    errs.extend(taints(list(&spec.taints), &Path::new("metadata").child("taints")));
    if text(&spec.external_id) != text(&had.external_id) {
        errs.push(Error::forbidden(&path.child("externalID"), "may not be updated"));
    }
    errs
}

fn roles(node: &Node) -> String {
    const PREFIX: &str = "node-role.kubernetes.io/";
    let labels = node.metadata.labels.iter().flatten();
    let roles: BTreeSet<&str> = labels
        .filter_map(|(k, v)| match k.strip_prefix(PREFIX) {
            Some(role) => Some(role).filter(|r| !r.is_empty()),
            None => (k == "kubernetes.io/role" && !v.is_empty()).then_some(v.as_str()),
        })
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

impl Strategy for Nodes {
    type Kind = Node;

    fn default(&self, node: &mut Node) {
        let spec = node.spec.get_or_insert_default();
        // One range under its old name, all of them under the new.
        match (text(&spec.pod_cidr), list(&spec.pod_cidrs).first()) {
            ("", Some(first)) => spec.pod_cidr = Some(first.clone()),
            // Where they differ, the older field counts.
            (one, first) if !one.is_empty() && first.is_none_or(|first| first != one) => {
                spec.pod_cidrs = Some(vec![one.to_owned()])
            }
            _ => {}
        }
        let status = node.status.get_or_insert_default();
        resource_list(&mut status.capacity);
        if status.allocatable.is_none() {
            status.allocatable.clone_from(&status.capacity);
        }
        resource_list(&mut status.allocatable);
        // These show even when empty.
        status.node_info.get_or_insert_default();
        let endpoints = status.daemon_endpoints.get_or_insert_default();
        endpoints.kubelet_endpoint.get_or_insert_default();
    }

    fn prepare_create(&self, _cx: &Context<'_>, node: &mut Node) {
        if let Some(spec) = &mut node.spec {
            spec.config_source = None;
        }
        if let Some(status) = &mut node.status {
            status.config = None;
        }
    }

    fn prepare_update(&self, cx: &Context<'_>, node: &mut Node, old: &Node) {
        if cx.subresource == "status" {
            node.spec.clone_from(&old.spec);
            if old.status.as_ref().is_none_or(|s| s.config.is_none())
                && let Some(status) = &mut node.status
            {
                status.config = None;
            }
            return;
        }
        node.status.clone_from(&old.status);
        if old.spec.as_ref().is_none_or(|s| s.config_source.is_none())
            && let Some(spec) = &mut node.spec
        {
            spec.config_source = None;
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, node: &Node) -> ErrorList {
        validate(node)
    }

    fn validate_update(&self, cx: &Context<'_>, node: &Node, old: &Node) -> ErrorList {
        let mut errs = if cx.subresource.is_empty() { validate(node) } else { ErrorList::new() };
        errs.extend(validate_update(node, old));
        errs
    }

    fn warnings(&self, cx: &Context<'_>, node: &Node, _old: Option<&Node>) -> Vec<String> {
        let mut out = Vec::new();
        let Some(spec) = node.spec.as_ref().filter(|_| cx.subresource.is_empty()) else { return out };
        if spec.config_source.is_some() {
            out.push("spec.configSource: the feature is removed".to_owned());
        }
        if !text(&spec.external_id).is_empty() {
            out.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
        }
        for (i, c) in list(&spec.pod_cidrs).iter().enumerate() {
            out.extend(ip::cidr_warnings(c, &Path::new("spec").child("podCIDRs").index(i)));
        }
        out
    }

    fn fields(&self, node: &Node) -> Vec<(&'static str, String)> {
        let unschedulable = node.spec.as_ref().is_some_and(|s| flag(s.unschedulable));
        vec![("spec.unschedulable", unschedulable.to_string())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, node: &Node, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = parts(node);
        let ready = list(&status.conditions).iter().rfind(|c| c.type_ == "Ready");
        let mut state = match ready.map(|c| c.status.as_str()) {
            None => "Unknown".to_owned(),
            Some("True") => "Ready".to_owned(),
            Some(_) => "NotReady".to_owned(),
        };
        if flag(spec.unschedulable) {
            state.push_str(",SchedulingDisabled");
        }
        let info = status.node_info.clone().unwrap_or_default();
        let address = |kind: &str| {
            let found = list(&status.addresses).iter().find(|a| a.type_ == kind);
            Cell::Text(found.map_or_else(|| "<none>".to_owned(), |a| a.address.clone()))
        };
        let known = |s: &str| if s.is_empty() { "<unknown>".to_owned() } else { s.to_owned() };
        let mut kernel = known(&info.kernel_version);
        if !info.architecture.is_empty() {
            kernel.push_str(&format!(" ({})", info.architecture));
        }
        vec![
            print::name(&node.metadata),
            state.into(),
            roles(node).into(),
            print::age(node.metadata.creation_timestamp.as_ref(), now).into(),
            info.kubelet_version.into(),
            address("InternalIP"),
            address("ExternalIP"),
            known(&info.os_image).into(),
            kernel.into(),
            known(&info.container_runtime_version).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
