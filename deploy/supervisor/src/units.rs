//! What runs: one row a daemon, with the flags its upstream twin has.

use crate::layout::{
    API_PORT, CLUSTER_DOMAIN, DNS_SERVICE, Layout, METRICS_PORT, Node, POD_CIDR, REGISTRY_PORT, SERVICE_CIDR,
    Spec, address,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One supervised process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Names its pid file and its log.
    pub name: String,
    pub program: String,
    pub args: Vec<String>,
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// The network namespace it runs in, when not the machine's.
    #[serde(default)]
    pub namespace: Option<String>,
}

fn unit(name: &str, program: String, args: Vec<String>) -> Unit {
    Unit { name: name.to_owned(), program, args, env: Vec::new(), namespace: None }
}

/// `--key=value` for each pair.
fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().map(|(k, v)| format!("--{k}={v}")).collect()
}

/// Every unit of a cluster, in start order.
pub fn all(layout: &Layout, spec: &Spec, nodes: &[Node]) -> Vec<Unit> {
    let mut units = Vec::new();
    if spec.etcd {
        units.push(etcd(layout));
    }
    units.push(apiserver(layout, spec));
    units.push(unit(
        "registry",
        "/usr/bin/docker-registry".into(),
        vec!["serve".into(), layout.text("registry.yaml")],
    ));
    for node in nodes {
        units.push(containerd(layout, node));
    }
    units.push(controller_manager(layout));
    units.push(scheduler(layout));
    units.push(metrics(layout));
    for node in nodes {
        units.extend([network(layout, node), kubelet(layout, node), kube_proxy(layout, node)]);
        units.push(local_volumes(layout, node));
    }
    units
}

fn etcd(layout: &Layout) -> Unit {
    let pki = |f: &str| layout.text(&format!("pki/{f}"));
    let mut args = flags(&[
        ("data-dir", &layout.text("etcd")),
        ("listen-client-urls", "https://127.0.0.1:2379"),
        ("advertise-client-urls", "https://127.0.0.1:2379"),
        ("listen-peer-urls", "http://127.0.0.1:2380"),
        ("initial-advertise-peer-urls", "http://127.0.0.1:2380"),
        ("initial-cluster", "default=http://127.0.0.1:2380"),
        ("cert-file", &pki("etcd/server.crt")),
        ("key-file", &pki("etcd/server.key")),
        ("trusted-ca-file", &pki("etcd/ca.crt")),
        ("quota-backend-bytes", "8589934592"),
        ("auto-compaction-retention", "0"),
        ("logger", "zap"),
    ]);
    args.push("--client-cert-auth".into());
    unit("etcd", "/usr/bin/etcd".into(), args)
}

fn apiserver(layout: &Layout, spec: &Spec) -> Unit {
    let pki = |f: &str| layout.text(&format!("pki/{f}"));
    let mut args = flags(&[
        ("bind-address", "0.0.0.0"),
        ("secure-port", &API_PORT.to_string()),
        ("advertise-address", &address(1).to_string()),
        ("tls-cert-file", &pki("apiserver.crt")),
        ("tls-private-key-file", &pki("apiserver.key")),
        ("client-ca-file", &pki("ca.crt")),
        ("service-account-issuer", &format!("https://kubernetes.default.svc.{CLUSTER_DOMAIN}")),
        ("service-account-key-file", &pki("sa.pub")),
        ("service-account-signing-key-file", &pki("sa.key")),
        ("authorization-mode", "Node,RBAC"),
        ("enable-admission-plugins", "NodeRestriction"),
        ("allow-privileged", "true"),
        ("service-cluster-ip-range", SERVICE_CIDR),
        ("kubelet-certificate-authority", &pki("ca.crt")),
        ("kubelet-client-certificate", &pki("apiserver-kubelet-client.crt")),
        ("kubelet-client-key", &pki("apiserver-kubelet-client.key")),
        ("kubelet-preferred-address-types", "InternalIP,Hostname"),
        ("requestheader-client-ca-file", &pki("front-proxy-ca.crt")),
        ("requestheader-allowed-names", "front-proxy-client"),
        ("requestheader-username-headers", "X-Remote-User"),
        ("requestheader-group-headers", "X-Remote-Group"),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        ("requestheader-uid-headers", "X-Remote-Uid"),
        ("proxy-client-cert-file", &pki("front-proxy-client.crt")),
        ("proxy-client-key-file", &pki("front-proxy-client.key")),
    ]);
    args.extend(if spec.etcd {
        flags(&[
            ("storage-backend", "etcd3"),
            ("etcd-servers", "https://127.0.0.1:2379"),
            ("etcd-cafile", &pki("etcd/ca.crt")),
            ("etcd-certfile", &pki("apiserver-etcd-client.crt")),
            ("etcd-keyfile", &pki("apiserver-etcd-client.key")),
        ])
    } else {
        flags(&[("storage-backend", "embedded"), ("data-dir", &layout.text("store"))])
    });
    unit("apiserver", layout.bin("apiserver"), args)
}

fn controller_manager(layout: &Layout) -> Unit {
    let pki = |f: &str| layout.text(&format!("pki/{f}"));
    let args = flags(&[
        ("kubeconfig", &layout.text("controller-manager.conf")),
        ("bind-address", "127.0.0.1"),
        ("secure-port", "10257"),
        ("root-ca-file", &pki("ca.crt")),
        ("service-account-private-key-file", &pki("sa.key")),
        ("cluster-signing-cert-file", &pki("ca.crt")),
        ("cluster-signing-key-file", &pki("ca.key")),
        ("use-service-account-credentials", "true"),
        ("allocate-node-cidrs", "true"),
        ("cluster-cidr", POD_CIDR),
        ("service-cluster-ip-range", SERVICE_CIDR),
        ("leader-elect", "true"),
    ]);
    unit("controller-manager", layout.bin("controller-manager"), args)
}

fn scheduler(layout: &Layout) -> Unit {
    let args = flags(&[
        ("kubeconfig", &layout.text("scheduler.conf")),
        ("bind-address", "127.0.0.1"),
        ("secure-port", "10259"),
        ("leader-elect", "true"),
    ]);
    unit("scheduler", layout.bin("scheduler"), args)
}

fn metrics(layout: &Layout) -> Unit {
    let pki = |f: &str| layout.text(&format!("pki/{f}"));
    let mut args = flags(&[
        ("kubeconfig", &layout.text("metrics.conf")),
        ("bind-address", &address(1).to_string()),
        ("secure-port", &METRICS_PORT.to_string()),
        ("tls-cert-file", &pki("metrics.crt")),
        ("tls-private-key-file", &pki("metrics.key")),
        ("metric-resolution", "15s"),
        ("kubelet-certificate-authority", &pki("ca.crt")),
        ("kubelet-preferred-address-types", "InternalIP,Hostname"),
    ]);
    args.push("--kubelet-use-node-status-port".into());
    unit("metrics", layout.bin("gantry-metrics"), args)
}

/// Places a unit on its node: in the node's namespace, under the node's own name unless it is the first.
fn on(node: &Node, name: &str, program: String, args: Vec<String>) -> Unit {
    let name = if node.index == 1 { name.to_owned() } else { format!("{name}-{}", node.index) };
    Unit { namespace: node.namespace(), ..unit(&name, program, args) }
}

fn containerd(layout: &Layout, node: &Node) -> Unit {
    let config = layout.node_dir(node).join("containerd.toml").display().to_string();
    on(node, "containerd", "/usr/bin/containerd".into(), vec!["--config".into(), config])
}

fn network(layout: &Layout, node: &Node) -> Unit {
    let args = flags(&[
        ("kubeconfig", &layout.text("network.conf")),
        ("node-name", &node.name),
        ("cni-conf-dir", &layout.node_dir(node).join("cni").display().to_string()),
        ("ipam-data-dir", &layout.node_dir(node).join("addresses").display().to_string()),
        ("cluster-cidr", POD_CIDR),
        ("backend", "routes"),
    ]);
    on(node, "network", layout.bin("gantry-network"), args)
}

fn local_volumes(layout: &Layout, node: &Node) -> Unit {
    let args = flags(&[
        ("kubeconfig", &layout.text("local-volumes.conf")),
        ("node-name", &node.name),
        ("path", &layout.node_dir(node).join("volumes").display().to_string()),
    ]);
    on(node, "local-volumes", layout.bin("gantry-local-volumes"), args)
}

fn kubelet(layout: &Layout, node: &Node) -> Unit {
    let args = flags(&[
        ("config", &layout.node_dir(node).join("kubelet.yaml").display().to_string()),
        ("kubeconfig", &layout.text(&format!("{}.conf", credentials(node)))),
        ("hostname-override", &node.name),
        ("node-ip", &node.address.to_string()),
        ("root-dir", &layout.node_dir(node).join("kubelet").display().to_string()),
        ("cert-dir", &layout.node_dir(node).join("pki").display().to_string()),
    ]);
    on(node, "kubelet", layout.bin("kubelet"), args)
}

fn kube_proxy(layout: &Layout, node: &Node) -> Unit {
    let args = flags(&[
        ("kubeconfig", &layout.text("kube-proxy.conf")),
        ("hostname-override", &node.name),
        ("cluster-cidr", POD_CIDR),
        ("proxy-mode", "nftables"),
        ("healthz-bind-address", "127.0.0.1:10256"),
        ("metrics-bind-address", "127.0.0.1:10249"),
    ]);
    on(node, "kube-proxy", layout.bin("kube-proxy"), args)
}

/// The stem of a node's credential files, as `gantry-pki` names them.
fn credentials(node: &Node) -> String {
    if node.index == 1 { "kubelet".into() } else { format!("kubelet-{}", node.name) }
}

/// The registry's configuration file.
pub fn registry_config(layout: &Layout) -> String {
    format!(
        "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: '{}:{REGISTRY_PORT}'}}\n",
        layout.text("registry"),
        address(1)
    )
}

/// Where a node's pods log. A kubelet clears away the logs of pods it does not know, so nodes on one machine
/// must not share a folder.
fn pod_logs(layout: &Layout, node: &Node) -> PathBuf {
    if node.index == 1 { "/var/log/pods".into() } else { layout.node_dir(node).join("log/pods") }
}

/// The `KubeletConfiguration` of a node.
pub fn kubelet_config(layout: &Layout, node: &Node) -> String {
    let dir = layout.node_dir(node);
    let pki = layout.text("pki");
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1\n\
         kind: KubeletConfiguration\n\
         address: {address}\n\
         containerRuntimeEndpoint: unix://{socket}\n\
         cgroupDriver: cgroupfs\n\
         cgroupRoot: {cgroup}\n\
         clusterDNS: [{DNS_SERVICE}]\n\
         clusterDomain: {CLUSTER_DOMAIN}\n\
         failSwapOn: false\n\
         # A tenth of a large disk, the default, is much to demand of a machine that has other uses.\n\
         evictionHard: {{memory.available: 100Mi, nodefs.available: 2Gi, nodefs.inodesFree: 1%, imagefs.available: 2Gi}}\n\
         imageGCHighThresholdPercent: 97\n\
         imageGCLowThresholdPercent: 95\n\
         podLogsDir: {logs}\n\
         staticPodPath: {dir}/manifests\n\
         tlsCertFile: {pki}/{stem}.crt\n\
         tlsPrivateKeyFile: {pki}/{stem}.key\n\
         authentication:\n  anonymous: {{enabled: false}}\n  webhook: {{enabled: true}}\n  x509: {{clientCAFile: {pki}/ca.crt}}\n\
         authorization: {{mode: Webhook}}\n",
        address = node.address,
        socket = node.containerd_socket().display(),
        cgroup = node.cgroup_root(),
        logs = pod_logs(layout, node).display(),
        dir = dir.display(),
        stem = credentials(node),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout;

    #[test]
    fn every_node_has_its_daemons_and_every_name_is_its_own() {
        let layout = Layout { dir: "/c".into(), bins: "/b".into(), repo: "/r".into() };
        let spec = Spec { nodes: 3, etcd: true };
        let units = all(&layout, &spec, &layout::nodes(&spec));
        assert_eq!(units.len(), 6 + 5 * 3);
        let mut names: Vec<_> = units.iter().map(|u| &u.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), units.len());
        assert_eq!(units.iter().filter(|u| u.namespace.is_some()).count(), 5 * 2);
    }
}
