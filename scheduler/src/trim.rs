//! Cuts objects down to what scheduling reads before they are kept.

use k8s_openapi::api::core::v1::{Container, Node, NodeStatus, Pod, PodSpec, PodStatus};

pub fn pod(pod: &mut Pod) {
    pod.metadata.annotations = None;
    pod.metadata.owner_references = None;
    if let Some(spec) = pod.spec.take() {
        pod.spec = Some(PodSpec {
            containers: spec.containers.into_iter().map(container).collect(),
            init_containers: spec.init_containers.map(|list| list.into_iter().map(container).collect()),
            volumes: None,
            image_pull_secrets: None,
            readiness_gates: None,
            dns_config: None,
            host_aliases: None,
            security_context: None,
            ..spec
        });
    }
    if let Some(status) = pod.status.take() {
        pod.status = Some(PodStatus {
            phase: status.phase,
            nominated_node_name: status.nominated_node_name,
            start_time: status.start_time,
            ..PodStatus::default()
        });
    }
}

fn container(c: Container) -> Container {
    Container {
        image: c.image,
        ports: c.ports,
        resources: c.resources,
        restart_policy: c.restart_policy,
        ..Container::default()
    }
}

pub fn node(node: &mut Node) {
    node.metadata.annotations = None;
    if let Some(status) = node.status.take() {
        node.status = Some(NodeStatus {
            allocatable: status.allocatable,
            images: status.images,
            ..NodeStatus::default()
        });
    }
}
