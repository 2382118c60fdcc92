//! Two controller managers and two schedulers, whose leaders are killed again and again in mid rollout: no
//! action is done twice, and every leader is followed in time.

mod pair;
mod record;
mod verdict;
mod work;

use gantry_e2e::control_plane::ControlPlane;
use gantry_e2e::hollow::{self, Pace, Size};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use pair::Pair;
use record::Record;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use work::{MILLI_CPU, NAMESPACE, NODES};

const LEASE: Duration = Duration::from_secs(2);
const RENEW: Duration = Duration::from_millis(1500);
const RETRY: Duration = Duration::from_millis(500);
/// For a write on a busy machine.
const SLACK: Duration = Duration::from_millis(400);
const KILLS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_are_killed_in_mid_rollout() {
    let begin = Instant::now();
    let plane = ControlPlane::start().await;
    let client = plane.client().await;
    let names: Vec<String> = (1..=NODES).map(|i| format!("hollow-{i}")).collect();
    let size = Size { milli_cpu: MILLI_CPU, pods: 110 };
    let nodes = plane.client().await;
    tokio::spawn(async move { hollow::run(nodes, &names, size, Pace::default()).await });

    let pods = Record::<Pod>::start(Api::all(client.clone())).await;
    let jobs = Record::<Job>::start(Api::all(client.clone())).await;
    let sets = Record::<ReplicaSet>::start(Api::all(client.clone())).await;
    let leases = Record::<Lease>::start(Api::namespaced(client.clone(), "kube-system")).await;
    let mut managers = Pair::start(&plane, "controller-manager");
    let mut schedulers = Pair::start(&plane, "scheduler");
    furnish(&client).await;

    let stop = Arc::new(AtomicBool::new(false));
    let work = tokio::spawn(work::all(plane.client().await, stop.clone()));
    let bound = |pod: &Pod| pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
    tokio::join!(
        managers.kill_leaders(KILLS, || pods.count(|_| true)),
        schedulers.kill_leaders(KILLS, || pods.count(bound)),
    );
    let killed = begin.elapsed();
    stop.store(true, Ordering::Relaxed);
    let done = work.await.expect("the work is done");
    // Whoever would act twice does so once it leads and has caught up: give it time to.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let changes = pods.changes();
    verdict::pods(&changes, &done);
    verdict::bounds(&changes);
    verdict::jobs(&jobs.changes(), &done);
    assert_eq!(sets.count(|_| true), done.web + 1, "replica sets ever made");
    scheduled_once(&client).await;
    let mut words = Vec::new();
    for (name, lost) in [("kube-controller-manager", managers.lost), ("kube-scheduler", schedulers.lost)] {
        let times = verdict::takeovers(&leases.changes(), name);
        // Those that gave up by themselves were followed, too.
        assert!(times.len() >= KILLS && times.len() <= KILLS + lost, "{} leaders of {name}", times.len());
        let told = became_leader(&client, name).await;
        assert!(told >= KILLS, "{told} leaders of {name} told of themselves");
        words.push(format!(
            "{name} followed {} times in {:?} to {:?}",
            times.len(),
            times[0],
            times[times.len() - 1]
        ));
    }
    gone(&client).await;
    println!(
        "{} pods, {done:?}; {}; {:.0}s of killing, {:.0}s in all",
        pods.count(|_| true),
        words.join(", "),
        killed.as_secs_f64(),
        begin.elapsed().as_secs_f64()
    );
}

async fn furnish(client: &Client) {
    let namespace = Namespace {
        metadata: kube::api::ObjectMeta { name: Some(NAMESPACE.into()), ..Default::default() },
        ..Namespace::default()
    };
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.expect("a namespace");
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(client.clone(), NAMESPACE);
    let begin = Instant::now();
    while accounts.get_opt("default").await.expect("an answer").is_none() {
        assert!(begin.elapsed() < Duration::from_secs(20), "no service account");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// No pod was told to be scheduled twice.
async fn scheduled_once(client: &Client) {
    let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
    let found = events.list(&ListParams::default().fields("reason=Scheduled")).await.expect("events");
    let mut times: BTreeMap<String, i32> = BTreeMap::new();
    for event in found {
        let count = event.series.as_ref().and_then(|s| s.count).or(event.count).unwrap_or(1).max(1);
        *times.entry(event.involved_object.uid.unwrap_or_default()).or_default() += count;
    }
    assert!(!times.is_empty() && times.values().all(|n| *n == 1), "{times:?}");
}

/// How many events say that somebody came to lead.
async fn became_leader(client: &Client, lease: &str) -> usize {
    let events: Api<Event> = Api::namespaced(client.clone(), "kube-system");
    let selector = format!("reason=LeaderElection,involvedObject.kind=Lease,involvedObject.name={lease}");
    let found = events.list(&ListParams::default().fields(&selector)).await.expect("events");
    found.iter().filter(|e| e.message.as_deref().is_some_and(|m| m.ends_with(" became leader"))).count()
}

/// Deletes everything: the last leaders know what belongs to what.
async fn gone(client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.delete(NAMESPACE, &Default::default()).await.expect("it can be deleted");
    let begin = Instant::now();
    while let Some(there) = namespaces.get_opt(NAMESPACE).await.expect("an answer") {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "{} is not gone: {:?}",
            there.name_any(),
            there.status
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
