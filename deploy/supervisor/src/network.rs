//! The node network: one bridge on the machine, a namespace and a veth pair for each further node.

use crate::layout::{BRIDGE, Layout, Node, address};
use crate::shell::{attempt, run};
use anyhow::Context;

/// Makes what is missing. The machine is node 1 and holds the bridge's own address.
pub fn ensure(nodes: &[Node]) -> anyhow::Result<()> {
    if !attempt("ip", &["link", "show", BRIDGE]) {
        run("ip", &["link", "add", BRIDGE, "type", "bridge"])?;
    }
    run("ip", &["addr", "replace", &format!("{}/24", address(1)), "dev", BRIDGE])?;
    run("ip", &["link", "set", BRIDGE, "up"])?;
    sysctl("net/ipv4/ip_forward", "1")?;
    for node in nodes {
        if let Some(ns) = node.namespace() {
            ensure_namespace(&ns, node)?;
        }
    }
    Ok(())
}

fn ensure_namespace(ns: &str, node: &Node) -> anyhow::Result<()> {
    let outside = format!("gnt-{}", node.index);
    if !std::path::Path::new("/run/netns").join(ns).exists() {
        run("ip", &["netns", "add", ns])?;
    }
    if !attempt("ip", &["link", "show", &outside]) {
        run("ip", &["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", ns])?;
        run("ip", &["link", "set", &outside, "master", BRIDGE, "up"])?;
    }
    let inside = |args: &[&str]| run("ip", &[&["-n", ns][..], args].concat());
    inside(&["link", "set", "lo", "up"])?;
    inside(&["addr", "replace", &format!("{}/24", node.address), "dev", "eth0"])?;
    inside(&["link", "set", "eth0", "up"])?;
    inside(&["route", "replace", "default", "via", &address(1).to_string()])?;
    run(
        "nsenter",
        &[&format!("--net=/run/netns/{ns}"), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"],
    )?;
    Ok(())
}

fn sysctl(name: &str, value: &str) -> anyhow::Result<()> {
    let path = format!("/proc/sys/{name}");
    std::fs::write(&path, value).with_context(|| format!("cannot set {path} to {value}"))
}

/// Remembers settings of the machine that `up` changes, for `down` to put back.
pub fn remember(layout: &Layout) -> anyhow::Result<()> {
    let file = layout.sub("ip_forward.before");
    if !file.exists() {
        std::fs::write(file, std::fs::read("/proc/sys/net/ipv4/ip_forward")?)?;
    }
    Ok(())
}

/// Removes every link, namespace and rule of the cluster. Missing ones are fine.
pub fn remove(layout: &Layout, nodes: &[Node]) {
    for node in nodes {
        if let Some(ns) = node.namespace() {
            attempt("ip", &["link", "del", &format!("gnt-{}", node.index)]);
            attempt("ip", &["netns", "del", &ns]);
        }
    }
    // On node 1 the pod bridge, the overlay and the proxy's tables live in the machine's own namespace.
    for link in ["cni0", "gantry.vxlan", BRIDGE] {
        attempt("ip", &["link", "del", link]);
    }
    for family in ["ip", "ip6", "inet"] {
        for table in ["kube-proxy", "gantry-network"] {
            attempt("nft", &["delete", "table", family, table]);
        }
    }
    if let Ok(before) = std::fs::read(layout.sub("ip_forward.before")) {
        // Best effort: on failure the machine keeps forwarding, which is harmless.
        let _ = std::fs::write("/proc/sys/net/ipv4/ip_forward", before);
    }
}
