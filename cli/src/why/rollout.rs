//! Why a Deployment, StatefulSet, DaemonSet or ReplicaSet does not get on.

use super::finding::{Finding, Verdict, count, names};
use super::read::newest;
use super::refusal;
use super::service::{has_ended, is_ready};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, DeploymentCondition, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

const REVISION: &str = "deployment.kubernetes.io/revision";
pub const HASH: &str = "pod-template-hash";
pub const CONTROLLER_REVISION: &str = "controller-revision-hash";

/// What surrounds a workload.
pub struct Around<'a> {
    /// Its pods.
    pub pods: &'a [Pod],
    /// Its own, and those of the ReplicaSet being rolled out, oldest first.
    pub events: &'a [Event],
    /// Budgets over its pods.
    pub budgets: &'a [PodDisruptionBudget],
    /// What is wrong with the worst of its pods.
    pub worst: Option<(String, Vec<Finding>)>,
}

fn text(s: &Option<String>) -> &str {
    s.as_deref().unwrap_or_default()
}

/// A pod's label.
pub fn label<'p>(pod: &'p Pod, key: &str) -> &'p str {
    pod.metadata.labels.as_ref().and_then(|l| l.get(key)).map_or("", String::as_str)
}

/// Whether an object is controlled by another.
pub fn owned(meta: &ObjectMeta, uid: &str) -> bool {
    meta.owner_references.iter().flatten().any(|o| o.controller == Some(true) && o.uid == uid)
}

/// The pod to look at: one that is not ready, of the wanted revision rather, that does not go already, the
/// longest there.
pub fn worst(pods: &[Pod], wanted: impl Fn(&Pod) -> bool) -> Option<&Pod> {
    let bad =
        pods.iter().filter(|p| !is_ready(p) && (!has_ended(p) || p.metadata.deletion_timestamp.is_some()));
    bad.min_by_key(|p| {
        let going = p.metadata.deletion_timestamp.is_some();
        (going, !wanted(p), p.metadata.creation_timestamp.as_ref().map(|t| t.0), p.metadata.name.clone())
    })
}

/// The newest ReplicaSet of a Deployment.
pub fn newest_set(sets: &[ReplicaSet]) -> Option<&ReplicaSet> {
    let revision = |r: &ReplicaSet| {
        let text = r.metadata.annotations.as_ref().and_then(|a| a.get(REVISION));
        text.and_then(|t| t.parse::<i64>().ok()).unwrap_or(0)
    };
    sets.iter().max_by_key(|r| revision(r))
}

fn unseen(meta: &ObjectMeta, observed: Option<i64>) -> Option<Finding> {
    let (now, observed) = (meta.generation?, observed.unwrap_or(0));
    (observed < now).then(|| {
        Finding::new("its controller has not seen its newest spec")
            .seen(format!("generation {now}, observed {observed}"))
            .change("the controller manager must run, and lead")
    })
}

impl Around<'_> {
    /// The refusal of pods a controller last met.
    fn refused(&self) -> Option<Finding> {
        let event = newest(self.events, &["FailedCreate"], "")?;
        Some(refusal::read(text(&event.message)))
    }

    fn worst(&self) -> Option<Finding> {
        let (pod, findings) = self.worst.as_ref()?;
        let unready = self.pods.iter().filter(|p| !is_ready(p) && !has_ended(p)).count();
        let mut out = Finding::new(format!("{} not ready; the worst is {pod}", count(unready, "pod")));
        for b in self.budgets {
            if b.status.as_ref().and_then(|s| s.disruptions_allowed) == Some(0) {
                let name = text(&b.metadata.name);
                out = out.seen(format!(
                    "PodDisruptionBudget {name} allows no eviction now (drains wait; rollouts do not)"
                ));
            }
        }
        Some(out.because(findings.clone()))
    }

    /// What holds pods up: refusals, then the worst pod.
    fn obstacles(&self, refused: Option<Finding>) -> Vec<Finding> {
        refused.or_else(|| self.refused()).into_iter().chain(self.worst()).collect()
    }
}

fn waiting(found: &[Finding]) -> Option<Finding> {
    found.is_empty().then(|| {
        Finding::new("it is under way").change("wait; where it lasts, see the controller manager's log")
    })
}

pub fn deployment(d: &Deployment, sets: &[ReplicaSet], around: &Around<'_>) -> Verdict {
    let (spec, status) = (d.spec.clone().unwrap_or_default(), d.status.clone().unwrap_or_default());
    let wanted = spec.replicas.unwrap_or(1);
    let (updated, available) = (status.updated_replicas.unwrap_or(0), status.available_replicas.unwrap_or(0));
    let revision = d.metadata.annotations.as_ref().and_then(|a| a.get(REVISION)).map_or("?", String::as_str);
    let state = format!("revision {revision}: {updated} of {wanted} updated, {available} available");
    if let Some(found) = unseen(&d.metadata, status.observed_generation) {
        return Verdict::new(state, vec![found]);
    }
    let condition = |kind: &str, is: &str| {
        status.conditions.iter().flatten().find(|c: &&DeploymentCondition| c.type_ == kind && c.status == is)
    };
    let complete = updated >= wanted && available >= wanted && status.replicas.unwrap_or(0) <= wanted;
    let mut out = Vec::new();
    if spec.paused == Some(true) {
        let name = text(&d.metadata.name);
        out.push(
            Finding::new("it is paused: changes of its template are not rolled out")
                .seen("spec.paused is true")
                .change(format!("kctl rollout resume deployment/{name}")),
        );
    }
    if complete {
        return Verdict::new(state, out);
    }
    let of_set = newest_set(sets).and_then(|r| r.status.as_ref()?.conditions.as_ref());
    let of_set = of_set.and_then(|c| c.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True"));
    let failure = condition("ReplicaFailure", "True").map(|c| text(&c.message));
    let refused = failure.or_else(|| of_set.map(|c| text(&c.message))).map(refusal::read);
    let mut inner = around.obstacles(refused);
    let extra = status.replicas.unwrap_or(0) - updated;
    if updated >= wanted && extra > 0 && inner.is_empty() {
        inner.push(
            Finding::new(format!(
                "{} of older revisions are still to go",
                count(usize::try_from(extra).unwrap_or(0), "pod")
            ))
            .change("wait until they have ended (terminationGracePeriodSeconds, finalizers)"),
        );
    }
    if let Some(c) =
        condition("Progressing", "False").filter(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded"))
    {
        let limit = spec.progress_deadline_seconds.unwrap_or(600);
        out.push(
            Finding::new(format!("it has made no progress for {limit}s"))
                .seen(text(&c.message))
                .change(format!(
                    "mend what is below, or go back: kctl rollout undo deployment/{}",
                    text(&d.metadata.name)
                ))
                .because(inner),
        );
    } else {
        out.extend(inner);
        out.extend(waiting(&out));
    }
    Verdict::new(state, out)
}

pub fn replica_set(r: &ReplicaSet, around: &Around<'_>) -> Verdict {
    let wanted = r.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let status = r.status.clone().unwrap_or_default();
    let available = status.available_replicas.unwrap_or(0);
    let state = format!("{} of {wanted} there, {available} available", status.replicas);
    if let Some(found) = unseen(&r.metadata, status.observed_generation) {
        return Verdict::new(state, vec![found]);
    }
    if available >= wanted {
        return Verdict::new(state, Vec::new());
    }
    let failure =
        status.conditions.iter().flatten().find(|c| c.type_ == "ReplicaFailure" && c.status == "True");
    let mut out = around.obstacles(failure.map(|c| refusal::read(text(&c.message))));
    out.extend(waiting(&out));
    Verdict::new(state, out)
}

pub fn stateful_set(s: &StatefulSet, around: &Around<'_>) -> Verdict {
    let (spec, status) = (s.spec.clone().unwrap_or_default(), s.status.clone().unwrap_or_default());
    let wanted = spec.replicas.unwrap_or(1);
    let (target, ready) = (text(&status.update_revision), status.ready_replicas.unwrap_or(0));
    let updated = around.pods.iter().filter(|p| label(p, CONTROLLER_REVISION) == target).count();
    let state = format!("revision {target}: {updated} of {wanted} updated, {ready} ready");
    if let Some(found) = unseen(&s.metadata, status.observed_generation) {
        return Verdict::new(state, vec![found]);
    }
    let mut out = Vec::new();
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    let old = || around.pods.iter().filter(|p| label(p, CONTROLLER_REVISION) != target);
    let partition = strategy.rolling_update.as_ref().and_then(|r| r.partition).unwrap_or(0);
    let outdated: Vec<&str> = old().map(|p| text(&p.metadata.name)).collect();
    if strategy.type_.as_deref() == Some("OnDelete") && !outdated.is_empty() {
        out.push(on_delete(&outdated));
    } else if partition > 0 && !outdated.is_empty() {
        out.push(
            Finding::new(format!("pods of an ordinal below {partition} keep the older revision"))
                .seen(format!(
                    "spec.updateStrategy.rollingUpdate.partition is {partition}; {}",
                    names(&outdated)
                ))
                .change("lower the partition (0 for all)"),
        );
    }
    let made = i32::try_from(around.pods.len()).unwrap_or(i32::MAX);
    let behind = outdated.len() > usize::try_from(partition).unwrap_or(0) && out.is_empty();
    if ready >= wanted && made >= wanted && !behind {
        return Verdict::new(state, out);
    }
    let mut inner = around.obstacles(None);
    let ordered = spec.pod_management_policy.as_deref() != Some("Parallel");
    if ordered
        && let Some((pod, _)) = &around.worst
        && let Some(last) = inner.last_mut()
    {
        *last = last
            .clone()
            .seen("pods come one after the other (podManagementPolicy OrderedReady): those after it wait");
        let stuck = around.pods.iter().find(|p| format!("pod/{}", text(&p.metadata.name)) == *pod);
        if stuck.is_some_and(|p| label(p, CONTROLLER_REVISION) != target) && !target.is_empty() {
            let name = pod.trim_start_matches("pod/");
            *last = last.clone().change(format!(
                "it is of an older revision, and not replaced while it is not ready: kctl delete pod {name}"
            ));
        }
    }
    out.extend(inner);
    out.extend(waiting(&out));
    Verdict::new(state, out)
}

fn on_delete(outdated: &[&str]) -> Finding {
    Finding::new(format!("older revisions stay until they are deleted: {}", count(outdated.len(), "pod")))
        .seen(format!("spec.updateStrategy.type is OnDelete; {}", names(outdated)))
        .change("delete these pods, or use RollingUpdate")
}

pub fn daemon_set(d: &DaemonSet, revision: &str, around: &Around<'_>) -> Verdict {
    let (spec, status) = (d.spec.clone().unwrap_or_default(), d.status.clone().unwrap_or_default());
    let wanted = status.desired_number_scheduled;
    let (updated, available) =
        (status.updated_number_scheduled.unwrap_or(0), status.number_available.unwrap_or(0));
    let state = format!("{updated} of {wanted} updated, {available} available");
    if let Some(found) = unseen(&d.metadata, status.observed_generation) {
        return Verdict::new(state, vec![found]);
    }
    let mut out = Vec::new();
    if wanted == 0 {
        out.push(
            Finding::new("no node is to run it")
                .change("mend the template's nodeSelector, affinity and tolerations, or label a node"),
        );
    }
    if status.number_misscheduled > 0 {
        let n = usize::try_from(status.number_misscheduled).unwrap_or(0);
        out.push(
            Finding::new(format!("{} on nodes that should not run it", count(n, "pod")))
                .change("wait: they are removed; else see the controller manager's log"),
        );
    }
    let kind = spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref());
    if kind == Some("OnDelete") && updated < wanted && !revision.is_empty() {
        let old = around.pods.iter().filter(|p| label(p, CONTROLLER_REVISION) != revision);
        out.push(on_delete(&old.map(|p| text(&p.metadata.name)).collect::<Vec<_>>()));
    } else if updated < wanted || available < wanted {
        out.extend(around.obstacles(None));
        out.extend(waiting(&out));
        return Verdict::new(state, out);
    }
    if available < wanted {
        out.extend(around.obstacles(None));
    }
    Verdict::new(state, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pods(list: &[(&str, &str, &str)]) -> Vec<Pod> {
        let one = |(name, revision, ready): &(&str, &str, &str)| {
            json!({"metadata": {"name": name, "labels": {"controller-revision-hash": revision}},
                   "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}})
        };
        serde_json::from_value(Value::Array(list.iter().map(one).collect())).unwrap()
    }

    fn around<'a>(pods: &'a [Pod], events: &'a [Event]) -> Around<'a> {
        let name = worst(pods, |_| true).map(|p| format!("pod/{}", text(&p.metadata.name)));
        Around { pods, events, budgets: &[], worst: name.map(|n| (n, vec![Finding::new("w").change("c")])) }
    }

    fn compare(got: &Verdict, state: &str, causes: &[&str]) {
        let told: Vec<&str> = got.findings.iter().map(|f| f.cause.as_str()).collect();
        assert_eq!((got.state.as_str(), told.as_slice()), (state, causes));
    }

    #[test]
    fn deployments_that_do_not_get_on() {
        let check = |spec: Value, status: Value, unready: bool, state: &str, causes: &[&str]| {
            let d: Deployment = serde_json::from_value(json!({"metadata": {"name": "d", "generation": 2,
                "annotations": {"deployment.kubernetes.io/revision": "3"}}, "spec": spec, "status": status}))
            .unwrap();
            let pods = if unready { pods(&[("p", "", "False")]) } else { Vec::new() };
            compare(&deployment(&d, &[], &around(&pods, &[])), state, causes);
        };
        let spec = |more: Value| {
            let mut out = json!({"replicas": 2, "selector": {}, "template": {}});
            for (k, v) in more.as_object().unwrap() {
                out[k] = v.clone();
            }
            out
        };
        let status = |updated: i32, available: i32, conditions: Value| {
            json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": updated,
                   "availableReplicas": available, "conditions": conditions})
        };
        check(
            spec(json!({})),
            status(2, 2, json!([])),
            false,
            "revision 3: 2 of 2 updated, 2 available",
            &[],
        );
        check(
            spec(json!({})),
            json!({"observedGeneration": 1}),
            false,
            "revision 3: 0 of 2 updated, 0 available",
            &["its controller has not seen its newest spec"],
        );
        check(
            spec(json!({"paused": true})),
            status(2, 2, json!([])),
            false,
            "revision 3: 2 of 2 updated, 2 available",
            &["it is paused: changes of its template are not rolled out"],
        );
        let quota = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"}]);
        check(
            spec(json!({})),
            status(1, 1, quota),
            false,
            "revision 3: 1 of 2 updated, 1 available",
            &["the ResourceQuota q allows no more"],
        );
        let late = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "m"}]);
        check(
            spec(json!({})),
            status(1, 1, late),
            true,
            "revision 3: 1 of 2 updated, 1 available",
            &["it has made no progress for 600s"],
        );
        check(
            spec(json!({})),
            status(1, 1, json!([])),
            true,
            "revision 3: 1 of 2 updated, 1 available",
            &["1 pod not ready; the worst is pod/p"],
        );
        check(
            spec(json!({})),
            status(1, 1, json!([])),
            false,
            "revision 3: 1 of 2 updated, 1 available",
            &["it is under way"],
        );
    }

    #[test]
    fn stateful_sets_that_do_not_get_on() {
        let check = |strategy: Value,
                     list: &[(&str, &str, &str)],
                     state: &str,
                     causes: &[&str],
                     telling: &str| {
            let ready = list.iter().filter(|(_, _, r)| *r == "True").count();
            let s: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "s"},
                "spec": {"replicas": 2, "selector": {}, "template": {}, "serviceName": "s", "updateStrategy": strategy},
                "status": {"replicas": 2, "readyReplicas": ready, "updateRevision": "b"}}))
            .unwrap();
            let pods = pods(list);
            let got = stateful_set(&s, &around(&pods, &[]));
            compare(&got, state, causes);
            let all: Vec<String> = got.findings.iter().flat_map(|f| f.change.clone()).collect();
            assert!(all.join("; ").contains(telling), "{all:?}");
        };
        let rolling = || json!({"type": "RollingUpdate"});
        check(
            rolling(),
            &[("s-0", "b", "True"), ("s-1", "b", "True")],
            "revision b: 2 of 2 updated, 2 ready",
            &[],
            "",
        );
        check(
            json!({"type": "OnDelete"}),
            &[("s-0", "a", "True"), ("s-1", "b", "True")],
            "revision b: 1 of 2 updated, 2 ready",
            &["older revisions stay until they are deleted: 1 pod"],
            "delete these pods",
        );
        check(
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}),
            &[("s-0", "a", "True"), ("s-1", "b", "True")],
            "revision b: 1 of 2 updated, 2 ready",
            &["pods of an ordinal below 1 keep the older revision"],
            "lower the partition",
        );
        check(
            rolling(),
            &[("s-0", "a", "False"), ("s-1", "b", "True")],
            "revision b: 1 of 2 updated, 1 ready",
            &["1 pod not ready; the worst is pod/s-0"],
            "kctl delete pod s-0",
        );
        check(
            rolling(),
            &[("s-0", "b", "True")],
            "revision b: 1 of 2 updated, 1 ready",
            &["it is under way"],
            "wait",
        );
    }

    #[test]
    fn daemon_sets_that_do_not_get_on() {
        let check = |kind: &str, wanted: i32, updated: i32, list: &[(&str, &str, &str)], causes: &[&str]| {
            let d: DaemonSet = serde_json::from_value(json!({"metadata": {"name": "d"},
                "spec": {"selector": {}, "template": {}, "updateStrategy": {"type": kind}},
                "status": {"currentNumberScheduled": 1, "desiredNumberScheduled": wanted, "numberMisscheduled": 0,
                    "numberReady": 0, "updatedNumberScheduled": updated, "numberAvailable": updated}}))
            .unwrap();
            let pods = pods(list);
            compare(
                &daemon_set(&d, "b", &around(&pods, &[])),
                &format!("{updated} of {wanted} updated, {updated} available"),
                causes,
            );
        };
        check("RollingUpdate", 1, 1, &[("p", "b", "True")], &[]);
        check("RollingUpdate", 0, 0, &[], &["no node is to run it"]);
        check("RollingUpdate", 2, 1, &[("p", "b", "False")], &["1 pod not ready; the worst is pod/p"]);
        check(
            "OnDelete",
            2,
            1,
            &[("p", "a", "True")],
            &["older revisions stay until they are deleted: 1 pod"],
        );
    }

    #[test]
    fn refusals_are_read_from_events() {
        let events: Vec<Event> = serde_json::from_value(json!([{"metadata": {}, "involvedObject": {}, "reason": "FailedCreate",
            "message": "Error creating: pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"}]))
        .unwrap();
        let r: ReplicaSet = serde_json::from_value(
            json!({"metadata": {}, "spec": {"replicas": 1, "selector": {}}, "status": {"replicas": 0}}),
        )
        .unwrap();
        compare(
            &replica_set(&r, &around(&[], &events)),
            "0 of 1 there, 0 available",
            &["the ResourceQuota q allows no more"],
        );
    }
}
