//! What happens besides pods and nodes: the informers of all other kinds, put into one channel.
//!
//! A server may not serve some of these kinds (yet); their informers try again by themselves, and scheduling
//! does not wait for them longer than a moment.

use gantry_client::informer::{Kind, Scope};
use gantry_client::{Client, Delta, Informer};
use gantry_scheduler_core::Facts;
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{
    Namespace, PersistentVolume, PersistentVolumeClaim, ReplicationController, Service,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

/// A change of one object.
pub enum News {
    Namespace(Delta<Namespace>),
    Service(Delta<Service>),
    ReplicationController(Delta<ReplicationController>),
    ReplicaSet(Delta<ReplicaSet>),
    StatefulSet(Delta<StatefulSet>),
    Budget(Delta<PodDisruptionBudget>),
    Claim(Delta<PersistentVolumeClaim>),
    Volume(Delta<PersistentVolume>),
    Class(Delta<StorageClass>),
    CsiNode(Delta<CSINode>),
    CsiDriver(Delta<CSIDriver>),
    Capacity(Delta<CSIStorageCapacity>),
    Attachment(Delta<VolumeAttachment>),
}

/// How long to wait at the start for a kind that may not be served.
const PATIENCE: Duration = Duration::from_secs(2);

/// The informers others read, too.
pub struct Watched {
    pub claims: Informer<PersistentVolumeClaim>,
    waits: Vec<Wait>,
}

/// Waiting for one informer.
type Wait = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Watched {
    /// Starts to watch every kind.
    pub fn start(client: &Client, news: &UnboundedSender<News>, stop: &CancellationToken) -> Self {
        let mut waits = Vec::new();
        macro_rules! watch {
            ($kind:ident, $trim:expr) => {{
                let informer = Informer::new(client.clone(), Scope::default());
                informer.transform($trim);
                follow(&informer, news, News::$kind);
                informer.start(stop);
                let waiting = informer.clone();
                waits.push(Box::pin(async move { waiting.synced().await }) as Wait);
                informer
            }};
        }
        watch!(Namespace, |o: &mut Namespace| {
            o.metadata.annotations = None;
            o.status = None;
        });
        watch!(Service, |o: &mut Service| {
            o.metadata.annotations = None;
            o.status = None;
        });
        watch!(ReplicationController, |o: &mut ReplicationController| {
            o.metadata.annotations = None;
            o.status = None;
            if let Some(spec) = &mut o.spec {
                spec.template = None;
            }
        });
        watch!(ReplicaSet, |o: &mut ReplicaSet| {
            o.metadata.annotations = None;
            o.status = None;
            if let Some(spec) = &mut o.spec {
                spec.template = None;
            }
        });
        watch!(StatefulSet, |o: &mut StatefulSet| {
            o.metadata.annotations = None;
            o.status = None;
            if let Some(spec) = &mut o.spec {
                (spec.template, spec.volume_claim_templates) = (Default::default(), None);
            }
        });
        watch!(Budget, |_: &mut PodDisruptionBudget| {});
        let claims = watch!(Claim, |_: &mut PersistentVolumeClaim| {});
        watch!(Volume, |_: &mut PersistentVolume| {});
        watch!(Class, |_: &mut StorageClass| {});
        watch!(CsiNode, |_: &mut CSINode| {});
        watch!(CsiDriver, |_: &mut CSIDriver| {});
        watch!(Capacity, |_: &mut CSIStorageCapacity| {});
        watch!(Attachment, |_: &mut VolumeAttachment| {});
        Self { claims, waits }
    }

    /// Waits for their first states, for a moment.
    pub async fn settle(&mut self) {
        let waits = std::mem::take(&mut self.waits);
        let all = async {
            for wait in waits {
                wait.await;
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::info!("some kinds are not served yet; scheduling goes on without them");
        }
    }
}

fn follow<K: Kind>(informer: &Informer<K>, news: &UnboundedSender<News>, wrap: fn(Delta<K>) -> News) {
    let news = news.clone();
    informer.on(move |delta| {
        let copy = match delta {
            Delta::Added(o) => Delta::Added(o.clone()),
            Delta::Modified { old, new } => Delta::Modified { old: old.clone(), new: new.clone() },
            Delta::Deleted(o) => Delta::Deleted(o.clone()),
        };
        // An error says the reader has gone.
        let _ = news.send(wrap(copy));
    });
}

/// Takes what says which pods are equals, and which may not be disturbed; no plugin waits for these.
pub fn note(facts: &mut Facts, news: &News) {
    use gantry_machinery::selector::Selector;
    match news {
        News::Namespace(d) => facts.set_namespace(d.object(), d.is_deleted()),
        News::Service(d) => facts.set_service(d.object(), d.is_deleted()),
        News::Budget(d) => facts.set_budget(d.object().clone(), d.is_deleted()),
        News::ReplicationController(d) => {
            let selector = d.object().spec.as_ref().and_then(|s| s.selector.as_ref());
            let selector = selector.filter(|_| !d.is_deleted()).map(Selector::from_set);
            facts.set_owner("ReplicationController", &d.object().metadata, selector);
        }
        News::ReplicaSet(d) => {
            let selector = d.object().spec.as_ref().map(|s| &s.selector).filter(|_| !d.is_deleted());
            let selector = selector.and_then(|s| Selector::from_struct(Some(s)).ok());
            facts.set_owner("ReplicaSet", &d.object().metadata, selector);
        }
        News::StatefulSet(d) => {
            let selector = d.object().spec.as_ref().map(|s| &s.selector).filter(|_| !d.is_deleted());
            let selector = selector.and_then(|s| Selector::from_struct(Some(s)).ok());
            facts.set_owner("StatefulSet", &d.object().metadata, selector);
        }
        _ => {}
    }
}
