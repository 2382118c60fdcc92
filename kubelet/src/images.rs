//! Images on the node: pulling them in, with credentials and back-off.

use crate::ctx::Ctx;
use gantry_kubelet_core::backoff::Backoff;
use gantry_kubelet_core::image::{self, Pull};
use gantry_kubelet_core::pods;
use gantry_kubelet_cri::cri;
use gantry_kubelet_volumes::Source;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Shared by all pods: one line for pulls, one memory of failures.
pub struct Images {
    line: Semaphore,
    state: Mutex<State>,
}

struct State {
    backoff: Backoff,
    errors: HashMap<String, String>,
}

/// Why a container has no image: the waiting reason, its message, and when another try makes sense.
pub struct NoImage {
    pub reason: &'static str,
    pub message: String,
    pub retry_at: Option<Timestamp>,
}

/// An image ready to use.
pub struct Ready {
    /// What the runtime calls it.
    pub image_ref: String,
    /// The user in the image: numeric, or by name.
    pub uid: Option<i64>,
    pub username: String,
}

impl Images {
    pub fn new(parallel: usize) -> Self {
        let state = State { backoff: Backoff::standard(), errors: HashMap::new() };
        Self { line: Semaphore::new(parallel), state: Mutex::new(state) }
    }

    /// Forgets a pod's failures.
    pub fn forget(&self, uid: &str, pod: &Pod) {
        let mut state = self.state.lock();
        for c in pods::init_containers(pod).iter().chain(pods::containers(pod)) {
            let key = format!("{uid}_{}", c.image.as_deref().unwrap_or_default());
            state.backoff.forget(&key);
            state.errors.remove(&key);
        }
    }
}

/// Makes sure the container's image is on the node, pulling it where policy says so.
///
/// # Errors
/// See [`NoImage`].
pub async fn ensure(
    ctx: &Ctx,
    pod: &Pod,
    container: &Container,
    sandbox: &cri::PodSandboxConfig,
) -> Result<Ready, NoImage> {
    let name = container.image.as_deref().unwrap_or_default();
    let fail = |reason, message: String, retry_at| NoImage { reason, message, retry_at };
    let full = image::with_default_tag(name).map_err(|why| {
        let message = format!("Failed to apply default image tag {name:?}: {why}");
        ctx.warn(pod, &container.name, "InspectFailed", message.clone());
        fail("InvalidImageName", message, None)
    })?;
    let policy = image::policy(container.image_pull_policy.as_deref(), name);
    let present = ctx.runtime.image_status(&full).await.map_err(|e| {
        let message = format!("Failed to inspect image {full:?}: {e}");
        ctx.warn(pod, &container.name, "InspectFailed", message.clone());
        fail("ImageInspectError", message, None)
    })?;
    match image::decide(policy, present.is_some()) {
        Pull::Refuse => {
            let message = format!("Container image {name:?} is not present with pull policy of Never");
            ctx.warn(pod, &container.name, "ErrImageNeverPull", message.clone());
            return Err(fail("ErrImageNeverPull", message, None));
        }
        Pull::UsePresent => {
            let found = present.unwrap_or_default();
            let message =
                format!("Container image {name:?} already present on machine and can be accessed by the pod");
            ctx.normal(pod, &container.name, "Pulled", message);
            return Ok(ready(&found));
        }
        Pull::Pull => {}
    }
    pull(ctx, pod, container, name, &full, sandbox).await
}

fn ready(found: &cri::Image) -> Ready {
    Ready {
        image_ref: found.id.clone(),
        uid: found.uid.as_ref().map(|u| u.value),
        username: found.username.clone(),
    }
}

async fn pull(
    ctx: &Ctx,
    pod: &Pod,
    container: &Container,
    name: &str,
    full: &str,
    sandbox: &cri::PodSandboxConfig,
) -> Result<Ready, NoImage> {
    let key = format!("{}_{name}", pods::uid(pod));
    let waiting = {
        let state = ctx.images.state.lock();
        state.backoff.waiting(&key, Timestamp::now()).map(|until| (until, state.errors.get(&key).cloned()))
    };
    if let Some((until, last)) = waiting {
        let message = format!("Back-off pulling image {name:?}");
        ctx.normal(pod, &container.name, "BackOff", message.clone());
        let message = last.map_or(message.clone(), |l| format!("{message}: {l}"));
        return Err(NoImage { reason: "ImagePullBackOff", message, retry_at: Some(until) });
    }
    ctx.normal(pod, &container.name, "Pulling", format!("Pulling image {name:?}"));
    let asked = Instant::now();
    // Closed never: the semaphore lives as long as the process.
    let _turn = ctx.images.line.acquire().await;
    let begun = Instant::now();
    let mut credentials: Vec<Option<cri::AuthConfig>> =
        credentials(ctx, pod, full).await.into_iter().map(Some).collect();
    if credentials.is_empty() {
        credentials.push(None);
    }
    let mut outcome = Ok(String::new());
    for auth in credentials {
        outcome = ctx.runtime.pull_image(full, auth, Some(sandbox.clone())).await;
        if outcome.is_ok() {
            break;
        }
    }
    match outcome {
        Ok(image_ref) => {
            ctx.images.state.lock().backoff.forget(&key);
            let found = ctx.runtime.image_status(&image_ref).await.ok().flatten().unwrap_or_default();
            let message = format!(
                "Successfully pulled image {name:?} in {} ({} including waiting). Image size: {} bytes.",
                go_duration(begun.elapsed()),
                go_duration(asked.elapsed()),
                found.size
            );
            ctx.normal(pod, &container.name, "Pulled", message);
            Ok(Ready { image_ref, ..ready(&found) })
        }
        Err(e) => {
            ctx.warn(pod, &container.name, "Failed", format!("Failed to pull image {name:?}: {e}"));
            let (reason, message) = judge(name, &e.to_string());
            let mut state = ctx.images.state.lock();
            state.backoff.next(&key, Timestamp::now());
            state.errors.insert(key.clone(), format!("{reason}: {message}"));
            let retry_at = state.backoff.waiting(&key, Timestamp::now());
            Err(NoImage { reason, message, retry_at })
        }
    }
}

fn judge(name: &str, text: &str) -> (&'static str, String) {
    for (reason, words) in [
        ("RegistryUnavailable", "the registry is unavailable"),
        ("SignatureValidationFailed", "the signature validation failed"),
    ] {
        if let Some(rest) = text.strip_prefix(reason) {
            return (reason, format!("image pull failed for {name} because {words}{rest}"));
        }
    }
    ("ErrImagePull", text.to_owned())
}

/// As Go prints it, in milliseconds: `1.234s`, `56ms`, `1m2.5s`.
fn go_duration(d: Duration) -> String {
    let ms = d.as_millis();
    if ms < 1000 {
        return if ms == 0 { "0s".into() } else { format!("{ms}ms") };
    }
    let seconds = (ms % 60_000) as f64 / 1000.0;
    if ms < 60_000 { format!("{seconds}s") } else { format!("{}m{seconds}s", ms / 60_000) }
}

#[derive(serde::Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(serde::Deserialize, Default)]
struct DockerAuth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
}

/// Credentials for an image from the pod's pull secrets, most specific first.
async fn credentials(ctx: &Ctx, pod: &Pod, full: &str) -> Vec<cri::AuthConfig> {
    let mut found: Vec<(usize, cri::AuthConfig)> = Vec::new();
    for secret in pods::spec(pod).image_pull_secrets.iter().flatten() {
        let Ok(secret) = ctx.objects.secret(pods::namespace(pod), &secret.name).await else { continue };
        let data = secret.data.as_ref();
        let modern = data.and_then(|d| d.get(".dockerconfigjson"));
        let config = match (modern, data.and_then(|d| d.get(".dockercfg"))) {
            (Some(d), _) => serde_json::from_slice::<DockerConfig>(&d.0).map(|c| c.auths),
            (None, Some(d)) => serde_json::from_slice(&d.0),
            _ => continue,
        };
        for (registry, entry) in config.unwrap_or_default() {
            if let Some(depth) = applies(&registry, full) {
                found.push((depth, auth(&entry)));
            }
        }
    }
    found.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
    found.into_iter().map(|(_, a)| a).collect()
}

fn auth(entry: &DockerAuth) -> cri::AuthConfig {
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(entry.auth.trim()).ok();
    let pair = decoded.and_then(|d| String::from_utf8(d).ok());
    let (user, password) = match pair.as_deref().and_then(|p| p.split_once(':')) {
        Some((u, p)) => (u.to_owned(), p.to_owned()),
        None => (entry.username.clone(), entry.password.clone()),
    };
    cri::AuthConfig { username: user, password, ..Default::default() }
}

/// Whether a registry key covers an image, and how specific it is.
fn applies(registry: &str, image: &str) -> Option<usize> {
    let bare = registry.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    let host = image.split('/').next().unwrap_or_default();
    let named = image.contains('/') && (host.contains(['.', ':']) || host == "localhost");
    let full = if named { image.to_owned() } else { format!("index.docker.io/{image}") };
    let bare = if bare == "docker.io" { "index.docker.io" } else { bare };
    if let Some(suffix) = bare.strip_prefix('*') {
        let host = full.split('/').next().unwrap_or_default();
        return host.ends_with(suffix).then_some(suffix.len());
    }
    let rest = full.strip_prefix(bare)?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(bare.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_cover_images() {
        let check = |registry: &str, image: &str, want: bool| {
            assert_eq!(applies(registry, image).is_some(), want, "{registry} {image}");
        };
        check("https://index.docker.io/v1/", "busybox:1", true);
        check("r.example:5000", "r.example:5000/a/b:1", true);
        check("r.example:5000/a", "r.example:5000/ab:1", false);
        check("*.example", "x.example/a", true);
        check("r.example", "busybox", false);
    }

    #[test]
    fn durations_print_as_go_does() {
        assert_eq!(go_duration(Duration::from_millis(56)), "56ms");
        assert_eq!(go_duration(Duration::from_millis(1234)), "1.234s");
        assert_eq!(go_duration(Duration::from_millis(62_500)), "1m2.5s");
    }
}
