//! A pod as the scheduler sees it: read once, shared, never parsed again.

use crate::labels::Pool;
use crate::shape::{Shape, amounts, identify};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Weak};

/// What scheduling needs of a pod. What its equals share is its [`Shape`], whose fields read as its own.
#[derive(Clone, Debug)]
pub struct PodInfo {
    pub shape: Arc<Shape>,
    pub uid: Box<str>,
    pub name: Box<str>,
    pub scheduler: Arc<str>,
    /// Where it runs; empty while it waits.
    pub node: Arc<str>,
    /// Where preemption made room for it.
    pub nominated: Box<str>,
    pub priority: i32,
    pub never_preempts: bool,
    /// `metadata.generation`, 0 where absent.
    pub generation: i64,
    pub created: Timestamp,
    /// When it began to run, for choosing victims.
    pub started: Option<Timestamp>,
    /// The names of its scheduling gates.
    pub gates: Box<[Box<str>]>,
    pub deleting: bool,
    /// It is being deleted to make room for another.
    pub preempted: bool,
    /// Its status says that it could not be scheduled.
    pub refused: bool,
    /// Succeeded or failed: it holds nothing any more.
    pub finished: bool,
}

impl Deref for PodInfo {
    type Target = Shape;

    fn deref(&self) -> &Shape {
        &self.shape
    }
}

impl PodInfo {
    fn with(pod: &Pod, shape: Arc<Shape>, pool: &mut Pool) -> Self {
        let text = |s: &Option<String>| s.as_deref().unwrap_or_default().into();
        let (meta, spec, status) = (&pod.metadata, pod.spec.as_ref(), pod.status.as_ref());
        let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or_default();
        let deleting = meta.deletion_timestamp.is_some();
        let condition = |name: &str| {
            status.and_then(|s| s.conditions.as_ref()).and_then(|c| c.iter().find(|c| c.type_ == name))
        };
        let target = condition("DisruptionTarget")
            .map(|c| c.status == "True" && c.reason.as_deref() == Some("PreemptionByScheduler"));
        let gates = spec.and_then(|s| s.scheduling_gates.as_ref()).into_iter().flatten();
        Self {
            shape,
            uid: text(&meta.uid),
            name: text(&meta.name),
            scheduler: pool
                .text(spec.and_then(|s| s.scheduler_name.as_deref()).unwrap_or("default-scheduler")),
            node: pool.text(spec.and_then(|s| s.node_name.as_deref()).unwrap_or_default()),
            nominated: status.map(|s| text(&s.nominated_node_name)).unwrap_or_default(),
            priority: spec.and_then(|s| s.priority).unwrap_or(0),
            generation: meta.generation.unwrap_or(0),
            never_preempts: spec.and_then(|s| s.preemption_policy.as_deref()) == Some("Never"),
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            started: status.and_then(|s| s.start_time.as_ref()).map(|t| t.0),
            gates: gates.map(|g| g.name.as_str().into()).collect(),
            deleting,
            preempted: deleting && target == Some(true),
            refused: condition("PodScheduled").is_some_and(|c| c.status == "False"),
            finished: matches!(phase, "Succeeded" | "Failed"),
        }
    }

    /// Reads a pod on its own; [`Shapes::read`] shares what it has in common with others.
    pub fn new(pod: &Pod) -> Self {
        Shapes::default().read(pod)
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Reads pods; equal ones share their shape, and all share their texts.
#[derive(Default)]
pub struct Shapes {
    pool: Pool,
    known: HashMap<u128, Weak<Shape>>,
    sweep_at: usize,
}

impl Shapes {
    pub fn read(&mut self, pod: &Pod) -> PodInfo {
        let amounts = amounts(pod);
        let id = identify(pod, &amounts);
        let shape = match self.known.get(&id).and_then(Weak::upgrade) {
            Some(shape) => shape,
            None => {
                if self.known.len() >= self.sweep_at.max(1024) {
                    self.known.retain(|_, s| s.strong_count() > 0);
                    self.sweep_at = self.known.len() * 2;
                }
                let shape = Arc::new(Shape::new(pod, amounts, id, &mut self.pool));
                self.known.insert(id, Arc::downgrade(&shape));
                shape
            }
        };
        PodInfo::with(pod, shape, &mut self.pool)
    }
}
