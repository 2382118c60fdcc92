//! What is in the store, typed, with as much of the past as the invariants need.
//!
//! Controllers see the cluster through caches that lag. What they do is right when it follows from something
//! they may still believe; so the truth remembers, for a while, what was true.

use crate::actor::Actor;
use crate::views::{PodView, View, ready_pods};
use crate::virtual_world::elapsed;
use gantry_storage::Event;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Nothing older than this is still believed by anybody: longer than the longest lag, a relist and the writes
/// that follow from it.
pub const WINDOW: Duration = Duration::from_secs(90);
/// Lines kept to tell how it came to a violation.
const TRACE: usize = 60;

/// A kind with a spec that has generations.
pub trait Generations: DeserializeOwned {
    fn generation(&self) -> i64;
    /// The generation its controller has told it has seen.
    fn observed(&self) -> i64;
}

macro_rules! generations {
    ($($kind:ty => $observed:expr),* $(,)?) => {
        $(impl Generations for $kind {
            fn generation(&self) -> i64 {
                self.metadata.generation.unwrap_or(0)
            }

            fn observed(&self) -> i64 {
                let observed: fn(&Self) -> Option<i64> = $observed;
                observed(self).unwrap_or(0)
            }
        })*
    };
}

generations! {
    DaemonSet => |o| o.status.as_ref()?.observed_generation,
    Deployment => |o| o.status.as_ref()?.observed_generation,
    ReplicaSet => |o| o.status.as_ref()?.observed_generation,
    StatefulSet => |o| o.status.as_ref()?.observed_generation,
    PodDisruptionBudget => |o| o.status.as_ref()?.observed_generation,
    Job => |_| None,
}

/// An object and what it was before.
pub struct Tracked<K> {
    pub now: Arc<K>,
    /// Former specs, and until when each held.
    before: Vec<(Duration, Arc<K>)>,
}

impl<K> Tracked<K> {
    /// The object as it was before its spec last changed.
    pub fn former(&self) -> Option<&K> {
        self.before.last().map(|(_, o)| &**o)
    }
}

impl<K: Generations> Tracked<K> {
    /// The object in every spec its controller may act on.
    pub fn believable(&self) -> impl Iterator<Item = &K> {
        let (seen, now) = (self.now.observed(), elapsed());
        let old =
            self.before.iter().filter(move |(until, o)| o.generation() >= seen || *until + WINDOW > now);
        old.map(|(_, o)| &**o).chain([&*self.now])
    }
}

pub type Kept<K> = BTreeMap<String, Tracked<K>>;

/// A pod that was ready and no longer is.
pub struct Loss {
    pub at: Duration,
    pub pod: PodView,
    pub by: Arc<str>,
    pub evicted: bool,
}

/// One committed write.
pub struct Change<'a> {
    pub actor: &'a Actor,
    /// As in the store: `pods`, `deployments`, `minions`.
    pub resource: &'a str,
    /// `namespace/name`, or `name`.
    pub key: &'a str,
    /// The revision the object had.
    pub replaced: Option<u64>,
    pub before: Option<&'a View>,
    pub after: Option<&'a View>,
    pub pod_before: Option<&'a PodView>,
}

#[derive(Default)]
pub struct Truth {
    /// Everything, by resource and key.
    pub objects: BTreeMap<(String, String), View>,
    revisions: BTreeMap<(String, String), u64>,
    pub pods: BTreeMap<String, PodView>,
    pub deployments: Kept<Deployment>,
    pub replica_sets: Kept<ReplicaSet>,
    pub stateful_sets: Kept<StatefulSet>,
    pub daemon_sets: Kept<DaemonSet>,
    pub jobs: Kept<Job>,
    pub budgets: Kept<PodDisruptionBudget>,
    pub nodes: BTreeMap<String, Node>,
    pub namespaces: BTreeMap<String, Namespace>,
    pub losses: Vec<Loss>,
    /// Pods that were ready once, by identity, with their key.
    pub once_ready: BTreeMap<String, (String, Duration)>,
    /// By job: its pods, all there ever were, and how each ended.
    pub job_pods: BTreeMap<String, BTreeMap<String, String>>,
    /// Owners that let their dependents live, by identity.
    pub uids: BTreeSet<String>,
    pub writes: usize,
    /// When the last write but heartbeats was made.
    pub last_write: Duration,
    /// A fingerprint of everything written, in order.
    pub fingerprint: u64,
    pub trace: VecDeque<String>,
}

fn decode<K: DeserializeOwned>(value: &[u8]) -> Option<K> {
    serde_json::from_slice(value).ok()
}

fn keep<K: Generations>(kept: &mut Kept<K>, key: &str, value: Option<&[u8]>) {
    let Some(new) = value.and_then(decode::<K>).map(Arc::new) else {
        kept.remove(key);
        return;
    };
    match kept.get_mut(key) {
        // Another object of the name would have been removed before.
        Some(tracked) => {
            let old = std::mem::replace(&mut tracked.now, new);
            if old.generation() != tracked.now.generation() {
                tracked.before.push((elapsed(), old));
            }
        }
        None => _ = kept.insert(key.to_owned(), Tracked { now: new, before: Vec::new() }),
    }
}

impl Truth {
    /// Takes a write in, and shows it to `look` with the state after it.
    pub fn take(&mut self, event: &Event, actor: &Actor, look: impl FnOnce(&Self, &Change<'_>)) {
        let path = event.key().strip_prefix("/registry/").unwrap_or(event.key());
        let (resource, key) = path.split_once('/').unwrap_or((path, ""));
        let (resource, key) = (resource.to_owned(), key.to_owned());
        let value = match event {
            Event::Put(kv) => Some(&kv.value[..]),
            Event::Delete { .. } => None,
        };
        let id = (resource.clone(), key.clone());
        let replaced = self.revisions.remove(&id);
        let before = self.objects.remove(&id);
        let after = value.and_then(View::read);
        if let Some(view) = &after {
            self.objects.insert(id.clone(), view.clone());
            self.revisions.insert(id.clone(), event.revision());
            self.uids.insert(view.uid.clone());
        }
        let pod_before = if resource == "pods" { self.pods.get(&key).cloned() } else { None };
        self.note(&resource, &key, value, actor, pod_before.as_ref());
        self.tell(event, &resource, &key, actor, after.as_ref(), value);
        let change = Change {
            actor,
            resource: &resource,
            key: &key,
            replaced,
            before: before.as_ref(),
            after: after.as_ref(),
            pod_before: pod_before.as_ref(),
        };
        look(self, &change);
    }

    fn note(
        &mut self,
        resource: &str,
        key: &str,
        value: Option<&[u8]>,
        actor: &Actor,
        pod_before: Option<&PodView>,
    ) {
        match resource {
            "pods" => self.pod(key, value, actor, pod_before),
            "deployments" => keep(&mut self.deployments, key, value),
            "replicasets" => keep(&mut self.replica_sets, key, value),
            "statefulsets" => keep(&mut self.stateful_sets, key, value),
            "daemonsets" => keep(&mut self.daemon_sets, key, value),
            "jobs" => keep(&mut self.jobs, key, value),
            "poddisruptionbudgets" => keep(&mut self.budgets, key, value),
            "minions" => match value.and_then(decode) {
                Some(node) => _ = self.nodes.insert(key.to_owned(), node),
                None => _ = self.nodes.remove(key),
            },
            "namespaces" => match value.and_then(decode) {
                Some(namespace) => _ = self.namespaces.insert(key.to_owned(), namespace),
                None => _ = self.namespaces.remove(key),
            },
            _ => {}
        }
    }

    fn pod(&mut self, key: &str, value: Option<&[u8]>, actor: &Actor, before: Option<&PodView>) {
        let mut after = value.and_then(|v| PodView::read(key, v, before));
        if let Some(pod) = after.as_mut().filter(|_| before.is_none()) {
            pod.unsure = actor.unanswered;
        }
        let healthy = |p: &PodView| p.ready && !p.deleting;
        if let Some(before) = before.filter(|p| healthy(p))
            && !after.as_ref().is_some_and(healthy)
        {
            let evicted = actor.intent.verb == crate::actor::Verb::Evict;
            let loss = Loss { at: elapsed(), pod: before.clone(), by: actor.name.clone(), evicted };
            self.losses.push(loss);
        }
        let latest = after.as_ref().or(before);
        if let Some(pod) = latest
            && let Some(owner) = pod.owner.as_ref().filter(|o| o.kind == "Job")
        {
            let ended = self.job_pods.entry(owner.uid.clone()).or_default();
            let phase = ended.entry(pod.uid.clone()).or_default();
            if pod.terminal() {
                phase.clone_from(&pod.phase);
            }
        }
        match after {
            Some(pod) => {
                if pod.ready {
                    self.once_ready.insert(pod.uid.clone(), (key.to_owned(), elapsed()));
                }
                self.pods.insert(key.to_owned(), pod);
            }
            None => _ = self.pods.remove(key),
        }
    }

    fn tell(
        &mut self,
        event: &Event,
        resource: &str,
        key: &str,
        actor: &Actor,
        after: Option<&View>,
        value: Option<&[u8]>,
    ) {
        self.writes += 1;
        if resource != "leases" {
            self.last_write = elapsed();
        }
        for byte in event.key().bytes().chain(value.unwrap_or_default().iter().copied()) {
            self.fingerprint = (self.fingerprint ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if resource == "leases" {
            return;
        }
        if self.trace.len() == TRACE && std::env::var_os("SIM_TRACE").is_none() {
            self.trace.pop_front();
        }
        let what = match after {
            None => "gone".to_owned(),
            Some(view) if resource == "pods" => {
                let pod = self.pods.get(key).map(PodView::to_string).unwrap_or_default();
                format!("{}{pod}", if view.deleting { "deleting " } else { "" })
            }
            Some(view) => {
                format!("generation {}{}", view.generation, if view.deleting { " deleting" } else { "" })
            }
        };
        let (at, revision, verb) = (elapsed().as_secs_f64(), event.revision(), actor.intent.verb);
        let sub = self.summary(resource, key);
        self.trace.push_back(format!(
            "{at:9.3}s r{revision} {} {verb:?} {resource} {key}: {what} {sub}",
            actor.name
        ));
    }

    /// The numbers that matter of a workload.
    fn summary(&self, resource: &str, key: &str) -> String {
        match resource {
            "replicasets" => self.replica_sets.get(key).map(|s| {
                let (spec, status) = (s.now.spec.as_ref(), s.now.status.clone().unwrap_or_default());
                let wanted = spec.and_then(|s| s.replicas).unwrap_or(1);
                let available = status.available_replicas.unwrap_or(0);
                format!("wants {wanted} has {} available {available}", status.replicas)
            }),
            "deployments" => self.deployments.get(key).map(|d| {
                let (spec, status) = (d.now.spec.as_ref(), d.now.status.clone().unwrap_or_default());
                let wanted = spec.and_then(|s| s.replicas).unwrap_or(1);
                let count = |n: Option<i32>| n.unwrap_or(0);
                let (has, new) = (count(status.replicas), count(status.updated_replicas));
                format!(
                    "wants {wanted} has {has} updated {new} available {}",
                    count(status.available_replicas)
                )
            }),
            "jobs" => self.jobs.get(key).map(|j| {
                let status = j.now.status.clone().unwrap_or_default();
                let count = |n: Option<i32>| n.unwrap_or(0);
                let (active, won, lost) =
                    (count(status.active), count(status.succeeded), count(status.failed));
                format!(
                    "active {active} succeeded {won} failed {lost} {:?}",
                    status.uncounted_terminated_pods
                )
            }),
            "poddisruptionbudgets" => self.budgets.get(key).map(|b| {
                let status = b.now.status.clone().unwrap_or_default();
                let count = |n: Option<i32>| n.unwrap_or(0);
                let (now, desired) = (count(status.current_healthy), count(status.desired_healthy));
                format!("healthy {now} desired {desired} allowed {}", count(status.disruptions_allowed))
            }),
            "statefulsets" => self.stateful_sets.get(key).map(|s| {
                let (spec, status) = (s.now.spec.as_ref(), s.now.status.clone().unwrap_or_default());
                let wanted = spec.and_then(|s| s.replicas).unwrap_or(1);
                format!("wants {wanted} has {} ready {}", status.replicas, status.ready_replicas.unwrap_or(0))
            }),
            _ => None,
        }
        .unwrap_or_default()
    }

    pub fn pods_of<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a PodView> {
        self.pods.values().filter(move |p| p.owner.as_ref().is_some_and(|o| o.uid == uid))
    }

    /// The replica sets under a deployment.
    pub fn sets_of<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a Tracked<ReplicaSet>> {
        let owned = move |s: &&Tracked<ReplicaSet>| {
            let owners = s.now.metadata.owner_references.iter().flatten();
            owners.into_iter().any(|o| o.uid == uid && o.controller == Some(true))
        };
        self.replica_sets.values().filter(owned)
    }

    /// Ready pods among those that match.
    pub fn ready(&self, matching: impl Fn(&PodView) -> bool) -> i32 {
        ready_pods(self.pods.values().filter(|p| matching(p)))
    }

    /// Pods that match and lately ceased to be ready, other than by what `spared` names.
    pub fn lost(&self, matching: impl Fn(&PodView) -> bool, spared: impl Fn(&Loss) -> bool) -> i32 {
        let recent = |l: &&Loss| l.at + WINDOW > elapsed() && matching(&l.pod) && !spared(l);
        i32::try_from(self.losses.iter().rev().filter(recent).count()).unwrap_or(i32::MAX)
    }
}
