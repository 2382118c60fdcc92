//! Objects to start from: valid, small, and named by the caller.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde_json::{Value, json};

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    // The texts are those below.
    serde_json::from_value(value).expect("the object is well-formed")
}

pub fn namespace(name: &str) -> Namespace {
    typed(json!({"metadata": {"name": name}}))
}

pub fn service_account(name: &str) -> ServiceAccount {
    typed(json!({"metadata": {"name": name}}))
}

/// One key `k`.
pub fn config_map(name: &str, value: &str) -> ConfigMap {
    typed(json!({"metadata": {"name": name}, "data": {"k": value}}))
}

/// One container, on no node.
pub fn pod(name: &str) -> Pod {
    typed(json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "registry.example/app:1"}]},
    }))
}

/// One container, on a node.
pub fn pod_on(name: &str, node: &str) -> Pod {
    let mut pod = pod(name);
    pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
    pod
}

pub fn node(name: &str) -> Node {
    typed(json!({
        "metadata": {"name": name},
        "status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
    }))
}

/// Port 80 of pods labelled `app: <name>`.
pub fn service(name: &str) -> Service {
    typed(json!({"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}))
}

pub fn deployment(name: &str, replicas: i32) -> Deployment {
    typed(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "registry.example/app:1"}]},
            },
        },
    }))
}

/// A role of one rule, and its binding to one user.
pub fn grant(
    name: &str,
    user: &str,
    groups: &[&str],
    resources: &[&str],
    verbs: &[&str],
) -> (ClusterRole, ClusterRoleBinding) {
    let role = json!({
        "metadata": {"name": name},
        "rules": [{"apiGroups": groups, "resources": resources, "verbs": verbs}],
    });
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    (typed(role), typed(binding))
}
