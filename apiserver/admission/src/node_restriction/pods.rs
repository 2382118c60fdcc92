//! Pods: a kubelet mirrors its static pods, reports its pods' status, and evicts them.

use super::{NodeRestriction, q, word};
use crate::{forbidden, typed};
use gantry_auth::node::PodRefs;
use gantry_registry::admission::{Operation, Request};
use gantry_types::{Document, Status, StatusResult};
use k8s_openapi::api::core::v1::{Pod, PodExtendedResourceClaimStatus, PodResourceClaimStatus, Volume};
use std::collections::BTreeMap;

const MIRROR: &str = "kubernetes.io/config.mirror";

/// What of the API a pod refers to, which a mirror pod may not; upstream's names for it.
fn api_reference(pod: &Document) -> Result<Option<&'static str>, String> {
    if pod.str_at(&["spec", "serviceAccountName"]).is_some_and(|name| !name.is_empty()) {
        return Ok(Some("serviceaccounts"));
    }
    let refs = PodRefs::named(&pod.to_json()).map_err(|e| e.to_string())?;
    if !refs.secrets.is_empty() {
        return Ok(Some("secrets"));
    }
    if !refs.config_maps.is_empty() {
        return Ok(Some("configmaps"));
    }
    if pod.get_at::<Vec<AnyObject>>(&["spec", "resourceClaims"]).is_some_and(|claims| !claims.is_empty()) {
        return Ok(Some("resourceclaims"));
    }
    for volume in pod.get_at::<Vec<Volume>>(&["spec", "volumes"]).unwrap_or_default() {
        if let Some(found) = volume_reference(&volume)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Any JSON object.
#[derive(serde::Deserialize)]
struct AnyObject {}

fn volume_reference(v: &Volume) -> Result<Option<&'static str>, String> {
    let local = v.aws_elastic_block_store.is_some()
        || v.azure_disk.is_some()
        || v.cephfs.is_some()
        || v.cinder.is_some()
        || v.downward_api.is_some()
        || v.empty_dir.is_some()
        || v.fc.is_some()
        || v.flex_volume.is_some()
        || v.flocker.is_some()
        || v.gce_persistent_disk.is_some()
        || v.git_repo.is_some()
        || v.host_path.is_some()
        || v.image.is_some()
        || v.iscsi.is_some()
        || v.nfs.is_some()
        || v.photon_persistent_disk.is_some()
        || v.portworx_volume.is_some()
        || v.quobyte.is_some()
        || v.rbd.is_some()
        || v.scale_io.is_some()
        || v.storageos.is_some()
        || v.vsphere_volume.is_some();
    if local {
        return Ok(None);
    }
    let named = [
        (v.config_map.is_some(), "configmaps (via configmap volumes)"),
        (v.secret.is_some(), "secrets (via secret volumes)"),
        (v.csi.is_some(), "csidrivers (via CSI volumes)"),
        (v.glusterfs.is_some(), "endpoints (via glusterFS volumes)"),
        (v.persistent_volume_claim.is_some(), "persistentvolumeclaims"),
        (v.ephemeral.is_some(), "persistentvolumeclaims (via ephemeral volumes)"),
        (v.azure_file.is_some(), "secrets (via azureFile volumes)"),
    ];
    if let Some((_, name)) = named.iter().find(|(present, _)| *present) {
        return Ok(Some(name));
    }
    let Some(projected) = &v.projected else {
        return Err(format!("unknown volume type for volume  {}", q(&v.name)));
    };
    for source in projected.sources.iter().flatten() {
        let named = [
            (source.config_map.is_some(), "configmaps (via projected volumes)"),
            (source.secret.is_some(), "secrets (via projected volumes)"),
            (source.service_account_token.is_some(), "serviceaccounts (via projected volumes)"),
            (source.cluster_trust_bundle.is_some(), "clustertrustbundles"),
            (source.pod_certificate.is_some(), "podcertificates"),
        ];
        if let Some((_, name)) = named.iter().find(|(present, _)| *present) {
            return Ok(Some(name));
        }
        if source.downward_api.is_none() {
            return Err(format!("unknown source for projected volume {}", q(&v.name)));
        }
    }
    Ok(None)
}

fn node_of(pod: &Document) -> &str {
    pod.str_at(&["spec", "nodeName"]).unwrap_or_default()
}

impl NodeRestriction {
    pub(super) fn admit_pod(&self, node: &str, request: &Request<'_>) -> StatusResult<()> {
        match (request.subresource, request.operation) {
            ("", Operation::Create) => self.admit_mirror(node, request),
            ("", Operation::Delete) => {
                let pod: Pod = typed(&self.pod(request.namespace, request.name)?)?;
                if pod.spec.and_then(|s| s.node_name).as_deref() == Some(node) {
                    return Ok(());
                }
                let why = format!("node {} can only delete pods with spec.nodeName set to itself", q(node));
                Err(forbidden(request, why))
            }
            ("", operation) => {
                let why = format!(
                    "unexpected operation {}, node {} can only create and delete mirror pods",
                    q(word(operation)),
                    q(node)
                );
                Err(forbidden(request, why))
            }
            ("status", Operation::Update) => admit_status(node, request),
            ("status", operation) => {
                Err(forbidden(request, format_args!("unexpected operation {}", q(word(operation)))))
            }
            ("eviction", Operation::Create) => self.admit_eviction(node, request),
            ("eviction", operation) => {
                Err(forbidden(request, format_args!("unexpected operation {}", word(operation))))
            }
            (other, _) => {
                let why = format!(
                    "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
                    q(other)
                );
                Err(forbidden(request, why))
            }
        }
    }

    fn admit_mirror(&self, node: &str, request: &Request<'_>) -> StatusResult<()> {
        let Some(pod) = request.object.as_deref() else { return Ok(()) };
        let refuse = |why: String| Err(forbidden(request, why));
        let me = q(node);
        if pod.annotation(MIRROR).is_none() {
            return refuse(format!(
                "pod does not have {} annotation, node {me} can only create mirror pods",
                q(MIRROR)
            ));
        }
        if node_of(pod) != node {
            return refuse(format!("node {me} can only create pods with spec.nodeName set to itself"));
        }
        let meta: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta =
            pod.get_at(&["metadata"]).unwrap_or_default();
        let owner = match &meta.owner_references.unwrap_or_default()[..] {
            [one] => one.clone(),
            [] => {
                return refuse(format!(
                    "node {me} can only create pods with an owner reference set to itself"
                ));
            }
            _ => {
                return refuse(format!(
                    "node {me} can only create pods with a single owner reference set to itself"
                ));
            }
        };
        if owner.api_version != "v1" || owner.kind != "Node" || owner.name != node {
            return refuse(format!("node {me} can only create pods with an owner reference set to itself"));
        }
        if owner.controller != Some(true) {
            return refuse(format!(
                "node {me} can only create pods with a controller owner reference set to itself"
            ));
        }
        if owner.block_owner_deletion == Some(true) {
            return refuse(format!("node {me} must not set blockOwnerDeletion on an owner reference"));
        }
        let stored = self.node(node)?;
        if owner.uid != stored.uid() {
            return refuse(format!("node {node} UID mismatch: expected {} got {}", owner.uid, stored.uid()));
        }
        match api_reference(pod) {
            Ok(None) => Ok(()),
            Ok(Some(what)) => refuse(format!("node {me} can not create pods that reference {what}")),
            Err(why) => refuse(format!("error checking mirror pod for API references: {why}")),
        }
    }

    fn admit_eviction(&self, node: &str, request: &Request<'_>) -> StatusResult<()> {
        let own = request.object.as_deref().map(Document::name).unwrap_or_default();
        let name = if request.name.is_empty() { own } else { request.name };
        if name.is_empty() {
            return Err(forbidden(request, "could not determine pod from request data"));
        }
        let pod: Pod = typed(&self.pod(request.namespace, name)?)?;
        if pod.spec.and_then(|s| s.node_name).as_deref() == Some(node) {
            return Ok(());
        }
        let why = format!("node {node} can only evict pods with spec.nodeName set to itself");
        Err(forbidden(request, why))
    }
}

fn admit_status(node: &str, request: &Request<'_>) -> StatusResult<()> {
    let (Some(object), Some(old)) = (request.object.as_deref(), request.old) else {
        return Err(Status::internal("pod status without a pod"));
    };
    let me = q(node);
    if node_of(old) != node {
        let why = format!("node {me} can only update pod status for pods with spec.nodeName set to itself");
        return Err(forbidden(request, why));
    }
    let labels =
        |d: &Document| d.get_at::<BTreeMap<String, String>>(&["metadata", "labels"]).unwrap_or_default();
    if labels(object) != labels(old) {
        return Err(forbidden(request, format_args!("node {me} cannot update labels through pod status")));
    }
    let claims = |d: &Document| {
        let statuses: Vec<PodResourceClaimStatus> =
            d.get_at(&["status", "resourceClaimStatuses"]).unwrap_or_default();
        statuses.into_iter().map(|s| (s.name, s.resource_claim_name)).collect::<Vec<_>>()
    };
    if claims(object) != claims(old) {
        return Err(forbidden(request, format_args!("node {me} cannot update resource claim statues")));
    }
    let extended =
        |d: &Document| d.get_at::<PodExtendedResourceClaimStatus>(&["status", "extendedResourceClaimStatus"]);
    if extended(object) != extended(old) {
        return Err(forbidden(
            request,
            format_args!("node {me} cannot update extended resource claim status"),
        ));
    }
    Ok(())
}
