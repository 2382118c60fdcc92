//! What is refused for want of room: quotas and disruption budgets, under many clients; and one kind in two
//! versions.

use crate::{NS, named, names, text, world};
use gantry_testkit::{Backing, Cluster, Http, Identity};
use serde_json::{Value, json};

fn pod(name: &str, cpu: &str) -> Value {
    let resources = json!({"requests": {"cpu": cpu}});
    let containers = json!([{"name": "c", "image": "x", "resources": resources}]);
    json!({"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"containers": containers}})
}

/// A quota whose use is counted, as its controller leaves it; returns once admission sees it.
async fn quota(admin: &Http, hard: Value, used: Value) {
    let quotas = format!("{NS}/resourcequotas");
    admin.post(&quotas, &json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await.expect(201);
    let status = json!({"status": {"hard": hard, "used": used}});
    admin.patch("merge", &format!("{quotas}/q/status"), &status).await.expect(200);
}

/// Sixteen clients want more than there is; exactly what there is they get.
async fn nobody_takes_more_than_there_is(backing: Backing) {
    let (cluster, admin) = world(backing).await;
    quota(&admin, json!({"pods": "30", "requests.cpu": "2"}), json!({"pods": "0", "requests.cpu": "0"}))
        .await;
    let want = async |client: usize| {
        let http = cluster.http(&Identity::Admin);
        let mut got = 0;
        for i in 0..4 {
            let name = format!("p-{client}-{i}");
            let answer = http.post(&format!("{NS}/pods"), &pod(&name, "100m")).await;
            match answer.status {
                201 => got += 1,
                403 => assert_eq!(
                    text(&answer.json()["message"]),
                    format!(
                        "pods \"{name}\" is forbidden: exceeded quota: q, requested: requests.cpu=100m, used: requests.cpu=2, limited: requests.cpu=2"
                    )
                ),
                other => panic!("{other}: {}", answer.text()),
            }
        }
        got
    };
    let got: usize = futures::future::join_all((0..16).map(want)).await.into_iter().sum();
    let listed = admin.get(&format!("{NS}/pods")).await.expect(200);
    let used = admin.get(&format!("{NS}/resourcequotas/q")).await.expect(200)["status"]["used"].clone();
    assert_eq!((got, names(&listed).len()), (20, 20));
    assert_eq!(used, json!({"pods": "20", "requests.cpu": "2"}));
}

#[tokio::test]
async fn nobody_takes_more_than_there_is_embedded() {
    nobody_takes_more_than_there_is(Backing::Embedded).await;
}

#[tokio::test]
async fn nobody_takes_more_than_there_is_etcd() {
    nobody_takes_more_than_there_is(Backing::Etcd).await;
}

#[tokio::test]
async fn dry_runs_take_nothing() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    quota(&admin, json!({"count/configmaps": "1"}), json!({"count/configmaps": "0"})).await;
    let maps = format!("{NS}/configmaps");
    admin.post(&format!("{maps}?dryRun=All"), &named("a")).await.expect(201);
    admin.post(&maps, &named("a")).await.expect(201);
    admin.post(&format!("{maps}?dryRun=All"), &named("b")).await.expect(403);
    let used = admin.get(&format!("{NS}/resourcequotas/q")).await.expect(200)["status"]["used"].clone();
    assert_eq!(used, json!({"count/configmaps": "1"}));
}

async fn running(admin: &Http, name: &str) {
    let pods = format!("{NS}/pods");
    admin.post(&pods, &pod(name, "1m")).await.expect(201);
    let condition = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"status": {"phase": "Running", "conditions": [condition]}});
    admin.patch("strategic", &format!("{pods}/{name}/status"), &status).await.expect(200);
}

/// Eight clients evict a pod each; the budget lets three go.
async fn budgets_let_go_what_they_allow(cluster: Cluster, admin: Http) {
    let budgets = "/apis/policy/v1/namespaces/t/poddisruptionbudgets";
    let spec = json!({"minAvailable": 5, "selector": {"matchLabels": {"app": "a"}}});
    admin.post(budgets, &json!({"metadata": {"name": "b"}, "spec": spec})).await.expect(201);
    for i in 0..8 {
        running(&admin, &format!("p{i}")).await;
    }
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 3, "currentHealthy": 8, "desiredHealthy": 5, "expectedPods": 8}});
    admin.patch("merge", &format!("{budgets}/b/status"), &status).await.expect(200);
    let evict = async |i: usize| {
        let http = cluster.http(&Identity::Admin);
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": format!("p{i}")}, "deleteOptions": {"gracePeriodSeconds": 0}});
        let answer = http.post(&format!("{NS}/pods/p{i}/eviction"), &eviction).await;
        if answer.status == 429 {
            let cause = answer.json()["details"]["causes"][0].clone();
            assert_eq!(text(&cause["reason"]), "DisruptionBudget");
            assert_eq!(
                text(&cause["message"]),
                "The disruption budget b does not allow evicting pods currently"
            );
        }
        answer.status
    };
    let answers: Vec<u16> = futures::future::join_all((0..8).map(evict)).await;
    let allowed = answers.iter().filter(|status| **status == 201).count();
    let listed = admin.get(&format!("{NS}/pods")).await.expect(200);
    let budget = admin.get(&format!("{budgets}/b")).await.expect(200);
    assert_eq!((allowed, names(&listed).len()), (3, 5), "{answers:?}");
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert_eq!(budget["status"]["disruptedPods"].as_object().map(serde_json::Map::len), Some(3));
    assert_eq!(budget["status"]["conditions"][0]["reason"], "InsufficientPods");
}

#[tokio::test]
async fn budgets_let_go_what_they_allow_embedded() {
    let (cluster, admin) = world(Backing::Embedded).await;
    budgets_let_go_what_they_allow(cluster, admin).await;
}

/// An autoscaler applied in both versions: one object, whose fields have owners in each.
#[tokio::test]
async fn one_autoscaler_in_two_versions() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let path = |v: &str, who: &str| {
        format!("/apis/autoscaling/{v}/namespaces/t/horizontalpodautoscalers/h?fieldManager={who}")
    };
    let object = |v: &str, spec: Value| json!({"apiVersion": format!("autoscaling/{v}"), "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec});
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let first = json!({"maxReplicas": 4, "scaleTargetRef": target, "targetCPUUtilizationPercentage": 60});
    admin.patch("apply", &path("v1", "one"), &object("v1", first)).await.expect(201);
    let metric = json!([{"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}}]);
    let wants =
        |max: i32| object("v2", json!({"metrics": metric, "maxReplicas": max, "scaleTargetRef": target}));
    let refused = admin.patch("apply", &path("v2", "two"), &wants(5)).await.expect(409);
    assert_eq!(
        text(&refused["message"]),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.maxReplicas"
    );
    let v2 = admin.patch("apply", &path("v2", "two"), &wants(4)).await.expect(200);
    assert_eq!(v2["spec"]["metrics"], metric);
    let v1 = admin.get(&path("v1", "x")).await.expect(200);
    assert_eq!(
        v1["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"],
        r#"[{"type":"Pods","pods":{"metricName":"m","targetAverageValue":"1"}}]"#
    );
    let managers = v1["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let versions: Vec<&str> = managers.iter().map(|m| text(&m["apiVersion"])).collect();
    assert_eq!(versions, ["autoscaling/v1", "autoscaling/v2"]);
}
