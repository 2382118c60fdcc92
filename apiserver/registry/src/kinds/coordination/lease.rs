//! `coordination.k8s.io/v1` Lease.

use crate::kinds::prelude::*;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};

/// Written by leader election and node heartbeats; never without a `resourceVersion`.
pub struct Leases;

fn validate_spec(spec: Option<&LeaseSpec>) -> ErrorList {
    let path = Path::new("spec");
    let mut errs = ErrorList::new();
    let Some(spec) = spec else { return errs };
    if let Some(n) = spec.lease_duration_seconds.filter(|n| *n <= 0) {
        // The value is a pointer upstream, and pointers print through JSON.
        errs.push(Error::invalid(&path.child("leaseDurationSeconds"), &n, "must be greater than 0"));
    }
    if let Some(n) = spec.lease_transitions.filter(|n| *n < 0) {
        errs.push(Error::invalid(&path.child("leaseTransitions"), &n, "must be greater than or equal to 0"));
    }
    if let Some(s) = &spec.strategy {
        let at = path.child("strategy").child("strategy");
        if !s.contains('/') {
            if s != "OldestEmulationVersion" {
                errs.push(Error::not_supported(&at, s, &["OldestEmulationVersion"]));
            }
        } else {
            errs.extend(invalid_each(&at, s, names::qualified_name(s)));
        }
    }
    if !text(&spec.preferred_holder).is_empty() && text(&spec.strategy).is_empty() {
        let why = "may only be specified if `strategy` is defined";
        errs.push(Error::forbidden(&path.child("preferredHolder"), why));
    }
    errs
}

impl Strategy for Leases {
    type Kind = Lease;

    fn default(&self, lease: &mut Lease) {
        lease.spec.get_or_insert_default();
    }

    fn prepare_create(&self, _cx: &Context<'_>, lease: &mut Lease) {
        // Coordinated leader election is behind a gate that is off by default.
        if let Some(spec) = &mut lease.spec {
            spec.strategy = None;
            spec.preferred_holder = None;
        }
    }

    fn prepare_update(&self, _cx: &Context<'_>, lease: &mut Lease, old: &Lease) {
        let old = old.spec.as_ref();
        if let Some(spec) = &mut lease.spec {
            if old.is_none_or(|o| o.strategy.is_none()) {
                spec.strategy = None;
            }
            if old.is_none_or(|o| o.preferred_holder.is_none()) {
                spec.preferred_holder = None;
            }
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, lease: &Lease) -> ErrorList {
        let mut errs = meta::object_meta_plain(&lease.metadata, true, meta::subdomain_name);
        errs.extend(validate_spec(lease.spec.as_ref()));
        errs
    }

    fn validate_update(&self, _cx: &Context<'_>, lease: &Lease, old: &Lease) -> ErrorList {
        let mut errs = meta::object_meta_update_plain(&lease.metadata, &old.metadata);
        errs.extend(validate_spec(lease.spec.as_ref()));
        errs
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn row(&self, lease: &Lease, now: Timestamp) -> Vec<Cell> {
        let holder = lease.spec.as_ref().map(|s| text(&s.holder_identity)).unwrap_or_default();
        let age = print::age(lease.metadata.creation_timestamp.as_ref(), now);
        vec![print::name(&lease.metadata), holder.into(), age.into()]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
