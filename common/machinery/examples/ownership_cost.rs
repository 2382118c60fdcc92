//! What field ownership costs a write: `cargo run --release -p gantry-machinery --example ownership_cost`.

use gantry_machinery::managed::{OneVersion, Request, apply, update};
use gantry_machinery::schema::builtin;
use gantry_types::Document;
use gantry_types::time::parse_rfc3339;
use std::hint::black_box;

/// Nanoseconds of processor this thread has had, which a busy machine does not blur.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_default()
}

fn each(what: &str, mut f: impl FnMut()) {
    const ROUNDS: u32 = 5_000;
    for _ in 0..ROUNDS / 10 {
        f();
    }
    let start = cpu();
    for _ in 0..ROUNDS {
        f();
    }
    println!("{what}: {:.1} µs", (cpu() - start) / 1e3 / f64::from(ROUNDS));
}

fn container(name: &str) -> serde_json::Value {
    serde_json::json!({
        "name": name, "image": "registry.example/app:v1.2.3", "imagePullPolicy": "IfNotPresent",
        "args": ["--port=8080", "--verbose", "--config=/etc/app/config.yaml"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"},
            {"name": "POD", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
        "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"},
            {"containerPort": 9090, "name": "metrics", "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "failureThreshold": 3,
            "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080, "scheme": "HTTP"}, "failureThreshold": 3,
            "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": false, "runAsNonRoot": true,
            "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"mountPath": "/etc/app", "name": "config"}, {"mountPath": "/tmp", "name": "tmp"}],
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"
    })
}

fn pod() -> Document {
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-0", "namespace": "default",
            "labels": {"app": "web", "tier": "front", "pod-template-hash": "5d4f8c7b9"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"}},
        "spec": {
            "containers": [container("app"), container("sidecar"), container("third")],
            "volumes": [{"name": "config", "configMap": {"name": "app", "defaultMode": 420}}, {"name": "tmp", "emptyDir": {}}],
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "restartPolicy": "Always",
            "schedulerName": "default-scheduler", "securityContext": {}, "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 30,
            "tolerations": [{"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists"}]
        },
        "status": {}
    });
    // The literal is an object.
    Document::new(pod.as_object().cloned().unwrap_or_default())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rq = Request {
        schema: builtin().kind("", "v1", "Pod").ok_or("no Pod")?,
        api_version: "v1",
        subresource: "",
        manager: "bench",
        now: parse_rfc3339("2024-01-01T00:00:00Z")?,
        reset_fields: &["status"],
        versions: &OneVersion,
    };
    let new = pod();
    println!("pod of {} bytes", new.to_json().len());
    let mut scratch = new.clone();
    each("create", || {
        scratch.remove_at(&["metadata", "managedFields"]);
        update(None, &mut scratch, &rq);
    });
    let mut live = scratch.clone();
    live.set_at(&["metadata", "uid"], "u");
    println!("ownership of {} bytes", live.to_json().len() - new.to_json().len());

    let mut changed = live.clone();
    changed.set_at(&["metadata", "labels", "x"], "y");
    let other = Request { manager: "other", ..rq };
    each("clone of the object", || {
        black_box(changed.clone());
    });
    each("update of one label, with the clone", || {
        let mut d = changed.clone();
        update(Some(&live), &mut d, &other);
        black_box(d);
    });
    let mut status = live.clone();
    status.set_at(&["status", "phase"], "Running");
    let kubelet = Request { manager: "kubelet", subresource: "status", reset_fields: &["spec"], ..rq };
    each("status update, with the clone", || {
        let mut d = status.clone();
        update(Some(&live), &mut d, &kubelet);
        black_box(d);
    });
    let mut applied = pod();
    applied.remove_at(&["status"]);
    each("apply of the whole, forced", || {
        black_box(apply(Some(&live), &applied, &other, true).is_ok());
    });
    let mine = apply(Some(&live), &applied, &other, true)?;
    each("apply again, nothing new", || {
        black_box(apply(Some(&mine), &applied, &other, false).is_ok());
    });
    each("apply that creates", || {
        black_box(apply(None, &applied, &other, false).is_ok());
    });
    Ok(())
}
