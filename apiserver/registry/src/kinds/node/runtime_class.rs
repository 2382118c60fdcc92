//! `node.k8s.io/v1` RuntimeClass.

use crate::kinds::core::pod_warnings::deprecated_label;
use crate::kinds::prelude::*;
use crate::kinds::validate::{meta, options::PodOptions, resources, tolerations};
use crate::kinds::{go_types, print};
use gantry_types::k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use gantry_types::k8s_openapi::api::node::v1::{RuntimeClass, Scheduling};

/// Names a handler of the container runtime, which never changes, and what pods of the class pay for it.
pub struct RuntimeClasses;

fn validate_tolerations(all: &[Toleration], path: &Path) -> ErrorList {
    let mut errs = tolerations::tolerations(all, &PodOptions::default(), path);
    let key = |t: &Toleration| Toleration { toleration_seconds: None, ..t.clone() };
    for (i, t) in all.iter().enumerate() {
        if all[..i].iter().any(|earlier| key(earlier) == key(t)) {
            let mut e = Error::duplicate(&path.index(i), "");
            e.value = Some(go_types::print("Toleration", t));
            errs.push(e);
        }
    }
    errs
}

fn validate_scheduling(scheduling: &Scheduling, path: &Path) -> ErrorList {
    let mut errs = meta::labels(scheduling.node_selector.as_ref(), &path.child("nodeSelector"));
    errs.extend(validate_tolerations(list(&scheduling.tolerations), &path.child("tolerations")));
    errs
}

fn validate(class: &RuntimeClass) -> ErrorList {
    let mut errs = meta::object_meta_plain(&class.metadata, false, meta::subdomain_name);
    let path = Path::new("handler");
    if class.handler.is_empty() {
        errs.push(Error::required(&path, ""));
    } else {
        errs.extend(invalid_each(&path, &class.handler, meta::label_name(&class.handler, false)));
    }
    if let Some(overhead) = &class.overhead {
        let limits =
            ResourceRequirements { limits: overhead.pod_fixed.clone(), ..ResourceRequirements::default() };
        errs.extend(resources::container(&limits, &Default::default(), false, &Path::new("overhead")));
    }
    if let Some(scheduling) = &class.scheduling {
        errs.extend(validate_scheduling(scheduling, &Path::new("scheduling")));
    }
    errs
}

impl Strategy for RuntimeClasses {
    type Kind = RuntimeClass;

    fn validate_create(&self, _cx: &Context<'_>, class: &RuntimeClass) -> ErrorList {
        validate(class)
    }

    fn validate_update(&self, _cx: &Context<'_>, class: &RuntimeClass, old: &RuntimeClass) -> ErrorList {
        let mut errs = validate(class);
        errs.extend(meta::object_meta_update_plain(&class.metadata, &old.metadata));
        errs.extend(meta::immutable(&class.handler, &old.handler, &Path::new("handler")));
        errs
    }

    fn warnings(&self, _cx: &Context<'_>, class: &RuntimeClass, _old: Option<&RuntimeClass>) -> Vec<String> {
        let selector = class.scheduling.as_ref().and_then(|s| s.node_selector.as_ref());
        let deprecated = selector.into_iter().flatten().filter_map(|(key, _)| deprecated_label(key));
        deprecated.map(|why| format!("scheduling.nodeSelector: {why}")).collect()
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn row(&self, class: &RuntimeClass, now: Timestamp) -> Vec<Cell> {
        let age = print::age(class.metadata.creation_timestamp.as_ref(), now);
        vec![print::name(&class.metadata), class.handler.as_str().into(), age.into()]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
