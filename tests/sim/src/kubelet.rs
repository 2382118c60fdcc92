//! Simulated nodes: pods start, become ready, end and go, each in its own time; nodes die and come back.

use crate::api::Asked;
use crate::dice::Dice;
use crate::truth::Truth;
use crate::views::PodView;
use crate::wire::Wire;
use http::Method;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Between two renewals of a node's lease.
const RENEW: Duration = Duration::from_secs(20);
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// What is next for a pod on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Run,
    BecomeReady,
    Succeed,
    Fail,
    Go,
}

/// Told to the nodes.
pub enum News {
    /// A pod was written.
    Pod(PodView),
    Kill(String),
    Revive(String),
    /// A pod's container is to fail its readiness for a while.
    Falter(PodView),
}

type Agenda = BTreeMap<(Instant, u64), (PodView, Step)>;

pub struct Kubelets {
    wire: Wire,
    truth: Arc<Mutex<Truth>>,
    dice: Dice,
    agenda: Agenda,
    /// By pod uid: the step that is planned.
    planned: BTreeMap<String, Step>,
    dead: BTreeSet<String>,
    sequence: u64,
}

fn now() -> String {
    let now = Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

/// A node as it registers.
pub fn node(name: &str, cpu: i32) -> Asked {
    let amounts = json!({"cpu": cpu.to_string(), "memory": "16Gi", "pods": "40"});
    let at = now();
    Asked::json(
        Method::POST,
        "/api/v1/nodes",
        json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"capacity": amounts, "allocatable": amounts, "conditions": [
                {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
                 "lastHeartbeatTime": at, "lastTransitionTime": at}]},
        }),
    )
}

impl Kubelets {
    pub fn new(wire: Wire, truth: Arc<Mutex<Truth>>, dice: Dice) -> Self {
        Self {
            wire: wire.named("kubelet"),
            truth,
            dice,
            agenda: Agenda::new(),
            planned: BTreeMap::new(),
            dead: BTreeSet::new(),
            sequence: 0,
        }
    }

    /// Runs the nodes until the news end.
    pub async fn run(mut self, mut news: mpsc::UnboundedReceiver<News>) {
        let mut renewal = Instant::now();
        loop {
            let next = self.agenda.first_key_value().map_or(renewal, |((at, _), _)| renewal.min(*at));
            tokio::select! {
                biased;
                told = news.recv() => match told {
                    Some(told) => self.hear(told).await,
                    None => return,
                },
                () = tokio::time::sleep_until(next) => {
                    let now = Instant::now();
                    while let Some(entry) = self.agenda.first_entry().filter(|e| e.key().0 <= now) {
                        let (pod, step) = entry.remove();
                        self.take(pod, step).await;
                    }
                    if renewal <= now {
                        self.renew().await;
                        renewal = now + RENEW;
                    }
                }
            }
        }
    }

    async fn hear(&mut self, news: News) {
        match news {
            News::Pod(pod) => self.look(&pod),
            News::Kill(node) => _ = self.dead.insert(node),
            News::Revive(node) => {
                self.dead.remove(&node);
                self.report_ready(&node).await;
                let pods: Vec<PodView> = self.truth.lock().pods.values().cloned().collect();
                self.planned.clear();
                self.agenda.clear();
                pods.iter().for_each(|pod| self.look(pod));
            }
            News::Falter(pod) if pod.ready && !self.dead.contains(&pod.node) => {
                self.planned.remove(&pod.uid);
                self.write(&pod, &self.status(&pod, "Running", false)).await;
            }
            News::Falter(_) => {}
        }
    }

    /// Plans what is next for a pod, where something is.
    fn look(&mut self, pod: &PodView) {
        if pod.node.is_empty() || self.dead.contains(&pod.node) {
            return;
        }
        let dice = self.dice.clone();
        let (step, wait) = match pod.phase.as_str() {
            _ if pod.deleting => (Step::Go, dice.millis(50, 2500)),
            "Pending" => (Step::Run, dice.millis(30, 1500)),
            "Running" if !pod.ready => (Step::BecomeReady, dice.millis(30, 2500)),
            "Running" if !pod.restarts_always => {
                let step = if dice.chance(150) { Step::Fail } else { Step::Succeed };
                (step, dice.millis(500, 8000))
            }
            _ => return,
        };
        let ends = |s: Step| matches!(s, Step::Succeed | Step::Fail);
        let known = self.planned.get(&pod.uid).copied();
        if known == Some(step) || known.is_some_and(|k| ends(k) && ends(step)) {
            return;
        }
        self.planned.insert(pod.uid.clone(), step);
        self.sequence += 1;
        self.agenda.insert((Instant::now() + wait, self.sequence), (pod.clone(), step));
    }

    async fn take(&mut self, pod: PodView, step: Step) {
        if self.dead.contains(&pod.node) || self.planned.get(&pod.uid) != Some(&step) {
            return;
        }
        match step {
            Step::Run => self.write(&pod, &self.status(&pod, "Running", false)).await,
            Step::BecomeReady => self.write(&pod, &self.status(&pod, "Running", true)).await,
            Step::Succeed => self.write(&pod, &self.status(&pod, "Succeeded", false)).await,
            Step::Fail => self.write(&pod, &self.status(&pod, "Failed", false)).await,
            Step::Go => self.end(&pod).await,
        }
    }

    /// Lets a pod that is to go end, and takes it away.
    async fn end(&mut self, pod: &PodView) {
        let latest = self.truth.lock().pods.get(&pod.key).filter(|p| p.uid == pod.uid).cloned();
        if latest.is_some_and(|p| !p.terminal() && !p.restarts_always) {
            self.write(pod, &self.status(pod, "Failed", false)).await;
        }
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
                          "preconditions": {"uid": pod.uid}});
        let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name);
        self.wire.send(Asked::json(Method::DELETE, path, body)).await;
        self.planned.remove(&pod.uid);
    }

    fn status(&self, pod: &PodView, phase: &str, ready: bool) -> String {
        let (at, flag) = (now(), if ready { "True" } else { "False" });
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": at, "lastProbeTime": null});
        let state = match phase {
            "Succeeded" => json!({"terminated": {"exitCode": 0, "finishedAt": at}}),
            "Failed" => json!({"terminated": {"exitCode": 1, "finishedAt": at}}),
            _ => json!({"running": {"startedAt": at}}),
        };
        json!({
            "metadata": {"uid": pod.uid},
            "status": {"phase": phase, "startTime": at,
                "conditions": [condition("Initialized", "True"), condition("ContainersReady", flag),
                               condition("Ready", flag)],
                "containerStatuses": [{"name": "c", "ready": ready, "restartCount": 0, "image": "i",
                                       "imageID": "", "state": state}]},
        })
        .to_string()
    }

    async fn write(&self, pod: &PodView, status: &str) {
        let path = format!("/api/v1/namespaces/{}/pods/{}/status", pod.namespace, pod.name);
        // A pod that is gone, or another of its name, is no concern of the node's.
        self.wire.send(Asked::new(Method::PATCH, path, STRATEGIC, status.to_owned())).await;
    }

    fn living(&self) -> Vec<String> {
        self.truth.lock().nodes.keys().filter(|n| !self.dead.contains(*n)).cloned().collect()
    }

    async fn renew(&self) {
        for node in self.living() {
            let at = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            let spec = json!({"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": at});
            let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
            let body = json!({"spec": spec}).to_string();
            let renewal =
                Asked::new(Method::PATCH, format!("{leases}/{node}"), "application/merge-patch+json", body);
            let answer = self.wire.send(renewal).await;
            if matches!(answer, crate::api::Answered::Whole(404, _)) {
                let lease = json!({"metadata": {"name": node}, "spec": spec});
                self.wire.send(Asked::json(Method::POST, leases, lease)).await;
            }
        }
    }

    async fn report_ready(&self, node: &str) {
        let at = now();
        let condition = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
                               "lastHeartbeatTime": at, "lastTransitionTime": at});
        let body = json!({"status": {"conditions": [condition]}}).to_string();
        self.wire
            .send(Asked::new(Method::PATCH, format!("/api/v1/nodes/{node}/status"), STRATEGIC, body))
            .await;
        self.renew().await;
    }
}
