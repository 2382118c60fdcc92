//! Taint eviction: pods leave nodes whose `NoExecute` taints they do not tolerate, or no longer.

mod plan;
#[cfg(test)]
mod tests;

use super::disruption;
use crate::context::{Context, now};
use gantry_client::events::reference;
use gantry_client::{EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Executor, Next, Reconcile};
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use plan::Verdict;
use std::collections::HashSet;

/// The index of pods by the node they are on.
pub(crate) const BY_NODE: &str = "node";

struct Controller {
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    executor: Executor,
    recorder: Recorder,
    /// Pods whose deletion is set for later, to tell when it is called off.
    waiting: Mutex<HashSet<Key>>,
}

/// The node a pod is on; empty where it is on none.
pub(crate) fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or("")
}

/// The pod informer with its index by node.
pub(crate) fn pods_by_node(context: &Context) -> Informer<Pod> {
    let pods = context.pods();
    pods.index(BY_NODE, |pod| vec![node_of(pod).to_owned()]);
    pods
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("noexec_taint_pod");
    let (pods, nodes) = (pods_by_node(context), context.informers.of::<Node>());
    let to = queue.clone();
    pods.on(move |delta| {
        let pod = delta.object();
        let same = delta.old().is_some_and(|old| {
            node_of(old) == node_of(pod)
                && old.spec.as_ref().map(|s| &s.tolerations) == pod.spec.as_ref().map(|s| &s.tolerations)
        });
        if !same && !node_of(pod).is_empty() {
            to.add(Key::of(&**pod));
        }
    });
    let (to, known) = (queue.clone(), pods.clone());
    nodes.on(move |delta| {
        let node = delta.object();
        let before = delta.old().map(|old| plan::no_execute(old)).unwrap_or_default();
        if !delta.is_deleted() && before != plan::no_execute(node) {
            let on = known.store().by_index(BY_NODE, node.metadata.name.as_deref().unwrap_or(""));
            on.iter().for_each(|pod| to.add(Key::of(&**pod)));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&pods);
    let controller = Controller {
        pods,
        nodes,
        executor: context.executor("node-controller", barrier.clone()),
        recorder: context.recorder("node-controller", "taint-eviction-controller"),
        waiting: Mutex::default(),
    };
    context.run("taint-eviction-controller", 8, controller, queue, barrier);
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let pod = self.pods.store().get(key);
        let node = pod.as_ref().and_then(|p| self.nodes.store().get(&Key::new("", node_of(p))));
        let (Some(pod), Some(node)) = (pod, node) else {
            self.waiting.lock().remove(key);
            return Ok(Next::Done);
        };
        match plan::judge(&pod, &node, now()) {
            Verdict::Stays => {
                if self.waiting.lock().remove(key) {
                    let message = format!("Cancelling deletion of Pod {key}");
                    self.recorder.event(
                        &reference(&*pod),
                        EventType::Normal,
                        "TaintManagerEviction",
                        message,
                    );
                }
                Ok(Next::Done)
            }
            Verdict::GoesAfter(wait) => {
                self.waiting.lock().insert(key.clone());
                Ok(Next::After(wait))
            }
            Verdict::Goes => {
                self.waiting.lock().remove(key);
                let message = format!("Marking for deletion Pod {key}");
                self.recorder.event(&reference(&*pod), EventType::Normal, "TaintManagerEviction", message);
                let why = "Taint manager: deleting due to NoExecute taint";
                disruption::delete(&self.executor, key, &pod, "DeletionByTaintManager", why, false).await?;
                if let Some(metrics) = crate::metrics::get() {
                    let late = now().duration_since(plan::due(&pod, &node, now()));
                    metrics.evicted.inc();
                    metrics.eviction_delays.observe(late.as_secs_f64());
                }
                Ok(Next::Done)
            }
        }
    }
}
