//! Every creation and deletion of a kind from a moment on, whatever happens to the connection.
//!
//! An apiserver that has just started tells nothing of what was before it (410, as upstream's): then a list takes
//! the place of the events that were missed.

use futures::StreamExt;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Client, Resource, ResourceExt};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::time::Duration;
use tokio::task::JoinHandle;

/// UIDs by what happened to them.
#[derive(Clone, Default)]
pub struct Seen {
    pub added: BTreeSet<String>,
    pub deleted: BTreeSet<String>,
    /// What there is, as far as was told.
    there: BTreeSet<String>,
}

impl Seen {
    /// `fresh`: told by an event, which comes once.
    fn add(&mut self, uid: String, fresh: bool) {
        let new = self.there.insert(uid.clone());
        assert!(new || !fresh, "{uid} was told twice");
        if new {
            self.added.insert(uid);
        }
    }

    fn delete(&mut self, uid: String) {
        self.there.remove(&uid);
        self.deleted.insert(uid);
    }
}

/// A watch of all namespaces that goes on where it was cut off.
pub struct History<K> {
    stop: tokio::sync::watch::Sender<Option<String>>,
    task: JoinHandle<Seen>,
    api: Api<K>,
    kind: PhantomData<K>,
}

impl<K> History<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Everything after the return of this counts.
    pub async fn start(client: Client) -> Self {
        let api: Api<K> = Api::all(client);
        let list = api.list(&ListParams::default()).await.expect("a list");
        let from = list.metadata.resource_version.expect("a list has a revision");
        let there = list.items.iter().filter_map(ResourceExt::uid).collect();
        let (stop, until) = tokio::sync::watch::channel(None);
        let task = tokio::spawn(follow(api.clone(), Seen { there, ..Seen::default() }, from, until));
        Self { stop, task, api, kind: PhantomData }
    }

    /// What happened until now: the watch is read up to the newest object there is.
    pub async fn stop(self) -> Seen {
        let list = self.api.list(&ListParams::default()).await.expect("a list");
        let newest = list.items.iter().filter_map(|o| o.resource_version()?.parse::<u64>().ok()).max();
        // The task reads this until it ends.
        let _ = self.stop.send(Some(newest.unwrap_or(0).to_string()));
        tokio::time::timeout(Duration::from_secs(20), self.task)
            .await
            .expect("the watch catches up")
            .expect("a task")
    }
}

async fn follow<K>(
    api: Api<K>,
    mut seen: Seen,
    mut from: String,
    mut until: tokio::sync::watch::Receiver<Option<String>>,
) -> Seen
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    loop {
        let mut expired = false;
        if let Ok(stream) = api.watch(&WatchParams::default().timeout(200), &from).await {
            let mut stream = std::pin::pin!(stream);
            loop {
                if reached(&until, &from) {
                    return seen;
                }
                let event = tokio::select! {
                    event = stream.next() => event,
                    _ = until.changed() => continue,
                };
                match event {
                    Some(Ok(WatchEvent::Error(status))) => {
                        assert_eq!(status.code, 410, "{status:?}");
                        expired = true;
                        break;
                    }
                    Some(Ok(event)) => note(event, &mut seen, &mut from),
                    Some(Err(_)) | None => break,
                }
            }
        }
        if !expired {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        match api.list(&ListParams::default()).await {
            Ok(list) => {
                let now: BTreeSet<String> = list.items.iter().filter_map(ResourceExt::uid).collect();
                let gone: Vec<String> = seen.there.difference(&now).cloned().collect();
                gone.into_iter().for_each(|uid| seen.delete(uid));
                now.into_iter().for_each(|uid| seen.add(uid, false));
                from = list.metadata.resource_version.unwrap_or_default();
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn reached(until: &tokio::sync::watch::Receiver<Option<String>>, from: &str) -> bool {
    let until = until.borrow().as_deref().and_then(|u| u.parse::<u64>().ok());
    until.is_some_and(|until| from.parse::<u64>().is_ok_and(|now| now >= until))
}

fn note<K: Resource>(event: WatchEvent<K>, seen: &mut Seen, from: &mut String) {
    let mut keep = |object: &K| {
        if let Some(revision) = object.resource_version() {
            *from = revision;
        }
        object.uid().unwrap_or_default()
    };
    match event {
        WatchEvent::Added(o) => seen.add(keep(&o), true),
        WatchEvent::Modified(o) => drop(keep(&o)),
        WatchEvent::Deleted(o) => seen.delete(keep(&o)),
        WatchEvent::Bookmark(b) => *from = b.metadata.resource_version,
        WatchEvent::Error(_) => {}
    }
}
