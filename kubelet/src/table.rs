//! The pods of this node, by UID.

use crate::ctx::Ctx;
use crate::kill;
use crate::observe::Memory;
use crate::worker::{self, Desired, Handle};
use gantry_client::EventType;
use gantry_kubelet_core::{admit, pods, resources};
use gantry_kubelet_cri::{cri, labels};
use gantry_kubelet_host::cgroup::Limits;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, watch};

/// Pod workers and the mirrors of static pods.
pub struct Table {
    ctx: Arc<Ctx>,
    workers: Mutex<HashMap<String, Arc<Handle>>>,
    /// API pods that show static ones, by `namespace/name`.
    mirrors: Mutex<HashMap<String, Arc<Pod>>>,
    /// Rung when the first pod comes.
    pub filled: Notify,
    /// Rung when a mirror goes.
    pub mirror_gone: Notify,
    clearing: Mutex<HashSet<String>>,
    /// Ready sandboxes by pod, as workers last saw them.
    sandboxes: Mutex<HashMap<String, String>>,
    /// Every pod wanted here is known; what else runs is unwanted.
    complete: AtomicBool,
}

fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pods::namespace(pod), pods::name(pod))
}

impl Table {
    pub fn new(ctx: Arc<Ctx>) -> Arc<Self> {
        let table = Arc::new(Self {
            ctx: ctx.clone(),
            workers: Mutex::default(),
            mirrors: Mutex::default(),
            filled: Notify::new(),
            mirror_gone: Notify::new(),
            clearing: Mutex::default(),
            sandboxes: Mutex::default(),
            complete: AtomicBool::new(false),
        });
        let me = Arc::downgrade(&table);
        ctx.objects.on_change(Arc::new(move |uid| {
            if let Some(me) = me.upgrade() {
                me.wake(uid);
            }
        }));
        table
    }

    /// Says that every pod wanted on this node has been told.
    pub fn complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// Burstable pods together weigh as much against the others as they request.
    fn weigh(&self) {
        if !self.ctx.config.cgroups_per_qos {
            return;
        }
        let burstable = self.pods().into_iter().filter(|p| resources::qos(p) == resources::Qos::Burstable);
        let nanos: i128 = burstable.filter_map(|p| resources::pod_requests(&p).get("cpu").copied()).sum();
        let shares = resources::cpu_shares(i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX));
        let path = format!("{}/burstable", self.ctx.config.pods_cgroup());
        let limits = Limits { cpu_shares: Some(shares), ..Limits::default() };
        if let Err(error) = self.ctx.cgroups.limit(&path, &limits) {
            tracing::warn!(path, %error, "cannot weigh burstable pods");
        }
    }

    pub fn is_empty(&self) -> bool {
        self.workers.lock().is_empty()
    }

    pub fn knows(&self, uid: &str) -> bool {
        self.workers.lock().contains_key(uid)
    }

    pub fn pods(&self) -> Vec<Arc<Pod>> {
        self.workers.lock().values().map(|h| h.desired.borrow().pod.clone()).collect()
    }

    pub fn pod(&self, uid: &str) -> Option<Arc<Pod>> {
        self.workers.lock().get(uid).map(|h| h.desired.borrow().pod.clone())
    }

    /// The ready sandbox of a pod.
    pub fn sandbox(&self, uid: &str) -> Option<String> {
        self.sandboxes.lock().get(uid).cloned()
    }

    /// Notes the ready sandboxes a listing showed.
    pub fn note_sandboxes(&self, ready: HashMap<String, String>) {
        *self.sandboxes.lock() = ready;
    }

    pub fn wake(&self, uid: &str) {
        if let Some(h) = self.workers.lock().get(uid) {
            h.wake.notify_one();
        }
    }

    pub fn wake_all(&self) {
        self.workers.lock().values().for_each(|h| h.wake.notify_one());
    }

    /// The API object that shows a static pod.
    pub fn mirror(&self, pod: &Pod) -> Option<Arc<Pod>> {
        if !pods::is_static(pod) {
            return None;
        }
        self.mirrors.lock().get(&full_name(pod)).cloned()
    }

    /// Takes a pod of the API in, new or changed.
    pub fn apply(self: &Arc<Self>, pod: Arc<Pod>) {
        if pods::is_mirror(&pod) {
            self.mirrors.lock().insert(full_name(&pod), pod.clone());
            for p in self.pods().iter().filter(|p| pods::is_static(p) && full_name(p) == full_name(&pod)) {
                self.wake(pods::uid(p));
            }
            return;
        }
        self.apply_own(pod);
    }

    /// Takes a pod in that is not a mirror.
    pub fn apply_own(self: &Arc<Self>, pod: Arc<Pod>) {
        let uid = pods::uid(&pod).to_owned();
        let known = self.workers.lock().get(&uid).cloned();
        if let Some(handle) = known {
            let mut ring = false;
            handle.desired.send_modify(|d| {
                ring = changed(&d.pod, &pod);
                d.pod = pod;
            });
            if ring {
                handle.wake.notify_one();
            }
            return;
        }
        let refused = self.refused(&pod);
        let (desired, _) = watch::channel(Desired { pod, removed: false });
        let handle = Arc::new(Handle { desired, wake: Arc::new(Notify::new()) });
        self.workers.lock().insert(uid, handle.clone());
        self.filled.notify_one();
        self.weigh();
        tokio::spawn(worker::run(self.ctx.clone(), self.clone(), handle, refused));
    }

    /// Puts a pod that may not run here down as failed.
    fn refused(&self, pod: &Pod) -> bool {
        let status = pod.status.as_ref();
        let fresh = status.is_none_or(|s| s.container_statuses.is_none())
            && !pods::is_terminal_phase(status.and_then(|s| s.phase.as_deref()))
            && pod.metadata.deletion_timestamp.is_none();
        let Some(node) = self.ctx.node.read().clone().filter(|_| fresh) else { return false };
        let others: Vec<Arc<Pod>> = self
            .pods()
            .into_iter()
            .filter(|p| {
                let latest = self.ctx.statuses.get(pods::uid(p));
                let own = p.status.as_ref().and_then(|s| s.phase.as_deref());
                let phase = latest.as_ref().and_then(|s| s.phase.as_deref()).or(own);
                !pods::is_terminal_phase(phase)
            })
            .collect();
        let Err(refusal) = admit::admit(pod, &node, others.iter().map(|p| &**p)) else { return false };
        self.ctx.event(pod, None, EventType::Warning, &refusal.reason, refusal.message.clone());
        let mut status: PodStatus = pod.status.clone().unwrap_or_default();
        status.qos_class = Some(resources::qos(pod).as_str().into());
        status.phase = Some("Failed".into());
        status.reason = Some(refusal.reason);
        status.message = Some(format!("Pod was rejected: {}", refusal.message));
        status.observed_generation = pod.metadata.generation;
        status.start_time = Some(Time(jiff::Timestamp::now()));
        self.ctx.statuses.set(pods::uid(pod), Some(pod), status);
        true
    }

    /// The source has a pod no more.
    pub fn remove(&self, pod: &Pod) {
        if pods::is_mirror(pod) {
            self.mirrors.lock().remove(&full_name(pod));
            self.mirror_gone.notify_one();
            return;
        }
        if let Some(h) = self.workers.lock().get(pods::uid(pod)).cloned() {
            h.desired.send_modify(|d| {
                d.removed = true;
                // A forced deletion leaves no time.
                if d.pod.metadata.deletion_timestamp.is_none() && !pods::is_static(&d.pod) {
                    let mut gone = (*d.pod).clone();
                    gone.metadata.deletion_grace_period_seconds = pod.metadata.deletion_grace_period_seconds;
                    d.pod = Arc::new(gone);
                }
            });
            h.wake.notify_one();
        }
    }

    /// A worker is done.
    pub fn forget(&self, uid: &str) {
        self.workers.lock().remove(uid);
        self.weigh();
    }

    /// Ends a pod that runs although nobody wants it: one deleted while this kubelet was not there.
    pub fn clear_unknown(self: &Arc<Self>, sandbox: &cri::PodSandbox) {
        let Some(uid) = sandbox.labels.get(labels::POD_UID).cloned() else { return };
        if !self.complete.load(Ordering::Acquire)
            || self.knows(&uid)
            || !self.clearing.lock().insert(uid.clone())
        {
            return;
        }
        let mut pod = Pod::default();
        pod.metadata.uid = Some(uid.clone());
        pod.metadata.name = sandbox.labels.get(labels::POD_NAME).cloned();
        pod.metadata.namespace = sandbox.labels.get(labels::POD_NAMESPACE).cloned();
        let me = self.clone();
        tokio::spawn(async move {
            tracing::info!(pod = pods::display(&pod), "ending a pod that nobody wants");
            let mut memory = Memory::default();
            if let Ok(seen) = memory.look(&me.ctx, &uid).await
                && let Err(error) = kill::pod(&me.ctx, &pod, &seen, None).await
            {
                tracing::warn!(pod = pods::display(&pod), %error, "cannot end it");
            }
            worker::remove_sandboxes(&me.ctx, &uid).await;
            me.clear_files(&uid).await;
            me.clearing.lock().remove(&uid);
        });
    }

    /// Clears away the logs of pods that are no more, once every pod is known.
    pub fn sweep_logs(&self) {
        if !self.complete.load(Ordering::Acquire) {
            return;
        }
        for entry in std::fs::read_dir(&self.ctx.config.pod_logs_dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // `<namespace>_<name>_<uid>`; anything else is not ours.
            let Some((_, uid)) = name.rsplit_once('_').filter(|(left, _)| left.contains('_')) else {
                continue;
            };
            if !self.knows(uid)
                && let Err(error) = std::fs::remove_dir_all(entry.path())
            {
                tracing::info!(uid, %error, "cannot remove a pod's logs");
            }
        }
    }

    /// Volumes, cgroups and logs left behind by a pod that is no more.
    pub async fn clear_files(&self, uid: &str) {
        self.sweep_logs();
        if let Err(error) = self.ctx.volumes.teardown(uid).await {
            tracing::warn!(uid, error, "cannot clear volumes away");
        }
        let root = self.ctx.config.pods_cgroup();
        for class in ["", "/burstable", "/besteffort"] {
            let path = format!("{root}{class}/pod{uid}");
            if self.ctx.cgroups.exists(&path)
                && let Err(error) = self.ctx.cgroups.remove(&path)
            {
                tracing::warn!(path, %error, "cannot remove a cgroup");
            }
        }
    }
}

/// Whether a new version of a pod asks for another look: anything but the status we write ourselves.
fn changed(old: &Pod, new: &Pod) -> bool {
    let foreign = |p: &Pod| {
        let all = p.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        let own = gantry_kubelet_core::conditions::OWNED;
        all.into_iter().filter(|c| !own.contains(&c.type_.as_str())).collect::<Vec<_>>()
    };
    let meta = |p: &Pod| {
        let mut m = p.metadata.clone();
        m.resource_version = None;
        m.managed_fields = None;
        m
    };
    old.spec != new.spec || meta(old) != meta(new) || foreign(old) != foreign(new)
}
