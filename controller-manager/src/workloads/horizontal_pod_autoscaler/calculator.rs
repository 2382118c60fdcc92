//! From what pods use to how many there should be.
//!
//! Amounts are in thousandths of the metric's unit; ratios are of what is to what should be.

use super::requests;
use gantry_reconcile::conditions;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one pod used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub value: i64,
    pub at: Timestamp,
    pub window: SignedDuration,
}

/// Samples by pod.
pub(super) type Samples = BTreeMap<String, Sample>;

/// How far a ratio may be from one before anything is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerances {
    pub down: f64,
    pub up: f64,
}

impl Tolerances {
    fn cover(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// What a calculation is made with.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    /// What the target's spec asks for.
    pub wanted: i32,
    /// What the target's status reports.
    pub running: i32,
    /// The target's pods.
    pub pods: &'a [Arc<Pod>],
    pub tolerances: Tolerances,
    /// How long after its start a pod's CPU use may be that of starting up.
    pub cpu_initialization: SignedDuration,
    /// How long after its start a pod that turns unready counts as not having been ready yet.
    pub initial_readiness: SignedDuration,
    pub now: Timestamp,
}

/// A proposed number of replicas, and the use it follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub replicas: i32,
    /// The average, or the object's or external value.
    pub usage: i64,
    /// Percent of what was requested, where that was asked.
    pub utilization: Option<i32>,
}

/// Go's conversion of a rounded float, without its undefined ends.
fn whole(number: f64) -> i32 {
    number.ceil() as i32
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("")
}

/// Pods told apart by what their samples are worth.
#[derive(Default)]
struct Groups<'a> {
    ready: i32,
    /// Not started, or starting.
    unready: Vec<&'a str>,
    missing: Vec<&'a str>,
    /// Ended or going.
    ignored: Vec<&'a str>,
}

impl Setting<'_> {
    fn group(&self, samples: &Samples, resource: &str) -> Groups<'_> {
        let mut groups = Groups::default();
        for pod in self.pods {
            let sample = samples.get(name(pod));
            if pod.metadata.deletion_timestamp.is_some() || conditions::phase(pod) == "Failed" {
                groups.ignored.push(name(pod));
            } else if conditions::phase(pod) == "Pending" {
                groups.unready.push(name(pod));
            } else if let Some(sample) = sample {
                if resource == "cpu" && self.is_starting(pod, sample) {
                    groups.unready.push(name(pod));
                } else {
                    groups.ready += 1;
                }
            } else {
                groups.missing.push(name(pod));
            }
        }
        groups
    }

    /// Whether the sample may be of a pod that was not ready.
    fn is_starting(&self, pod: &Pod, sample: &Sample) -> bool {
        let start = pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
        let (Some(condition), Some(start)) = (conditions::of(pod, "Ready"), start) else { return true };
        let unready = condition.status == "False";
        let changed = condition.last_transition_time.as_ref().map_or(Timestamp::MIN, |t| t.0);
        let after = |at: Timestamp, span| at.checked_add(span).unwrap_or(Timestamp::MAX);
        if after(start, self.cpu_initialization) > self.now {
            unready || sample.at < after(changed, sample.window)
        } else {
            unready && after(start, self.initial_readiness) > changed
        }
    }

    fn any_pods(&self) -> Result<(), String> {
        if self.pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".into());
        }
        Ok(())
    }

    /// The rule common to all metrics of pods. `ratio` gives the ratio of samples with what goes with it;
    /// `filler` is what a pod without a sample is taken to use where the others use too little.
    fn by_pods<T>(
        &self,
        mut samples: Samples,
        resource: &str,
        ratio: impl Fn(&Samples) -> Result<(f64, T), String>,
        filler: impl Fn(&str) -> i64,
    ) -> Result<(i32, T), String> {
        let groups = self.group(&samples, resource);
        for gone in groups.ignored.iter().chain(&groups.unready) {
            samples.remove(*gone);
        }
        if samples.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".into());
        }
        let (seen, found) = ratio(&samples)?;
        let with_unready = !groups.unready.is_empty() && seen > 1.0;
        if !with_unready && groups.missing.is_empty() {
            let kept = self.tolerances.cover(seen);
            return Ok((if kept { self.wanted } else { whole(seen * f64::from(groups.ready)) }, found));
        }
        // Pods nothing is known of hold back a change in either direction.
        let guess = |value| Sample { value, at: self.now, window: SignedDuration::ZERO };
        for pod in &groups.missing {
            if seen < 1.0 {
                samples.insert((*pod).to_owned(), guess(filler(pod)));
            } else if seen > 1.0 {
                samples.insert((*pod).to_owned(), guess(0));
            }
        }
        if with_unready {
            samples.extend(groups.unready.iter().map(|pod| ((*pod).to_owned(), guess(0))));
        }
        let (guessed, _) = ratio(&samples)?;
        let turned = (seen < 1.0 && guessed > 1.0) || (seen > 1.0 && guessed < 1.0);
        if self.tolerances.cover(guessed) || turned {
            return Ok((self.wanted, found));
        }
        let replicas = whole(guessed * samples.len() as f64);
        let backwards =
            (guessed < 1.0 && replicas > self.wanted) || (guessed > 1.0 && replicas < self.wanted);
        Ok((if backwards { self.wanted } else { replicas }, found))
    }

    /// By percent of what the pods request.
    pub(super) fn by_utilization(
        &self,
        samples: Samples,
        resource: &str,
        container: &str,
        target: i32,
    ) -> Result<Found, String> {
        self.any_pods()?;
        let groups = self.group(&samples, resource);
        if samples.keys().all(|pod| groups.ignored.iter().chain(&groups.unready).any(|gone| gone == pod)) {
            return Err("did not receive metrics for targeted pods (pods might be unready)".into());
        }
        let requests = requests::of(self.pods, container, resource)?;
        let ratio = |samples: &Samples| {
            let known = samples.iter().filter_map(|(pod, s)| Some((s.value, *requests.get(pod)?)));
            let (used, asked, count) =
                known.fold((0i64, 0i64, 0i64), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + 1));
            if asked == 0 {
                return Err("no metrics returned matched known pods".to_owned());
            }
            let percent = (i128::from(used) * 100 / i128::from(asked)) as i32;
            Ok((f64::from(percent) / f64::from(target), (used / count, percent)))
        };
        let full = i64::from(target.max(100));
        let filler = |pod: &str| requests.get(pod).copied().unwrap_or(0) * full / 100;
        let (replicas, (usage, percent)) = self.by_pods(samples, resource, ratio, filler)?;
        Ok(Found { replicas, usage, utilization: Some(percent) })
    }

    /// By an average amount. `resource` is empty for metrics that are not of a resource.
    pub(super) fn by_average(&self, samples: Samples, resource: &str, target: i64) -> Result<Found, String> {
        self.any_pods()?;
        let ratio = |samples: &Samples| {
            let total: i64 = samples.values().map(|s| s.value).sum();
            let usage = total / i64::try_from(samples.len()).unwrap_or(1).max(1);
            Ok((usage as f64 / target as f64, usage))
        };
        let (replicas, usage) = self.by_pods(samples, resource, ratio, |_| target)?;
        Ok(Found { replicas, usage, utilization: None })
    }

    /// By one value that is to come to `target` whatever the number of pods.
    pub(super) fn by_value(&self, usage: i64, target: i64) -> Result<Found, String> {
        let ratio = usage as f64 / target as f64;
        let replicas = if self.wanted == 0 {
            whole(ratio)
        } else if self.tolerances.cover(ratio) {
            self.wanted
        } else {
            self.any_pods().map_err(|e| format!("unable to calculate ready pods: {e}"))?;
            let ready = |p: &&Arc<Pod>| conditions::phase(p) == "Running" && conditions::is_ready(p);
            whole(ratio * self.pods.iter().filter(ready).count() as f64)
        };
        Ok(Found { replicas, usage, utilization: None })
    }

    /// By one value that is shared among the pods, `target` for each.
    pub(super) fn by_share(&self, usage: i64, target: i64) -> Found {
        if self.running == 0 {
            // Nobody to share it: all of it shows.
            return Found { replicas: whole(usage as f64 / target as f64), usage, utilization: None };
        }
        let ratio = usage as f64 / (target as f64 * f64::from(self.running));
        let enough = self.tolerances.cover(ratio);
        let replicas = if enough { self.running } else { whole(usage as f64 / target as f64) };
        let usage =
            if usage == i64::MAX { usage } else { (usage as f64 / f64::from(self.running)).ceil() as i64 };
        Found { replicas, usage, utilization: None }
    }
}
