//! What runs at one moment, and what came later.

use gantry_e2e::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};

/// Pods by UID, with their names; restart counts by pod and container; the runtime's tasks.
#[derive(Debug)]
pub struct State {
    pub pods: BTreeMap<String, String>,
    pub restarts: BTreeMap<(String, String), i32>,
    pub tasks: BTreeSet<String>,
}

impl State {
    pub async fn take(cluster: &Cluster, client: &Client) -> Self {
        let list = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await.expect("pods");
        let (mut pods, mut restarts) = (BTreeMap::new(), BTreeMap::new());
        for pod in list {
            let uid = pod.uid().unwrap_or_default();
            pods.insert(uid.clone(), format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()));
            let status = pod.status.unwrap_or_default();
            for c in
                [status.container_statuses, status.init_container_statuses].into_iter().flatten().flatten()
            {
                restarts.insert((uid.clone(), c.name), c.restart_count);
            }
        }
        Self { pods, restarts, tasks: cluster.tasks() }
    }

    /// What `self` has beyond `before`.
    ///
    /// # Panics
    /// Where something of `before` is gone, or was restarted.
    pub fn since(&self, before: &Self) -> Self {
        assert!(
            before.tasks.is_subset(&self.tasks),
            "tasks ended: {:?}",
            before.tasks.difference(&self.tasks)
        );
        for (uid, name) in &before.pods {
            assert_eq!(self.pods.get(uid), Some(name), "a pod is gone");
        }
        for (container, count) in &before.restarts {
            assert_eq!(self.restarts.get(container), Some(count), "{container:?} was restarted");
        }
        let pods = self.pods.iter().filter(|(u, _)| !before.pods.contains_key(*u));
        let restarts = self.restarts.iter().filter(|(c, _)| !before.restarts.contains_key(*c));
        Self {
            pods: pods.map(|(u, n)| (u.clone(), n.clone())).collect(),
            restarts: restarts.map(|(c, n)| (c.clone(), *n)).collect(),
            tasks: self.tasks.difference(&before.tasks).cloned().collect(),
        }
    }
}
