//! Whether a container that ended is started again.

use crate::observed::{PodSeen, RunState};
use crate::pods;
use k8s_openapi::api::core::v1::{Container, Pod};

/// Restart rules first, then the container's own policy, then the pod's.
pub fn after_exit(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    let policy = match &container.restart_policy {
        Some(policy) => {
            let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
            let hit = rules.iter().find(|r| {
                r.exit_codes.as_ref().is_some_and(|e| {
                    let listed = e.values.as_deref().unwrap_or_default().contains(&exit_code);
                    if e.operator == "NotIn" { !listed } else { listed }
                })
            });
            if hit.is_some_and(|r| r.action == "Restart") {
                return true;
            }
            policy.as_str()
        }
        None => pods::restart_policy(pod),
    };
    match policy {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// Whether the container, not running now, is to be started (again).
pub fn wanted(pod: &Pod, container: &Container, seen: &PodSeen) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return false;
    }
    match seen.container(&container.name) {
        None => true,
        Some(c) => match c.state {
            RunState::Running => false,
            RunState::Created | RunState::Unknown => true,
            RunState::Exited => after_exit(pod, container, c.exit_code),
        },
    }
}

/// Whether a container killed for a failed probe comes back.
pub fn after_kill(pod: &Pod, container: &Container) -> bool {
    container.restart_policy.as_deref().unwrap_or(pods::restart_policy(pod)) != "Never"
}
