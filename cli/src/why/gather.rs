//! Fetches what each explanation looks at.

use super::finding::{Finding, Verdict};
use super::read::{Found, Reader};
use super::{claim, job, namespace, pod, rollout, service, unscheduled};
use crate::resources::Resource;
use futures::StreamExt;
use gantry_machinery::selector::Selector;
use gantry_scheduler_core::Shapes;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pods that have not ended.
const LIVING: &str = "status.phase!=Succeeded,status.phase!=Failed";
/// Lists asked for at once.
const AT_ONCE: usize = 8;

fn text(s: &Option<String>) -> &str {
    s.as_deref().unwrap_or_default()
}

fn space(meta: &ObjectMeta) -> Option<&str> {
    meta.namespace.as_deref()
}

pub async fn pod(r: &Reader<'_>, p: &Pod) -> Verdict {
    let events = r.events(p).await;
    let spec = p.spec.clone().unwrap_or_default();
    let name = spec.node_name.as_deref().filter(|n| !n.is_empty());
    let node = match name {
        Some(name) => Some(r.get(None, name).await),
        None => None,
    };
    let status = p.status.clone().unwrap_or_default();
    let going = p.metadata.deletion_timestamp.is_some();
    let pending = status.phase.as_deref().unwrap_or("Pending") == "Pending" && !going;
    let refused = status.conditions.iter().flatten().any(|c| {
        c.type_ == "PodScheduled" && c.status == "False" && c.reason.as_deref() == Some("Unschedulable")
    });
    let fit = if name.is_none() && refused { fit(r, p).await } else { None };
    let claims = if pending && spec.scheduling_gates.is_none() { claims(r, p).await } else { Vec::new() };
    pod::explain(&pod::Seen {
        pod: p,
        events: &events,
        node: node.as_ref(),
        fit,
        claims,
        now: Timestamp::now(),
    })
}

/// What the scheduler's plugins say; `None` where not enough may be read.
async fn fit(r: &Reader<'_>, p: &Pod) -> Option<Vec<Finding>> {
    let nodes = r.list(None, "", "").await?;
    // Of each pod only what counts is kept: there may be many.
    let (mut shapes, mut pods) = (Shapes::default(), Vec::new());
    r.each(None, "", LIVING, |p: Pod| pods.push(Arc::new(shapes.read(&p)))).await?;
    let mut world = unscheduled::World {
        nodes,
        pods,
        namespaces: r.list(None, "", "").await.unwrap_or_default(),
        ..unscheduled::World::default()
    };
    let volumes = p.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default();
    if volumes.iter().any(|v| v.persistent_volume_claim.is_some() || v.ephemeral.is_some() || v.csi.is_some())
    {
        world.claims = r.list(None, "", "").await?;
        world.volumes = r.list(None, "", "").await?;
        world.classes = r.list(None, "", "").await?;
        world.csi_nodes = r.list(None, "", "").await.unwrap_or_default();
        world.csi_drivers = r.list(None, "", "").await.unwrap_or_default();
        world.capacities = r.list(None, "", "").await.unwrap_or_default();
    }
    Some(unscheduled::explain(p, world))
}

/// What is wrong with the claims of a pod.
async fn claims(r: &Reader<'_>, p: &Pod) -> Vec<Finding> {
    let (namespace, own) = (space(&p.metadata), text(&p.metadata.name));
    let mut out = Vec::new();
    for volume in p.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
        let name = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => source.claim_name.clone(),
            (None, Some(_)) => format!("{own}-{}", volume.name),
            (None, None) => continue,
        };
        match r.get::<PersistentVolumeClaim>(namespace, &name).await {
            Found::There(c) => {
                // That it waits for this pod is no news.
                let verdict = claim(r, &c).await;
                let mut findings = verdict.findings;
                findings.retain(|f| !f.change.iter().any(|c| c.ends_with(&format!("kctl why pod {own}"))));
                if !findings.is_empty() {
                    out.push(
                        Finding::new(format!("its claim {name} is {}", verdict.state)).because(findings),
                    );
                }
            }
            Found::Gone => out.push(Finding::new(format!("its claim {name} does not exist")).change(
                format!("make the PersistentVolumeClaim {name}, or mend the pod's volume {}", volume.name),
            )),
            Found::Unread => {}
        }
    }
    out
}

pub async fn claim(r: &Reader<'_>, c: &PersistentVolumeClaim) -> Verdict {
    let namespace = space(&c.metadata);
    let events = r.events(c).await;
    let named = c.spec.as_ref().and_then(|s| s.volume_name.as_deref()).filter(|n| !n.is_empty());
    let volume = match named {
        Some(name) => Some(r.get(None, name).await),
        None => None,
    };
    let bound = c.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    let (mut classes, mut volumes, mut drivers, mut nodes) = (None, None, None, None);
    if bound {
        nodes = r.list(None, "", "").await;
    } else {
        classes = r.list(None, "", "").await;
        volumes = r.list(None, "", "").await;
        drivers = r.list(None, "", "").await;
    }
    let pods: Vec<Pod> = r.list(namespace, "", LIVING).await.unwrap_or_default();
    let users: Vec<&Pod> = pods.iter().filter(|p| claim::uses(p, text(&c.metadata.name))).collect();
    claim::explain(&claim::Seen {
        claim: c,
        events: &events,
        classes: classes.as_deref(),
        volumes: volumes.as_deref(),
        nodes: nodes.as_deref(),
        drivers: drivers.as_deref(),
        volume: volume.as_ref(),
        users: &users,
    })
}

pub async fn service(r: &Reader<'_>, s: &Service) -> Verdict {
    let namespace = space(&s.metadata);
    let label = format!("kubernetes.io/service-name={}", text(&s.metadata.name));
    let slices = r.list(namespace, &label, "").await.unwrap_or_default();
    let pods: Vec<Pod> = r.list(namespace, "", "").await.unwrap_or_default();
    let selector = s.spec.as_ref().and_then(|s| s.selector.clone()).unwrap_or_default();
    let own: Vec<Pod> = pods
        .iter()
        .filter(|p| !selector.is_empty() && service::selects(&selector, p) && !service::has_ended(p))
        .cloned()
        .collect();
    let none_ready = !own.iter().any(service::is_ready);
    let bad = rollout::worst(&own, |_| true).filter(|_| none_ready);
    let worst = match bad {
        Some(p) => {
            let verdict = pod(r, p).await;
            Some(
                Finding::new(format!("pod/{} is {}", text(&p.metadata.name), verdict.state))
                    .because(verdict.findings),
            )
        }
        None => None,
    };
    service::explain(&service::Seen { service: s, slices: &slices, pods: &pods, worst })
}

async fn selected(r: &Reader<'_>, namespace: Option<&str>, selector: &LabelSelector) -> Vec<Pod> {
    match Selector::from_struct(Some(selector)) {
        Ok(s) if !s.is_nothing() => r.list(namespace, &s.to_string(), "").await.unwrap_or_default(),
        _ => Vec::new(),
    }
}

async fn worst(
    r: &Reader<'_>,
    pods: &[Pod],
    wanted: impl Fn(&Pod) -> bool,
) -> Option<(String, Vec<Finding>)> {
    let found = rollout::worst(pods, wanted)?;
    Some((format!("pod/{}", text(&found.metadata.name)), pod(r, found).await.findings))
}

/// Budgets over the pods of a namespace with these labels.
async fn budgets(r: &Reader<'_>, meta: &ObjectMeta, pods: &[Pod]) -> Vec<PodDisruptionBudget> {
    let Some(pod) = pods.first() else { return Vec::new() };
    let mut all: Vec<PodDisruptionBudget> = r.list(space(meta), "", "").await.unwrap_or_default();
    all.retain(|b| {
        let selector = b.spec.as_ref().and_then(|s| s.selector.as_ref());
        Selector::from_struct(selector).is_ok_and(|s| s.matches(&pod.metadata.labels))
    });
    all
}

pub async fn deployment(r: &Reader<'_>, d: &Deployment) -> Verdict {
    let (namespace, uid) = (space(&d.metadata), text(&d.metadata.uid));
    let Some(selector) = d.spec.as_ref().map(|s| &s.selector) else { return Verdict::default() };
    let mut pods = selected(r, namespace, selector).await;
    let mut sets: Vec<ReplicaSet> = r.list(namespace, "", "").await.unwrap_or_default();
    sets.retain(|s| rollout::owned(&s.metadata, uid));
    pods.retain(|p| sets.iter().any(|s| rollout::owned(&p.metadata, text(&s.metadata.uid))));
    let newest = rollout::newest_set(&sets);
    let events = match newest {
        Some(set) => r.events(set).await,
        None => r.events(d).await,
    };
    let hash =
        newest.and_then(|s| s.metadata.labels.as_ref()?.get(rollout::HASH)).cloned().unwrap_or_default();
    let around = rollout::Around {
        pods: &pods,
        events: &events,
        budgets: &budgets(r, &d.metadata, &pods).await,
        worst: worst(r, &pods, |p| rollout::label(p, rollout::HASH) == hash).await,
    };
    rollout::deployment(d, &sets, &around)
}

pub async fn replica_set(r: &Reader<'_>, s: &ReplicaSet) -> Verdict {
    let Some(selector) = s.spec.as_ref().map(|s| &s.selector) else { return Verdict::default() };
    let pods = owned(r, &s.metadata, selector).await;
    let events = r.events(s).await;
    let worst = worst(r, &pods, |_| true).await;
    let budgets = budgets(r, &s.metadata, &pods).await;
    rollout::replica_set(s, &rollout::Around { pods: &pods, events: &events, budgets: &budgets, worst })
}

async fn owned(r: &Reader<'_>, owner: &ObjectMeta, selector: &LabelSelector) -> Vec<Pod> {
    let mut pods = selected(r, space(owner), selector).await;
    pods.retain(|p| rollout::owned(&p.metadata, text(&owner.uid)));
    pods
}

pub async fn stateful_set(r: &Reader<'_>, s: &StatefulSet) -> Verdict {
    let Some(selector) = s.spec.as_ref().map(|s| &s.selector) else { return Verdict::default() };
    let pods = owned(r, &s.metadata, selector).await;
    let events = r.events(s).await;
    let worst = worst(r, &pods, |_| true).await;
    let budgets = budgets(r, &s.metadata, &pods).await;
    rollout::stateful_set(s, &rollout::Around { pods: &pods, events: &events, budgets: &budgets, worst })
}

pub async fn daemon_set(r: &Reader<'_>, d: &DaemonSet) -> Verdict {
    let Some(selector) = d.spec.as_ref().map(|s| &s.selector) else { return Verdict::default() };
    let pods = owned(r, &d.metadata, selector).await;
    let events = r.events(d).await;
    let all: Vec<ControllerRevision> = r.list(space(&d.metadata), "", "").await.unwrap_or_default();
    let own = all.iter().filter(|c| rollout::owned(&c.metadata, text(&d.metadata.uid)));
    let newest = own.max_by_key(|c| c.revision);
    let hash = newest.and_then(|c| c.metadata.labels.as_ref()?.get(rollout::CONTROLLER_REVISION));
    let hash = hash.map_or("", String::as_str);
    let worst = worst(r, &pods, |p| rollout::label(p, rollout::CONTROLLER_REVISION) == hash).await;
    let budgets = budgets(r, &d.metadata, &pods).await;
    rollout::daemon_set(d, hash, &rollout::Around { pods: &pods, events: &events, budgets: &budgets, worst })
}

pub async fn job(r: &Reader<'_>, j: &Job) -> Verdict {
    let events = r.events(j).await;
    let label = format!("batch.kubernetes.io/controller-uid={}", text(&j.metadata.uid));
    let pods: Vec<Pod> = r.list(space(&j.metadata), &label, "").await.unwrap_or_default();
    let failed =
        pods.iter().rev().find(|p| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Failed"));
    let bad = rollout::worst(&pods, |_| true).or(failed);
    let worst = match bad {
        Some(p) => Some((format!("pod/{}", text(&p.metadata.name)), pod(r, p).await.findings)),
        None => None,
    };
    job::job(j, &events, worst)
}

pub async fn cron_job(r: &Reader<'_>, c: &CronJob) -> Verdict {
    let events: Vec<Event> = r.events(c).await;
    job::cron_job(c, &events, Timestamp::now())
}

pub async fn namespace(r: &Reader<'_>, n: &Namespace) -> Verdict {
    let (mut left, mut silent) = (Vec::new(), Vec::new());
    if n.metadata.deletion_timestamp.is_some() {
        silent = silent_apis(r).await;
        left = remains(r, text(&n.metadata.name)).await;
    }
    namespace::explain(&namespace::Seen { namespace: n, left, silent, now: Timestamp::now() })
}

async fn silent_apis(r: &Reader<'_>) -> Vec<namespace::Silent> {
    let all: Vec<APIService> = r.list(None, "", "").await.unwrap_or_default();
    let judged = all.into_iter().filter_map(|a| {
        let conditions = a.status.and_then(|s| s.conditions).unwrap_or_default();
        let available = conditions.into_iter().find(|c| c.type_ == "Available")?;
        let behind = a.spec.and_then(|s| s.service);
        (available.status != "True").then(|| namespace::Silent {
            name: a.metadata.name.unwrap_or_default(),
            message: format!("{}: {}", text(&available.reason), text(&available.message)),
            service: behind.map(|s| format!("{}/{}", text(&s.namespace), text(&s.name))),
        })
    });
    judged.collect()
}

/// Whether the namespace controller has to empty a namespace of these.
fn is_content(resource: &Resource) -> bool {
    let can = |verb: &str| resource.verbs.iter().any(|v| v == verb);
    // Events go last, and are the same in both groups; endpoints go with their services.
    let follows = matches!(resource.plural.as_str(), "events" | "endpoints");
    resource.namespaced && can("list") && can("delete") && !follows
}

async fn remains(r: &Reader<'_>, name: &str) -> Vec<namespace::Left> {
    let known = match r.cx.discovery().await {
        Ok(known) => known,
        Err(e) => {
            r.note("the kinds there are", &e);
            return Vec::new();
        }
    };
    let kinds: Vec<&Resource> = known.preferred().into_iter().filter(|k| is_content(k)).collect();
    let lists = futures::stream::iter(kinds).map(|kind| remaining(r, kind, name));
    let mut left: Vec<namespace::Left> =
        lists.buffer_unordered(AT_ONCE).filter_map(|l| async move { l }).collect().await;
    left.sort_by(|a, b| a.resource.cmp(&b.resource));
    left
}

async fn remaining(r: &Reader<'_>, kind: &Resource, namespace: &str) -> Option<namespace::Left> {
    #[derive(Deserialize)]
    struct List {
        items: Option<Vec<Item>>,
    }
    #[derive(Deserialize)]
    struct Item {
        metadata: ObjectMeta,
    }
    let path = crate::rest::with_query(&kind.path(Some(namespace)), &[("limit", "500")]);
    let found = async { r.cx.rest().await?.typed::<List>(&path).await };
    let items = match found.await {
        Ok(list) => list.items.unwrap_or_default(),
        Err(e) if e.is_not_found() => return None,
        Err(e) => {
            r.note(&kind.full(), &e);
            return None;
        }
    };
    if items.is_empty() {
        return None;
    }
    let mut finalizers: BTreeMap<String, usize> = BTreeMap::new();
    for f in items.iter().flat_map(|i| i.metadata.finalizers.iter().flatten()) {
        *finalizers.entry(f.clone()).or_default() += 1;
    }
    Some(namespace::Left {
        resource: kind.full(),
        untouched: items.iter().filter(|i| i.metadata.deletion_timestamp.is_none()).count(),
        names: items.into_iter().map(|i| i.metadata.name.unwrap_or_default()).collect(),
        finalizers,
    })
}
