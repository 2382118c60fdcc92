//! `storage.k8s.io/v1` CSIDriver.

use crate::kinds::prelude::*;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::storage::v1::{CSIDriver, CSIDriverSpec, TokenRequest};
use std::collections::BTreeSet;

/// How a driver wants to be treated; what decides about its volumes' life never changes.
pub struct CSIDrivers;

const TOKENS_ADVICE: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";

fn tokens(all: &[TokenRequest], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut audiences = BTreeSet::new();
    for (i, t) in all.iter().enumerate() {
        let at = path.index(i);
        if !audiences.insert(&t.audience) {
            errs.push(Error::duplicate(&at.child("audience"), &t.audience));
            continue;
        }
        let Some(seconds) = t.expiration_seconds else { continue };
        let at = at.child("expirationSeconds");
        if seconds < 600 {
            errs.push(Error::invalid(&at, &seconds, "may not specify a duration less than 10 minutes"));
        }
        if seconds > 1 << 32 {
            errs.push(Error::invalid(&at, &seconds, "may not specify a duration larger than 2^32 seconds"));
        }
    }
    errs
}

fn spec(s: &CSIDriverSpec, path: &Path) -> ErrorList {
    const POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
    let mut errs = ErrorList::new();
    for (field, set) in [
        ("attachedRequired", s.attach_required.is_some()),
        ("podInfoOnMount", s.pod_info_on_mount.is_some()),
        ("storageCapacity", s.storage_capacity.is_some()),
        ("seLinuxMount", s.se_linux_mount.is_some()),
    ] {
        if !set {
            errs.push(Error::required(&path.child(field), ""));
        }
    }
    if let Some(policy) = s.fs_group_policy.as_deref().filter(|p| !POLICIES.contains(p)) {
        errs.push(Error::not_supported(&path.child("fsGroupPolicy"), policy, POLICIES));
    }
    errs.extend(tokens(list(&s.token_requests), &path.child("tokenRequests")));
    let modes = list(&s.volume_lifecycle_modes).iter();
    for mode in modes.filter(|m| !matches!(m.as_str(), "Persistent" | "Ephemeral")) {
        let at = path.child("volumeLifecycleModes");
        errs.push(Error::not_supported(&at, mode, &["Persistent", "Ephemeral"]));
    }
    if let Some(n) = s.node_allocatable_update_period_seconds.filter(|n| *n < 10) {
        let at = path.child("nodeAllocatableUpdatePeriodSeconds");
        errs.push(Error::invalid(&at, &n, "must be greater than or equal to 10 seconds"));
    }
    if let Some(b) = s.service_account_token_in_secrets.filter(|_| list(&s.token_requests).is_empty()) {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errs.push(Error::invalid(&path.child("serviceAccountTokenInSecrets"), &b, why));
    }
    errs
}

impl Strategy for CSIDrivers {
    type Kind = CSIDriver;

    fn default(&self, driver: &mut CSIDriver) {
        let s = &mut driver.spec;
        s.attach_required.get_or_insert(true);
        s.pod_info_on_mount.get_or_insert(false);
        s.storage_capacity.get_or_insert(false);
        s.fs_group_policy.get_or_insert_with(|| "ReadWriteOnceWithFSType".to_owned());
        if list(&s.volume_lifecycle_modes).is_empty() {
            s.volume_lifecycle_modes = Some(vec!["Persistent".to_owned()]);
        }
        s.requires_republish.get_or_insert(false);
        s.se_linux_mount.get_or_insert(false);
    }

    fn prepare_create(&self, _cx: &Context<'_>, driver: &mut CSIDriver) {
        // Behind a gate that is off.
        driver.spec.prevent_pod_scheduling_if_missing = None;
    }

    fn prepare_update(&self, _cx: &Context<'_>, driver: &mut CSIDriver, old: &CSIDriver) {
        if old.spec.prevent_pod_scheduling_if_missing.is_none() {
            driver.spec.prevent_pod_scheduling_if_missing = None;
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, driver: &CSIDriver) -> ErrorList {
        let mut errs = meta::object_meta(&driver.metadata, false, meta::subdomain_name);
        errs.extend(spec(&driver.spec, &Path::new("spec")));
        errs
    }

    fn validate_update(&self, _cx: &Context<'_>, driver: &CSIDriver, old: &CSIDriver) -> ErrorList {
        let path = Path::new("spec");
        let mut errs = meta::object_meta_update(&driver.metadata, &old.metadata);
        errs.extend(spec(&driver.spec, &path));
        let (new, old) = (&driver.spec, &old.spec);
        let at = path.child("attachedRequired");
        errs.extend(meta::immutable(&new.attach_required, &old.attach_required, &at));
        let at = path.child("volumeLifecycleModes");
        errs.extend(meta::immutable(&new.volume_lifecycle_modes, &old.volume_lifecycle_modes, &at));
        errs
    }

    fn warnings(&self, _cx: &Context<'_>, driver: &CSIDriver, old: Option<&CSIDriver>) -> Vec<String> {
        let s = &driver.spec;
        let news = old.is_none_or(|o| !same(&o.spec.token_requests, &s.token_requests));
        let advise = news && !list(&s.token_requests).is_empty();
        if advise && s.service_account_token_in_secrets.is_none() {
            vec![TOKENS_ADVICE.to_owned()]
        } else {
            Vec::new()
        }
    }

    fn spec_changed(&self, driver: &CSIDriver, old: &CSIDriver) -> Option<bool> {
        Some(driver.spec != old.spec)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn row(&self, driver: &CSIDriver, now: Timestamp) -> Vec<Cell> {
        let s = &driver.spec;
        let modes = list(&s.volume_lifecycle_modes).join(",");
        let tokens = s.token_requests.as_ref().map_or_else(
            || "<unset>".to_owned(),
            |all| all.iter().map(|t| t.audience.as_str()).collect::<Vec<_>>().join(","),
        );
        vec![
            print::name(&driver.metadata),
            Cell::Bool(s.attach_required.unwrap_or(true)),
            Cell::Bool(flag(s.pod_info_on_mount)),
            Cell::Bool(flag(s.storage_capacity)),
            tokens.into(),
            Cell::Bool(flag(s.requires_republish)),
            if modes.is_empty() { "<none>".into() } else { modes.into() },
            print::age(driver.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
