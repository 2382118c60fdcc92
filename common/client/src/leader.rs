//! Leader election on a `Lease`, as upstream's: whoever's name is in the lease and renews it in time leads.

use crate::error::{self, ApiError};
use crate::events::{self, EventType, Recorder};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, PostParams};
use prometheus::{IntGaugeVec, register_int_gauge_vec};
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// `--leader-elect-*`.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    pub namespace: String,
    pub name: String,
    /// Who we are; unique per process.
    pub identity: String,
    pub lease_duration: Duration,
    pub renew_deadline: Duration,
    pub retry_period: Duration,
}

impl LeaderConfig {
    /// Upstream's times (15 s, 10 s, 2 s), in `kube-system`, as `<hostname>_<uuid>`.
    pub fn new(name: &str) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            namespace: "kube-system".into(),
            name: name.into(),
            identity: format!("{}_{}", host.trim(), uuid::Uuid::new_v4()),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// # Errors
    /// Upstream's words for times that cannot work together.
    pub fn validate(&self) -> Result<(), String> {
        if self.lease_duration <= self.renew_deadline {
            return Err("leaseDuration must be greater than renewDeadline".into());
        }
        if self.renew_deadline.as_secs_f64() <= self.retry_period.as_secs_f64() * 1.2 {
            return Err("renewDeadline must be greater than retryPeriod*JitterFactor".into());
        }
        Ok(())
    }
}

/// Clocks and timers are good to about this much.
const END: Duration = Duration::from_millis(2);

/// What a candidate remembers between tries.
#[derive(Default)]
struct Observed {
    lease: Option<Lease>,
    /// When the record last changed, by our own clock: leases are judged by change, never by their times.
    at: Option<Instant>,
}

/// Whether this process leads, by lease; `None` where the name is taken by someone else's metric.
static STATUS: LazyLock<Option<IntGaugeVec>> = LazyLock::new(|| {
    let help = "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the string used to identify the lease. Please make sure to group by name.";
    register_int_gauge_vec!("leader_election_master_status", help, &["name"]).ok()
});

fn note_status(name: &str, leads: bool) {
    if let Some(gauge) = &*STATUS {
        gauge.with_label_values(&[name]).set(i64::from(leads));
    }
}

/// A candidate.
pub struct Elector {
    config: LeaderConfig,
    api: Api<Lease>,
    observed: Observed,
    recorder: Option<Recorder>,
}

/// The lead, held until [`Leading::lost`] is cancelled.
pub struct Leading {
    /// Cancelled when the lease could not be renewed in time, or after release.
    pub lost: CancellationToken,
    release: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Leading {
    /// Gives the lease up, so that another may take it at once.
    pub async fn release(self) {
        self.release.cancel();
        // A panic in the task has been reported by the runtime; the lease then runs out by itself.
        let _ = self.task.await;
    }
}

fn lasts(spec: &LeaseSpec) -> Duration {
    Duration::from_secs(spec.lease_duration_seconds.and_then(|s| s.try_into().ok()).unwrap_or(0))
}

/// How long a candidate waits before it looks again: about `retry`, and no longer than to the moment the lease
/// runs out, so that a dead leader is followed within its lease and one retry. Upstream looks every `retry` to
/// 2.2 times that, whenever the lease ends. `chance` is from 0 to 1 and keeps candidates apart.
fn pause(retry: Duration, left: Option<Duration>, chance: f64) -> Duration {
    let usual = retry.mul_f64(0.8 + 0.2 * chance);
    let end = left.filter(|l| !l.is_zero()).map(|l| l + retry.mul_f64(0.02 * chance) + END);
    end.map_or(usual, |end| end.min(usual))
}

impl Elector {
    pub fn new(client: Client, config: LeaderConfig) -> Self {
        Self {
            api: Api::namespaced(client, &config.namespace),
            config,
            observed: Observed::default(),
            recorder: None,
        }
    }

    /// Waits until we lead; `None` if `stop` comes first. The returned lead renews itself.
    pub async fn acquire(mut self, stop: &CancellationToken) -> Option<Leading> {
        tracing::info!(lease = %self.lease_name(), "attempting to acquire leader lease");
        note_status(&self.config.name, false);
        loop {
            let mut left = None;
            match self.try_once().await {
                Ok(true) => break,
                Ok(false) => left = self.left(),
                Err(error) => tracing::warn!(error = error::message(&error), "cannot get the leader lease"),
            }
            let pause = pause(self.config.retry_period, left, rand::random());
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
        }
        tracing::info!(lease = %self.lease_name(), "successfully acquired lease");
        note_status(&self.config.name, true);
        self.tell("became leader");
        let (lost, release) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(self.renew(lost.clone(), release.clone()));
        Some(Leading { lost, release, task })
    }

    /// Tells of the comings and goings of this leader, as events of its lease.
    #[must_use]
    pub fn reporting(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    fn tell(&self, what: &str) {
        if let (Some(recorder), Some(lease)) = (&self.recorder, &self.observed.lease) {
            let message = format!("{} {what}", self.config.identity);
            recorder.event(&events::reference(lease), EventType::Normal, "LeaderElection", message);
        }
    }

    /// How long the lease of another holds, should it not be renewed.
    fn left(&self) -> Option<Duration> {
        let spec = self.observed.lease.as_ref()?.spec.as_ref()?;
        Some(lasts(spec).saturating_sub(self.observed.at?.elapsed()))
    }

    fn lease_name(&self) -> String {
        format!("{}/{}", self.config.namespace, self.config.name)
    }

    async fn renew(mut self, lost: CancellationToken, release: CancellationToken) {
        self.keep(&lost, &release).await;
        self.tell("stopped leading");
        note_status(&self.config.name, false);
        lost.cancel();
    }

    async fn keep(&mut self, lost: &CancellationToken, release: &CancellationToken) {
        let mut last = Instant::now();
        loop {
            tokio::select! {
                () = release.cancelled() => break,
                () = tokio::time::sleep(self.config.retry_period) => {}
            }
            let left = self.config.renew_deadline.saturating_sub(last.elapsed());
            match tokio::time::timeout(left, self.try_once()).await {
                Ok(Ok(true)) => last = Instant::now(),
                Ok(Ok(false)) => {
                    tracing::error!(lease = %self.lease_name(), "lost the leader lease to another");
                    lost.cancel();
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = error::message(&error), "cannot renew the leader lease")
                }
                Err(_) => {}
            }
            if last.elapsed() >= self.config.renew_deadline {
                tracing::error!(lease = %self.lease_name(), "failed to renew lease: timed out waiting for the condition");
                lost.cancel();
                return;
            }
        }
        self.give_up().await;
    }

    async fn give_up(&mut self) {
        let Some(mut lease) = self.observed.lease.clone() else { return };
        let now = MicroTime(Timestamp::now());
        let transitions = lease.spec.as_ref().and_then(|s| s.lease_transitions);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: transitions,
            ..LeaseSpec::default()
        });
        if let Err(error) = self.api.replace(&self.config.name, &PostParams::default(), &lease).await {
            tracing::warn!(error = error::message(&error), "failed to release lock");
        }
    }

    /// One try to take or keep the lease: whether we lead now.
    async fn try_once(&mut self) -> Result<bool, kube::Error> {
        // Holding it, an update at the revision we know needs no read first.
        if let Some(known) = self.observed.lease.clone()
            && self.holder(&known) == self.config.identity
        {
            match self.write(known).await {
                Ok(()) => return Ok(true),
                Err(error) if error.is_conflict() || error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let Some(lease) = self.api.get_opt(&self.config.name).await? else {
            let lease = Lease {
                metadata: kube::api::ObjectMeta {
                    name: Some(self.config.name.clone()),
                    namespace: Some(self.config.namespace.clone()),
                    ..Default::default()
                },
                spec: Some(self.spec(None)),
            };
            let made = self.api.create(&PostParams::default(), &lease).await?;
            self.observe(made);
            return Ok(true);
        };
        let changed = self.observed.lease.as_ref().is_none_or(|known| known.spec != lease.spec);
        if changed {
            self.observe(lease.clone());
        }
        let duration = lease.spec.as_ref().map(lasts).unwrap_or_default();
        let fresh = self.observed.at.is_some_and(|at| at.elapsed() < duration);
        let holder = self.holder(&lease).to_owned();
        if !holder.is_empty() && holder != self.config.identity && fresh {
            return Ok(false);
        }
        match self.write(lease).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn holder<'a>(&self, lease: &'a Lease) -> &'a str {
        lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref()).unwrap_or("")
    }

    fn observe(&mut self, lease: Lease) {
        self.observed = Observed { lease: Some(lease), at: Some(Instant::now()) };
    }

    async fn write(&mut self, mut lease: Lease) -> Result<(), kube::Error> {
        lease.spec = Some(self.spec(lease.spec.as_ref()));
        lease.metadata.managed_fields = None;
        let written = self.api.replace(&self.config.name, &PostParams::default(), &lease).await?;
        self.observe(written);
        Ok(())
    }

    /// The record to write over `old`.
    fn spec(&self, old: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let ours = old.is_some_and(|s| s.holder_identity.as_deref() == Some(self.config.identity.as_str()));
        let transitions = old.and_then(|s| s.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: Some(
                i32::try_from(self.config.lease_duration.as_secs()).unwrap_or(i32::MAX),
            ),
            acquire_time: old
                .filter(|_| ours)
                .and_then(|s| s.acquire_time.clone())
                .or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if ours || old.is_none() { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(left: Option<u64>, chance: f64, expected: u64) {
        let found = pause(Duration::from_secs(2), left.map(Duration::from_millis), chance);
        assert_eq!(found, Duration::from_millis(expected), "{left:?} {chance}");
    }

    #[test]
    fn candidates_look_again_when_the_lease_ends() {
        check(None, 0.0, 1600);
        check(None, 1.0, 2000);
        check(Some(15_000), 0.5, 1800);
        check(Some(1000), 0.0, 1002);
        check(Some(1000), 1.0, 1042);
        // It ran out, and another was quicker.
        check(Some(0), 0.0, 1600);
    }
}
