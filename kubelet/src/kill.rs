//! Ending containers and pods, with hooks, grace and order.

use crate::ask;
use crate::ctx::Ctx;
use gantry_kubelet_core::observed::{ContainerSeen, PodSeen, RunState};
use gantry_kubelet_core::plan::{self, KillReason};
use gantry_kubelet_core::pods;
use gantry_kubelet_cri::CriResult;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Waits for its turn: resolves once every container of earlier stages has ended.
struct Turn {
    stage: usize,
    left: watch::Receiver<Vec<usize>>,
}

impl Turn {
    async fn wait(&mut self, limit: Duration) {
        let stage = self.stage;
        let earlier_done = |left: &Vec<usize>| left.iter().take(stage).all(|n| *n == 0);
        // Time being up, or nobody left to wait for, ends the wait the same way.
        let _ = tokio::time::timeout(limit, self.left.wait_for(earlier_done)).await;
    }
}

/// Ends one container: event, pre-stop hook, then TERM and after the rest of the grace KILL.
///
/// # Errors
/// The runtime's. A container that is gone counts as ended.
pub async fn container(
    ctx: &Ctx,
    pod: &Pod,
    spec: Option<&Container>,
    c: &ContainerSeen,
    message: &str,
    reason: KillReason,
    ip: &str,
) -> CriResult<()> {
    let grace = spec.map_or(plan::MINIMUM_GRACE, |s| plan::grace(pod, s, reason));
    stop(ctx, pod, spec, c, message, grace, ip, None).await
}

async fn stop(
    ctx: &Ctx,
    pod: &Pod,
    spec: Option<&Container>,
    c: &ContainerSeen,
    message: &str,
    grace: i64,
    ip: &str,
    turn: Option<&mut Turn>,
) -> CriResult<()> {
    let message =
        if message.is_empty() { format!("Stopping container {}", c.name) } else { message.to_owned() };
    if c.state == RunState::Running {
        ctx.normal(pod, &c.name, "Killing", message);
    }
    let begun = Instant::now();
    let left = |begun: Instant| grace - i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX);
    let hook = spec.and_then(|s| s.lifecycle.as_ref()).and_then(|l| l.pre_stop.as_ref());
    if let (Some(hook), Some(spec), true) = (hook, spec, grace > 0 && c.running()) {
        let limit = Duration::from_secs(grace.unsigned_abs());
        let run = ask::hook(&*ctx.runtime, hook, spec, &c.id, ip, limit);
        match tokio::time::timeout(limit, run).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                tracing::info!(pod = pods::display(pod), container = c.name, why, "pre-stop hook failed");
                ctx.warn(pod, &c.name, "FailedPreStopHook", "PreStopHook failed");
            }
            Err(_) => {
                tracing::info!(pod = pods::display(pod), container = c.name, "pre-stop hook ran out of time")
            }
        }
    }
    if let Some(turn) = turn
        && left(begun) > 0
    {
        turn.wait(Duration::from_secs(left(begun).unsigned_abs())).await;
    }
    let grace = left(begun).max(plan::MINIMUM_GRACE);
    match ctx.runtime.stop_container(&c.id, grace).await {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    }
}

/// Ends every container of a pod (sidecars after the others, last started first ended) and then its sandboxes.
///
/// # Errors
/// The first of the runtime's errors; everything was tried.
pub async fn pod(ctx: &Ctx, pod: &Pod, seen: &PodSeen, grace: Option<i64>) -> CriResult<()> {
    let ip = seen.ips().first().cloned().unwrap_or_default();
    let running: Vec<&ContainerSeen> =
        seen.containers.iter().filter(|c| matches!(c.state, RunState::Running | RunState::Unknown)).collect();
    let sidecars: Vec<&str> =
        pods::init_containers(pod).iter().filter(|c| pods::is_sidecar(c)).map(|c| c.name.as_str()).collect();
    // Stage 0 holds all others; the last sidecar is stage 1, the one before it stage 2, …
    let stage = |name: &str| sidecars.iter().rev().position(|s| *s == name).map_or(0, |p| p + 1);
    let mut counts = vec![0; sidecars.len() + 1];
    for c in &running {
        counts[stage(&c.name)] += 1;
    }
    let (left, _) = watch::channel(counts);
    let ends = running.iter().map(|c| {
        let left = &left;
        let mut turn = Turn { stage: stage(&c.name), left: left.subscribe() };
        let ip = &ip;
        async move {
            let spec = pods::find_container(pod, &c.name);
            let own = spec.as_ref().map_or(plan::MINIMUM_GRACE, |s| plan::grace(pod, s, KillReason::Pod));
            let grace = grace.unwrap_or(own);
            let at = turn.stage;
            let done = stop(ctx, pod, spec.as_ref(), c, "", grace, ip, Some(&mut turn)).await;
            left.send_modify(|l| l[at] -= 1);
            done
        }
    });
    let mut outcome: CriResult<()> = futures::future::join_all(ends).await.into_iter().collect();
    for s in &seen.sandboxes {
        if s.ready
            && let Err(e) = ctx.runtime.stop_pod_sandbox(&s.id).await
            && !e.is_not_found()
        {
            outcome = outcome.and(Err(e));
        }
    }
    outcome
}
