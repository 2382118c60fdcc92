//! From `pod`, `pod/x` or `deployment/x` to a pod and one of its containers.

use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::resources::{Resource, builder};
use gantry_machinery::patch::strategic::Object;
use gantry_types::Document;
use k8s_openapi::api::core::v1::Pod;
use std::rc::Rc;

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// `a=b,c=d` of a selector of any kind: the equalities of `spec.selector`.
pub fn selector_of(object: &Document) -> Result<String> {
    use std::collections::BTreeMap;
    let pairs =
        |m: BTreeMap<String, String>| m.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
    let mut parts = Vec::new();
    if let Some(labels) = object.get_at::<BTreeMap<String, String>>(&["spec", "selector"]) {
        parts = pairs(labels);
    } else {
        parts.extend(pairs(object.get_at(&["spec", "selector", "matchLabels"]).unwrap_or_default()));
        #[derive(serde::Deserialize)]
        struct Requirement {
            key: String,
            operator: String,
            #[serde(default)]
            values: Vec<String>,
        }
        let more: Vec<Requirement> =
            object.get_at(&["spec", "selector", "matchExpressions"]).unwrap_or_default();
        for r in more {
            parts.push(match r.operator.as_str() {
                "In" => format!("{} in ({})", r.key, r.values.join(",")),
                "NotIn" => format!("{} notin ({})", r.key, r.values.join(",")),
                "Exists" => r.key,
                _ => format!("!{}", r.key),
            });
        }
    }
    if parts.is_empty() {
        return Err(message(format!("{} has no pod selector set", object.name())));
    }
    Ok(parts.join(","))
}

fn typed(object: Object) -> Result<Pod> {
    Ok(Document::new(object).to_typed()?)
}

/// The pods of a namespace that match, the likeliest to answer first: running, ready, longest so.
pub async fn matching(cx: &Context, namespace: &str, selector: &str) -> Result<Vec<Pod>> {
    let path = crate::rest::with_query(
        &format!("/api/v1/namespaces/{}/pods", crate::rest::escape(namespace)),
        &[("labelSelector", selector)],
    );
    let list = cx.rest().await?.get(&path).await?;
    let items: Vec<Object> = list.get_at(&["items"]).unwrap_or_default();
    let mut pods = items.into_iter().map(typed).collect::<Result<Vec<Pod>>>()?;
    pods.sort_by_key(|p| {
        let status = p.status.as_ref();
        let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or_default();
        let ready = status
            .and_then(|s| s.conditions.as_ref())
            .is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
        let bound = p.spec.as_ref().is_some_and(|s| s.node_name.is_some());
        (!bound, phase != "Running", !ready, p.metadata.name.clone())
    });
    Ok(pods)
}

/// The resource and object an operand names; a bare name is a pod.
async fn named(cx: &Context, operand: &str) -> Result<(Rc<Resource>, Document)> {
    let full = if operand.contains('/') { operand.to_owned() } else { format!("pods/{operand}") };
    let (mut infos, errors) = builder::fetch(cx, &[full], &builder::Query::default()).await?;
    Error::all(errors)?;
    let info = infos.pop().ok_or_else(|| message("expected a resource"))?;
    Ok((info.resource.clone(), info.object))
}

/// The pods an operand stands for: itself, or those of its selector.
///
/// # Errors
/// Nothing there, or a kind that has no pods.
pub async fn of(cx: &Context, operand: &str) -> Result<Vec<Pod>> {
    let (resource, object) = named(cx, operand).await?;
    if resource.kind == "Pod" && resource.group.is_empty() {
        return Ok(vec![object.to_typed()?]);
    }
    let selector = if resource.kind == "Job" && resource.group == "batch" {
        format!("batch.kubernetes.io/job-name={}", object.name())
    } else {
        selector_of(&object)?
    };
    let pods = matching(cx, object.namespace(), &selector).await?;
    if pods.is_empty() {
        return Err(message(format!(
            "timed out waiting for the condition: no pods found for {}",
            resource.named(object.name())
        )));
    }
    Ok(pods)
}

/// Every container with what it is.
pub fn containers(pod: &Pod) -> Vec<(String, &'static str)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut out: Vec<(String, &'static str)> = spec.containers.iter().map(|c| (c.name.clone(), "")).collect();
    out.extend(spec.ephemeral_containers.iter().flatten().map(|c| (c.name.clone(), "ephem")));
    out.extend(spec.init_containers.iter().flatten().map(|c| (c.name.clone(), "init")));
    out
}

fn shown(pod: &Pod) -> String {
    let all: Vec<String> = containers(pod)
        .into_iter()
        .map(|(name, what)| if what.is_empty() { name } else { format!("{name} ({what})") })
        .collect();
    all.join(", ")
}

/// The container asked for, or the default one, saying which where there is a choice.
///
/// # Errors
/// A container the pod has not.
pub fn container(pod: &Pod, asked: &str, quiet: bool) -> Result<String> {
    let all = containers(pod);
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if !asked.is_empty() {
        return match all.iter().any(|(n, _)| n == asked) {
            true => Ok(asked.to_owned()),
            false => Err(message(format!("container {asked} not found in pod {name}"))),
        };
    }
    let preset = pod.metadata.annotations.as_ref().and_then(|a| a.get(DEFAULT_CONTAINER));
    if let Some(preset) = preset.filter(|p| all.iter().any(|(n, _)| n == *p)) {
        return Ok(preset.clone());
    }
    let Some((first, _)) = all.first() else { return Err(message(format!("pod {name} has no containers"))) };
    if all.len() > 1 && !quiet {
        eprintln!("Defaulted container \"{first}\" out of: {}", shown(pod));
    }
    Ok(first.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_become_text() {
        let check = |json: &str, expected: &str| {
            let d = Document::from_json(json.as_bytes()).unwrap();
            assert_eq!(selector_of(&d).unwrap_or_else(|e| e.bare()), expected);
        };
        check(r#"{"spec":{"selector":{"a":"b","c":"d"}}}"#, "a=b,c=d");
        check(
            r#"{"spec":{"selector":{"matchLabels":{"a":"b"},"matchExpressions":[
            {"key":"x","operator":"In","values":["1","2"]},{"key":"y","operator":"DoesNotExist"}]}}}"#,
            "a=b,x in (1,2),!y",
        );
        check(r#"{"metadata":{"name":"n"}}"#, "n has no pod selector set");
    }

    #[test]
    fn the_default_container_is_chosen() {
        let pod: Pod = serde_json::from_str(
            r#"{"metadata":{"name":"p","annotations":{"kubectl.kubernetes.io/default-container":"b"}},
            "spec":{"containers":[{"name":"a"},{"name":"b"}]}}"#,
        )
        .unwrap();
        assert_eq!(container(&pod, "", true).unwrap(), "b");
        assert_eq!(container(&pod, "a", true).unwrap(), "a");
        assert_eq!(container(&pod, "z", true).unwrap_err().text(), "error: container z not found in pod p");
    }
}
