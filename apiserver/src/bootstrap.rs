//! What a cluster begins with, made through the same pipeline as anything else: namespaces, priority classes,
//! RBAC policy, and the `kubernetes` service with its endpoints.

use crate::addresses::{self, Follower};
use crate::aggregation::register;
use crate::assemble::Server;
use crate::default_cidr;
use crate::health::Flag;
use crate::legacy_tokens;
use crate::policy;
use crate::trust;
use gantry_registry::generic::Request;
use gantry_registry::generic::options::WriteOptions;
use gantry_registry::generic::update::Wanted;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::{Document, Object, Status, StatusResult, UserInfo};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// One step, under the name its readiness check has upstream.
struct Step {
    flag: Flag,
    objects: Vec<Wish>,
}

/// An object that should be there.
pub struct Wish {
    pub resource: (&'static str, &'static str, &'static str),
    pub namespace: String,
    pub object: Document,
    /// Whether an object of the name that says otherwise is brought in line.
    pub reconcile: bool,
}

impl Wish {
    fn new(
        resource: (&'static str, &'static str, &'static str),
        namespace: &str,
        json: String,
    ) -> Option<Self> {
        // The texts are ours; one that is not JSON would be dropped, which a test would see.
        let object = Document::from_json(json.as_bytes()).ok()?;
        Some(Self { resource, namespace: namespace.to_owned(), object, reconcile: false })
    }
}

const NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "default"];

fn namespaces() -> Vec<Wish> {
    NAMESPACES
        .iter()
        .filter_map(|name| {
            let json = format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{name}"}}}}"#);
            Wish::new(("", "v1", "namespaces"), "", json)
        })
        .collect()
}

fn priority_classes() -> Vec<Wish> {
    let classes = [
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ];
    classes
        .iter()
        .filter_map(|(name, value, description)| {
            let json = format!(
                r#"{{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{{"name":"{name}"}},"value":{value},"description":"{description}","preemptionPolicy":"PreemptLowerPriority"}}"#
            );
            Wish::new(("scheduling.k8s.io", "v1", "priorityclasses"), "", json)
        })
        .collect()
}

/// The `kubernetes` service: the first address of the range, leading to this server.
fn own_service(server: &Server) -> Vec<Wish> {
    let Some(range) = server.config.service_ranges.first() else { return Vec::new() };
    let Some(address) = range.hosts().next() else { return Vec::new() };
    let (advertise, port) = (server.config.advertise, server.config.listen.port());
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice_family = if advertise.is_ipv4() { "IPv4" } else { "IPv6" };
    let service = format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"kubernetes","namespace":"default","labels":{{"component":"apiserver","provider":"kubernetes"}}}},"spec":{{"type":"ClusterIP","clusterIP":"{address}","clusterIPs":["{address}"],"ipFamilies":["{family}"],"ipFamilyPolicy":"SingleStack","sessionAffinity":"None","ports":[{{"name":"https","port":443,"protocol":"TCP","targetPort":{port}}}]}}}}"#
    );
    let slice = format!(
        r#"{{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"kubernetes","namespace":"default","labels":{{"kubernetes.io/service-name":"kubernetes"}}}},"addressType":"{slice_family}","endpoints":[{{"addresses":["{advertise}"],"conditions":{{"ready":true}}}}],"ports":[{{"name":"https","port":{port},"protocol":"TCP"}}]}}"#
    );
    let endpoints = format!(
        r#"{{"apiVersion":"v1","kind":"Endpoints","metadata":{{"name":"kubernetes","namespace":"default","labels":{{"endpointslice.kubernetes.io/skip-mirror":"true"}}}},"subsets":[{{"addresses":[{{"ip":"{advertise}"}}],"ports":[{{"name":"https","port":{port},"protocol":"TCP"}}]}}]}}"#
    );
    let mut wishes: Vec<Wish> = Wish::new(("", "v1", "services"), "default", service).into_iter().collect();
    for (resource, text) in
        [(("discovery.k8s.io", "v1", "endpointslices"), slice), (("", "v1", "endpoints"), endpoints)]
    {
        wishes.extend(Wish::new(resource, "default", text).map(|w| Wish { reconcile: true, ..w }));
    }
    wishes
}

fn options() -> WriteOptions {
    WriteOptions { default_manager: "kube-apiserver".into(), ..WriteOptions::default() }
}

/// Makes one wish come true.
async fn grant(server: &Server, user: &UserInfo, wish: &Wish) -> StatusResult<()> {
    let (group, version, plural) = wish.resource;
    let Some(endpoint) = server.registry.get(group, version, plural) else {
        return Err(Status::no_such_path());
    };
    let name = wish.object.name();
    let present: Option<Object> = endpoint.cache.get(&wish.namespace, name, "").await?;
    let options = options();
    let mut rq = Request {
        user,
        namespace: &wish.namespace,
        name: "",
        subresource: "",
        options: &options,
        now: Timestamp::now(),
        warnings: Vec::new(),
    };
    match present {
        None => match endpoint.create(&mut rq, wish.object.clone()).await {
            Ok(_) => Ok(()),
            Err(status) if status.reason() == "AlreadyExists" => Ok(()),
            Err(status) => Err(status),
        },
        Some(_) if !wish.reconcile => Ok(()),
        Some(_) => {
            rq.name = name;
            let transform = |old: Option<&Document>| {
                let mut object = wish.object.clone();
                if let Some(old) = old {
                    let mut kept = old.clone();
                    for (field, value) in object.map() {
                        if field != "metadata" {
                            kept.set_at(&[field], value);
                        }
                    }
                    object = kept;
                }
                Ok(Wanted::from(object))
            };
            endpoint.update(&mut rq, false, &transform).await.map(|_| ())
        }
    }
}

/// Starts the work of the first seconds; each step holds back readiness until it is done. `synced` ends when
/// caches and authorizers have seen the whole store.
pub fn begin(server: &Arc<Server>, synced: impl Future<Output = Arc<Follower>> + Send + 'static) {
    let health = &server.health;
    let etcd = server.caches.clone();
    health.add_everywhere("etcd", move || {
        if etcd.all().iter().all(|c| c.is_ready()) { Ok(()) } else { Err("not loaded".into()) }
    });
    let informers = health.step("generic-apiserver-start-informers");
    let namespaces_made =
        Step { flag: health.step("start-system-namespaces-controller"), objects: namespaces() };
    let registered = health.step("kube-apiserver-autoregistration");
    let policy_kept = health.step("rbac/bootstrap-roles");
    let cidr_made = health.step("start-kubernetes-service-cidr-controller");
    let steps = vec![
        Step {
            flag: health.step("scheduling/bootstrap-system-priority-classes"),
            objects: priority_classes(),
        },
        Step { flag: health.step("bootstrap-controller"), objects: own_service(server) },
    ];
    let trusted = health.step("start-cluster-authentication-info-controller");
    health.add_shutdown();
    let server = server.clone();
    tokio::spawn(async move {
        let follower = synced.await;
        informers.set();
        tokio::spawn(default_cidr::keep(Arc::downgrade(&server), cidr_made));
        let user = UserInfo::system_apiserver();
        take(&server, &user, namespaces_made).await;
        tokio::spawn(trust::keep(Arc::downgrade(&server), trusted));
        tokio::spawn(legacy_tokens::keep(Arc::downgrade(&server)));
        let policy = async {
            let options = options();
            while !policy::reconcile(&server, &user, &options).await {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            policy_kept.set();
        };
        let registration = async {
            let options = options();
            while !register::reconcile(&server, &user, &options).await {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            registered.set();
        };
        let rest = futures::future::join_all(steps.into_iter().map(|step| take(&server, &user, step)));
        futures::join!(policy, registration, rest);
        tokio::spawn(addresses::keep(Arc::downgrade(&server), follower));
    });
}

/// Grants the wishes of a step, all at once: a store that syncs in groups likes many writes together.
async fn take(server: &Server, user: &UserInfo, step: Step) {
    futures::future::join_all(step.objects.iter().map(|wish| insist(server, user, wish))).await;
    step.flag.set();
}

/// Tries until it holds: without these objects the cluster is of no use.
async fn insist(server: &Server, user: &UserInfo, wish: &Wish) {
    let mut pause = Duration::from_millis(100);
    loop {
        match grant(server, user, wish).await {
            Ok(()) => return,
            Err(error) if error.reason() == "Invalid" => {
                // Trying again would not help; an address of this host's own loopback, most likely.
                tracing::error!(resource = wish.resource.2, name = wish.object.name(), %error, "cannot set up");
                return;
            }
            Err(error) => {
                tracing::warn!(resource = wish.resource.2, name = wish.object.name(), %error, "cannot set up");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(10));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_objects_are_sound() {
        assert_eq!(namespaces().len(), NAMESPACES.len());
        assert_eq!(priority_classes().len(), 2);
    }
}
