//! The scheduler's own words, where nothing more can be worked out.

use super::finding::Finding;

/// What a reason of a `FailedScheduling` message calls for.
fn remedy(reason: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|w| reason.contains(w));
    if has(&["Insufficient", "Too many pods"]) {
        "ask for less, free some by removing other pods, or add a node"
    } else if has(&["taint"]) {
        "tolerate the taint, or take it off a node"
    } else if has(&["affinity/selector", "node affinity", "didn't satisfy plugin(s) [NodeAffinity]"]) {
        "change nodeSelector or nodeAffinity, or label a node to match"
    } else if has(&["were unschedulable"]) {
        "kctl uncordon a node"
    } else if has(&["free ports"]) {
        "use another hostPort, or none"
    } else if has(&["topology spread"]) {
        "raise maxSkew, use ScheduleAnyway, or add nodes in the emptier domains"
    } else if has(&["pod affinity", "anti-affinity"]) {
        "change podAffinity or podAntiAffinity, or add a node in another domain"
    } else if has(&["PersistentVolumeClaim", "persistentvolumeclaim", "volume"]) {
        "mend the claim: kctl why pvc NAME"
    } else {
        "mend what the scheduler names"
    }
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. preemption: ...` as findings.
pub fn read(message: &str) -> Vec<Finding> {
    let Some((head, rest)) = message.split_once(" nodes are available: ") else { return Vec::new() };
    if !head.starts_with("0/") {
        return Vec::new();
    }
    let rest = rest.split(". preemption:").next().unwrap_or(rest);
    let rest = rest.split(". no new claims to deallocate").next().unwrap_or(rest).trim_end_matches('.');
    let mut out: Vec<Finding> = Vec::new();
    for part in rest.split(", ") {
        let counted = part.split_once(' ').and_then(|(n, reason)| Some((n.parse::<usize>().ok()?, reason)));
        match counted {
            Some((n, reason)) => {
                let cause = format!("{}: {reason}", super::finding::count(n, "node"));
                out.push(Finding::new(cause).change(remedy(reason)));
            }
            // A reason with a comma in it, or one of the pod as a whole.
            None => match out.last_mut() {
                Some(last) => last.cause = format!("{}, {part}", last.cause),
                None => out.push(Finding::new(part).change(remedy(part))),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_fall_into_findings() {
        let check = |message: &str, expected: &[(&str, &str)]| {
            let found = read(message);
            let told: Vec<(&str, &str)> =
                found.iter().map(|f| (f.cause.as_str(), f.change[0].split(',').next().unwrap())).collect();
            assert_eq!(told, expected, "{message}");
        };
        check(
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. preemption: 0/3 nodes are available: x.",
            &[
                ("1 node: Insufficient cpu", "ask for less"),
                ("2 nodes: node(s) were unschedulable", "kctl uncordon a node"),
            ],
        );
        check(
            "0/1 nodes are available: 1 node(s) had untolerated taint {a: b, c}. no new claims to deallocate, preemption: no",
            &[("1 node: node(s) had untolerated taint {a: b, c}", "tolerate the taint")],
        );
        check(
            "0/1 nodes are available: persistentvolumeclaim \"x\" not found.",
            &[("persistentvolumeclaim \"x\" not found", "mend the claim: kctl why pvc NAME")],
        );
        check("no nodes available to schedule pods", &[]);
    }
}
