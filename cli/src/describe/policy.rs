//! Budgets, quotas, limits and priority classes.

use super::text::{Text, selector_text};
use crate::commands::pods;
use crate::error::Result;
use gantry_types::Document;
use gantry_types::quantity::Quantity;
use k8s_openapi::api::core::v1::{LimitRange, LimitRangeSpec, ResourceQuota, ResourceQuotaStatus};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeSet;

pub fn budget(t: &mut Text, object: &Document) -> Result<()> {
    let b: PodDisruptionBudget = object.to_typed()?;
    let (spec, status) = (b.spec.unwrap_or_default(), b.status.unwrap_or_default());
    t.pair(0, "Name", object.name());
    t.pair(0, "Namespace", object.namespace());
    for (name, amount) in [("Min available", spec.min_available), ("Max unavailable", spec.max_unavailable)] {
        match amount {
            Some(IntOrString::Int(n)) => t.pair(0, name, n),
            Some(IntOrString::String(s)) => t.pair(0, name, s),
            None => {}
        }
    }
    let selector = match spec.selector {
        None => "<unset>".to_owned(),
        // An empty one selects everything, and is shown as nothing.
        Some(_) => pods::selector_of(object).unwrap_or_else(|_| "<none>".into()),
    };
    t.pair(0, "Selector", selector);
    t.line(0, "Status:");
    for (name, count) in [
        ("Allowed disruptions", status.disruptions_allowed),
        ("Current", status.current_healthy),
        ("Desired", status.desired_healthy),
        ("Total", status.expected_pods),
    ] {
        t.pair(2, name, count.unwrap_or(0));
    }
    Ok(())
}

/// What is used of a quota, as the hard limit is written.
fn used(hard: &str, used: &str) -> String {
    match (hard.parse::<Quantity>(), used.parse::<Quantity>()) {
        (Ok(h), Ok(u)) if h.format() != u.format() => {
            Quantity::from_int(u.value()).with_format(h.format()).to_string()
        }
        _ => used.to_owned(),
    }
}

/// A line for each resource a quota limits.
pub fn quota_rows(t: &mut Text, level: usize, status: &ResourceQuotaStatus) {
    for (resource, hard) in status.hard.iter().flatten() {
        let now = status.used.as_ref().and_then(|u| u.get(resource)).map_or("0", |u| &u.0);
        t.line(level, &format!("{resource}\t{}\t{}", used(&hard.0, now), hard.0));
    }
}

pub fn quota(t: &mut Text, q: &ResourceQuota) {
    t.pair(0, "Name", q.metadata.name.as_deref().unwrap_or_default());
    t.pair(0, "Namespace", q.metadata.namespace.as_deref().unwrap_or_default());
    let mut scopes = q.spec.as_ref().and_then(|s| s.scopes.clone()).unwrap_or_default();
    if !scopes.is_empty() {
        scopes.sort();
        t.pair(0, "Scopes", scopes.join(", "));
    }
    t.line(0, "Resource\tUsed\tHard\n--------\t----\t----");
    quota_rows(t, 0, &q.status.clone().unwrap_or_default());
}

pub const LIMIT_HEAD: [&str; 2] = [
    "Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio",
    "----\t--------\t---\t---\t---------------\t-------------\t-----------------------",
];

/// A line for each resource a range limits.
pub fn limit_rows(t: &mut Text, level: usize, spec: &LimitRangeSpec) {
    for item in &spec.limits {
        let maps =
            [&item.min, &item.max, &item.default_request, &item.default, &item.max_limit_request_ratio];
        let names: BTreeSet<&String> = maps.iter().flat_map(|m| m.iter().flat_map(|m| m.keys())).collect();
        for name in names {
            let cells: Vec<&str> =
                maps.iter().map(|m| m.as_ref().and_then(|m| m.get(name)).map_or("-", |q| &q.0)).collect();
            t.line(level, &format!("{}\t{name}\t{}", item.type_, cells.join("\t")));
        }
    }
}

pub fn limits(t: &mut Text, l: &LimitRange) {
    t.pair(0, "Name", l.metadata.name.as_deref().unwrap_or_default());
    t.pair(0, "Namespace", l.metadata.namespace.as_deref().unwrap_or_default());
    LIMIT_HEAD.iter().for_each(|line| t.line(0, line));
    limit_rows(t, 0, &l.spec.clone().unwrap_or_default());
}

pub fn priority_class(t: &mut Text, p: &PriorityClass) {
    t.pair(0, "Name", p.metadata.name.as_deref().unwrap_or_default());
    t.pair(0, "Value", p.value.unwrap_or(0));
    t.pair(0, "GlobalDefault", p.global_default.unwrap_or(false));
    t.pair(0, "PreemptionPolicy", p.preemption_policy.as_deref().unwrap_or_default());
    t.pair(0, "Description", p.description.as_deref().unwrap_or_default());
    t.pair(0, "Annotations", selector_text(p.metadata.annotations.as_ref()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_written_as_the_limit_is() {
        let check = |hard: &str, now: &str, expected: &str| assert_eq!(used(hard, now), expected);
        check("10", "3", "3");
        check("1Gi", "0", "0");
        check("1Gi", "1073741824", "1Gi");
        check("2", "500m", "500m");
    }

    #[test]
    fn a_budget_is_described() {
        let object = Document::from_json(
            br#"{"metadata":{"name":"b","namespace":"n"},"spec":{"minAvailable":"50%",
            "selector":{"matchLabels":{"a":"b"}}},"status":{"disruptionsAllowed":1,"currentHealthy":3,
            "desiredHealthy":2,"expectedPods":3}}"#,
        )
        .unwrap();
        let mut t = Text::default();
        budget(&mut t, &object).unwrap();
        assert_eq!(
            t.finish(),
            "Name:           b
Namespace:      n
Min available:  50%
Selector:       a=b
Status:
    Allowed disruptions:  1
    Current:              3
    Desired:              2
    Total:                3
"
        );
    }
}
