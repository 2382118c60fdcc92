//! Which pods a daemon set makes and deletes.

use super::backoff::Backoff;
use super::eligible::{Demands, Verdict};
use super::{pods, rolling, status};
use gantry_client::EventType;
use gantry_reconcile::conditions;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// No more than this many creations or deletions in one go.
const BURST: usize = 250;

/// What a decision needs.
pub(super) struct Snapshot<'a> {
    pub set: &'a DaemonSet,
    pub nodes: Vec<Arc<Node>>,
    /// The set's pods.
    pub pods: Vec<Arc<Pod>>,
    /// The hash of the present revision.
    pub revision: &'a str,
}

/// The nodes by name, judged, each with its pods; nodes that are gone have pods only.
pub(super) type Places<'a> = BTreeMap<&'a str, Place<'a>>;

#[derive(Default)]
pub(super) struct Place<'a> {
    /// `None`: there is no such node.
    pub verdict: Option<Verdict>,
    pub pods: Vec<&'a Arc<Pod>>,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nodes that get a pod.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    pub events: Vec<(EventType, &'static str, String)>,
    pub status: DaemonSetStatus,
    pub next: Option<Duration>,
}

/// The next steps. Nodes without or with too many pods come first; only when all is well there, the update
/// goes on.
pub(super) fn plan(snapshot: &Snapshot<'_>, backoff: &mut Backoff, now: Timestamp) -> Plan {
    let places = places(snapshot);
    let mut plan = Plan { status: status::of(snapshot, &places, now), ..Plan::default() };
    plan.next = status::next_look(snapshot, &plan.status, now);
    for (node, place) in &places {
        manage(snapshot, node, place, backoff, now, &mut plan);
    }
    if plan.create.is_empty() && plan.delete.is_empty() && rolling::is_rolling(snapshot.set) {
        rolling::update(snapshot, &places, now, &mut plan);
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan
}

pub(super) fn places<'a>(snapshot: &'a Snapshot<'_>) -> Places<'a> {
    let demands = Demands::of(snapshot.set.spec.as_ref().map(|s| &s.template));
    let mut places = Places::new();
    for node in &snapshot.nodes {
        let name = node.metadata.name.as_deref().unwrap_or("");
        places.insert(name, Place { verdict: Some(demands.judge(node)), pods: Vec::new() });
    }
    for pod in &snapshot.pods {
        // What is over and being deleted holds no place.
        if conditions::is_terminal(pod) && pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        if let Some(node) = pods::target(pod) {
            places.entry(node).or_default().pods.push(pod);
        }
    }
    places.values_mut().for_each(|place| place.pods.sort_by(|a, b| pods::by_age(a, b)));
    places
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Sees to one node: one pod where one is to run, none where not, two while one replaces the other.
fn manage(
    snapshot: &Snapshot<'_>,
    node: &str,
    place: &Place<'_>,
    backoff: &mut Backoff,
    now: Timestamp,
    plan: &mut Plan,
) {
    let staying = || place.pods.iter().filter(|p| !is_going(p)).map(|p| Arc::clone(p));
    match place.verdict {
        // The pod collector sees to pods of nodes that are gone; those that never got there are ours.
        None => {
            plan.delete.extend(place.pods.iter().filter(|p| !pods::is_assigned(p)).map(|p| Arc::clone(p)))
        }
        Some(Verdict::Run) if place.pods.is_empty() => plan.create.push(node.to_owned()),
        Some(Verdict::Leave) => plan.delete.extend(staying()),
        Some(verdict) => {
            let mut running = Vec::new();
            for pod in staying() {
                match conditions::phase(&pod) {
                    "Failed" => replace_failed(snapshot, node, pod, backoff, now, plan),
                    "Succeeded" => {
                        let message = format!(
                            "Found succeeded daemon pod {} on node {node}, will try to delete it",
                            full(&pod)
                        );
                        plan.events.push((EventType::Normal, "SucceededDaemonPod", message));
                        plan.delete.push(pod);
                    }
                    _ => running.push(pod),
                }
            }
            if !rolling::allows_surge(snapshot.set) {
                plan.delete.extend(running.into_iter().skip(1));
            } else if running.is_empty() && verdict == Verdict::Run {
                plan.create.push(node.to_owned());
            } else if running.len() > 1 {
                plan.delete.extend(surplus(snapshot, running, now));
            }
        }
    }
}

fn full(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!("{}/{}", meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""))
}

fn replace_failed(
    snapshot: &Snapshot<'_>,
    node: &str,
    pod: Arc<Pod>,
    backoff: &mut Backoff,
    now: Timestamp,
    plan: &mut Plan,
) {
    let set = snapshot.set;
    let generation = set.status.as_ref().and_then(|s| s.observed_generation).unwrap_or(0);
    let key = format!("{}/{generation}/{node}", set.metadata.uid.as_deref().unwrap_or(""));
    match backoff.admit(key, now) {
        Err(wait) => plan.next = Some(plan.next.map_or(wait, |next| next.min(wait))),
        Ok(()) => {
            let message =
                format!("Found failed daemon pod {} on node {node}, will try to kill it", full(&pod));
            plan.events.push((EventType::Warning, "FailedDaemonPod", message));
            plan.delete.push(pod);
        }
    }
}

/// Where surge is allowed, the oldest pod of the present revision and the oldest other one may be there
/// together, until the new one is available or the old one is of no use.
fn surplus(snapshot: &Snapshot<'_>, running: Vec<Arc<Pod>>, now: Timestamp) -> Vec<Arc<Pod>> {
    let min_ready = status::min_ready(snapshot.set);
    let (mut new, mut old, mut gone) = (None, None, Vec::new());
    for pod in running {
        let slot = if pods::hash(&pod) == snapshot.revision { &mut new } else { &mut old };
        if slot.is_none() {
            *slot = Some(pod);
        } else {
            gone.push(pod);
        }
    }
    if let (Some(new), Some(old)) = (new, old)
        && (!conditions::is_ready(&old) || conditions::is_available(&new, min_ready, now))
    {
        gone.push(old);
    }
    gone
}
