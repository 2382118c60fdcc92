//! `NodeRestriction`: what a kubelet writes concerns its own node and that node's pods.
//!
//! The Node authorizer decides by names; this plugin looks into the objects.

mod certificates;
mod labels;
mod pods;
mod tokens;

use crate::{forbidden, is, resources};
use async_trait::async_trait;
use gantry_auth::node;
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_types::reader::ObjectReader;
use gantry_types::scheme::Kind;
use gantry_types::user::Authorizer;
use gantry_types::{Document, GroupResource, Object, Status, StatusResult};
use k8s_openapi::api::core::v1::{NodeConfigSource, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use std::sync::Arc;

const LEASES: GroupResource = GroupResource::new("coordination.k8s.io", "leases");
const CSI_NODES: GroupResource = GroupResource::new("storage.k8s.io", "csinodes");
const SIGNING_REQUESTS: GroupResource =
    GroupResource::new("certificates.k8s.io", "certificatesigningrequests");

pub struct NodeRestriction {
    reader: Arc<dyn ObjectReader>,
    authorizer: Arc<dyn Authorizer>,
}

/// An operation as upstream prints one.
fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

fn q(text: &str) -> String {
    gantry_types::field::go_quote(text)
}

impl NodeRestriction {
    pub const NAME: &str = "NodeRestriction";

    pub fn new(reader: Arc<dyn ObjectReader>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { reader, authorizer }
    }

    fn pod(&self, namespace: &str, name: &str) -> StatusResult<Object> {
        let missing = || Status::not_found(&GroupResource::new("", "pod"), name);
        self.reader.get(&resources::PODS, namespace, name).ok_or_else(missing)
    }

    fn node(&self, name: &str) -> StatusResult<Object> {
        let missing = || Status::not_found(&GroupResource::new("", "node"), name);
        self.reader.get(&resources::NODES, "", name).ok_or_else(missing)
    }

    fn admit(&self, node: &str, request: &Request<'_>) -> StatusResult<()> {
        let kind = request.kind;
        if is(kind, &resources::PODS) {
            self.admit_pod(node, request)
        } else if is(kind, &resources::NODES) {
            admit_node(node, request)
        } else if is(kind, &resources::PERSISTENT_VOLUME_CLAIMS) {
            admit_claim(node, request)
        } else if is(kind, &resources::SERVICE_ACCOUNTS) {
            self.admit_token(node, request)
        } else if is(kind, &resources::POD_CERTIFICATE_REQUESTS) {
            self.admit_pod_certificate(node, request)
        } else if is(kind, &LEASES) {
            if request.namespace != "kube-node-lease" {
                let why = "can only access leases in the \"kube-node-lease\" system namespace";
                return Err(forbidden(request, why));
            }
            own_name(node, request, "can only access node lease with the same name as the requesting node")
        } else if is(kind, &CSI_NODES) {
            own_name(node, request, "can only access CSINode with the same name as the requesting node")
        } else if is(kind, &resources::RESOURCE_SLICES) {
            admit_slice(node, request)
        } else if is(kind, &SIGNING_REQUESTS) {
            certificates::admit_signing_request(node, request)
        } else {
            Ok(())
        }
    }
}

fn own_name(node: &str, request: &Request<'_>, why: &str) -> StatusResult<()> {
    let name = match (request.operation, request.object.as_deref()) {
        (Operation::Create, Some(object)) => object.name(),
        _ => request.name,
    };
    if name == node { Ok(()) } else { Err(forbidden(request, why)) }
}

fn admit_node(node: &str, request: &Request<'_>) -> StatusResult<()> {
    let name = match request.object.as_deref() {
        Some(object) if request.name.is_empty() => object.name(),
        _ => request.name,
    };
    if name != node {
        let why = format!("node {} is not allowed to modify node {}", q(node), q(name));
        return Err(forbidden(request, why));
    }
    let Some(object) = request.object.as_deref() else { return Ok(()) };
    let source = |d: &Document| d.get_at::<NodeConfigSource>(&["spec", "configSource"]);
    match (request.operation, request.old) {
        (Operation::Create, _) => {
            if source(object).is_some() {
                let why =
                    format!("node {} is not allowed to create pods with a non-nil configSource", q(node));
                return Err(forbidden(request, why));
            }
            let refused = labels::forbidden(object, None);
            if !refused.is_empty() {
                let list = refused.join(", ");
                let why = format!("node {} is not allowed to set the following labels: {list}", q(node));
                return Err(forbidden(request, why));
            }
        }
        (Operation::Update, Some(old)) => {
            if source(object).is_some() && source(object) != source(old) {
                let why = format!(
                    "node {} is not allowed to update configSource to a new non-nil configSource",
                    q(node)
                );
                return Err(forbidden(request, why));
            }
            let taints = |d: &Document| d.get_at::<Vec<Taint>>(&["spec", "taints"]).unwrap_or_default();
            if taints(object) != taints(old) {
                return Err(forbidden(request, format!("node {} is not allowed to modify taints", q(node))));
            }
            let owners = |d: &Document| {
                d.get_at::<Vec<OwnerReference>>(&["metadata", "ownerReferences"]).unwrap_or_default()
            };
            if owners(object) != owners(old) {
                let why = format!("node {} is not allowed to modify ownerReferences", q(node));
                return Err(forbidden(request, why));
            }
            let refused = labels::forbidden(object, Some(old));
            if !refused.is_empty() {
                let why = format!("is not allowed to modify labels: {}", refused.join(", "));
                return Err(forbidden(request, why));
            }
        }
        _ => {}
    }
    Ok(())
}

fn admit_claim(node: &str, request: &Request<'_>) -> StatusResult<()> {
    if request.subresource != "status" {
        return Err(forbidden(request, "may only update PVC status"));
    }
    let (Operation::Update, Some(object), Some(old)) =
        (request.operation, request.object.as_deref(), request.old)
    else {
        return Err(forbidden(request, format_args!("unexpected operation {}", q(word(request.operation)))));
    };
    // What a kubelet may report after growing a volume, and what the server itself keeps.
    let rest = |document: &Document| {
        let mut rest = document.clone();
        rest.remove_at(&["metadata", "resourceVersion"]);
        rest.remove_at(&["metadata", "managedFields"]);
        for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
            rest.remove_at(&["status", field]);
        }
        rest
    };
    if rest(object) != rest(old) {
        let why = format!(
            "node {} is not allowed to update fields other than status.quantity and status.conditions",
            q(node)
        );
        return Err(forbidden(request, why));
    }
    Ok(())
}

fn admit_slice(node: &str, request: &Request<'_>) -> StatusResult<()> {
    let (object, why) = match request.operation {
        Operation::Create => (
            request.object.as_deref(),
            "can only create ResourceSlice with the same NodeName as the requesting node",
        ),
        Operation::Delete => {
            (request.old, "can only delete ResourceSlice with the same NodeName as the requesting node")
        }
        _ => return Ok(()),
    };
    let own = object.is_some_and(|slice| slice.str_at(&["spec", "nodeName"]) == Some(node));
    if own { Ok(()) } else { Err(forbidden(request, why)) }
}

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, _subresource: &str, operation: Operation) -> bool {
        operation != Operation::Connect
            && [
                resources::PODS,
                resources::NODES,
                resources::PERSISTENT_VOLUME_CLAIMS,
                resources::SERVICE_ACCOUNTS,
                resources::POD_CERTIFICATE_REQUESTS,
                resources::RESOURCE_SLICES,
                LEASES,
                CSI_NODES,
                SIGNING_REQUESTS,
            ]
            .iter()
            .any(|resource| is(kind, resource))
    }

    async fn mutate(&self, request: &mut Request<'_>) -> StatusResult<()> {
        match node::identity(request.user) {
            None => Ok(()),
            Some("") => {
                let user = q(&request.user.name);
                Err(forbidden(request, format_args!("could not determine node from user {user}")))
            }
            Some(node) => self.admit(node, request),
        }
    }
}
