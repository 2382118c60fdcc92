//! `LimitRanger`: what containers get that ask for nothing, and how much containers, pods and claims may ask for.

use crate::{forbidden, is, resources, typed};
use async_trait::async_trait;
use gantry_machinery::quota::{self, Amounts};
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_types::reader::ObjectReader;
use gantry_types::scheme::Kind;
use gantry_types::{Document, GroupResource, Status, StatusResult};
use k8s_openapi::api::core::v1::{Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod};
use std::sync::Arc;

const LIMIT_RANGES: GroupResource = GroupResource::new("", "limitranges");

pub struct LimitRanger {
    reader: Arc<dyn ObjectReader>,
}

/// Tells in a pod what it did not ask for itself.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

impl LimitRanger {
    pub const NAME: &str = "LimitRanger";

    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }

    /// The limits of a namespace, by name.
    fn items(&self, namespace: &str) -> StatusResult<Vec<LimitRange>> {
        let mut all = self.reader.list(&LIMIT_RANGES, Some(namespace));
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all.iter().filter(|o| o.namespace() == namespace).map(typed).collect()
    }
}

fn of_type<'a>(range: &'a LimitRange, kind: &'static str) -> impl Iterator<Item = &'a LimitRangeItem> {
    range.spec.iter().flat_map(|s| &s.limits).filter(move |item| item.type_ == kind)
}

/// Fills in what a container does not state; what was filled in, in words.
fn fill(container: &mut Container, range: &LimitRange, what: &str) -> Vec<String> {
    let mut set = [Vec::new(), Vec::new()];
    let resources = container.resources.get_or_insert_default();
    for item in of_type(range, "Container") {
        for (i, (from, to)) in
            [(&item.default_request, &mut resources.requests), (&item.default, &mut resources.limits)]
                .into_iter()
                .enumerate()
        {
            for (name, amount) in from.iter().flatten() {
                let list = to.get_or_insert_default();
                if !list.contains_key(name) {
                    list.insert(name.clone(), amount.clone());
                    set[i].push(name.clone());
                }
            }
        }
    }
    let name = &container.name;
    let told = set.into_iter().zip(["request", "limit"]).filter(|(names, _)| !names.is_empty());
    told.map(|(names, kind)| format!("{} {kind} for {what} {name}", names.join(", "))).collect()
}

fn set_defaults(pod: &mut Document, range: &LimitRange) {
    let mut told = Vec::new();
    for (field, what) in [("containers", "container"), ("initContainers", "init container")] {
        let path = ["spec", field];
        let Some(mut containers) = pod.get_at::<Vec<Container>>(&path) else { continue };
        let before = told.len();
        told.extend(containers.iter_mut().flat_map(|c| fill(c, range, what)).collect::<Vec<_>>());
        if told.len() > before {
            pod.set_at(&path, containers);
        }
    }
    if !told.is_empty() {
        let text = format!("LimitRanger plugin set: {}", told.join("; "));
        pod.set_at(&["metadata", "annotations", ANNOTATION], text);
    }
}

/// What somebody asks for.
struct Asked {
    requests: Amounts,
    limits: Amounts,
}

fn minimum(kind: &str, item: &LimitRangeItem, asked: &Asked, errors: &mut Vec<String>) {
    for (name, least) in quota::parse(item.min.as_ref()) {
        let bound = format!("minimum {name} usage per {kind} is {least}");
        match (asked.requests.get(&name), asked.limits.get(&name)) {
            (None, _) => errors.push(format!("{bound}.  No request is specified")),
            (Some(q), _) if *q < least => errors.push(format!("{bound}, but request is {q}")),
            (_, Some(q)) if *q < least => errors.push(format!("{bound}, but limit is {q}")),
            _ => {}
        }
    }
}

fn maximum(kind: &str, item: &LimitRangeItem, asked: &Asked, errors: &mut Vec<String>) {
    for (name, most) in quota::parse(item.max.as_ref()) {
        let bound = format!("maximum {name} usage per {kind} is {most}");
        match (asked.requests.get(&name), asked.limits.get(&name)) {
            (_, None) => errors.push(format!("{bound}.  No limit is specified")),
            (_, Some(q)) if *q > most => errors.push(format!("{bound}, but limit is {q}")),
            (Some(q), _) if *q > most => errors.push(format!("{bound}, but request is {q}")),
            _ => {}
        }
    }
}

/// For what has requests only.
fn maximum_request(kind: &str, item: &LimitRangeItem, asked: &Asked, errors: &mut Vec<String>) {
    for (name, most) in quota::parse(item.max.as_ref()) {
        let bound = format!("maximum {name} usage per {kind} is {most}");
        match asked.requests.get(&name) {
            None => errors.push(format!("{bound}.  No request is specified")),
            Some(q) if *q > most => errors.push(format!("{bound}, but request is {q}")),
            Some(_) => {}
        }
    }
}

fn ratio(kind: &str, item: &LimitRangeItem, asked: &Asked, errors: &mut Vec<String>) {
    for (name, most) in quota::parse(item.max_limit_request_ratio.as_ref()) {
        let bound = format!("{name} max limit to request ratio per {kind} is {most}");
        let stated = |list: &Amounts| list.get(&name).filter(|q| !q.is_zero()).map(|q| q.as_f64());
        match (stated(&asked.requests), stated(&asked.limits)) {
            (None, _) => errors.push(format!("{bound}, but no request is specified or request is 0")),
            (_, None) => errors.push(format!("{bound}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) if limit / request > most.as_f64() => {
                errors.push(format!("{bound}, but provided ratio is {:.6}", limit / request));
            }
            _ => {}
        }
    }
}

fn pod_errors(range: &LimitRange, pod: &Pod) -> Vec<String> {
    let mut errors = Vec::new();
    let mut judge = |kind: &str, item: &LimitRangeItem, asked: &Asked| {
        minimum(kind, item, asked, &mut errors);
        maximum(kind, item, asked, &mut errors);
        ratio(kind, item, asked, &mut errors);
    };
    let containers =
        pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    for container in containers {
        let r = container.resources.as_ref();
        let asked = Asked {
            requests: quota::parse(r.and_then(|r| r.requests.as_ref())),
            limits: quota::parse(r.and_then(|r| r.limits.as_ref())),
        };
        of_type(range, "Container").for_each(|item| judge("Container", item, &asked));
    }
    let mut items = of_type(range, "Pod").peekable();
    if items.peek().is_some() {
        // What is stated, without what running it costs.
        let mut stated = Pod { status: None, ..pod.clone() };
        if let Some(spec) = &mut stated.spec {
            spec.overhead = None;
        }
        let asked = Asked { requests: quota::requests(&stated), limits: quota::limits(&stated) };
        items.for_each(|item| judge("Pod", item, &asked));
    }
    errors
}

fn claim_errors(range: &LimitRange, claim: &PersistentVolumeClaim) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let r = claim.spec.as_ref().and_then(|s| s.resources.as_ref());
    let asked = Asked { requests: quota::parse(r.and_then(|r| r.requests.as_ref())), limits: Amounts::new() };
    let mut errors = Vec::new();
    for item in of_type(range, KIND) {
        minimum(KIND, item, &asked, &mut errors);
        maximum_request(KIND, item, &asked, &mut errors);
    }
    errors
}

/// Several complaints as one, each once.
fn together(errors: Vec<String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for error in errors {
        if !all.contains(&error) {
            all.push(error);
        }
    }
    match <[String; 1]>::try_from(all) {
        Ok([one]) => one,
        Err(all) => format!("[{}]", all.join(", ")),
    }
}

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        let (pod, claim) = (is(kind, &resources::PODS), is(kind, &resources::PERSISTENT_VOLUME_CLAIMS));
        match (operation, subresource) {
            (Operation::Create, "") => pod || claim,
            (Operation::Update, "") => claim,
            (Operation::Update, "resize") => pod,
            _ => false,
        }
    }

    async fn mutate(&self, request: &mut Request<'_>) -> StatusResult<()> {
        if !is(request.kind, &resources::PODS) || request.old.is_some_and(Document::deleting) {
            return Ok(());
        }
        let ranges = self.items(request.namespace)?;
        if let Some(pod) = request.object.as_deref_mut() {
            ranges.iter().for_each(|range| set_defaults(pod, range));
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>) -> StatusResult<()> {
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        if request.old.is_some_and(Document::deleting) {
            return Ok(());
        }
        let ranges = self.items(request.namespace)?;
        if ranges.is_empty() {
            return Ok(());
        }
        let check = |errors: &dyn Fn(&LimitRange) -> Vec<String>| match ranges
            .iter()
            .map(errors)
            .find(|errors| !errors.is_empty())
        {
            Some(errors) => Err(forbidden(request, together(errors))),
            None => Ok(()),
        };
        if is(request.kind, &resources::PODS) {
            let pod: Pod = object.to_typed().map_err(Status::internal)?;
            check(&|range| pod_errors(range, &pod))
        } else {
            let claim: PersistentVolumeClaim = object.to_typed().map_err(Status::internal)?;
            check(&|range| claim_errors(range, &claim))
        }
    }
}
