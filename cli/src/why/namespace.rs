//! Why a namespace does not go.

use super::finding::{Finding, Verdict, count, names};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;

/// Objects of one kind that are left.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// `pods` or `widgets.example.com`.
    pub resource: String,
    pub names: Vec<String>,
    /// How many objects have each finalizer.
    pub finalizers: BTreeMap<String, usize>,
    /// How many are not even being deleted.
    pub untouched: usize,
}

/// An API that does not answer.
#[derive(Clone, Debug)]
pub struct Silent {
    /// `v1beta1.metrics.k8s.io`.
    pub name: String,
    pub message: String,
    /// `namespace/name` of the Service behind it.
    pub service: Option<String>,
}

pub struct Seen<'a> {
    pub namespace: &'a Namespace,
    pub left: Vec<Left>,
    pub silent: Vec<Silent>,
    pub now: Timestamp,
}

pub fn explain(seen: &Seen<'_>) -> Verdict {
    let meta = &seen.namespace.metadata;
    let status = seen.namespace.status.clone().unwrap_or_default();
    let Some(at) = &meta.deletion_timestamp else {
        return Verdict::new(status.phase.unwrap_or_else(|| "Active".into()), Vec::new());
    };
    let age = gantry_types::time::age(Some(at.0), seen.now);
    let mut out: Vec<Finding> = seen.silent.iter().map(silent).collect();
    out.extend(seen.left.iter().filter(|l| l.is_held()).map(held));
    out.extend(rest(seen));
    let conditions = status.conditions.unwrap_or_default();
    for c in conditions.iter().filter(|c| c.status == "True") {
        let text = c.message.as_deref().unwrap_or_default();
        match c.type_.as_str() {
            "NamespaceDeletionDiscoveryFailure" if seen.silent.is_empty() => {
                out.push(Finding::new("what there is to delete cannot be found out").seen(text).change(
                    "every API the server aggregates must answer, or be removed: kctl get apiservices",
                ))
            }
            "NamespaceDeletionGroupVersionParsingFailure" => {
                out.push(
                    Finding::new("an API group's version cannot be read")
                        .seen(text)
                        .change("mend the APIService"),
                );
            }
            "NamespaceDeletionContentFailure" => {
                out.push(Finding::new("something in it could not be deleted").seen(text).change(
                    "mend what the message names: webhooks that refuse, controllers that do not answer",
                ))
            }
            // Both are told in full by what is left.
            "NamespaceContentRemaining" | "NamespaceFinalizersRemaining" if seen.left.is_empty() => out.push(
                Finding::new("the namespace controller saw something left")
                    .seen(text)
                    .change("wait: it looks again"),
            ),
            _ => {}
        }
    }
    let spec = seen.namespace.spec.as_ref().and_then(|s| s.finalizers.clone()).unwrap_or_default();
    let own: Vec<String> = spec.iter().filter(|f| *f != "kubernetes").cloned().collect();
    let all: Vec<String> = own.into_iter().chain(meta.finalizers.clone().unwrap_or_default()).collect();
    if !all.is_empty() {
        out.push(
            Finding::new(format!("it has finalizers of its own: {}", names(&all)))
                .change("the controllers they belong to must take them away"),
        );
    }
    if out.is_empty() {
        let busy = if conditions.is_empty() {
            Finding::new("nothing has been seen of the namespace controller")
                .change("the controller manager must run (namespace controller)")
        } else {
            Finding::new("it is empty and about to go")
                .change("wait; where it lasts, see the controller manager's log")
        };
        out.push(busy);
    }
    Verdict::new(format!("Terminating for {age}"), out)
}

fn silent(s: &Silent) -> Finding {
    let out = Finding::new(format!("the API {} does not answer, so its objects cannot be deleted", s.name))
        .seen(&s.message);
    let out = match &s.service {
        Some(service) => {
            let (namespace, name) = service.split_once('/').unwrap_or(("", service));
            out.change(format!("bring its service back: kctl why service {name} -n {namespace}"))
        }
        None => out,
    };
    out.change(format!("or, where it is not wanted any more: kctl delete apiservice {}", s.name))
}

impl Left {
    /// Whether these keep others waiting: pods that end, objects somebody has still to let go.
    fn is_held(&self) -> bool {
        !self.finalizers.is_empty() || self.resource == "pods"
    }
}

fn held(l: &Left) -> Finding {
    let mut out = Finding::new(format!("{} left of {}", l.names.len(), l.resource)).seen(names(&l.names));
    for (finalizer, n) in &l.finalizers {
        out = out
            .seen(format!("{} with the finalizer {finalizer}", count(*n, "object")))
            .change(format!("the controller behind {finalizer} must take it away: see whether it runs"));
    }
    if l.resource == "pods" {
        let first = l.names.first().map_or("", String::as_str);
        out = out.change(format!("its pods must end: kctl why pod {first}"));
    }
    out
}

/// Those nothing holds.
fn rest(seen: &Seen<'_>) -> Option<Finding> {
    let free: Vec<&Left> = seen.left.iter().filter(|l| !l.is_held()).collect();
    let told: Vec<String> = free.iter().map(|l| format!("{} {}", l.names.len(), l.resource)).collect();
    if told.is_empty() {
        return None;
    }
    let out = Finding::new("the rest is still to be deleted, and nothing holds it").seen(told.join(", "));
    Some(if seen.left.iter().any(|l| l.resource == "pods") {
        out.change("wait: it goes when the pods have ended")
    } else if free.iter().any(|l| l.untouched > 0) {
        out.change("the namespace controller has yet to delete it: see the controller manager's log")
    } else {
        out.change("wait: it is being deleted")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(namespace: Value, left: Vec<Left>, silent: Vec<Silent>, state: &str, causes: &[&str]) {
        let namespace: Namespace = serde_json::from_value(namespace).unwrap();
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        let got = explain(&Seen { namespace: &namespace, left, silent, now });
        let told: Vec<&str> = got.findings.iter().map(|f| f.cause.as_str()).collect();
        assert_eq!((got.state.as_str(), told.as_slice()), (state, causes));
        assert!(got.findings.iter().all(|f| !f.change.is_empty()));
    }

    #[test]
    fn namespaces_that_do_not_go() {
        let going = |conditions: Value, finalizers: Value| {
            json!({"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"},
                   "spec": {"finalizers": finalizers}, "status": {"phase": "Terminating", "conditions": conditions}})
        };
        let condition = |kind: &str| json!([{"type": kind, "status": "True", "message": "m"}]);
        let kube = json!(["kubernetes"]);
        check(json!({"metadata": {}, "status": {"phase": "Active"}}), vec![], vec![], "Active", &[]);
        let left = Left {
            resource: "widgets.x.y".into(),
            names: vec!["a".into()],
            finalizers: [("x.y/f".to_owned(), 1)].into(),
            untouched: 0,
        };
        check(
            going(condition("NamespaceFinalizersRemaining"), kube.clone()),
            vec![left],
            vec![],
            "Terminating for 10m",
            &["1 left of widgets.x.y"],
        );
        let of = |resource: &str| Left {
            resource: resource.into(),
            names: vec!["a".into()],
            untouched: 1,
            ..Left::default()
        };
        check(
            going(condition("NamespaceContentRemaining"), kube.clone()),
            vec![of("configmaps"), of("pods"), of("services")],
            vec![],
            "Terminating for 10m",
            &["1 left of pods", "the rest is still to be deleted, and nothing holds it"],
        );
        let api =
            Silent { name: "v1.m".into(), message: "503".into(), service: Some("kube-system/m".into()) };
        check(
            going(condition("NamespaceDeletionDiscoveryFailure"), kube.clone()),
            vec![],
            vec![api],
            "Terminating for 10m",
            &["the API v1.m does not answer, so its objects cannot be deleted"],
        );
        check(
            going(condition("NamespaceDeletionContentFailure"), json!(["kubernetes", "x.y/own"])),
            vec![],
            vec![],
            "Terminating for 10m",
            &["something in it could not be deleted", "it has finalizers of its own: x.y/own"],
        );
        check(
            going(json!([]), kube),
            vec![],
            vec![],
            "Terminating for 10m",
            &["nothing has been seen of the namespace controller"],
        );
    }
}
