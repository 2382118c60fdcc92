//! One step of a pod that is meant to run: look, decide, act, report.

use crate::ctx::Ctx;
use crate::observe::Memory;
use crate::probes::{Probes, Subject};
use crate::{ask, container, images, kill, sandbox};
use gantry_client::EventType;
use gantry_kubelet_core::backoff::Backoff;
use gantry_kubelet_core::observed::{PodSeen, RunState};
use gantry_kubelet_core::plan::{self, KillReason, Plan, Start};
use gantry_kubelet_core::probe::{Kind, Verdict};
use gantry_kubelet_core::status::{self, Reasons};
use gantry_kubelet_core::{pods, resources};
use gantry_kubelet_cri::cri;
use gantry_kubelet_host::cgroup::Limits;
use gantry_kubelet_volumes::Mounted;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// What a worker keeps of its pod between steps.
pub struct State {
    pub memory: Memory,
    pub probes: Probes,
    pub reasons: Reasons,
    pub crashes: Backoff,
    pub wake: Arc<Notify>,
    /// When a failed step may be tried again, and how long the next pause will be.
    pause: Duration,
    prepared: bool,
    /// The API object that shows this pod's status: itself, or a static pod's mirror.
    pub shown_by: Option<Arc<Pod>>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look again when woken, or at this time.
    Wait(Option<Timestamp>),
    /// Nothing of the pod will run again.
    Finished,
}

const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

impl State {
    pub fn new(wake: Arc<Notify>) -> Self {
        Self {
            memory: Memory::default(),
            probes: Probes::default(),
            reasons: Reasons::new(),
            crashes: Backoff::standard(),
            wake,
            pause: RETRY_MIN,
            prepared: false,
            shown_by: None,
        }
    }

    fn retry(&mut self) -> Step {
        let at = Timestamp::now() + self.pause;
        self.pause = (self.pause * 2).min(RETRY_MAX);
        Step::Wait(Some(at))
    }

    /// Computes and records the status from an observation.
    pub fn report(
        &mut self,
        ctx: &Ctx,
        pod: &Pod,
        seen: &PodSeen,
        terminal: bool,
        forced: Option<(&str, &str)>,
    ) -> PodStatus {
        let old = ctx.statuses.get(pods::uid(pod));
        let api = pod.status.clone().unwrap_or_default();
        let status = status::compute(&status::Input {
            pod,
            seen,
            old: old.as_deref().unwrap_or(&api),
            verdicts: &self.probes,
            reasons: &self.reasons,
            host_ips: &ctx.host_ips(),
            runtime: &ctx.runtime_name,
            terminal,
            forced,
            now: Timestamp::now(),
        });
        let object = if pods::is_static(pod) { self.shown_by.as_deref() } else { Some(pod) };
        ctx.statuses.set(pods::uid(pod), object, status.clone());
        status
    }
}

/// The time at which the pod has run for as long as it may.
fn deadline(pod: &Pod, status: Option<&PodStatus>) -> Option<Timestamp> {
    let seconds = pods::spec(pod).active_deadline_seconds?;
    let start = status.and_then(|s| s.start_time.as_ref())?;
    Some(start.0 + SignedDuration::from_secs(seconds))
}

/// Takes one step.
pub async fn step(ctx: &Arc<Ctx>, pod: &Arc<Pod>, state: &mut State) -> Step {
    let uid = pods::uid(pod);
    if pods::is_terminal_phase(pod.status.as_ref().and_then(|s| s.phase.as_deref())) {
        return Step::Finished;
    }
    let seen = match state.memory.look(ctx, uid).await {
        Ok(s) => s,
        Err(error) => {
            tracing::warn!(pod = pods::display(pod), %error, "cannot see the pod");
            return state.retry();
        }
    };
    state.watch_probes(ctx, pod, &seen);
    let status = state.report(ctx, pod, &seen, false, None);
    let until = deadline(pod, Some(&status));
    if until.is_some_and(|d| Timestamp::now() >= d) {
        const WORDS: &str = "Pod was active on the node longer than the specified deadline";
        ctx.event(pod, None, EventType::Normal, "DeadlineExceeded", WORDS.into());
        state.report(ctx, pod, &seen, false, Some(("DeadlineExceeded", WORDS)));
        return Step::Finished;
    }
    if pods::is_terminal_phase(status.phase.as_deref()) {
        return Step::Finished;
    }
    let mounted = match prepare(ctx, pod, state, &seen).await {
        Ok(m) => m,
        Err(step) => return step,
    };
    let plan = plan::plan(pod, &seen, &state.probes);
    tracing::debug!(pod = pods::display(pod), ?plan, "plan");
    let quiet = !plan.kill_pod && plan.kill.is_empty() && plan.start.is_empty();
    let acted = if quiet { Ok(None) } else { act(ctx, pod, state, &seen, plan, &mounted).await };
    let mut next = earliest(mounted.refresh_at, until);
    match acted {
        Ok(again) => {
            state.pause = RETRY_MIN;
            next = earliest(next, again);
        }
        Err(again) => {
            next = earliest(
                next,
                Some(again.unwrap_or_else(|| match state.retry() {
                    Step::Wait(Some(at)) => at,
                    _ => Timestamp::now(),
                })),
            );
        }
    }
    if quiet {
        return Step::Wait(next);
    }
    match state.memory.look(ctx, uid).await {
        Ok(seen) => {
            state.watch_probes(ctx, pod, &seen);
            let status = state.report(ctx, pod, &seen, false, None);
            if pods::is_terminal_phase(status.phase.as_deref()) {
                return Step::Finished;
            }
            // What just ended or came up may allow more: init containers above all.
            let again = plan::plan(pod, &seen, &state.probes);
            let starts = again.start.iter().any(|s| match s {
                Start::Init(_) => true,
                Start::Regular(i) => {
                    pods::containers(pod).get(*i).is_some_and(|c| seen.container(&c.name).is_none())
                        && !pods::containers(pod).get(*i).is_some_and(|c| state.reasons.contains_key(&c.name))
                }
                Start::Ephemeral(_) => false,
            });
            if starts && state.reasons.is_empty() {
                return Step::Wait(Some(Timestamp::now()));
            }
            Step::Wait(next)
        }
        Err(_) => state.retry(),
    }
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl State {
    fn watch_probes(&mut self, ctx: &Arc<Ctx>, pod: &Arc<Pod>, seen: &PodSeen) {
        let sidecars = pods::init_containers(pod).iter().filter(|c| pods::is_sidecar(c));
        let probed: Vec<&Container> = sidecars
            .chain(pods::containers(pod))
            .filter(|c| Kind::ALL.iter().any(|k| k.of(c).is_some()))
            .collect();
        if probed.is_empty() {
            return;
        }
        let old = ctx.statuses.get(pods::uid(pod));
        let api = pod.status.as_ref();
        let reported_started = |id: &str| {
            let lists = [old.as_deref(), api];
            lists.into_iter().flatten().any(|s| {
                s.container_statuses.iter().chain(&s.init_container_statuses).flatten().any(|c| {
                    c.started == Some(true) && c.container_id.as_deref().is_some_and(|i| i.ends_with(id))
                })
            })
        };
        let subjects: Vec<Subject<'_>> = probed
            .into_iter()
            .filter_map(|c| {
                let found = seen.container(&c.name).filter(|s| s.running())?;
                let started_at = found.started.unwrap_or_default();
                let adopted = started_at < ctx.started;
                use gantry_kubelet_core::plan::Verdicts as _;
                let started = match (&c.startup_probe, self.probes.verdict(&found.id, Kind::Startup)) {
                    (None, _) => true,
                    (Some(_), Some(v)) => v == Verdict::Success,
                    (Some(_), None) => adopted && reported_started(&found.id),
                };
                Some(Subject { container: c, id: &found.id, started_at, started, adopted })
            })
            .collect();
        let ip = match seen.ips().first() {
            Some(ip) => ip.clone(),
            None => ctx.host_ips().first().cloned().unwrap_or_default(),
        };
        let wake = self.wake.clone();
        self.probes.reconcile(ctx, pod, &ip, &wake, &subjects);
    }
}

/// Cgroups, directories and volumes.
async fn prepare(ctx: &Ctx, pod: &Pod, state: &mut State, seen: &PodSeen) -> Result<Mounted, Step> {
    if !state.prepared {
        if let Err(error) = make_cgroup(ctx, pod) {
            let message = format!(
                "error killing pod: failed to ensure that the pod: {} cgroups exist: {error}",
                pods::uid(pod)
            );
            ctx.event(pod, None, EventType::Warning, "FailedCreatePodContainer", message);
            return Err(state.retry());
        }
        let made = std::fs::create_dir_all(ctx.volumes.pod_dir(pods::uid(pod)))
            .and_then(|()| std::fs::create_dir_all(ctx.log_dir(pod)));
        if let Err(error) = made {
            let message = format!("error making pod data directories: {error}");
            ctx.event(pod, None, EventType::Warning, "Failed", message);
            return Err(state.retry());
        }
        state.prepared = true;
    }
    let facts = ctx.field_facts(seen.ips());
    match ctx.volumes.mount(pod, &facts, Timestamp::now()).await {
        Ok(m) => Ok(m),
        Err(error) => {
            ctx.event(pod, None, EventType::Warning, "FailedMount", error.to_string());
            Err(state.retry())
        }
    }
}

fn make_cgroup(ctx: &Ctx, pod: &Pod) -> std::io::Result<()> {
    let Some(path) = ctx.pod_cgroup(pod) else { return Ok(()) };
    let l = resources::pod_cgroup(pod, ctx.config.cfs_quota, 100_000);
    ctx.cgroups.ensure(
        &path,
        &Limits {
            cpu_shares: l.cpu_shares,
            cpu_quota: l.cpu_quota,
            cpu_period: l.cpu_period,
            memory: l.memory,
            pids: ctx.config.pod_pids_limit,
        },
    )
}

/// Carries out a plan. `Ok` holds when to look again; `Err` that something failed, and when to try again where
/// that is known.
async fn act(
    ctx: &Ctx,
    pod: &Pod,
    state: &mut State,
    seen: &PodSeen,
    plan: Plan,
    mounted: &Mounted,
) -> Result<Option<Timestamp>, Option<Timestamp>> {
    if plan.create_sandbox && plan.sandbox.is_some() {
        const WORDS: &str = "Pod sandbox changed, it will be killed and re-created.";
        ctx.event(pod, None, EventType::Normal, "SandboxChanged", WORDS.into());
    }
    let old_ip = seen.ips().first().cloned().unwrap_or_default();
    if plan.kill_pod {
        if let Err(error) = kill::pod(ctx, pod, seen, None).await {
            ctx.event(pod, None, EventType::Warning, "FailedKillPod", format!("error killing pod: {error}"));
            return Err(None);
        }
        if plan.create_sandbox {
            purge_init(ctx, pod, seen).await;
        }
    }
    for k in &plan.kill {
        let spec = pods::find_container(pod, &k.name);
        let Some(c) = seen.containers.iter().find(|c| c.id == k.id) else { continue };
        if let Err(error) = kill::container(ctx, pod, spec.as_ref(), c, &k.message, k.reason, &old_ip).await {
            tracing::warn!(pod = pods::display(pod), container = k.name, %error, "cannot kill a container");
            return Err(None);
        }
    }
    if plan.start.is_empty() {
        return Ok(None);
    }
    let (sandbox, attempt, ips) = match (plan.create_sandbox, &plan.sandbox) {
        (false, Some(id)) => (id.clone(), plan.attempt, seen.ips().to_vec()),
        (true, _) => {
            let (id, ips) = create_sandbox(ctx, pod, plan.attempt).await.map_err(|()| None)?;
            (id, plan.attempt, ips)
        }
        (false, None) => return Ok(None),
    };
    let config = sandbox::config(ctx, pod, attempt);
    let ips = if ips.is_empty() && pods::host_network(pod) { ctx.host_ips() } else { ips };
    let base = Base { ctx, pod, sandbox: &sandbox, config: &config, ips: &ips, mounted, seen };
    let (mut again, mut failed) = (None, false);
    for start in &plan.start {
        match base.start(*start, state).await {
            Ok(None) => {}
            Ok(at) => {
                again = earliest(again, at);
                if matches!(start, Start::Init(_)) {
                    break;
                }
            }
            Err(at) => {
                again = earliest(again, at);
                failed |= at.is_none();
                if matches!(start, Start::Init(_)) {
                    break;
                }
            }
        }
    }
    if failed { Err(again) } else { Ok(again) }
}

/// After a new sandbox, init containers of the old one count for nothing.
async fn purge_init(ctx: &Ctx, pod: &Pod, seen: &PodSeen) {
    for c in &seen.containers {
        if pods::init_containers(pod).iter().any(|i| i.name == c.name)
            && let Err(error) = ctx.runtime.remove_container(&c.id).await
        {
            tracing::warn!(pod = pods::display(pod), container = c.name, %error, "cannot remove an init container");
        }
    }
}

async fn create_sandbox(ctx: &Ctx, pod: &Pod, attempt: u32) -> Result<(String, Vec<String>), ()> {
    let fail = |why: String| {
        ctx.event(
            pod,
            None,
            EventType::Warning,
            "FailedCreatePodSandBox",
            format!("Failed to create pod sandbox: {why}"),
        );
    };
    if let Some(name) = forbidden_sysctl(ctx, pod) {
        ctx.event(
            pod,
            None,
            EventType::Warning,
            "SysctlForbidden",
            format!("forbidden sysctl: {name:?} not allowlisted"),
        );
        return Err(());
    }
    let handler = ctx.objects.runtime_handler(pod).await.map_err(|e| fail(e.to_string()))?;
    let config = sandbox::config(ctx, pod, attempt);
    let id = ctx.runtime.run_pod_sandbox(config, handler).await.map_err(|e| fail(e.to_string()))?;
    let status = ctx.runtime.pod_sandbox_status(&id).await.map_err(|e| {
        let why = format!("Unable to get pod sandbox status: {e}");
        ctx.event(pod, None, EventType::Warning, "FailedPodSandBoxStatus", why);
    })?;
    let network = status.network.unwrap_or_default();
    let mut ips = vec![network.ip];
    ips.extend(network.additional_ips.into_iter().map(|i| i.ip));
    ips.retain(|i| !i.is_empty());
    Ok((id, if pods::host_network(pod) { Vec::new() } else { ips }))
}

const SAFE_SYSCTLS: [&str; 11] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
];

/// A sysctl of the pod that this node does not allow.
pub fn forbidden_sysctl(ctx: &Ctx, pod: &Pod) -> Option<String> {
    let list = pods::spec(pod).security_context.as_ref()?.sysctls.as_ref()?;
    let allowed = |name: &str| {
        SAFE_SYSCTLS.contains(&name)
            || name == "net.ipv4.tcp_wmem"
            || ctx.config.unsafe_sysctls.iter().any(|p| match p.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => p == name,
            })
    };
    list.iter().map(|s| s.name.replace('/', ".")).find(|n| !allowed(n))
}

struct Base<'a> {
    ctx: &'a Ctx,
    pod: &'a Pod,
    sandbox: &'a str,
    config: &'a cri::PodSandboxConfig,
    ips: &'a [String],
    mounted: &'a Mounted,
    seen: &'a PodSeen,
}

impl Base<'_> {
    /// Starts one container. `Ok(Some)` is back-off until then; `Err` a failure, with the time to try again
    /// where it has its own back-off.
    async fn start(&self, start: Start, state: &mut State) -> Result<Option<Timestamp>, Option<Timestamp>> {
        let (ctx, pod) = (self.ctx, self.pod);
        let ephemeral;
        let mut target = None;
        let c = match start {
            Start::Init(i) => pods::init_containers(pod).get(i),
            Start::Regular(i) => pods::containers(pod).get(i),
            Start::Ephemeral(i) => {
                let e = pods::ephemeral_containers(pod).get(i);
                let wanted = e.and_then(|e| e.target_container_name.as_deref()).filter(|t| !t.is_empty());
                target = wanted.and_then(|t| self.seen.container(t)).map(|t| t.id.clone());
                ephemeral = e.map(pods::ordinary);
                ephemeral.as_ref()
            }
        };
        let Some(c) = c else { return Ok(None) };
        if let Some(until) = self.crashed(c, state) {
            return Ok(Some(until));
        }
        let fail = |state: &mut State, reason: &str, message: &str| {
            state.reasons.insert(c.name.clone(), (reason.to_owned(), message.to_owned()));
        };
        let image = match images::ensure(ctx, pod, c, self.config).await {
            Ok(i) => i,
            Err(e) => {
                ctx.warn(pod, &c.name, "Failed", format!("Error: {}", e.reason));
                fail(state, e.reason, &e.message);
                return Err(e.retry_at);
            }
        };
        let restart_count = match self.seen.container(&c.name) {
            Some(old) => old.restart_count + 1,
            None => logged_restarts(&ctx.log_dir(pod).join(&c.name)),
        };
        let inputs = container::Inputs {
            restart_count,
            image: &image,
            pod_ips: self.ips,
            volumes: self.mounted,
            target,
        };
        let config = match container::config(ctx, pod, c, &inputs).await {
            Ok(config) => config,
            Err(why) => {
                ctx.warn(pod, &c.name, "Failed", format!("Error: {why}"));
                fail(state, "CreateContainerConfigError", &why);
                return Err(None);
            }
        };
        let log = format!("{}/{}", self.config.log_directory, config.log_path);
        let id = match ctx.runtime.create_container(self.sandbox, config, self.config.clone()).await {
            Ok(id) => id,
            Err(e) => {
                ctx.warn(pod, &c.name, "Failed", format!("Error: {}", e.message));
                fail(state, "CreateContainerError", &e.message);
                return Err(None);
            }
        };
        ctx.normal(pod, &c.name, "Created", "Container created");
        if let Err(e) = ctx.runtime.start_container(&id).await {
            ctx.warn(pod, &c.name, "Failed", format!("Error: {}", e.message));
            fail(state, "RunContainerError", &e.message);
            return Err(None);
        }
        ctx.normal(pod, &c.name, "Started", "Container started");
        state.reasons.remove(&c.name);
        link_log(ctx, pod, &c.name, &id, &log);
        if let Some(hook) = c.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) {
            let ip = self.ips.first().map(String::as_str).unwrap_or_default();
            if let Err(why) = ask::hook(&*ctx.runtime, hook, c, &id, ip, Duration::ZERO).await {
                tracing::info!(pod = pods::display(pod), container = c.name, why, "post-start hook failed");
                ctx.warn(pod, &c.name, "FailedPostStartHook", "PostStartHook failed");
                let started = gantry_kubelet_core::observed::ContainerSeen {
                    id,
                    name: c.name.clone(),
                    state: RunState::Running,
                    ..Default::default()
                };
                let reason = KillReason::PostStart;
                let killed =
                    kill::container(ctx, pod, Some(c), &started, "FailedPostStartHook", reason, ip).await;
                if let Err(error) = killed {
                    tracing::warn!(pod = pods::display(pod), container = c.name, %error, "cannot kill a container");
                }
                fail(state, "PostStartHookError", &why);
                return Err(None);
            }
        }
        Ok(None)
    }

    /// Until when a container that failed before must wait.
    fn crashed(&self, c: &Container, state: &mut State) -> Option<Timestamp> {
        let ended = self.seen.container(&c.name).filter(|s| s.state == RunState::Exited)?;
        let finished = ended.finished?;
        let key = format!("{}/{}", pods::uid(self.pod), c.name);
        let now = Timestamp::now();
        match state.crashes.waiting_since(&key, finished, now) {
            Some(until) => {
                let shown = pods::display(self.pod);
                let message = format!("Back-off restarting failed container {} in pod {shown}", c.name);
                self.ctx.warn(self.pod, &c.name, "BackOff", message);
                let delay = go_seconds(state.crashes.delay(&key));
                let message = format!("back-off {delay} restarting failed container={} pod={shown}", c.name);
                state.reasons.insert(c.name.clone(), ("CrashLoopBackOff".into(), message));
                Some(until)
            }
            None => {
                state.crashes.next(&key, finished);
                None
            }
        }
    }
}

/// `10s`, `1m20s`, `5m0s`.
fn go_seconds(d: Duration) -> String {
    let s = d.as_secs();
    if s < 60 { format!("{s}s") } else { format!("{}m{}s", s / 60, s % 60) }
}

/// Restarts as the log files left behind tell, where the runtime has forgotten.
fn logged_restarts(dir: &std::path::Path) -> i32 {
    let names = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok());
    let numbers = names.filter_map(|n| n.split('.').next()?.parse::<i32>().ok());
    numbers.max().map_or(0, |n| n + 1)
}

/// The place where log collectors look for logs by container.
fn link_log(ctx: &Ctx, pod: &Pod, container: &str, id: &str, log: &str) {
    let Some(parent) = ctx.config.pod_logs_dir.parent() else { return };
    let name = format!("{}_{}_{container}-{id}.log", pods::name(pod), pods::namespace(pod));
    let at = parent.join("containers").join(name);
    let made = at
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::os::unix::fs::symlink(log, &at));
    if let Err(error) = made {
        tracing::debug!(path = %at.display(), %error, "cannot link a container log");
    }
}
