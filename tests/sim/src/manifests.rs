//! Objects users make, with what can be chosen about them chosen.

use crate::dice::Dice;
use crate::scenario::Kind;
use serde_json::json;

/// The one container of every pod.
pub fn container(version: i32) -> impl serde::Serialize + use<> {
    json!({"name": "c", "image": format!("registry.example/app:{version}"),
           "resources": {"requests": {"cpu": "250m"}}})
}

fn few(dice: &Dice) -> impl serde::Serialize + use<> {
    match dice.below(5) {
        0 => json!("25%"),
        1 => json!("50%"),
        2 => json!(2),
        _ => json!(1),
    }
}

/// A workload as JSON.
pub fn workload(kind: Kind, name: &str, dice: &Dice) -> String {
    let restart = if kind == Kind::Job { "Never" } else { "Always" };
    let mut spec = json!({"containers": [container(1)], "restartPolicy": restart,
                          "terminationGracePeriodSeconds": dice.between(1, 30)});
    if kind == Kind::DaemonSet {
        spec["tolerations"] = json!([{"operator": "Exists"}]);
    }
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": spec});
    let selector = json!({"matchLabels": {"app": name}});
    let size = dice.between(1, 5);
    let body = match kind {
        Kind::Deployment => {
            let strategy = match dice.below(6) {
                0 => json!({"type": "Recreate"}),
                1 => {
                    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": few(dice), "maxUnavailable": 0}})
                }
                2 => {
                    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": few(dice)}})
                }
                _ => json!({"type": "RollingUpdate",
                            "rollingUpdate": {"maxSurge": few(dice), "maxUnavailable": few(dice)}}),
            };
            let patience = if dice.chance(250) { dice.between(1, 5) } else { 0 };
            json!({"replicas": size, "selector": selector, "template": template, "strategy": strategy,
                   "minReadySeconds": patience, "revisionHistoryLimit": dice.between(0, 3)})
        }
        Kind::ReplicaSet => json!({"replicas": size, "selector": selector, "template": template}),
        Kind::StatefulSet => {
            let policy = if dice.chance(250) { "Parallel" } else { "OrderedReady" };
            json!({"replicas": dice.between(1, 4), "selector": selector, "template": template,
                   "serviceName": name, "podManagementPolicy": policy})
        }
        Kind::DaemonSet => {
            let rolling = match dice.below(3) {
                0 => json!({"maxSurge": 1, "maxUnavailable": 0}),
                _ => json!({"maxUnavailable": few(dice)}),
            };
            json!({"selector": selector, "template": template,
                   "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}})
        }
        Kind::Job => {
            let mode = if dice.chance(300) { "Indexed" } else { "NonIndexed" };
            json!({"completions": dice.between(1, 6), "parallelism": dice.between(1, 3), "template": template,
                   "completionMode": mode, "backoffLimit": dice.between(1, 6)})
        }
    };
    json!({"metadata": {"name": name}, "spec": body}).to_string()
}

/// A budget for the pods of a workload.
pub fn budget(app: &str, dice: &Dice) -> String {
    let mut spec = json!({"selector": {"matchLabels": {"app": app}}});
    let field = if dice.chance(500) { "minAvailable" } else { "maxUnavailable" };
    spec[field] = json!(few(dice));
    json!({"metadata": {"name": app}, "spec": spec}).to_string()
}
