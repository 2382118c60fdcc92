//! What a pod spec may still carry because its stored version did, and what the default gates allow.

use super::{affinity, paths, resources, security, selector, spread};
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::PodSpec;

/// Options of pod spec validation. The default is that of a new pod template under 1.36's default gates.
#[derive(Clone, Copy, Debug, Default)]
pub struct PodOptions {
    /// The spec is a pod's own, not a template's.
    pub is_pod: bool,
    pub allow_invalid_deletion_cost: bool,
    pub allow_invalid_affinity_values: bool,
    pub allow_invalid_node_affinity_values: bool,
    pub allow_invalid_spread_selector: bool,
    pub old_violates_match_label_keys: bool,
    pub allow_indivisible_huge_pages: bool,
    pub allow_non_local_token_path: bool,
    pub allow_host_sysctls: bool,
    pub allow_toleration_comparison: bool,
    pub allow_any_selinux_policy: bool,
    pub allow_user_ns_volume_devices: bool,
    pub allow_user_ns_host_network: bool,
    pub allow_restart_container_on_init: bool,
}

impl PodOptions {
    /// For an update: what the stored spec got away with stays allowed.
    pub fn for_update(old: &PodSpec, old_meta: Option<&ObjectMeta>) -> Self {
        let security = old.security_context.as_ref();
        let no_host_users = old.host_users == Some(false);
        let containers = || old.containers.iter().chain(list(&old.init_containers));
        Self {
            is_pod: false,
            allow_invalid_deletion_cost: old_meta.is_some_and(|m| deletion_cost(m).is_none()),
            allow_invalid_affinity_values: affinity::has_invalid_selectors(old),
            allow_invalid_node_affinity_values: affinity::has_invalid_node_values(old),
            allow_invalid_spread_selector: list(&old.topology_spread_constraints).iter().any(|c| {
                let at = Path::root();
                !selector::label_selector(c.label_selector.as_ref(), selector::Options::default(), &at)
                    .is_empty()
            }),
            old_violates_match_label_keys: spread::violates_match_label_keys(old),
            allow_indivisible_huge_pages: resources::has_indivisible_huge_pages(old),
            allow_non_local_token_path: list(&old.volumes).iter().any(|v| {
                let sources = v.projected.as_ref().map(|p| list(&p.sources)).unwrap_or_default();
                let tokens = sources.iter().filter_map(|s| s.service_account_token.as_ref());
                tokens.into_iter().any(|t| !paths::local_non_reserved(&t.path, &Path::root()).is_empty())
            }),
            allow_host_sysctls: security.is_some_and(|s| {
                list(&s.sysctls).iter().any(|c| security::host_sysctl(&c.name, old, &Path::root()).is_some())
            }),
            allow_toleration_comparison: list(&old.tolerations)
                .iter()
                .any(|t| matches!(text(&t.operator), "Lt" | "Gt")),
            allow_any_selinux_policy: security.is_some_and(|s| s.se_linux_change_policy.is_some()),
            allow_user_ns_volume_devices: no_host_users
                && containers().any(|c| !list(&c.volume_devices).is_empty()),
            allow_user_ns_host_network: no_host_users && flag(old.host_network),
            allow_restart_container_on_init: list(&old.init_containers).iter().any(|c| {
                c.restart_policy.as_deref() != Some("Always")
                    && list(&c.resize_policy).iter().any(|p| p.restart_policy == "RestartContainer")
            }),
        }
    }

    #[must_use]
    pub fn pod(self) -> Self {
        Self { is_pod: true, ..self }
    }
}

/// The pod deletion cost annotation: a 32-bit integer without leading zeros or plus sign, 0 when absent.
/// `None` where the annotation's value is none.
pub fn deletion_cost(meta: &ObjectMeta) -> Option<i32> {
    const KEY: &str = "controller.kubernetes.io/pod-deletion-cost";
    let Some(value) = meta.annotations.as_ref().and_then(|a| a.get(KEY)) else { return Some(0) };
    let sound = value == "0" || value.starts_with(['-', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    if sound { value.parse().ok() } else { None }
}
