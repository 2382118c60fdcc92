//! The API of a whole apiserver, over TLS, on real stores.

mod access;
mod addresses;
mod aggregation;
mod deletes;
mod discovery;
mod golden;
mod lists;
mod patches;
mod quotas;
mod services;
mod storage;
mod stores;
mod watches;
mod writes;

use gantry_testkit::{Backing, Cluster, Http, Identity};
use serde_json::{Value, json};

/// The namespace tests work in.
const NS: &str = "/api/v1/namespaces/t";
const APPS: &str = "/apis/apps/v1/namespaces/t";

/// A cluster with the namespace `t` and its default service account, and requests as its administrator.
async fn world(backing: Backing) -> (Cluster, Http) {
    let cluster = Cluster::on(backing).await;
    let admin = cluster.http(&Identity::Admin);
    admin.post("/api/v1/namespaces", &named("t")).await.expect(201);
    admin.post(&format!("{NS}/serviceaccounts"), &named("default")).await.expect(201);
    (cluster, admin)
}

/// An object of a name alone.
fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

/// Any k8s-openapi object as JSON.
fn plain<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).expect("an object serializes")
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": value}})
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn version(object: &Value) -> u64 {
    text(&object["metadata"]["resourceVersion"]).parse().expect("a resource version")
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|o| text(&o["metadata"]["name"]).to_owned()).collect()
}
