//! The pod garbage collector: pods that ended long ago, pods of nodes that are no more, pods that were deleted
//! before they had a node.

use super::disruption;
use super::powered_off::is_out_of_service;
use super::taint_eviction::{BY_NODE, node_of, pods_by_node};
use crate::context::Context;
use gantry_client::{Informer, Key, Queue};
use gantry_reconcile::{Barrier, Executor, Next, Reconcile, conditions};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use std::sync::Arc;
use std::time::Duration;

/// How long a node must be gone before its pods are.
const QUARANTINE: Duration = Duration::from_secs(40);
/// Terminated pods are counted this long after one ended: many end together.
const GATHER: Duration = Duration::from_secs(20);

const TERMINATED: &str = "terminated";
const NODE: &str = "node";

struct Controller {
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    executor: Executor,
    threshold: usize,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("pod_gc");
    let (pods, nodes) = (pods_by_node(context), context.informers.of::<Node>());
    let threshold = usize::try_from(context.config.args.terminated_pod_gc_threshold).unwrap_or(0);
    let (to, known) = (queue.clone(), nodes.clone());
    pods.on(move |delta| {
        let pod = delta.object();
        if delta.is_deleted() {
            return;
        }
        if threshold > 0 && conditions::is_terminal(pod) {
            to.add_after(Key::new(TERMINATED, ""), GATHER);
        }
        let node = node_of(pod);
        // Its end is nobody's to report any more.
        if !node.is_empty()
            && pod.metadata.deletion_timestamp.is_some()
            && known.store().get(&Key::new("", node)).is_some_and(|n| is_out_of_service(&n))
        {
            return to.add(Key::new(NODE, node));
        }
        if node.is_empty() && pod.metadata.deletion_timestamp.is_some() {
            to.add(Key::of(&**pod));
        } else if !node.is_empty()
            && delta.old().is_none_or(|old| node_of(old) != node)
            && known.store().get(&Key::new("", node)).is_none()
        {
            to.add_after(Key::new(NODE, node), QUARANTINE);
        }
    });
    let to = queue.clone();
    nodes.on(move |delta| {
        let node = delta.object();
        if delta.is_deleted() {
            to.add_after(Key::new(NODE, node.metadata.name.as_deref().unwrap_or("")), QUARANTINE);
        } else if is_out_of_service(node) {
            to.add(Key::new(NODE, node.metadata.name.as_deref().unwrap_or("")));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&pods);
    let controller = Controller {
        pods,
        nodes,
        executor: context.executor("pod-garbage-collector", barrier.clone()),
        threshold,
    };
    context.run("pod-garbage-collector-controller", 2, controller, queue, barrier);
}

/// The terminated pods beyond the threshold, oldest first.
fn surplus(pods: Vec<Arc<Pod>>, threshold: usize) -> Vec<Arc<Pod>> {
    let mut ended: Vec<_> = pods.into_iter().filter(|p| conditions::is_terminal(p)).collect();
    let surplus = ended.len().saturating_sub(threshold);
    ended.sort_by(|a, b| {
        let made = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
        made(a).cmp(&made(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    ended.truncate(surplus);
    ended
}

impl Controller {
    async fn node_gone(&self, key: &Key) -> Result<(), kube::Error> {
        let name = key.name();
        let pods = self.pods.store().by_index(BY_NODE, name);
        if let Some(node) = self.nodes.store().get(&Key::new("", name)) {
            if is_out_of_service(&node) {
                for pod in pods.iter().filter(|p| p.metadata.deletion_timestamp.is_some()) {
                    self.force(key, pod, "", "").await?;
                }
            }
            return Ok(());
        }
        let api: Api<Node> = Api::all(self.executor.client().clone());
        if pods.is_empty() || api.get_opt(name).await?.is_some() {
            return Ok(());
        }
        for pod in pods {
            self.force(key, &pod, "DeletionByPodGC", "PodGC: node no longer exists").await?;
        }
        Ok(())
    }

    async fn force(&self, key: &Key, pod: &Pod, reason: &str, message: &str) -> Result<(), kube::Error> {
        tracing::info!(pod = %Key::of(pod), reason, "removing pod");
        disruption::delete(&self.executor, key, pod, reason, message, true).await
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        match key.namespace() {
            TERMINATED if key.name().is_empty() => {
                for pod in surplus(self.pods.store().list(), self.threshold) {
                    self.force(key, &pod, "", "").await?;
                }
            }
            // A namespace may be named "node", and then a pod's key may look like a node's: a look at the pod
            // first does no harm.
            NODE if self.pods.store().get(key).is_none_or(|p| !node_of(&p).is_empty()) => {
                self.node_gone(key).await?
            }
            _ => {
                if let Some(pod) = self.pods.store().get(key)
                    && node_of(&pod).is_empty()
                    && pod.metadata.deletion_timestamp.is_some()
                {
                    self.force(key, &pod, "", "").await?;
                }
            }
        }
        Ok(Next::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodStatus;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn pod(name: &str, phase: &str, second: i64) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.creation_timestamp = Some(Time(jiff::Timestamp::from_second(second).unwrap()));
        pod.status = Some(PodStatus { phase: Some(phase.into()), ..PodStatus::default() });
        Arc::new(pod)
    }

    #[test]
    fn the_oldest_beyond_the_threshold_go() {
        let pods = || {
            vec![
                pod("b", "Failed", 2),
                pod("run", "Running", 0),
                pod("c", "Succeeded", 3),
                pod("a", "Failed", 1),
            ]
        };
        let names = |threshold| {
            surplus(pods(), threshold).iter().map(|p| p.metadata.name.clone().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names(1), ["a", "b"]);
        assert!(names(3).is_empty());
    }
}
