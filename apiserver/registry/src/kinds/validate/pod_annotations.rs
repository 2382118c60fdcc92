//! Annotations of pods that mean something, and fields that took their place.

use super::options::{PodOptions, deletion_cost};
use super::pod_spec::visit;
use super::{paths, tolerations};
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{AppArmorProfile, PodSpec, SeccompProfile, Toleration};
use std::collections::BTreeMap;

pub const MIRROR: &str = "kubernetes.io/config.mirror";
pub const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
pub const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

static NONE: BTreeMap<String, String> = BTreeMap::new();

fn of(meta: &ObjectMeta) -> &BTreeMap<String, String> {
    meta.annotations.as_ref().unwrap_or(&NONE)
}

/// A pod that shows a static pod of a kubelet.
pub fn is_mirror(meta: &ObjectMeta) -> bool {
    of(meta).contains_key(MIRROR)
}

pub fn pod(meta: &ObjectMeta, spec: &PodSpec, options: &PodOptions, path: &Path) -> ErrorList {
    let all = of(meta);
    let mut errs = ErrorList::new();
    if let Some(value) = all.get(MIRROR)
        && text(&spec.node_name).is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errs.push(Error::invalid(&path.key(MIRROR), value, why));
    }
    if let Some(value) = all.get(TOLERATIONS).filter(|v| !v.is_empty()) {
        match serde_json::from_str::<Vec<Toleration>>(value) {
            Ok(list) => errs.extend(tolerations::tolerations(&list, options, &path.child(TOLERATIONS))),
            Err(e) => errs.push(Error::invalid(path, TOLERATIONS, e.to_string())),
        }
    }
    if !options.allow_invalid_deletion_cost && deletion_cost(meta).is_none() {
        let value = all.get(DELETION_COST).map(String::as_str).unwrap_or_default();
        errs.push(Error::invalid(&path.key(DELETION_COST), value, "must be a 32bit integer"));
    }
    if let Some(p) = all.get(SECCOMP_POD) {
        errs.extend(seccomp_profile(p, &path.child(SECCOMP_POD)));
    }
    for (k, p) in all.iter().filter(|(k, _)| k.starts_with(SECCOMP_CONTAINER)) {
        errs.extend(seccomp_profile(p, &path.child(k)));
    }
    for (k, p) in all {
        let Some(container) = k.strip_prefix(APP_ARMOR) else { continue };
        let mut known = false;
        visit(spec, path, |c, _| known |= c.name == container);
        if !known {
            errs.push(Error::invalid(&path.key(k), container, "container not found"));
        }
        if !matches!(p.as_str(), "" | "runtime/default" | "unconfined") && !p.starts_with("localhost/") {
            let why = format!("invalid AppArmor profile name: {}", gantry_types::field::go_quote(p));
            errs.push(Error::invalid(&path.key(k), p, why));
        }
    }
    errs
}

fn seccomp_profile(p: &str, path: &Path) -> ErrorList {
    match p {
        "runtime/default" | "docker/default" | "unconfined" => ErrorList::new(),
        _ => match p.strip_prefix("localhost/") {
            Some(rest) => paths::local_descending(rest, path),
            None => vec![Error::invalid(path, p, "must be a valid seccomp profile")],
        },
    }
}

/// Where both an old annotation and its field are set, they must say the same.
pub fn match_fields(meta: &ObjectMeta, spec: &PodSpec, path: &Path) -> ErrorList {
    let all = of(meta);
    let mut errs = ErrorList::new();
    let pod = spec.security_context.as_ref();
    if let (Some(p), Some(a)) = (pod.and_then(|s| s.seccomp_profile.as_ref()), all.get(SECCOMP_POD)) {
        errs.extend(seccomp_match(a, p, &path.child("securityContext").child("seccompProfile")));
    }
    visit(spec, path, |c, at| {
        let own = c.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref());
        if let (Some(p), Some(a)) = (own, all.get(&format!("{SECCOMP_CONTAINER}{}", c.name))) {
            errs.extend(seccomp_match(a, p, &at.child("securityContext").child("seccompProfile")));
        }
    });
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return errs;
    }
    visit(spec, path, |c, at| {
        let own = c.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref());
        let profile = own.or(pod.and_then(|s| s.app_armor_profile.as_ref()));
        if let (Some(p), Some(a)) = (profile, all.get(&format!("{APP_ARMOR}{}", c.name))) {
            errs.extend(app_armor_match(a, p, &at.child("securityContext").child("appArmorProfile")));
        }
    });
    errs
}

fn seccomp_match(annotation: &str, p: &SeccompProfile, path: &Path) -> Option<Error> {
    let local = annotation.strip_prefix("localhost/");
    let differs = match p.type_.as_str() {
        "Unconfined" => annotation != "unconfined",
        "RuntimeDefault" => !matches!(annotation, "runtime/default" | "docker/default"),
        "Localhost" => local.is_none(),
        _ => false,
    };
    if differs {
        let why = "seccomp type in annotation and field must match";
        return Some(Error::forbidden(&path.child("type"), why));
    }
    (p.type_ == "Localhost" && local != p.localhost_profile.as_deref()).then(|| {
        let why = "seccomp profile in annotation and field must match";
        Error::forbidden(&path.child("localhostProfile"), why)
    })
}

fn app_armor_match(annotation: &str, p: &AppArmorProfile, path: &Path) -> Option<Error> {
    let local = annotation.strip_prefix("localhost/");
    let differs = match p.type_.as_str() {
        "Unconfined" => annotation != "unconfined",
        "RuntimeDefault" => annotation != "runtime/default",
        "Localhost" => local.is_none(),
        _ => false,
    };
    if differs {
        let why = "apparmor type in annotation and field must match";
        return Some(Error::forbidden(&path.child("type"), why));
    }
    (p.type_ == "Localhost" && local != p.localhost_profile.as_deref()).then(|| {
        let why = "apparmor profile in annotation and field must match";
        Error::forbidden(&path.child("localhostProfile"), why)
    })
}

/// Annotations an update may not touch.
pub fn update(new: &ObjectMeta, old: &ObjectMeta, path: &Path) -> ErrorList {
    let (new, old) = (of(new), of(old));
    let mut errs = ErrorList::new();
    for (k, v) in old {
        if new.get(k) == Some(v) {
            continue;
        }
        if k.starts_with(APP_ARMOR) {
            errs.push(Error::forbidden(&path.key(k), "may not remove or update AppArmor annotations"));
        }
        if k == MIRROR {
            errs.push(Error::forbidden(&path.key(k), "may not remove or update mirror pod annotation"));
        }
    }
    for k in new.keys().filter(|k| !old.contains_key(*k)) {
        if k.starts_with(APP_ARMOR) {
            errs.push(Error::forbidden(&path.key(k), "may not add AppArmor annotations"));
        }
        if k == MIRROR {
            errs.push(Error::forbidden(&path.key(k), "may not add mirror pod annotation"));
        }
    }
    errs
}

/// The field an AppArmor annotation stands for.
pub fn app_armor_field(annotation: &str) -> Option<AppArmorProfile> {
    let profile = |type_: &str, local: Option<&str>| AppArmorProfile {
        type_: type_.to_owned(),
        localhost_profile: local.map(str::to_owned),
    };
    match annotation {
        "runtime/default" => Some(profile("RuntimeDefault", None)),
        "unconfined" => Some(profile("Unconfined", None)),
        _ => annotation
            .strip_prefix("localhost/")
            .filter(|name| !name.is_empty())
            .map(|name| profile("Localhost", Some(name))),
    }
}
