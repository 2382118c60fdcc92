//! What this node's network should be, from the nodes there are. Pure.

use crate::config::{Backend, Config};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A node as the network sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    pub address: Ipv4Addr,
    pub pods: Ipv4Net,
}

/// Reads a Node; `None` until it has an internal address and a pod range.
pub fn peer(node: &Node) -> Option<Peer> {
    let spec = node.spec.as_ref()?;
    let ranges = spec.pod_cidrs.iter().flatten().chain(spec.pod_cidr.iter());
    let pods = ranges.filter_map(|r| r.parse().ok()).next()?;
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let address =
        addresses.iter().filter(|a| a.type_ == "InternalIP").find_map(|a| a.address.parse().ok())?;
    Some(Peer { name: node.metadata.name.clone()?, address, pods })
}

/// The network of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// This node's CNI configuration list; `None` until the node has a range.
    pub cni: Option<String>,
    /// This node's own range, masqueraded when its pods talk beyond the cluster.
    pub own: Option<Ipv4Net>,
    pub local: Option<Ipv4Addr>,
    /// Other nodes' ranges and how to reach them.
    pub routes: BTreeMap<Ipv4Net, Ipv4Addr>,
}

pub fn plan(config: &Config, nodes: &[Peer]) -> Plan {
    let Some(me) = nodes.iter().find(|n| n.name == config.node_name) else { return Plan::default() };
    let routes = nodes
        .iter()
        .filter(|n| n.name != config.node_name && n.pods != me.pods && n.address != me.address)
        .map(|n| (n.pods, n.address))
        .collect();
    Plan { cni: Some(cni(config, me.pods)), own: Some(me.pods), local: Some(me.address), routes }
}

/// The CNI configuration list: a bridge, and host ports.
fn cni(config: &Config, pods: Ipv4Net) -> String {
    let mut bridge = json!({
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": true,
        "ipMasq": false,
        "hairpinMode": true,
        "ipam": {
            "type": "host-local",
            "dataDir": config.ipam_data_dir,
            "ranges": [[{"subnet": pods.to_string()}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    });
    if let Some(mtu) = config.mtu {
        bridge["mtu"] = mtu.into();
    }
    let list = json!({
        "cniVersion": "0.4.0",
        "name": "gantry",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}],
    });
    format!("{list:#}\n")
}

/// The nftables text that masquerades pods' traffic to what is not the cluster.
pub fn masquerade(config: &Config, own: Ipv4Net) -> String {
    format!(
        "add table ip gantry-network\n\
         flush table ip gantry-network\n\
         add chain ip gantry-network postrouting {{ type nat hook postrouting priority 110; }}\n\
         add rule ip gantry-network postrouting ip saddr {own} ip daddr != {} ip daddr != 224.0.0.0/4 masquerade\n",
        config.cluster_cidr
    )
}

/// The name of the overlay's link.
pub const VXLAN_LINK: &str = "gantry.vxlan";

/// The address a node's end of the overlay has: the network address of its pod range.
pub fn overlay_address(pods: Ipv4Net) -> Ipv4Addr {
    pods.network()
}

/// A link-layer address made from the node's own, so that no exchange of addresses is needed.
pub fn overlay_mac(node: Ipv4Addr) -> String {
    let [a, b, c, d] = node.octets();
    format!("0a:67:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// The commands of `ip` that bring `routes` about.
pub fn route_commands(config: &Config, plan: &Plan) -> Vec<Vec<String>> {
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut out = Vec::new();
    for (pods, node) in &plan.routes {
        match config.backend {
            Backend::Routes => out.push(words(format!("route replace {pods} via {node}"))),
            Backend::Vxlan => {
                let (gateway, mac) = (overlay_address(*pods), overlay_mac(*node));
                out.push(words(format!(
                    "neigh replace {gateway} lladdr {mac} dev {VXLAN_LINK} nud permanent"
                )));
                out.push(words(format!("route replace {pods} via {gateway} dev {VXLAN_LINK} onlink")));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(backend: Backend) -> Config {
        Config {
            kubeconfig: None,
            node_name: "a".into(),
            cni_conf_dir: "/c".into(),
            ipam_data_dir: "/d".into(),
            cluster_cidr: "10.244.0.0/16".parse().expect("a range"),
            backend,
            mtu: None,
        }
    }

    fn peer_of(name: &str, address: [u8; 4], third: u8) -> Peer {
        let pods = Ipv4Net::new([10, 244, third, 0].into(), 24).expect("a range");
        Peer { name: name.into(), address: address.into(), pods }
    }

    #[test]
    fn a_node_routes_to_all_others_and_never_to_itself() {
        let nodes = [
            peer_of("a", [172, 0, 0, 1], 0),
            peer_of("b", [172, 0, 0, 2], 1),
            peer_of("c", [172, 0, 0, 3], 2),
        ];
        let p = plan(&config(Backend::Routes), &nodes);
        let commands: Vec<String> =
            route_commands(&config(Backend::Routes), &p).iter().map(|c| c.join(" ")).collect();
        assert_eq!(
            commands,
            ["route replace 10.244.1.0/24 via 172.0.0.2", "route replace 10.244.2.0/24 via 172.0.0.3"]
        );
        assert!(p.cni.is_some_and(|c| c.contains("10.244.0.0/24")));
        assert_eq!(plan(&config(Backend::Routes), &nodes[1..]), Plan::default());
    }

    #[test]
    fn the_overlay_needs_no_exchange_of_addresses() {
        let nodes = [peer_of("a", [172, 0, 0, 1], 0), peer_of("b", [172, 0, 0, 2], 1)];
        let c = config(Backend::Vxlan);
        let commands: Vec<String> =
            route_commands(&c, &plan(&c, &nodes)).iter().map(|c| c.join(" ")).collect();
        assert_eq!(
            commands,
            [
                "neigh replace 10.244.1.0 lladdr 0a:67:ac:00:00:02 dev gantry.vxlan nud permanent",
                "route replace 10.244.1.0/24 via 10.244.1.0 dev gantry.vxlan onlink",
            ]
        );
    }
}
