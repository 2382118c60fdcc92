//! The loop: claims and volumes share one queue; a key with a namespace is a claim's.

use crate::config::{Config, Flags};
use crate::folder;
use crate::plan::{self, End, Judgement};
use gantry_client::error::{self, ApiError};
use gantry_client::events::{EventType, reference};
use gantry_client::informer::Scope;
use gantry_client::{ClientConfig, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile, RunOptions};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "local-volumes";

struct Controller {
    config: Config,
    claims: Informer<PersistentVolumeClaim>,
    classes: Informer<StorageClass>,
    volumes: Informer<PersistentVolume>,
    nodes: Informer<Node>,
    executor: Executor,
    recorder: Recorder,
}

pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let config = Config::resolve(flags)?;
    let stop = gantry_daemon::shutdown::install()?;
    let client = ClientConfig::from_flags(config.kubeconfig.as_deref(), None)
        .await?
        .user_agent("gantry-local-volumes")
        .build()?;
    let queue = Queue::new(NAME);
    let claims: Informer<PersistentVolumeClaim> = Informer::new(client.clone(), Scope::default());
    let classes: Informer<StorageClass> = Informer::new(client.clone(), Scope::default());
    let volumes: Informer<PersistentVolume> = Informer::new(client.clone(), Scope::default());
    let own =
        Scope { field_selector: Some(format!("metadata.name={}", config.node_name)), ..Scope::default() };
    let nodes: Informer<Node> = Informer::new(client.clone(), own);
    nodes.transform(|node| node.status = None);
    let (to, node) = (queue.clone(), config.node_name.clone());
    claims.on(move |delta| {
        let claim = delta.object();
        if !delta.is_deleted() && plan::is_ours(claim, &node) {
            to.add(Key::of(&**claim));
        }
    });
    let to = queue.clone();
    volumes.on(move |delta| {
        if !delta.is_deleted() {
            to.add(Key::of(&**delta.object()));
        }
    });
    // Whatever waits for a class, or for the node's labels, is looked at when they come.
    let (to, known, node) = (queue.clone(), claims.clone(), config.node_name.clone());
    let ours = move || {
        for claim in known.store().list().iter().filter(|c| plan::is_ours(c, &node)) {
            to.add(Key::of(&**claim));
        }
    };
    let again = ours.clone();
    classes.on(move |_| again());
    let (to, known) = (queue.clone(), volumes.clone());
    nodes.on(move |delta| {
        let labels = |n: &Node| n.metadata.labels.clone();
        if delta.old().is_none_or(|old| labels(old) != labels(delta.object())) {
            ours();
            known.store().keys().into_iter().for_each(|key| to.add(key));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&claims).track(&volumes);
    let controller = Controller {
        executor: Executor::new(client.clone(), barrier.clone()),
        recorder: Recorder::new(client, plan::PROVISIONER, &config.node_name),
        config,
        claims: claims.clone(),
        classes: classes.clone(),
        volumes: volumes.clone(),
        nodes: nodes.clone(),
    };
    claims.start(&stop);
    classes.start(&stop);
    volumes.start(&stop);
    nodes.start(&stop);
    let synced = async { tokio::join!(claims.synced(), classes.synced(), volumes.synced(), nodes.synced()) };
    tokio::select! {
        _ = synced => {}
        () = stop.cancelled() => return Ok(()),
    }
    tracing::info!(node = controller.config.node_name, path = %controller.config.path.display(), "serving claims");
    let options = RunOptions { name: NAME, workers: 4, barrier };
    gantry_reconcile::run(Arc::new(controller), queue, options, stop).await;
    Ok(())
}

impl Controller {
    /// The node's labels; none while it is not there.
    fn labels(&self) -> Option<BTreeMap<String, String>> {
        let node = self.nodes.store().get(&Key::new("", &self.config.node_name))?;
        Some(node.metadata.labels.clone().unwrap_or_default())
    }

    fn tell(&self, claim: &PersistentVolumeClaim, kind: EventType, reason: &str, message: String) {
        self.recorder.event(&reference(claim), kind, reason, message);
    }

    async fn on_disk(
        &self,
        name: &str,
        work: fn(&std::path::Path, &str) -> std::io::Result<()>,
    ) -> Result<(), String> {
        let (root, name) = (self.config.path.clone(), name.to_owned());
        let done = tokio::task::spawn_blocking(move || work(&root, &name)).await;
        done.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    }

    async fn claim(&self, key: &Key, claim: &PersistentVolumeClaim) -> Result<Next, kube::Error> {
        let class = plan::class_of(claim).and_then(|name| self.classes.store().get(&Key::new("", name)));
        let (Some(class), Some(labels)) = (class, self.labels()) else { return Ok(Next::Done) };
        if class.provisioner != plan::PROVISIONER {
            return Ok(Next::Done);
        }
        let volume = match plan::judge(&self.config, claim, &class, &labels) {
            Judgement::Refuse(why) => {
                self.tell(claim, EventType::Warning, "ProvisioningFailed", why);
                return Ok(Next::Done);
            }
            Judgement::ElsewhereThan(node) => {
                let why = format!("node {node} is outside the allowed topologies of the class");
                self.tell(claim, EventType::Warning, "ProvisioningFailed", why);
                self.executor.apply(key, &Effect::update(&plan::without_node(claim))).await?;
                return Ok(Next::Done);
            }
            Judgement::Make(volume) => volume,
        };
        let name = volume.metadata.name.clone().unwrap_or_default();
        if self.volumes.store().get(&Key::new("", &name)).is_some() {
            return Ok(Next::Done);
        }
        let (namespace, own) = (key.namespace(), key.name());
        let starting = format!("External provisioner is provisioning volume for claim \"{namespace}/{own}\"");
        self.tell(claim, EventType::Normal, "Provisioning", starting);
        if let Err(why) = self.on_disk(&name, folder::make).await {
            let why = format!("cannot make the folder of {name}: {why}");
            self.tell(claim, EventType::Warning, "ProvisioningFailed", why.clone());
            return Err(kube::Error::Service(why.into()));
        }
        match self.executor.apply(key, &Effect::create(&*volume)).await {
            Ok(_) => {}
            // Made by a life before this one.
            Err(e) if e.is_already_exists() => return Ok(Next::Done),
            Err(e) => {
                let why = format!("Error saving PV {name}: {}", error::message(&e));
                self.tell(claim, EventType::Warning, "ProvisioningFailed", why);
                return Err(e);
            }
        }
        self.tell(
            claim,
            EventType::Normal,
            "ProvisioningSucceeded",
            format!("Successfully provisioned volume {name}"),
        );
        Ok(Next::Done)
    }

    async fn volume(&self, key: &Key, volume: &PersistentVolume) -> Result<Next, kube::Error> {
        let Some(labels) = self.labels() else { return Ok(Next::Done) };
        match plan::end(&self.config, &labels, volume) {
            End::None => return Ok(Next::Done),
            End::LetGo => {}
            End::Remove { folder } => {
                // Nothing is destroyed on the word of a cache.
                let api: Api<PersistentVolume> = Api::all(self.executor.client().clone());
                let now = api.get_opt(key.name()).await?;
                let still = now.as_ref().is_some_and(|v| {
                    v.metadata.uid == volume.metadata.uid && plan::end(&self.config, &labels, v) != End::None
                });
                if !still {
                    return Ok(Next::Done);
                }
                if let Err(why) = self.on_disk(&folder, folder::remove).await {
                    let why = format!("cannot remove the folder of {folder}: {why}");
                    self.recorder.event(
                        &reference(volume),
                        EventType::Warning,
                        "VolumeFailedDelete",
                        why.clone(),
                    );
                    return Err(kube::Error::Service(why.into()));
                }
                tracing::info!(volume = key.name(), "removed a released volume's folder");
                if volume.metadata.deletion_timestamp.is_none() {
                    self.executor.delete(key, &Effect::delete(volume)).await?;
                }
            }
        }
        self.let_go(key, volume).await
    }

    /// Takes our finalizer off the newest state of the volume.
    async fn let_go(&self, key: &Key, volume: &PersistentVolume) -> Result<Next, kube::Error> {
        let api: Api<PersistentVolume> = Api::all(self.executor.client().clone());
        let now = api.get_opt(key.name()).await?.filter(|v| v.metadata.uid == volume.metadata.uid);
        if let Some(free) = now.as_ref().and_then(plan::released) {
            self.executor.apply(key, &Effect::update(&free)).await?;
        }
        Ok(Next::Done)
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        if key.namespace().is_empty() {
            match self.volumes.store().get(key) {
                Some(volume) => self.volume(key, &volume).await,
                None => Ok(Next::Done),
            }
        } else {
            let ours = |c: &Arc<PersistentVolumeClaim>| plan::is_ours(c, &self.config.node_name);
            match self.claims.store().get(key).filter(ours) {
                Some(claim) => self.claim(key, &claim).await,
                None => Ok(Next::Done),
            }
        }
    }
}
