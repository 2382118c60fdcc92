//! `apps`.

mod claim_growth;
pub mod controller_revision;
pub mod daemon_set;
pub mod deployment;
pub mod replica_set;
pub mod stateful_set;

use crate::kinds::core::equal;
use crate::kinds::prelude::*;
use crate::kinds::validate::options::PodOptions;
use crate::kinds::validate::{pod_spec, selector};
use crate::strategy::{AnyStrategy, erase};
use gantry_types::k8s_openapi::api::core::v1::PodTemplateSpec;
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "Deployment" => erase(deployment::Deployments),
        "ReplicaSet" => erase(replica_set::ReplicaSets),
        "ControllerRevision" => erase(controller_revision::ControllerRevisions),
        "DaemonSet" => erase(daemon_set::DaemonSets),
        "StatefulSet" => erase(stateful_set::StatefulSets),
        _ => return None,
    })
}

/// The selector, and the template it must select.
fn selector_and_template(
    s: Option<&LabelSelector>,
    template: &PodTemplateSpec,
    options: &PodOptions,
    path: &Path,
) -> ErrorList {
    let at = path.child("selector");
    let mut errs = ErrorList::new();
    let mut readable = true;
    match s {
        None => errs.push(Error::required(&at, "")),
        Some(s) => {
            let found = selector::label_selector(Some(s), selector::Options::default(), &at);
            readable = found.is_empty();
            errs.extend(found);
            if selector::is_empty(s) {
                let why = "empty selector is invalid for deployment";
                errs.push(invalid_raw(&at, selector::go_json(Some(s)), why));
            }
            if !readable {
                errs.push(invalid_raw(&at, selector::go_json(Some(s)), "invalid label selector"));
            }
        }
    }
    if readable {
        errs.extend(pod_template(s, template, options, &path.child("template")));
    }
    errs
}

fn pod_template(
    s: Option<&LabelSelector>,
    template: &PodTemplateSpec,
    options: &PodOptions,
    path: &Path,
) -> ErrorList {
    let mut errs = ErrorList::new();
    let labels = template.metadata.as_ref().and_then(|m| m.labels.clone());
    let empty = s.is_some_and(selector::is_empty);
    let selects = s.is_some_and(|s| selector::matches(s, &labels.clone().unwrap_or_default()));
    if !empty && !selects {
        let why = "`selector` does not match template `labels`";
        errs.push(Error::invalid(&path.child("metadata").child("labels"), &labels, why));
    }
    errs.extend(pod_spec::template(template, options, path));
    let spec = template.spec.clone().unwrap_or_default();
    let at = path.child("spec");
    if text(&spec.restart_policy) != "Always" {
        let policy = text(&spec.restart_policy);
        errs.push(Error::not_supported(&at.child("restartPolicy"), policy, &["Always"]));
    }
    if spec.active_deadline_seconds.is_some() {
        let why = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errs.push(Error::forbidden(&at.child("activeDeadlineSeconds"), why));
    }
    errs
}

fn selector_kept(new: Option<&LabelSelector>, old: Option<&LabelSelector>) -> Option<Error> {
    (!equal::values(&new, &old)).then(|| {
        let at = Path::new("spec").child("selector");
        invalid_raw(&at, selector::go_json(new), "field is immutable")
    })
}
