//! One task per pod: runs it, ends it, and clears it away.

use crate::ctx::Ctx;
use crate::kill;
use crate::sync::{self, State, Step};
use crate::table::Table;
use gantry_client::error::ApiError;
use gantry_kubelet_core::pods;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What is wanted of a pod.
#[derive(Clone)]
pub struct Desired {
    pub pod: Arc<Pod>,
    /// The source no longer has it.
    pub removed: bool,
}

impl Desired {
    fn ends(&self) -> bool {
        self.removed || self.pod.metadata.deletion_timestamp.is_some()
    }
}

/// A worker's mailbox: the newest wish, and a bell that says "look".
pub struct Handle {
    pub desired: watch::Sender<Desired>,
    pub wake: Arc<Notify>,
}

pub async fn run(ctx: Arc<Ctx>, table: Arc<Table>, handle: Arc<Handle>, refused: bool) {
    let mut wishes = handle.desired.subscribe();
    let pod = wishes.borrow_and_update().pod.clone();
    let uid = pods::uid(&pod).to_owned();
    ctx.objects.register(&pod);
    let mut state = State::new(handle.wake.clone());
    if !refused {
        live(&ctx, &table, &handle, &mut wishes, &mut state).await;
        end(&ctx, &table, &handle, &mut wishes, &mut state).await;
    }
    drop(pod);
    // What is over stays visible until its object goes.
    loop {
        let wish = wishes.borrow_and_update().clone();
        if wish.removed {
            break;
        }
        if wish.pod.metadata.deletion_timestamp.is_some() && !pods::is_static(&wish.pod) {
            ctx.statuses.flushed(&uid).await;
            delete(&ctx, &wish.pod).await;
        }
        if wishes.changed().await.is_err() {
            break;
        }
    }
    let pod = wishes.borrow().pod.clone();
    clear(&ctx, &pod).await;
    table.forget(&uid);
}

async fn live(
    ctx: &Arc<Ctx>,
    table: &Table,
    handle: &Handle,
    wishes: &mut watch::Receiver<Desired>,
    state: &mut State,
) {
    loop {
        let wish = wishes.borrow_and_update().clone();
        if wish.ends() {
            return;
        }
        state.shown_by = table.mirror(&wish.pod);
        let step = tokio::select! {
            biased;
            () = until(wishes, Desired::ends) => return,
            step = sync::step(ctx, &wish.pod, state) => step,
        };
        let next = match step {
            Step::Finished => return,
            Step::Wait(at) => at,
        };
        tokio::select! {
            biased;
            () = until(wishes, Desired::ends) => return,
            () = handle.wake.notified() => {}
            () = sleep_until(next) => {}
        }
    }
}

/// Resolves once the wish is of a kind; the handle lives in the table as long as its worker does.
async fn until(wishes: &mut watch::Receiver<Desired>, kind: impl FnMut(&Desired) -> bool) {
    if wishes.wait_for(kind).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn sleep_until(at: Option<Timestamp>) {
    match at {
        Some(at) => {
            let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            tokio::time::sleep(left).await;
        }
        None => std::future::pending().await,
    }
}

/// Ends everything that runs, reports how it went, and takes volumes and cgroups down.
async fn end(
    ctx: &Arc<Ctx>,
    table: &Table,
    handle: &Handle,
    wishes: &mut watch::Receiver<Desired>,
    state: &mut State,
) {
    state.probes.stop_all();
    // A pod that was over before we knew it has had its last word.
    let api = wishes.borrow().pod.status.as_ref().and_then(|s| s.phase.clone());
    let settled = pods::is_terminal_phase(api.as_deref())
        && ctx.statuses.get(pods::uid(&wishes.borrow().pod)).is_none();
    loop {
        let wish = wishes.borrow_and_update().clone();
        state.shown_by = table.mirror(&wish.pod);
        let seen = match state.memory.look(ctx, pods::uid(&wish.pod)).await {
            Ok(s) => s,
            Err(error) => {
                tracing::warn!(pod = pods::display(&wish.pod), %error, "cannot see the pod");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        if seen.stopped() {
            if !settled {
                state.report(ctx, &wish.pod, &seen, true, None);
            }
            break;
        }
        if !settled {
            state.report(ctx, &wish.pod, &seen, false, None);
        }
        let grace = wish.pod.metadata.deletion_grace_period_seconds;
        let shorter = |d: &Desired| match (d.pod.metadata.deletion_grace_period_seconds, grace) {
            (Some(new), Some(old)) => new < old,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let killing = kill::pod(ctx, &wish.pod, &seen, None);
        let mut killing = std::pin::pin!(killing);
        let outcome = loop {
            tokio::select! {
                done = &mut killing => break Some(done),
                // A change of mind about the grace starts over with the new one.
                () = until(wishes, shorter) => break None,
                () = handle.wake.notified() => {
                    if let Ok(now) = state.memory.look(ctx, pods::uid(&wish.pod)).await {
                        state.report(ctx, &wish.pod, &now, false, None);
                    }
                }
            }
        };
        if let Some(Err(error)) = outcome {
            let message = format!("error killing pod: {error}");
            ctx.event(&wish.pod, None, gantry_client::EventType::Warning, "FailedKillPod", message);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    let pod = wishes.borrow().pod.clone();
    take_down(ctx, &pod).await;
}

/// Volumes and cgroups; tried until done, since leftovers hold the node's resources.
async fn take_down(ctx: &Ctx, pod: &Pod) {
    let uid = pods::uid(pod);
    let mut pause = Duration::from_millis(100);
    loop {
        let volumes = ctx.volumes.teardown(uid).await;
        let cgroup = match ctx.pod_cgroup(pod) {
            Some(path) => ctx.cgroups.remove(&path).map_err(|e| e.to_string()),
            None => Ok(()),
        };
        let Err(error) = volumes.and(cgroup) else { return };
        tracing::info!(pod = pods::display(pod), error, "pod is not cleared away yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
    }
}

/// The last step of a deletion: the object itself.
async fn delete(ctx: &Ctx, pod: &Pod) {
    let Some(client) = ctx.client.clone() else { return };
    let api: Api<Pod> = Api::namespaced(client, pods::namespace(pod));
    let uid = pod.metadata.uid.clone();
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid, resource_version: None }),
        ..DeleteParams::default()
    };
    let mut pause = Duration::from_millis(200);
    loop {
        match api.delete(pods::name(pod), &params).await {
            Ok(_) => return,
            Err(e) if e.is_not_found() || e.is_conflict() => return,
            Err(e) => {
                tracing::warn!(
                    pod = pods::display(pod),
                    error = gantry_client::error::message(&e),
                    "cannot delete pod"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(10));
            }
        }
    }
}

/// What is left when nobody can ask for the pod's logs any more.
async fn clear(ctx: &Ctx, pod: &Pod) {
    let uid = pods::uid(pod);
    remove_sandboxes(ctx, uid).await;
    let logs = ctx.log_dir(pod);
    let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(logs)).await;
    ctx.objects.unregister(uid);
    ctx.images.forget(uid, pod);
    ctx.statuses.forget(uid);
}

/// Removes a pod's stopped sandboxes and containers from the runtime.
pub async fn remove_sandboxes(ctx: &Ctx, uid: &str) {
    let Ok(all) = ctx.runtime.list_pod_sandboxes(Some(uid)).await else { return };
    for s in all {
        if let Err(error) = ctx.runtime.remove_pod_sandbox(&s.id).await {
            tracing::info!(uid, sandbox = s.id, %error, "cannot remove a sandbox");
        }
    }
}
