//! Cuts objects down to what scheduling reads before they are kept.

use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, Node, NodeStatus, Pod, PodSpec, PodStatus, Volume,
};

pub fn pod(pod: &mut Pod) {
    pod.metadata.annotations = None;
    pod.metadata.finalizers = None;
    if let Some(owners) = &mut pod.metadata.owner_references {
        owners.retain(|o| o.controller == Some(true));
    }
    if let Some(spec) = pod.spec.take() {
        pod.spec = Some(PodSpec {
            containers: spec.containers.into_iter().map(container).collect(),
            init_containers: spec.init_containers.map(|list| list.into_iter().map(container).collect()),
            volumes: spec.volumes.map(volumes).filter(|v| !v.is_empty()),
            ephemeral_containers: None,
            image_pull_secrets: None,
            readiness_gates: None,
            dns_config: None,
            host_aliases: None,
            security_context: None,
            ..spec
        });
    }
    if let Some(status) = pod.status.take() {
        let conditions = status.conditions.map(|mut list| {
            list.retain(|c| match c.type_.as_str() {
                "PodScheduled" => c.status == "False",
                "DisruptionTarget" | "PodResizePending" => true,
                _ => false,
            });
            list
        });
        pod.status = Some(PodStatus {
            phase: status.phase,
            nominated_node_name: status.nominated_node_name,
            start_time: status.start_time,
            conditions: conditions.filter(|c| !c.is_empty()),
            container_statuses: status.container_statuses.map(resized).filter(|s| !s.is_empty()),
            init_container_statuses: status.init_container_statuses.map(resized).filter(|s| !s.is_empty()),
            resources: status.resources,
            allocated_resources: status.allocated_resources,
            ..PodStatus::default()
        });
    }
}

fn container(c: Container) -> Container {
    Container {
        name: c.name,
        image: c.image,
        ports: c.ports,
        resources: c.resources,
        restart_policy: c.restart_policy,
        ..Container::default()
    }
}

/// Volumes that bear on where the pod may go, without how they are mounted.
fn volumes(list: Vec<Volume>) -> Vec<Volume> {
    let keep = |v: Volume| {
        let kept = Volume {
            name: v.name,
            persistent_volume_claim: v.persistent_volume_claim,
            ephemeral: v.ephemeral.map(|_| Default::default()),
            gce_persistent_disk: v.gce_persistent_disk,
            aws_elastic_block_store: v.aws_elastic_block_store,
            iscsi: v.iscsi,
            rbd: v.rbd,
            csi: v.csi,
            image: v.image,
            ..Volume::default()
        };
        let bare = Volume { name: kept.name.clone(), ..Volume::default() };
        (kept != bare).then_some(kept)
    };
    list.into_iter().filter_map(keep).collect()
}

/// What running containers hold.
fn resized(list: Vec<ContainerStatus>) -> Vec<ContainerStatus> {
    let held = list.into_iter().filter(|c| c.resources.is_some());
    held.map(|c| ContainerStatus {
        name: c.name,
        resources: c.resources,
        allocated_resources: c.allocated_resources,
        ..ContainerStatus::default()
    })
    .collect()
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
