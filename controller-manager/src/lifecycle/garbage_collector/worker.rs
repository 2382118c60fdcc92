//! What is done about one object of the graph.

use super::graph::{Identity, Node, Uid, Work};
use super::{Shared, api};
use crate::context::Context;
use crate::discovery::ApiResource;
use gantry_client::Client;
use gantry_client::error::{self, ApiError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::sync::Arc;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

pub(super) fn start(context: &Context, shared: Arc<Shared>) {
    let limit = Arc::new(tokio::sync::Semaphore::new(context.config.args.concurrent_gc_syncs.max(1)));
    let client = context.credentials.client("generic-garbage-collector");
    context.tasks.spawn(async move {
        // The semaphore is never closed; the queue is, at the end.
        while let Ok(permit) = limit.clone().acquire_owned().await {
            let Some(work) = shared.queue.get().await else { break };
            let worker = Worker { shared: shared.clone(), client: client.clone() };
            tokio::spawn(async move {
                worker.run(&work).await;
                worker.shared.queue.done(&work);
                drop(permit);
            });
        }
    });
}

struct Worker {
    shared: Arc<Shared>,
    client: Client,
}

/// What became of a look at an object.
enum Outcome {
    Done,
    /// Not seen by a watch yet, or in need of another look.
    Again,
}

enum Owner {
    Dangling,
    /// Gone soon: waits for its dependents.
    Waiting,
    Solid,
    /// A cluster-scoped object cannot have a namespaced owner: never collected by it.
    Impossible,
}

impl Worker {
    async fn run(&self, work: &Work) {
        let result = match work {
            Work::Delete(uid) => self.delete(uid).await,
            Work::Orphan(uid) => self.orphan(uid).await,
        };
        match result {
            Ok(Outcome::Done) => self.shared.queue.forget(work),
            Ok(Outcome::Again) => self.shared.queue.add_rate_limited(work.clone()),
            Err(error) => {
                if !error.is_conflict() {
                    tracing::warn!(?work, error = error::message(&error), "cannot collect, will retry");
                }
                self.shared.queue.add_rate_limited(work.clone());
            }
        }
    }

    fn absent(&self, identity: &Identity) -> Outcome {
        let works = self.shared.graph.lock().verified_absent(identity);
        self.shared.enqueue(works);
        Outcome::Done
    }

    async fn delete(&self, uid: &Uid) -> Result<Outcome, kube::Error> {
        let Some(node) = self.shared.graph.lock().get(uid).cloned() else { return Ok(Outcome::Done) };
        if node.deleting && !node.deleting_dependents {
            return Ok(Outcome::Done);
        }
        let identity = &node.identity;
        let Some(resource) = self.shared.resource(&identity.api_version, &identity.kind) else {
            // Of a kind nobody serves: it may come to be served.
            return Ok(Outcome::Again);
        };
        let latest = match api::get(&self.client, &resource, identity).await {
            Err(error) if error.is_not_found() => return Ok(self.absent(identity)),
            other => other?,
        };
        if latest.uid.as_deref() != Some(&**uid) {
            return Ok(self.absent(identity));
        }
        if node.deleting_dependents {
            return self.finish_foreground(&resource, &node, &latest).await;
        }
        self.judge(&resource, &node, latest).await?;
        Ok(if node.is_virtual { Outcome::Again } else { Outcome::Done })
    }

    /// Collects an object none of whose owners is left; else takes the dead references away.
    async fn judge(
        &self,
        resource: &ApiResource,
        node: &Node,
        latest: ObjectMeta,
    ) -> Result<(), kube::Error> {
        let owners = latest.owner_references.clone().unwrap_or_default();
        if owners.is_empty() {
            return Ok(());
        }
        let (mut solid, mut waiting, mut dangling) = (Vec::new(), 0, 0);
        for owner in owners {
            match self.classify(&owner, &node.identity).await? {
                Owner::Solid => solid.push(owner),
                Owner::Waiting => waiting += 1,
                Owner::Dangling => dangling += 1,
                Owner::Impossible => return Ok(()),
            }
        }
        if !solid.is_empty() {
            if waiting + dangling > 0 {
                api::patch(&self.client, resource, &node.identity, &latest, Some(&solid), None).await?;
            }
            return Ok(());
        }
        let has = |name: &str| latest.finalizers.iter().flatten().any(|f| f == name);
        let dependents = self.shared.graph.lock().dependents(&node.identity.uid);
        let policy = if waiting > 0 && !dependents.is_empty() {
            if dependents.iter().any(|d| d.deleting_dependents) {
                return self.break_cycle(resource, node, &latest).await;
            }
            "Foreground"
        } else if has(ORPHAN) {
            "Orphan"
        } else if has(FOREGROUND) {
            "Foreground"
        } else {
            "Background"
        };
        self.remove(resource, node, &latest, policy).await
    }

    async fn remove(
        &self,
        resource: &ApiResource,
        node: &Node,
        latest: &ObjectMeta,
        policy: &str,
    ) -> Result<(), kube::Error> {
        let identity = &node.identity;
        tracing::debug!(kind = %identity.kind, namespace = %identity.namespace, name = %identity.name, policy, "collecting");
        match api::delete(&self.client, resource, identity, latest, policy).await {
            Err(error) if error.is_not_found() => {
                self.absent(identity);
                Ok(())
            }
            other => other,
        }
    }

    /// Its owner and one of its dependents both wait for their dependents: its own references stop blocking.
    async fn break_cycle(
        &self,
        resource: &ApiResource,
        node: &Node,
        latest: &ObjectMeta,
    ) -> Result<(), kube::Error> {
        let mut owners = latest.owner_references.clone().unwrap_or_default();
        owners.iter_mut().for_each(|o| o.block_owner_deletion = Some(false));
        api::patch(&self.client, resource, &node.identity, latest, Some(&owners), None).await?;
        let latest = api::get(&self.client, resource, &node.identity).await?;
        self.remove(resource, node, &latest, "Foreground").await
    }

    async fn classify(&self, owner: &OwnerReference, of: &Identity) -> Result<Owner, kube::Error> {
        if self.shared.graph.lock().is_absent(owner, &of.namespace) {
            return Ok(Owner::Dangling);
        }
        let Some(resource) = self.shared.resource(&owner.api_version, &owner.kind) else {
            // Unknown is not absent: as long as nobody serves the kind, nothing is collected for it.
            let words = format!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version);
            return Err(kube::Error::Api(kube::core::Status::failure(&words, "NoKindMatch").boxed()));
        };
        if resource.namespaced && of.namespace.is_empty() {
            return Ok(Owner::Impossible);
        }
        let namespace = if resource.namespaced { &*of.namespace } else { "" };
        let identity = Identity::of_owner(owner, namespace);
        match api::get(&self.client, &resource, &identity).await {
            Ok(found) if found.uid.as_deref() == Some(owner.uid.as_str()) => {
                let waits = found.deletion_timestamp.is_some()
                    && found.finalizers.iter().flatten().any(|f| f == FOREGROUND);
                Ok(if waits { Owner::Waiting } else { Owner::Solid })
            }
            Err(error) if !error.is_not_found() => Err(error),
            _ => {
                self.shared.graph.lock().note_absent(identity);
                Ok(Owner::Dangling)
            }
        }
    }

    /// Lets an object go that waited for its dependents, or sees to those that still hold it.
    async fn finish_foreground(
        &self,
        resource: &ApiResource,
        node: &Node,
        latest: &ObjectMeta,
    ) -> Result<Outcome, kube::Error> {
        let blocking = self.shared.graph.lock().blocking(&node.identity.uid);
        if blocking.is_empty() {
            self.remove_finalizer(resource, node, latest, FOREGROUND).await?;
        }
        let works =
            blocking.into_iter().filter(|d| !d.deleting_dependents).map(|d| Work::Delete(d.identity.uid));
        self.shared.enqueue(works.collect());
        Ok(Outcome::Done)
    }

    async fn remove_finalizer(
        &self,
        resource: &ApiResource,
        node: &Node,
        latest: &ObjectMeta,
        name: &str,
    ) -> Result<(), kube::Error> {
        let all = latest.finalizers.clone().unwrap_or_default();
        let kept: Vec<String> = all.iter().filter(|f| *f != name).cloned().collect();
        if kept.len() == all.len() {
            return Ok(());
        }
        match api::patch(&self.client, resource, &node.identity, latest, None, Some(&kept)).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn orphan(&self, uid: &Uid) -> Result<Outcome, kube::Error> {
        let (node, dependents) = {
            let graph = self.shared.graph.lock();
            let Some(node) = graph.get(uid).cloned() else { return Ok(Outcome::Done) };
            (node, graph.dependents(uid))
        };
        for dependent in dependents {
            let identity = &dependent.identity;
            let Some(resource) = self.shared.resource(&identity.api_version, &identity.kind) else {
                return Ok(Outcome::Again);
            };
            let latest = match api::get(&self.client, &resource, identity).await {
                Err(error) if error.is_not_found() => continue,
                other => other?,
            };
            let owners = latest.owner_references.clone().unwrap_or_default();
            let kept: Vec<_> = owners.iter().filter(|o| *o.uid != **uid).cloned().collect();
            if kept.len() != owners.len() {
                api::patch(&self.client, &resource, identity, &latest, Some(&kept), None).await?;
            }
        }
        let Some(resource) = self.shared.resource(&node.identity.api_version, &node.identity.kind) else {
            return Ok(Outcome::Again);
        };
        match api::get(&self.client, &resource, &node.identity).await {
            Err(error) if error.is_not_found() => {}
            Ok(latest) if latest.uid.as_deref() == Some(&**uid) => {
                self.remove_finalizer(&resource, &node, &latest, ORPHAN).await?;
            }
            other => drop(other?),
        }
        Ok(Outcome::Done)
    }
}
