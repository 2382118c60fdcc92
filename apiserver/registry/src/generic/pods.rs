//! What is special about pods: binding to a node, and going by somebody's will.

use super::options::DeleteOptions;
use super::{Current, Endpoint, Request, Written, time_text};
use gantry_storage::Expect;
use gantry_types::gvk::GroupResource;
use gantry_types::k8s_openapi::api::core::v1::Binding;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::object::Object;
use gantry_types::{Document, Status, StatusResult};
use serde::{Deserialize, Serialize};

/// A condition of a pod, in the order upstream prints it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(skip_serializing_if = "Option::is_none")]
    last_probe_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_transition_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    status: String,
    #[serde(rename = "type")]
    kind: String,
}

const CONDITIONS: [&str; 2] = ["status", "conditions"];

/// Adds a condition or replaces the one of its type; the time of transition stays when the status does.
fn set_condition(pod: &mut Document, mut condition: Condition, now: Timestamp) {
    let mut all: Vec<Condition> = pod.get_at(&CONDITIONS).unwrap_or_default();
    condition.last_transition_time = Some(time_text(now));
    match all.iter_mut().find(|c| c.kind == condition.kind) {
        Some(old) => {
            if old.status == condition.status {
                condition.last_transition_time.clone_from(&old.last_transition_time);
            }
            *old = condition;
        }
        None => all.push(condition),
    }
    pod.set_at(&CONDITIONS, all);
}

/// The pod as bound, or why it cannot be.
fn bound(pod: &Document, binding: &Binding, now: Timestamp) -> Result<Document, String> {
    let (name, node) = (pod.name(), binding.target.name.as_deref().unwrap_or_default());
    if pod.deleting() {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let assigned = pod.str_at(&["spec", "nodeName"]).unwrap_or_default();
    if !assigned.is_empty() {
        return Err(format!("pod {name} is already assigned to node \"{assigned}\""));
    }
    let gates: Vec<serde::de::IgnoredAny> = pod.get_at(&["spec", "schedulingGates"]).unwrap_or_default();
    if !gates.is_empty() {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = pod.clone();
    pod.set_at(&["spec", "nodeName"], node);
    pod.remove_at(&["status", "nominatedNodeName"]);
    let meta = &binding.metadata;
    for (field, entries) in [("annotations", &meta.annotations), ("labels", &meta.labels)] {
        for (key, value) in entries.iter().flatten() {
            pod.set_at(&["metadata", field, key], value);
        }
    }
    let scheduled = Condition { kind: "PodScheduled".into(), status: "True".into(), ..Condition::default() };
    set_condition(&mut pod, scheduled, now);
    Ok(pod)
}

fn check_binding(name: &str, binding: &Binding) -> StatusResult<()> {
    if binding.metadata.name.as_deref().unwrap_or_default() != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let target = &binding.target;
    let kind = target.kind.as_deref().unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        let why =
            format!("target.kind: Unsupported value: \"{kind}\": supported values: \"Node\", \"<empty>\"");
        return Err(Status::failure(500, "", why));
    }
    if target.name.as_deref().unwrap_or_default().is_empty() {
        return Err(Status::failure(500, "", "target.name: Required value"));
    }
    Ok(())
}

/// A change that bypasses strategies: made from the present object, refused with a `Conflict`, or not needed.
type Change<'c> = dyn Fn(&Document) -> StatusResult<Document> + Send + Sync + 'c;

impl Endpoint {
    /// Changes the named object without the kind's rules, as upstream's own writers do.
    async fn change(&self, rq: &Request<'_>, dry_run: bool, change: &Change<'_>) -> StatusResult<Object> {
        let mut current = self.current(rq.namespace, rq.name, false).await?;
        for _ in 0..64 {
            let Some(present) = current else { return Err(self.not_found(rq.name)) };
            let Current { document, object, fresh } = &present;
            match change(document) {
                Ok(wanted) if wanted == *document => return Ok(object.clone()),
                Ok(wanted) => {
                    let expect = Expect::Unchanged(object.revision().0);
                    match self.put(rq.namespace, rq.name, &wanted, expect, dry_run).await? {
                        Written::Done(object) => return Ok(object),
                        Written::Conflict(now) => current = now.map(|kv| self.read(&kv)).transpose()?,
                    }
                }
                Err(error) if *fresh => return Err(error),
                Err(_) => current = self.current(rq.namespace, rq.name, true).await?,
            }
        }
        Err(Status::stale(&self.kind.group_resource(), rq.name))
    }

    /// `POST pods/<name>/binding`.
    ///
    /// # Errors
    /// `Conflict` where the pod is bound, gated, going, or not the one meant.
    pub async fn bind(&self, rq: &Request<'_>, binding: &Binding) -> StatusResult<()> {
        check_binding(rq.name, binding)?;
        let now = rq.now;
        let pods = GroupResource::new("", "pods");
        let change = |pod: &Document| {
            let meta = &binding.metadata;
            for (what, wanted, is) in [
                ("UID", &meta.uid, pod.uid()),
                ("ResourceVersion", &meta.resource_version, pod.resource_version()),
            ] {
                if let Some(wanted) = wanted.as_deref().filter(|w| !w.is_empty() && *w != is) {
                    let why = format!(
                        "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {is}"
                    );
                    return Err(Status::conflict(&pods, rq.name, why));
                }
            }
            bound(pod, binding, now)
                .map_err(|why| Status::conflict(&GroupResource::new("", "pods/binding"), rq.name, why))
        };
        self.change(rq, rq.options.dry_run, &change).await.map(|_| ())
    }

    /// Marks a pod as disrupted and deletes it, whatever budgets say.
    ///
    /// # Errors
    /// As [`Endpoint::delete`].
    pub(super) async fn disrupt(&self, rq: &mut Request<'_>, options: &DeleteOptions) -> StatusResult<()> {
        let mut options = options.clone();
        let dry_run = rq.options.dry_run || options.dry_run();
        if !dry_run {
            let now = rq.now;
            let (kind, asked) = (self.kind.group_kind(), options.clone());
            let disrupted = |pod: &Document| {
                super::delete::check_preconditions(&kind, pod, &asked)?;
                let mut pod = pod.clone();
                let condition = Condition {
                    kind: "DisruptionTarget".into(),
                    status: "True".into(),
                    reason: Some("EvictionByEvictionAPI".into()),
                    message: Some("Eviction API: evicting".into()),
                    observed_generation: Some(pod.generation()).filter(|g| *g > 0),
                    ..Condition::default()
                };
                set_condition(&mut pod, condition, now);
                Ok(pod)
            };
            let marked = self.change(rq, false, &disrupted).await?;
            if let Some(version) = options.preconditions.as_mut().and_then(|p| p.resource_version.as_mut()) {
                // The mark moved the version on; it was checked there.
                *version = marked.revision().to_string();
            }
        }
        self.delete(rq, &options).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pod: &str, want: Result<&str, &str>) {
        let binding: Binding =
            serde_json::from_str(r#"{"metadata":{"name":"p","labels":{"z":"1"}},"target":{"name":"n"}}"#)
                .unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let got = bound(&Document::from_json(pod.as_bytes()).unwrap(), &binding, now);
        let want = want.map(|t| Document::from_json(t.as_bytes()).unwrap()).map_err(str::to_owned);
        assert_eq!(got, want);
    }

    #[test]
    fn pods_are_bound_once() {
        check(
            r#"{"metadata":{"name":"p"},"spec":{}}"#,
            Ok(
                r#"{"metadata":{"name":"p","labels":{"z":"1"}},"spec":{"nodeName":"n"},"status":{"conditions":[{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#,
            ),
        );
        check(
            r#"{"metadata":{"name":"p"},"spec":{"nodeName":"m"}}"#,
            Err(r#"pod p is already assigned to node "m""#),
        );
        check(
            r#"{"metadata":{"name":"p"},"spec":{"schedulingGates":[{"name":"g"}]}}"#,
            Err("pod p has non-empty .spec.schedulingGates"),
        );
    }
}
