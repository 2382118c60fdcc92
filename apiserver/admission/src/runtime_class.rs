//! `RuntimeClass`: pods of a class pay its overhead and go where its nodes are.

use crate::{forbidden, is, resources, typed};
use async_trait::async_trait;
use gantry_machinery::quota;
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_types::reader::ObjectReader;
use gantry_types::scheme::Kind;
use gantry_types::{Document, GroupResource, StatusResult};
use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::api::node::v1::{RuntimeClass as Class, Scheduling};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;
use std::sync::Arc;

const RUNTIME_CLASSES: GroupResource = GroupResource::new("node.k8s.io", "runtimeclasses");

pub struct RuntimeClass {
    reader: Arc<dyn ObjectReader>,
}

const OVERHEAD: [&str; 2] = ["spec", "overhead"];

type List = BTreeMap<String, Quantity>;

impl RuntimeClass {
    pub const NAME: &str = "RuntimeClass";

    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }

    /// The class a pod names.
    fn class(&self, request: &Request<'_>) -> StatusResult<Option<Class>> {
        let pod = request.object.as_deref();
        let Some(name) = pod.and_then(|p| p.str_at(&["spec", "runtimeClassName"])) else { return Ok(None) };
        match self.reader.get(&RUNTIME_CLASSES, "", name) {
            Some(object) => typed(&object).map(Some),
            None => Err(forbidden(request, format_args!("pod rejected: RuntimeClass \"{name}\" not found"))),
        }
    }
}

fn same(a: Option<&List>, b: Option<&List>) -> bool {
    quota::same(&quota::parse(a), &quota::parse(b))
}

const OTHER_OVERHEAD: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// Whether one toleration bears everything another does.
fn bears_more(t: &Toleration, other: &Toleration) -> bool {
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    let exists = text(&t.operator) == "Exists";
    let key = text(&t.key) == text(&other.key) || (text(&t.key).is_empty() && exists);
    let effect = text(&t.effect).is_empty() || text(&t.effect) == text(&other.effect);
    let long = text(&t.effect) != "NoExecute"
        || t.toleration_seconds.is_none_or(|s| other.toleration_seconds.is_some_and(|o| o <= s));
    let value = match text(&t.operator).as_str() {
        "Equal" | "" => text(&other.operator) == "Equal" && text(&t.value) == text(&other.value),
        other => other == "Exists",
    };
    t == other || (key && effect && long && value)
}

/// Both lists without what another toleration makes redundant; of equal ones the first stays.
fn merged(all: &[Toleration]) -> Vec<Toleration> {
    let mut out: Vec<Toleration> = Vec::new();
    for (i, t) in all.iter().enumerate() {
        let later = all[i + 1..].iter().any(|l| l != t && bears_more(l, t));
        if !later && !out.iter().any(|kept| bears_more(kept, t)) {
            out.push(t.clone());
        }
    }
    out
}

/// Where a class sends its pods.
fn schedule(pod: &mut Document, scheduling: &Scheduling) -> Result<(), String> {
    let (at_selector, at_tolerations) = (["spec", "nodeSelector"], ["spec", "tolerations"]);
    let mut selector: BTreeMap<String, String> = pod.get_at(&at_selector).unwrap_or_default();
    for (key, value) in scheduling.node_selector.iter().flatten() {
        if let Some(own) = selector.get(key).filter(|own| *own != value) {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            ));
        }
        selector.insert(key.clone(), value.clone());
    }
    let mut tolerations: Vec<Toleration> = pod.get_at(&at_tolerations).unwrap_or_default();
    tolerations.extend(scheduling.tolerations.iter().flatten().cloned());
    let tolerations = merged(&tolerations);
    if !selector.is_empty() {
        pod.set_at(&at_selector, selector);
    }
    if !tolerations.is_empty() {
        pod.set_at(&at_tolerations, tolerations);
    }
    Ok(())
}

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Create && subresource.is_empty() && is(kind, &resources::PODS)
    }

    async fn mutate(&self, request: &mut Request<'_>) -> StatusResult<()> {
        let Some(class) = self.class(request)? else { return Ok(()) };
        let Some(pod) = request.object.as_deref_mut() else { return Ok(()) };
        if let Some(overhead) = &class.overhead {
            let own: Option<List> = pod.get_at(&OVERHEAD);
            let fixed = overhead.pod_fixed.as_ref();
            if own.as_ref().is_some_and(|own| !own.is_empty()) && !same(own.as_ref(), fixed) {
                return Err(forbidden(request, OTHER_OVERHEAD));
            }
            if let Some(fixed) = fixed {
                pod.set_at(&OVERHEAD, fixed);
            }
        }
        if let Some(scheduling) = &class.scheduling
            && let Err(why) = schedule(pod, scheduling)
        {
            return Err(forbidden(request, why));
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>) -> StatusResult<()> {
        let class = self.class(request)?;
        let own: Option<List> = request.object.as_deref().and_then(|pod| pod.get_at(&OVERHEAD));
        match class.and_then(|c| c.overhead) {
            Some(overhead) if !same(own.as_ref(), overhead.pod_fixed.as_ref()) => {
                Err(forbidden(request, OTHER_OVERHEAD))
            }
            None if own.is_some() => {
                let why =
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                Err(forbidden(request, why))
            }
            _ => Ok(()),
        }
    }
}
