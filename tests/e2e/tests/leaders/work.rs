//! Workloads that roll out again and again, and jobs one after the other.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const NAMESPACE: &str = "work";
pub const NODES: usize = 4;
pub const MILLI_CPU: u32 = 1000;
/// What a pod asks for: a node has room for ten.
pub const REQUEST: u32 = 100;
pub const WEB: usize = 6;
pub const SURGE: usize = 2;
pub const DB: usize = 3;
pub const COMPLETIONS: usize = 8;
/// With some leaders killed on the way.
const PATIENCE: Duration = Duration::from_secs(60);

fn template(app: &str, policy: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {
            "restartPolicy": policy,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "registry.example/app:1",
                            "resources": {"requests": {"cpu": format!("{REQUEST}m")}}}],
        },
    })
}

fn typed<T: DeserializeOwned>(value: Value) -> T {
    // The texts are those below.
    serde_json::from_value(value).expect("a well-formed object")
}

fn rolling(name: &str, replicas: Option<usize>, more: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": name}}, "template": template(name, "Always")});
    spec["replicas"] = json!(replicas);
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Waits until the object is as it should be.
async fn reached<K>(api: &Api<K>, name: &str, there: impl Fn(&K) -> bool)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let begin = Instant::now();
    loop {
        let found = api.get(name).await.expect("the object is there");
        if there(&found) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "not in time: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Creates an object and changes its template each time it has rolled out, until `stop`; how often it did.
async fn roll<K>(api: Api<K>, object: Value, stop: Arc<AtomicBool>, out: impl Fn(&K) -> bool) -> usize
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + k8s_openapi::serde::Serialize,
{
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    api.create(&PostParams::default(), &typed(object)).await.expect("it is created");
    let mut rollouts = 0;
    loop {
        reached(&api, &name, &out).await;
        if stop.load(Ordering::Relaxed) {
            return rollouts;
        }
        rollouts += 1;
        let note = json!({"metadata": {"annotations": {"rollout": rollouts.to_string()}}});
        let patch = Patch::Merge(json!({"spec": {"template": note}}));
        api.patch(&name, &PatchParams::default(), &patch).await.expect("it is changed");
    }
}

/// How often each was rolled out, and how many jobs ran.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    pub web: usize,
    pub db: usize,
    pub agent: usize,
    pub jobs: usize,
}

pub async fn all(client: Client, stop: Arc<AtomicBool>) -> Done {
    let is = |found: Option<i32>, wanted: usize| found.unwrap_or(0) == i32::try_from(wanted).unwrap_or(-1);
    let budget = json!({"strategy": {"rollingUpdate": {"maxSurge": SURGE, "maxUnavailable": 1}}});
    let web = roll::<Deployment>(
        Api::namespaced(client.clone(), NAMESPACE),
        rolling("web", Some(WEB), budget),
        stop.clone(),
        move |d| {
            let status = d.status.clone().unwrap_or_default();
            status.observed_generation == d.metadata.generation
                && [status.replicas, status.updated_replicas, status.available_replicas]
                    .iter()
                    .all(|n| is(*n, WEB))
        },
    );
    let db = roll::<StatefulSet>(
        Api::namespaced(client.clone(), NAMESPACE),
        rolling("db", Some(DB), json!({"serviceName": "db"})),
        stop.clone(),
        move |s| {
            let status = s.status.clone().unwrap_or_default();
            status.observed_generation == s.metadata.generation
                && status.current_revision == status.update_revision
                && [status.ready_replicas, status.current_replicas].iter().all(|n| is(*n, DB))
        },
    );
    let agent = roll::<DaemonSet>(
        Api::namespaced(client.clone(), NAMESPACE),
        rolling("agent", None, json!({})),
        stop.clone(),
        move |s| {
            let status = s.status.clone().unwrap_or_default();
            status.observed_generation == s.metadata.generation
                && [Some(status.number_ready), status.updated_number_scheduled].iter().all(|n| is(*n, NODES))
        },
    );
    let (web, db, agent, jobs) = tokio::join!(web, db, agent, jobs(client, stop));
    Done { web, db, agent, jobs }
}

async fn jobs(client: Client, stop: Arc<AtomicBool>) -> usize {
    let api: Api<Job> = Api::namespaced(client, NAMESPACE);
    for number in 1.. {
        let name = format!("job-{number}");
        let mode = if number % 2 == 0 { "Indexed" } else { "NonIndexed" };
        let spec = json!({"completions": COMPLETIONS, "parallelism": 3, "completionMode": mode,
                          "template": template("job", "Never")});
        let job = typed(json!({"metadata": {"name": name}, "spec": spec}));
        api.create(&PostParams::default(), &job).await.expect("it is created");
        reached(&api, &name, |job| {
            let conditions = job.status.iter().flat_map(|s| s.conditions.iter().flatten());
            conditions.into_iter().any(|c| c.type_ == "Complete" && c.status == "True")
        })
        .await;
        if stop.load(Ordering::Relaxed) {
            return number;
        }
    }
    0
}
