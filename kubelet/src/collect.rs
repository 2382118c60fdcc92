//! Housekeeping: dead containers, unused images, long logs.

use crate::ctx::Ctx;
use crate::table::Table;
use gantry_kubelet_core::observed::RunState;
use gantry_kubelet_cri::{cri, labels};
use gantry_kubelet_host::facts;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(60);
/// Image use is looked at every so many rounds.
const IMAGE_ROUNDS: u32 = 5;

pub async fn run(ctx: Arc<Ctx>, table: Arc<Table>) {
    let mut round: u32 = 0;
    loop {
        tokio::time::sleep(PERIOD).await;
        if let Ok(all) = ctx.runtime.list_containers(None).await {
            if !table.is_empty() {
                dead(&ctx, &all).await;
                logs(&ctx, &all).await;
            }
            round = round.wrapping_add(1);
            if round.is_multiple_of(IMAGE_ROUNDS) {
                images(&ctx, &all).await;
            }
        }
        table.sweep_logs();
        dangling_links(&ctx);
    }
}

/// Of the instances of a container that ended, the newest stays: its logs can be asked for.
async fn dead(ctx: &Ctx, all: &[cri::Container]) {
    let mut groups: HashMap<(&str, &str), Vec<&cri::Container>> = HashMap::new();
    for c in all.iter().filter(|c| crate::observe::run_state(c.state()) == RunState::Exited) {
        let label = |key: &str| c.labels.get(key).map(String::as_str).unwrap_or_default();
        groups.entry((label(labels::POD_UID), label(labels::CONTAINER_NAME))).or_default().push(c);
    }
    for mut group in groups.into_values() {
        group.sort_by_key(|c| std::cmp::Reverse(c.created_at));
        for c in group.into_iter().skip(1) {
            if let Err(error) = ctx.runtime.remove_container(&c.id).await {
                tracing::info!(container = c.id, %error, "cannot remove a dead container");
            }
        }
    }
}

/// Frees disk space when images fill it: those no container uses, largest first.
async fn images(ctx: &Ctx, all: &[cri::Container]) {
    let Ok(info) = ctx.runtime.image_fs_info().await else { return };
    let point =
        info.image_filesystems.first().and_then(|f| f.fs_id.as_ref()).map(|i| PathBuf::from(&i.mountpoint));
    let Some(fs) = point.as_deref().and_then(facts::filesystem).filter(|f| f.capacity > 0) else { return };
    let used = fs.capacity - fs.available;
    if used * 100 / fs.capacity < ctx.config.image_gc_high {
        return;
    }
    let mut to_free = used - fs.capacity * ctx.config.image_gc_low / 100;
    let in_use: HashSet<&str> = all.iter().map(|c| c.image_ref.as_str()).collect();
    let Ok(mut found) = ctx.runtime.list_images().await else { return };
    found.retain(|i| !i.pinned && !in_use.contains(i.id.as_str()));
    found.sort_by_key(|i| std::cmp::Reverse(i.size));
    for i in found {
        if to_free <= 0 {
            break;
        }
        match ctx.runtime.remove_image(&i.id).await {
            Ok(()) => to_free -= i64::try_from(i.size).unwrap_or(0),
            Err(error) => tracing::info!(image = i.id, %error, "cannot remove an image"),
        }
    }
}

/// Rotates logs that have grown too long: `0.log` becomes `0.log.<time>`, and the runtime opens a new one.
async fn logs(ctx: &Ctx, all: &[cri::Container]) {
    for c in all.iter().filter(|c| crate::observe::run_state(c.state()) == RunState::Running) {
        let Some(dir) = directory(ctx, c) else { continue };
        let attempt = c.metadata.as_ref().map_or(0, |m| m.attempt);
        let path = dir.join(format!("{attempt}.log"));
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        if meta.len() < ctx.config.log_max_bytes {
            continue;
        }
        let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
        let rotated = dir.join(format!("{attempt}.log.{stamp}"));
        if std::fs::rename(&path, &rotated).is_err() {
            continue;
        }
        if let Err(error) = ctx.runtime.reopen_log(&c.id).await {
            tracing::warn!(container = c.id, %error, "cannot reopen a log");
            // Back, so that nothing written is lost to readers.
            let _ = std::fs::rename(&rotated, &path);
            continue;
        }
        drop_oldest(&dir, &format!("{attempt}.log."), ctx.config.log_max_files - 1);
    }
}

fn directory(ctx: &Ctx, c: &cri::Container) -> Option<PathBuf> {
    let label = |key: &str| c.labels.get(key);
    let pod =
        format!("{}_{}_{}", label(labels::POD_NAMESPACE)?, label(labels::POD_NAME)?, label(labels::POD_UID)?);
    Some(ctx.config.pod_logs_dir.join(pod).join(label(labels::CONTAINER_NAME)?))
}

fn drop_oldest(dir: &Path, prefix: &str, keep: usize) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.starts_with(prefix)).collect();
    names.sort();
    let extra = names.len().saturating_sub(keep);
    for name in names.into_iter().take(extra) {
        if let Err(error) = std::fs::remove_file(dir.join(&name)) {
            tracing::info!(name, %error, "cannot remove an old log");
        }
    }
}

/// Links to logs that are gone.
fn dangling_links(ctx: &Ctx) {
    let Some(parent) = ctx.config.pod_logs_dir.parent() else { return };
    for e in std::fs::read_dir(parent.join("containers")).into_iter().flatten().flatten() {
        let path = e.path();
        let points_here = std::fs::read_link(&path).is_ok_and(|t| t.starts_with(&ctx.config.pod_logs_dir));
        if points_here && !path.exists() {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_logs_stay() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["0.log", "0.log.3", "0.log.1", "0.log.2", "1.log.0"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        drop_oldest(dir.path(), "0.log.", 2);
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["0.log", "0.log.2", "0.log.3", "1.log.0"]);
    }
}
