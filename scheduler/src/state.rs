//! All scheduling state, and what each event does to it. No IO here but through [`Effects`].

use crate::effects::{Done, Effects, Nomination};
use crate::extender::Extenders;
use crate::metrics::Metrics;
use gantry_client::Delta;
use gantry_scheduler_core::failure::EXTENDER;
use gantry_scheduler_core::framework::{Permit, Step};
use gantry_scheduler_core::preemption::Preemption;
use gantry_scheduler_core::queue::Backoff;
use gantry_scheduler_core::{
    Cluster, Entry, Event, Failure, Memory, NodeIndex, Outcome, PodInfo, Profile, Queue, Rejection,
    Scheduler, Shapes,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// A pod whose binding is under way.
pub(crate) struct InFlight {
    pub(crate) entry: Entry,
    at: NodeIndex,
}

pub struct State {
    pub(crate) profiles: Vec<Profile>,
    pub(crate) cluster: Cluster,
    pub(crate) queue: Queue,
    shapes: Shapes,
    pub(crate) memory: Memory,
    pub(crate) binding: HashMap<Box<str>, InFlight>,
    /// What was last written of a waiting pod, so that it is not written again.
    pub(crate) said: HashMap<Box<str>, (String, u64)>,
    start: usize,
    rng: SmallRng,
    effects: Effects,
    outside: Extenders,
    metrics: Metrics,
}

impl State {
    pub fn new(
        profiles: Vec<Profile>,
        backoff: Backoff,
        effects: Effects,
        outside: Extenders,
        metrics: Metrics,
    ) -> Self {
        Self {
            profiles,
            cluster: Cluster::default(),
            queue: Queue::new(backoff),
            shapes: Shapes::default(),
            memory: Memory::default(),
            binding: HashMap::new(),
            said: HashMap::new(),
            start: 0,
            rng: SmallRng::from_rng(&mut rand::rng()),
            effects,
            outside,
            metrics,
        }
    }

    pub(crate) fn changed(&mut self, event: &Event<'_>, now: Timestamp) {
        self.queue.changed(event, &self.profiles, &self.cluster, now);
    }

    pub fn node(&mut self, delta: &Delta<Node>, now: Timestamp) {
        if delta.is_deleted() {
            let name = delta.object().metadata.name.as_deref().unwrap_or_default();
            if let Some(gone) = self.cluster.remove_node(name) {
                self.changed(&Event::NodeRemoved(&gone), now);
            }
            return;
        }
        let (at, old) = self.cluster.set_node(delta.object());
        match &old {
            None => self.changed(&Event::NodeAdded(at), now),
            // Heartbeats and the like help nobody.
            Some(old) if self.cluster.node(at).is_some_and(|n| n.facts() != *old) => {
                self.changed(&Event::NodeUpdated { at, old }, now);
            }
            Some(_) => {}
        }
    }

    pub fn pod(&mut self, delta: &Delta<Pod>, now: Timestamp) {
        let pod = Arc::new(self.shapes.read(delta.object()));
        if delta.is_deleted() || pod.finished {
            self.forget(&pod.uid);
            if let Some(gone) = self.cluster.remove_pod(&pod.uid) {
                self.changed(&Event::PodRemoved(&gone), now);
            }
        } else if pod.node.is_empty() {
            let profile = self.profiles.iter().position(|p| *p.scheduler == *pod.scheduler);
            match profile.filter(|_| !pod.deleting) {
                None => self.forget(&pod.uid),
                Some(at) if !self.cluster.is_assumed(&pod.uid) => self.wait(pod, at, now),
                Some(_) => {}
            }
        } else {
            self.forget(&pod.uid);
            let confirmed = self.cluster.is_assumed(&pod.uid);
            match self.cluster.set_pod(pod.clone()).filter(|_| !confirmed) {
                None => self.changed(&Event::PodAdded(&pod), now),
                Some(old) => self.changed(&Event::PodUpdated { old: &old, new: &pod }, now),
            }
        }
    }

    fn wait(&mut self, pod: Arc<PodInfo>, at: usize, now: Timestamp) {
        let before = self.queue.get(&pod.uid).map(|p| p.nominated.clone());
        if !pod.nominated.is_empty() {
            let node = pod.nominated.clone();
            self.cluster.nominate(&pod, &node);
        } else if before.is_some_and(|b| !b.is_empty()) {
            self.cluster.denominate(&pod.uid);
        }
        self.queue.set(pod, at, &self.profiles[at], &self.cluster, now);
    }

    /// The pod no longer waits.
    fn forget(&mut self, uid: &str) {
        self.queue.remove(uid);
        self.said.remove(uid);
        self.cluster.denominate(uid);
        self.cluster.preempting.remove(uid);
    }

    pub fn done(&mut self, done: Done, now: Timestamp) {
        match done {
            Done::Bound { pod, failure } => {
                let Some(flight) = self.binding.remove(&pod.uid) else { return };
                let at = flight.entry.profile;
                let Some(failure) = failure else {
                    // The event of the bound pod replaces the assumption; until then it holds its place.
                    self.scheduled(&flight.entry, now);
                    for i in &self.profiles[at].post_bind {
                        self.profiles[at].plugins[*i].post_bind(&pod, &mut self.cluster);
                    }
                    return;
                };
                self.unreserve(at, &pod, flight.at);
                if !self.cluster.is_assumed(&pod.uid) {
                    // An event has settled it meanwhile.
                    return;
                }
                let held = self.cluster.remove_pod(&pod.uid);
                if !failure.gone {
                    tracing::warn!(pod = pod.key(), failure.message, "binding failed");
                    self.failed(flight.entry, failure.message, now);
                }
                if let Some(held) = held {
                    self.changed(&Event::PodRemoved(&held), now);
                }
            }
            Done::Preempted { pod, failed } => {
                self.cluster.preempting.remove(&pod.uid);
                if failed {
                    self.queue.activate(&pod.uid, &self.profiles, &self.cluster, now);
                } else {
                    self.queue.recheck(&self.profiles, &self.cluster, now);
                }
            }
        }
    }

    fn scheduled(&self, entry: &Entry, now: Timestamp) {
        self.metrics.tries.observe(entry.attempts.into());
        let label = if entry.attempts >= 15 { "15+".to_owned() } else { entry.attempts.to_string() };
        if let Some(first) = entry.first {
            let seconds = now.duration_since(first).as_secs_f64();
            self.metrics.latency.with_label_values(&[label.as_str()]).observe(seconds);
        }
        if entry.flushed {
            self.metrics.after_flush.inc();
        }
    }

    fn unreserve(&mut self, at: usize, pod: &PodInfo, node: NodeIndex) {
        for i in self.profiles[at].reserve.iter().rev() {
            self.profiles[at].plugins[*i].unreserve(pod, node, &mut self.cluster);
        }
    }

    /// Something of ours went wrong: say so, and try again later.
    fn failed(&mut self, entry: Entry, message: String, now: Timestamp) {
        self.said.insert(entry.pod.uid.clone(), (message.clone(), 0));
        self.cluster.denominate(&entry.pod.uid);
        self.effects.report(entry.pod.clone(), "SchedulerError", message, Nomination::Clear, true);
        let profile = &self.profiles[entry.profile];
        self.queue.retry(entry, profile, now);
    }

    /// Tries one waiting pod; whether there was one.
    pub fn try_next(&mut self, now: Timestamp) -> bool {
        let Some(entry) = self.queue.pop(&self.profiles, now) else { return false };
        let at = entry.profile;
        let begin = Instant::now();
        let mut scheduler = Scheduler {
            at,
            profile: &self.profiles[at],
            memory: &mut self.memory,
            start: &mut self.start,
            rng: &mut self.rng,
            outside: &mut self.outside,
        };
        let outcome = scheduler.schedule(&entry.pod, &mut self.cluster);
        let seconds = begin.elapsed().as_secs_f64();
        self.metrics.algorithm.observe(seconds);
        let result = match &outcome {
            Outcome::Node(_) => "scheduled",
            Outcome::Unschedulable(_) => "unschedulable",
            Outcome::Error(_) => "error",
        };
        let labels = [result, &*self.profiles[at].scheduler];
        self.metrics.attempts.with_label_values(&labels).inc();
        self.metrics.seconds.with_label_values(&labels).observe(seconds);
        match outcome {
            Outcome::Node(node) => self.chosen(entry, node, now),
            Outcome::Unschedulable(failure) => self.refused(entry, failure, now),
            Outcome::Error(message) => self.failed(entry, message, now),
        }
        true
    }

    fn chosen(&mut self, entry: Entry, node: NodeIndex, now: Timestamp) {
        let (at, pod) = (entry.profile, entry.pod.clone());
        self.cluster.assume(&pod, node);
        if let Err((plugin, why)) = self.reserve(at, &pod, node) {
            self.unreserve(at, &pod, node);
            self.cluster.remove_pod(&pod.uid);
            let mut failure = Failure { plugins: 1 << plugin, total: 1, ..Failure::default() };
            failure.kinds.push((plugin, why));
            failure.nodes.push((node, 0));
            return self.refused(entry, failure, now);
        }
        let profile = &self.profiles[at];
        let mut steps: Vec<Step> = Vec::new();
        for i in &profile.pre_bind {
            steps.extend(profile.plugins[*i].pre_bind(&pod, node, &self.cluster));
        }
        steps.extend(profile.bind.iter().find_map(|i| profile.plugins[*i].bind(&pod, node, &self.cluster)));
        self.cluster.denominate(&pod.uid);
        self.said.remove(&pod.uid);
        let name = self.cluster.node(node).map(|n| n.name.to_string()).unwrap_or_default();
        self.binding.insert(pod.uid.clone(), InFlight { entry, at: node });
        self.effects.bind(pod, name, steps);
    }

    /// Sets aside what the pod needs, and asks for leave to bind it.
    fn reserve(&mut self, at: usize, pod: &PodInfo, node: NodeIndex) -> Result<(), (usize, Rejection)> {
        let profile = &self.profiles[at];
        for i in &profile.reserve {
            profile.plugins[*i].reserve(pod, node, &mut self.cluster).map_err(|why| (*i, why))?;
        }
        for i in &profile.permit {
            if let Permit::Reject(why) = profile.plugins[*i].permit(pod, node, &self.cluster) {
                return Err((*i, why));
            }
        }
        Ok(())
    }

    fn refused(&mut self, entry: Entry, mut failure: Failure, now: Timestamp) {
        let message = failure.message();
        let pod = entry.pod.clone();
        let nomination = match failure.preemption.take() {
            Some(Preemption::Evict { node, victims, displaced }) => {
                self.make_room(&pod, node, victims, displaced)
            }
            Some(Preemption::Nothing { clear: false, .. } | Preemption::Failed(_)) => Nomination::Keep,
            Some(Preemption::Nothing { .. }) | None => {
                self.cluster.denominate(&pod.uid);
                Nomination::Clear
            }
        };
        if failure.plugins & EXTENDER != 0 {
            tracing::debug!(pod = pod.key(), "an extender refused nodes");
        }
        let moved = matches!(nomination, Nomination::Set(_))
            || nomination == Nomination::Clear && !pod.nominated.is_empty();
        let fresh = self.said.get(&pod.uid).is_none_or(|(said, _)| *said != message);
        self.said.insert(pod.uid.clone(), (message.clone(), failure.plugins));
        self.effects.report(pod, "Unschedulable", message, nomination, fresh || moved);
        let profile = &self.profiles[entry.profile];
        self.queue.refuse(entry, failure.plugins, profile, now);
    }

    fn make_room(
        &mut self,
        pod: &Arc<PodInfo>,
        node: NodeIndex,
        victims: Vec<Arc<PodInfo>>,
        displaced: Vec<Arc<PodInfo>>,
    ) -> Nomination {
        let name = self.cluster.node(node).map(|n| n.name.to_string()).unwrap_or_default();
        self.metrics.preemptions.inc();
        for other in &displaced {
            self.cluster.denominate(&other.uid);
        }
        self.cluster.nominate(pod, &name);
        let count = u32::try_from(victims.len()).unwrap_or(u32::MAX);
        let victims: Vec<_> = victims.into_iter().filter(|v| !v.deleting).collect();
        if !victims.is_empty() {
            self.metrics.victims.observe(count.into());
            self.cluster.preempting.insert(pod.uid.clone());
            self.effects.preempt(victims, displaced, pod.clone(), name.clone());
        }
        Nomination::Set(name)
    }

    /// Wakes what has waited long; when to come again without an event.
    pub fn idle(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.queue.flush(&self.profiles, &self.cluster, now);
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        for (queue, count) in ["active", "backoff", "unschedulable", "gated"].iter().zip(self.queue.counts())
        {
            self.metrics.pending.with_label_values(&[*queue]).set(number(count));
        }
        let moves = self.queue.moves();
        for ((queue, event), count) in &moves {
            self.metrics.incoming.with_label_values(&[*queue, *event]).inc_by(*count);
        }
        self.metrics.cache.with_label_values(&["nodes"]).set(number(self.cluster.len()));
        self.metrics.cache.with_label_values(&["assumed_pods"]).set(number(self.binding.len()));
        if !moves.is_empty() {
            self.blame();
        }
        self.queue.next()
    }

    /// How many waiting pods each plugin refused.
    fn blame(&self) {
        self.metrics.unschedulable.reset();
        for (uid, (_, mask)) in &self.said {
            let Some(pod) = self.queue.get(uid) else { continue };
            let Some(profile) = self.profiles.iter().find(|p| *p.scheduler == *pod.scheduler) else {
                continue;
            };
            for name in profile.names(*mask) {
                self.metrics.unschedulable.with_label_values(&[name, &*profile.scheduler]).inc();
            }
        }
    }
}
