//! The trait in front of the runtime, and its error.

use crate::cri;
use async_trait::async_trait;
use futures::stream::BoxStream;
use std::time::Duration;

/// A refused or failed call. `message` is the runtime's own text, shown to users as it is.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("rpc error: code = {code} desc = {message}")]
pub struct CriError {
    /// The gRPC code by its name (`NotFound`, `Unavailable`, …).
    pub code: Code,
    pub message: String,
}

/// The codes the kubelet tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    NotFound,
    Unimplemented,
    Unavailable,
    DeadlineExceeded,
    Other(&'static str),
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotFound => "NotFound",
            Self::Unimplemented => "Unimplemented",
            Self::Unavailable => "Unavailable",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Other(name) => name,
        })
    }
}

impl CriError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn is_not_found(&self) -> bool {
        self.code == Code::NotFound
    }
}

pub type CriResult<T> = Result<T, CriError>;

/// What a command run inside a container left behind.
#[derive(Clone, Debug, Default)]
pub struct ExecOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i32,
}

/// Sandboxes, containers and images. One method, one CRI call. Calls for things that are already gone succeed
/// where CRI demands it (stop, remove) and answer [`Code::NotFound`] elsewhere.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    async fn version(&self) -> CriResult<cri::VersionResponse>;
    async fn status(&self) -> CriResult<cri::StatusResponse>;

    async fn run_pod_sandbox(&self, config: cri::PodSandboxConfig, handler: String) -> CriResult<String>;
    async fn stop_pod_sandbox(&self, id: &str) -> CriResult<()>;
    async fn remove_pod_sandbox(&self, id: &str) -> CriResult<()>;
    async fn pod_sandbox_status(&self, id: &str) -> CriResult<cri::PodSandboxStatus>;
    /// All sandboxes, or those of the pod with this UID.
    async fn list_pod_sandboxes(&self, pod_uid: Option<&str>) -> CriResult<Vec<cri::PodSandbox>>;

    async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> CriResult<String>;
    async fn start_container(&self, id: &str) -> CriResult<()>;
    /// Grace in seconds; zero kills at once.
    async fn stop_container(&self, id: &str, grace: i64) -> CriResult<()>;
    async fn remove_container(&self, id: &str) -> CriResult<()>;
    async fn list_containers(&self, pod_uid: Option<&str>) -> CriResult<Vec<cri::Container>>;
    async fn container_status(&self, id: &str) -> CriResult<cri::ContainerStatus>;
    async fn update_resources(&self, id: &str, linux: cri::LinuxContainerResources) -> CriResult<()>;
    async fn reopen_log(&self, id: &str) -> CriResult<()>;

    /// Runs a command to its end; `timeout` zero means none.
    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Duration) -> CriResult<ExecOutput>;
    /// The URL of a streaming server for this request; likewise for the next two.
    async fn exec(&self, request: cri::ExecRequest) -> CriResult<String>;
    async fn attach(&self, request: cri::AttachRequest) -> CriResult<String>;
    async fn port_forward(&self, request: cri::PortForwardRequest) -> CriResult<String>;

    async fn container_stats(&self, id: &str) -> CriResult<cri::ContainerStats>;
    async fn list_container_stats(&self) -> CriResult<Vec<cri::ContainerStats>>;
    async fn list_pod_sandbox_stats(&self) -> CriResult<Vec<cri::PodSandboxStats>>;

    /// Lifecycle changes as they happen; [`Code::Unimplemented`] where the runtime is older than the call.
    async fn events(&self) -> CriResult<BoxStream<'static, CriResult<cri::ContainerEventResponse>>>;

    async fn list_images(&self) -> CriResult<Vec<cri::Image>>;
    /// `None` where the image is not on the node.
    async fn image_status(&self, image: &str) -> CriResult<Option<cri::Image>>;
    async fn pull_image(
        &self,
        image: &str,
        auth: Option<cri::AuthConfig>,
        sandbox: Option<cri::PodSandboxConfig>,
    ) -> CriResult<String>;
    async fn remove_image(&self, image: &str) -> CriResult<()>;
    async fn image_fs_info(&self) -> CriResult<cri::ImageFsInfoResponse>;
}
