//! Static pods: manifests in a directory, shown in the API by mirror pods.

use crate::ctx::Ctx;
use crate::table::Table;
use gantry_client::error::{ApiError, message};
use gantry_kubelet_core::pods;
use gantry_kubelet_host::watch::DirWatch;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, PostParams};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub async fn run(ctx: Arc<Ctx>, table: Arc<Table>, dir: PathBuf) {
    let mut known: BTreeMap<String, Arc<Pod>> = BTreeMap::new();
    let mut watch = None;
    loop {
        if watch.is_none() {
            watch = DirWatch::new(&dir).ok();
        }
        let found = read_all(&ctx, &dir);
        for (uid, pod) in &known {
            if !found.contains_key(uid) {
                table.remove(pod);
                unmirror(&ctx, pod).await;
            }
        }
        for (uid, pod) in &found {
            if !known.contains_key(uid) {
                table.apply_own(pod.clone());
            }
        }
        known = found;
        let mut missing = false;
        for pod in known.values() {
            missing |= !mirror(&ctx, &table, pod).await;
        }
        let retry = async {
            // Without a watch, or with a mirror that could not be made, try again by the clock.
            if missing {
                tokio::time::sleep(Duration::from_secs(5)).await
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = changed(&mut watch) => {
                // An editor writes in several steps.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            () = table.mirror_gone.notified() => {}
            () = retry => {}
        }
    }
}

async fn changed(watch: &mut Option<DirWatch>) {
    match watch {
        Some(w) => {
            if w.changed().await.is_err() {
                *watch = None;
            }
        }
        None => tokio::time::sleep(Duration::from_secs(20)).await,
    }
}

/// The pods of the directory by UID. What cannot be read is logged and left out.
fn read_all(ctx: &Ctx, dir: &Path) -> BTreeMap<String, Arc<Pod>> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') || !path.is_file() {
            continue;
        }
        let read = std::fs::read_to_string(&path)
            .map_err(|e| e.to_string())
            .and_then(|text| parse(&text, &ctx.config.node_name));
        match read {
            Ok(pod) => {
                out.insert(pods::uid(&pod).to_owned(), Arc::new(pod));
            }
            Err(error) => tracing::error!(path = %path.display(), error, "cannot read a pod manifest"),
        }
    }
    out
}

/// A manifest as the pod this node runs.
fn parse(text: &str, node: &str) -> Result<Pod, String> {
    let mut pod: Pod = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    let name = pod.metadata.name.clone().filter(|n| !n.is_empty()).ok_or("the pod has no name")?;
    let hash = Sha256::digest(format!("host:{node}\n{text}"));
    let uid: String = hash.iter().take(16).map(|b| format!("{b:02x}")).collect();
    pod.metadata.name = Some(format!("{name}-{node}"));
    pod.metadata.namespace = pod.metadata.namespace.filter(|n| !n.is_empty()).or(Some("default".into()));
    let notes = pod.metadata.annotations.get_or_insert_default();
    notes.insert(pods::CONFIG_SOURCE.into(), "file".into());
    notes.insert(pods::CONFIG_HASH.into(), uid.clone());
    pod.metadata.uid = Some(uid);
    pod.status = None;
    let spec = pod.spec.as_mut().ok_or("the pod has no spec")?;
    spec.node_name = Some(node.into());
    spec.service_account_name = None;
    spec.termination_grace_period_seconds.get_or_insert(30);
    for c in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        c.termination_message_path.get_or_insert_with(|| "/dev/termination-log".into());
    }
    let everything = k8s_openapi::api::core::v1::Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..Default::default()
    };
    spec.tolerations.get_or_insert_default().push(everything);
    Ok(pod)
}

/// Sees to it that the API shows the pod; whether it does.
async fn mirror(ctx: &Ctx, table: &Table, pod: &Pod) -> bool {
    let Some(client) = ctx.client.clone() else { return true };
    let api: Api<Pod> = Api::namespaced(client, pods::namespace(pod));
    if let Some(there) = table.mirror(pod) {
        let same = pods::annotation(&there, pods::CONFIG_MIRROR) == pod.metadata.uid.as_deref();
        if same && there.metadata.deletion_timestamp.is_none() {
            return true;
        }
        let _ = api
            .delete(pods::name(pod), &DeleteParams { grace_period_seconds: Some(0), ..Default::default() })
            .await;
    }
    let Some(node_uid) = ctx.node.read().as_ref().and_then(|n| n.metadata.uid.clone()) else { return false };
    let mut copy = pod.clone();
    copy.metadata.uid = None;
    let notes = copy.metadata.annotations.get_or_insert_default();
    notes.insert(pods::CONFIG_MIRROR.into(), pods::uid(pod).into());
    copy.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: ctx.config.node_name.clone(),
        uid: node_uid,
        controller: Some(true),
        ..Default::default()
    }]);
    match api.create(&PostParams::default(), &copy).await {
        Ok(_) => true,
        Err(e) if e.is_already_exists() => true,
        Err(e) => {
            tracing::warn!(pod = pods::display(pod), error = message(&e), "cannot create a mirror pod");
            false
        }
    }
}

async fn unmirror(ctx: &Ctx, pod: &Pod) {
    let Some(client) = ctx.client.clone() else { return };
    let api: Api<Pod> = Api::namespaced(client, pods::namespace(pod));
    let params = DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
    if let Err(e) = api.delete(pods::name(pod), &params).await
        && !e.is_not_found()
    {
        tracing::warn!(pod = pods::display(pod), error = message(&e), "cannot delete a mirror pod");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_becomes_this_nodes_pod() {
        let text =
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i}]}\n";
        let pod = parse(text, "n1").unwrap();
        assert_eq!((pods::name(&pod), pods::namespace(&pod)), ("a-n1", "default"));
        assert!(pods::is_static(&pod) && pods::uid(&pod).len() == 32);
        assert_ne!(pods::uid(&parse(text, "n2").unwrap()), pods::uid(&pod));
        assert!(parse("kind: Pod", "n").is_err());
    }
}
