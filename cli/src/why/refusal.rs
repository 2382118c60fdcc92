//! Why the API server would not have a controller's pod: quotas, admission, what a pod names.

use super::finding::Finding;

fn after<'t>(text: &'t str, mark: &str, end: char) -> Option<&'t str> {
    text.split(mark).nth(1)?.split(end).next().map(str::trim)
}

fn quoted<'t>(text: &'t str, mark: &str) -> &'t str {
    text.split(mark).nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap_or_default()
}

/// What a refusal of a pod means, from its message.
pub fn read(message: &str) -> Finding {
    if let Some(quota) = after(message, "exceeded quota: ", ',') {
        let used =
            message.split("exceeded quota: ").nth(1).and_then(|r| r.split_once(", ")).map_or("", |(_, r)| r);
        return Finding::new(format!("the ResourceQuota {quota} allows no more"))
            .seen(used)
            .change(format!("raise the quota {quota}, ask for less, or free some in the namespace"));
    }
    if let Some(rest) = message.split("failed quota: ").nth(1) {
        let (quota, lacks) = rest.split_once(": ").unwrap_or((rest, ""));
        return Finding::new(format!("the ResourceQuota {quota} wants it said what a pod uses: {lacks}"))
            .change("set these requests and limits on every container, or defaults in a LimitRange");
    }
    let out = Finding::new("the API server refuses its pods").seen(message);
    if message.contains("violates PodSecurity") {
        return Finding::new("Pod Security Admission refuses its pods").seen(message).change(
            "mend the template's securityContext as the message says, or the namespace's pod-security labels",
        );
    }
    if message.contains("error looking up service account") || message.contains("serviceaccount \"") {
        let name = quoted(message, "serviceaccount ");
        return Finding::new(format!("the service account {name} it names does not exist"))
            .seen(message)
            .change(format!("create the service account {name}, or name another"));
    }
    if message.contains("no PriorityClass with name") {
        return out.change("create the PriorityClass, or name another in priorityClassName");
    }
    if message.contains("failed calling webhook") {
        let name = quoted(message, "failed calling webhook ");
        return Finding::new(format!("the admission webhook {name} cannot be asked"))
            .seen(message)
            .change("its Service and pods must be up, or its failurePolicy Ignore: kctl why service NAME");
    }
    if message.contains("admission webhook") && message.contains("denied the request") {
        return out.change("mend what the webhook objects to");
    }
    if message.contains("is forbidden: maximum") || message.contains("is forbidden: minimum") {
        return out.change("keep within the namespace's LimitRange");
    }
    if message.contains("RuntimeClass") {
        return out.change("create the RuntimeClass, or name another in runtimeClassName");
    }
    if message.contains("because it is being terminated") {
        return out.change("the namespace is being deleted: kctl why namespace NAME");
    }
    out.change("mend the template as the message says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_their_remedies() {
        let check = |message: &str, cause: &str, change: &str| {
            let found = read(message);
            assert_eq!(found.cause, cause, "{message}");
            assert!(found.change[0].contains(change), "{message}: {:?}", found.change);
        };
        check(
            "pods \"w-1\" is forbidden: exceeded quota: q, requested: cpu=1, used: cpu=2, limited: cpu=2",
            "the ResourceQuota q allows no more",
            "raise the quota q",
        );
        check(
            "pods \"w\" is forbidden: failed quota: q: must specify limits.cpu for: c",
            "the ResourceQuota q wants it said what a pod uses: must specify limits.cpu for: c",
            "LimitRange",
        );
        check(
            "pods \"w\" is forbidden: error looking up service account n/s: serviceaccount \"s\" not found",
            "the service account s it names does not exist",
            "create the service account s",
        );
        check(
            "pods \"w\" is forbidden: violates PodSecurity \"restricted:latest\": x",
            "Pod Security Admission refuses its pods",
            "securityContext",
        );
        check(
            "Internal error occurred: failed calling webhook \"h.x.y\": failed to call webhook: refused",
            "the admission webhook h.x.y cannot be asked",
            "failurePolicy",
        );
        check("something else", "the API server refuses its pods", "as the message says");
    }
}
