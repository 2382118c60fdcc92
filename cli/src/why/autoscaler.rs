//! Why a HorizontalPodAutoscaler does not scale.

use super::finding::{Finding, Verdict};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

pub fn explain(hpa: &HorizontalPodAutoscaler) -> Verdict {
    let status = hpa.status.clone().unwrap_or_default();
    let spec = &hpa.spec;
    let state =
        format!("{} replicas, {} wanted", status.current_replicas.unwrap_or(0), status.desired_replicas);
    let conditions = status.conditions.unwrap_or_default();
    if conditions.is_empty() {
        let out = Finding::new("nothing has been seen of the autoscaler's controller")
            .change("the controller manager must run (horizontal-pod-autoscaler controller)");
        return Verdict::new(state, vec![out]);
    }
    let mut out = Vec::new();
    for c in &conditions {
        let (reason, text) =
            (c.reason.as_deref().unwrap_or_default(), c.message.as_deref().unwrap_or_default());
        let target = format!("{}/{}", spec.scale_target_ref.kind, spec.scale_target_ref.name);
        match (c.type_.as_str(), c.status.as_str()) {
            ("AbleToScale", "False") => out.push(
                Finding::new(format!("it cannot scale {target}: {reason}"))
                    .seen(text)
                    .change("its scaleTargetRef must name an object there is, with a scale"),
            ),
            ("ScalingActive", "False") => out.push(inactive(reason, text, &target)),
            ("ScalingLimited", "True") => out.push(
                Finding::new(format!("it would go further, but may not: {reason}")).seen(text).change(
                    match reason {
                        "TooManyReplicas" => "raise spec.maxReplicas",
                        "TooFewReplicas" => "lower spec.minReplicas",
                        _ => "wait, or let spec.behavior change more at once",
                    },
                ),
            ),
            _ => {}
        }
    }
    Verdict::new(state, out)
}

fn inactive(reason: &str, text: &str, target: &str) -> Finding {
    let out = Finding::new(format!("it knows no measure to go by: {reason}")).seen(text);
    if reason == "ScalingDisabled" {
        return Finding::new(format!("{target} is scaled to 0, which turns it off"))
            .change("scale it to 1 or more");
    }
    let lower = text.to_lowercase();
    if lower.contains("missing request for") {
        return out.change(format!("set requests for the resource on every container of {target}"));
    }
    if lower.contains("could not find the requested resource")
        || lower.contains("unable to fetch metrics")
        || lower.contains("no metrics returned")
    {
        return out
            .change(
                "metrics must be served: see kctl get apiservices v1beta1.metrics.k8s.io (metrics-server)",
            )
            .change("or the pods must have run for a while: measures come after their first minute");
    }
    if reason == "InvalidSelector" {
        return out.change("the target's scale must name its pods by a selector");
    }
    out.change("mend what the message names")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn autoscalers_that_do_not_scale() {
        let check = |conditions: serde_json::Value, cause: &str, change: &str| {
            let hpa: HorizontalPodAutoscaler = serde_json::from_value(json!({"metadata": {},
                "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}},
                "status": {"currentReplicas": 1, "desiredReplicas": 2, "conditions": conditions}}))
            .unwrap();
            let got = explain(&hpa);
            assert_eq!(got.state, "1 replicas, 2 wanted");
            let first = got.findings.first().cloned().unwrap_or_default();
            assert_eq!(first.cause, cause);
            assert!(first.change.join("; ").contains(change), "{:?}", first.change);
        };
        let one = |kind: &str, status: &str, reason: &str, message: &str| json!([{"type": kind, "status": status, "reason": reason, "message": message}]);
        check(json!([]), "nothing has been seen of the autoscaler's controller", "must run");
        check(one("AbleToScale", "True", "ReadyForNewScale", ""), "", "");
        check(
            one("AbleToScale", "False", "FailedGetScale", "not found"),
            "it cannot scale Deployment/d: FailedGetScale",
            "scaleTargetRef",
        );
        check(
            one(
                "ScalingActive",
                "False",
                "FailedGetResourceMetric",
                "failed to get cpu utilization: missing request for cpu",
            ),
            "it knows no measure to go by: FailedGetResourceMetric",
            "set requests",
        );
        check(
            one(
                "ScalingActive",
                "False",
                "FailedGetResourceMetric",
                "unable to fetch metrics from resource metrics API",
            ),
            "it knows no measure to go by: FailedGetResourceMetric",
            "metrics-server",
        );
        check(
            one("ScalingLimited", "True", "TooManyReplicas", ""),
            "it would go further, but may not: TooManyReplicas",
            "maxReplicas",
        );
        check(
            one("ScalingActive", "False", "ScalingDisabled", ""),
            "Deployment/d is scaled to 0, which turns it off",
            "1 or more",
        );
    }
}
