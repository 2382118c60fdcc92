//! Who is asking, and may they.
//!
//! Owns: authentication ([`authenticate`]: client certificates, service account and bootstrap tokens, the front
//! proxy's headers, anonymous), issuing and verifying service account tokens and publishing their keys ([`token`]),
//! impersonation ([`impersonate`]), authorization ([`authorize`]: `system:masters`, the Node authorizer in
//! [`node`], RBAC in [`rbac`], their union), the review APIs as functions ([`review`]), and the bootstrap
//! policy ([`bootstrap`]).
//!
//! Tasks: [`rbac::Rbac::start`] and [`node::NodeAuthorizer::start`] each spawn one task per resource they
//! follow through `ObjectReader::subscribe`; nothing polls. Everything else is a synchronous function that
//! answers from memory.
//!
//! Refuses: HTTP and its routing, writing to the store (callers apply what [`bootstrap`] plans), and any
//! request without an identity it can name.

pub mod authenticate;
pub mod authorize;
pub mod bootstrap;
pub mod follow;
pub mod impersonate;
pub mod node;
pub mod rbac;
pub mod review;
pub mod token;

pub use authenticate::{Authenticated, Authenticator, Connection, Unauthenticated};
pub use authorize::{Union, forbidden};

/// The group of everyone with an identity.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everyone without.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The extra of an identity that names the credential it came from.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Resources read here and in admission.
pub mod resources {
    use gantry_types::GroupResource;
    macro_rules! resources {
        ($($name:ident = $group:literal $resource:literal;)*) => {
            $(pub const $name: GroupResource = GroupResource::new($group, $resource);)*
        };
    }
    resources! {
        SERVICE_ACCOUNTS = "" "serviceaccounts";
        SECRETS = "" "secrets";
        CONFIG_MAPS = "" "configmaps";
        PODS = "" "pods";
        NODES = "" "nodes";
        NAMESPACES = "" "namespaces";
        PERSISTENT_VOLUMES = "" "persistentvolumes";
        PERSISTENT_VOLUME_CLAIMS = "" "persistentvolumeclaims";
        VOLUME_ATTACHMENTS = "storage.k8s.io" "volumeattachments";
        CSI_DRIVERS = "storage.k8s.io" "csidrivers";
        RESOURCE_SLICES = "resource.k8s.io" "resourceslices";
        POD_CERTIFICATE_REQUESTS = "certificates.k8s.io" "podcertificaterequests";
        PRIORITY_CLASSES = "scheduling.k8s.io" "priorityclasses";
        ROLES = "rbac.authorization.k8s.io" "roles";
        ROLE_BINDINGS = "rbac.authorization.k8s.io" "rolebindings";
        CLUSTER_ROLES = "rbac.authorization.k8s.io" "clusterroles";
        CLUSTER_ROLE_BINDINGS = "rbac.authorization.k8s.io" "clusterrolebindings";
    }
}

/// A list of strings as Go's `%q` prints one: `["a" "b"]`.
pub(crate) fn go_list<S: AsRef<str>>(items: &[S]) -> String {
    let quoted: Vec<String> = items.iter().map(|s| gantry_types::field::go_quote(s.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}
