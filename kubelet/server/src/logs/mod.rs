//! Container logs: which file, which part of it, in which form.

mod follow;
mod line;
mod options;
mod tail;

pub use follow::{Source, stream};
pub use line::{Emitter, Flow};
pub use options::{Bad, Options};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// The status of a container by name, whatever its kind.
pub fn status<'p>(pod: &'p Pod, container: &str) -> Option<&'p ContainerStatus> {
    let status = pod.status.as_ref()?;
    [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
        .find(|c| c.name == container)
}

/// The bare runtime ID of the instance whose log is asked for.
///
/// # Errors
/// In upstream's words, where there is no such instance.
pub fn instance(pod: &Pod, container: &str, previous: bool) -> Result<String, String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let tell = |why: &str| Err(format!("container {container:?} in pod {name:?} is {why}"));
    let Some(c) = status(pod, container) else { return tell("not available") };
    let bare = |id: &str| Ok(id.split_once("://").map_or(id, |(_, bare)| bare).to_owned());
    let last = c.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    let last_id = last.and_then(|t| t.container_id.as_deref()).filter(|id| !id.is_empty());
    if previous {
        return last_id.map_or_else(
            || Err(format!("previous terminated container {container:?} in pod {name:?} not found")),
            bare,
        );
    }
    let state = c.state.as_ref();
    if state.is_some_and(|s| s.running.is_some()) {
        return bare(c.container_id.as_deref().unwrap_or_default());
    }
    if let Some(t) = state.and_then(|s| s.terminated.as_ref()) {
        let own = t.container_id.as_deref().filter(|id| !id.is_empty());
        return own.or(last_id).map_or_else(|| tell("terminated"), bare);
    }
    if last.is_some() {
        return last_id.map_or_else(|| tell("terminated"), bare);
    }
    match state.and_then(|s| s.waiting.as_ref()) {
        Some(w) => match w.reason.as_deref().unwrap_or_default() {
            "ErrImagePull" => tell("waiting to start: image can't be pulled"),
            "ImagePullBackOff" => tell("waiting to start: trying and failing to pull image"),
            reason => tell(&format!("waiting to start: {reason}")),
        },
        None => tell("waiting to start - no logs yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, PodStatus,
    };

    fn waiting(reason: &str) -> ContainerState {
        let waiting = ContainerStateWaiting { reason: Some(reason.into()), message: None };
        ContainerState { waiting: Some(waiting), ..ContainerState::default() }
    }

    fn running() -> ContainerState {
        ContainerState { running: Some(ContainerStateRunning::default()), ..ContainerState::default() }
    }

    fn ended(id: &str) -> ContainerState {
        let t = ContainerStateTerminated { container_id: Some(id.into()), ..Default::default() };
        ContainerState { terminated: Some(t), ..ContainerState::default() }
    }

    #[test]
    fn instances_are_found() {
        let check = |state: ContainerState,
                     last: Option<ContainerState>,
                     previous: bool,
                     want: Result<&str, &str>| {
            let c = ContainerStatus {
                name: "c".into(),
                container_id: Some("containerd://now".into()),
                state: Some(state),
                last_state: last,
                ..ContainerStatus::default()
            };
            let mut pod = Pod { status: Some(PodStatus::default()), ..Pod::default() };
            pod.metadata.name = Some("p".into());
            if let Some(s) = &mut pod.status {
                s.container_statuses = Some(vec![c]);
            }
            let got = instance(&pod, "c", previous);
            assert_eq!(got.as_deref().map_err(String::as_str), want);
        };
        check(running(), None, false, Ok("now"));
        check(running(), Some(ended("containerd://old")), true, Ok("old"));
        check(running(), None, true, Err("previous terminated container \"c\" in pod \"p\" not found"));
        check(ended("containerd://done"), None, false, Ok("done"));
        check(ended(""), Some(ended("containerd://old")), false, Ok("old"));
        check(ended(""), None, false, Err("container \"c\" in pod \"p\" is terminated"));
        check(waiting("CrashLoopBackOff"), Some(ended("containerd://old")), false, Ok("old"));
        check(
            waiting("ContainerCreating"),
            None,
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
        );
        check(
            waiting("ImagePullBackOff"),
            None,
            false,
            Err("container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image"),
        );
        check(
            ContainerState::default(),
            None,
            false,
            Err("container \"c\" in pod \"p\" is waiting to start - no logs yet"),
        );
        let none = instance(&Pod::default(), "x", false);
        assert_eq!(none, Err("container \"x\" in pod \"\" is not available".into()));
    }
}
