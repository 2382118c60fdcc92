//! Observations as `name=state` (`r`, `c`, or an exit code), newest first; a digit after `r` counts restarts.

use super::*;
use crate::observed::SandboxSeen;
use crate::plan::NoVerdicts;
use k8s_openapi::api::core::v1::{PodSpec, Probe};

fn pod(policy: &str, init: &str, regular: &str) -> Pod {
    let list = |text: &str| -> Vec<Container> {
        text.split_whitespace()
            .map(|n| Container {
                name: n.trim_end_matches(['*', '?']).into(),
                image: Some("img".into()),
                restart_policy: n.ends_with('*').then(|| "Always".into()),
                readiness_probe: n.ends_with('?').then(Probe::default),
                ..Default::default()
            })
            .collect()
    };
    Pod {
        spec: Some(PodSpec {
            restart_policy: Some(policy.into()),
            init_containers: Some(list(init)),
            containers: list(regular),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn seen(text: &str) -> PodSeen {
    let containers = text
        .split_whitespace()
        .enumerate()
        .map(|(i, c)| {
            let (name, state) = c.split_once('=').unwrap();
            let (state, exit_code) = match state.chars().next().unwrap() {
                'r' => (RunState::Running, 0),
                'c' => (RunState::Created, 0),
                _ => (RunState::Exited, state.parse().unwrap()),
            };
            ContainerSeen {
                id: format!("{name}{i}"),
                name: name.into(),
                state,
                exit_code,
                started: Some(Timestamp::UNIX_EPOCH),
                ..Default::default()
            }
        })
        .collect();
    let sandbox =
        SandboxSeen { id: "s".into(), ready: true, ips: vec!["10.0.0.9".into()], ..Default::default() };
    PodSeen { sandboxes: vec![sandbox], containers }
}

fn run(pod: &Pod, seen: &PodSeen, reasons: &Reasons, terminal: bool) -> PodStatus {
    compute(&Input {
        pod,
        seen,
        old: &PodStatus::default(),
        verdicts: &NoVerdicts,
        reasons,
        host_ips: &["192.168.0.1".into()],
        runtime: "containerd",
        terminal,
        forced: None,
        now: Timestamp::UNIX_EPOCH,
    })
}

fn show(s: &PodStatus) -> String {
    let mut out = s.phase.clone().unwrap();
    for c in s.init_container_statuses.iter().flatten().chain(s.container_statuses.iter().flatten()) {
        let state = c.state.as_ref().unwrap();
        let text = if state.running.is_some() {
            "running".to_owned()
        } else if let Some(t) = &state.terminated {
            format!("exit {}", t.exit_code)
        } else {
            state.waiting.as_ref().unwrap().reason.clone().unwrap_or_default()
        };
        out.push_str(&format!(" {}:{text}{}", c.name, if c.ready { "+" } else { "" }));
    }
    out
}

fn check(p: (&str, &str, &str), s: &str, want: &str) {
    let pod = pod(p.0, p.1, p.2);
    assert_eq!(show(&run(&pod, &seen(s), &Reasons::new(), false)), want, "{p:?} {s}");
}

#[test]
fn phases_and_states() {
    check(("Always", "", "a b"), "", "Pending a:ContainerCreating b:ContainerCreating");
    check(("Always", "", "a b"), "a=r", "Pending a:running+ b:ContainerCreating");
    check(("Always", "", "a b"), "a=r b=r", "Running a:running+ b:running+");
    check(("Always", "", "a?"), "a=r", "Running a:running");
    check(("Always", "", "a"), "a=1", "Running a:exit 1");
    check(("OnFailure", "", "a b"), "a=0 b=1", "Running a:exit 0 b:exit 1");
    check(("OnFailure", "", "a b"), "a=0 b=0", "Succeeded a:exit 0 b:exit 0");
    check(("Never", "", "a b"), "a=0 b=1", "Failed a:exit 0 b:exit 1");
    check(("Never", "", "a b"), "a=1 b=r", "Running a:exit 1 b:running+");
    check(("Always", "i", "a"), "i=r", "Pending i:running a:PodInitializing");
    check(("Always", "i", "a"), "i=0", "Pending i:exit 0+ a:PodInitializing");
    check(("Never", "i", "a"), "i=1", "Failed i:exit 1 a:PodInitializing");
    check(("Always", "i", "a"), "i=1", "Pending i:exit 1 a:PodInitializing");
    check(("Always", "s*", "a"), "s=r a=r", "Running s:running+ a:running+");
    check(("Never", "s*", "a"), "s=0 a=0", "Succeeded s:exit 0 a:exit 0");
    check(("Always", "i", "a"), "a=r", "Running i:exit 0+ a:running+");
}

#[test]
fn a_terminal_pod_has_ended() {
    let p = pod("Always", "", "a b");
    let s = run(&p, &seen("a=0"), &Reasons::new(), true);
    assert_eq!(show(&s), "Failed a:exit 0 b:exit 137");
    assert_eq!(show(&run(&p, &seen("a=0 b=0"), &Reasons::new(), true)), "Succeeded a:exit 0 b:exit 0");
}

#[test]
fn reasons_and_previous_instances_show() {
    let p = pod("Always", "", "a");
    let reasons = Reasons::from([("a".into(), ("CrashLoopBackOff".into(), "back-off".into()))]);
    let s = run(&p, &seen("a=1 a=2"), &reasons, false);
    assert_eq!(show(&s), "Running a:CrashLoopBackOff");
    let c = &s.container_statuses.unwrap()[0];
    assert_eq!(c.last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 1);
    let s = run(&p, &seen("a=r a=2"), &Reasons::new(), false);
    let c = &s.container_statuses.unwrap()[0];
    assert_eq!(c.last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 2);
    assert_eq!(c.container_id.as_deref(), Some("containerd://a0"));
    assert_eq!(s.pod_ip.as_deref(), Some("10.0.0.9"));
    assert_eq!(s.host_ip.as_deref(), Some("192.168.0.1"));
}
