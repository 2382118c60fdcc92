//! What failures and successes mean where the job has policies on them.

use super::index::Indexes;
use super::spec::{self, Spec};
use k8s_openapi::api::batch::v1::{PodFailurePolicyOnExitCodesRequirement, SuccessPolicy};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// What a failed pod does to its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Counted against the back-off limit. The default.
    Count,
    Ignore,
    FailIndex,
    FailJob(String),
}

/// Judges a failed pod by the first rule that matches it.
pub(super) fn judge(spec: Spec<'_>, pod: &Pod) -> Verdict {
    let Some(policy) = &spec.0.pod_failure_policy else { return Verdict::Count };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let name = pod.metadata.name.as_deref().unwrap_or("");
    for (number, rule) in policy.rules.iter().enumerate() {
        let action = rule.action.as_str();
        let words = if let Some(wanted) = &rule.on_exit_codes {
            exited(pod, wanted).map(|(container, code)| {
                format!(
                    "Container {container} for pod {namespace}/{name} failed with exit code {code} \
                     matching {action} rule at index {number}"
                )
            })
        } else if let Some(patterns) = &rule.on_pod_conditions {
            let listed = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
            let wanted = |c: &&k8s_openapi::api::core::v1::PodCondition| {
                patterns
                    .iter()
                    .any(|p| p.type_ == c.type_ && p.status.as_deref().unwrap_or("True") == c.status)
            };
            listed.into_iter().find(wanted).map(|c| {
                format!(
                    "Pod {namespace}/{name} has condition {} matching {action} rule at index {number}",
                    c.type_
                )
            })
        } else {
            None
        };
        let Some(words) = words else { continue };
        match action {
            "Ignore" => return Verdict::Ignore,
            "FailIndex" => return Verdict::FailIndex,
            "Count" => return Verdict::Count,
            "FailJob" => return Verdict::FailJob(words),
            // An action of a later release: this rule says nothing.
            _ => {}
        }
    }
    Verdict::Count
}

/// The first ended container with a failing exit code that the requirement names.
fn exited<'a>(pod: &'a Pod, wanted: &PodFailurePolicyOnExitCodesRequirement) -> Option<(&'a str, i32)> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses];
    lists.into_iter().flatten().flatten().find_map(|container: &ContainerStatus| {
        let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
        let named = wanted.container_name.as_ref().is_none_or(|n| *n == container.name);
        let listed = wanted.values.contains(&code);
        let matching = match wanted.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        (named && code != 0 && matching).then_some((container.name.as_str(), code))
    })
}

/// Whether a pod's failure is its index's last.
pub(super) fn fails_index(spec: Spec<'_>, pod: &Pod) -> bool {
    if !spec.failed(pod) {
        return false;
    }
    let limit = spec.0.backoff_limit_per_index.unwrap_or(i32::MAX);
    match judge(spec, pod) {
        Verdict::FailIndex => true,
        Verdict::Ignore => false,
        Verdict::Count | Verdict::FailJob(_) => spec::index_failures(pod) >= limit,
    }
}

/// The words of the success policy's first rule that is met.
pub(super) fn success(
    policy: Option<&SuccessPolicy>,
    succeeded: &Indexes,
    completions: u32,
) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let reached = |count: Option<i32>, found: u32| count.is_some_and(|c| i64::from(found) >= i64::from(c));
    let met = policy?.rules.iter().position(|rule| match &rule.succeeded_indexes {
        Some(text) => {
            let required = Indexes::parse(text, completions);
            let found = required.common(succeeded);
            !required.is_empty() && (found == required.total() || reached(rule.succeeded_count, found))
        }
        None => reached(rule.succeeded_count, succeeded.total()),
    })?;
    Some(format!("Matched rules at index {met}"))
}
