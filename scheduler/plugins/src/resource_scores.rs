//! How allocated resources make a score: the strategies of `NodeResourcesFit`, and balance.

use crate::args::{ResourceSpec, ScoringStrategy, UtilizationShapePoint};
use gantry_scheduler_core::framework::MAX_SCORE;
use gantry_scheduler_core::{NodeInfo, Resources, Shape};

/// One resource: used without the pod, used with it, there in all.
pub(crate) type Use = (i64, i64, i64);

#[derive(Clone, Debug)]
pub enum Strategy {
    Least,
    Most,
    /// Points of utilization and score, both 0 to 100, joined by straight lines.
    Ratio(Vec<(i64, i64)>),
}

impl Strategy {
    pub fn new(strategy: &ScoringStrategy) -> Self {
        match strategy.type_.as_str() {
            "MostAllocated" => Self::Most,
            "RequestedToCapacityRatio" => {
                let shape = strategy.requested_to_capacity_ratio.as_ref().map(|r| &r.shape);
                let point = |p: &UtilizationShapePoint| (p.utilization.into(), i64::from(p.score) * 10);
                Self::Ratio(shape.into_iter().flatten().map(point).collect())
            }
            _ => Self::Least,
        }
    }

    fn one(&self, used: i64, has: i64) -> i64 {
        match self {
            Self::Least => {
                if used > has {
                    0
                } else {
                    (has - used) * MAX_SCORE / has
                }
            }
            Self::Most => used.min(has) * MAX_SCORE / has,
            Self::Ratio(shape) => broken_line(shape, if used > has { 100 } else { used * 100 / has }),
        }
    }

    /// The weighted mean over the resources.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a score of whole percents"
    )]
    pub fn score(&self, uses: impl Iterator<Item = (Use, i64)>) -> i64 {
        let (mut sum, mut weights) = (0, 0);
        for ((_, used, has), weight) in uses.filter(|((_, _, has), _)| *has != 0) {
            let score = self.one(used, has);
            if score > 0 || !matches!(self, Self::Ratio(_)) {
                sum += score * weight;
                weights += weight;
            }
        }
        match self {
            _ if weights == 0 => 0,
            Self::Ratio(_) => (sum as f64 / weights as f64).round() as i64,
            _ => sum / weights,
        }
    }
}

fn broken_line(shape: &[(i64, i64)], at: i64) -> i64 {
    let (Some(first), Some(last)) = (shape.first(), shape.last()) else { return 0 };
    if at <= first.0 {
        return first.1;
    }
    let segment = shape.windows(2).find(|w| at <= w[1].0);
    segment.map_or(last.1, |w| w[0].1 + (w[1].1 - w[0].1) * (at - w[0].0) / (w[1].0 - w[0].0))
}

/// A node's use of one resource by name. Extended resources the pod does not ask for do not count.
pub(crate) fn used(name: &str, node: &NodeInfo, own: (&Resources, (i64, i64)), base: (i64, i64)) -> Use {
    let (asks, (cpu, memory)) = own;
    let (before, add, has) = match name {
        "cpu" => (base.0, cpu, node.allocatable.cpu),
        "memory" => (base.1, memory, node.allocatable.memory),
        "ephemeral-storage" => (node.requested.ephemeral, asks.ephemeral, node.allocatable.ephemeral),
        other => match asks.scalar(other) {
            0 => (0, 0, 0),
            add => (node.requested.scalar(other), add, node.allocatable.scalar(other)),
        },
    };
    (before, before + add, has)
}

/// CPU and memory as the pod's wish counts, over what nodes count of their pods.
pub(crate) fn by_wish<'a>(
    specs: &'a [ResourceSpec],
    pod: &'a Shape,
    node: &'a NodeInfo,
) -> impl Iterator<Item = (Use, i64)> + 'a {
    specs.iter().map(|s| (used(&s.name, node, (&pod.requests, pod.wish), node.scoring), s.weight))
}

/// 100 less the standard deviation of the used fractions, in percent.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a score of whole percents")]
pub(crate) fn balance(uses: impl Iterator<Item = (i64, i64)>) -> i64 {
    let (mut fractions, mut count, mut sum) = ([0.0f64; 16], 0usize, 0.0f64);
    for (used, has) in uses.filter(|(_, has)| *has != 0).take(16) {
        fractions[count] = (used as f64 / has as f64).min(1.0);
        sum += fractions[count];
        count += 1;
    }
    let deviation = match count {
        0 | 1 => 0.0,
        2 => ((fractions[0] - fractions[1]) / 2.0).abs(),
        n => {
            let mean = sum / n as f64;
            let squares: f64 = fractions[..n].iter().map(|f| (f - mean) * (f - mean)).sum();
            (squares / n as f64).sqrt()
        }
    };
    ((1.0 - deviation) * MAX_SCORE as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_score_as_upstream() {
        let check = |strategy: &Strategy, used: i64, expected: i64| {
            let uses = [((0, used, 1000), 1), ((0, 500, 1000), 1)];
            assert_eq!(strategy.score(uses.into_iter()), expected, "{strategy:?} {used}");
        };
        check(&Strategy::Least, 250, (75 + 50) / 2);
        check(&Strategy::Least, 2000, 25);
        check(&Strategy::Most, 250, (25 + 50) / 2);
        check(&Strategy::Most, 2000, 75);
        let ratio = Strategy::Ratio(vec![(0, 0), (50, 100), (100, 0)]);
        check(&ratio, 250, 75);
        // What scores nothing does not count in the mean.
        check(&ratio, 1000, 100);
        assert_eq!(balance([(50, 100), (25, 100)].into_iter()), 87);
        assert_eq!(balance([(50, 100)].into_iter()), 100);
        assert_eq!(balance([(0, 100), (50, 100), (100, 100)].into_iter()), 59);
    }
}
