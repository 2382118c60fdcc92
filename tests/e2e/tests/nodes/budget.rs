//! How many pods of an app were left each time one was told to go, by a watch of all of them.

use futures::StreamExt;
use gantry_e2e::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use std::collections::BTreeMap;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// One pod told to go.
#[derive(Debug)]
pub struct Departure {
    pub pod: String,
    /// The app's other pods that were ready, and not told to go themselves.
    pub left: usize,
}

pub struct Departures {
    runtime: tokio::runtime::Runtime,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Vec<Departure>>,
}

impl Departures {
    /// Watches the pods with the label `app` in the namespace `default` from now on.
    pub fn watch(cluster: &Cluster, app: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (stop, stopped) = oneshot::channel();
        let (pods, stream) = runtime.block_on(async {
            let api: Api<Pod> = Api::namespaced(cluster.client().await, "default");
            let label = format!("app={app}");
            let list = api.list(&ListParams::default().labels(&label)).await.expect("pods");
            let from = list.metadata.resource_version.expect("a list has a revision");
            let params = WatchParams::default().labels(&label).timeout(290);
            let stream = api.watch(&params, &from).await.expect("a watch");
            (list.items, stream)
        });
        let task = runtime.spawn(async move {
            let mut state: BTreeMap<String, Pod> = pods.into_iter().map(|p| (p.name_any(), p)).collect();
            let (mut departures, mut stopped) = (Vec::new(), stopped);
            let mut stream = std::pin::pin!(stream);
            loop {
                let event = tokio::select! {
                    event = stream.next() => event.expect("the watch goes on").expect("an event"),
                    _ = &mut stopped => return departures,
                };
                note(event, &mut state, &mut departures);
            }
        });
        Self { runtime, stop, task }
    }

    /// What happened until now.
    pub fn end(self) -> Vec<Departure> {
        // The task lives until it is told.
        let _ = self.stop.send(());
        self.runtime.block_on(self.task).expect("a task")
    }
}

fn is_well(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn note(event: WatchEvent<Pod>, state: &mut BTreeMap<String, Pod>, departures: &mut Vec<Departure>) {
    match event {
        WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
            let before = state.insert(pod.name_any(), pod.clone());
            let going = |p: &Pod| p.metadata.deletion_timestamp.is_some();
            if going(&pod) && !before.as_ref().is_some_and(going) {
                let left = state.values().filter(|p| is_well(p)).count();
                departures.push(Departure { pod: pod.name_any(), left });
            }
        }
        WatchEvent::Deleted(pod) => {
            state.remove(&pod.name_any());
        }
        WatchEvent::Bookmark(_) => {}
        WatchEvent::Error(status) => panic!("the watch was cut: {status:?}"),
    }
}
