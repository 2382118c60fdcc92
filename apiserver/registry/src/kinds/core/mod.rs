//! The core group.

pub mod config_map;
pub mod endpoints;
pub mod equal;
mod go_json;
pub mod limit_range;
pub mod namespace;
pub mod node;
pub mod persistent_volume;
pub mod persistent_volume_claim;
pub mod pod;
pub mod pod_defaults;
mod pod_row;
pub mod pod_template;
pub mod pod_warnings;
pub mod qos;
pub mod replication_controller;
pub mod resource_quota;
pub mod secret;
pub mod service;
pub mod service_account;
mod tls_pair;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "Namespace" => erase(namespace::Namespaces),
        "Service" => erase(service::Services),
        "Endpoints" => erase(endpoints::EndpointsObjects),
        "Node" => erase(node::Nodes),
        "Pod" => erase(pod::Pods),
        "ConfigMap" => erase(config_map::ConfigMaps),
        "PodTemplate" => erase(pod_template::PodTemplates),
        "ReplicationController" => erase(replication_controller::ReplicationControllers),
        "Secret" => erase(secret::Secrets),
        "LimitRange" => erase(limit_range::LimitRanges),
        "ResourceQuota" => erase(resource_quota::ResourceQuotas),
        "ServiceAccount" => erase(service_account::ServiceAccounts),
        "PersistentVolume" => erase(persistent_volume::PersistentVolumes),
        "PersistentVolumeClaim" => erase(persistent_volume_claim::PersistentVolumeClaims),
        _ => return None,
    })
}
