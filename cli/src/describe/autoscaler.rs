//! Horizontal pod autoscalers.

use super::text::{Text, maybe_time, or_unset};
use gantry_types::field::go_quote;
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingRules, HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

pub fn autoscaler(t: &mut Text, h: &HorizontalPodAutoscaler) {
    let (spec, status) = (h.spec.clone(), h.status.clone().unwrap_or_default());
    t.head(&h.metadata);
    t.pair(0, "CreationTimestamp", maybe_time(h.metadata.creation_timestamp.as_ref()));
    let target = &spec.scale_target_ref;
    t.pair(0, "Reference", format!("{}/{}", target.kind, target.name));
    t.line(0, "Metrics:\t( current / target )");
    let current = status.current_metrics.unwrap_or_default();
    for (i, m) in spec.metrics.iter().flatten().enumerate() {
        t.line(0, &metric(m, current.get(i)));
    }
    t.pair(0, "Min replicas", or_unset(spec.min_replicas));
    t.pair(0, "Max replicas", spec.max_replicas);
    if let Some(behavior) = spec.behavior {
        t.line(0, "Behavior:");
        rules(t, "Scale Up", behavior.scale_up.as_ref());
        rules(t, "Scale Down", behavior.scale_down.as_ref());
    }
    let (now, wanted) = (status.current_replicas.unwrap_or(0), status.desired_replicas);
    t.pair(0, &format!("{} pods", target.kind), format!("{now} current / {wanted} desired"));
    let conditions = status.conditions.unwrap_or_default();
    if !conditions.is_empty() {
        t.line(0, "Conditions:");
        t.line(1, "Type\tStatus\tReason\tMessage");
        t.line(1, "----\t------\t------\t-------");
    }
    for c in conditions {
        let (reason, message) = (c.reason.unwrap_or_default(), c.message.unwrap_or_default());
        t.line(1, &format!("{}\t{}\t{reason}\t{message}", c.type_, c.status));
    }
}

fn quantity(q: Option<&Quantity>) -> String {
    q.map_or_else(|| "<nil>".to_owned(), |q| q.0.clone())
}

fn unknown() -> String {
    "<unknown>".into()
}

/// One metric: what, current and target.
fn metric(m: &MetricSpec, now: Option<&MetricStatus>) -> String {
    if let Some(e) = &m.external {
        let current = now.and_then(|n| n.external.as_ref()).map(|e| &e.current);
        return valued(&format!("  {}", go_quote(&e.metric.name)), &e.target, current);
    }
    if let Some(p) = &m.pods {
        let current = now.and_then(|n| n.pods.as_ref());
        let current = current.map_or_else(unknown, |p| quantity(p.current.average_value.as_ref()));
        let wanted = quantity(p.target.average_value.as_ref());
        return format!("  {} on pods:\t{current} / {wanted}", go_quote(&p.metric.name));
    }
    if let Some(o) = &m.object {
        let current = now.and_then(|n| n.object.as_ref()).map(|o| &o.current);
        let on = &o.described_object;
        return valued(&format!("  \"{}\" on {}/{}", o.metric.name, on.kind, on.name), &o.target, current);
    }
    if let Some(r) = &m.resource {
        let current = now.and_then(|n| n.resource.as_ref()).map(|r| &r.current);
        return of_request(&format!("  resource {} on pods", r.name), &r.target, current, "  ");
    }
    if let Some(r) = &m.container_resource {
        let current = now.and_then(|n| n.container_resource.as_ref()).map(|r| &r.current);
        let what = format!("  resource {} of container \"{}\" on pods", r.name, r.container);
        return of_request(&what, &r.target, current, "  ");
    }
    format!("  <unknown metric type {}>", go_quote(&m.type_))
}

fn valued(what: &str, target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    if target.average_value.is_some() {
        let now = current.and_then(|c| c.average_value.as_ref()).map_or_else(unknown, |q| q.0.clone());
        return format!(
            "{what} (target average value):\t{now} / {}",
            quantity(target.average_value.as_ref())
        );
    }
    let now = current.map_or_else(unknown, |c| quantity(c.value.as_ref()));
    format!("{what} (target value):\t{now} / {}", quantity(target.value.as_ref()))
}

/// A resource, in units or as a share of what is requested.
fn of_request(what: &str, target: &MetricTarget, current: Option<&MetricValueStatus>, space: &str) -> String {
    if target.average_value.is_some() {
        let now = current.map_or_else(unknown, |c| quantity(c.average_value.as_ref()));
        return format!("{what}:\t{now} / {}", quantity(target.average_value.as_ref()));
    }
    let now = current.and_then(|c| Some((c.average_utilization?, c)));
    let now = now.map_or_else(unknown, |(n, c)| format!("{n}% ({})", quantity(c.average_value.as_ref())));
    let wanted = target.average_utilization.map_or_else(|| "<auto>".to_owned(), |n| format!("{n}%"));
    format!("{what}{space}(as a percentage of request):\t{now} / {wanted}")
}

fn rules(t: &mut Text, title: &str, rules: Option<&HPAScalingRules>) {
    let Some(rules) = rules else { return };
    t.line(1, &format!("{title}:"));
    if let Some(seconds) = rules.stabilization_window_seconds {
        t.line(2, &format!("Stabilization Window: {seconds} seconds"));
    }
    let policies = rules.policies.as_deref().unwrap_or_default();
    if policies.is_empty() {
        return;
    }
    t.line(2, &format!("Select Policy: {}", rules.select_policy.as_deref().unwrap_or("Max")));
    t.line(2, "Policies:");
    for p in policies {
        t.line(3, &format!("- Type: {}\tValue: {}\tPeriod: {} seconds", p.type_, p.value, p.period_seconds));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_a_line_each() {
        let check = |spec: &str, now: Option<&str>, expected: &str| {
            let spec: MetricSpec = serde_json::from_str(spec).unwrap();
            let now: Option<MetricStatus> = now.map(|n| serde_json::from_str(n).unwrap());
            assert_eq!(metric(&spec, now.as_ref()), expected);
        };
        let cpu = r#"{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":70}}}"#;
        check(cpu, None, "  resource cpu on pods  (as a percentage of request):\t<unknown> / 70%");
        check(
            cpu,
            Some(
                r#"{"type":"Resource","resource":{"name":"cpu","current":{"averageUtilization":5,"averageValue":"10m"}}}"#,
            ),
            "  resource cpu on pods  (as a percentage of request):\t5% (10m) / 70%",
        );
        check(
            r#"{"type":"Pods","pods":{"metric":{"name":"hits"},"target":{"type":"AverageValue","averageValue":"10"}}}"#,
            None,
            "  \"hits\" on pods:\t<unknown> / 10",
        );
        check(
            r#"{"type":"External","external":{"metric":{"name":"q"},"target":{"type":"Value","value":"3"}}}"#,
            Some(r#"{"type":"External","external":{"metric":{"name":"q"},"current":{"value":"2"}}}"#),
            "  \"q\" (target value):\t2 / 3",
        );
    }
}
