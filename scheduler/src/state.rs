//! All scheduling state, and what each event does to it. No IO here but through [`Effects`].

use crate::effects::{Bound, Effects};
use crate::metrics::Metrics;
use gantry_client::Delta;
use gantry_scheduler_core::preemption::{Preemption, preempt};
use gantry_scheduler_core::queue::Backoff;
use gantry_scheduler_core::{Change, Cluster, Entry, Failure, Outcome, PodInfo, Profile, Queue, schedule};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

pub struct State {
    profiles: Vec<Profile>,
    cluster: Cluster,
    queue: Queue,
    /// Entries whose binding is under way, by UID.
    binding: HashMap<Box<str>, Entry>,
    /// What was last said of a waiting pod, so that it is not said again.
    said: HashMap<Box<str>, String>,
    start: usize,
    rng: SmallRng,
    effects: Effects,
    metrics: Metrics,
}

impl State {
    pub fn new(profiles: Vec<Profile>, backoff: Backoff, effects: Effects, metrics: Metrics) -> Self {
        Self {
            profiles,
            cluster: Cluster::default(),
            queue: Queue::new(backoff),
            binding: HashMap::new(),
            said: HashMap::new(),
            start: 0,
            rng: SmallRng::from_rng(&mut rand::rng()),
            effects,
            metrics,
        }
    }

    fn changed(&mut self, change: Change, now: Timestamp) {
        // Profiles share their plugins' hints; the first speaks for all.
        if let Some(profile) = self.profiles.first() {
            self.queue.changed(change, profile, &self.cluster, now);
        }
    }

    pub fn node(&mut self, delta: &Delta<Node>, now: Timestamp) {
        if delta.is_deleted() {
            self.cluster.remove_node(delta.object().metadata.name.as_deref().unwrap_or_default());
        } else if let Some(change) = self.cluster.set_node(delta.object()) {
            self.changed(change, now);
        }
    }

    pub fn pod(&mut self, delta: &Delta<Pod>, now: Timestamp) {
        let pod = Arc::new(PodInfo::new(delta.object()));
        if delta.is_deleted() || pod.finished {
            self.forget(&pod.uid);
            self.leave(&pod.uid, &pod.node, now);
        } else if pod.node.is_empty() {
            let ours = self.profiles.iter().any(|p| p.scheduler == pod.scheduler);
            if !ours || pod.deleting {
                self.forget(&pod.uid);
            } else if !self.cluster.is_assumed(&pod.uid) {
                self.queue.set(pod, now);
            }
        } else {
            self.forget(&pod.uid);
            let shrank = delta.old().is_some_and(|old| {
                let before = PodInfo::new(old).requests;
                before.cpu > pod.requests.cpu || before.memory > pod.requests.memory
            });
            let node = pod.node.clone();
            self.cluster.set_pod(pod);
            if let Some(index) = self.cluster.index(&node).filter(|_| shrank) {
                self.changed(Change::PodLeft(index), now);
            }
        }
    }

    /// The pod no longer waits.
    fn forget(&mut self, uid: &str) {
        self.queue.remove(uid);
        self.said.remove(uid);
        self.cluster.denominate(uid);
    }

    /// The pod no longer holds anything.
    fn leave(&mut self, uid: &str, node: &str, now: Timestamp) {
        let index = self.cluster.index(node);
        if self.cluster.remove_pod(uid)
            && let Some(index) = index
        {
            self.changed(Change::PodLeft(index), now);
        }
    }

    pub fn bound(&mut self, bound: Bound, now: Timestamp) {
        let Some(entry) = self.binding.remove(&bound.pod.uid) else { return };
        let Some(failure) = bound.failure else {
            // The event of the bound pod replaces the assumption; until then it holds its place.
            return;
        };
        if !self.cluster.is_assumed(&bound.pod.uid) {
            // An event has settled it meanwhile.
            return;
        }
        self.cluster.remove_pod(&bound.pod.uid);
        if failure.gone {
            return;
        }
        tracing::warn!(pod = bound.pod.key(), failure.message, "binding failed");
        self.effects.report(bound.pod, "SchedulerError", failure.message, None);
        self.queue.retry(entry, now);
    }

    /// Tries one waiting pod; whether there was one.
    pub fn try_next(&mut self, now: Timestamp) -> bool {
        let Some(entry) = self.queue.pop(now) else { return false };
        let Some(at) = self.profiles.iter().position(|p| p.scheduler == entry.pod.scheduler) else {
            return true;
        };
        let begin = Instant::now();
        let outcome = schedule(&self.profiles[at], &entry.pod, &self.cluster, &mut self.start, &mut self.rng);
        let result = if matches!(outcome, Outcome::Node(_)) { "scheduled" } else { "unschedulable" };
        let labels = [&*self.profiles[at].scheduler, result];
        self.metrics.attempts.with_label_values(&labels).inc();
        self.metrics.seconds.with_label_values(&labels).observe(begin.elapsed().as_secs_f64());
        match outcome {
            Outcome::Node(index) => {
                let node = self.cluster.node(index).map(|n| n.name.to_string()).unwrap_or_default();
                self.cluster.assume(&entry.pod, index);
                self.cluster.denominate(&entry.pod.uid);
                self.said.remove(&entry.pod.uid);
                self.effects.bind(entry.pod.clone(), node);
                self.binding.insert(entry.pod.uid.clone(), entry);
            }
            Outcome::Unschedulable(failure) => self.refused(at, entry, &failure, now),
        }
        true
    }

    fn refused(&mut self, profile: usize, entry: Entry, failure: &Failure, now: Timestamp) {
        let mut message = failure.message();
        let mut nominated = None;
        if failure.total > 0 {
            match preempt(&self.profiles[profile], &entry.pod, &self.cluster, failure) {
                Preemption::Nothing(text) => message = format!("{message} {text}"),
                Preemption::Evict { node, victims } => {
                    let name = self.cluster.node(node).map(|n| n.name.to_string()).unwrap_or_default();
                    self.cluster.nominate(&entry.pod, &name);
                    for victim in victims.into_iter().filter(|v| !v.deleting) {
                        self.effects.preempt(victim, entry.pod.clone(), name.clone());
                    }
                    nominated = Some(name);
                }
            }
        }
        if self.said.get(&entry.pod.uid) != Some(&message) || nominated.is_some() {
            self.said.insert(entry.pod.uid.clone(), message.clone());
            self.effects.report(entry.pod.clone(), "Unschedulable", message, nominated);
        }
        self.queue.refuse(entry, failure.plugins, now);
    }

    /// Wakes what has waited long; when to come again without an event.
    pub fn idle(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.queue.flush(now);
        for (queue, count) in ["active", "backoff", "unschedulable", "gated"].iter().zip(self.queue.counts())
        {
            self.metrics.pending.with_label_values(&[queue]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.queue.next()
    }
}
