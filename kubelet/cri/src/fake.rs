//! A runtime in memory, for tests of what sits above it.

use crate::cri;
use crate::runtime::{Code, CriError, CriResult, ExecOutput, Runtime};
use async_trait::async_trait;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

#[derive(Default)]
struct State {
    next: u64,
    clock: i64,
    calls: Vec<String>,
    sandboxes: BTreeMap<String, cri::PodSandboxStatus>,
    containers: BTreeMap<String, (String, cri::ContainerStatus)>,
    images: BTreeSet<String>,
    /// Answers to commands by their first word; unlisted ones succeed silently.
    commands: HashMap<String, ExecOutput>,
    failures: HashMap<&'static str, CriError>,
}

impl State {
    /// The time of day in nanoseconds, and never the same twice.
    fn tick(&mut self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.clock = (self.clock + 1).max(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
        self.clock
    }
}

/// Keeps sandboxes and containers, hands out increasing IDs and times, and records every changing call.
#[derive(Default)]
pub struct Fake(Mutex<State>);

impl Fake {
    /// Changing calls so far, as `Verb subject`.
    pub fn calls(&self) -> Vec<String> {
        self.0.lock().calls.clone()
    }

    pub fn add_image(&self, image: &str) {
        self.0.lock().images.insert(image.into());
    }

    pub fn answer(&self, command: &str, output: ExecOutput) {
        self.0.lock().commands.insert(command.into(), output);
    }

    /// Makes the next call of this verb fail.
    pub fn fail_next(&self, verb: &'static str, error: CriError) {
        self.0.lock().failures.insert(verb, error);
    }

    /// A container ends by itself.
    pub fn exit(&self, id: &str, code: i32) {
        let mut state = self.0.lock();
        let now = state.tick();
        if let Some((_, c)) = state.containers.get_mut(id) {
            end(c, now, code);
        }
    }

    fn act(&self, verb: &'static str, subject: &str) -> CriResult<parking_lot::MutexGuard<'_, State>> {
        let mut state = self.0.lock();
        state.calls.push(format!("{verb} {subject}"));
        state.tick();
        match state.failures.remove(verb) {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }
}

fn end(c: &mut cri::ContainerStatus, now: i64, code: i32) {
    c.state = cri::ContainerState::ContainerExited as i32;
    c.finished_at = now;
    c.exit_code = code;
    c.reason = if code == 0 { "Completed" } else { "Error" }.into();
}

fn not_found(id: &str) -> CriError {
    CriError::new(Code::NotFound, format!("{id} not found"))
}

fn unimplemented<T>(call: &str) -> CriResult<T> {
    Err(CriError::new(Code::Unimplemented, format!("unknown method {call}")))
}

#[async_trait]
impl Runtime for Fake {
    async fn version(&self) -> CriResult<cri::VersionResponse> {
        Ok(cri::VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "fake".into(),
            runtime_version: "1".into(),
            runtime_api_version: "v1".into(),
        })
    }

    async fn status(&self) -> CriResult<cri::StatusResponse> {
        let ok =
            |kind: &str| cri::RuntimeCondition { r#type: kind.into(), status: true, ..Default::default() };
        let conditions = vec![ok("RuntimeReady"), ok("NetworkReady")];
        Ok(cri::StatusResponse { status: Some(cri::RuntimeStatus { conditions }), ..Default::default() })
    }

    async fn run_pod_sandbox(&self, config: cri::PodSandboxConfig, handler: String) -> CriResult<String> {
        let metadata = config.metadata.unwrap_or_default();
        let mut state = self.act("RunPodSandbox", &metadata.name)?;
        state.next += 1;
        let id = format!("sandbox{}", state.next);
        let network = cri::PodSandboxNetworkStatus { ip: "10.0.0.1".into(), ..Default::default() };
        let status = cri::PodSandboxStatus {
            id: id.clone(),
            metadata: Some(metadata),
            state: cri::PodSandboxState::SandboxReady as i32,
            created_at: state.clock,
            network: Some(network),
            labels: config.labels,
            annotations: config.annotations,
            runtime_handler: handler,
            ..Default::default()
        };
        state.sandboxes.insert(id.clone(), status);
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> CriResult<()> {
        let mut state = self.act("StopPodSandbox", id)?;
        let now = state.clock;
        if let Some(s) = state.sandboxes.get_mut(id) {
            s.state = cri::PodSandboxState::SandboxNotready as i32;
        }
        for (_, c) in state.containers.values_mut().filter(|(s, _)| s == id) {
            if c.state == cri::ContainerState::ContainerRunning as i32 {
                end(c, now, 137);
            }
        }
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> CriResult<()> {
        let mut state = self.act("RemovePodSandbox", id)?;
        state.sandboxes.remove(id);
        state.containers.retain(|_, (s, _)| s != id);
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &str) -> CriResult<cri::PodSandboxStatus> {
        self.0.lock().sandboxes.get(id).cloned().ok_or_else(|| not_found(id))
    }

    async fn list_pod_sandboxes(&self, pod_uid: Option<&str>) -> CriResult<Vec<cri::PodSandbox>> {
        let state = self.0.lock();
        let all = state.sandboxes.values().map(|s| cri::PodSandbox {
            id: s.id.clone(),
            metadata: s.metadata.clone(),
            state: s.state,
            created_at: s.created_at,
            labels: s.labels.clone(),
            annotations: s.annotations.clone(),
            runtime_handler: s.runtime_handler.clone(),
        });
        Ok(all.filter(|s| matches_uid(&s.labels, pod_uid)).collect())
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        _: cri::PodSandboxConfig,
    ) -> CriResult<String> {
        let metadata = config.metadata.unwrap_or_default();
        let mut state = self.act("CreateContainer", &metadata.name)?;
        if !state.sandboxes.contains_key(sandbox) {
            return Err(not_found(sandbox));
        }
        state.next += 1;
        let id = format!("container{}", state.next);
        let image = config.image.unwrap_or_default();
        let status = cri::ContainerStatus {
            id: id.clone(),
            metadata: Some(metadata),
            state: cri::ContainerState::ContainerCreated as i32,
            created_at: state.clock,
            image_ref: image.image.clone(),
            image: Some(image),
            labels: config.labels,
            annotations: config.annotations,
            mounts: config.mounts,
            log_path: config.log_path,
            ..Default::default()
        };
        state.containers.insert(id.clone(), (sandbox.into(), status));
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> CriResult<()> {
        let mut state = self.act("StartContainer", id)?;
        let now = state.clock;
        let (_, c) = state.containers.get_mut(id).ok_or_else(|| not_found(id))?;
        c.state = cri::ContainerState::ContainerRunning as i32;
        c.started_at = now;
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: i64) -> CriResult<()> {
        let mut state = self.act("StopContainer", &format!("{id} {grace}"))?;
        let now = state.clock;
        if let Some((_, c)) = state.containers.get_mut(id) {
            end(c, now, if grace > 0 { 143 } else { 137 });
        }
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> CriResult<()> {
        self.act("RemoveContainer", id)?.containers.remove(id);
        Ok(())
    }

    async fn list_containers(&self, pod_uid: Option<&str>) -> CriResult<Vec<cri::Container>> {
        let state = self.0.lock();
        let all = state.containers.values().map(|(sandbox, c)| cri::Container {
            id: c.id.clone(),
            pod_sandbox_id: sandbox.clone(),
            metadata: c.metadata.clone(),
            image: c.image.clone(),
            image_ref: c.image_ref.clone(),
            state: c.state,
            created_at: c.created_at,
            labels: c.labels.clone(),
            annotations: c.annotations.clone(),
            ..Default::default()
        });
        Ok(all.filter(|c| matches_uid(&c.labels, pod_uid)).collect())
    }

    async fn container_status(&self, id: &str) -> CriResult<cri::ContainerStatus> {
        self.0.lock().containers.get(id).map(|(_, c)| c.clone()).ok_or_else(|| not_found(id))
    }

    async fn update_resources(&self, id: &str, _: cri::LinuxContainerResources) -> CriResult<()> {
        self.act("UpdateContainerResources", id).map(drop)
    }

    async fn reopen_log(&self, id: &str) -> CriResult<()> {
        self.act("ReopenContainerLog", id).map(drop)
    }

    async fn exec_sync(&self, id: &str, command: Vec<String>, _: Duration) -> CriResult<ExecOutput> {
        let state = self.act("ExecSync", &format!("{id} {}", command.join(" ")))?;
        Ok(command.first().and_then(|c| state.commands.get(c)).cloned().unwrap_or_default())
    }

    async fn exec(&self, _: cri::ExecRequest) -> CriResult<String> {
        unimplemented("Exec")
    }

    async fn attach(&self, _: cri::AttachRequest) -> CriResult<String> {
        unimplemented("Attach")
    }

    async fn port_forward(&self, _: cri::PortForwardRequest) -> CriResult<String> {
        unimplemented("PortForward")
    }

    async fn container_stats(&self, id: &str) -> CriResult<cri::ContainerStats> {
        Err(not_found(id))
    }

    async fn list_container_stats(&self) -> CriResult<Vec<cri::ContainerStats>> {
        Ok(Vec::new())
    }

    async fn list_pod_sandbox_stats(&self) -> CriResult<Vec<cri::PodSandboxStats>> {
        Ok(Vec::new())
    }

    async fn events(&self) -> CriResult<BoxStream<'static, CriResult<cri::ContainerEventResponse>>> {
        unimplemented("GetContainerEvents")
    }

    async fn list_images(&self) -> CriResult<Vec<cri::Image>> {
        Ok(self.0.lock().images.iter().map(|i| image(i)).collect())
    }

    async fn image_status(&self, name: &str) -> CriResult<Option<cri::Image>> {
        Ok(self.0.lock().images.contains(name).then(|| image(name)))
    }

    async fn pull_image(
        &self,
        name: &str,
        _: Option<cri::AuthConfig>,
        _: Option<cri::PodSandboxConfig>,
    ) -> CriResult<String> {
        self.act("PullImage", name)?.images.insert(name.into());
        Ok(name.into())
    }

    async fn remove_image(&self, name: &str) -> CriResult<()> {
        self.act("RemoveImage", name)?.images.remove(name);
        Ok(())
    }

    async fn image_fs_info(&self) -> CriResult<cri::ImageFsInfoResponse> {
        Ok(cri::ImageFsInfoResponse::default())
    }
}

fn image(name: &str) -> cri::Image {
    cri::Image { id: name.into(), repo_tags: vec![name.into()], ..Default::default() }
}

fn matches_uid(labels: &HashMap<String, String>, uid: Option<&str>) -> bool {
    uid.is_none_or(|u| labels.get(crate::labels::POD_UID).is_some_and(|l| l == u))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_container_lives_and_dies() {
        let fake = Fake::default();
        let sandbox = fake.run_pod_sandbox(Default::default(), String::new()).await.unwrap();
        let id = fake.create_container(&sandbox, Default::default(), Default::default()).await.unwrap();
        fake.start_container(&id).await.unwrap();
        let running = fake.container_status(&id).await.unwrap();
        assert_eq!(running.state(), cri::ContainerState::ContainerRunning);
        fake.stop_pod_sandbox(&sandbox).await.unwrap();
        let ended = fake.container_status(&id).await.unwrap();
        assert_eq!((ended.state(), ended.exit_code), (cri::ContainerState::ContainerExited, 137));
        fake.remove_pod_sandbox(&sandbox).await.unwrap();
        assert!(fake.container_status(&id).await.unwrap_err().is_not_found());
    }

    #[tokio::test]
    async fn a_scripted_failure_comes_once() {
        let fake = Fake::default();
        fake.fail_next("PullImage", CriError::new(Code::Unavailable, "registry is down"));
        let error = fake.pull_image("a", None, None).await.unwrap_err();
        assert_eq!(error.to_string(), "rpc error: code = Unavailable desc = registry is down");
        assert!(fake.pull_image("a", None, None).await.is_ok());
    }
}
