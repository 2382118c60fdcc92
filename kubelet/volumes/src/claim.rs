//! Claims: from a pod's volume by way of its claim to the persistent volume, and to where that is.

use crate::host_path;
use crate::source::{Claimed, FetchError, Source};
use crate::volumes::VolumeError;
use gantry_kubelet_core::pods;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use std::path::{Path, PathBuf};

const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// The claim a volume is about, by name, and whether the pod wants it read-only; `None` for other volumes.
pub fn name(pod: &Pod, volume: &Volume) -> Option<(String, bool)> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some((claim.claim_name.clone(), claim.read_only == Some(true)));
    }
    volume.ephemeral.as_ref().map(|_| (format!("{}-{}", pods::name(pod), volume.name), false))
}

/// Where the storage behind a volume's claim is.
///
/// # Errors
/// In upstream's words: the claim has no volume yet, is not the pod's, or the volume cannot be used here.
pub async fn locate(
    pod: &Pod,
    volume: &Volume,
    claim: &str,
    source: &dyn Source,
) -> Result<PathBuf, VolumeError> {
    let namespace = pods::namespace(pod);
    let unresolved = |why: String| VolumeError::Unresolved { volume: volume.name.clone(), why };
    let about = |why: String| unresolved(format!("error processing PVC {namespace}/{claim}: {why}"));
    let found = match source.claimed(namespace, claim).await {
        Ok(found) => found,
        Err(FetchError::NotFound(why) | FetchError::Other(why)) => return Err(about(why)),
    };
    if volume.ephemeral.is_some() && !is_of(pod, &found.claim) {
        let own = pods::name(pod);
        return Err(unresolved(format!(
            "PVC {namespace}/{claim} was not created for pod {namespace}/{own} (pod is not owner)"
        )));
    }
    let mode = found.volume.spec.as_ref().and_then(|s| s.volume_mode.as_deref()).unwrap_or("Filesystem");
    if mode != "Filesystem" && is_mounted(pod, &volume.name) {
        let name = &volume.name;
        return Err(unresolved(format!(
            "volume {name} has volumeMode {mode}, but is specified in volumeMounts"
        )));
    }
    path(&found.volume)
}

fn is_of(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let owners = claim.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|o| o.controller == Some(true) && o.uid == pods::uid(pod))
}

fn is_mounted(pod: &Pod, volume: &str) -> bool {
    let containers = pods::init_containers(pod).iter().chain(pods::containers(pod));
    containers.flat_map(|c| c.volume_mounts.iter().flatten()).any(|m| m.name == volume)
}

/// Whether a claim and its volume may be used: bound to each other, and not on their way out.
///
/// # Errors
/// In upstream's words.
pub fn judge(claim: &PersistentVolumeClaim) -> Result<&str, String> {
    let held = claim.metadata.finalizers.iter().flatten().any(|f| f == PROTECTION);
    if claim.metadata.deletion_timestamp.is_some() && !held {
        return Err("PVC is being deleted".into());
    }
    if claim.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Bound") {
        return Err("PVC is not bound".into());
    }
    let volume = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or_default();
    if volume.is_empty() { Err("PVC has empty pvc.Spec.VolumeName".into()) } else { Ok(volume) }
}

/// The two together, once the volume agrees.
///
/// # Errors
/// In upstream's words.
pub fn pair(claim: PersistentVolumeClaim, volume: PersistentVolume) -> Result<Claimed, String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let Some(holder) = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) else {
        return Err(format!(
            "found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        ));
    };
    if holder.uid != claim.metadata.uid {
        let (theirs, ours) = (holder.uid.as_deref(), claim.metadata.uid.as_deref());
        return Err(format!(
            "found PV object {name} but its pv.Spec.ClaimRef.UID {} does not point to claim.UID {}",
            theirs.unwrap_or_default(),
            ours.unwrap_or_default()
        ));
    }
    Ok(Claimed { claim, volume })
}

fn path(pv: &PersistentVolume) -> Result<PathBuf, VolumeError> {
    let name = pv.metadata.name.clone().unwrap_or_default();
    let spec = pv.spec.clone().unwrap_or_default();
    if let Some(local) = spec.local {
        return if Path::new(&local.path).exists() {
            Ok(local.path.into())
        } else {
            let why = format!("path {:?} does not exist", local.path);
            Err(VolumeError::NewMounter { volume: name, why })
        };
    }
    if let Some(host) = spec.host_path {
        return match host_path::check(&host.path, host.type_.as_deref().unwrap_or_default()) {
            Ok(()) => Ok(host.path.into()),
            Err(why) => Err(VolumeError::SetUp { volume: name, why }),
        };
    }
    Err(VolumeError::SetUp { why: format!("no volume plugin matched name {name:?}"), volume: name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Token;
    use async_trait::async_trait;
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};
    use std::sync::Arc;

    /// One claim and one volume, as JSON.
    struct One(&'static str, String);

    #[async_trait]
    impl Source for One {
        async fn config_map(&self, _: &str, name: &str) -> Result<Arc<ConfigMap>, FetchError> {
            Err(FetchError::NotFound(name.into()))
        }
        async fn secret(&self, _: &str, name: &str) -> Result<Arc<Secret>, FetchError> {
            Err(FetchError::NotFound(name.into()))
        }
        async fn token(&self, _: &Pod, _: &str, _: i64) -> Result<Token, FetchError> {
            Err(FetchError::Other(String::new()))
        }
        async fn claimed(&self, _: &str, _: &str) -> Result<Claimed, FetchError> {
            let claim = serde_json::from_str(self.0).unwrap();
            judge(&claim).map_err(FetchError::Other)?;
            pair(claim, serde_json::from_str(&self.1).unwrap()).map_err(FetchError::Other)
        }
    }

    const BOUND: &str =
        r#"{"metadata":{"name":"c","uid":"u"},"spec":{"volumeName":"v"},"status":{"phase":"Bound"}}"#;

    fn pv(spec: &str) -> String {
        format!(r#"{{"metadata":{{"name":"v"}},"spec":{{"claimRef":{{"name":"c","uid":"u"}},{spec}}}}}"#)
    }

    #[tokio::test]
    async fn claims_are_followed_to_their_storage() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_string_lossy().into_owned();
        let local = |path: &str| pv(&format!(r#""local":{{"path":"{path}"}}"#));
        let run = async |claim: &'static str, pv: String, ephemeral: bool| {
            let volume =
                if ephemeral { r#""ephemeral":{}"# } else { r#""persistentVolumeClaim":{"claimName":"c"}"# };
            let pod: Pod = serde_json::from_str(&format!(
                r#"{{"metadata":{{"name":"p","namespace":"n","uid":"pu"}},"spec":{{
                    "containers":[{{"name":"c","volumeMounts":[{{"name":"d","mountPath":"/d"}}]}}],
                    "volumes":[{{"name":"d",{volume}}}]}}}}"#
            ))
            .unwrap();
            let volume = pods::spec(&pod).volumes.as_ref().unwrap()[0].clone();
            let (name, _) = name(&pod, &volume).unwrap();
            locate(&pod, &volume, &name, &One(claim, pv)).await.map_err(|e| e.to_string())
        };
        assert_eq!(run(BOUND, local(&at), false).await, Ok(at.clone().into()));
        assert_eq!(
            run(BOUND, pv(&format!(r#""hostPath":{{"path":"{at}","type":"Directory"}}"#)), false).await,
            Ok(at.clone().into())
        );
        let waiting = "Unable to attach or mount volumes: unmounted volumes=[d], unattached volumes=[], failed to process volumes=[d]: ";
        let refused = async |claim, pv, ephemeral, why: &str| {
            assert_eq!(run(claim, pv, ephemeral).await, Err(format!("{waiting}{why}")));
        };
        let open = r#"{"metadata":{"name":"c","uid":"u"},"status":{"phase":"Pending"}}"#;
        refused(open, local(&at), false, "error processing PVC n/c: PVC is not bound").await;
        let going = r#"{"metadata":{"name":"c","deletionTimestamp":"2026-01-01T00:00:00Z"}}"#;
        refused(going, local(&at), false, "error processing PVC n/c: PVC is being deleted").await;
        let why = "error processing PVC n/c: found PV object v but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim";
        refused(BOUND, r#"{"metadata":{"name":"v"}}"#.into(), false, why).await;
        let why = "PVC n/p-d was not created for pod n/p (pod is not owner)";
        refused(BOUND, local(&at), true, why).await;
        let block = pv(r#""volumeMode":"Block","local":{"path":"/dev/x"}"#);
        let why = "volume d has volumeMode Block, but is specified in volumeMounts";
        refused(BOUND, block, false, why).await;
        assert_eq!(
            run(BOUND, local("/no/such"), false).await,
            Err(r#"MountVolume.NewMounter initialization failed for volume "v" : path "/no/such" does not exist"#.into())
        );
    }
}
