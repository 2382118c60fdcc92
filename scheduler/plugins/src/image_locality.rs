//! `ImageLocality`: nodes that have the pod's (large) images are liked, more so when many nodes have them.

use gantry_scheduler_core::framework::{Carried, Cx, MAX_SCORE};
use gantry_scheduler_core::{NodeIndex, NodeInfo, Plugin, Point};

const MB: i64 = 1024 * 1024;
/// Less than this in images is not worth anything.
const LEAST: i64 = 23 * MB;
/// More than this a container counts no more.
const MOST: i64 = 1000 * MB;

pub struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Score]
    }

    /// How widespread the images are counts on every node.
    fn local_epoch(&self, cx: &Cx<'_>) -> u64 {
        let spread = cx.pod.images.iter().map(|i| cx.cluster.image_nodes(i) as u64);
        let mut anywhere = false;
        let sum = spread.fold(0u64, |sum, n| {
            anywhere |= n > 0;
            sum.wrapping_mul(1_000_003).wrapping_add(n)
        });
        if anywhere { sum.wrapping_mul(1_000_003).wrapping_add(cx.cluster.len() as u64) } else { 0 }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "image sizes scaled to a score"
    )]
    fn score(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> i64 {
        let scaled = |image: &str| match node.image(image) {
            Some(size) => {
                let spread = cx.cluster.image_nodes(image) as f64 / cx.cluster.len().max(1) as f64;
                (size as f64 * spread) as i64
            }
            None => 0,
        };
        let sum: i64 = cx.pod.images.iter().map(|image| scaled(image)).sum();
        let most = MOST * i64::try_from(cx.pod.containers.max(1)).unwrap_or(1);
        MAX_SCORE * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST)
    }
}
