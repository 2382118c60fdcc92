//! `ImageLocality`: nodes that have the pod's (large) images are liked, more so when many nodes have them.

use gantry_scheduler_core::framework::{Carried, MAX_SCORE};
use gantry_scheduler_core::{Cluster, NodeInfo, Plugin, PodInfo};

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

    fn scores(&self, pod: &PodInfo) -> bool {
        !pod.images.is_empty()
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "image sizes scaled to a score"
    )]
    fn score(&self, pod: &PodInfo, node: &NodeInfo, cluster: &Cluster, _: &Carried) -> i64 {
        let scaled = |image: &str| match node.images.get(image) {
            Some(size) => {
                let spread = cluster.image_nodes(image) as f64 / cluster.len().max(1) as f64;
                (*size as f64 * spread) as i64
            }
            None => 0,
        };
        let sum: i64 = pod.images.iter().map(|image| scaled(image)).sum();
        let most = MOST * i64::try_from(pod.images.len()).unwrap_or(1);
        MAX_SCORE * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST)
    }
}
