//! One task per probe of a running container.

use crate::ask::{self, Answer};
use crate::ctx::Ctx;
use gantry_kubelet_core::plan::Verdicts;
use gantry_kubelet_core::pods;
use gantry_kubelet_core::probe::{Kind, Prober, Tick, Verdict};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

type Key = (String, Kind);

/// The probes of one pod. Dropping it ends their tasks.
#[derive(Default)]
pub struct Probes {
    verdicts: Arc<Mutex<HashMap<Key, Option<Verdict>>>>,
    tasks: HashMap<Key, AbortHandle>,
    started: HashMap<String, watch::Sender<bool>>,
}

impl Verdicts for Probes {
    fn verdict(&self, id: &str, kind: Kind) -> Option<Verdict> {
        self.verdicts.lock().get(&(id.to_owned(), kind)).copied().flatten()
    }
}

/// A running container and what is known of its start.
pub struct Subject<'a> {
    pub container: &'a Container,
    pub id: &'a str,
    pub started_at: Timestamp,
    /// Its start-up is over.
    pub started: bool,
    /// It was running before this kubelet: until a probe answers, what was reported stays.
    pub adopted: bool,
}

impl Probes {
    /// Brings tasks in line with the running containers.
    pub fn reconcile(
        &mut self,
        ctx: &Arc<Ctx>,
        pod: &Arc<Pod>,
        ip: &str,
        wake: &Arc<Notify>,
        subjects: &[Subject<'_>],
    ) {
        let live = |id: &str| subjects.iter().any(|s| s.id == id);
        self.tasks.retain(|(id, _), task| {
            let keep = live(id);
            if !keep {
                task.abort();
            }
            keep
        });
        self.verdicts.lock().retain(|(id, _), _| live(id));
        self.started.retain(|id, _| live(id));
        for s in subjects {
            let gate = self.started.entry(s.id.to_owned()).or_insert_with(|| watch::channel(false).0);
            gate.send_if_modified(|v| std::mem::replace(v, s.started) != s.started);
            for kind in Kind::ALL {
                let key = (s.id.to_owned(), kind);
                let Some(probe) = kind.of(s.container).filter(|_| !self.tasks.contains_key(&key)) else {
                    continue;
                };
                if kind == Kind::Startup && s.started && s.adopted {
                    self.verdicts.lock().insert(key, Some(Verdict::Success));
                    continue;
                }
                let first = (!s.adopted).then(|| kind.initial());
                self.verdicts.lock().insert(key.clone(), first);
                let task = Task {
                    ctx: ctx.clone(),
                    pod: pod.clone(),
                    container: s.container.clone(),
                    id: s.id.to_owned(),
                    ip: ip.to_owned(),
                    started_at: s.started_at,
                    adopted: s.adopted,
                    prober: Prober::new(kind, probe),
                    gate: gate.subscribe(),
                    verdicts: self.verdicts.clone(),
                    wake: wake.clone(),
                };
                self.tasks.insert(key, tokio::spawn(task.run()).abort_handle());
            }
        }
    }

    /// Ends liveness and start-up probes, as a pod that goes must not be restarted by them.
    pub fn stop_all(&mut self) {
        self.tasks.drain().for_each(|(_, t)| t.abort());
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.stop_all();
    }
}

struct Task {
    ctx: Arc<Ctx>,
    pod: Arc<Pod>,
    container: Container,
    id: String,
    ip: String,
    started_at: Timestamp,
    adopted: bool,
    prober: Prober,
    gate: watch::Receiver<bool>,
    verdicts: Arc<Mutex<HashMap<Key, Option<Verdict>>>>,
    wake: Arc<Notify>,
}

impl Task {
    async fn run(mut self) {
        let kind = self.prober.kind();
        let Some(probe) = kind.of(&self.container).cloned() else { return };
        let seconds = u64::try_from(probe.period_seconds.unwrap_or(10)).unwrap_or(10).max(1);
        let period = Duration::from_secs(seconds);
        if self.adopted {
            // After a restart, containers are not all asked at once.
            tokio::time::sleep(period.mul_f64(rand::random::<f64>())).await;
        }
        let mut told = !self.adopted;
        loop {
            let started = *self.gate.borrow_and_update();
            match self.prober.tick(self.started_at, started, Timestamp::now()) {
                Tick::Delay(left) => {
                    tokio::time::sleep(left).await;
                    continue;
                }
                Tick::Wait if self.prober.done() || (kind == Kind::Startup && started) => return,
                Tick::Wait => {
                    if self.gate.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Tick::Probe => {}
            }
            let success = self.ask(&probe).await;
            if let Some(success) = success {
                let changed = self.prober.answer(success);
                if changed || !told {
                    told = true;
                    self.verdicts.lock().insert((self.id.clone(), kind), Some(self.prober.verdict));
                    self.wake.notify_one();
                }
                if self.prober.done() {
                    return;
                }
            }
            tokio::time::sleep(period).await;
        }
    }

    /// One question, asked again where nobody could be asked; `None` where that stayed so.
    async fn ask(&self, probe: &k8s_openapi::api::core::v1::Probe) -> Option<bool> {
        let kind = self.prober.kind();
        let mut last = String::new();
        for _ in 0..3 {
            match ask::probe(&*self.ctx.runtime, probe, &self.container, &self.id, &self.ip).await {
                Answer::Ok => return Some(true),
                Answer::Failed(why) => {
                    let message = format!("{} probe failed: {why}", kind.word());
                    self.ctx.warn(&self.pod, &self.container.name, "Unhealthy", message);
                    return Some(false);
                }
                Answer::Error(why) => last = why,
            }
        }
        let message = format!("{} probe errored and resulted in unknown state: {last}", kind.word());
        self.ctx.warn(&self.pod, &self.container.name, "Unhealthy", message);
        tracing::debug!(
            pod = pods::display(&self.pod),
            container = self.container.name,
            last,
            "probe errored"
        );
        None
    }
}
