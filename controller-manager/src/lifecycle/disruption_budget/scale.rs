//! How many pods the owners of pods want.

use crate::discovery::{ApiResource, discover};
use gantry_client::error::ApiError;
use gantry_client::{Client, Informer, Key};
use gantry_reconcile::ownership::controller_of;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use std::collections::HashMap;
use std::sync::Arc;

/// Where owners are looked up: those well known from memory, others by their `scale`.
pub(super) struct Owners {
    pub replication_controllers: Informer<ReplicationController>,
    pub replica_sets: Informer<ReplicaSet>,
    pub deployments: Informer<Deployment>,
    pub stateful_sets: Informer<StatefulSet>,
    pub client: Client,
}

/// What an owner wants.
struct Wants {
    uid: String,
    replicas: i32,
}

fn group(owner: &OwnerReference) -> &str {
    owner.api_version.split_once('/').map_or("", |(group, _)| group)
}

fn wants(meta: &ObjectMeta, uid: &str, replicas: Option<i32>) -> Option<Wants> {
    let own = meta.uid.as_deref().filter(|own| *own == uid)?;
    Some(Wants { uid: own.to_owned(), replicas: replicas.unwrap_or(1) })
}

impl Owners {
    /// A well-known owner; for a replica set of a deployment, the deployment.
    fn known(&self, owner: &OwnerReference, namespace: &str) -> Option<Wants> {
        let key = Key::new(namespace, &owner.name);
        match (group(owner), owner.kind.as_str()) {
            ("", "ReplicationController") => {
                let found = self.replication_controllers.store().get(&key)?;
                wants(&found.metadata, &owner.uid, found.spec.as_ref().and_then(|s| s.replicas))
            }
            ("apps" | "extensions", "ReplicaSet") => {
                let found = self.replica_sets.store().get(&key)?;
                let above = controller_of(&found.metadata)
                    .filter(|o| o.kind == "Deployment" && matches!(group(o), "apps" | "extensions"));
                let Some(above) = above else {
                    return wants(&found.metadata, &owner.uid, found.spec.as_ref().and_then(|s| s.replicas));
                };
                wants(&found.metadata, &owner.uid, None)?;
                let deployment = self.deployments.store().get(&Key::new(namespace, &above.name))?;
                wants(&deployment.metadata, &above.uid, deployment.spec.as_ref().and_then(|s| s.replicas))
            }
            ("apps", "StatefulSet") => {
                let found = self.stateful_sets.store().get(&key)?;
                wants(&found.metadata, &owner.uid, found.spec.as_ref().and_then(|s| s.replicas))
            }
            _ => None,
        }
    }

    /// Any owner that has a `scale`.
    async fn scaled(&self, owner: &OwnerReference, namespace: &str) -> Result<Option<Wants>, String> {
        let told = |error: &kube::Error| gantry_client::error::message(error);
        let found = discover(&self.client).await.map_err(|e| told(&e))?;
        let fits = |r: &&ApiResource| r.api_version() == owner.api_version && r.kind == owner.kind;
        let Some(resource) = found.kinds.iter().find(fits) else {
            let version = owner.api_version.rsplit('/').next().unwrap_or_default();
            return Err(match group(owner) {
                "" => format!("no matches for kind {:?} in version {version:?}", owner.kind),
                _ => format!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version),
            });
        };
        let path = format!("{}/{}/scale", resource.path(namespace), owner.name);
        let request = http::Request::get(path).body(Vec::new()).map_err(|e| e.to_string())?;
        match self.client.request::<Scale>(request).await {
            Ok(scale) => {
                Ok(wants(&scale.metadata, &owner.uid, scale.spec.and_then(|s| s.replicas).or(Some(0))))
            }
            Err(error) if error.is_not_found() && !told(&error).contains("could not find the requested") => {
                Ok(None)
            }
            Err(error) if error.is_not_found() => {
                let full = match group(owner) {
                    "" => resource.resource.clone(),
                    group => format!("{}.{group}", resource.resource),
                };
                Err(format!("{full} does not implement the scale subresource"))
            }
            Err(error) => Err(told(&error)),
        }
    }

    /// The sum over all owners, each once, and the pods that have none.
    pub(super) async fn expected(&self, pods: &[Arc<Pod>]) -> Result<(i32, Vec<String>), String> {
        let mut known: HashMap<String, i32> = HashMap::new();
        let mut seen: Vec<&str> = Vec::new();
        let mut unmanaged = Vec::new();
        for pod in pods {
            let name = pod.metadata.name.as_deref().unwrap_or("");
            let Some(owner) = controller_of(&pod.metadata) else {
                unmanaged.push(name.to_owned());
                continue;
            };
            if seen.contains(&owner.uid.as_str()) {
                continue;
            }
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
            let wants = match self.known(owner, namespace) {
                Some(wants) => Some(wants),
                None => self.scaled(owner, namespace).await?,
            };
            let Some(wants) = wants else { return Err(format!("found no controllers for pod {name:?}")) };
            seen.push(&owner.uid);
            known.insert(wants.uid, wants.replicas);
        }
        Ok((known.values().fold(0_i32, |sum, n| sum.saturating_add(*n)), unmanaged))
    }
}
