//! Why a container does not run, or is not ready.

use super::finding::Finding;
use super::read::{newest, told};
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Event, Pod};

/// One container as it is.
pub struct Seen<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub status: Option<&'a ContainerStatus>,
    /// Of the pod.
    pub events: &'a [Event],
    /// `container` or `init container`.
    pub what: &'static str,
}

const PULL: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "ImageInspectError",
    "SignatureValidationFailed",
];
const CONFIG: [&str; 4] =
    ["CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError"];

impl Seen<'_> {
    fn pod_name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    fn named(&self) -> String {
        format!("{} {}", self.what, self.container.name)
    }

    /// `kctl logs` for what it wrote.
    fn logs(&self, previous: bool) -> String {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let previous = if previous { " --previous" } else { "" };
        format!(
            "mend what it says: kctl logs -n {namespace} {} -c {}{previous}",
            self.pod_name(),
            self.container.name
        )
    }

    /// The events about this container alone; those of pods with one container name it, too.
    fn about(&self, event: &Event) -> bool {
        let path = event.involved_object.field_path.as_deref().unwrap_or_default();
        path.is_empty() || path.contains(&format!("{{{}}}", self.container.name))
    }

    fn event(&self, reasons: &[&str], start: &str) -> Option<String> {
        let own: Vec<Event> = self.events.iter().filter(|e| self.about(e)).cloned().collect();
        newest(&own, reasons, start).map(told)
    }
}

/// What is wrong with a container that should run; `None`: nothing.
pub fn explain(seen: &Seen<'_>) -> Option<Finding> {
    let status = seen.status?;
    let state = status.state.as_ref();
    if let Some(waiting) = state.and_then(|s| s.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let text = waiting.message.as_deref().unwrap_or_default();
        return match reason {
            r if PULL.contains(&r) => Some(pull(seen, reason, text)),
            "CrashLoopBackOff" => Some(crash(seen, status)),
            r if CONFIG.contains(&r) => Some(config(seen, reason, text)),
            // The pod as a whole is being set up.
            "ContainerCreating" | "PodInitializing" | "" => None,
            other => Some(Finding::new(format!("{} waits: {other}", seen.named())).seen(text)),
        };
    }
    if let Some(ended) = state.and_then(|s| s.terminated.as_ref()) {
        return Some(death(seen, ended, &format!("{} has ended and is not running", seen.named())));
    }
    if state.is_some_and(|s| s.running.is_some()) && !status.ready {
        return Some(unready(seen, status));
    }
    None
}

/// A container that runs, but did not always.
pub fn restarts(seen: &Seen<'_>) -> Option<Finding> {
    let status = seen.status.filter(|s| s.restart_count > 0)?;
    let last = status.last_state.as_ref()?.terminated.as_ref()?;
    let cause = format!("{} runs, but was restarted {} times", seen.named(), status.restart_count);
    Some(death(seen, last, &cause))
}

fn pull(seen: &Seen<'_>, reason: &str, text: &str) -> Finding {
    let image = seen.container.image.as_deref().unwrap_or_default();
    let spec = seen.pod.spec.as_ref();
    let mut out = Finding::new(format!("the image {image} of {} cannot be had", seen.named()))
        .seen(format!("{reason}: {text}"));
    // The back-off says less than what was said when it failed.
    let said = seen.event(&["Failed"], "Failed to pull image").unwrap_or_default();
    if reason == "ImagePullBackOff" {
        out = out.seen(&said);
    }
    let all = format!("{text} {said}").to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| all.contains(w));
    let secrets = spec.and_then(|s| s.image_pull_secrets.as_ref()).is_some_and(|s| !s.is_empty());
    let node = spec.and_then(|s| s.node_name.as_deref()).unwrap_or_default();
    match reason {
        "InvalidImageName" => {
            return out.change("write a valid image reference: [REGISTRY/]NAME[:TAG|@DIGEST]");
        }
        "ErrImageNeverPull" => {
            let text = format!("bring the image onto node {node}, or set imagePullPolicy: IfNotPresent");
            return out.change(text);
        }
        _ => {}
    }
    if has(&["toomanyrequests", "429", "rate limit"]) {
        out.change("the registry limits how much is pulled: wait, log in (imagePullSecrets), or use a mirror")
    } else if has(&[
        "unauthorized",
        "denied",
        "authorization failed",
        "authentication",
        "no basic auth",
        "403 forbidden",
    ]) {
        let what = if secrets {
            "the pod's imagePullSecrets must hold credentials that may read this image"
        } else {
            "name a Secret with the registry's credentials in imagePullSecrets (of the pod or its service account)"
        };
        out.change(what).change("or mend the image's name: registries say so of what does not exist, too")
    } else if has(&[
        "no such host",
        "timeout",
        "connection refused",
        "no route",
        "i/o",
        "dial tcp",
        "unreachable",
    ]) {
        out.change(format!("node {node} must be able to reach the registry (name, proxy, firewall)"))
    } else if has(&["x509", "certificate", "server gave http response"]) {
        out.change(format!("node {node} must trust the registry's certificate (containerd's hosts.toml)"))
    } else if has(&["not found", "manifest unknown", "does not exist", "no match for platform"]) {
        out.change("mend the image's name or tag, or push it; it must exist for the node's architecture")
    } else {
        out.change("make the image pullable from the node; the message says what failed")
    }
}

/// What an exit code tells by itself.
fn exit_meaning(code: i32) -> Option<&'static str> {
    Some(match code {
        126 => "the command is there, but cannot be run: see its permissions and architecture",
        127 => "the command does not exist in the image: see command and args",
        134 => "it aborted (SIGABRT)",
        137 => "it was killed (SIGKILL)",
        139 => "it crashed (SIGSEGV)",
        143 => "it was asked to end (SIGTERM)",
        _ => return None,
    })
}

/// How a container ended, and what to do about it.
fn death(seen: &Seen<'_>, ended: &ContainerStateTerminated, cause: &str) -> Finding {
    let reason = ended.reason.as_deref().unwrap_or_default();
    let code = ended.exit_code;
    let meaning = exit_meaning(code).filter(|_| reason != "OOMKilled").map(|m| format!(": {m}"));
    let mut out = Finding::new(cause)
        .seen(format!("last ended with exit code {code} ({reason}){}", meaning.unwrap_or_default()))
        .seen(ended.message.as_deref().unwrap_or_default());
    if reason == "OOMKilled" {
        let limits = seen.container.resources.as_ref().and_then(|r| r.limits.as_ref());
        let limit = limits.and_then(|l| l.get("memory")).map(|q| q.0.clone());
        return match limit {
            Some(limit) => out.change(format!("raise its memory limit of {limit}, or make it use less")),
            None => out.change("the node ran out of memory: set a request, or make it use less"),
        };
    }
    if let Some(event) = seen
        .event(&["Unhealthy"], "Liveness probe failed")
        .or_else(|| seen.event(&["Unhealthy"], "Startup probe failed"))
        .filter(|_| matches!(code, 137 | 143 | 0 | 2))
    {
        return out.seen(event).change(
            "its probe has the kubelet restart it: mend what the probe asks, or give it more time (initialDelaySeconds, failureThreshold, a startupProbe)",
        );
    }
    if reason == "ContainerCannotRun" || reason == "StartError" {
        return out.change("mend the command, working directory or mounts the message names");
    }
    if code == 0 {
        out = out.change("it ends by itself: run it as a Job, or have its command stay");
        return out;
    }
    out.change(
        seen.logs(seen.status.is_some_and(|s| s.last_state.as_ref().is_some_and(|l| l.terminated.is_some()))),
    )
}

fn crash(seen: &Seen<'_>, status: &ContainerStatus) -> Finding {
    let cause = format!("{} keeps ending, {} times so far", seen.named(), status.restart_count);
    let last = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    match last {
        Some(last) => death(seen, last, &cause),
        None => Finding::new(cause).change(seen.logs(true)),
    }
}

fn quoted(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}

fn config(seen: &Seen<'_>, reason: &str, text: &str) -> Finding {
    let named = seen.named();
    let lower = text.to_lowercase();
    if let Some(rest) = text.split("couldn't find key ").nth(1) {
        let key = rest.split_whitespace().next().unwrap_or_default();
        let holder = rest.split(" in ").nth(1).unwrap_or_default();
        let holder = holder.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        return Finding::new(format!("{named} needs the key {key} of {holder}, which has none such"))
            .seen(format!("{reason}: {text}"))
            .change(format!("add the key {key} to {holder}, or mark it optional"));
    }
    for kind in ["configmap", "secret"] {
        if lower.contains(&format!("{kind} \"")) && lower.contains("not found") {
            let name = quoted(text).unwrap_or_default();
            return Finding::new(format!("{named} needs the {kind} {name}, which does not exist"))
                .seen(format!("{reason}: {text}"))
                .change(format!("create the {kind} {name}, or mark the reference optional"));
        }
    }
    let out = Finding::new(format!("{named} cannot be started")).seen(format!("{reason}: {text}"));
    if lower.contains("runasnonroot") {
        out.change("set securityContext.runAsUser to a user other than 0, or use an image that names one")
    } else if lower.contains("executable file not found") || lower.contains("no such file or directory") {
        out.change("mend command, args or workingDir: what they name is not in the image")
    } else if lower.contains("permission denied") {
        out.change("make the command executable, or mend its user and security context")
    } else {
        out.change("mend what the message names")
    }
}

fn unready(seen: &Seen<'_>, status: &ContainerStatus) -> Finding {
    let named = seen.named();
    if status.started != Some(true) && seen.container.startup_probe.is_some() {
        let said = seen.event(&["Unhealthy"], "Startup probe").unwrap_or_default();
        return Finding::new(format!("{named} has not passed its startup probe"))
            .seen(said)
            .change("mend what the probe asks, or give it more time (failureThreshold x periodSeconds)");
    }
    if seen.container.readiness_probe.is_some() {
        let said = seen.event(&["Unhealthy"], "Readiness probe").unwrap_or_default();
        return Finding::new(format!("{named} runs, but does not pass its readiness probe"))
            .seen(said)
            .change(format!("mend what the probe asks, or the probe (port, path); {}", seen.logs(false)));
    }
    Finding::new(format!("{named} runs and is not ready yet"))
        .change("wait: it has only just started, or its kubelet has not reported")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The finding of a pod's only container, with an event's reason and message.
    fn check(status: Value, event: (&str, &str), cause: &str, change: &str) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"nodeName": "a", "containers": [{"name": "c", "image": "i:1",
                "resources": {"limits": {"memory": "64Mi"}}, "readinessProbe": {}, "startupProbe": {}}]},
            "status": {"containerStatuses": [status]}}))
        .unwrap();
        let events: Vec<Event> = serde_json::from_value(json!([{"metadata": {},
            "involvedObject": {"fieldPath": "spec.containers{c}"}, "reason": event.0, "message": event.1}]))
        .unwrap();
        let seen = Seen {
            pod: &pod,
            container: &pod.spec.as_ref().unwrap().containers[0],
            status: pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()?.first()),
            events: &events,
            what: "container",
        };
        let found = explain(&seen).unwrap_or_else(|| Finding::new(""));
        assert_eq!(found.cause, cause);
        let changes = found.change.join("; ");
        assert!(changes.contains(change), "{cause}: {changes}");
    }

    fn waiting(reason: &str, message: &str) -> Value {
        status(json!({"waiting": {"reason": reason, "message": message}}), json!({}))
    }

    fn status(state: Value, last: Value) -> Value {
        json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 3, "state": state,
               "lastState": last, "started": true})
    }

    fn ended(code: i32, reason: &str) -> Value {
        json!({"terminated": {"exitCode": code, "reason": reason}})
    }

    #[test]
    fn images_that_cannot_be_had() {
        let cause = "the image i:1 of container c cannot be had";
        check(waiting("ErrImagePull", "manifest unknown"), ("", ""), cause, "name or tag");
        let back_off = waiting("ImagePullBackOff", "Back-off pulling image \"i:1\"");
        let failed = |why: &'static str| ("Failed", why);
        check(
            back_off.clone(),
            failed("Failed to pull image \"i:1\": 401 Unauthorized"),
            cause,
            "imagePullSecrets",
        );
        check(
            back_off.clone(),
            failed("Failed to pull image: dial tcp: lookup r: no such host"),
            cause,
            "reach",
        );
        check(back_off.clone(), failed("Failed to pull image: x509: unknown authority"), cause, "trust");
        check(back_off, failed("Failed to pull image: 429 Too Many Requests"), cause, "mirror");
        check(waiting("ErrImageNeverPull", ""), ("", ""), cause, "IfNotPresent");
        check(waiting("InvalidImageName", ""), ("", ""), cause, "valid image reference");
    }

    #[test]
    fn containers_that_keep_ending() {
        let loops = |code: i32, reason: &str| {
            status(
                json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}),
                ended(code, reason),
            )
        };
        let cause = "container c keeps ending, 3 times so far";
        check(loops(137, "OOMKilled"), ("", ""), cause, "raise its memory limit of 64Mi");
        check(loops(1, "Error"), ("", ""), cause, "kctl logs -n n p -c c --previous");
        check(loops(0, "Completed"), ("", ""), cause, "run it as a Job");
        check(
            loops(137, "Error"),
            ("Unhealthy", "Liveness probe failed: 500"),
            cause,
            "its probe has the kubelet",
        );
        check(
            status(ended(1, "Error"), json!({})),
            ("", ""),
            "container c has ended and is not running",
            "kctl logs",
        );
    }

    #[test]
    fn containers_that_cannot_be_started() {
        let config = |text: &str| waiting("CreateContainerConfigError", text);
        check(
            config("couldn't find key k in ConfigMap n/m"),
            ("", ""),
            "container c needs the key k of ConfigMap n/m, which has none such",
            "add the key k to ConfigMap n/m",
        );
        check(
            config("secret \"s\" not found"),
            ("", ""),
            "container c needs the secret s, which does not exist",
            "create the secret s",
        );
        check(
            config("container has runAsNonRoot and image will run as root"),
            ("", ""),
            "container c cannot be started",
            "runAsUser",
        );
        check(
            waiting("RunContainerError", "exec: \"x\": executable file not found in $PATH"),
            ("", ""),
            "container c cannot be started",
            "command",
        );
    }

    #[test]
    fn containers_that_are_not_ready() {
        let running = json!({"running": {}});
        check(
            status(running.clone(), json!({})),
            ("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 500"),
            "container c runs, but does not pass its readiness probe",
            "mend what the probe asks",
        );
        let mut starting = status(running, json!({}));
        starting["started"] = false.into();
        check(starting, ("", ""), "container c has not passed its startup probe", "more time");
        check(waiting("ContainerCreating", ""), ("", ""), "", "");
    }
}
