//! Which claims get a volume here, what it looks like, and when it goes.

use crate::config::Config;
use k8s_openapi::api::core::v1::{
    LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;
use std::path::Path;

pub const PROVISIONER: &str = "gantry.io/local-volumes";
/// Keeps a volume until its folder is gone.
pub const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const ASKED: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const HOSTNAME: &str = "kubernetes.io/hostname";

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The class a claim names.
pub fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    let field = claim.spec.as_ref().and_then(|s| s.storage_class_name.as_deref());
    annotation(&claim.metadata, CLASS).or(field)
}

/// Whether the claim waits for a volume from this node.
pub fn is_ours(claim: &PersistentVolumeClaim, node: &str) -> bool {
    let meta = &claim.metadata;
    let bound = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).is_some_and(|v| !v.is_empty());
    meta.deletion_timestamp.is_none()
        && !bound
        && ASKED.iter().any(|key| annotation(meta, key) == Some(PROVISIONER))
        && annotation(meta, SELECTED_NODE) == Some(node)
}

/// The name of a claim's volume and of its folder.
pub fn volume_name(claim: &PersistentVolumeClaim) -> Option<String> {
    claim.metadata.uid.as_ref().map(|uid| format!("pvc-{uid}"))
}

/// Where a claim's volume may be.
#[derive(Debug, PartialEq)]
pub enum Judgement {
    Make(Box<PersistentVolume>),
    /// The message of a `ProvisioningFailed` event.
    Refuse(String),
    /// The scheduler's choice does not suit the class: it is to choose again.
    ElsewhereThan(String),
}

/// The volume for a claim of ours. `labels` are the node's.
pub fn judge(
    config: &Config,
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    labels: &BTreeMap<String, String>,
) -> Judgement {
    let failed = |why: String| {
        let class = class.metadata.name.as_deref().unwrap_or_default();
        Judgement::Refuse(format!("failed to provision volume with StorageClass {class:?}: {why}"))
    };
    let (Some(spec), Some(name)) = (&claim.spec, volume_name(claim)) else {
        return failed("the claim has no spec".into());
    };
    if spec.volume_mode.as_deref() == Some("Block") {
        return failed("block devices are not supported".into());
    }
    if spec.selector.is_some() {
        return failed("claim.Spec.Selector is not supported".into());
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return failed("data sources are not supported".into());
    }
    let modes = spec.access_modes.clone().unwrap_or_default();
    if let Some(mode) = modes.iter().find(|m| !matches!(m.as_str(), "ReadWriteOnce" | "ReadWriteOncePod")) {
        return failed(format!("access mode {mode} is not supported: a folder is on one node"));
    }
    if class.parameters.as_ref().is_some_and(|p| !p.is_empty()) {
        return failed("parameters are not supported".into());
    }
    if !allows(class, labels) {
        return Judgement::ElsewhereThan(config.node_name.clone());
    }
    let requests = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    let capacity = requests.and_then(|r| r.get("storage")).cloned();
    Judgement::Make(Box::new(PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            annotations: Some([(PROVISIONED_BY.to_owned(), PROVISIONER.to_owned())].into()),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: Some(modes),
            capacity: capacity.map(|q| [("storage".to_owned(), q)].into()),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("PersistentVolumeClaim".into()),
                namespace: claim.metadata.namespace.clone(),
                name: claim.metadata.name.clone(),
                uid: claim.metadata.uid.clone(),
                resource_version: claim.metadata.resource_version.clone(),
                field_path: None,
            }),
            local: Some(LocalVolumeSource {
                path: config.path.join(name).display().to_string(),
                fs_type: None,
            }),
            mount_options: class.mount_options.clone(),
            node_affinity: Some(only(HOSTNAME, labels.get(HOSTNAME).unwrap_or(&config.node_name))),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone(),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: Some("Filesystem".into()),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }))
}

/// Whether the class's topologies include a node with these labels.
fn allows(class: &StorageClass, labels: &BTreeMap<String, String>) -> bool {
    let terms = class.allowed_topologies.as_deref().unwrap_or_default();
    terms.is_empty()
        || terms.iter().any(|term| {
            let all = term.match_label_expressions.iter().flatten();
            all.into_iter().all(|r| labels.get(&r.key).is_some_and(|v| r.values.contains(v)))
        })
}

fn only(key: &str, value: &str) -> VolumeNodeAffinity {
    let requirement = NodeSelectorRequirement {
        key: key.to_owned(),
        operator: "In".into(),
        values: Some(vec![value.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![requirement]), match_fields: None };
    VolumeNodeAffinity { required: Some(NodeSelector { node_selector_terms: vec![term] }) }
}

/// The claim without the scheduler's choice, for it to choose again.
pub fn without_node(claim: &PersistentVolumeClaim) -> PersistentVolumeClaim {
    let mut claim = claim.clone();
    if let Some(annotations) = &mut claim.metadata.annotations {
        annotations.remove(SELECTED_NODE);
    }
    claim
}

/// What a volume asks of this node.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing, or nothing of this node.
    None,
    /// Its folder goes, then it does.
    Remove { folder: String },
    /// It is going, and its data stays where it is.
    LetGo,
}

/// What is due of a volume. Only folders right below the configured path are ours to remove.
pub fn end(config: &Config, labels: &BTreeMap<String, String>, volume: &PersistentVolume) -> End {
    let (meta, spec) = (&volume.metadata, volume.spec.as_ref());
    let Some(spec) = spec.filter(|_| annotation(meta, PROVISIONED_BY) == Some(PROVISIONER)) else {
        return End::None;
    };
    let host = labels.get(HOSTNAME).unwrap_or(&config.node_name);
    if spec.node_affinity.as_ref() != Some(&only(HOSTNAME, host)) {
        return End::None;
    }
    let held = meta.finalizers.iter().flatten().any(|f| f == FINALIZER);
    let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
    let going = meta.deletion_timestamp.is_some();
    let folder = spec.local.as_ref().and_then(|l| folder_of(&config.path, &l.path));
    match (spec.persistent_volume_reclaim_policy.as_deref(), folder) {
        // While bound, whoever deleted the volume must wait for the claim.
        (Some("Delete"), Some(folder)) if matches!(phase, "Released" | "Failed") && (held || !going) => {
            End::Remove { folder }
        }
        (Some("Delete"), Some(folder)) if going && held && phase != "Bound" => End::Remove { folder },
        (Some("Delete"), _) => End::None,
        _ if going && held => End::LetGo,
        _ => End::None,
    }
}

fn folder_of(root: &Path, path: &str) -> Option<String> {
    let path = Path::new(path);
    let name = path.file_name()?.to_str()?;
    (path.parent() == Some(root) && name.starts_with("pvc-")).then(|| name.to_owned())
}

/// The volume without our hold on it; `None` where there is none.
pub fn released(volume: &PersistentVolume) -> Option<PersistentVolume> {
    let mut volume = volume.clone();
    let all = volume.metadata.finalizers.as_mut()?;
    let before = all.len();
    all.retain(|f| f != FINALIZER);
    (all.len() < before).then_some(volume)
}
