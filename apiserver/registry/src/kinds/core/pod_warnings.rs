//! Warnings on pods and pod templates: deprecated fields, and things that are valid but surely not meant.

use crate::kinds::prelude::*;
use crate::kinds::validate::pod_annotations::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD, app_armor_field};
use crate::kinds::validate::pod_spec::visit;
use crate::kinds::validate::{ip, resources};
use gantry_types::k8s_openapi::api::core::v1::{
    NodeSelectorTerm, Pod, PodAffinityTerm, PodSpec, PodTemplateSpec, WeightedPodAffinityTerm,
};
use std::collections::{BTreeMap, BTreeSet};

pub fn on_create(pod: &Pod) -> Vec<String> {
    let mut out = Vec::new();
    let messages = names::dns1123_label(text(&pod.metadata.name));
    if !messages.is_empty() {
        out.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        ));
    }
    let spec = pod.spec.clone().unwrap_or_default();
    out.extend(warnings(&spec, &pod.metadata, &Path::root(), false));
    out
}

/// `path` is the template's (`spec.template`).
pub fn on_template(template: &PodTemplateSpec, path: &Path) -> Vec<String> {
    let (spec, meta) =
        (template.spec.clone().unwrap_or_default(), template.metadata.clone().unwrap_or_default());
    warnings(&spec, &meta, path, true)
}

const NODE_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// Why a node label is not to be used any more.
pub fn deprecated_label(key: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(old, _)| *old == key).map(|(_, message)| *message)
}

fn warnings(spec: &PodSpec, meta: &ObjectMeta, root: &Path, template: bool) -> Vec<String> {
    let mut out = Vec::new();
    let path = root.child("spec");
    for (k, _) in spec.node_selector.iter().flatten() {
        out.extend(deprecated_label(k).map(|m| format!("{}: {m}", path.child("nodeSelector").key(k))));
    }
    node_affinity(spec, &path, &mut out);
    for (i, c) in list(&spec.topology_spread_constraints).iter().enumerate() {
        let at = path.child("topologySpreadConstraints").index(i);
        if let Some(m) = deprecated_label(&c.topology_key) {
            out.push(format!("{}: {} is {m}", at.child("topologyKey"), c.topology_key));
        }
        if c.label_selector.is_none() {
            out.push(null_selector(&at));
        }
    }
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    let annotations = meta.annotations.as_ref().unwrap_or(&NONE);
    let annotations_at = root.child("metadata").child("annotations");
    for (key, message) in [
        (
            "scheduler.alpha.kubernetes.io/critical-pod",
            "non-functional in v1.16+; use the \"priorityClassName\" field instead",
        ),
        (
            "security.alpha.kubernetes.io/sysctls",
            "non-functional in v1.11+; use the \"sysctls\" field instead",
        ),
        (
            "security.alpha.kubernetes.io/unsafe-sysctls",
            "non-functional in v1.11+; use the \"sysctls\" field instead",
        ),
    ] {
        if annotations.contains_key(key) {
            out.push(format!("{}: {message}", annotations_at.key(key)));
        }
    }
    volumes(spec, &path, &mut out);
    overlaps(spec, &mut out);
    duplicates(spec, &path, &mut out);
    if let Some(overhead) = &spec.overhead {
        fractions(overhead, &path.child("overhead"), &mut out);
    }
    const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    let of_pod = spec.security_context.as_ref();
    if of_pod.is_none_or(|s| s.seccomp_profile.is_none()) && annotations.contains_key(SECCOMP_POD) {
        out.push(format!("{}: {SECCOMP}", annotations_at.key(SECCOMP_POD)));
    }
    visit(spec, &path, |c, at| {
        let own = c.security_context.as_ref();
        let key = format!("{SECCOMP_CONTAINER}{}", c.name);
        if own.is_none_or(|s| s.seccomp_profile.is_none()) && annotations.contains_key(&key) {
            out.push(format!("{}: {SECCOMP}", annotations_at.key(&key)));
        }
        let key = format!("{APP_ARMOR}{}", c.name);
        // On pods the annotation becomes the field, except on ephemeral containers.
        if own.is_none_or(|s| s.app_armor_profile.is_none())
            && let Some(value) = annotations.get(&key)
        {
            let pod_profile = of_pod.and_then(|s| s.app_armor_profile.as_ref());
            let covered = pod_profile.is_some() && pod_profile == app_armor_field(value).as_ref();
            if !covered && (template || app_armor_field(value).is_none()) {
                let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
                out.push(format!("{}: {why}", annotations_at.key(&key)));
            }
        }
        let resources_at = at.child("resources");
        for (field, amounts) in [
            ("limits", c.resources.as_ref().and_then(|r| r.limits.as_ref())),
            ("requests", c.resources.as_ref().and_then(|r| r.requests.as_ref())),
        ] {
            if let Some(amounts) = amounts {
                fractions(amounts, &resources_at.child(field), &mut out);
            }
        }
        let mut seen = BTreeSet::new();
        for (i, var) in list(&c.env).iter().enumerate() {
            if seen.insert(&var.name) {
                continue;
            }
            let reference = format!("$({})", var.name);
            let value = text(&var.value);
            if var.value_from.is_some() || value == reference || !value.contains(&reference) {
                out.push(format!(
                    "{}: hides previous definition of \"{}\", which may be dropped when using apply",
                    at.child("env").index(i),
                    var.name
                ));
            }
        }
    });
    ports(spec, &path, &mut out);
    if spec.termination_grace_period_seconds.is_some_and(|s| s < 0) {
        let at = path.child("terminationGracePeriodSeconds");
        out.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    pod_affinity(spec, &path.child("affinity"), &mut out);
    let dns = spec.dns_config.as_ref().map(|d| list(&d.nameservers)).unwrap_or_default();
    for (i, s) in dns.iter().enumerate() {
        out.extend(ip::warning(s, &path.child("dnsConfig").child("nameservers").index(i)));
    }
    for (i, a) in list(&spec.host_aliases).iter().enumerate() {
        out.extend(ip::warning(&a.ip, &path.child("hostAliases").index(i).child("ip")));
    }
    out
}

fn null_selector(at: &Path) -> String {
    format!("{}: a null labelSelector results in matching no pod", at.child("labelSelector"))
}

fn node_affinity(spec: &PodSpec, path: &Path, out: &mut Vec<String>) {
    let Some(n) = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref()) else { return };
    let at = path.child("affinity").child("nodeAffinity");
    let term = |t: &NodeSelectorTerm, at: &Path, out: &mut Vec<String>| {
        for (i, e) in list(&t.match_expressions).iter().enumerate() {
            let at = at.child("matchExpressions").index(i);
            if let Some(m) = deprecated_label(&e.key) {
                out.push(format!("{}: {} is {m}", at.child("key"), e.key));
            }
        }
    };
    if let Some(s) = &n.required_during_scheduling_ignored_during_execution {
        let at = at.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
        for (i, t) in s.node_selector_terms.iter().enumerate() {
            term(t, &at.index(i), out);
        }
    }
    let at = at.child("preferredDuringSchedulingIgnoredDuringExecution");
    for (i, t) in list(&n.preferred_during_scheduling_ignored_during_execution).iter().enumerate() {
        term(&t.preference, &at.index(i).child("preference"), out);
    }
}

fn pod_affinity(spec: &PodSpec, path: &Path, out: &mut Vec<String>) {
    let Some(a) = &spec.affinity else { return };
    let mut terms = |field: &str, required: &[PodAffinityTerm], preferred: &[WeightedPodAffinityTerm]| {
        let at = path.child(field);
        for (i, _) in required.iter().enumerate().filter(|(_, t)| t.label_selector.is_none()) {
            out.push(null_selector(&at.child("requiredDuringSchedulingIgnoredDuringExecution").index(i)));
        }
        let weak = preferred.iter().enumerate().filter(|(_, t)| t.pod_affinity_term.label_selector.is_none());
        for (i, _) in weak {
            let at = at.child("preferredDuringSchedulingIgnoredDuringExecution").index(i);
            out.push(null_selector(&at.child("podAffinityTerm")));
        }
    };
    if let Some(p) = &a.pod_affinity {
        let required = list(&p.required_during_scheduling_ignored_during_execution);
        terms("podAffinity", required, list(&p.preferred_during_scheduling_ignored_during_execution));
    }
    if let Some(p) = &a.pod_anti_affinity {
        let required = list(&p.required_during_scheduling_ignored_during_execution);
        terms("podAntiAffinity", required, list(&p.preferred_during_scheduling_ignored_during_execution));
    }
}

fn volumes(spec: &PodSpec, path: &Path, out: &mut Vec<String>) {
    for (i, v) in list(&spec.volumes).iter().enumerate() {
        let at = path.child("volumes").index(i);
        for (field, set, message) in [
            (
                "photonPersistentDisk",
                v.photon_persistent_disk.is_some(),
                "deprecated in v1.11, non-functional in v1.16+",
            ),
            ("gitRepo", v.git_repo.is_some(), "deprecated in v1.11, and disabled by default in v1.33+"),
            ("scaleIO", v.scale_io.is_some(), "deprecated in v1.16, non-functional in v1.22+"),
            ("flocker", v.flocker.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
            ("storageOS", v.storageos.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
            ("quobyte", v.quobyte.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
            ("glusterfs", v.glusterfs.is_some(), "deprecated in v1.25, non-functional in v1.26+"),
            ("cephfs", v.cephfs.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
            ("rbd", v.rbd.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
        ] {
            if set {
                out.push(format!("{}: {message}", at.child(field)));
            }
        }
    }
}

/// Paths of one volume that lie on or in one another.
fn overlaps(spec: &PodSpec, out: &mut Vec<String>) {
    type Entry = (String, String);
    let shown = |(path, source): &Entry| match source.as_str() {
        "" => format!("\"{path}\""),
        source => format!("\"{path}\" ({source})"),
    };
    let mut check = |volume: &str, what: &str, groups: Vec<Vec<Entry>>| {
        let mut before: Vec<Entry> = Vec::new();
        for (path, source) in groups.into_iter().flatten() {
            let entry = (path.trim_end_matches('/').to_owned(), source);
            let inside = |a: &str, b: &str| format!("{a}/").starts_with(&format!("{b}/"));
            for other in before.iter().filter(|o| !o.0.is_empty() && !entry.0.is_empty()) {
                if inside(&other.0, &entry.0) || inside(&entry.0, &other.0) {
                    let pair = format!("{} with {}", shown(&entry), shown(other));
                    out.push(format!("volume \"{volume}\" ({what}): overlapping paths: {pair}"));
                }
            }
            before.push(entry);
        }
    };
    let named = |paths: Vec<&String>, source: String| -> Vec<Entry> {
        paths.into_iter().map(|p| (p.clone(), source.clone())).collect()
    };
    for v in list(&spec.volumes) {
        if let Some(s) = &v.config_map {
            let paths = list(&s.items).iter().map(|k| &k.path).collect();
            check(&v.name, &format!("ConfigMap \"{}\"", s.name), vec![named(paths, String::new())]);
        }
        if let Some(s) = &v.secret {
            let paths = list(&s.items).iter().map(|k| &k.path).collect();
            let what = format!("Secret \"{}\"", text(&s.secret_name));
            check(&v.name, &what, vec![named(paths, String::new())]);
        }
        if let Some(s) = &v.downward_api {
            let paths = list(&s.items).iter().map(|f| &f.path).collect();
            check(&v.name, "DownwardAPI", vec![named(paths, String::new())]);
        }
        let Some(p) = &v.projected else { continue };
        let groups = list(&p.sources).iter().map(|s| {
            if let Some(c) = &s.config_map {
                let paths = list(&c.items).iter().map(|k| &k.path).collect();
                named(paths, format!("ConfigMap \"{}\"", c.name))
            } else if let Some(c) = &s.secret {
                named(list(&c.items).iter().map(|k| &k.path).collect(), format!("Secret \"{}\"", c.name))
            } else if let Some(d) = &s.downward_api {
                named(list(&d.items).iter().map(|f| &f.path).collect(), "DownwardAPI".to_owned())
            } else if let Some(t) = &s.service_account_token {
                vec![(t.path.clone(), "ServiceAccountToken".to_owned())]
            } else {
                Vec::new()
            }
        });
        check(&v.name, "Projected", groups.collect());
    }
}

fn duplicates(spec: &PodSpec, path: &Path, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (i, a) in list(&spec.host_aliases).iter().enumerate() {
        if !seen.insert(&a.ip) {
            out.push(format!(
                "{}: duplicate ip \"{}\"",
                path.child("hostAliases").index(i).child("ip"),
                a.ip
            ));
        }
    }
    let at = path.child("imagePullSecrets");
    let secrets = list(&spec.image_pull_secrets);
    let mut seen = BTreeSet::new();
    for (i, s) in secrets.iter().enumerate() {
        if !seen.insert(&s.name) {
            out.push(format!("{}: duplicate name \"{}\"", at.index(i).child("name"), s.name));
        }
    }
    for (i, _) in secrets.iter().enumerate().filter(|(_, s)| s.name.is_empty()) {
        out.push(format!("{}: invalid empty name \"\"", at.index(i).child("name")));
    }
}

fn fractions(amounts: &resources::ResourceList, path: &Path, out: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        let amount = amounts.get(name).and_then(resources::parse);
        if let Some(q) = amount.filter(|q| q.milli_value() % 1000 != 0) {
            let at = path.key(name);
            out.push(format!("{at}: fractional byte value \"{q}\" is invalid, must be an integer"));
        }
    }
}

fn ports(spec: &PodSpec, path: &Path, out: &mut Vec<String>) {
    struct Port {
        at: Path,
        number: String,
        host_ip: String,
        host: i32,
        name: String,
    }
    let mut all: Vec<Port> = Vec::new();
    visit(spec, path, |c, at| {
        for (i, p) in list(&c.ports).iter().enumerate() {
            all.push(Port {
                at: at.child("ports").index(i),
                number: format!("{}/{}", p.container_port, text(&p.protocol)),
                host_ip: text(&p.host_ip).to_owned(),
                host: p.host_port.unwrap_or(0),
                name: text(&p.name).to_owned(),
            });
        }
    });
    for (i, p) in all.iter().enumerate() {
        for o in all[..i].iter().filter(|o| o.number == p.number) {
            let what = if (&p.host_ip, p.host) == (&o.host_ip, o.host) {
                "duplicate"
            } else if p.host == 0 || o.host == 0 {
                "overlapping"
            } else if p.host == o.host && p.host_ip.is_empty() != o.host_ip.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            out.push(format!("{}: {what} port definition with {}", p.at, o.at));
        }
    }
    for (i, p) in all.iter().enumerate().filter(|(_, p)| !p.name.is_empty()) {
        if let Some(first) = all[..i].iter().find(|o| o.name == p.name) {
            out.push(format!(
                "{}: duplicate port name \"{}\" with {first}, services and probes that select ports by name will use {first}",
                p.at,
                p.name,
                first = first.at
            ));
        }
    }
}
