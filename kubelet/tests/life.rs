//! Pods from their coming to their going, on the fake runtime and without an API server.

use clap::Parser;
use gantry_kubelet::config::Config;
use gantry_kubelet::ctx::Ctx;
use gantry_kubelet::flags::Flags;
use gantry_kubelet::images::Images;
use gantry_kubelet::objects::Objects;
use gantry_kubelet::statuses::Statuses;
use gantry_kubelet::table::Table;
use gantry_kubelet_cri::fake::Fake;
use gantry_kubelet_host::cgroup::Cgroups;
use gantry_kubelet_volumes::Volumes;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

struct House {
    fake: Arc<Fake>,
    ctx: Arc<Ctx>,
    table: Arc<Table>,
    _dir: tempfile::TempDir,
}

fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let text = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupsPerQOS: false\n\
         podLogsDir: {}\n",
        at("logs/pods").display()
    );
    std::fs::write(at("config"), text).unwrap();
    let (config, root) = (at("config").display().to_string(), at("root").display().to_string());
    let flags =
        Flags::parse_from(["kubelet", "--config", &config, "--root-dir", &root, "--node-ip", "192.0.2.1"]);
    let config = Config::resolve(&flags).unwrap();
    let fake = Arc::new(Fake::default());
    let stop = CancellationToken::new();
    let objects = Arc::new(Objects::new(None, &stop));
    let ctx = Arc::new(Ctx {
        volumes: Volumes::new(config.root_dir.clone(), objects.clone()),
        images: Images::new(1),
        statuses: Statuses::new(None),
        runtime_name: "fake".into(),
        recorder: gantry_client::Recorder::discarding(),
        cgroups: Cgroups::V2(at("cgroups")),
        memory_capacity: 1 << 30,
        started: jiff::Timestamp::UNIX_EPOCH,
        node: Default::default(),
        allocatable: Default::default(),
        client: None,
        runtime: fake.clone(),
        objects,
        config,
        stop,
    });
    House { fake, table: Table::new(ctx.clone()), ctx, _dir: dir }
}

fn pod(text: &str) -> Arc<Pod> {
    let mut pod: Pod = serde_saphyr::from_str(text).unwrap();
    pod.metadata.name = Some("p".into());
    pod.metadata.namespace = Some("n".into());
    pod.metadata.uid = Some("u".into());
    Arc::new(pod)
}

impl House {
    /// Waits until the pod's status is as wanted, ringing the bell as a relist would.
    async fn until(&self, what: &str, wanted: impl Fn(&PodStatus) -> bool) {
        for _ in 0..500 {
            if self.ctx.statuses.get("u").is_some_and(|s| wanted(&s)) {
                return;
            }
            self.table.wake("u");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never {what}: {:#?} after {:?}", self.ctx.statuses.get("u"), self.fake.calls());
    }

    async fn gone(&self) {
        for _ in 0..500 {
            if !self.table.knows("u") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never gone: {:?}", self.fake.calls());
    }

    fn verbs(&self) -> String {
        let calls = self.fake.calls();
        calls.iter().map(|c| c.split(' ').next().unwrap()).collect::<Vec<_>>().join(" ")
    }
}

fn phase(s: &PodStatus) -> &str {
    s.phase.as_deref().unwrap_or_default()
}

fn restarts(s: &PodStatus) -> i32 {
    s.container_statuses.as_ref().unwrap()[0].restart_count
}

#[tokio::test]
async fn a_pod_runs_restarts_and_goes() {
    let h = house();
    h.fake.add_image("img:1");
    let p =
        pod("{spec: {initContainers: [{name: i, image: 'img:1'}], containers: [{name: c, image: 'img:1'}]}}");
    h.table.apply(p.clone());
    h.until("initializing", |s| s.init_container_statuses.as_ref().unwrap()[0].container_id.is_some()).await;
    assert_eq!(h.verbs(), "RunPodSandbox CreateContainer StartContainer");
    h.fake.exit("container2", 0);
    h.until("running", |s| phase(s) == "Running").await;
    h.fake.exit("container3", 1);
    h.until("restarted", |s| restarts(s) == 1 && phase(s) == "Running").await;
    h.fake.exit("container4", 1);
    h.until("backing off", |s| {
        let c = &s.container_statuses.as_ref().unwrap()[0];
        let waiting = c.state.as_ref().and_then(|s| s.waiting.as_ref());
        waiting.is_some_and(|w| {
            w.reason.as_deref() == Some("CrashLoopBackOff")
                && w.message.as_deref() == Some("back-off 10s restarting failed container=c pod=p_n(u)")
        })
    })
    .await;
    h.table.remove(&p);
    h.gone().await;
    assert!(h.verbs().ends_with("StopPodSandbox RemovePodSandbox"), "{}", h.verbs());
}

#[tokio::test]
async fn a_pod_that_succeeds_is_done() {
    let h = house();
    h.fake.add_image("img:1");
    h.table.apply(pod("{spec: {restartPolicy: Never, containers: [{name: c, image: 'img:1'}]}}"));
    h.until("running", |s| phase(s) == "Running").await;
    h.fake.exit("container2", 0);
    h.until("succeeded", |s| phase(s) == "Succeeded").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(h.verbs(), "RunPodSandbox CreateContainer StartContainer StopPodSandbox");
    assert!(h.table.knows("u"));
}

#[tokio::test]
async fn an_absent_image_is_pulled_or_refused() {
    let h = house();
    h.fake.fail_next(
        "PullImage",
        gantry_kubelet_cri::CriError::new(gantry_kubelet_cri::runtime::Code::Unavailable, "no registry"),
    );
    h.table.apply(pod("{spec: {containers: [{name: c, image: 'img:1'}]}}"));
    h.until("waiting for an image", |s| {
        let c = &s.container_statuses.as_ref().unwrap()[0];
        c.state.as_ref().and_then(|s| s.waiting.as_ref()).is_some_and(|w| {
            w.reason.as_deref() == Some("ImagePullBackOff")
                && w.message.as_deref()
                    == Some("Back-off pulling image \"img:1\": ErrImagePull: rpc error: code = Unavailable desc = no registry")
        })
    })
    .await;
}

#[tokio::test]
async fn a_lost_sandbox_is_made_anew() {
    use gantry_kubelet_cri::Runtime as _;
    let h = house();
    h.fake.add_image("img:1");
    h.table.apply(pod("{spec: {containers: [{name: c, image: 'img:1'}]}}"));
    h.until("running", |s| phase(s) == "Running").await;
    h.fake.stop_pod_sandbox("sandbox1").await.unwrap();
    h.until("running again", |s| restarts(s) == 1 && phase(s) == "Running").await;
    assert!(
        h.verbs().ends_with("StopPodSandbox RunPodSandbox CreateContainer StartContainer"),
        "{}",
        h.verbs()
    );
}
