//! The shell of the binder: claims find volumes, volumes learn what became of their claims.
//!
//! Claims and volumes share one queue; a key with a namespace is a claim's. Both sides of a binding are written
//! from the newest copy the server has sent, so a lost race shows as a conflict and is looked at again.

mod heritage;
mod matching;
mod plan;
#[cfg(test)]
mod tests;

use super::shared::{BY_CLAIM, claims_of, pods_by_claim, requested_class, volume_class};
use crate::context::Context;
use gantry_client::events::reference;
use gantry_client::{Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile, conditions};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use plan::{About, ClaimView, Plan, Write};
use std::cmp::Reverse;
use std::sync::Arc;

/// Claims not bound yet, by class; those that name none are under the empty name.
const OPEN: &str = "open";
/// Volumes by class (`class:<name>`) and by the claim they name (`claim:<namespace>/<name>`).
const CANDIDATES: &str = "candidates";
/// Claims by the volume they name.
const BY_VOLUME: &str = "volume";
const ACCOUNT: &str = "persistent-volume-binder";
/// More steps than a binding takes.
const STEPS: usize = 8;

struct Controller {
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    executor: Executor,
    recorder: Recorder,
    provisioning: bool,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("volumes");
    let claims = context.informers.of::<PersistentVolumeClaim>();
    let volumes = context.informers.of::<PersistentVolume>();
    let classes = context.informers.of::<StorageClass>();
    let pods = pods_by_claim(context);
    claims.index(OPEN, |claim| {
        if plan::is_settled(claim) {
            Vec::new()
        } else {
            vec![requested_class(claim).unwrap_or("").to_owned()]
        }
    });
    claims.index(BY_VOLUME, |claim| asked_volume(claim).map(str::to_owned).into_iter().collect());
    volumes.index(CANDIDATES, |volume| {
        let mut out = vec![format!("class:{}", volume_class(volume))];
        out.extend(claim_of(volume).map(|claim| format!("claim:{claim}")));
        out
    });
    wire_claims(&queue, &claims);
    wire_volumes(&queue, &volumes, &claims);
    let (to, known) = (queue.clone(), claims.clone());
    classes.on(move |delta| {
        let class = delta.object();
        requeue(&to, &known, class.metadata.name.as_deref().unwrap_or_default());
        if is_default(class) {
            requeue(&to, &known, "");
        }
    });
    let (to, known) = (queue.clone(), claims.clone());
    pods.on(move |delta| {
        let pod = delta.object();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        if delta.old().is_some() || delta.is_deleted() {
            return;
        }
        for claim in claims_of(pod) {
            let key = Key::new(namespace, &claim);
            if known.store().get(&key).is_some_and(|c| !plan::is_settled(&c)) {
                to.add(key);
            }
        }
    });
    let barrier = Barrier::default();
    barrier.track(&claims).track(&volumes);
    let controller = Controller {
        claims,
        volumes,
        classes,
        pods,
        queue: queue.clone(),
        executor: context.executor(ACCOUNT, barrier.clone()),
        recorder: context.recorder(ACCOUNT, "persistentvolume-controller"),
        provisioning: context.config.args.enable_dynamic_provisioning,
    };
    context.run("persistentvolume-binder-controller", 4, controller, queue, barrier);
}

fn wire_claims(queue: &Queue<Key>, claims: &Informer<PersistentVolumeClaim>) {
    let to = queue.clone();
    claims.on(move |delta| {
        let claim = delta.object();
        to.add(Key::of(&**claim));
        // Its volume is released, or is not its volume after all.
        if let Some(name) = asked_volume(claim) {
            to.add(Key::new("", name));
        }
    });
}

fn wire_volumes(
    queue: &Queue<Key>,
    volumes: &Informer<PersistentVolume>,
    claims: &Informer<PersistentVolumeClaim>,
) {
    let (to, known) = (queue.clone(), claims.clone());
    volumes.on(move |delta| {
        let volume = delta.object();
        to.add(Key::of(&**volume));
        if let Some(claim) = claim_of(volume) {
            to.add(claim);
        } else if !delta.is_deleted()
            && volume.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Available"))
        {
            requeue(&to, &known, volume_class(volume));
        }
        // Claims may ask for it by name.
        if delta.old().is_none() || delta.is_deleted() {
            for claim in
                known.store().by_index(BY_VOLUME, volume.metadata.name.as_deref().unwrap_or_default())
            {
                to.add(Key::of(&*claim));
            }
        }
    });
}

/// Looks at every claim of a class that is not bound yet.
fn requeue(queue: &Queue<Key>, claims: &Informer<PersistentVolumeClaim>, class: &str) {
    for claim in claims.store().by_index(OPEN, class) {
        queue.add(Key::of(&*claim));
    }
}

/// The volume a claim names.
fn asked_volume(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// The claim a volume names.
fn claim_of(volume: &PersistentVolume) -> Option<Key> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(Key::new(reference.namespace.as_deref().unwrap_or_default(), reference.name.as_deref()?))
}

fn is_default(class: &StorageClass) -> bool {
    const MARKS: [&str; 2] =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    MARKS.iter().any(|key| super::shared::annotation(&class.metadata, key) == Some("true"))
}

/// The newest of the classes marked as default, the first by name among equals.
fn default_class(classes: &[Arc<StorageClass>]) -> Option<String> {
    let marked = classes.iter().filter(|c| is_default(c));
    let newest = marked.min_by_key(|c| {
        let meta = &c.metadata;
        (Reverse(meta.creation_timestamp.as_ref().map(|t| t.0)), meta.name.clone())
    });
    newest.and_then(|c| c.metadata.name.clone())
}

impl Controller {
    /// Makes a write and gives the object back in its new revision.
    async fn write(&self, key: &Key, write: Write) -> Result<Write, kube::Error> {
        let effect = match &write {
            Write::Volume(v) => Effect::update(&**v),
            Write::VolumeStatus(v) => Effect::update_status(&**v),
            Write::Claim(c) => Effect::update(&**c),
            Write::ClaimStatus(c) => Effect::update_status(&**c),
        };
        let written = self.executor.apply(key, &effect).await?;
        let mut write = write;
        let meta = match &mut write {
            Write::Volume(v) | Write::VolumeStatus(v) => &mut v.metadata,
            Write::Claim(c) | Write::ClaimStatus(c) => &mut c.metadata,
        };
        meta.resource_version = Some(written.resource_version);
        Ok(write)
    }

    fn tell(&self, plan: &Plan, claim: Option<&PersistentVolumeClaim>, volume: Option<&PersistentVolume>) {
        for t in &plan.tell {
            let about = match t.about {
                About::Claim => claim.map(reference),
                About::Volume => volume.map(reference),
            };
            if let Some(about) = about {
                self.recorder.event(&about, t.kind, t.reason, t.message.as_str());
            }
        }
    }

    fn candidates(&self, key: &Key, class: &str) -> Vec<Arc<PersistentVolume>> {
        let store = self.volumes.store();
        let mut all = store.by_index(CANDIDATES, &format!("class:{class}"));
        let reserved = store.by_index(CANDIDATES, &format!("claim:{key}"));
        all.extend(reserved.into_iter().filter(|v| volume_class(v) != class));
        all
    }

    fn waiting_pods(&self, key: &Key) -> Vec<String> {
        let pods = self.pods.store().by_index(BY_CLAIM, key.as_str());
        pods.iter()
            .filter(|p| !conditions::is_terminal(p))
            .filter(|p| p.spec.as_ref().is_none_or(|s| s.node_name.as_ref().is_none_or(String::is_empty)))
            .filter_map(|p| p.metadata.name.clone())
            .collect()
    }

    async fn claim(&self, key: &Key, mut claim: Arc<PersistentVolumeClaim>) -> Result<(), kube::Error> {
        let mut fresh: Option<Arc<PersistentVolume>> = None;
        for _ in 0..STEPS {
            let class_name = requested_class(&claim).unwrap_or_default();
            let class = self.classes.store().get(&Key::new("", class_name));
            let default = if requested_class(&claim).is_none() {
                default_class(&self.classes.store().list())
            } else {
                None
            };
            let mut candidates = self.candidates(key, class_name);
            let asked = asked_volume(&claim);
            let mut named = asked.and_then(|name| self.volumes.store().get(&Key::new("", name)));
            if let Some(fresh) = &fresh {
                candidates.retain(|v| v.metadata.name != fresh.metadata.name);
                candidates.push(fresh.clone());
                if asked.is_some() && fresh.metadata.name.as_deref() == asked {
                    named = Some(fresh.clone());
                }
            }
            let plan = plan::claim(&ClaimView {
                claim: &claim,
                candidates: &candidates,
                named: named.as_deref(),
                class: class.as_deref(),
                default_class: default.as_deref(),
                waiting: &self.waiting_pods(key),
                provisioning: self.provisioning,
            });
            let done = match &plan.write {
                None => true,
                Some(write) => {
                    match self.write(key, write.clone()).await? {
                        Write::Volume(v) | Write::VolumeStatus(v) => fresh = Some(Arc::new(*v)),
                        Write::Claim(c) | Write::ClaimStatus(c) => claim = Arc::new(*c),
                    }
                    false
                }
            };
            self.tell(&plan, Some(&claim), None);
            if done {
                break;
            }
        }
        Ok(())
    }

    /// The claim a volume names by uid, asked of the server where the cache does not know it: a volume must
    /// not be given up for a claim that is merely newer than the cache.
    async fn claimant(
        &self,
        volume: &PersistentVolume,
    ) -> Result<Option<Arc<PersistentVolumeClaim>>, kube::Error> {
        let held = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
        let (Some(key), Some(uid)) = (claim_of(volume), held.and_then(|r| r.uid.clone())) else {
            return Ok(None);
        };
        let fits = |c: &PersistentVolumeClaim| c.metadata.uid.as_ref() == Some(&uid);
        let cached = self.claims.store().get(&key);
        let given_up =
            volume.status.as_ref().is_some_and(|s| matches!(s.phase.as_deref(), Some("Released" | "Failed")));
        match cached {
            Some(claim) if fits(&claim) => return Ok(Some(claim)),
            None if given_up => return Ok(None),
            _ => {}
        }
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.executor.client().clone(), key.namespace());
        Ok(api.get_opt(key.name()).await?.filter(fits).map(Arc::new))
    }

    async fn volume(&self, key: &Key, mut volume: Arc<PersistentVolume>) -> Result<(), kube::Error> {
        let claim = self.claimant(&volume).await?;
        for _ in 0..STEPS {
            let plan = plan::volume(&volume, claim.as_deref());
            let done = match &plan.write {
                None => true,
                Some(write) => {
                    if let Write::Volume(v) | Write::VolumeStatus(v) = self.write(key, write.clone()).await? {
                        volume = Arc::new(*v);
                    }
                    false
                }
            };
            self.tell(&plan, claim.as_deref(), Some(&volume));
            if let (true, Some(claim)) = (plan.claim_next, claim_of(&volume)) {
                self.queue.add(claim);
            }
            if done {
                break;
            }
        }
        Ok(())
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        if key.namespace().is_empty() {
            if let Some(volume) = self.volumes.store().get(key) {
                self.volume(key, volume).await?;
            }
        } else if let Some(claim) = self.claims.store().get(key) {
            self.claim(key, claim).await?;
        }
        Ok(Next::Done)
    }
}
