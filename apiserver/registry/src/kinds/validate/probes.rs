//! Probes and lifecycle hooks.

use super::resources::NOT_NEGATIVE;
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{
    ExecAction, GRPCAction, HTTPGetAction, Lifecycle, LifecycleHandler, PodOS, Probe, SleepAction,
    TCPSocketAction,
};

/// The one action of a probe or hook.
#[derive(Default)]
struct Handler<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

/// Which probe: each has a rule of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Liveness,
    Readiness,
    Startup,
}

pub fn probe(probe: Option<&Probe>, kind: Kind, grace: Option<i64>, path: &Path) -> ErrorList {
    let Some(p) = probe else { return ErrorList::new() };
    let from = Handler {
        exec: p.exec.as_ref(),
        http_get: p.http_get.as_ref(),
        tcp_socket: p.tcp_socket.as_ref(),
        grpc: p.grpc.as_ref(),
        sleep: None,
    };
    let mut errs = handler(&from, grace, path);
    for (field, value) in [
        ("initialDelaySeconds", p.initial_delay_seconds),
        ("timeoutSeconds", p.timeout_seconds),
        ("periodSeconds", p.period_seconds),
        ("successThreshold", p.success_threshold),
        ("failureThreshold", p.failure_threshold),
    ] {
        if let Some(n) = value.filter(|n| *n < 0) {
            errs.push(Error::invalid(&path.child(field), &n, NOT_NEGATIVE));
        }
    }
    let grace_at = path.child("terminationGracePeriodSeconds");
    if let Some(n) = p.termination_grace_period_seconds {
        if n <= 0 {
            errs.push(Error::invalid(&grace_at, &n, "must be greater than 0"));
        }
        if kind == Kind::Readiness {
            errs.push(Error::invalid(&grace_at, &n, "must not be set for readinessProbes"));
        }
    }
    let threshold = p.success_threshold.unwrap_or(0);
    if kind != Kind::Readiness && threshold != 1 {
        errs.push(Error::invalid(&path.child("successThreshold"), &threshold, "must be 1"));
    }
    errs
}

fn handler(h: &Handler<'_>, grace: Option<i64>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut count = 0;
    let mut take = |field: &str, found: Option<ErrorList>| {
        let Some(found) = found else { return };
        if count > 0 {
            errs.push(Error::forbidden(&path.child(field), "may not specify more than 1 handler type"));
        } else {
            errs.extend(found);
        }
        count += 1;
    };
    take("exec", h.exec.map(|e| exec(e, &path.child("exec"))));
    take("httpGet", h.http_get.map(|e| http_get(e, &path.child("httpGet"))));
    take("tcpSocket", h.tcp_socket.map(|e| port(&e.port, &path.child("tcpSocket").child("port"))));
    take("grpc", h.grpc.map(|e| port(&IntOrString::Int(e.port), &path.child("grpc").child("port"))));
    take("sleep", h.sleep.map(|e| sleep(e, grace, &path.child("sleep"))));
    if count == 0 {
        errs.push(Error::required(path, "must specify a handler type"));
    }
    errs
}

fn exec(action: &ExecAction, path: &Path) -> ErrorList {
    match list(&action.command) {
        [] => vec![Error::required(&path.child("command"), "")],
        _ => ErrorList::new(),
    }
}

fn http_get(action: &HTTPGetAction, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if text(&action.path).is_empty() {
        errs.push(Error::required(&path.child("path"), ""));
    }
    errs.extend(port(&action.port, &path.child("port")));
    let scheme = text(&action.scheme);
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errs.push(Error::not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]));
    }
    for header in list(&action.http_headers) {
        let at = path.child("httpHeaders");
        errs.extend(invalid_each(&at, &header.name, names::http_header_name(&header.name)));
    }
    errs
}

/// A port by number or by name.
pub fn port(port: &IntOrString, path: &Path) -> ErrorList {
    match port {
        IntOrString::Int(n) => {
            names::port_number(i64::from(*n)).into_iter().map(|m| Error::invalid(path, n, m)).collect()
        }
        IntOrString::String(s) => invalid_each(path, s, names::port_name(s)).collect(),
    }
}

fn sleep(action: &SleepAction, grace: Option<i64>, path: &Path) -> ErrorList {
    let Some(grace) = grace else { return ErrorList::new() };
    if (0..=grace).contains(&action.seconds) {
        return ErrorList::new();
    }
    let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
    vec![Error::invalid(path, &action.seconds, why)]
}

/// `postStart`, `preStop` and the stop signal.
pub fn lifecycle(l: &Lifecycle, grace: Option<i64>, os: Option<&PodOS>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (field, hook) in [("postStart", &l.post_start), ("preStop", &l.pre_stop)] {
        if let Some(LifecycleHandler { exec, http_get, sleep, tcp_socket }) = hook {
            let from = Handler {
                exec: exec.as_ref(),
                http_get: http_get.as_ref(),
                tcp_socket: tcp_socket.as_ref(),
                sleep: sleep.as_ref(),
                grpc: None,
            };
            errs.extend(handler(&from, grace, &path.child(field)));
        }
    }
    if let Some(signal) = &l.stop_signal {
        errs.extend(stop_signal(signal, os, &path.child("stopSignal")));
    }
    errs
}

fn stop_signal(signal: &str, os: Option<&PodOS>, path: &Path) -> Option<Error> {
    let supported: Vec<String> = match os.map(|os| os.name.as_str()) {
        None => {
            let why = "may not be set for containers with empty `spec.os.name`";
            return Some(Error::forbidden(path, why));
        }
        Some("windows") => vec!["SIGKILL".to_owned(), "SIGTERM".to_owned()],
        Some("linux") => linux_signals(),
        Some(_) => return None,
    };
    if supported.iter().any(|s| s == signal) {
        return None;
    }
    let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
    Some(unsupported(path, signal, &supported))
}

fn linux_signals() -> Vec<String> {
    const PLAIN: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV \
        STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX";
    let plain = PLAIN.split_whitespace().map(|s| format!("SIG{s}"));
    let low = (1..=15).map(|n| format!("SIGRTMIN+{n}"));
    let high = (1..=14).map(|n| format!("SIGRTMAX-{n}"));
    plain.chain(low).chain(high).collect()
}
