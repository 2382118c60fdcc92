//! Containers, of pods and of templates.

use super::text::{Text, or_none, time};
use super::{pod, volume};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStatus, EnvVar, Pod, PodTemplateSpec, Probe, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A pod template.
pub fn template(t: &mut Text, template: &PodTemplateSpec) {
    t.line(0, "Pod Template:");
    let meta = template.metadata.clone().unwrap_or_default();
    t.labels("  Labels", meta.labels.as_ref());
    if meta.annotations.as_ref().is_some_and(|a| !a.is_empty()) {
        t.annotations("  Annotations", meta.annotations.as_ref());
    }
    let Some(spec) = &template.spec else { return };
    if let Some(account) = spec.service_account_name.as_deref().filter(|a| !a.is_empty()) {
        t.pair(1, "Service Account", account);
    }
    if let Some(init) = spec.init_containers.as_ref().filter(|c| !c.is_empty()) {
        containers(t, "Init Containers", init, &[], None, "  ");
    }
    containers(t, "Containers", &spec.containers, &[], None, "  ");
    volume::volumes(t, spec.volumes.as_deref().unwrap_or_default(), "  ");
    pod::spread(t, spec.topology_spread_constraints.as_deref().unwrap_or_default(), "  ");
    if let Some(class) = spec.priority_class_name.as_deref().filter(|c| !c.is_empty()) {
        t.pair(1, "Priority Class Name", class);
    }
    t.labels("  Node-Selectors", spec.node_selector.as_ref());
    pod::tolerations(t, "  Tolerations", spec.tolerations.as_deref().unwrap_or_default());
}

/// A titled list of containers with what is known of them.
pub fn containers(
    t: &mut Text,
    title: &str,
    all: &[Container],
    statuses: &[ContainerStatus],
    of: Option<&Pod>,
    space: &str,
) {
    t.line(0, &format!("{space}{title}:{}", if all.is_empty() { " <none>" } else { "" }));
    for c in all {
        let status = statuses.iter().find(|s| s.name == c.name);
        basic(t, c, status, if space.is_empty() { "" } else { " " });
        for (name, words) in [("Command", &c.command), ("Args", &c.args)] {
            if let Some(words) = words.as_ref().filter(|w| !w.is_empty()) {
                t.line(2, &format!("{name}:"));
                for line in words.iter().flat_map(|w| w.split('\n')) {
                    t.line(3, line);
                }
            }
        }
        if let Some(s) = status {
            state(t, "State", s.state.as_ref());
            if s.last_state.as_ref().is_some_and(|l| l.terminated.is_some()) {
                state(t, "Last State", s.last_state.as_ref());
            }
            t.pair(2, "Ready", if s.ready { "True" } else { "False" });
            t.pair(2, "Restart Count", s.restart_count);
        }
        if let Some(r) = &c.resources {
            resources(t, r, 2);
        }
        for (name, p) in [
            ("Liveness", &c.liveness_probe),
            ("Readiness", &c.readiness_probe),
            ("Startup", &c.startup_probe),
        ] {
            if let Some(p) = p {
                t.pair(2, name, probe(p));
            }
        }
        environment(t, c, of);
        volume::mounts(t, c);
    }
}

fn basic(t: &mut Text, c: &Container, status: Option<&ContainerStatus>, space: &str) {
    t.line(1, &format!("{space}{}:", c.name));
    if let Some(s) = status {
        t.pair(2, "Container ID", s.container_id.as_deref().unwrap_or_default());
    }
    t.pair(2, "Image", c.image.as_deref().unwrap_or_default());
    if let Some(s) = status {
        t.pair(2, "Image ID", &s.image_id);
    }
    let ports = c.ports.as_deref().unwrap_or_default();
    let plain: Vec<String> = ports
        .iter()
        .map(|p| {
            let named =
                p.name.as_ref().filter(|n| !n.is_empty()).map(|n| format!(" ({n})")).unwrap_or_default();
            format!("{}/{}{named}", p.container_port, p.protocol.as_deref().unwrap_or_default())
        })
        .collect();
    let host: Vec<String> = ports
        .iter()
        .map(|p| {
            let named =
                p.name.as_ref().filter(|n| !n.is_empty()).map(|n| format!(" ({n})")).unwrap_or_default();
            format!("{}/{}{named}", p.host_port.unwrap_or(0), p.protocol.as_deref().unwrap_or_default())
        })
        .collect();
    for (name, list) in [("Port", plain), ("Host Port", host)] {
        let plural = if list.len() > 1 { "s" } else { "" };
        t.pair(2, &format!("{name}{plural}"), or_none(&list.join(", ")));
    }
    if let Some(profile) = c.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref()) {
        t.pair(2, "SeccompProfile", &profile.type_);
    }
}

fn state(t: &mut Text, name: &str, state: Option<&ContainerState>) {
    let state = state.cloned().unwrap_or_default();
    let when = |x: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        x.as_ref().map_or_else(|| "Mon, 01 Jan 0001 00:00:00 +0000".to_owned(), |x| time(x.0))
    };
    if let Some(r) = state.running {
        t.pair(2, name, "Running");
        t.pair(3, "Started", when(&r.started_at));
    } else if let Some(e) = state.terminated {
        t.pair(2, name, "Terminated");
        for (field, value) in [("Reason", &e.reason), ("Message", &e.message)] {
            if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
                t.pair(3, field, value);
            }
        }
        t.pair(3, "Exit Code", e.exit_code);
        if let Some(signal) = e.signal.filter(|s| *s > 0) {
            t.pair(3, "Signal", signal);
        }
        t.pair(3, "Started", when(&e.started_at));
        t.pair(3, "Finished", when(&e.finished_at));
    } else {
        t.pair(2, name, "Waiting");
        if let Some(reason) = state.waiting.and_then(|w| w.reason).filter(|r| !r.is_empty()) {
            t.pair(3, "Reason", reason);
        }
    }
}

fn resources(t: &mut Text, r: &ResourceRequirements, level: usize) {
    for (name, list) in [("Limits", &r.limits), ("Requests", &r.requests)] {
        if let Some(list) = list.as_ref().filter(|l| !l.is_empty()) {
            t.line(level, &format!("{name}:"));
            for (k, v) in list {
                t.pair(level + 1, k, &v.0);
            }
        }
    }
}

fn port_text(p: &IntOrString) -> String {
    match p {
        IntOrString::Int(n) => n.to_string(),
        IntOrString::String(s) => s.clone(),
    }
}

fn probe(p: &Probe) -> String {
    let attributes = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        p.initial_delay_seconds.unwrap_or(0),
        p.timeout_seconds.unwrap_or(0),
        p.period_seconds.unwrap_or(0),
        p.success_threshold.unwrap_or(0),
        p.failure_threshold.unwrap_or(0)
    );
    if let Some(e) = &p.exec {
        return format!("exec [{}] {attributes}", e.command.clone().unwrap_or_default().join(" "));
    }
    if let Some(h) = &p.http_get {
        let scheme = h.scheme.as_deref().unwrap_or_default().to_lowercase();
        let host = h.host.as_deref().unwrap_or_default();
        let path = h.path.as_deref().unwrap_or_default();
        return format!("http-get {scheme}://{host}:{}{path} {attributes}", port_text(&h.port));
    }
    if let Some(s) = &p.tcp_socket {
        return format!(
            "tcp-socket {}:{} {attributes}",
            s.host.as_deref().unwrap_or_default(),
            port_text(&s.port)
        );
    }
    if let Some(g) = &p.grpc {
        return format!("grpc <pod>:{} {} {attributes}", g.port, g.service.as_deref().unwrap_or_default());
    }
    format!("unknown {attributes}")
}

fn environment(t: &mut Text, c: &Container, of: Option<&Pod>) {
    if let Some(from) = c.env_from.as_ref().filter(|f| !f.is_empty()) {
        t.line(2, "Environment Variables from:");
        for e in from {
            let (name, kind, optional) = match (&e.config_map_ref, &e.secret_ref) {
                (Some(m), _) => (m.name.clone(), "ConfigMap", m.optional),
                (_, Some(s)) => (s.name.clone(), "Secret", s.optional),
                _ => (String::new(), "", None),
            };
            let prefix = match e.prefix.as_deref() {
                Some(p) if !p.is_empty() => format!(" with prefix '{p}'"),
                _ => String::new(),
            };
            t.line(3, &format!("{name}\t{kind}{prefix}\tOptional: {}", optional.unwrap_or(false)));
        }
    }
    let all = c.env.as_deref().unwrap_or_default();
    t.line(2, if all.is_empty() { "Environment:\t<none>" } else { "Environment:" });
    for e in all {
        variable(t, e, of);
    }
}

fn variable(t: &mut Text, e: &EnvVar, of: Option<&Pod>) {
    let Some(from) = &e.value_from else {
        for (i, line) in e.value.as_deref().unwrap_or_default().split('\n').enumerate() {
            match i {
                0 => t.pair(3, &e.name, line),
                _ => t.line(3, &format!("\t{line}")),
            }
        }
        return;
    };
    if let Some(f) = &from.field_ref {
        let value = of.map(|p| pod::field(p, &f.field_path)).unwrap_or_default();
        t.pair(
            3,
            &e.name,
            format!("{value} ({}:{})", f.api_version.as_deref().unwrap_or_default(), f.field_path),
        );
    } else if let Some(r) = &from.resource_field_ref {
        t.pair(3, &e.name, format!(" ({})", r.resource));
    } else if let Some(s) = &from.secret_key_ref {
        let optional = s.optional.unwrap_or(false);
        t.pair(
            3,
            &e.name,
            format!("<set to the key '{}' in secret '{}'>\tOptional: {optional}", s.key, s.name),
        );
    } else if let Some(m) = &from.config_map_key_ref {
        let optional = m.optional.unwrap_or(false);
        t.pair(
            3,
            &e.name,
            format!("<set to the key '{}' of config map '{}'>\tOptional: {optional}", m.key, m.name),
        );
    }
}
