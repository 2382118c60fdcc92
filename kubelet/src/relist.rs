//! Noticing what happens to containers: by the runtime's events where it sends them, else by listing once a
//! second while there are pods.

use crate::ctx::Ctx;
use crate::table::Table;
use futures::StreamExt;
use gantry_kubelet_cri::runtime::Code;
use gantry_kubelet_cri::{CriResult, cri, labels};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);
/// With events, listing is only there to find what they missed.
const SLOW_PERIOD: Duration = Duration::from_secs(300);

pub async fn run(ctx: Arc<Ctx>, table: Arc<Table>) {
    let mut known: HashMap<String, u64> = HashMap::new();
    loop {
        match ctx.runtime.events().await {
            Ok(mut events) => {
                table.wake_all();
                let mut slow = tokio::time::interval(SLOW_PERIOD);
                loop {
                    tokio::select! {
                        event = events.next() => match event {
                            Some(Ok(e)) => {
                                let uid = e.pod_sandbox_status.and_then(|s| s.metadata).map(|m| m.uid);
                                uid.iter().for_each(|u| table.wake(u));
                            }
                            _ => break,
                        },
                        _ = slow.tick() => {
                            let _ = look(&ctx, &table, &mut known).await;
                        }
                    }
                }
            }
            Err(e) if e.code == Code::Unimplemented => return poll(&ctx, &table, &mut known).await,
            Err(error) => {
                tracing::warn!(%error, "cannot follow the runtime's events");
                tokio::time::sleep(PERIOD).await;
            }
        }
    }
}

async fn poll(ctx: &Ctx, table: &Arc<Table>, known: &mut HashMap<String, u64>) {
    let mut healthy = true;
    loop {
        if table.is_empty() && known.is_empty() {
            table.filled.notified().await;
        }
        tokio::time::sleep(PERIOD).await;
        match look(ctx, table, known).await {
            Ok(()) => healthy = true,
            Err(error) => {
                if healthy {
                    tracing::warn!(%error, "cannot list pods of the runtime");
                }
                healthy = false;
            }
        }
    }
}

/// One listing: wakes the workers of pods that changed, ends pods nobody wants.
pub async fn look(ctx: &Ctx, table: &Arc<Table>, known: &mut HashMap<String, u64>) -> CriResult<()> {
    let (sandboxes, containers) =
        tokio::try_join!(ctx.runtime.list_pod_sandboxes(None), ctx.runtime.list_containers(None))?;
    let mut sums: HashMap<String, u64> = HashMap::new();
    let mut add = |uid: Option<&String>, id: &str, state: i32| {
        let Some(uid) = uid else { return };
        let mut h = DefaultHasher::new();
        (id, state).hash(&mut h);
        // Order does not matter to a sum.
        let sum = sums.entry(uid.clone()).or_default();
        *sum = sum.wrapping_add(h.finish());
    };
    for s in &sandboxes {
        add(s.labels.get(labels::POD_UID), &s.id, s.state);
    }
    for c in &containers {
        add(c.labels.get(labels::POD_UID), &c.id, c.state);
    }
    for (uid, sum) in &sums {
        if known.get(uid) != Some(sum) {
            table.wake(uid);
        }
    }
    for uid in known.keys().filter(|u| !sums.contains_key(*u)) {
        table.wake(uid);
    }
    *known = sums;
    let ready = sandboxes.iter().filter(|s| s.state() == cri::PodSandboxState::SandboxReady);
    let ready = ready.filter_map(|s| Some((s.labels.get(labels::POD_UID)?.clone(), s.id.clone()))).collect();
    table.note_sandboxes(ready);
    for s in &sandboxes {
        table.clear_unknown(s);
    }
    Ok(())
}
