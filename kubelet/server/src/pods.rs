//! Lists of pods.

use gantry_kubelet_cri::{CriResult, Runtime, cri, labels};
use gantry_types::Document;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::jiff::Timestamp;
use std::sync::Arc;

/// A `PodList` in JSON. Items carry no kind of their own, as in any list.
pub fn list(pods: &[Arc<Pod>]) -> Vec<u8> {
    let mut out = br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#.to_vec();
    for (i, pod) in pods.iter().enumerate() {
        let Ok(mut document) = Document::from_typed(&**pod) else { continue };
        document.remove_at(&["kind"]);
        document.remove_at(&["apiVersion"]);
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&document.to_json());
    }
    out.extend_from_slice(b"]}\n");
    out
}

/// The pods the runtime runs, in as far as it knows them.
///
/// # Errors
/// Where the runtime does not answer.
pub async fn running(runtime: &dyn Runtime) -> CriResult<Vec<Arc<Pod>>> {
    let sandboxes = runtime.list_pod_sandboxes(None).await?;
    let containers = runtime.list_containers(None).await?;
    Ok(assemble(&sandboxes, &containers))
}

fn assemble(sandboxes: &[cri::PodSandbox], containers: &[cri::Container]) -> Vec<Arc<Pod>> {
    let ready = cri::PodSandboxState::SandboxReady as i32;
    let up = cri::ContainerState::ContainerRunning as i32;
    let label = |s: &cri::PodSandbox, key: &str| s.labels.get(key).cloned();
    let one = |s: &cri::PodSandbox| {
        let mut pod = Pod::default();
        pod.metadata.name = label(s, labels::POD_NAME);
        pod.metadata.namespace = label(s, labels::POD_NAMESPACE);
        pod.metadata.uid = label(s, labels::POD_UID);
        let created = Timestamp::from_nanosecond(i128::from(s.created_at)).ok();
        pod.metadata.creation_timestamp = created.map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time);
        let own = containers.iter().filter(|c| c.pod_sandbox_id == s.id && c.state == up);
        let containers = own.map(|c| Container {
            name: c.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default(),
            image: c.image.as_ref().map(|i| i.image.clone()),
            ..Container::default()
        });
        pod.spec = Some(PodSpec { containers: containers.collect(), ..PodSpec::default() });
        Arc::new(pod)
    };
    sandboxes.iter().filter(|s| s.state == ready).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn lists_are_lists() {
        let mut pod = Pod::default();
        pod.metadata.name = Some("a".into());
        let got = String::from_utf8(list(&[Arc::new(pod.clone()), Arc::new(pod)])).unwrap();
        let want = "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":[{\"metadata\":{\"name\":\"a\"}},{\"metadata\":{\"name\":\"a\"}}]}\n";
        assert_eq!(got, want);
    }

    #[test]
    fn running_pods_have_running_containers() {
        let labels = HashMap::from([(labels::POD_NAME.to_owned(), "p".to_owned())]);
        let sandbox = |id: &str, state: cri::PodSandboxState| cri::PodSandbox {
            id: id.into(),
            state: state as i32,
            labels: labels.clone(),
            ..Default::default()
        };
        let container = |sandbox: &str, name: &str, state: cri::ContainerState| cri::Container {
            pod_sandbox_id: sandbox.into(),
            metadata: Some(cri::ContainerMetadata { name: name.into(), attempt: 0 }),
            state: state as i32,
            ..Default::default()
        };
        let got = assemble(
            &[
                sandbox("s", cri::PodSandboxState::SandboxReady),
                sandbox("t", cri::PodSandboxState::SandboxNotready),
            ],
            &[
                container("s", "a", cri::ContainerState::ContainerRunning),
                container("s", "b", cri::ContainerState::ContainerExited),
            ],
        );
        let names: Vec<&str> =
            got[0].spec.iter().flat_map(|s| &s.containers).map(|c| c.name.as_str()).collect();
        assert_eq!((got.len(), got[0].metadata.name.as_deref(), names), (1, Some("p"), vec!["a"]));
    }
}
