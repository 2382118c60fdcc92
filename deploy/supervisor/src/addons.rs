//! Objects a new cluster starts with: cluster DNS, the add-ons' permissions, and where metrics are served.

use crate::layout::{Layout, METRICS_SERVICE, Node};
use crate::shell::run;
use anyhow::Context;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceSpec, ServiceReference,
};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::fs;
use std::time::{Duration, Instant};

/// A client that may do anything, whatever roles exist yet.
pub async fn client(layout: &Layout) -> anyhow::Result<kube::Client> {
    let file = Kubeconfig::read_from(layout.sub("super-admin.conf"))?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Applies the manifests with our own kctl.
pub fn apply(layout: &Layout) -> anyhow::Result<()> {
    let manifests = layout.repo.join("deploy/manifests").display().to_string();
    let config = layout.text("super-admin.conf");
    run(
        &layout.bin("kctl"),
        &["--kubeconfig", &config, "apply", "--field-manager=gantry-up", "-f", &manifests],
    )
    .map(drop)
    .context("the cluster's own manifests were refused")
}

/// Says that we serve the metrics API, and by whose certificate we are known; unless somebody else does by now.
pub async fn register_metrics(layout: &Layout, client: &kube::Client) -> anyhow::Result<()> {
    let api: Api<APIService> = Api::all(client.clone());
    let name = "v1beta1.metrics.k8s.io";
    let server = |s: APIService| s.spec.and_then(|s| s.service).and_then(|s| s.name).unwrap_or_default();
    if api.get_opt(name).await?.is_some_and(|s| server(s) != METRICS_SERVICE) {
        return Ok(());
    }
    let service = APIService {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: Some(APIServiceSpec {
            group: Some("metrics.k8s.io".to_owned()),
            version: Some("v1beta1".to_owned()),
            group_priority_minimum: 100,
            version_priority: 100,
            ca_bundle: Some(ByteString(fs::read(layout.sub("pki/ca.crt"))?)),
            service: Some(ServiceReference {
                namespace: Some("kube-system".to_owned()),
                name: Some(METRICS_SERVICE.to_owned()),
                port: Some(443),
            }),
            ..APIServiceSpec::default()
        }),
        status: None,
    };
    let how = PatchParams::apply("gantry-up").force();
    api.patch(name, &how, &Patch::Apply(&service)).await.context("the metrics API was not registered")?;
    Ok(())
}

/// Waits until the apiserver says it is ready.
pub async fn wait_apiserver(client: &kube::Client, limit: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let request = http_get("/readyz")?;
        let problem = match client.request_text(request).await {
            Ok(_) => return Ok(()),
            Err(e) => e.to_string(),
        };
        if start.elapsed() > limit {
            anyhow::bail!("the apiserver did not become ready: {problem}; see its log");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn http_get(path: &str) -> anyhow::Result<http::Request<Vec<u8>>> {
    Ok(http::Request::get(path).body(Vec::new())?)
}

/// Waits until every node is Ready.
pub async fn wait_nodes(client: &kube::Client, nodes: &[Node], limit: Duration) -> anyhow::Result<()> {
    let api: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
    let start = Instant::now();
    loop {
        let ready: Vec<String> = match api.list(&ListParams::default()).await {
            Ok(list) => list.items.into_iter().filter(node_ready).filter_map(|n| n.metadata.name).collect(),
            Err(_) => Vec::new(),
        };
        let Some(missing) = nodes.iter().find(|n| !ready.contains(&n.name)) else { return Ok(()) };
        if start.elapsed() > limit {
            anyhow::bail!(
                "node {} did not become Ready; see the logs of kubelet and containerd",
                missing.name
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn node_ready(node: &k8s_openapi::api::core::v1::Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Waits until a cluster DNS pod is Ready.
pub async fn wait_dns(client: &kube::Client, limit: Duration) -> anyhow::Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    let start = Instant::now();
    loop {
        let list = api.list(&ListParams::default().labels("k8s-app=kube-dns")).await;
        let ready = list.iter().flat_map(|l| &l.items).any(|p| {
            let conditions = p.status.as_ref().and_then(|s| s.conditions.as_ref());
            conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
        });
        if ready {
            return Ok(());
        }
        if start.elapsed() > limit {
            anyhow::bail!(
                "cluster DNS did not become Ready; `kctl -n kube-system describe pod -l k8s-app=kube-dns` says why"
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
