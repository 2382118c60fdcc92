//! `scheduling.k8s.io/v1` PriorityClass.

use crate::kinds::prelude::*;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::scheduling::v1::PriorityClass;

/// Value and preemption policy never change; names and values above a billion are the system's.
pub struct PriorityClasses;

const USER_MAX: i32 = 1_000_000_000;
const SYSTEM: [(&str, i32); 2] =
    [("system-node-critical", 2 * USER_MAX + 1000), ("system-cluster-critical", 2 * USER_MAX)];

fn system_class_error(name: &str, class: &PriorityClass) -> Option<String> {
    let Some((_, value)) = SYSTEM.iter().find(|(n, _)| *n == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if class.value.unwrap_or(0) != *value {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    flag(class.global_default).then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

/// A preemption policy of a class or of a pod.
pub fn preemption_policy(policy: &str, path: &Path) -> Option<Error> {
    match policy {
        "PreemptLowerPriority" | "Never" => None,
        "" => Some(Error::required(path, "")),
        other => Some(Error::not_supported(path, other, &["PreemptLowerPriority", "Never"])),
    }
}

impl Strategy for PriorityClasses {
    type Kind = PriorityClass;

    fn default(&self, class: &mut PriorityClass) {
        if class.preemption_policy.is_none() {
            class.preemption_policy = Some("PreemptLowerPriority".to_owned());
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, class: &mut PriorityClass) {
        class.metadata.generation = Some(1);
    }

    fn validate_create(&self, _cx: &Context<'_>, class: &PriorityClass) -> ErrorList {
        let mut errs = meta::object_meta(&class.metadata, false, meta::subdomain_name);
        let name = text(&class.metadata.name);
        if name.starts_with("system-") {
            if let Some(why) = system_class_error(name, class) {
                let why = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                );
                errs.push(Error::forbidden(&Path::new("metadata").child("name"), why));
            }
        } else if class.value.unwrap_or(0) > USER_MAX {
            let why = format!("maximum allowed value of a user defined priority is {USER_MAX}");
            errs.push(Error::forbidden(&Path::new("value"), why));
        }
        if let Some(policy) = &class.preemption_policy {
            errs.extend(preemption_policy(policy, &Path::new("preemptionPolicy")));
        }
        errs
    }

    fn validate_update(&self, _cx: &Context<'_>, class: &PriorityClass, old: &PriorityClass) -> ErrorList {
        let mut errs = meta::object_meta_update(&class.metadata, &old.metadata);
        if class.value.unwrap_or(0) != old.value.unwrap_or(0) {
            errs.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        let path = Path::new("preemptionPolicy");
        errs.extend(meta::immutable(&class.preemption_policy, &old.preemption_policy, &path));
        errs
    }

    fn row(&self, class: &PriorityClass, now: Timestamp) -> Vec<Cell> {
        vec![
            print::name(&class.metadata),
            class.value.unwrap_or(0).into(),
            Cell::Bool(flag(class.global_default)),
            print::age(class.metadata.creation_timestamp.as_ref(), now).into(),
            text(&class.preemption_policy).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
