//! A job through crashes: whatever is lost between two writes, every pod is counted once.

use super::super::backoff::Record;
use super::super::plan::{Manage, Snapshot, assess};
use super::super::pods::pod_of;
use super::super::spec::{FINALIZER, finished, has_finalizer};
use super::super::track::{Outcome, track};
use super::{at, job};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A small generator of numbers: the same ones for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// What the server has, and what truly happened.
struct World {
    job: Job,
    pods: Vec<Pod>,
    made: usize,
    now: i64,
    dice: Dice,
    /// Pods that ended while they were to be counted, by uid.
    succeeded: BTreeSet<String>,
    failed: BTreeSet<String>,
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap()
}

fn is_open(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.status.as_ref().unwrap().phase.as_deref() == Some("Running")
}

impl World {
    fn new(spec: &str, seed: u64) -> Self {
        let job = Job { status: None, ..job(spec) };
        let (succeeded, failed) = (BTreeSet::new(), BTreeSet::new());
        Self { job, pods: Vec::new(), made: 0, now: 1_000_000, dice: Dice(seed), succeeded, failed }
    }

    fn time(&self) -> Timestamp {
        at(self.now)
    }

    /// What has lost its last finalizer and is deleted goes.
    fn sweep(&mut self) {
        self.pods.retain(|p| has_finalizer(p) || p.metadata.deletion_timestamp.is_none());
    }

    fn drop_finalizer(&mut self, uid: &str) {
        let pod = self.pods.iter_mut().find(|p| p.metadata.uid.as_deref() == Some(uid));
        if let Some(list) = pod.and_then(|p| p.metadata.finalizers.as_mut()) {
            list.retain(|f| f != FINALIZER);
        }
        self.sweep();
    }

    fn delete(&mut self, uid: &str) {
        let at = Time(self.time());
        if let Some(pod) = self.pods.iter_mut().find(|p| p.metadata.uid.as_deref() == Some(uid)) {
            pod.metadata.deletion_timestamp.get_or_insert(at);
        }
        self.sweep();
    }

    /// A pod ends or is deleted by somebody; a counted one may be cleared away.
    fn disturb(&mut self) {
        if self.pods.is_empty() {
            return;
        }
        let at = self.dice.roll(self.pods.len());
        let (kind, now) = (self.dice.roll(8), Time(self.time()));
        let pod = &mut self.pods[at];
        let (id, counted) = (uid(pod), has_finalizer(pod));
        if !is_open(pod) {
            if !counted && kind == 0 {
                self.pods.remove(at);
            }
            return;
        }
        let phase = match kind {
            0..=3 => Some("Succeeded"),
            4..=5 => Some("Failed"),
            _ => None,
        };
        match phase {
            Some(phase) => pod.status.as_mut().unwrap().phase = Some(phase.into()),
            None => pod.metadata.deletion_timestamp = Some(now),
        }
        if counted && phase == Some("Succeeded") {
            self.succeeded.insert(id);
        } else if counted {
            self.failed.insert(id);
        }
        self.sweep();
    }

    fn create(&mut self, index: Option<u32>, replaces: Option<&Pod>) {
        let mut pod = pod_of(&self.job, index, replaces);
        self.made += 1;
        pod.metadata.uid = Some(format!("p{}", self.made));
        pod.metadata.creation_timestamp = Some(Time(self.time()));
        pod.status.get_or_insert_default().phase = Some("Running".into());
        self.pods.push(pod);
    }

    /// One reconciliation; with `crash`, one that ends somewhere on its way.
    fn reconcile(&mut self, crash: bool) {
        if finished(&self.job).is_some() {
            return;
        }
        // How many more writes there are before the crash.
        let mut left = if crash { self.dice.roll(8) } else { usize::MAX };
        let mut write = || {
            let goes_on = left > 0;
            left = left.saturating_sub(1);
            goes_on
        };
        let pods: Vec<_> = self.pods.iter().cloned().map(Arc::new).collect();
        let snapshot = Snapshot { job: Arc::new(self.job.clone()), pods, backoff: Record::default() };
        let seen = assess(&snapshot, self.time()).unwrap();
        let mut outcome = Outcome::default();
        match &seen.manage {
            Manage::Keep => {}
            Manage::Create(indexes) => {
                for index in indexes {
                    if !write() {
                        return;
                    }
                    self.create(*index, index.and_then(|i| seen.awaiting.get(&i)).map(|p| &**p));
                    outcome.created += 1;
                }
            }
            Manage::Delete { pods, release } => {
                for pod in pods {
                    if *release {
                        if !write() {
                            return;
                        }
                        self.drop_finalizer(&uid(pod));
                    }
                    if !write() {
                        return;
                    }
                    self.delete(&uid(pod));
                    outcome.deleted += 1;
                }
            }
        }
        let mut tracking = track(&snapshot, seen, outcome, self.time());
        if std::mem::take(&mut tracking.flush) {
            if !write() {
                return;
            }
            self.job.status = Some(tracking.status.clone());
        }
        let strip: Vec<_> = tracking.strip.iter().map(|p| uid(p)).collect();
        for id in &strip {
            if !write() {
                return;
            }
            self.drop_finalizer(id);
        }
        let stripped: Vec<_> = strip.iter().map(String::as_str).collect();
        tracking.conclude(&stripped, self.job.spec.as_ref().unwrap().completions, true, self.time());
        if tracking.flush && write() {
            self.job.status = Some(tracking.status);
        }
    }

    /// Nothing is counted that did not happen, and nothing twice.
    fn check(&self, seed: u64) {
        let status = self.job.status.clone().unwrap_or_default();
        let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
        let (ok, bad) = (uncounted.succeeded.unwrap_or_default(), uncounted.failed.unwrap_or_default());
        let distinct: BTreeSet<_> = ok.iter().chain(&bad).collect();
        assert_eq!(distinct.len(), ok.len() + bad.len(), "seed {seed}: a pod is listed twice");
        let count = |n: Option<i32>, more: usize| usize::try_from(n.unwrap_or(0)).unwrap() + more;
        assert!(count(status.failed, bad.len()) <= self.failed.len(), "seed {seed}: too many failures");
        assert!(count(status.succeeded, ok.len()) <= self.succeeded.len(), "seed {seed}: too many successes");
    }
}

/// Runs the job to its end; `indexed` ones count indexes, not pods.
fn run(spec: &str, indexed: bool, seed: u64) {
    let mut world = World::new(spec, seed);
    for _ in 0..60 {
        // Longer than any wait before a new pod.
        world.now += 1000;
        for _ in 0..world.dice.roll(4) {
            world.disturb();
        }
        let crash = world.dice.roll(3) > 0;
        world.reconcile(crash);
        world.check(seed);
    }
    for _ in 0..400 {
        world.now += 1000;
        world.disturb();
        world.reconcile(false);
        world.check(seed);
    }
    let status = world.job.status.clone().unwrap();
    assert!(finished(&world.job).is_some(), "seed {seed}: not finished: {status:?}");
    assert_eq!(
        status.failed.unwrap_or(0),
        i32::try_from(world.failed.len()).unwrap(),
        "seed {seed}: failures"
    );
    let completions = world.job.spec.as_ref().unwrap().completions.unwrap();
    let succeeded = status.succeeded.unwrap_or(0);
    if indexed {
        assert_eq!(succeeded, completions, "seed {seed}: indexes");
        assert_eq!(status.completed_indexes, Some(format!("0-{}", completions - 1)), "seed {seed}");
    } else {
        assert_eq!(succeeded, i32::try_from(world.succeeded.len()).unwrap(), "seed {seed}: successes");
        assert!(succeeded >= completions, "seed {seed}: ended too early");
    }
    assert!(!world.pods.iter().any(has_finalizer), "seed {seed}: a pod was left uncounted");
}

#[test]
fn every_pod_is_counted_once_whatever_crashes() {
    for seed in 0..300 {
        run(r#","completions":6,"parallelism":3,"backoffLimit":9999"#, false, seed);
        run(r#","completionMode":"Indexed","completions":6,"parallelism":3,"backoffLimit":9999"#, true, seed);
        run(
            r#","completionMode":"Indexed","completions":4,"parallelism":4,"backoffLimitPerIndex":9999,"backoffLimit":2147483647"#,
            true,
            seed,
        );
    }
}
