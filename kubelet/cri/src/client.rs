//! The gRPC client. One connection, opened on first use and again after it breaks.

use crate::cri::{
    self, image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient,
};
use crate::runtime::{Code, CriError, CriResult, ExecOutput, Runtime};
use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

/// Ordinary calls are answered within this (upstream's `runtimeRequestTimeout` default).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
/// Lists and statuses of many containers may exceed tonic's 4 MiB; upstream allows 16.
const MAX_MESSAGE: usize = 16 << 20;

#[derive(Clone)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    timeout: Duration,
}

impl Client {
    /// `endpoint` is a path or `unix://` URL. Does not wait for the runtime: the first call does.
    pub fn new(endpoint: &str, timeout: Option<Duration>) -> Self {
        let path = PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The URI only fills the `:authority` header; the connector decides where the bytes go.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
            timeout: timeout.filter(|t| !t.is_zero()).unwrap_or(DEFAULT_TIMEOUT),
        }
    }

    fn timed<T>(&self, message: T) -> Request<T> {
        Self::within(message, self.timeout)
    }

    fn within<T>(message: T, timeout: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        request
    }
}

impl From<Status> for CriError {
    fn from(status: Status) -> Self {
        use tonic::Code as C;
        let code = match status.code() {
            C::NotFound => Code::NotFound,
            C::Unimplemented => Code::Unimplemented,
            C::Unavailable => Code::Unavailable,
            C::DeadlineExceeded => Code::DeadlineExceeded,
            C::Cancelled => Code::Other("Canceled"),
            C::InvalidArgument => Code::Other("InvalidArgument"),
            C::AlreadyExists => Code::Other("AlreadyExists"),
            C::PermissionDenied => Code::Other("PermissionDenied"),
            C::ResourceExhausted => Code::Other("ResourceExhausted"),
            C::FailedPrecondition => Code::Other("FailedPrecondition"),
            C::Aborted => Code::Other("Aborted"),
            C::OutOfRange => Code::Other("OutOfRange"),
            C::Internal => Code::Other("Internal"),
            C::DataLoss => Code::Other("DataLoss"),
            C::Unauthenticated => Code::Other("Unauthenticated"),
            C::Ok => Code::Other("OK"),
            C::Unknown => Code::Other("Unknown"),
        };
        Self::new(code, status.message())
    }
}

fn uid_selector(uid: Option<&str>) -> HashMap<String, String> {
    uid.map(|u| HashMap::from([(crate::labels::POD_UID.to_owned(), u.to_owned())])).unwrap_or_default()
}

fn missing(what: &str) -> CriError {
    CriError::new(Code::Other("Internal"), format!("the runtime answered without {what}"))
}

#[async_trait]
impl Runtime for Client {
    async fn version(&self) -> CriResult<cri::VersionResponse> {
        let request = self.timed(cri::VersionRequest { version: "0.1.0".into() });
        Ok(self.runtime.clone().version(request).await?.into_inner())
    }

    async fn status(&self) -> CriResult<cri::StatusResponse> {
        let request = self.timed(cri::StatusRequest { verbose: false });
        Ok(self.runtime.clone().status(request).await?.into_inner())
    }

    async fn run_pod_sandbox(&self, config: cri::PodSandboxConfig, handler: String) -> CriResult<String> {
        // Network set-up may take its time: twice the ordinary limit, as upstream allows.
        let message = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: handler };
        let request = Self::within(message, self.timeout * 2);
        Ok(self.runtime.clone().run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> CriResult<()> {
        let request = self.timed(cri::StopPodSandboxRequest { pod_sandbox_id: id.into() });
        self.runtime.clone().stop_pod_sandbox(request).await?;
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> CriResult<()> {
        let request = self.timed(cri::RemovePodSandboxRequest { pod_sandbox_id: id.into() });
        self.runtime.clone().remove_pod_sandbox(request).await?;
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &str) -> CriResult<cri::PodSandboxStatus> {
        let request =
            self.timed(cri::PodSandboxStatusRequest { pod_sandbox_id: id.into(), ..Default::default() });
        let answer = self.runtime.clone().pod_sandbox_status(request).await?.into_inner();
        answer.status.ok_or_else(|| missing("a sandbox status"))
    }

    async fn list_pod_sandboxes(&self, pod_uid: Option<&str>) -> CriResult<Vec<cri::PodSandbox>> {
        let filter = cri::PodSandboxFilter { label_selector: uid_selector(pod_uid), ..Default::default() };
        let request = self.timed(cri::ListPodSandboxRequest { filter: Some(filter) });
        Ok(self.runtime.clone().list_pod_sandbox(request).await?.into_inner().items)
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> CriResult<String> {
        let request = self.timed(cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.into(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        });
        Ok(self.runtime.clone().create_container(request).await?.into_inner().container_id)
    }

    async fn start_container(&self, id: &str) -> CriResult<()> {
        let request = self.timed(cri::StartContainerRequest { container_id: id.into() });
        self.runtime.clone().start_container(request).await?;
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: i64) -> CriResult<()> {
        let message = cri::StopContainerRequest { container_id: id.into(), timeout: grace };
        let limit = self.timeout + Duration::from_secs(grace.max(0).unsigned_abs());
        self.runtime.clone().stop_container(Self::within(message, limit)).await?;
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> CriResult<()> {
        let request = self.timed(cri::RemoveContainerRequest { container_id: id.into() });
        self.runtime.clone().remove_container(request).await?;
        Ok(())
    }

    async fn list_containers(&self, pod_uid: Option<&str>) -> CriResult<Vec<cri::Container>> {
        let filter = cri::ContainerFilter { label_selector: uid_selector(pod_uid), ..Default::default() };
        let request = self.timed(cri::ListContainersRequest { filter: Some(filter) });
        Ok(self.runtime.clone().list_containers(request).await?.into_inner().containers)
    }

    async fn container_status(&self, id: &str) -> CriResult<cri::ContainerStatus> {
        let request = self.timed(cri::ContainerStatusRequest { container_id: id.into(), verbose: false });
        let answer = self.runtime.clone().container_status(request).await?.into_inner();
        answer.status.ok_or_else(|| missing("a container status"))
    }

    async fn update_resources(&self, id: &str, linux: cri::LinuxContainerResources) -> CriResult<()> {
        let request = self.timed(cri::UpdateContainerResourcesRequest {
            container_id: id.into(),
            linux: Some(linux),
            ..Default::default()
        });
        self.runtime.clone().update_container_resources(request).await?;
        Ok(())
    }

    async fn reopen_log(&self, id: &str) -> CriResult<()> {
        let request = self.timed(cri::ReopenContainerLogRequest { container_id: id.into() });
        self.runtime.clone().reopen_container_log(request).await?;
        Ok(())
    }

    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Duration) -> CriResult<ExecOutput> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let message = cri::ExecSyncRequest { container_id: id.into(), cmd: command, timeout: seconds };
        let mut request = Request::new(message);
        if !timeout.is_zero() {
            // The runtime ends the command itself; this only guards against a runtime that does not.
            request.set_timeout(timeout + self.timeout);
        }
        let answer = self.runtime.clone().exec_sync(request).await?.into_inner();
        Ok(ExecOutput { stdout: answer.stdout, stderr: answer.stderr, exit_code: answer.exit_code })
    }

    async fn exec(&self, request: cri::ExecRequest) -> CriResult<String> {
        Ok(self.runtime.clone().exec(self.timed(request)).await?.into_inner().url)
    }

    async fn attach(&self, request: cri::AttachRequest) -> CriResult<String> {
        Ok(self.runtime.clone().attach(self.timed(request)).await?.into_inner().url)
    }

    async fn port_forward(&self, request: cri::PortForwardRequest) -> CriResult<String> {
        Ok(self.runtime.clone().port_forward(self.timed(request)).await?.into_inner().url)
    }

    async fn container_stats(&self, id: &str) -> CriResult<cri::ContainerStats> {
        let request = self.timed(cri::ContainerStatsRequest { container_id: id.into() });
        let answer = self.runtime.clone().container_stats(request).await?.into_inner();
        answer.stats.ok_or_else(|| missing("container stats"))
    }

    async fn list_container_stats(&self) -> CriResult<Vec<cri::ContainerStats>> {
        let request = self.timed(cri::ListContainerStatsRequest { filter: None });
        Ok(self.runtime.clone().list_container_stats(request).await?.into_inner().stats)
    }

    async fn list_pod_sandbox_stats(&self) -> CriResult<Vec<cri::PodSandboxStats>> {
        let request = self.timed(cri::ListPodSandboxStatsRequest { filter: None });
        Ok(self.runtime.clone().list_pod_sandbox_stats(request).await?.into_inner().stats)
    }

    async fn events(&self) -> CriResult<BoxStream<'static, CriResult<cri::ContainerEventResponse>>> {
        // A stream has no deadline: it lives as long as the runtime does.
        let stream = self.runtime.clone().get_container_events(cri::GetEventsRequest {}).await?.into_inner();
        Ok(stream.map(|item| item.map_err(CriError::from)).boxed())
    }

    async fn list_images(&self) -> CriResult<Vec<cri::Image>> {
        let request = self.timed(cri::ListImagesRequest { filter: None });
        Ok(self.images.clone().list_images(request).await?.into_inner().images)
    }

    async fn image_status(&self, image: &str) -> CriResult<Option<cri::Image>> {
        let spec = cri::ImageSpec { image: image.into(), ..Default::default() };
        let request = self.timed(cri::ImageStatusRequest { image: Some(spec), verbose: false });
        Ok(self.images.clone().image_status(request).await?.into_inner().image)
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<cri::AuthConfig>,
        sandbox: Option<cri::PodSandboxConfig>,
    ) -> CriResult<String> {
        // Pulls take as long as they take; the runtime watches progress.
        let spec = cri::ImageSpec { image: image.into(), ..Default::default() };
        let message = cri::PullImageRequest { image: Some(spec), auth, sandbox_config: sandbox };
        Ok(self.images.clone().pull_image(message).await?.into_inner().image_ref)
    }

    async fn remove_image(&self, image: &str) -> CriResult<()> {
        let spec = cri::ImageSpec { image: image.into(), ..Default::default() };
        self.images.clone().remove_image(self.timed(cri::RemoveImageRequest { image: Some(spec) })).await?;
        Ok(())
    }

    async fn image_fs_info(&self) -> CriResult<cri::ImageFsInfoResponse> {
        Ok(self.images.clone().image_fs_info(self.timed(cri::ImageFsInfoRequest {})).await?.into_inner())
    }
}
