//! Writing pod statuses: the newest wins, one patch in flight per pod, nothing sent that changed nothing.

use gantry_client::error::ApiError;
use gantry_kubelet_core::pods;
use gantry_types::Document;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

struct Entry {
    namespace: String,
    name: String,
    /// The API object's UID (a static pod's mirror has its own).
    uid: String,
    latest: Arc<PodStatus>,
    /// What the API is known to hold.
    sent: Option<Arc<PodStatus>>,
    busy: bool,
    idle: Arc<Notify>,
}

/// Shared by all pod workers.
#[derive(Clone)]
pub struct Statuses {
    client: Option<kube::Client>,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
}

impl Statuses {
    pub fn new(client: Option<kube::Client>) -> Self {
        Self { client, entries: Arc::default() }
    }

    /// The latest computed status.
    pub fn get(&self, uid: &str) -> Option<Arc<PodStatus>> {
        self.entries.lock().get(uid).map(|e| e.latest.clone())
    }

    pub fn forget(&self, uid: &str) {
        self.entries.lock().remove(uid);
    }

    /// Records a pod's status and sees to it that the API learns of it. `uid` is the kubelet's own identity for
    /// the pod; `object` the API object that shows it.
    pub fn set(&self, uid: &str, object: Option<&Pod>, status: PodStatus) {
        let mut entries = self.entries.lock();
        let status = Arc::new(status);
        let e = entries.entry(uid.to_owned()).or_insert_with(|| Entry {
            namespace: String::new(),
            name: String::new(),
            uid: String::new(),
            latest: status.clone(),
            sent: None,
            busy: false,
            idle: Arc::new(Notify::new()),
        });
        if let Some(o) = object
            && e.uid != pods::uid(o)
        {
            e.namespace = pods::namespace(o).to_owned();
            e.name = pods::name(o).to_owned();
            e.uid = pods::uid(o).to_owned();
            e.sent = o.status.clone().map(Arc::new);
        }
        e.latest = status;
        if e.busy || e.uid.is_empty() || e.sent.as_deref() == Some(&*e.latest) {
            return;
        }
        if let Some(client) = self.client.clone() {
            e.busy = true;
            tokio::spawn(drain(client, self.entries.clone(), uid.to_owned()));
        }
    }

    /// Resolves once everything set so far for a pod is written, or given up.
    pub async fn flushed(&self, uid: &str) {
        loop {
            let idle = match self.entries.lock().get(uid) {
                Some(e) if e.busy => e.idle.clone(),
                _ => return,
            };
            // The bound covers a wake-up that came between the look and the wait.
            let _ = tokio::time::timeout(Duration::from_millis(200), idle.notified()).await;
        }
    }
}

async fn drain(client: kube::Client, entries: Arc<Mutex<HashMap<String, Entry>>>, uid: String) {
    let mut pause = Duration::from_millis(200);
    loop {
        let (namespace, name, object, latest, sent) = {
            let mut all = entries.lock();
            let Some(e) = all.get_mut(&uid) else { return };
            if e.sent.as_deref() == Some(&*e.latest) {
                e.busy = false;
                e.idle.notify_waiters();
                return;
            }
            (e.namespace.clone(), e.name.clone(), e.uid.clone(), e.latest.clone(), e.sent.clone())
        };
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let body = patch(&object, sent.as_deref(), &latest);
        let done = match body {
            Some(doc) => {
                let patch = Patch::Strategic(doc.into_map());
                api.patch_status(&name, &PatchParams::default(), &patch).await.map(drop)
            }
            None => Ok(()),
        };
        match done {
            Ok(()) => pause = Duration::from_millis(200),
            // Gone, or another pod of that name: there is nothing to write to.
            Err(e) if e.is_not_found() || e.is_conflict() => {
                tracing::debug!(pod = name, error = gantry_client::error::message(&e), "pod is gone");
            }
            Err(e) => {
                tracing::warn!(
                    pod = name,
                    error = gantry_client::error::message(&e),
                    "failed to update status for pod"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(10));
                if e.code().is_none_or(|c| c == 429 || c >= 500) {
                    continue;
                }
            }
        }
        if let Some(e) = entries.lock().get_mut(&uid) {
            e.sent = Some(latest);
        }
    }
}

/// The strategic merge patch from `old` to `new`; `None` where they are the same.
fn patch(uid: &str, old: Option<&PodStatus>, new: &PodStatus) -> Option<Document> {
    let tree = |s: &PodStatus| Document::from_typed(s).unwrap_or_default();
    let before = old.map(tree).unwrap_or_default();
    let after = tree(new);
    let mut out = Document::default();
    for (key, value) in after.map() {
        if before.map().get(key) == Some(value) {
            continue;
        }
        match key.as_str() {
            // Lists that merge by address: replaced as a whole, or old addresses would stay.
            "podIPs" | "hostIPs" => {
                let mut marker = Document::default();
                marker.set_at(&["$patch"], "replace");
                let mut list = vec![marker.into_value()];
                list.extend(value.as_array().into_iter().flatten().cloned());
                out.set_at(&["status", key], list);
            }
            "conditions" => {
                let old = before.map().get(key).and_then(|v| v.as_array());
                let list: Vec<_> = value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|c| {
                        let mut c = c.clone();
                        let was = old.into_iter().flatten().find(|o| o.get("type") == c.get("type"));
                        // Entries merge by type: what an entry no longer says must be said to be gone.
                        for field in was.and_then(|w| w.as_object()).into_iter().flat_map(|w| w.keys()) {
                            if c.get(field).is_none() {
                                c[field] = Default::default();
                            }
                        }
                        c
                    })
                    .collect();
                out.set_at(&["status", key], list);
            }
            _ => out.set_at(&["status", key], value),
        }
    }
    for key in before.map().keys().filter(|k| !after.map().contains_key(*k)) {
        out.set_at(&["status", key], None::<bool>);
    }
    if !out.has(&["status"]) {
        return None;
    }
    out.set_at(&["metadata", "uid"], uid);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodIP;

    #[test]
    fn patches_hold_only_what_changed() {
        let old = PodStatus { phase: Some("Pending".into()), reason: Some("x".into()), ..Default::default() };
        let new = PodStatus {
            phase: Some("Running".into()),
            pod_ips: Some(vec![PodIP { ip: "1.1.1.1".into() }]),
            ..Default::default()
        };
        let got = String::from_utf8(patch("u", Some(&old), &new).unwrap().to_json()).unwrap();
        let want = r#"{"metadata":{"uid":"u"},"status":{"phase":"Running","podIPs":[{"$patch":"replace"},{"ip":"1.1.1.1"}],"reason":null}}"#;
        assert_eq!(got, want);
        assert!(patch("u", Some(&new), &new).is_none());
        let ready = |reason: Option<&str>| PodStatus {
            conditions: Some(vec![k8s_openapi::api::core::v1::PodCondition {
                type_: "Ready".into(),
                reason: reason.map(Into::into),
                ..Default::default()
            }]),
            ..Default::default()
        };
        let got =
            String::from_utf8(patch("u", Some(&ready(Some("x"))), &ready(None)).unwrap().to_json()).unwrap();
        assert!(got.contains(r#""reason":null"#), "{got}");
    }
}
