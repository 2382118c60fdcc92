//! The Node authorizer: a kubelet may touch what its node's pods need, and no more.

mod graph;
mod refs;
#[cfg(test)]
mod tests;

pub use graph::{Graph, Kind};
pub use refs::PodRefs;

use crate::bootstrap;
use crate::follow::{Synced, follow};
use crate::rbac::rule::Request;
use crate::resources::{
    PERSISTENT_VOLUMES, POD_CERTIFICATE_REQUESTS, PODS, RESOURCE_SLICES, VOLUME_ATTACHMENTS,
};
use gantry_types::UserInfo;
use gantry_types::reader::ObjectReader;
use gantry_types::scheme;
use gantry_types::user::{Attributes, Authorizer, Decision};
use k8s_openapi::api::rbac::v1::PolicyRule;
use parking_lot::RwLock;
use std::sync::Arc;

/// The node a user is the kubelet of: `system:node:<name>` in `system:nodes`. The name may be empty: a node
/// that cannot be told.
pub fn identity(user: &UserInfo) -> Option<&str> {
    let name = user.name.strip_prefix("system:node:")?;
    user.in_group("system:nodes").then_some(name)
}

/// The Node authorizer.
pub struct NodeAuthorizer {
    graph: RwLock<Graph>,
    /// What every node may do, whatever runs on it: the rules of the bootstrap role `system:node`.
    rules: Vec<PolicyRule>,
}

impl Default for NodeAuthorizer {
    fn default() -> Self {
        Self { graph: RwLock::default(), rules: bootstrap::node_rules() }
    }
}

/// Whether a selector asks for exactly `field` = `value`, alone or among others.
fn selects(selector: &Option<String>, field: &str, value: &str) -> bool {
    selector.as_deref().unwrap_or_default().split(',').any(|term| {
        let Some((name, wanted)) = term.split_once('=') else { return false };
        // `!=` leaves its mark on the left; `==` on the right.
        name.trim() == field && wanted.strip_prefix('=').unwrap_or(wanted).trim() == value
    })
}

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion { reason: reason.into() }
}

fn yes() -> Decision {
    Decision::Allow { reason: String::new() }
}

impl NodeAuthorizer {
    /// Follows pods, volumes, attachments, and the kinds served of slices and certificate requests. Must be
    /// called inside a tokio runtime.
    pub fn start(reader: &dyn ObjectReader) -> (Arc<Self>, Synced) {
        let this = Arc::new(Self::default());
        let mut resources =
            vec![PODS, PERSISTENT_VOLUMES, VOLUME_ATTACHMENTS, RESOURCE_SLICES, POD_CERTIFICATE_REQUESTS];
        resources.retain(|r| scheme::find_resource(r).is_some());
        let kinds: Vec<Kind> = resources.iter().filter_map(Kind::of).collect();
        let synced = follow(reader, &resources, &this, move |this, i, event| {
            if let Err(error) = this.graph.write().apply(kinds[i], &event) {
                tracing::error!(%error, kind = ?kinds[i], "object not readable by the node authorizer");
            }
        });
        (this, synced)
    }

    /// The graph, for tests and for those who feed it themselves.
    pub fn graph(&self) -> &RwLock<Graph> {
        &self.graph
    }

    fn related(&self, node: &str, kind: Kind, a: &Attributes) -> Decision {
        if a.name.is_empty() {
            return no("No Object name found");
        }
        if self.graph.read().reaches(kind, &a.namespace, &a.name, node) {
            yes()
        } else {
            no(format!("no relationship found between node '{node}' and this object"))
        }
    }

    fn get(&self, node: &str, kind: Kind, a: &Attributes) -> Decision {
        if a.verb != "get" {
            no("can only get individual resources of this type")
        } else if !a.subresource.is_empty() {
            no("cannot get subresource")
        } else {
            self.related(node, kind, a)
        }
    }

    fn read(&self, node: &str, kind: Kind, a: &Attributes) -> Decision {
        if !matches!(&*a.verb, "get" | "list" | "watch") {
            no("can only read resources of this type")
        } else if !a.subresource.is_empty() {
            no("cannot read subresource")
        } else if a.namespace.is_empty() {
            no("can only read namespaced object of this type")
        } else {
            self.related(node, kind, a)
        }
    }

    fn claim(&self, node: &str, a: &Attributes) -> Decision {
        if a.subresource != "status" {
            self.get(node, Kind::Claim, a)
        } else if matches!(&*a.verb, "update" | "patch") {
            self.related(node, Kind::Claim, a)
        } else {
            no("can only get/update/patch this type")
        }
    }

    fn service_account(&self, node: &str, a: &Attributes) -> Decision {
        if a.verb == "get" && a.subresource.is_empty() {
            self.read(node, Kind::ServiceAccount, a)
        } else if a.verb != "create" || a.name.is_empty() {
            no("can only create tokens for individual service accounts")
        } else if a.subresource != "token" {
            no("can only create token subresource of serviceaccount")
        } else {
            self.related(node, Kind::ServiceAccount, a)
        }
    }

    fn slice(&self, node: &str, a: &Attributes) -> Decision {
        if !a.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match &*a.verb {
            "create" => yes(),
            "get" | "update" | "patch" | "delete" => self.related(node, Kind::Slice, a),
            "watch" | "list" | "deletecollection" if selects(&a.field_selector, "spec.nodeName", node) => {
                yes()
            }
            "watch" | "list" | "deletecollection" => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, \
                     patch, delete, deletecollection",
            ),
        }
    }

    fn certificate_request(&self, node: &str, a: &Attributes) -> Decision {
        if !a.subresource.is_empty() {
            return no("nodes may not access the status subresource of PodCertificateRequests");
        }
        match &*a.verb {
            "create" => yes(),
            "get" => self.related(node, Kind::CertificateRequest, a),
            "list" | "watch" if selects(&a.field_selector, "spec.nodeName", node) => yes(),
            "list" | "watch" => no("can only list/watch podcertificaterequests with nodeName field selector"),
            verb => no(format!("nodes may not {verb} podcertificaterequests")),
        }
    }

    fn pod(&self, node: &str, a: &Attributes) -> Decision {
        match (&*a.subresource, &*a.verb) {
            ("", "get") => self.get(node, Kind::Pod, a),
            ("", "list" | "watch") if selects(&a.field_selector, "spec.nodeName", node) => yes(),
            ("", "list" | "watch") if !a.name.is_empty() => self.related(node, Kind::Pod, a),
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => yes(),
            _ => no(""),
        }
    }
}

fn node_object(node: &str, a: &Attributes) -> Decision {
    match (&*a.subresource, &*a.verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => yes(),
        ("", "get" | "list" | "watch") if a.name == node => yes(),
        ("", "get" | "list" | "watch") if a.name.is_empty() => {
            no(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            no(format!("node '{node}' cannot read '{}', only its own Node object", a.name))
        }
        _ => no(""),
    }
}

fn lease(node: &str, a: &Attributes) -> Decision {
    if !matches!(&*a.verb, "get" | "create" | "update" | "patch" | "delete") {
        no("can only get, create, update, patch, or delete a node lease")
    } else if a.namespace != "kube-node-lease" {
        no("can only access leases in the \"kube-node-lease\" system namespace")
    } else if a.verb != "create" && a.name != node {
        no("can only access node lease with the same name as the requesting node")
    } else {
        yes()
    }
}

fn csi_node(node: &str, a: &Attributes) -> Decision {
    if !matches!(&*a.verb, "get" | "create" | "update" | "patch" | "delete") {
        no("can only get, create, update, patch, or delete a CSINode")
    } else if !a.subresource.is_empty() {
        no("cannot authorize CSINode subresources")
    } else if a.verb != "create" && a.name != node {
        no("can only access CSINode with the same name as the requesting node")
    } else {
        yes()
    }
}

impl Authorizer for NodeAuthorizer {
    fn authorize(&self, a: &Attributes) -> Decision {
        let Some(node) = identity(&a.user) else { return no("") };
        if node.is_empty() {
            return no(format!("unknown node for user {}", gantry_types::field::go_quote(&a.user.name)));
        }
        if a.resource_request {
            match (&*a.group, &*a.resource) {
                ("", "secrets") => return self.read(node, Kind::Secret, a),
                ("", "configmaps") => return self.read(node, Kind::ConfigMap, a),
                ("", "persistentvolumeclaims") => return self.claim(node, a),
                ("", "persistentvolumes") => return self.get(node, Kind::Volume, a),
                ("resource.k8s.io", "resourceclaims") => return self.get(node, Kind::ResourceClaim, a),
                ("storage.k8s.io", "volumeattachments") => return self.get(node, Kind::Attachment, a),
                ("", "serviceaccounts") => return self.service_account(node, a),
                ("coordination.k8s.io", "leases") => return lease(node, a),
                ("storage.k8s.io", "csinodes") => return csi_node(node, a),
                ("resource.k8s.io", "resourceslices") => return self.slice(node, a),
                ("", "nodes") => return node_object(node, a),
                ("", "pods") => return self.pod(node, a),
                ("certificates.k8s.io", "podcertificaterequests") => {
                    return self.certificate_request(node, a);
                }
                _ => {}
            }
        }
        let request = Request::of(a);
        if self.rules.iter().any(|rule| request.allowed_by(rule)) { yes() } else { no("") }
    }

    /// Nodes grant nothing: the check is RBAC's.
    fn covers(&self, user: &UserInfo, _namespace: &str, _rules: &[PolicyRule]) -> Result<(), String> {
        Err(format!(
            "user {} holds no permissions that can be granted",
            gantry_types::field::go_quote(&user.name)
        ))
    }
}
