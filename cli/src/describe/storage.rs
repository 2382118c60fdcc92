//! Claims, volumes and storage classes.

use super::text::{Text, or_none, selector_text, truth};
use super::volume;
use crate::commands::common::age;
use crate::commands::pods;
use crate::context::Context;
use crate::error::Result;
use gantry_types::Document;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, VolumeNodeAffinity};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// `RWO,RWX`, each mode once.
pub fn access_modes(modes: &[String]) -> String {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let found: Vec<&str> =
        short.iter().filter(|(long, _)| modes.iter().any(|m| m == long)).map(|(_, s)| *s).collect();
    found.join(",")
}

fn size(of: Option<&BTreeMap<String, Quantity>>) -> String {
    of.and_then(|c| c.get("storage")).map_or_else(|| "0".to_owned(), |q| q.0.clone())
}

fn status_line(t: &mut Text, object: &Document, phase: &str) {
    if object.deleting() {
        let since = age(object.meta_str("deletionTimestamp"));
        t.pair(0, "Status", format!("Terminating (lasts {since})"));
    } else {
        t.pair(0, "Status", phase);
    }
}

pub async fn claim(cx: &Context, t: &mut Text, object: &Document) -> Result<()> {
    let c: PersistentVolumeClaim = object.to_typed()?;
    let (spec, status) = (c.spec.unwrap_or_default(), c.status.unwrap_or_default());
    t.pair(0, "Name", object.name());
    t.pair(0, "Namespace", object.namespace());
    t.pair(0, "StorageClass", spec.storage_class_name.unwrap_or_default());
    status_line(t, object, status.phase.as_deref().unwrap_or_default());
    let volume = spec.volume_name.unwrap_or_default();
    t.pair(0, "Volume", &volume);
    t.labels("Labels", c.metadata.labels.as_ref());
    t.annotations("Annotations", c.metadata.annotations.as_ref());
    t.pair(0, "Finalizers", format!("[{}]", object.finalizers().join(" ")));
    let (mut capacity, mut modes) = (String::new(), String::new());
    if !volume.is_empty() {
        capacity = size(status.capacity.as_ref());
        modes = access_modes(&status.access_modes.unwrap_or_default());
    }
    t.pair(0, "Capacity", capacity);
    t.pair(0, "Access Modes", modes);
    if let Some(mode) = spec.volume_mode {
        t.pair(0, "VolumeMode", mode);
    }
    if let Some(source) = spec.data_source {
        t.line(0, "DataSource:");
        if let Some(group) = source.api_group {
            t.pair(1, "APIGroup", group);
        }
        t.pair(1, "Kind", source.kind);
        t.pair(1, "Name", source.name);
    }
    let mut users: Vec<String> = pods::matching(cx, object.namespace(), "")
        .await?
        .into_iter()
        .filter(|p| uses(p, object.name()))
        .filter_map(|p| p.metadata.name)
        .collect();
    users.sort();
    t.list("Used By", &users);
    let conditions = status.conditions.unwrap_or_default();
    if !conditions.is_empty() {
        t.line(0, "Conditions:");
        t.line(1, "Type\tStatus\tLastProbeTime\tLastTransitionTime\tReason\tMessage");
        t.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
    }
    for c in conditions {
        let at = |t: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
            t.as_ref()
                .map_or_else(|| "Mon, 01 Jan 0001 00:00:00 +0000".to_owned(), |t| super::text::time(t.0))
        };
        t.line(
            1,
            &format!(
                "{} \t{} \t{} \t{} \t{} \t{}",
                c.type_,
                c.status,
                at(&c.last_probe_time),
                at(&c.last_transition_time),
                c.reason.unwrap_or_default(),
                c.message.unwrap_or_default()
            ),
        );
    }
    Ok(())
}

/// Whether a pod mounts a claim, be it one made for the pod alone.
fn uses(pod: &Pod, claim: &str) -> bool {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default();
    volumes.iter().any(|v| match (&v.persistent_volume_claim, &v.ephemeral) {
        (Some(c), _) => c.claim_name == claim,
        (None, Some(_)) => format!("{name}-{}", v.name) == claim,
        (None, None) => false,
    })
}

pub fn volume(t: &mut Text, object: &Document) -> Result<()> {
    let v: PersistentVolume = object.to_typed()?;
    let (spec, status) = (v.spec.unwrap_or_default(), v.status.unwrap_or_default());
    t.pair(0, "Name", object.name());
    t.labels("Labels", v.metadata.labels.as_ref());
    t.annotations("Annotations", v.metadata.annotations.as_ref());
    t.pair(0, "Finalizers", format!("[{}]", object.finalizers().join(" ")));
    t.pair(0, "StorageClass", spec.storage_class_name.as_deref().unwrap_or_default());
    status_line(t, object, status.phase.as_deref().unwrap_or_default());
    let claim = spec.claim_ref.as_ref().map(|c| {
        format!("{}/{}", c.namespace.as_deref().unwrap_or_default(), c.name.as_deref().unwrap_or_default())
    });
    t.pair(0, "Claim", claim.unwrap_or_default());
    t.pair(0, "Reclaim Policy", spec.persistent_volume_reclaim_policy.as_deref().unwrap_or_default());
    t.pair(0, "Access Modes", access_modes(spec.access_modes.as_deref().unwrap_or_default()));
    if let Some(mode) = &spec.volume_mode {
        t.pair(0, "VolumeMode", mode);
    }
    t.pair(0, "Capacity", size(spec.capacity.as_ref()));
    affinity(t, spec.node_affinity.as_ref());
    t.pair(0, "Message", status.message.as_deref().unwrap_or_default());
    t.line(0, "Source:");
    volume::persistent(t, &spec);
    Ok(())
}

fn affinity(t: &mut Text, of: Option<&VolumeNodeAffinity>) {
    let Some(required) = of.and_then(|a| a.required.as_ref()) else {
        return t.line(0, "Node Affinity:\t<none>");
    };
    t.line(0, "Node Affinity:\t");
    if required.node_selector_terms.is_empty() {
        return t.line(1, "Required Terms:\t<none>");
    }
    t.line(1, "Required Terms:\t");
    for (i, term) in required.node_selector_terms.iter().enumerate() {
        let lines = term.match_expressions.iter().flatten().map(|r| {
            let values = r.values.as_deref().unwrap_or_default();
            requirement(&r.key, &r.operator.to_lowercase(), values)
        });
        terms(t, 2, i, lines.collect());
    }
}

fn requirement(key: &str, operator: &str, values: &[String]) -> String {
    match values {
        [] => format!("{key} {operator}"),
        values => format!("{key} {operator} [{}]", values.join(", ")),
    }
}

/// `Term 0:` and its lines.
fn terms(t: &mut Text, level: usize, index: usize, lines: Vec<String>) {
    let mut lines = lines.iter();
    t.pair(level, &format!("Term {index}"), lines.next().map_or("<none>", String::as_str));
    for line in lines {
        t.line(level, &format!("\t{line}"));
    }
}

pub fn class(t: &mut Text, object: &Document) -> Result<()> {
    let s: StorageClass = object.to_typed()?;
    let default =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
            .iter()
            .any(|a| object.annotation(a) == Some("true"));
    t.pair(0, "Name", object.name());
    t.pair(0, "IsDefaultClass", if default { "Yes" } else { "No" });
    t.pair(0, "Annotations", selector_text(s.metadata.annotations.as_ref()));
    t.pair(0, "Provisioner", s.provisioner);
    t.pair(0, "Parameters", selector_text(s.parameters.as_ref()));
    t.pair(0, "AllowVolumeExpansion", truth(s.allow_volume_expansion));
    match s.mount_options.unwrap_or_default().as_slice() {
        [] => t.line(0, "MountOptions:\t<none>"),
        options => {
            t.line(0, "MountOptions:");
            options.iter().for_each(|o| t.line(1, o));
        }
    }
    if let Some(policy) = s.reclaim_policy {
        t.pair(0, "ReclaimPolicy", policy);
    }
    if let Some(mode) = s.volume_binding_mode {
        t.pair(0, "VolumeBindingMode", mode);
    }
    if let Some(topologies) = s.allowed_topologies {
        t.pair(0, "AllowedTopologies", if topologies.is_empty() { or_none("") } else { "" });
        for (i, term) in topologies.iter().enumerate() {
            let lines = term.match_label_expressions.iter().flatten();
            terms(t, 1, i, lines.map(|r| requirement(&r.key, "in", &r.values)).collect());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_modes_are_short() {
        let check = |modes: &[&str], expected: &str| {
            let modes: Vec<String> = modes.iter().map(|m| (*m).to_owned()).collect();
            assert_eq!(access_modes(&modes), expected);
        };
        check(&[], "");
        check(&["ReadWriteMany", "ReadWriteOnce", "ReadWriteMany"], "RWO,RWX");
        check(&["ReadWriteOncePod"], "RWOP");
    }

    #[test]
    fn a_volume_is_described() {
        let object = Document::from_json(
            br#"{"metadata":{"name":"pv","finalizers":["kubernetes.io/pv-protection"]},
            "spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],"storageClassName":"local",
            "persistentVolumeReclaimPolicy":"Delete","volumeMode":"Filesystem","local":{"path":"/data"},
            "claimRef":{"namespace":"n","name":"c"},"nodeAffinity":{"required":{"nodeSelectorTerms":[
            {"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":["a"]}]}]}}},
            "status":{"phase":"Bound"}}"#,
        )
        .unwrap();
        let mut t = Text::default();
        volume(&mut t, &object).unwrap();
        assert_eq!(
            t.finish(),
            "Name:              pv
Labels:            <none>
Annotations:       <none>
Finalizers:        [kubernetes.io/pv-protection]
StorageClass:      local
Status:            Bound
Claim:             n/c
Reclaim Policy:    Delete
Access Modes:      RWO
VolumeMode:        Filesystem
Capacity:          1Gi
Node Affinity:     
  Required Terms:  
    Term 0:        kubernetes.io/hostname in [a]
Message:           
Source:
    Type:  LocalVolume (a persistent volume backed by local storage on a node)
    Path:  /data
"
        );
    }
}
