//! How fast and how far the number of replicas may go.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// A number of replicas, at a time.
type Timed = (i32, Timestamp);

/// What is remembered of an autoscaler.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// What was recommended.
    recommended: Vec<Timed>,
    /// By how many replicas it was scaled up, and down.
    added: Vec<Timed>,
    removed: Vec<Timed>,
}

/// A condition in the making: whether it is true, its reason and message.
pub(super) type Reason = (bool, &'static str, &'static str);

/// A number of replicas with the conditions that go with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limited {
    pub replicas: i32,
    /// `AbleToScale`.
    pub able: Reason,
    /// `ScalingLimited`.
    pub limited: Reason,
}

/// What a recommendation is held against.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub current: i32,
    pub min: i32,
    pub max: i32,
    pub behavior: Option<&'a HorizontalPodAutoscalerBehavior>,
    /// How far back higher recommendations count where the autoscaler does not say.
    pub downscale_window: SignedDuration,
    pub now: Timestamp,
}

const WITHIN: Reason = (false, "DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FEW: Reason =
    (true, "TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_MANY: Reason =
    (true, "TooManyReplicas", "the desired replica count is more than the maximum replica count");
const UP_LIMIT: Reason =
    (true, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Reason =
    (true, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const READY: Reason = (true, "ReadyForNewScale", "recommended size matches current size");
const HELD_DOWN: Reason = (
    true,
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const HELD_UP: Reason = (
    true,
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);

fn seconds(n: i32) -> SignedDuration {
    SignedDuration::from_secs(n.into())
}

impl Bounds<'_> {
    fn ago(&self, span: SignedDuration) -> Timestamp {
        self.now.checked_sub(span).unwrap_or(Timestamp::MIN)
    }
}

impl Memory {
    /// Notes the first size seen, so that a restart does not scale down at once.
    pub(super) fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommended.is_empty() {
            self.recommended.push((current, now));
        }
    }

    /// Notes a change that was made, for the rates that follow.
    pub(super) fn scaled(
        &mut self,
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
        from: i32,
        to: i32,
        now: Timestamp,
    ) {
        let Some(behavior) = behavior else { return };
        let (rules, list, change) = if to > from {
            (&behavior.scale_up, &mut self.added, to - from)
        } else {
            (&behavior.scale_down, &mut self.removed, from - to)
        };
        let policies = rules.iter().flat_map(|r| r.policies.iter().flatten());
        let longest = policies.map(|p| p.period_seconds).max().unwrap_or(0);
        let cutoff = now.checked_sub(seconds(longest)).unwrap_or(Timestamp::MIN);
        list.retain(|(_, at)| *at >= cutoff);
        list.push((change, now));
    }

    /// Holds a recommendation against what was recommended before, and against the bounds.
    pub(super) fn limit(&mut self, recommended: i32, bounds: Bounds<'_>) -> Limited {
        let (steady, able) = match bounds.behavior {
            None => self.steady(recommended, bounds),
            Some(behavior) => self.steady_by_rules(recommended, behavior, bounds),
        };
        let able = if steady == recommended { READY } else { able };
        let (replicas, mut limited) = match bounds.behavior {
            None => by_default_rates(steady, bounds),
            Some(behavior) => self.by_rules(steady, behavior, bounds),
        };
        limited.0 = replicas != steady;
        Limited { replicas, able, limited }
    }

    /// The highest recommendation within the window.
    fn steady(&mut self, recommended: i32, bounds: Bounds<'_>) -> (i32, Reason) {
        let cutoff = bounds.ago(bounds.downscale_window);
        self.recommended.retain(|(_, at)| *at >= cutoff);
        let highest = self.recommended.iter().map(|(n, _)| *n).fold(recommended, i32::max);
        self.recommended.push((recommended, bounds.now));
        (highest, HELD_UP)
    }

    fn steady_by_rules(
        &mut self,
        recommended: i32,
        behavior: &HorizontalPodAutoscalerBehavior,
        bounds: Bounds<'_>,
    ) -> (i32, Reason) {
        let window = |rules: &Option<HPAScalingRules>| rules.as_ref()?.stabilization_window_seconds;
        let up = bounds.ago(window(&behavior.scale_up).map_or(SignedDuration::ZERO, seconds));
        let down = bounds.ago(window(&behavior.scale_down).map_or(bounds.downscale_window, seconds));
        let since = |cutoff| self.recommended.iter().filter(move |(_, at)| *at > cutoff).map(|(n, _)| *n);
        let lowest = since(up).fold(recommended, i32::min);
        let highest = since(down).fold(recommended, i32::max);
        let steady = bounds.current.max(lowest).min(highest);
        self.recommended.retain(|(_, at)| *at >= up || *at >= down);
        self.recommended.push((recommended, bounds.now));
        (steady, if recommended >= bounds.current { HELD_DOWN } else { HELD_UP })
    }

    fn by_rules(
        &self,
        desired: i32,
        behavior: &HorizontalPodAutoscalerBehavior,
        bounds: Bounds<'_>,
    ) -> (i32, Reason) {
        if desired > bounds.current {
            let most = self.reach(behavior.scale_up.as_ref(), true, bounds).max(bounds.current);
            let (most, reason) = if bounds.max > most { (most, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
            if desired > most {
                return (most, reason);
            }
        } else if desired < bounds.current {
            let least = self.reach(behavior.scale_down.as_ref(), false, bounds).min(bounds.current);
            let (least, reason) =
                if bounds.min < least { (least, DOWN_LIMIT) } else { (bounds.min, TOO_FEW) };
            if desired < least {
                return (least, reason);
            }
        }
        (desired, WITHIN)
    }

    /// As far up or down as the policies allow now.
    fn reach(&self, rules: Option<&HPAScalingRules>, up: bool, bounds: Bounds<'_>) -> i32 {
        let Some(rules) = rules else { return if up { i32::MAX } else { i32::MIN } };
        let select = rules.select_policy.as_deref().unwrap_or("Max");
        if select == "Disabled" {
            return bounds.current;
        }
        let within = |list: &[Timed], period: i32| {
            let cutoff = bounds.ago(seconds(period));
            list.iter().filter(|(_, at)| *at > cutoff).map(|(n, _)| *n).sum::<i32>()
        };
        let allowed = rules.policies.iter().flatten().map(|policy| {
            let period = policy.period_seconds;
            let start = bounds.current - within(&self.added, period) + within(&self.removed, period);
            let part = f64::from(policy.value) / 100.0;
            match (policy.type_.as_str(), up) {
                ("Percent", true) => (f64::from(start) * (1.0 + part)).ceil() as i32,
                ("Percent", false) => (f64::from(start) * (1.0 - part)) as i32,
                (_, true) => start.saturating_add(policy.value),
                (_, false) => start.saturating_sub(policy.value),
            }
        });
        // The policy that allows the least change, or the most.
        if (select == "Min") == up {
            allowed.min().unwrap_or(if up { i32::MAX } else { i32::MIN })
        } else {
            allowed.max().unwrap_or(if up { i32::MIN } else { i32::MAX })
        }
    }
}

/// Without rules: at most to twice as many, or four.
fn by_default_rates(desired: i32, bounds: Bounds<'_>) -> (i32, Reason) {
    let rate = bounds.current.saturating_mul(2).max(4);
    let (most, reason) = if bounds.max > rate { (rate, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
    if desired < bounds.min {
        (bounds.min, TOO_FEW)
    } else if desired > most {
        (most, reason)
    } else {
        (desired, WITHIN)
    }
}
