//! Eviction: deleting a pod as far as its disruption budget allows.
//!
//! A disruption is taken from the budget's status, in one step with reading it, before the pod is deleted; the
//! disruption controller gives it back when the pod does not go after all.

use super::options::{DeleteOptions, Preconditions, WriteOptions};
use super::update::Wanted;
use super::{Endpoint, Request};
use crate::kinds::validate::selector;
use gantry_machinery::disruption;
use gantry_types::gvk::GroupResource;
use gantry_types::k8s_openapi::api::core::v1::PodCondition;
use gantry_types::k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use gantry_types::k8s_openapi::jiff::{SignedDuration, Timestamp};
use gantry_types::{Document, Status, StatusResult, UserInfo};
use gantry_watch_cache::{Filter, ListOptions};
use std::collections::BTreeMap;

const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
const CAUSE: &str = "DisruptionBudget";
/// More evictions than this must not wait for the controller to see them.
const DISRUPTED_MAX: usize = 2000;
/// How often a deletion that lost a race is tried again, and how long between.
const ATTEMPTS: usize = 20;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

fn phase(pod: &Document) -> &str {
    pod.str_at(&["status", "phase"]).unwrap_or_default()
}

/// Whether evicting the pod disrupts nothing: it does not run, or is going anyway.
fn disrupts_nothing(pod: &Document) -> bool {
    pod.deleting() || matches!(phase(pod), "Succeeded" | "Failed" | "Pending")
}

/// Whether the pod may come to life between the look and the deletion.
fn may_change(pod: &Document) -> bool {
    !pod.deleting() && !matches!(phase(pod), "Succeeded" | "Failed")
}

fn is_ready(pod: &Document) -> bool {
    let conditions: Vec<PodCondition> = pod.get_at(&["status", "conditions"]).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether a pod that is not healthy may go without being counted.
fn spares_unhealthy(budget: &PodDisruptionBudget) -> bool {
    let policy = budget.spec.as_ref().and_then(|s| s.unhealthy_pod_eviction_policy.as_deref());
    let status = budget.status.clone().unwrap_or_default();
    let (now, desired) = (status.current_healthy.unwrap_or(0), status.desired_healthy.unwrap_or(0));
    policy == Some("AlwaysAllow") || (now >= desired && desired > 0)
}

/// Not now, but surely soon.
fn still_processed(budget: &str) -> Status {
    let why = format!("The disruption budget {budget} is still being processed by the server.");
    Status::too_many_requests(VIOLATES, 10).add_cause(CAUSE, why, "")
}

fn why_none(name: &str, status: &PodDisruptionBudgetStatus) -> String {
    let (now, desired) = (status.current_healthy.unwrap_or(0), status.desired_healthy.unwrap_or(0));
    let told = disruption::allowed(status).filter(|c| c.status == "False" && !c.message.is_empty());
    match told {
        Some(c) if c.reason == disruption::SYNC_FAILED => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            c.message
        ),
        _ if now <= desired => {
            format!("The disruption budget {name} needs {desired} healthy pods and has {now} currently")
        }
        Some(c) => format!(
            "The disruption budget {name} does not allow evicting pods currently ({}): {}",
            c.reason, c.message
        ),
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

/// The budget's status with one disruption taken for a pod.
fn take(budget: &PodDisruptionBudget, pod: &str, now: Timestamp) -> StatusResult<PodDisruptionBudgetStatus> {
    let name = budget.metadata.name.as_deref().unwrap_or_default();
    let mut status = budget.status.clone().unwrap_or_default();
    let resource = GroupResource::new("policy", "poddisruptionbudget");
    let allowed = status.disruptions_allowed.unwrap_or(0);
    if status.observed_generation.unwrap_or(0) < budget.metadata.generation.unwrap_or(0) {
        return Err(still_processed(name));
    }
    if allowed < 0 {
        return Err(Status::forbidden(&resource, name, "pdb disruptions allowed is negative"));
    }
    if status.disrupted_pods.as_ref().is_some_and(|pods| pods.len() > DISRUPTED_MAX) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(&resource, name, why));
    }
    if allowed == 0 {
        let why = why_none(name, &status);
        return Err(Status::too_many_requests(VIOLATES, 0).add_cause(CAUSE, why, ""));
    }
    status.disruptions_allowed = Some(allowed - 1);
    if allowed == 1 {
        disruption::settle_condition(&mut status, now);
    }
    status.disrupted_pods.get_or_insert_default().insert(pod.to_owned(), Time(now));
    Ok(status)
}

/// The same time to the second, as the API keeps it.
fn whole_seconds(at: Timestamp) -> Timestamp {
    at.checked_sub(SignedDuration::from_nanos(i64::from(at.subsec_nanosecond()))).unwrap_or(at)
}

/// Unset where the client set none.
fn expects_revision(options: &DeleteOptions) -> bool {
    options.preconditions.as_ref().is_some_and(|p| p.resource_version.is_some())
}

fn at_revision(options: &DeleteOptions, revision: &str) -> DeleteOptions {
    let mut options = options.clone();
    options.preconditions.get_or_insert_with(Preconditions::default).resource_version =
        Some(revision.to_owned());
    options
}

impl Endpoint {
    /// `POST pods/<name>/eviction`: takes a disruption from the pod's budget, marks the pod and deletes it.
    /// `budgets` is the endpoint of disruption budgets.
    ///
    /// # Errors
    /// As [`Endpoint::delete`]; 429 where the budget allows no disruption, 500 where several budgets speak of
    /// the pod.
    pub async fn evict(
        &self,
        rq: &mut Request<'_>,
        options: &DeleteOptions,
        budgets: &Endpoint,
    ) -> StatusResult<()> {
        let held = expects_revision(options);
        let mut attempts = 0;
        let pod = loop {
            let Some(present) = self.current(rq.namespace, rq.name, true).await? else {
                return Err(self.not_found(rq.name));
            };
            if !disrupts_nothing(&present.document) {
                break present.document;
            }
            let guarded = may_change(&present.document) && !held;
            let revision = present.object.revision().to_string();
            let narrowed = if guarded { at_revision(options, &revision) } else { options.clone() };
            match self.disrupt(rq, &narrowed).await {
                Err(status) if status.is_conflict() && !held && attempts < ATTEMPTS => {
                    attempts += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        };
        let Some(budget) = self.budget_of(&pod, budgets).await? else {
            return self.disrupt(rq, options).await;
        };
        let name = budget.metadata.name.clone().unwrap_or_default();
        if is_ready(&pod) || !spares_unhealthy(&budget) {
            let dry_run = rq.options.dry_run || options.dry_run();
            budgets.take_disruption(rq, &name, dry_run).await?;
            return self.disrupt(rq, options).await;
        }
        // The pod must not have come to health since.
        match self.disrupt(rq, &at_revision(options, pod.resource_version())).await {
            Err(status) if status.is_conflict() && !held => Err(still_processed(&name)),
            other => other,
        }
    }

    /// The one budget that selects a pod.
    async fn budget_of(
        &self,
        pod: &Document,
        budgets: &Endpoint,
    ) -> StatusResult<Option<PodDisruptionBudget>> {
        let filter = Filter::all(Some(pod.namespace()));
        let listed = budgets.cache.list(&ListOptions { filter, ..ListOptions::default() }).await?;
        let labels: BTreeMap<String, String> = pod.get_at(&["metadata", "labels"]).unwrap_or_default();
        let mut found = Vec::new();
        for object in &listed.items {
            let budget: PodDisruptionBudget = object.typed().map_err(Status::internal)?;
            // Without a selector a budget selects nothing, with an empty one everything.
            let selected = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
            if selected.is_some_and(|s| selector::matches(s, &labels)) {
                found.push(budget);
            }
        }
        if found.len() > 1 {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::failure(500, "", why));
        }
        Ok(found.pop())
    }

    /// On the endpoint of budgets: counts a disruption of a pod, or refuses it.
    async fn take_disruption(&self, rq: &Request<'_>, budget: &str, dry_run: bool) -> StatusResult<()> {
        let user = UserInfo {
            name: "system:apiserver".into(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
            ..UserInfo::default()
        };
        let options =
            WriteOptions { dry_run, field_manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
        let (now, pod) = (whole_seconds(rq.now), rq.name);
        let mut own = Request {
            user: &user,
            namespace: rq.namespace,
            name: budget,
            subresource: "status",
            options: &options,
            now: rq.now,
            warnings: Vec::new(),
        };
        let transform = |old: Option<&Document>| -> StatusResult<Wanted> {
            let mut object = old.cloned().unwrap_or_default();
            let budget: PodDisruptionBudget = object.to_typed().map_err(Status::internal)?;
            object.set_at(&["status"], take(&budget, pod, now)?);
            // Against somebody else's write the transformation runs again, on what that made of the budget.
            Ok(object.into())
        };
        self.update(&mut own, false, &transform).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: &str) -> PodDisruptionBudget {
        let json = format!(r#"{{"metadata":{{"name":"b","generation":2}},"status":{{{status}}}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn budgets_refuse_in_words() {
        let check = |status: &str, code: u16, want: &str| {
            let refused = take(&budget(status), "p", now()).unwrap_err();
            let cause = refused.body().details.as_ref().and_then(|d| d.causes.first());
            let said = cause.map_or(refused.message().to_owned(), |c| c.message.clone());
            assert_eq!((refused.code(), said.as_str()), (code, want));
        };
        check(
            r#""observedGeneration":1"#,
            429,
            "The disruption budget b is still being processed by the server.",
        );
        check(
            r#""observedGeneration":2,"desiredHealthy":2,"currentHealthy":1"#,
            429,
            "The disruption budget b needs 2 healthy pods and has 1 currently",
        );
        check(
            r#""observedGeneration":2,"currentHealthy":1"#,
            429,
            "The disruption budget b does not allow evicting pods currently",
        );
        check(
            r#""observedGeneration":2,"conditions":[{"type":"DisruptionAllowed","status":"False","reason":"SyncFailed","message":"x","lastTransitionTime":"2026-01-01T00:00:00Z"}]"#,
            429,
            "The disruption budget b does not allow evicting pods currently because it failed sync: x",
        );
        check(
            r#""observedGeneration":2,"disruptionsAllowed":-1"#,
            403,
            r#"poddisruptionbudget.policy "b" is forbidden: pdb disruptions allowed is negative"#,
        );
    }

    #[test]
    fn a_disruption_is_taken() {
        let status = take(&budget(r#""observedGeneration":2,"disruptionsAllowed":2"#), "p", now()).unwrap();
        assert_eq!(status.disruptions_allowed, Some(1));
        assert!(status.disrupted_pods.unwrap().contains_key("p") && status.conditions.is_none());
        let last = take(&budget(r#""observedGeneration":2,"disruptionsAllowed":1"#), "p", now()).unwrap();
        assert_eq!(disruption::allowed(&last).unwrap().reason, "InsufficientPods");
    }

    #[test]
    fn unhealthy_pods_go_as_the_policy_says() {
        let check = |policy: Option<&str>, now: i32, desired: i32, want: bool| {
            let mut budget = budget(&format!(r#""currentHealthy":{now},"desiredHealthy":{desired}"#));
            budget.spec.get_or_insert_default().unhealthy_pod_eviction_policy = policy.map(str::to_owned);
            assert_eq!(spares_unhealthy(&budget), want);
        };
        check(None, 1, 1, true);
        check(None, 0, 1, false);
        check(None, 0, 0, false);
        check(Some("IfHealthyBudget"), 2, 1, true);
        check(Some("AlwaysAllow"), 0, 1, true);
    }
}
