//! The cluster's credentials, laid out as kubeadm lays out `/etc/kubernetes`.

use crate::layout::{API_PORT, API_SERVICE, CLUSTER_DOMAIN, Layout, METRICS_SERVICE, Node, address};
use gantry_pki::kubeconfig::Kubeconfig;
use gantry_pki::verify::facts;
use gantry_pki::{Ca, Cluster, Profile, ensure as pki_node};
use k8s_openapi::jiff::Timestamp;

/// The add-ons' identities by kubeconfig; `deploy/manifests` grants them their rights.
const ADDONS: [(&str, &str); 3] =
    [("network", "gantry:network"), ("local-volumes", "gantry:local-volumes"), ("metrics", "gantry:metrics")];

/// Makes and renews what is due.
pub fn ensure(layout: &Layout, nodes: &[Node]) -> anyhow::Result<()> {
    let files = gantry_pki::Layout::new(&layout.dir);
    let server = format!("https://{}:{API_PORT}", address(1));
    let now = Timestamp::now();
    let cluster = Cluster {
        name: "gantry".into(),
        server: server.clone(),
        apiserver_names: ["localhost", "127.0.0.1", API_SERVICE]
            .into_iter()
            .map(str::to_owned)
            .chain([address(1).to_string()])
            .collect(),
        dns_domain: CLUSTER_DOMAIN.into(),
        nodes: nodes
            .iter()
            .map(|n| pki_node::Node { name: n.name.clone(), addresses: vec![n.address.to_string()] })
            .collect(),
        etcd: Some(Vec::new()),
    };
    gantry_pki::ensure(&files, &cluster, now)?;
    for (file, user) in ADDONS {
        let file = files.kubeconfig(file);
        if file.exists() {
            continue;
        }
        let ca = Ca::load(&gantry_pki::read(&files.ca_cert())?, &gantry_pki::read(&files.ca_key())?)?;
        let credentials = ca.issue(&Profile::client(user, None), now)?;
        let text = Kubeconfig {
            cluster: &cluster.name,
            server: &server,
            ca: ca.cert(),
            user,
            credentials: &credentials,
        }
        .to_yaml();
        gantry_pki::write_private(&file, &text)?;
    }
    metrics(&files, now)?;
    // The name README and deploy/up promise.
    let admin = gantry_pki::read(&files.admin())?;
    gantry_pki::write_private(&layout.admin_kubeconfig(), &admin)?;
    Ok(())
}

/// The serving certificate of the metrics API, for the name the apiserver looks for.
fn metrics(files: &gantry_pki::Layout, now: Timestamp) -> anyhow::Result<()> {
    let (cert, key) = (files.cert("metrics"), files.key("metrics"));
    let lasts = |text: &str| facts(text).is_ok_and(|facts| now < pki_node::renewal(&facts));
    if key.exists() && gantry_pki::read(&cert).is_ok_and(|text| lasts(&text)) {
        return Ok(());
    }
    let ca = Ca::load(&gantry_pki::read(&files.ca_cert())?, &gantry_pki::read(&files.ca_key())?)?;
    let names = vec![format!("{METRICS_SERVICE}.kube-system.svc"), address(1).to_string()];
    let issued = ca.issue(&Profile::server(METRICS_SERVICE, names), now)?;
    gantry_pki::write_private(&key, &issued.key)?;
    gantry_pki::write_public(&cert, &issued.cert)?;
    Ok(())
}
