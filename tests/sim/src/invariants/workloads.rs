//! Invariants of what controllers do about pods.

use super::{Verdict, unless};
use crate::amounts::bounds;
use crate::truth::{Change, Truth, WINDOW};
use crate::views::PodView;
use crate::virtual_world::elapsed;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use std::collections::BTreeSet;
use std::time::Duration;

/// A pod ready for less may not be known to be by those who choose between pods.
const KNOWN: Duration = Duration::from_secs(45);
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

fn by(change: &Change<'_>, who: &str, what: &str) -> bool {
    &*change.actor.name == who && change.resource == what
}

/// The pod this write made.
fn created<'t>(truth: &'t Truth, change: &Change<'_>, who: &str) -> Option<&'t PodView> {
    let made = by(change, who, "pods") && change.before.is_none();
    truth.pods.get(change.key).filter(|_| made)
}

/// The pod this write began to delete.
fn doomed<'c>(truth: &Truth, change: &Change<'c>, who: &str) -> Option<&'c PodView> {
    let pod = change.pod_before.filter(|p| by(change, who, "pods") && !p.deleting)?;
    let lives = truth.pods.get(change.key).is_some_and(|p| p.uid == pod.uid && !p.deleting);
    (!lives).then_some(pod)
}

/// Whether its maker has to reckon with a pod: nobody can with one they do not know they made.
fn known(pod: &PodView) -> bool {
    pod.active() && !pod.unsure
}

fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

fn deployment_of<'t>(truth: &'t Truth, set: &ReplicaSet) -> Option<&'t crate::truth::Tracked<Deployment>> {
    let owner = set.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true))?;
    truth.deployments.values().find(|d| d.now.metadata.uid.as_ref() == Some(&owner.uid))
}

/// A deployment's replica sets together want no more pods than it and its surge.
pub fn surge_within_bounds(truth: &Truth, change: &Change<'_>) -> Verdict {
    if !by(change, "deployment-controller", "replicasets") {
        return Ok(());
    }
    let Some(set) = truth.replica_sets.get(change.key) else { return Ok(()) };
    let same_spec = change.before.zip(change.after).is_some_and(|(b, a)| b.generation == a.generation);
    let before = if change.before.is_none() { 0 } else { set.former().map_or(0, size) };
    if same_spec || size(&set.now) <= before {
        return Ok(());
    }
    let Some(deployment) = deployment_of(truth, &set.now) else { return Ok(()) };
    let most = deployment.believable().map(bounds).map(|b| b.replicas + b.surge).max().unwrap_or(0);
    let uid = deployment.now.metadata.uid.as_deref().unwrap_or_default();
    let total: i32 = truth.sets_of(uid).map(|s| size(&s.now)).sum();
    unless(total > most, || format!("{} was made larger: {total} pods wanted, {most} allowed", change.key))
}

/// A replica set's controller makes no pod beyond those wanted.
pub fn no_more_pods_than_wanted(truth: &Truth, change: &Change<'_>) -> Verdict {
    let Some(pod) = created(truth, change, "replicaset-controller") else { return Ok(()) };
    let Some(owner) = &pod.owner else { return Ok(()) };
    let set = truth.replica_sets.values().find(|s| s.now.metadata.uid.as_ref() == Some(&owner.uid));
    let Some(set) = set else { return Ok(()) };
    let most = set.believable().map(size).max().unwrap_or(0);
    let has = truth.pods_of(&owner.uid).filter(|p| known(p)).count();
    unless(has > usize::try_from(most).unwrap_or(0), || {
        format!("{} was made: {} now has {has} pods and wants {most}", change.key, owner.name)
    })
}

/// A roll-out takes no pod that is needed to keep enough of them available.
pub fn enough_stay_available(truth: &Truth, change: &Change<'_>) -> Verdict {
    let Some(pod) = doomed(truth, change, "replicaset-controller") else { return Ok(()) };
    let long_ready = pod.ready_since.is_some_and(|at| at + KNOWN < elapsed());
    let Some(owner) = pod.owner.as_ref().filter(|_| long_ready) else { return Ok(()) };
    let set = truth.replica_sets.values().find(|s| s.now.metadata.uid.as_ref() == Some(&owner.uid));
    let Some(deployment) = set.and_then(|s| deployment_of(truth, &s.now)) else { return Ok(()) };
    let fewest = deployment.believable().map(bounds).map(|b| b.replicas - b.unavailable).min().unwrap_or(0);
    let uid = deployment.now.metadata.uid.clone().unwrap_or_default();
    let sets: BTreeSet<String> = truth.sets_of(&uid).filter_map(|s| s.now.metadata.uid.clone()).collect();
    let ours = |p: &PodView| p.owner.as_ref().is_some_and(|o| sets.contains(&o.uid));
    let ready = truth.ready(ours);
    let lost = truth.lost(ours, |l| &*l.by == "replicaset-controller");
    unless(ready + lost < fewest, || {
        format!("{} was taken: {ready} pods ready, {lost} lost otherwise, {fewest} needed", change.key)
    })
}

fn stateful<'t>(truth: &'t Truth, pod: &PodView) -> Option<&'t crate::truth::Tracked<StatefulSet>> {
    let owner = pod.owner.as_ref()?;
    truth.stateful_sets.values().find(|s| s.now.metadata.uid.as_ref() == Some(&owner.uid))
}

fn ordered(set: &StatefulSet) -> bool {
    set.spec.as_ref().and_then(|s| s.pod_management_policy.as_deref()) != Some("Parallel")
}

/// A stateful pod is made once all before it are ready, or were until lately.
pub fn stateful_pods_in_order(truth: &Truth, change: &Change<'_>) -> Verdict {
    let Some(pod) = created(truth, change, "statefulset-controller") else { return Ok(()) };
    let Some(set) = stateful(truth, pod).filter(|s| ordered(&s.now)) else { return Ok(()) };
    let (Some(ordinal), Some(name)) = (pod.ordinal(), set.now.metadata.name.as_ref()) else { return Ok(()) };
    for earlier in 0..ordinal {
        let key = format!("{}/{name}-{earlier}", pod.namespace);
        let ready = truth.pods.get(&key).is_some_and(|p| p.ready && !p.deleting);
        let lately = |(k, at): &(String, Duration)| *k == key && *at + WINDOW > elapsed();
        let was = truth.once_ready.values().any(lately)
            || truth.losses.iter().any(|l| l.pod.key == key && l.at + WINDOW > elapsed());
        if !ready && !was {
            return Err(format!("{} was made while {key} is not ready", change.key));
        }
    }
    Ok(())
}

/// A stateful set lets go of its last pod first, and of one at a time.
pub fn stateful_pods_go_in_order(truth: &Truth, change: &Change<'_>) -> Verdict {
    let Some(pod) = doomed(truth, change, "statefulset-controller") else { return Ok(()) };
    let Some(set) = stateful(truth, pod).filter(|s| ordered(&s.now)) else { return Ok(()) };
    let size = |s: &StatefulSet| s.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let most = set.believable().map(size).max().unwrap_or(0);
    let Some(ordinal) = pod.ordinal().filter(|o| *o >= most && !pod.terminal()) else { return Ok(()) };
    let uid = set.now.metadata.uid.as_deref().unwrap_or_default();
    let later = truth.pods_of(uid).find(|p| p.ordinal().is_some_and(|o| o > ordinal));
    unless(later.is_some(), || {
        format!("{} goes while {} is still there", change.key, later.map_or("", |p| &p.name))
    })
}

/// A daemon set makes no second pod for a node.
pub fn one_daemon_a_node(truth: &Truth, change: &Change<'_>) -> Verdict {
    let Some(pod) = created(truth, change, "daemon-set-controller") else { return Ok(()) };
    let Some(owner) = &pod.owner else { return Ok(()) };
    let set = truth.daemon_sets.values().find(|s| s.now.metadata.uid.as_ref() == Some(&owner.uid));
    let surges = set.is_some_and(|s| {
        let update = s.now.spec.as_ref().and_then(|s| s.update_strategy.as_ref()?.rolling_update.as_ref());
        update.and_then(|u| u.max_surge.as_ref()).is_some()
    });
    let there = truth.pods_of(&owner.uid).filter(|p| p.meant_for == pod.meant_for && known(p));
    let (there, most) = (there.count(), if surges { 2 } else { 1 });
    unless(there > most, || format!("{} was made: {there} pods for {}", change.key, pod.meant_for))
}

fn counted(job: &Job) -> (i32, i32, Vec<String>) {
    let status = job.status.clone().unwrap_or_default();
    let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
    let lists = [uncounted.succeeded.unwrap_or_default(), uncounted.failed.unwrap_or_default()];
    let [succeeded, failed] = [&lists[0], &lists[1]].map(|l| i32::try_from(l.len()).unwrap_or(i32::MAX));
    (status.succeeded.unwrap_or(0) + succeeded, status.failed.unwrap_or(0) + failed, lists.concat())
}

/// A job's counters never exceed the pods that ended so.
pub fn each_pod_counted_once(truth: &Truth, change: &Change<'_>) -> Verdict {
    if change.resource != "jobs" {
        return Ok(());
    }
    let Some(job) = truth.jobs.get(change.key) else { return Ok(()) };
    let (succeeded, failed, listed) = counted(&job.now);
    let uid = job.now.metadata.uid.clone().unwrap_or_default();
    let Some(pods) = truth.job_pods.get(&uid) else {
        return unless(succeeded + failed > 0, || format!("{} counts pods it never had", change.key));
    };
    let ended = |phase: &str| pods.values().filter(|p| *p == phase).count();
    let (won, all) = (ended("Succeeded"), pods.len());
    let number = |n: i32| usize::try_from(n).unwrap_or(0);
    let distinct: BTreeSet<&String> = listed.iter().collect();
    unless(distinct.len() != listed.len(), || format!("{} lists a pod twice: {listed:?}", change.key))?;
    unless(number(succeeded) > won, || format!("{} counts {succeeded} successes of {won}", change.key))?;
    // Pods that go without an end count as failed.
    unless(number(failed) > all - won, || {
        format!("{} counts {failed} failures of {} pods that did not succeed", change.key, all - won)
    })
}

/// A pod that ended is written down before its finalizer goes.
pub fn no_pod_uncounted(truth: &Truth, change: &Change<'_>) -> Verdict {
    let Some(before) = change.pod_before.filter(|_| by(change, "job-controller", "pods")) else {
        return Ok(());
    };
    let had = before.finalizers.iter().any(|f| f == TRACKING) && before.phase == "Succeeded";
    let after = truth.pods.get(change.key).filter(|p| p.uid == before.uid);
    let has = after.is_some_and(|p| p.finalizers.iter().any(|f| f == TRACKING));
    let Some(owner) = before.owner.as_ref().filter(|o| o.kind == "Job" && had && !has) else { return Ok(()) };
    let job = truth.jobs.values().find(|j| j.now.metadata.uid.as_ref() == Some(&owner.uid));
    // Of a job that is gone or going nobody asks for the count.
    let Some(job) = job.filter(|j| j.now.metadata.deletion_timestamp.is_none()) else { return Ok(()) };
    // Indexes that are done are counted as such, at once.
    let indexed = job.now.spec.as_ref().and_then(|s| s.completion_mode.as_deref()) == Some("Indexed");
    let (_, _, listed) = counted(&job.now);
    let over = job
        .now
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .any(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True");
    unless(!over && !indexed && !listed.contains(&before.uid), || {
        format!("{} lost its finalizer and is not written down in {}", change.key, owner.name)
    })
}

/// A job runs no more pods at a time than it may.
pub fn job_within_parallelism(truth: &Truth, change: &Change<'_>) -> Verdict {
    let Some(pod) = created(truth, change, "job-controller") else { return Ok(()) };
    let Some(owner) = &pod.owner else { return Ok(()) };
    let job = truth.jobs.values().find(|j| j.now.metadata.uid.as_ref() == Some(&owner.uid));
    let Some(job) = job else { return Ok(()) };
    let parallel = |j: &Job| j.spec.as_ref().and_then(|s| s.parallelism).unwrap_or(1);
    let most = job.believable().map(parallel).max().unwrap_or(0);
    let active = truth.pods_of(&owner.uid).filter(|p| known(p)).count();
    unless(active > usize::try_from(most).unwrap_or(0), || {
        format!("{} was made: {active} pods of {} run and {most} may", change.key, owner.name)
    })
}
