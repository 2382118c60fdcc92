//! Services: by number, and what they take of nodes and load balancers.

use super::amounts::{Amounts, one};
use gantry_types::k8s_openapi::api::core::v1::Service;
use gantry_types::quantity::Quantity;

pub(super) const RESOURCES: [&str; 4] =
    ["count/services", "services", "services.nodeports", "services.loadbalancers"];

pub(super) fn usage(service: &Service) -> Amounts {
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|s| s.ports.as_deref()).unwrap_or_default();
    let kind = spec.and_then(|s| s.type_.as_deref()).unwrap_or_default();
    let balanced = kind == "LoadBalancer";
    // Ports are not given out yet; what counts is that they will be.
    let declined = balanced && spec.and_then(|s| s.allocate_load_balancer_node_ports) == Some(false);
    let taken = match kind {
        _ if declined => ports.iter().filter(|p| p.node_port.is_some_and(|n| n != 0)).count(),
        "NodePort" | "LoadBalancer" => ports.len(),
        _ => 0,
    };
    let int = |n: usize| Quantity::from_int(i64::try_from(n).unwrap_or(i64::MAX));
    let amounts = [one(), one(), int(taken), int(usize::from(balanced))];
    RESOURCES.iter().map(|n| (*n).to_owned()).zip(amounts).collect()
}
