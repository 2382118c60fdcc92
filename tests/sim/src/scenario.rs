//! What users and circumstances do to the cluster: chosen anew for every seed.

use crate::api::{Answered, Asked};
use crate::dice::Dice;
use crate::kubelet::{self, News};
use crate::manifests;
use crate::truth::Truth;
use crate::views::PodView;
use crate::wire::Wire;
use http::Method;
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

const MERGE: &str = "application/merge-patch+json";

/// A kind users work with, and where it lives in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
}

impl Kind {
    pub fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::ReplicaSet => "replicasets",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
            Self::Job => "jobs",
        }
    }

    pub fn collection(self, namespace: &str) -> String {
        let group = if self == Self::Job { "batch" } else { "apps" };
        format!("/apis/{group}/v1/namespaces/{namespace}/{}", self.plural())
    }
}

/// Something a user made.
#[derive(Clone, Debug)]
struct Workload {
    kind: Kind,
    namespace: String,
    name: String,
}

impl Workload {
    fn path(&self) -> String {
        format!("{}/{}", self.kind.collection(&self.namespace), self.name)
    }
}

/// Work for the one who runs the processes.
pub enum Order {
    CrashManager,
    CrashScheduler,
}

pub struct Scenario {
    wire: Wire,
    truth: Arc<Mutex<Truth>>,
    nodes: UnboundedSender<News>,
    pub dice: Dice,
    workloads: Vec<Workload>,
    made: usize,
    dead: Vec<String>,
    paused: Vec<Workload>,
    /// Whether the second namespace is there.
    shop: bool,
}

impl Scenario {
    pub fn new(wire: &Wire, truth: Arc<Mutex<Truth>>, nodes: UnboundedSender<News>, dice: Dice) -> Self {
        let wire = wire.named("user");
        Self {
            wire,
            truth,
            nodes,
            dice,
            workloads: Vec::new(),
            made: 0,
            dead: Vec::new(),
            paused: Vec::new(),
            shop: false,
        }
    }

    async fn ask(&self, asked: Asked) -> bool {
        matches!(self.wire.send(asked).await, Answered::Whole(code, _) if code < 300)
    }

    async fn merge(&self, path: String, patch: impl ToString) -> bool {
        self.ask(Asked::new(Method::PATCH, path, MERGE, patch.to_string().into_bytes())).await
    }

    async fn namespace(&self, name: &str) {
        let body = json!({"metadata": {"name": name}});
        self.ask(Asked::json(Method::POST, "/api/v1/namespaces", body)).await;
    }

    /// Namespaces, nodes and the first workloads.
    pub async fn begin(&mut self) {
        for name in ["default", "kube-system", "kube-node-lease"] {
            self.namespace(name).await;
        }
        for n in 0..self.dice.between(2, 4) {
            self.ask(kubelet::node(&format!("node-{n}"), 3)).await;
        }
        for _ in 0..self.dice.between(1, 3) {
            self.make().await;
        }
    }

    /// One thing that happens.
    pub async fn act(&mut self) -> Option<Order> {
        match self.dice.below(100) {
            0..12 => self.make().await,
            12..26 => self.scale().await,
            26..40 => self.roll().await,
            40..44 => self.pause().await,
            44..56 => self.drain().await,
            56..65 => self.delete_pod().await,
            65..68 => self.falter(),
            68..74 => self.lose_node().await,
            74..78 => self.revive_nodes(1).await,
            78..81 => self.cordon().await,
            81..87 => self.delete_workload().await,
            87..89 => self.estrange_pod().await,
            89..92 => self.delete_namespace().await,
            92..97 => return Some(Order::CrashManager),
            _ => return Some(Order::CrashScheduler),
        }
        None
    }

    async fn make(&mut self) {
        if self.workloads.len() >= 5 {
            return;
        }
        if !self.shop && self.dice.chance(300) {
            self.namespace("shop").await;
            self.shop = true;
        }
        let namespace = if self.shop && self.dice.chance(500) { "shop" } else { "default" };
        let kinds = [
            Kind::Deployment,
            Kind::Deployment,
            Kind::Deployment,
            Kind::StatefulSet,
            Kind::StatefulSet,
            Kind::Job,
            Kind::Job,
            Kind::DaemonSet,
            Kind::ReplicaSet,
        ];
        let kind = self.dice.pick(&kinds).copied().unwrap_or(Kind::Job);
        self.made += 1;
        let name = format!("{}-{}", &kind.plural()[..3], self.made);
        let workload = Workload { kind, namespace: namespace.into(), name };
        let body = manifests::workload(kind, &workload.name, &self.dice);
        if !self.ask(Asked::json(Method::POST, kind.collection(namespace), body)).await {
            return;
        }
        if matches!(kind, Kind::Deployment | Kind::StatefulSet) && self.dice.chance(600) {
            let budget = manifests::budget(&workload.name, &self.dice);
            let path = format!("/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets");
            self.ask(Asked::json(Method::POST, path, budget)).await;
        }
        if self.dice.chance(300) {
            self.accompany(&workload).await;
        }
        self.workloads.push(workload);
    }

    /// Makes something else the workload owns.
    async fn accompany(&self, workload: &Workload) {
        let key = format!("{}/{}", workload.namespace, workload.name);
        let id = (workload.kind.plural().to_owned(), key);
        let Some(uid) = self.truth.lock().objects.get(&id).map(|v| v.uid.clone()) else { return };
        let group = if workload.kind == Kind::Job { "batch/v1" } else { "apps/v1" };
        let body = json!({"metadata": {"name": format!("{}-notes", workload.name), "ownerReferences": [
            {"apiVersion": group, "kind": format!("{:?}", workload.kind), "name": workload.name, "uid": uid,
             "blockOwnerDeletion": self.dice.chance(500)}]}, "data": {"k": "v"}});
        let path = format!("/api/v1/namespaces/{}/configmaps", workload.namespace);
        self.ask(Asked::json(Method::POST, path, body)).await;
    }

    fn any(&self, kinds: &[Kind]) -> Option<Workload> {
        let fitting: Vec<_> = self.workloads.iter().filter(|w| kinds.contains(&w.kind)).cloned().collect();
        self.dice.pick(&fitting).cloned()
    }

    async fn scale(&mut self) {
        let Some(w) = self.any(&[Kind::Deployment, Kind::StatefulSet, Kind::ReplicaSet]) else { return };
        let size = self.dice.between(0, 5);
        self.merge(w.path(), json!({"spec": {"replicas": size}})).await;
    }

    async fn roll(&mut self) {
        let Some(w) = self.any(&[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet]) else { return };
        // Few images: some roll-outs go back.
        let container = manifests::container(self.dice.between(1, 4));
        let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        self.merge(w.path(), patch).await;
    }

    async fn pause(&mut self) {
        if let Some(w) = self.paused.pop() {
            self.merge(w.path(), json!({"spec": {"paused": false}})).await;
        } else if let Some(w) = self.any(&[Kind::Deployment]) {
            self.merge(w.path(), json!({"spec": {"paused": true}})).await;
            self.paused.push(w);
        }
    }

    fn pods(&self, which: impl Fn(&PodView) -> bool) -> Vec<PodView> {
        self.truth.lock().pods.values().filter(|p| which(p)).cloned().collect()
    }

    /// Evicts some pods of one node, as a drain does.
    async fn drain(&mut self) {
        let running = self.pods(|p| p.ready && !p.deleting);
        let Some(node) = self.dice.pick(&running).map(|p| p.node.clone()) else { return };
        for pod in running.iter().filter(|p| p.node == node || self.dice.chance(250)) {
            let meta = json!({"name": pod.name, "namespace": pod.namespace});
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta});
            let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", pod.namespace, pod.name);
            self.ask(Asked::json(Method::POST, path, eviction)).await;
            tokio::time::sleep(self.dice.millis(0, 400)).await;
        }
    }

    async fn delete_pod(&mut self) {
        // By force most of all those whose name another will have: their node still means the first.
        let forced = self.dice.chance(400);
        let named = self.pods(|p| p.owned_by("StatefulSet"));
        let pods = if named.is_empty() || self.dice.chance(400) {
            self.pods(|p| forced || !p.deleting)
        } else {
            named
        };
        let Some(pod) = self.dice.pick(&pods) else { return };
        let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name);
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if forced {
            options["gracePeriodSeconds"] = json!(0);
        }
        self.ask(Asked::json(Method::DELETE, path.clone(), &options)).await;
        if !forced && pod.owned_by("StatefulSet") && self.dice.chance(800) {
            tokio::time::sleep(self.dice.millis(0, 500)).await;
            options["gracePeriodSeconds"] = json!(0);
            self.ask(Asked::json(Method::DELETE, path, &options)).await;
        }
    }

    fn falter(&mut self) {
        let pods = self.pods(|p| p.ready && !p.deleting);
        if let Some(pod) = self.dice.pick(&pods) {
            // The nodes run as long as the scenario does.
            let _ = self.nodes.send(News::Falter(pod.clone()));
        }
    }

    fn living(&self) -> Vec<String> {
        self.truth.lock().nodes.keys().filter(|n| !self.dead.contains(n)).cloned().collect()
    }

    async fn lose_node(&mut self) {
        let living = self.living();
        let Some(node) = self.dice.pick(&living).filter(|_| living.len() > 1).cloned() else { return };
        let _ = self.nodes.send(News::Kill(node.clone()));
        if self.dice.chance(300) && living.len() > 2 {
            // It is not to come back.
            let path = format!("/api/v1/nodes/{node}");
            self.ask(Asked::new(Method::DELETE, path, "application/json", "")).await;
        } else {
            self.dead.push(node);
        }
    }

    async fn revive_nodes(&mut self, most: usize) {
        for node in self.dead.drain(..most.min(self.dead.len())) {
            let _ = self.nodes.send(News::Revive(node));
        }
    }

    async fn cordon(&mut self) {
        let living = self.living();
        let Some(node) = self.dice.pick(&living) else { return };
        let off = self.dice.chance(600);
        self.merge(format!("/api/v1/nodes/{node}"), json!({"spec": {"unschedulable": off}})).await;
    }

    async fn delete_workload(&mut self) {
        if self.workloads.is_empty() {
            return;
        }
        let workload = self.workloads.remove(self.dice.below(self.workloads.len()));
        let policies = ["Background", "Background", "Foreground", "Orphan"];
        let policy = self.dice.pick(&policies).copied().unwrap_or("Background");
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
        self.ask(Asked::json(Method::DELETE, workload.path(), options)).await;
    }

    /// Takes a pod's label away, so that its owner lets go of it.
    async fn estrange_pod(&mut self) {
        let pods = self.pods(|p| p.owned_by("ReplicaSet") && p.active());
        let Some(pod) = self.dice.pick(&pods) else { return };
        let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name);
        self.merge(path, json!({"metadata": {"labels": {"app": format!("free-{}", pod.name)}}})).await;
    }

    async fn delete_namespace(&mut self) {
        if !std::mem::take(&mut self.shop) {
            return;
        }
        self.workloads.retain(|w| w.namespace != "shop");
        self.paused.retain(|w| w.namespace != "shop");
        self.ask(Asked::new(Method::DELETE, "/api/v1/namespaces/shop", "application/json", "")).await;
    }

    /// Ends what would keep the cluster from coming to rest.
    pub async fn settle(&mut self) {
        self.revive_nodes(usize::MAX).await;
        for w in std::mem::take(&mut self.paused) {
            self.merge(w.path(), json!({"spec": {"paused": false}})).await;
        }
        let nodes: Vec<String> = self.truth.lock().nodes.keys().cloned().collect();
        for node in nodes {
            self.merge(format!("/api/v1/nodes/{node}"), json!({"spec": {"unschedulable": false}})).await;
        }
    }
}
