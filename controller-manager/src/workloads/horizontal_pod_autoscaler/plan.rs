//! What an autoscaler does about its target now.

use super::calculator::Tolerances;
use super::limits::{Bounds, Limited, Memory};
use super::proposal::{Failure, Proposal};
use gantry_client::EventType;
use gantry_types::quantity::Quantity;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition,
    HorizontalPodAutoscalerStatus, MetricStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The condition that tells a target this controller scaled to zero from one somebody turned off.
const SCALED_TO_ZERO: &str = "ScaledToZero";

pub(super) type Event = (EventType, &'static str, String);

/// The autoscaler's status in the making.
#[derive(Debug)]
pub(super) struct Draft {
    pub status: HorizontalPodAutoscalerStatus,
    pub events: Vec<Event>,
    pub now: Timestamp,
}

/// What the numbers alone say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// The target has no replicas: somebody has turned it off.
    Off,
    /// Out of bounds, whatever the metrics say.
    Fixed(i32, &'static str),
    Metrics,
}

/// The size to go to, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub replicas: i32,
    pub reason: String,
}

pub(super) fn min_replicas(hpa: &HorizontalPodAutoscaler) -> i32 {
    hpa.spec.min_replicas.unwrap_or(1)
}

pub(super) fn current(scale: &Scale) -> i32 {
    scale.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0)
}

/// How far off a metric may be, by what the autoscaler says or else by `default`.
pub(super) fn tolerances(hpa: &HorizontalPodAutoscaler, default: f64) -> Tolerances {
    let behavior = hpa.spec.behavior.as_ref();
    let own = |rules: Option<&HPAScalingRules>| {
        let text = rules?.tolerance.as_ref()?;
        Quantity::try_from(text).ok().map(|q| q.as_f64())
    };
    Tolerances {
        down: own(behavior.and_then(|b| b.scale_down.as_ref())).unwrap_or(default),
        up: own(behavior.and_then(|b| b.scale_up.as_ref())).unwrap_or(default),
    }
}

/// Whether the autoscaler may go to no replicas at all: upstream's gate `HPAScaleToZero`, asked for with an
/// annotation.
pub(super) fn to_zero(hpa: &HorizontalPodAutoscaler) -> bool {
    let asked = hpa.metadata.annotations.as_ref().and_then(|a| a.get("gantry.io/scale-to-zero"));
    asked.is_some_and(|v| v == "true")
}

/// Whether it was this controller that took the last replica away, and not somebody who turned the target off.
fn at_zero(hpa: &HorizontalPodAutoscaler) -> bool {
    let conditions = hpa.status.iter().flat_map(|s| s.conditions.iter().flatten());
    to_zero(hpa) && conditions.into_iter().any(|c| c.type_ == SCALED_TO_ZERO && c.status == "True")
}

/// Whether a metric says something while there are no pods.
fn sees_without_pods(hpa: &HorizontalPodAutoscaler) -> bool {
    hpa.spec.metrics.iter().flatten().any(|m| matches!(m.type_.as_str(), "Object" | "External"))
}

pub(super) fn aim(hpa: &HorizontalPodAutoscaler, current: i32) -> Aim {
    let (min, max) = (min_replicas(hpa), hpa.spec.max_replicas);
    match current {
        0 if at_zero(hpa) && (min != 0 || sees_without_pods(hpa)) => Aim::Metrics,
        0 => Aim::Off,
        _ if current > max => Aim::Fixed(max, "Current number of replicas above Spec.MaxReplicas"),
        _ if current < min => Aim::Fixed(min, "Current number of replicas below Spec.MinReplicas"),
        _ => Aim::Metrics,
    }
}

impl Draft {
    pub(super) fn new(hpa: &HorizontalPodAutoscaler, now: Timestamp) -> Self {
        Self { status: hpa.status.clone().unwrap_or_default(), events: Vec::new(), now }
    }

    pub(super) fn warn(&mut self, reason: &'static str, message: impl Into<String>) {
        self.events.push((EventType::Warning, reason, message.into()));
    }

    /// Sets a condition; its time is that of its last change of status.
    pub(super) fn condition(&mut self, kind: &str, status: bool, reason: &str, message: impl Into<String>) {
        let list = self.status.conditions.get_or_insert_default();
        let status = if status { "True" } else { "False" };
        let at = match list.iter().position(|c| c.type_ == kind) {
            Some(at) => at,
            None => {
                list.push(HorizontalPodAutoscalerCondition { type_: kind.into(), ..Default::default() });
                list.len() - 1
            }
        };
        let condition = &mut list[at];
        if condition.status != status {
            condition.last_transition_time = Some(Time(self.now));
        }
        condition.status = status.into();
        (condition.reason, condition.message) = (Some(reason.into()), Some(message.into()));
    }

    /// The target's size could not be read.
    pub(super) fn no_scale(&mut self, error: &str) {
        self.warn("FailedGetScale", error);
        let message = format!("the HPA controller was unable to get the target's current scale: {error}");
        self.condition("AbleToScale", false, "FailedGetScale", message);
    }

    pub(super) fn has_scale(&mut self) {
        let message = "the HPA controller was able to get the target's current scale";
        self.condition("AbleToScale", true, "SucceededGetScale", message);
    }

    /// The target is turned off.
    pub(super) fn off(&mut self, hpa: &HorizontalPodAutoscaler) {
        let message = "scaling is disabled since the replica count of the target is zero";
        self.condition("ScalingActive", false, "ScalingDisabled", message);
        if !to_zero(hpa) {
            self.forget_zero();
        }
    }

    /// What only those that may go to zero say.
    fn forget_zero(&mut self) {
        self.status.conditions.iter_mut().for_each(|list| list.retain(|c| c.type_ != SCALED_TO_ZERO));
    }

    /// The largest of the proposals with its metric; an error where those that failed might have asked for more.
    pub(super) fn choose(
        &mut self,
        proposals: Vec<Result<Proposal, Failure>>,
        wanted: i32,
    ) -> Result<(i32, String, Vec<MetricStatus>, Option<String>), (String, Vec<MetricStatus>)> {
        let count = proposals.len();
        let (mut best, mut metric, mut statuses) = (0, String::new(), Vec::with_capacity(count));
        let mut failures = Vec::new();
        for proposal in proposals {
            match proposal {
                Ok(proposal) => {
                    if best == 0 || proposal.replicas > best {
                        (best, metric) = (proposal.replicas, proposal.metric);
                    }
                    statuses.push(proposal.status);
                }
                Err(failure) => {
                    self.warn(failure.reason, failure.message.clone());
                    // Its place is kept.
                    statuses.push(MetricStatus::default());
                    failures.push(failure);
                }
            }
        }
        let failed = failures.len();
        let words = failures.first().map(|first| {
            format!("invalid metrics ({failed} invalid out of {count}), first error is: {}", first.summary)
        });
        if let Some(first) = failures.first()
            && (failed >= count || best < wanted)
        {
            let message = format!("the HPA was unable to compute the replica count: {}", first.message);
            self.condition("ScalingActive", false, first.reason, message);
            return Err((words.unwrap_or_default(), statuses));
        }
        let message = format!("the HPA was able to successfully calculate a replica count from {metric}");
        self.condition("ScalingActive", true, "ValidMetricFound", message);
        Ok((best, metric, statuses, words))
    }

    /// The size to go to, by what the metrics ask for and the limits allow.
    pub(super) fn settle(
        &mut self,
        hpa: &HorizontalPodAutoscaler,
        memory: &mut Memory,
        current: i32,
        asked: (i32, &str),
        downscale_window: SignedDuration,
    ) -> Size {
        let desired = asked.0.max(0);
        let mut reason = if desired > current {
            format!("{} above target", asked.1)
        } else if desired < current {
            "All metrics below target".to_owned()
        } else {
            String::new()
        };
        let bounds = Bounds {
            current,
            min: min_replicas(hpa),
            max: hpa.spec.max_replicas,
            behavior: hpa.spec.behavior.as_ref(),
            downscale_window,
            now: self.now,
        };
        let Limited { replicas, able, limited } = memory.limit(desired, bounds);
        self.condition("AbleToScale", able.0, able.1, able.2);
        self.condition("ScalingLimited", limited.0, limited.1, limited.2);
        let min = min_replicas(hpa);
        if current == 0 && at_zero(hpa) && replicas < min {
            if reason.is_empty() {
                reason = "Current number of replicas below Spec.MinReplicas".to_owned();
            }
            return Size { replicas: min, reason };
        }
        Size { replicas, reason }
    }

    /// The target could not be written.
    pub(super) fn not_scaled(&mut self, size: &Size, error: &str) {
        let (replicas, reason) = (size.replicas, &size.reason);
        self.warn("FailedRescale", format!("New size: {replicas}; reason: {reason}; error: {error}"));
        let message = format!("the HPA controller was unable to update the target scale: {error}");
        self.condition("AbleToScale", false, "FailedUpdateScale", message);
    }

    pub(super) fn scaled(&mut self, hpa: &HorizontalPodAutoscaler, current: i32, size: &Size) {
        let (replicas, reason) = (size.replicas, &size.reason);
        let message = format!("the HPA controller was able to update the target scale to {replicas}");
        self.condition("AbleToScale", true, "SucceededRescale", message);
        let message = format!("New size: {replicas}; reason: {reason}");
        self.events.push((EventType::Normal, "SuccessfulRescale", message));
        self.status.last_scale_time = Some(Time(self.now));
        if !to_zero(hpa) {
            self.forget_zero();
        } else if current > 0 && replicas == 0 && min_replicas(hpa) == 0 && sees_without_pods(hpa) {
            let message = "the HPA controller scaled the workload to zero";
            self.condition(SCALED_TO_ZERO, true, "ScaledToZero", message);
        } else {
            let message = "the HPA controller did not scale the workload to zero";
            self.condition(SCALED_TO_ZERO, false, "NotScaledToZero", message);
        }
    }

    /// The status as it is to be written. `desired` is left as it was where there is none.
    pub(super) fn finish(
        mut self,
        current: i32,
        desired: Option<i32>,
        metrics: Option<Vec<MetricStatus>>,
    ) -> (HorizontalPodAutoscalerStatus, Vec<Event>) {
        self.status.current_replicas = (current != 0).then_some(current);
        self.status.desired_replicas = desired.unwrap_or(self.status.desired_replicas);
        self.status.current_metrics = metrics.filter(|m| !m.is_empty());
        self.status.observed_generation = None;
        (self.status, self.events)
    }
}
