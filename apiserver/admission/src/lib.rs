//! Mutating and validating admission plugins.
//!
//! Owns: the built-in plugins, one file each, and the chain of them in upstream's order ([`default_chain`]).
//! No tasks, no channels: a plugin reads through `ObjectReader` and decides. The only waits are upstream's own
//! short ones for a namespace or default service account that was made a moment ago.
//!
//! Refuses: the store, and calls out of the process (webhooks live elsewhere).

mod certificates;
mod configuration;
mod lifecycle;
mod limit_ranger;
mod names;
mod node_restriction;
mod node_taint;
mod priority;
mod quota;
mod runtime_class;
mod service_account;
mod storage;
mod tolerations;

#[cfg(test)]
mod tests;

use gantry_auth::resources;
use gantry_registry::admission::{Chain, Plugin, Request};
use gantry_types::reader::ObjectReader;
use gantry_types::user::Authorizer;
use gantry_types::{GroupResource, Object, Status, StatusResult};
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;

pub use certificates::{CertificateApproval, CertificateSigning, CertificateSubjectRestriction};
pub use configuration::{Configuration, ConfigurationError};
pub use lifecycle::NamespaceLifecycle;
pub use limit_ranger::LimitRanger;
pub use names::{UnknownPlugin, absent, check_names};
pub use node_restriction::NodeRestriction;
pub use node_taint::TaintNodesByCondition;
pub use priority::Priority;
pub use quota::{QuotaStore, RegistryQuotas, ResourceQuota};
pub use runtime_class::RuntimeClass;
pub use service_account::ServiceAccount;
pub use storage::{DefaultStorageClass, PersistentVolumeClaimResize, StorageObjectInUseProtection};
pub use tolerations::DefaultTolerationSeconds;

/// What plugins are built from.
#[derive(Clone)]
pub struct Deps {
    pub reader: Arc<dyn ObjectReader>,
    pub authorizer: Arc<dyn Authorizer>,
    /// `--default-not-ready-toleration-seconds`, 300 by default.
    pub not_ready_toleration_seconds: i64,
    /// `--default-unreachable-toleration-seconds`, 300 by default.
    pub unreachable_toleration_seconds: i64,
    /// Where quotas keep what is used; without it none are enforced.
    pub quotas: Option<Arc<dyn QuotaStore>>,
    /// `--admission-control-config-file`.
    pub configuration: Configuration,
}

/// Every plugin built in, in upstream's order, with whether it is on by default.
pub const PLUGINS: &[(&str, bool)] = &[
    (NamespaceLifecycle::NAME, true),
    (LimitRanger::NAME, true),
    (ServiceAccount::NAME, true),
    (NodeRestriction::NAME, false),
    (TaintNodesByCondition::NAME, true),
    (Priority::NAME, true),
    (DefaultTolerationSeconds::NAME, true),
    (DefaultStorageClass::NAME, true),
    (StorageObjectInUseProtection::NAME, true),
    (PersistentVolumeClaimResize::NAME, true),
    (RuntimeClass::NAME, true),
    (CertificateApproval::NAME, true),
    (CertificateSigning::NAME, true),
    (CertificateSubjectRestriction::NAME, true),
    (ResourceQuota::NAME, true),
];

fn build(name: &str, deps: &Deps) -> Option<Box<dyn Plugin>> {
    let reader = deps.reader.clone();
    Some(match name {
        NamespaceLifecycle::NAME => Box::new(NamespaceLifecycle::new(reader)),
        LimitRanger::NAME => Box::new(LimitRanger::new(reader)),
        ServiceAccount::NAME => Box::new(ServiceAccount::new(reader)),
        NodeRestriction::NAME => Box::new(NodeRestriction::new(reader, deps.authorizer.clone())),
        TaintNodesByCondition::NAME => Box::new(TaintNodesByCondition),
        Priority::NAME => Box::new(Priority::new(reader)),
        DefaultTolerationSeconds::NAME => Box::new(DefaultTolerationSeconds::new(
            deps.not_ready_toleration_seconds,
            deps.unreachable_toleration_seconds,
        )),
        DefaultStorageClass::NAME => Box::new(DefaultStorageClass::new(reader)),
        StorageObjectInUseProtection::NAME => Box::new(StorageObjectInUseProtection),
        PersistentVolumeClaimResize::NAME => Box::new(PersistentVolumeClaimResize::new(reader)),
        RuntimeClass::NAME => Box::new(RuntimeClass::new(reader)),
        CertificateApproval::NAME => Box::new(CertificateApproval(deps.authorizer.clone())),
        CertificateSigning::NAME => Box::new(CertificateSigning(deps.authorizer.clone())),
        CertificateSubjectRestriction::NAME => Box::new(CertificateSubjectRestriction),
        ResourceQuota::NAME => {
            Box::new(ResourceQuota::new(reader, deps.quotas.clone()?, deps.configuration.limited.clone()))
        }
        _ => return None,
    })
}

/// The chain of the plugins that are on by default or named in `enable`
/// (`--enable-admission-plugins`) and not named in `disable` (`--disable-admission-plugins`), in upstream's
/// order whatever the order of the lists.
pub fn default_chain(deps: &Deps, enable: &[String], disable: &[String]) -> Chain {
    let named = |list: &[String], name: &str| list.iter().any(|n| n == name);
    let on = |(name, default): &&(&str, bool)| (*default || named(enable, name)) && !named(disable, name);
    Chain::new(PLUGINS.iter().filter(on).filter_map(|(name, _)| build(name, deps)).collect())
}

/// The 403 of a plugin: names the object as the request does.
fn forbidden(request: &Request<'_>, why: impl fmt::Display) -> Status {
    let own = request.object.as_deref().map(|object| match object.name() {
        "" => object.meta_str("generateName"),
        name => name,
    });
    let name = [request.name, own.unwrap_or_default()].into_iter().find(|name| !name.is_empty());
    Status::forbidden(&request.kind.group_resource(), name.unwrap_or("Unknown"), why)
}

/// Whether a request is about this resource.
fn is(kind: &gantry_types::scheme::Kind, resource: &GroupResource) -> bool {
    kind.plural == resource.resource && kind.group == resource.group
}

/// An object read and typed.
fn typed<K: DeserializeOwned>(object: &Object) -> StatusResult<K> {
    object.typed().map_err(Status::internal)
}
