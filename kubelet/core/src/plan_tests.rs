//! Pods as one line each: `policy | init containers | containers`, containers as `name` or `name*` (sidecar);
//! observations as `sandbox | container=state…`, newest first, states `c`, `r`, `u` or an exit code.

use super::*;
use crate::observed::SandboxSeen;
use k8s_openapi::api::core::v1::{PodSpec, Probe};

fn pod(text: &str) -> Pod {
    let mut parts = text.split('|').map(str::trim);
    let policy = parts.next().unwrap();
    let list = |text: &str| -> Vec<Container> {
        text.split_whitespace()
            .map(|n| Container {
                name: n.trim_end_matches('*').into(),
                restart_policy: n.ends_with('*').then(|| "Always".into()),
                liveness_probe: n.starts_with("live").then(Probe::default),
                startup_probe: n.starts_with("slow").then(Probe::default),
                ..Default::default()
            })
            .collect()
    };
    let init = list(parts.next().unwrap());
    Pod {
        spec: Some(PodSpec {
            restart_policy: Some(policy.into()),
            init_containers: Some(init),
            containers: list(parts.next().unwrap()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn seen(text: &str) -> PodSeen {
    let (sandbox, containers) = text.split_once('|').unwrap();
    let sandboxes = match sandbox.trim() {
        "-" => vec![],
        s => vec![SandboxSeen {
            id: "s".into(),
            ready: s == "up",
            ips: vec!["10.0.0.1".into()],
            ..Default::default()
        }],
    };
    let containers = containers
        .split_whitespace()
        .map(|c| {
            let (name, state) = c.split_once('=').unwrap();
            let (state, exit_code) = match state {
                "c" => (RunState::Created, 0),
                "r" => (RunState::Running, 0),
                "u" => (RunState::Unknown, 0),
                code => (RunState::Exited, code.parse().unwrap()),
            };
            ContainerSeen {
                id: format!("id-{name}"),
                name: name.into(),
                state,
                exit_code,
                ..Default::default()
            }
        })
        .collect();
    PodSeen { sandboxes, containers }
}

struct Failing(Kind);

impl Verdicts for Failing {
    fn verdict(&self, _: &str, kind: Kind) -> Option<Verdict> {
        (kind == self.0).then_some(Verdict::Failure)
    }
}

fn show(p: &Plan) -> String {
    let mut out = Vec::new();
    if p.kill_pod {
        out.push("killpod".to_owned());
    }
    if p.create_sandbox {
        out.push(format!("sandbox{}", p.attempt));
    }
    out.extend(p.kill.iter().map(|k| format!("kill {}", k.name)));
    out.extend(p.start.iter().map(|s| match s {
        Start::Ephemeral(i) => format!("e{i}"),
        Start::Init(i) => format!("i{i}"),
        Start::Regular(i) => format!("c{i}"),
    }));
    out.join(", ")
}

fn check(p: &str, s: &str, want: &str) {
    assert_eq!(show(&plan(&pod(p), &seen(s), &NoVerdicts)), want, "{p} / {s}");
}

#[test]
fn plans() {
    check("Always | | a b", "- |", "killpod, sandbox0, c0, c1");
    check("Always | | a b", "up |", "c0, c1");
    check("Always | | a b", "up | a=r", "c1");
    check("Always | | a b", "up | a=r b=r", "");
    check("Always | | a", "up | a=0", "c0");
    check("OnFailure | | a b", "up | a=0 b=1", "c1");
    check("OnFailure | | a", "up | a=0", "killpod");
    check("Never | | a b", "up | a=1 b=r", "");
    check("Never | | a", "up | a=1", "killpod");
    check("Always | | a", "up | a=u", "kill a, c0");
    check("Always | | a", "up | a=c", "c0");
    check("Always | | a", "down | a=r", "killpod, sandbox1, c0");
    check("Never | | a", "down | a=137", "killpod");
    check("OnFailure | | a b", "down | a=0 b=137", "killpod, sandbox1, c1");
    check("OnFailure | | a", "down | a=0", "killpod");
}

#[test]
fn init_containers_go_one_by_one() {
    check("Always | i j | a", "- |", "killpod, sandbox0, i0");
    check("Always | i j | a", "up |", "i0");
    check("Always | i j | a", "up | i=r", "");
    check("Always | i j | a", "up | i=0", "i1");
    check("Always | i j | a", "up | j=1 i=0", "i1");
    check("Never | i j | a", "up | i=1", "killpod");
    check("Always | i j | a", "up | j=0 i=0", "c0");
    check("Always | i j | a", "up | a=r", "");
    check("Always | i j | a", "down | a=137 j=0 i=0", "killpod, sandbox1, i0");
}

#[test]
fn sidecars_stay() {
    check("Always | s* j | a", "up | s=r", "i1");
    check("Always | s* j | a", "up | s=r j=r", "");
    check("Always | s* j | a", "up | s=r j=0", "c0");
    check("Always | s* j | a", "up | s=1 a=r j=0", "i0");
    check("Always | j s* | a", "up | s=r j=0", "c0");
    check("Never | s* | a", "up | s=r a=0", "killpod");
    check("Always | slow* | a", "up | slow=r", "");
}

#[test]
fn failed_probes_kill() {
    let check = |p: &str, s: &str, kind: Kind, want: &str, message: &str| {
        let plan = plan(&pod(p), &seen(s), &Failing(kind));
        assert_eq!(show(&plan), want, "{p} / {s}");
        assert_eq!(plan.kill[0].message, message);
    };
    check(
        "Always | | live",
        "up | live=r",
        Kind::Liveness,
        "kill live, c0",
        "Container live failed liveness probe, will be restarted",
    );
    check(
        "Never | | slow a",
        "up | slow=r a=r",
        Kind::Startup,
        "kill slow",
        "Container slow failed startup probe",
    );
    check(
        "Always | slow* | a",
        "up | slow=r",
        Kind::Startup,
        "kill slow, i0",
        "Init container slow failed startup probe",
    );
}

#[test]
fn a_deleted_pod_starts_nothing() {
    let mut p = pod("Always | | a");
    p.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(show(&plan(&p, &seen("up | a=1"), &NoVerdicts)), "killpod");
}
